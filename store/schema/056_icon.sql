-- SPDX-License-Identifier: Apache-2.0
-- What an icon shows while the number on its way there is another, and after its token has changed.

-- As before; a push to the phone may be under way with another number than the one that was sent
-- last.
CREATE OR REPLACE FUNCTION xs.publish_push(in_owner uuid, in_device uuid, in_peer bigint, in_jid text,
                                in_body text, in_encrypted boolean, in_weight int, in_count int,
                                in_ours boolean)
RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    reg xs.registration;
    place bigint := xs.id_from_time(clock_timestamp());
    of_peer bigint := in_peer;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    UPDATE xs.registration r SET
        published = CASE WHEN in_ours THEN NULL
                         WHEN in_count >= 0 THEN in_count
                         WHEN in_weight = 0 THEN coalesce(r.published, 0)
                         ELSE greatest(r.published, 1) END,
        published_text = r.published_text OR in_body IS NOT NULL
    WHERE r.owner = in_owner AND r.device = in_device RETURNING r.* INTO reg;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF in_weight = 2 OR (in_weight = 1 AND reg.published_text IS NOT TRUE AND in_count <> 0) THEN
        INSERT INTO xs.published AS p (owner, device, peer, jid, body, encrypted, unread, at)
            VALUES (in_owner, in_device, in_peer, in_jid, in_body, in_encrypted,
                    greatest(in_count, 1), now())
            ON CONFLICT (owner, device, peer) DO UPDATE SET jid = excluded.jid,
                body = excluded.body, encrypted = excluded.encrypted, unread = excluded.unread,
                at = excluded.at;
    ELSIF in_ours OR EXISTS (SELECT FROM xs.device d, xs.device_badge(d.device) b,
                                    xs.device_muted(d.device) muted
                             WHERE d.device = in_device
                                   AND d.badge_sent = b.badge + muted.badge
                                   AND NOT EXISTS (
                                       SELECT FROM xs.registration r2
                                       JOIN xs.outbox o2 ON o2.owner = r2.owner
                                                            AND o2.device = r2.device
                                       WHERE r2.device = d.device AND o2.state <> 3)) THEN
        RETURN;
    ELSE
        of_peer := 0;
    END IF;
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
        VALUES (in_owner, in_device, of_peer, place, place, clock_timestamp(), 2, now())
    ON CONFLICT (owner, device, peer) DO UPDATE SET
        gen = greatest(o.gen + 1, excluded.gen),
        newest_id = greatest(o.newest_id, excluded.newest_id),
        counted_at = excluded.counted_at,
        state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
        due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
        attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
        reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END;
END $$;

-- As before; a phone that has a new token shows what it showed with the old one, its account's
-- server has counted what it has counted, and what was parked stays known: where it was for the
-- old token's sake it is due again.
CREATE OR REPLACE FUNCTION xs.device_register(in_owner uuid, in_jid text, in_device uuid,
                                   in_app text, in_token text, in_sealed bytea, in_sealed_by int,
                                   in_client uuid, in_dialect int, in_node text, in_secret text,
                                   in_resource text, in_account_name text, in_limit int)
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
    INSERT INTO xs.device AS d (device, app, token, sealed, sealed_by)
        VALUES (in_device, in_app, in_token, in_sealed, in_sealed_by)
        ON CONFLICT (device) DO UPDATE SET token = excluded.token, sealed = excluded.sealed,
            sealed_by = excluded.sealed_by;

    -- The same installation with a new token keeps its names and what is queued for it.
    SELECT r.* INTO old FROM xs.registration r JOIN xs.device d USING (device)
        WHERE r.owner = in_owner AND r.client = in_client AND r.device <> in_device
              AND d.app = in_app
        ORDER BY r.registered_at DESC LIMIT 1;
    IF FOUND THEN
        moved := true;
        UPDATE xs.outbox o SET device = in_device, lease_by = NULL,
                state = CASE WHEN o.state = 3 AND NOT o.braked THEN 3 ELSE 2 END,
                due = CASE WHEN o.state = 3 AND NOT o.braked THEN o.due ELSE now() END,
                attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END
            WHERE o.owner = in_owner AND o.device = old.device
                  AND NOT EXISTS (SELECT FROM xs.outbox x WHERE x.owner = in_owner
                                  AND x.device = in_device AND x.peer = o.peer);
        UPDATE xs.published p SET device = in_device
            WHERE p.owner = in_owner AND p.device = old.device
                  AND NOT EXISTS (SELECT FROM xs.published x WHERE x.owner = in_owner
                                  AND x.device = in_device AND x.peer = p.peer);
        UPDATE xs.shown s SET device = in_device
            WHERE s.owner = in_owner AND s.device = old.device
                  AND NOT EXISTS (SELECT FROM xs.shown x WHERE x.owner = in_owner
                                  AND x.device = in_device AND x.peer = s.peer);
        UPDATE xs.device d SET badge_sent = -1 WHERE d.device = in_device;
        PERFORM xs.registration_remove(in_owner, old.device);
        -- In another dialect its names have another form.
        IF old.dialect = in_dialect THEN
            in_node := old.node;
            in_secret := coalesce(old.secret, in_secret);
        END IF;
    END IF;

    INSERT INTO xs.registration AS r (owner, device, dialect, client, node, secret, resource,
                                      account_name, registered_at, published, published_text)
    VALUES (in_owner, in_device, in_dialect, in_client, in_node, in_secret, in_resource,
            in_account_name, clock_timestamp(), old.published, old.published_text)
    ON CONFLICT (owner, device) DO UPDATE SET
        node = CASE WHEN r.dialect = excluded.dialect AND NOT moved
                         AND (r.dialect <> 3 OR r.client = excluded.client) THEN r.node
                    ELSE excluded.node END,
        secret = CASE WHEN r.dialect = excluded.dialect AND NOT moved
                           AND (r.dialect <> 3 OR r.client = excluded.client) THEN r.secret
                      ELSE excluded.secret END,
        dialect = excluded.dialect, client = coalesce(excluded.client, r.client),
        resource = excluded.resource, account_name = excluded.account_name,
        registered_at = excluded.registered_at,
        published = coalesce(r.published, excluded.published),
        published_text = coalesce(r.published_text, excluded.published_text)
    RETURNING r.node, r.secret, r.xmax = 0 AND NOT moved INTO o_node, o_secret, o_fresh;

    SELECT count(*) FILTER (WHERE xs.registration_remove(in_owner, x.device)) INTO o_evicted
    FROM (SELECT r.device FROM xs.registration r WHERE r.owner = in_owner
          ORDER BY r.registered_at DESC, r.device OFFSET in_limit) x;
    RETURN NEXT;
END $$;
