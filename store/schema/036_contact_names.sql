-- SPDX-License-Identifier: Apache-2.0
-- What a notification calls who wrote.  Names out of the account's roster are kept here while it has
-- a device, so that no push waits for a roster; what a sender calls itself (XEP-0172) is in the
-- stanza.

CREATE TABLE xs.contact_name (
    owner uuid NOT NULL,
    peer bigint NOT NULL,   -- as in xs.conversation
    name text NOT NULL,     -- one line
    PRIMARY KEY (owner, peer)
);
ALTER TABLE xs.registration ADD COLUMN names_at timestamptz;  -- when the roster was asked for last
ALTER TABLE xs.conversation ADD COLUMN nick_id bigint;  -- newest message that carries a nickname

-- The whole roster.  Of an account that has left its last device meanwhile nothing is kept.
CREATE FUNCTION xs.contact_names_set(in_owner uuid, in_peers bigint[], in_names text[])
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM xs.registration r WHERE r.owner = in_owner ORDER BY r.device FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE xs.registration r SET names_at = now() WHERE r.owner = in_owner;
    DELETE FROM xs.contact_name c WHERE c.owner = in_owner AND c.peer <> ALL (in_peers);
    INSERT INTO xs.contact_name AS c (owner, peer, name)
        SELECT DISTINCT ON (n.peer) in_owner, n.peer, n.name
        FROM unnest(in_peers, in_names) AS n (peer, name) ORDER BY n.peer
        ON CONFLICT (owner, peer) DO UPDATE SET name = excluded.name
        WHERE c.name <> excluded.name;
END $$;

-- At the end of the transaction: a device with a new token leaves and comes in one.
CREATE FUNCTION xs.registration_names() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM xs.contact_name c WHERE c.owner = OLD.owner
        AND NOT EXISTS (SELECT FROM xs.registration r WHERE r.owner = OLD.owner);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER registration_names AFTER DELETE ON xs.registration
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION xs.registration_names();

-- As before, with rooms, with all of the device, and with names: the account's own for the peer; of a stranger
-- the newest stanza that waits to be read and carries a nickname, and the names that it may not
-- take.  o_names_old: the roster was not asked for within a day.
DROP FUNCTION xs.outbox_fetch(uuid, boolean, uuid[], uuid[], bigint[]);
CREATE FUNCTION xs.outbox_fetch(in_worker uuid, in_text boolean, in_names boolean,
                                in_owner uuid[], in_device uuid[], in_peer bigint[])
RETURNS TABLE (o_n bigint, o_gen bigint, o_newest_id bigint, o_counted_at timestamptz,
               o_registered boolean, o_token text, o_badge_sent int, o_badge int, o_unread int,
               o_muted boolean, o_peer_jid text, o_encrypted boolean, o_body text,
               o_account_name text, o_content smallint, o_quiet boolean,
               o_published int, o_published_jid text, o_published_encrypted boolean,
               o_published_body text, o_nick text, o_sandbox boolean, o_sealed_by int,
               o_sealed bytea, o_name text, o_said bytea, o_contacts text, o_names_old boolean)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_memoize = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    by_conversation text[] := ARRAY(SELECT p.app FROM xs.app p WHERE p.badge = 1);
BEGIN
    RETURN QUERY
    SELECT i.n, o.gen, o.newest_id, o.counted_at, b.registered AND d.device IS NOT NULL,
           d.token, d.badge_sent, b.badge, coalesce(c.unread, h.unread),
           EXISTS (SELECT FROM xs.mute m
                   WHERE m.owner = i.owner AND m.peer = coalesce(h.conversation, i.peer)
                   AND (m.until IS NULL OR m.until > now())),
           coalesce(c.jid, h.jid), coalesce(t.flags, h.flags) & 8 <> 0,
           coalesce(t.body, h.body), b.account_name, s.content,
           CASE WHEN s.zone IS NULL THEN false
                ELSE xs.is_quiet(s, coalesce(h.conversation, i.peer)) END,
           p.unread, p.jid, p.encrypted, p.body, h.nick, d.sandbox, d.sealed_by, d.sealed, v.name,
           k.stanza,
           CASE WHEN k.stanza IS NOT NULL THEN (
               SELECT string_agg(x.name, E'\n') FROM xs.contact_name x
               WHERE x.owner = i.owner) END,
           in_names AND coalesce(b.names_at < now() - interval '1 day', true)
    FROM unnest(in_owner, in_device, in_peer) WITH ORDINALITY AS i(owner, device, peer, n)
    JOIN xs.outbox o ON o.owner = i.owner AND o.device = i.device AND o.peer = i.peer
                        AND o.state = 1 AND o.lease_by = in_worker
    LEFT JOIN xs.device d ON d.device = i.device
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(r.owner = i.owner), false) AS registered,
               max(r.account_name) FILTER (WHERE r.owner = i.owner) AS account_name,
               max(r.names_at) FILTER (WHERE r.owner = i.owner) AS names_at,
               coalesce(sum(coalesce(r.published,
                                CASE WHEN r.app = ANY (by_conversation)
                                     THEN a.unread_conversations ELSE a.unread END - u.muted)
                            + CASE WHEN u.counted THEN u.muted ELSE 0 END
                            + CASE WHEN r.published IS NULL AND EXISTS (
                                       SELECT FROM xs.room_member g WHERE g.member = r.owner)
                                   THEN (SELECT CASE WHEN r.app = ANY (by_conversation)
                                                     THEN x.conversations ELSE x.messages END
                                         FROM xs.rooms_badge(r.owner) x)
                                   ELSE 0 END), 0)::int AS badge
        FROM xs.registration r JOIN xs.account a ON a.owner = r.owner
        -- The few muted conversations are looked up, never all of an account's.
        CROSS JOIN LATERAL (
            SELECT coalesce(sum((SELECT CASE WHEN r.app = ANY (by_conversation)
                                             THEN (c.unread > 0)::int ELSE c.unread END
                                 FROM xs.conversation c
                                 WHERE c.owner = m.owner AND c.peer = m.peer)), 0)::int AS muted,
                   count(*) > 0 AND EXISTS (SELECT FROM xs.push_settings x
                       WHERE x.owner = r.owner AND x.muted_in_badge) AS counted
            FROM xs.mute m
            WHERE m.owner = r.owner AND (m.until IS NULL OR m.until > now())) u
        WHERE r.device = i.device) b
    LEFT JOIN xs.push_settings s ON s.owner = i.owner
    LEFT JOIN xs.conversation c ON c.owner = i.owner AND c.peer = i.peer
    LEFT JOIN LATERAL (
        SELECT m.flags, m.body FROM xs.message m
        WHERE in_text AND m.owner = i.owner AND m.peer = i.peer AND m.flags & 1 = 1
              AND m.id > c.read_id AND m.id <= o.newest_id
        ORDER BY m.id DESC LIMIT 1) t ON true
    -- Of a message that we have not seen we know what its server says; what is counted here
    -- wins.
    LEFT JOIN LATERAL (
        SELECT q.unread, q.jid, q.encrypted, CASE WHEN in_text THEN q.body END AS body
        FROM xs.published q
        WHERE coalesce(c.unread, 0) <= 0 AND q.owner = i.owner AND q.device = i.device
              AND q.peer = i.peer
        LIMIT 1) p ON true
    -- Asked only where it may be about a room: OFFSET keeps the condition inside.
    LEFT JOIN LATERAL (
        SELECT x.* FROM xs.outbox_room(in_text, i.owner, i.peer, o.newest_id) x
        WHERE c.owner IS NULL AND i.peer NOT IN (0, -1) OFFSET 0) h ON true
    -- Looked for only where there are names, and of strangers where they have told one.
    LEFT JOIN LATERAL (
        SELECT x.name FROM xs.contact_name x
        WHERE in_names AND b.names_at IS NOT NULL AND x.owner = i.owner AND x.peer = i.peer
        LIMIT 1) v ON true
    LEFT JOIN LATERAL (
        SELECT m.stanza FROM xs.message m
        WHERE in_names AND v.name IS NULL AND c.nick_id > c.read_id AND m.owner = i.owner
              AND m.id = c.nick_id
        LIMIT 1) k ON true;
END $$;
