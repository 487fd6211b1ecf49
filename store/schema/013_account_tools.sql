-- SPDX-License-Identifier: Apache-2.0
-- What a person is told of one account, and what he may do to it: when a position was moved,
-- why a push was sent when it was, everything read, counts made again.

ALTER TABLE xs.conversation ADD COLUMN read_at timestamptz;  -- when read_id was last moved

ALTER TABLE xs.push_log
    ADD COLUMN badge int,       -- that the gateway took; NULL: none
    ADD COLUMN decision text;   -- why it was tried then

CREATE FUNCTION xs.lane_of(in_owner uuid) RETURNS int
LANGUAGE sql STABLE AS $$
    SELECT get_byte(uuid_send(in_owner), 0) & ((SELECT count(*) FROM xs.lane) - 1)::int
$$;

-- A badge entry for each device of the owner that shows another number or will, for the worker
-- to take up.  Under the owner's lane.
CREATE FUNCTION xs.badges_add(in_owner uuid, in_wait_ms bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
    SELECT in_owner, r.device, 0, xs.id_from_time(clock_timestamp()), 0, clock_timestamp(), 2,
           now() + in_wait_ms * interval '1 millisecond'
    FROM xs.registration r JOIN xs.device d ON d.device = r.device
    CROSS JOIN LATERAL xs.device_badge(r.device) b
    WHERE r.owner = in_owner AND (d.badge_sent <> b.badge OR EXISTS (
        SELECT FROM xs.registration r2
        JOIN xs.outbox o2 ON o2.owner = r2.owner AND o2.device = r2.device
        WHERE r2.device = r.device AND o2.state <> 3))
    ORDER BY r.device
    ON CONFLICT (owner, device, peer) DO UPDATE SET
        gen = greatest(o.gen + 1, excluded.gen),
        counted_at = excluded.counted_at,
        state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
        due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
        attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
        reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END
$$;

-- What the owner's own reset does: everything that is there now has been read.
CREATE FUNCTION xs.mark_all_read(in_owner uuid, OUT conversations bigint, OUT messages bigint)
LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    SELECT last_id INTO place FROM xs.lane WHERE lane = xs.lane_of(in_owner);
    WITH old AS (
        SELECT c.peer, c.unread FROM xs.conversation c
        WHERE c.owner = in_owner AND c.unread > 0),
    moved AS (
        UPDATE xs.conversation c SET read_id = greatest(c.read_id, place), read_at = now(),
            unread = 0
        FROM old WHERE c.owner = in_owner AND c.peer = old.peer RETURNING old.unread)
    SELECT count(*), coalesce(sum(unread), 0) INTO conversations, messages FROM moved;
    IF messages > 0 THEN
        UPDATE xs.account SET unread = 0, unread_conversations = 0 WHERE owner = in_owner;
        PERFORM xs.badges_add(in_owner, 2000);
    END IF;
END $$;

-- Every number kept of an owner that differs from what the messages say.  With in_repair it is
-- put right in the same transaction, under the lane, which a worker takes before it reads any.
-- Bounds may be wider than the messages, never narrower: queries look nowhere else.
CREATE FUNCTION xs.recount(in_owner uuid, in_repair boolean)
RETURNS TABLE (o_what text, o_peer_jid text, o_stored bigint, o_right bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF in_repair THEN
        PERFORM xs.lane_lock(in_owner);
    END IF;
    RETURN QUERY
    WITH convs AS MATERIALIZED (
        SELECT c.peer, c.jid, c.unread, c.first_id, c.last_id,
               (SELECT count(*) FROM xs.message m WHERE m.owner = in_owner AND m.peer = c.peer
                   AND m.id > c.read_id AND m.flags & 1 = 1) AS counted,
               coalesce((SELECT min(m.id) FROM xs.message m
                   WHERE m.owner = in_owner AND m.peer = c.peer), 0) AS oldest,
               coalesce((SELECT max(m.id) FROM xs.message m
                   WHERE m.owner = in_owner AND m.peer = c.peer), 0) AS newest
        FROM xs.conversation c WHERE c.owner = in_owner),
    faulty AS MATERIALIZED (
        SELECT v.*, v.oldest > 0 AND (v.first_id = 0 OR v.first_id > v.oldest) AS late_first,
               v.newest > v.last_id AS early_last
        FROM convs v),
    account AS MATERIALIZED (
        SELECT a.unread, a.unread_conversations, a.first_id, s.counted, s.conversations,
               s.oldest,
               s.oldest > 0 AND (a.first_id IS NULL OR a.first_id > s.oldest) AS late_first
        FROM xs.account a CROSS JOIN (
            SELECT coalesce(sum(v.counted), 0)::bigint AS counted,
                   count(*) FILTER (WHERE v.counted > 0) AS conversations,
                   coalesce(min(v.oldest) FILTER (WHERE v.oldest > 0), 0) AS oldest
            FROM convs v) s
        WHERE a.owner = in_owner),
    conversation_repaired AS (
        UPDATE xs.conversation c SET unread = v.counted::int,
            first_id = CASE WHEN v.late_first THEN v.oldest ELSE c.first_id END,
            last_id = CASE WHEN v.early_last THEN v.newest ELSE c.last_id END
        FROM faulty v
        WHERE in_repair AND c.owner = in_owner AND c.peer = v.peer
              AND (v.unread <> v.counted OR v.late_first OR v.early_last)),
    account_repaired AS (
        UPDATE xs.account a SET unread = s.counted::int,
            unread_conversations = s.conversations::int,
            first_id = CASE WHEN s.late_first THEN s.oldest ELSE a.first_id END
        FROM account s
        WHERE in_repair AND a.owner = in_owner
              AND (s.unread <> s.counted OR s.unread_conversations <> s.conversations
                   OR s.late_first))
    SELECT 'unread of a conversation', v.jid, v.unread::bigint, v.counted FROM faulty v
        WHERE v.unread <> v.counted
    UNION ALL
    SELECT 'first id of a conversation', v.jid, v.first_id, v.oldest FROM faulty v
        WHERE v.late_first
    UNION ALL
    SELECT 'last id of a conversation', v.jid, v.last_id, v.newest FROM faulty v
        WHERE v.early_last
    UNION ALL
    SELECT 'unread of the account', NULL, s.unread::bigint, s.counted FROM account s
        WHERE s.unread <> s.counted
    UNION ALL
    SELECT 'unread conversations of the account', NULL, s.unread_conversations::bigint,
           s.conversations FROM account s
        WHERE s.unread_conversations <> s.conversations
    UNION ALL
    SELECT 'first id of the account', NULL, coalesce(s.first_id, 0), s.oldest FROM account s
        WHERE s.late_first;
    IF FOUND AND in_repair THEN
        PERFORM xs.badges_add(in_owner, 0);
    END IF;
END $$;
