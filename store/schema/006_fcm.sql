-- SPDX-License-Identifier: Apache-2.0
-- Apps of p2's dialect know an account by a name of their own, which a push through FCM names.

ALTER TABLE xs.registration ADD COLUMN account_name text;  -- NULL: the app asks for none

-- As before, and with what the app knows the account by.
DROP FUNCTION xs.outbox_fetch(uuid, boolean, uuid[], uuid[], bigint[]);
CREATE FUNCTION xs.outbox_fetch(in_worker uuid, in_text boolean, in_owner uuid[],
                                in_device uuid[], in_peer bigint[])
RETURNS TABLE (o_n bigint, o_gen bigint, o_newest_id bigint, o_counted_at timestamptz,
               o_registered boolean, o_token text, o_badge_sent int, o_badge int, o_unread int,
               o_muted boolean, o_peer_jid text, o_encrypted boolean, o_body text,
               o_account_name text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT i.n, o.gen, o.newest_id, o.counted_at, r.owner IS NOT NULL AND d.device IS NOT NULL,
           d.token, d.badge_sent, b.badge, c.unread,
           EXISTS (SELECT FROM xs.mute m WHERE m.owner = i.owner AND m.peer = i.peer
                   AND (m.until IS NULL OR m.until > now())),
           c.jid, t.flags & 8 <> 0, t.body, r.account_name
    FROM unnest(in_owner, in_device, in_peer) WITH ORDINALITY AS i(owner, device, peer, n)
    JOIN xs.outbox o ON o.owner = i.owner AND o.device = i.device AND o.peer = i.peer
                        AND o.state = 1 AND o.lease_by = in_worker
    LEFT JOIN xs.registration r ON r.owner = i.owner AND r.device = i.device
    LEFT JOIN xs.device d ON d.device = i.device
    LEFT JOIN LATERAL xs.device_badge(i.device) b ON true
    LEFT JOIN xs.conversation c ON c.owner = i.owner AND c.peer = i.peer
    LEFT JOIN LATERAL (
        SELECT m.flags, m.body FROM xs.message m
        WHERE in_text AND m.owner = i.owner AND m.peer = i.peer AND m.flags & 1 = 1
              AND m.id > c.read_id AND m.id <= o.newest_id
        ORDER BY m.id DESC LIMIT 1) t ON true;
END $$;

DROP FUNCTION xs.device_register(uuid, text, uuid, text, text, uuid, int, text, text, text, int);
CREATE FUNCTION xs.device_register(in_owner uuid, in_jid text, in_device uuid, in_app text,
                                   in_token text, in_client uuid, in_dialect int, in_node text,
                                   in_secret text, in_resource text, in_account_name text,
                                   in_limit int)
RETURNS TABLE (o_node text, o_secret text, o_fresh boolean, o_evicted bigint)
LANGUAGE plpgsql AS $$
DECLARE
    old record;
    moved boolean := false;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    INSERT INTO xs.account AS a (owner, jid, proven) VALUES (in_owner, in_jid, true)
        ON CONFLICT (owner) DO UPDATE SET proven = true WHERE NOT a.proven;
    -- Locks the row until the end, see device_forget.
    INSERT INTO xs.device AS d (device, app, token) VALUES (in_device, in_app, in_token)
        ON CONFLICT (device) DO UPDATE SET token = excluded.token;

    -- The same installation with a new token keeps its names and what is queued for it.
    SELECT r.* INTO old FROM xs.registration r JOIN xs.device d USING (device)
        WHERE r.owner = in_owner AND r.client = in_client AND r.device <> in_device
              AND d.app = in_app
        ORDER BY r.registered_at DESC LIMIT 1;
    IF FOUND THEN
        moved := true;
        UPDATE xs.outbox o SET device = in_device, state = 2, lease_by = NULL, due = now()
            WHERE o.owner = in_owner AND o.device = old.device AND o.state <> 3
                  AND NOT EXISTS (SELECT FROM xs.outbox x WHERE x.owner = in_owner
                                  AND x.device = in_device AND x.peer = o.peer);
        PERFORM xs.registration_remove(in_owner, old.device);
        in_node := old.node;
        in_secret := coalesce(old.secret, in_secret);
    END IF;

    INSERT INTO xs.registration AS r (owner, device, dialect, client, node, secret, resource,
                                      account_name, registered_at)
    VALUES (in_owner, in_device, in_dialect, in_client, in_node, in_secret, in_resource,
            in_account_name, clock_timestamp())
    ON CONFLICT (owner, device) DO UPDATE SET
        node = CASE WHEN r.dialect = excluded.dialect AND NOT moved THEN r.node
                    ELSE excluded.node END,
        secret = CASE WHEN r.dialect = excluded.dialect AND NOT moved THEN r.secret
                      ELSE excluded.secret END,
        dialect = excluded.dialect, client = coalesce(excluded.client, r.client),
        resource = excluded.resource, account_name = excluded.account_name,
        registered_at = excluded.registered_at
    RETURNING r.node, r.secret, r.xmax = 0 AND NOT moved INTO o_node, o_secret, o_fresh;

    SELECT count(*) FILTER (WHERE xs.registration_remove(in_owner, x.device)) INTO o_evicted
    FROM (SELECT r.device FROM xs.registration r WHERE r.owner = in_owner
          ORDER BY r.registered_at DESC, r.device OFFSET in_limit) x;
    RETURN NEXT;
END $$;
