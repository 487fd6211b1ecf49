-- SPDX-License-Identifier: Apache-2.0
-- What was parked because too many devices were rejected comes back when others are accepted.
ALTER TABLE xs.outbox ADD COLUMN braked boolean NOT NULL DEFAULT false;  -- meant while parked
CREATE INDEX outbox_braked ON xs.outbox (counted_at) WHERE state = 3 AND braked;

-- As before, and action 4: parked by the brake.
CREATE OR REPLACE FUNCTION xs.outbox_settle(in_worker uuid, in_owner uuid[], in_device uuid[],
                                 in_peer bigint[], in_gen bigint[], in_newest bigint[],
                                 in_action int[], in_delay_ms bigint[], in_attempts int[],
                                 in_status int[], in_badge int[], in_apns_id uuid[],
                                 in_reason text[], in_decision text[])
RETURNS TABLE (o_n bigint, o_gen bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
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
        ORDER BY o.owner, o.device, o.peer FOR UPDATE OF o),
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
        FROM said s WHERE d.device = s.device AND s.badge >= -1),
    logged AS (
        INSERT INTO xs.push_log
            (owner, device, peer, gen, newest_id, at, apns_id, status, reason, badge, decision)
        SELECT h.owner, h.device, h.peer, h.gen, h.newest, now(),
               nullif(h.apns_id, '00000000-0000-0000-0000-000000000000'::uuid), h.status,
               h.reason, CASE WHEN h.badge >= 0 THEN h.badge END, h.decision
        FROM held h WHERE h.status >= 0)
    SELECT h.n, h.gen_now FROM held h WHERE h.action IN (0, 3, 4) AND h.gen_now <> h.gen;
END $$;

-- Some of what the brake has parked for an app is due now, the youngest first: those phones
-- are the most likely to be there.  Answers with how many.
CREATE FUNCTION xs.outbox_give_back(in_app text, in_limit int) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    given bigint;
BEGIN
    WITH chosen AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer FROM xs.outbox o
        JOIN xs.device d ON d.device = o.device AND d.app = in_app
        WHERE o.state = 3 AND o.braked
        ORDER BY o.counted_at DESC LIMIT in_limit FOR UPDATE OF o SKIP LOCKED)
    UPDATE xs.outbox o SET state = 2, due = now(), attempts = 0
    FROM chosen c
    WHERE o.owner = c.owner AND o.device = c.device AND o.peer = c.peer;
    GET DIAGNOSTICS given = ROW_COUNT;
    RETURN given;
END $$;
