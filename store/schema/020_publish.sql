-- SPDX-License-Identifier: Apache-2.0
-- What servers publish (XEP-0357).  On a host whose messages we see a publish only says that
-- something was not delivered; elsewhere it is all that we know.

-- The last publish of a conversation whose messages we do not see, for the push it makes.
CREATE TABLE xs.published (
    owner uuid NOT NULL,
    device uuid NOT NULL,
    peer bigint NOT NULL,
    jid text NOT NULL,          -- the sender's; '' when the server does not tell
    body text,
    encrypted boolean NOT NULL,
    unread int NOT NULL,        -- as the server counts
    at timestamptz NOT NULL,
    PRIMARY KEY (owner, device, peer)
);
CREATE INDEX published_at ON xs.published (at);

ALTER TABLE xs.registration
    ADD COLUMN published int,           -- unread as the account's server counts; NULL: we do
    ADD COLUMN published_text boolean;  -- that server tells what is in a message
COMMENT ON COLUMN xs.registration.dialect IS
    '1 register-device, 2 register-push-*, 3 v1-register-push, 4 none: made by a publish';

CREATE OR REPLACE FUNCTION xs.device_badge(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(coalesce(r.published,
           CASE WHEN p.badge = 1 THEN a.unread_conversations ELSE a.unread END
           - coalesce((
               SELECT sum((SELECT CASE WHEN p.badge = 1 THEN (c.unread > 0)::int ELSE c.unread END
                           FROM xs.conversation c
                           WHERE c.owner = m.owner AND c.peer = m.peer))
               FROM xs.mute m
               WHERE m.owner = a.owner AND (m.until IS NULL OR m.until > now())), 0))), 0)::int
    FROM xs.registration r JOIN xs.account a ON a.owner = r.owner
    LEFT JOIN xs.app p ON p.app = r.app
    WHERE r.device = in_device
$$;

-- What goes with a registration.
CREATE FUNCTION xs.registration_published() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM xs.published p WHERE p.owner = OLD.owner AND p.device = OLD.device;
    RETURN NULL;
END $$;
CREATE TRIGGER registration_published AFTER DELETE ON xs.registration
    FOR EACH ROW EXECUTE FUNCTION xs.registration_published();

-- A publish that makes a push, for the worker to take up.  in_weight: 2 there is a message, 1 the
-- server does not tell, 0 there is none.  in_count: as the server counts, -1 when it does not.
-- in_ours: the account's messages are counted here.
CREATE FUNCTION xs.publish_push(in_owner uuid, in_device uuid, in_peer bigint, in_jid text,
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
                                   AND d.badge_sent = b.badge + muted.badge) THEN
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

-- Publishes about messages of other servers that we may not have seen: a moment later each is
-- either matched by a message, or counted without it.
CREATE TABLE xs.publish (
    owner uuid NOT NULL,
    id uuid NOT NULL,
    jid text NOT NULL,           -- the account's
    sender text NOT NULL,        -- bare JID
    body text NOT NULL,
    at timestamptz NOT NULL,
    devices uuid[] NOT NULL,     -- for which it was published
    link int NOT NULL,           -- where it stands in the stream: matched once the archive is there
    pos bigint NOT NULL,
    PRIMARY KEY (owner, id)
);
CREATE INDEX publish_at ON xs.publish (at);

-- A server publishes a message once for each device: what another device has just been told of
-- is the same message.
CREATE FUNCTION xs.publish_keep(in_owner uuid, in_id uuid, in_jid text, in_sender text,
                                in_body text, in_at timestamptz, in_device uuid, in_link int,
                                in_pos bigint)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE xs.publish p SET devices = p.devices || in_device
    WHERE p.owner = in_owner AND p.id = (
        SELECT q.id FROM xs.publish q
        WHERE q.owner = in_owner AND q.sender = in_sender AND q.body = in_body
              AND q.at > in_at - interval '3 s' AND NOT in_device = ANY (q.devices)
        ORDER BY q.at LIMIT 1);
    IF NOT FOUND THEN
        INSERT INTO xs.publish (owner, id, jid, sender, body, at, devices, link, pos)
        VALUES (in_owner, in_id, in_jid, in_sender, in_body, in_at, ARRAY[in_device], in_link,
                in_pos)
        ON CONFLICT (owner, id) DO NOTHING;
    END IF;
END $$;

-- Rows that were counted by a publish alone (flag 256) and still are.
CREATE INDEX message_provisional ON xs.message (owner, peer, id) WHERE flags & 257 = 257;
