-- SPDX-License-Identifier: Apache-2.0
-- In which order entries of the outbox are locked: those that are about something first, then the
-- badges (peer 0), each by owner, device and peer.  So does a batch, which counts before it looks
-- whose total has fallen, and it touches no owners but those of its lane.

-- Accounts whose phones may show less, because of what they have read in rooms.  Rooms are other
-- lanes' than their members, so the worker makes their entries afterwards.  No key: who adds to
-- it waits for nobody.
CREATE TABLE xs.badge_due (owner uuid NOT NULL);

CREATE FUNCTION xs.badge_due_add(in_owner uuid[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO xs.badge_due (owner)
        SELECT DISTINCT u.owner FROM unnest(in_owner) AS u (owner)
        WHERE EXISTS (SELECT FROM xs.registration g WHERE g.owner = u.owner)
$$;

-- Some of them; answers with how many, in_limit when there may be more.
CREATE FUNCTION xs.badges_due(in_limit int, in_wait_ms bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    owners uuid[];
    n bigint;
BEGIN
    WITH taken AS (
        DELETE FROM xs.badge_due d WHERE d.ctid = ANY (ARRAY(
            SELECT x.ctid FROM xs.badge_due x LIMIT in_limit FOR UPDATE SKIP LOCKED))
        RETURNING d.owner)
    SELECT array_agg(DISTINCT t.owner), count(*) INTO owners, n FROM taken t;
    IF n > 0 THEN
        PERFORM xs.badges_add_all(owners, in_wait_ms);
    END IF;
    RETURN n;
END $$;

-- As before, and phones are told afterwards.
CREATE OR REPLACE FUNCTION xs.room_member_remove(in_owner uuid, in_peer bigint, in_bond int)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    gone uuid;
BEGIN
    DELETE FROM xs.room_member r
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & ~in_bond = 0
        RETURNING r.member INTO gone;
    IF FOUND THEN
        DELETE FROM xs.room_mention k WHERE k.member = gone AND k.peer = in_peer;
        PERFORM xs.badge_due_add(ARRAY[gone]);
        RETURN;
    END IF;
    UPDATE xs.room_member r SET bonds = r.bonds & ~in_bond
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & in_bond <> 0;
END $$;

-- As before, and phones are told afterwards.
CREATE OR REPLACE FUNCTION xs.notify_bookmarked(in_owner uuid, in_peer bigint, in_level int)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF in_level = 0 THEN
        DELETE FROM xs.notify n WHERE n.owner = in_owner AND n.peer = in_peer AND n.bookmarked;
    ELSE
        INSERT INTO xs.notify AS n (owner, peer, level, bookmarked)
            VALUES (in_owner, in_peer, in_level, true)
            ON CONFLICT (owner, peer) DO UPDATE SET level = excluded.level, bookmarked = true
            WHERE n.level <> excluded.level OR NOT n.bookmarked;
    END IF;
    IF FOUND THEN
        PERFORM xs.badge_due_add(ARRAY[in_owner]);
    END IF;
END $$;

-- As before, and of an account 1000 rooms at most: a stranger's server could name it in any number,
-- and each is looked at for each number on an icon.
CREATE OR REPLACE FUNCTION xs.room_member_add(in_owner uuid, in_jid text, in_peer bigint, in_member uuid,
                                   in_member_jid text, in_conversation bigint, in_bond int,
                                   in_read_id bigint, in_nick text, in_nick_words text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM xs.room_member r WHERE r.owner = in_owner AND r.peer = in_peer)
        AND (SELECT count(*) >= 1000 FROM (
                 SELECT FROM xs.room_member r WHERE r.member = in_member LIMIT 1000) x) THEN
        RETURN;
    END IF;
    IF in_nick IS NOT NULL THEN
        INSERT INTO xs.room_nick AS n (owner, peer, nick, nick_words)
            VALUES (in_owner, in_peer, in_nick, in_nick_words)
            ON CONFLICT (owner, peer) DO UPDATE SET nick = excluded.nick,
                nick_words = excluded.nick_words
            WHERE n.nick <> excluded.nick;
    END IF;
    INSERT INTO xs.room_member AS r (owner, peer, member, conversation, bonds, read_id)
        VALUES (in_owner, in_peer, in_member, in_conversation, in_bond, in_read_id)
        ON CONFLICT (owner, peer) DO UPDATE SET bonds = r.bonds | in_bond
        WHERE r.bonds | in_bond <> r.bonds;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO xs.account (owner, jid) VALUES (in_owner, in_jid) ON CONFLICT DO NOTHING;
    INSERT INTO xs.account (owner, jid) VALUES (in_member, in_member_jid) ON CONFLICT DO NOTHING;
END $$;

-- As before, in this order, and devices by their ids.
CREATE OR REPLACE FUNCTION xs.outbox_settle(in_worker uuid, in_owner uuid[], in_device uuid[],
                                 in_peer bigint[], in_gen bigint[], in_newest bigint[],
                                 in_action int[], in_delay_ms bigint[], in_attempts int[],
                                 in_status int[], in_badge int[], in_apns_id uuid[],
                                 in_reason text[], in_decision text[])
RETURNS TABLE (o_n bigint, o_gen bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    nothing constant uuid := '00000000-0000-0000-0000-000000000000';
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
                  AND o.state = 1 AND o.lease_by = in_worker AND o.gen = s.gen
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
            SELECT s.*, o.gen AS gen_now
            FROM unnest(in_owner, in_device, in_peer, in_gen, in_newest, in_status, in_badge,
                        in_apns_id, in_reason, in_decision) WITH ORDINALITY
                AS s(owner, device, peer, gen, newest, status, badge, apns_id, reason,
                     decision, n)
            JOIN xs.outbox o ON o.owner = s.owner AND o.device = s.device
                                AND o.peer = s.peer AND o.state = 1 AND o.lease_by = in_worker
            WHERE s.n <> ALL (coalesce(gone, '{}'))),
        logged AS (
            INSERT INTO xs.push_log (owner, device, peer, gen, newest_id, at, apns_id, status,
                                     reason, badge, decision)
            SELECT k.owner, k.device, k.peer, k.gen, k.newest, now(),
                   nullif(k.apns_id, nothing), k.status, k.reason,
                   CASE WHEN k.badge >= 0 THEN k.badge END, k.decision
            FROM kept k WHERE k.status >= 0)
        SELECT k.n, k.gen_now FROM kept k;
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
        SELECT s.*, o.gen AS gen_now
        FROM said s JOIN xs.outbox o ON o.owner = s.owner AND o.device = s.device
                                        AND o.peer = s.peer AND o.state = 1
                                        AND o.lease_by = in_worker
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
    SELECT h.n, h.gen_now FROM held h WHERE h.action IN (0, 3, 4) AND h.gen_now <> h.gen;
END $$;

-- As before, in this order.
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
        WHERE o.state = 1 AND o.lease_by IS DISTINCT FROM in_worker
        ORDER BY o.peer = 0, o.owner, o.device, o.peer FOR UPDATE OF o),
    freed AS (
        UPDATE xs.outbox o SET state = 2, lease_by = NULL
        FROM lost l
        WHERE o.owner = l.owner AND o.device = l.device AND o.peer = l.peer)
    SELECT p.owner, p.device, p.peer, p.state = 1 AND p.lease_by = in_worker
    FROM page p ORDER BY 1, 2, 3;
END $$;

-- As before; an entry for the badge of an account that stays is made anew when there is one, as its
-- push may be on its way with the old number.
CREATE OR REPLACE FUNCTION xs.registration_remove(in_owner uuid, in_device uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM xs.device WHERE device = in_device FOR UPDATE;
    DELETE FROM xs.registration WHERE owner = in_owner AND device = in_device;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM xs.outbox WHERE owner = in_owner AND device = in_device;
    PERFORM xs.device_forget(in_device);
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
        SELECT r.owner, r.device, 0, xs.id_from_time(clock_timestamp()), 0, clock_timestamp(),
               2, now()
        FROM xs.registration r WHERE r.device = in_device ORDER BY r.owner LIMIT 1
        ON CONFLICT (owner, device, peer) DO UPDATE SET
            gen = greatest(o.gen + 1, excluded.gen),
            counted_at = excluded.counted_at,
            state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
            due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
            attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
            reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END;
    RETURN true;
END $$;
