-- SPDX-License-Identifier: Apache-2.0
-- What is due is loaded without being written: not each entry says who has it in memory, one row
-- says who loads. Most entries are answered soon after, and then are written once, to end them.

CREATE TABLE xs.loader (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    worker uuid NOT NULL,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 10);
INSERT INTO xs.loader (worker, seen_at) VALUES ('00000000-0000-0000-0000-000000000000',
                                                '-infinity');

-- Entries in state 2 are in the hands of who loads, too, and of nobody else.
CREATE FUNCTION xs.loads(in_worker uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM xs.loader l WHERE l.worker = in_worker)
$$;

-- 0: another loads, 1: still this worker, 2: this worker from now on.  One that begins is there
-- because its predecessor is not; else the other must have been silent for two minutes.
CREATE FUNCTION xs.loader_claim(in_worker uuid, in_begins boolean) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    before record;
BEGIN
    SELECT l.worker, l.seen_at INTO before FROM xs.loader l;
    IF before.worker = in_worker AND before.seen_at > now() - interval '10 seconds' THEN
        RETURN 1;
    END IF;
    UPDATE xs.loader l SET worker = in_worker, seen_at = now()
        WHERE in_begins OR l.worker = in_worker OR l.seen_at < now() - interval '2 minutes';
    RETURN CASE WHEN NOT FOUND THEN 0 WHEN before.worker = in_worker THEN 1 ELSE 2 END;
END $$;

-- Many are due at the same time; a page of them begins behind the last key of the page before.
DROP INDEX xs.outbox_due;
CREATE INDEX outbox_due ON xs.outbox (due, owner, device, peer) WHERE state IN (2, 3);

-- What waits and is due within in_ahead_ms, behind a place.  The oldest come first, page by page;
-- within a page they come in the order of their keys, so that what is read of them, now and
-- later, lies side by side in the indexes.
DROP FUNCTION xs.outbox_load(uuid, bigint, int);
CREATE FUNCTION xs.outbox_load(in_worker uuid, in_ahead_ms bigint, in_limit int,
                               in_due timestamptz, in_owner uuid, in_device uuid,
                               in_peer bigint)
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_due_ms bigint, o_attempts smallint,
               o_counted_at timestamptz, o_gen bigint, o_newest_id bigint, o_jid text,
               o_resource text, o_app text, o_due timestamptz)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_memoize = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT xs.loads(in_worker) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT o.* FROM xs.outbox o
        WHERE o.state = 2 AND o.due <= now() + in_ahead_ms * interval '1 millisecond'
              AND (o.due, o.owner, o.device, o.peer) > (in_due, in_owner, in_device, in_peer)
        ORDER BY o.due, o.owner, o.device, o.peer LIMIT in_limit),
    sorted AS MATERIALIZED (
        SELECT p.* FROM page p ORDER BY p.owner, p.device, p.peer)
    SELECT s.owner, s.device, s.peer,
           greatest(0, date_part('epoch', s.due - now()) * 1000)::bigint, s.attempts,
           s.counted_at, s.gen, s.newest_id, coalesce(a.jid, ''), coalesce(r.resource, ''),
           coalesce(r.app, (SELECT d.app FROM xs.device d WHERE d.device = s.device), ''), s.due
    FROM sorted s
    LEFT JOIN xs.account a ON a.owner = s.owner
    -- By the owner, of whom there are few, and not by the device: those lie far apart.
    LEFT JOIN xs.registration r ON r.owner = s.owner AND r.device IS NOT DISTINCT FROM s.device;
END $$;

-- What was loaded and is not answered soon gets its worker's name after all, and is not loaded
-- again.
CREATE FUNCTION xs.outbox_hold(in_worker uuid, in_owner uuid[], in_device uuid[],
                               in_peer bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT xs.loads(in_worker) THEN
        RETURN;
    END IF;
    WITH said AS MATERIALIZED (
        SELECT * FROM unnest(in_owner, in_device, in_peer) AS s(owner, device, peer)
        ORDER BY s.peer = 0, s.owner, s.device, s.peer)
    UPDATE xs.outbox o SET state = 1, lease_by = in_worker
    FROM said s
    WHERE o.owner = s.owner AND o.device = s.device AND o.peer = s.peer AND o.state = 2;
END $$;

-- As before, in the order of 047; only who loads sets free what others held.
CREATE OR REPLACE FUNCTION xs.outbox_walk(in_worker uuid, in_owner uuid, in_device uuid, in_peer bigint,
                               in_limit int)
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_mine boolean)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer, o.state, o.lease_by FROM xs.outbox o
        WHERE (o.owner, o.device, o.peer) > (in_owner, in_device, in_peer)
        ORDER BY o.owner, o.device, o.peer LIMIT in_limit),
    -- Waits where a batch is adding to one: that batch has made the entry ours, or failed.
    lost AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer
        FROM page p JOIN xs.outbox o ON o.owner = p.owner AND o.device = p.device
                                        AND o.peer = p.peer
        WHERE o.state = 1 AND o.lease_by IS DISTINCT FROM in_worker AND xs.loads(in_worker)
        ORDER BY o.peer = 0, o.owner, o.device, o.peer FOR UPDATE OF o),
    freed AS (
        UPDATE xs.outbox o SET state = 2, lease_by = NULL
        FROM lost l
        WHERE o.owner = l.owner AND o.device = l.device AND o.peer = l.peer)
    SELECT p.owner, p.device, p.peer, p.state = 1 AND p.lease_by = in_worker
    FROM page p ORDER BY 1, 2, 3;
END $$;

-- As before; what was loaded is as good as what is held.
CREATE OR REPLACE FUNCTION xs.outbox_fetch(in_worker uuid, in_text boolean, in_names boolean,
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
    loads boolean := xs.loads(in_worker);
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
                        AND (o.state = 1 AND o.lease_by = in_worker OR o.state = 2 AND loads)
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

-- As before, in the order of 047, and devices by their ids; with when the newest message of what
-- did not end was counted: of what waits, who adds to it does not tell the worker.
DROP FUNCTION xs.outbox_settle(uuid, uuid[], uuid[], bigint[], bigint[], bigint[], int[],
                               bigint[], int[], int[], int[], uuid[], text[], text[]);
CREATE FUNCTION xs.outbox_settle(in_worker uuid, in_owner uuid[], in_device uuid[],
                                 in_peer bigint[], in_gen bigint[], in_newest bigint[],
                                 in_action int[], in_delay_ms bigint[], in_attempts int[],
                                 in_status int[], in_badge int[], in_apns_id uuid[],
                                 in_reason text[], in_decision text[])
RETURNS TABLE (o_n bigint, o_gen bigint, o_counted_at timestamptz)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    nothing constant uuid := '00000000-0000-0000-0000-000000000000';
    loads constant boolean := xs.loads(in_worker);
    gone bigint[];
BEGIN
    IF 0 = ALL (in_action) THEN
        WITH said AS MATERIALIZED (
            SELECT * FROM unnest(in_owner, in_device, in_peer, in_gen, in_newest, in_status,
                                 in_badge, in_apns_id, in_reason, in_decision) WITH ORDINALITY
                AS s(owner, device, peer, gen, newest, status, badge, apns_id, reason,
                     decision, n)
            ORDER BY s.peer = 0, s.owner, s.device, s.peer),
        ended AS (
            DELETE FROM xs.outbox o USING said s
            WHERE o.owner = s.owner AND o.device = s.device AND o.peer = s.peer
                  AND (o.state = 1 AND o.lease_by = in_worker OR o.state = 2 AND loads)
                  AND o.gen = s.gen
            RETURNING s.*),
        told AS (
            UPDATE xs.device d SET
                badge_sent = s.badge,
                answered_at = CASE s.status WHEN 200 THEN now() ELSE d.answered_at END
            FROM (SELECT * FROM said x WHERE x.badge >= -1 ORDER BY x.device) s
            WHERE d.device = s.device),
        logged AS (
            INSERT INTO xs.push_log (owner, device, peer, gen, newest_id, at, apns_id, status,
                                     reason, badge, decision)
            SELECT e.owner, e.device, e.peer, e.gen, e.newest, now(),
                   nullif(e.apns_id, nothing), e.status, e.reason,
                   CASE WHEN e.badge >= 0 THEN e.badge END, e.decision
            FROM ended e WHERE e.status >= 0)
        SELECT array_agg(e.n) INTO gone FROM ended e;
        IF cardinality(gone) = cardinality(in_owner) THEN
            RETURN;
        END IF;
        -- What the others have become is read after the deletion, which has waited for it.
        RETURN QUERY
        WITH kept AS MATERIALIZED (
            SELECT s.*, o.gen AS gen_now, o.counted_at
            FROM unnest(in_owner, in_device, in_peer, in_gen, in_newest, in_status, in_badge,
                        in_apns_id, in_reason, in_decision) WITH ORDINALITY
                AS s(owner, device, peer, gen, newest, status, badge, apns_id, reason,
                     decision, n)
            JOIN xs.outbox o ON o.owner = s.owner AND o.device = s.device
                                AND o.peer = s.peer
                                AND (o.state = 1 AND o.lease_by = in_worker
                                     OR o.state = 2 AND loads)
            WHERE s.n <> ALL (coalesce(gone, '{}'))),
        logged AS (
            INSERT INTO xs.push_log (owner, device, peer, gen, newest_id, at, apns_id, status,
                                     reason, badge, decision)
            SELECT k.owner, k.device, k.peer, k.gen, k.newest, now(),
                   nullif(k.apns_id, nothing), k.status, k.reason,
                   CASE WHEN k.badge >= 0 THEN k.badge END, k.decision
            FROM kept k WHERE k.status >= 0)
        SELECT k.n, k.gen_now, k.counted_at FROM kept k;
        RETURN;
    END IF;
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT * FROM unnest(in_owner, in_device, in_peer, in_gen, in_newest, in_action,
                             in_delay_ms, in_attempts, in_status, in_badge, in_apns_id,
                             in_reason, in_decision) WITH ORDINALITY
            AS s(owner, device, peer, gen, newest, action, delay_ms, attempts, status, badge,
                 apns_id, reason, decision, n)),
    -- Waits for a transaction that is adding to an entry, and then sees what it added.
    held AS MATERIALIZED (
        SELECT s.*, o.gen AS gen_now, o.counted_at
        FROM said s JOIN xs.outbox o ON o.owner = s.owner AND o.device = s.device
                                        AND o.peer = s.peer
                                        AND (o.state = 1 AND o.lease_by = in_worker
                                             OR o.state = 2 AND loads)
        ORDER BY o.peer = 0, o.owner, o.device, o.peer FOR UPDATE OF o),
    ended AS (
        DELETE FROM xs.outbox o USING held h
        WHERE o.owner = h.owner AND o.device = h.device AND o.peer = h.peer
              AND h.action = 0 AND h.gen_now = h.gen),
    moved AS (
        UPDATE xs.outbox o SET
            state = least(h.action, 3),
            braked = h.action = 4,
            due = now() + h.delay_ms * interval '1 millisecond',
            lease_by = CASE h.action WHEN 1 THEN in_worker END,
            attempts = h.attempts,
            reason = h.reason
        FROM held h
        WHERE o.owner = h.owner AND o.device = h.device AND o.peer = h.peer
              AND (h.action IN (1, 2) OR h.action IN (3, 4) AND h.gen_now = h.gen)),
    told AS (
        UPDATE xs.device d SET
            badge_sent = s.badge,
            answered_at = CASE s.status WHEN 200 THEN now() ELSE d.answered_at END
        FROM (SELECT * FROM said x WHERE x.badge >= -1 ORDER BY x.device) s
        WHERE d.device = s.device),
    logged AS (
        INSERT INTO xs.push_log
            (owner, device, peer, gen, newest_id, at, apns_id, status, reason, badge, decision)
        SELECT h.owner, h.device, h.peer, h.gen, h.newest, now(), nullif(h.apns_id, nothing),
               h.status, h.reason, CASE WHEN h.badge >= 0 THEN h.badge END, h.decision
        FROM held h WHERE h.status >= 0)
    SELECT h.n, h.gen_now, h.counted_at FROM held h WHERE h.action IN (0, 3, 4) AND h.gen_now <> h.gen;
END $$;
