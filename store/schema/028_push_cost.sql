-- SPDX-License-Identifier: Apache-2.0
-- A push looks up each row once, and rows of what few accounts have only when they may matter.

-- What to send, as it is at this moment: with the account's own settings and what its server
-- has published.  An entry that is missing from the answer is not this worker's any more.  The
-- badge is that of xs.device_badge and xs.device_muted together.
DROP FUNCTION xs.outbox_fetch(uuid, boolean, uuid[], uuid[], bigint[]);
CREATE FUNCTION xs.outbox_fetch(in_worker uuid, in_text boolean, in_owner uuid[],
                                in_device uuid[], in_peer bigint[])
RETURNS TABLE (o_n bigint, o_gen bigint, o_newest_id bigint, o_counted_at timestamptz,
               o_registered boolean, o_token text, o_badge_sent int, o_badge int, o_unread int,
               o_muted boolean, o_peer_jid text, o_encrypted boolean, o_body text,
               o_account_name text, o_content smallint, o_quiet boolean,
               o_published int, o_published_jid text, o_published_encrypted boolean,
               o_published_body text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_memoize = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    by_conversation text[] := ARRAY(SELECT p.app FROM xs.app p WHERE p.badge = 1);
BEGIN
    RETURN QUERY
    SELECT i.n, o.gen, o.newest_id, o.counted_at, b.registered AND d.device IS NOT NULL,
           d.token, d.badge_sent, b.badge, c.unread,
           EXISTS (SELECT FROM xs.mute m WHERE m.owner = i.owner AND m.peer = i.peer
                   AND (m.until IS NULL OR m.until > now())),
           c.jid, t.flags & 8 <> 0, t.body, b.account_name, s.content,
           CASE WHEN s.zone IS NULL THEN false ELSE xs.is_quiet(s, i.peer) END,
           p.unread, p.jid, p.encrypted, p.body
    FROM unnest(in_owner, in_device, in_peer) WITH ORDINALITY AS i(owner, device, peer, n)
    JOIN xs.outbox o ON o.owner = i.owner AND o.device = i.device AND o.peer = i.peer
                        AND o.state = 1 AND o.lease_by = in_worker
    LEFT JOIN xs.device d ON d.device = i.device
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(r.owner = i.owner), false) AS registered,
               max(r.account_name) FILTER (WHERE r.owner = i.owner) AS account_name,
               coalesce(sum(coalesce(r.published,
                                CASE WHEN r.app = ANY (by_conversation)
                                     THEN a.unread_conversations ELSE a.unread END - u.muted)
                            + CASE WHEN u.counted THEN u.muted ELSE 0 END), 0)::int AS badge
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
        LIMIT 1) p ON true;
END $$;

-- As before, with why it was tried then and the badge that was taken, and action 4: parked by the
-- brake.  When all have ended, which is nearly always, they are not locked first: who adds to an
-- entry raises its generation, and a deletion that has waited for that sees it.
DROP FUNCTION xs.outbox_settle(uuid, uuid[], uuid[], bigint[], bigint[], bigint[], int[],
                               bigint[], int[], int[], int[], uuid[], text[]);
CREATE FUNCTION xs.outbox_settle(in_worker uuid, in_owner uuid[], in_device uuid[],
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
            -- Everybody who touches several entries does so in this order: no deadlocks.
            ORDER BY s.owner, s.device, s.peer),
        ended AS (
            DELETE FROM xs.outbox o USING said s
            WHERE o.owner = s.owner AND o.device = s.device AND o.peer = s.peer
                  AND o.state = 1 AND o.lease_by = in_worker AND o.gen = s.gen
            RETURNING s.*),
        told AS (
            UPDATE xs.device d SET
                badge_sent = s.badge,
                answered_at = CASE s.status WHEN 200 THEN now() ELSE d.answered_at END
            FROM said s WHERE d.device = s.device AND s.badge >= -1),
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
        SELECT h.owner, h.device, h.peer, h.gen, h.newest, now(), nullif(h.apns_id, nothing),
               h.status, h.reason, CASE WHEN h.badge >= 0 THEN h.badge END, h.decision
        FROM held h WHERE h.status >= 0)
    SELECT h.n, h.gen_now FROM held h WHERE h.action IN (0, 3, 4) AND h.gen_now <> h.gen;
END $$;

-- As before; a registration says itself which app it is of.
CREATE OR REPLACE FUNCTION xs.outbox_load(in_worker uuid, in_ahead_ms bigint, in_limit int)
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_due_ms bigint, o_attempts smallint,
               o_counted_at timestamptz, o_gen bigint, o_newest_id bigint, o_jid text,
               o_resource text, o_app text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_memoize = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH waiting AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer FROM xs.outbox o
        WHERE o.state = 2 AND o.due <= now() + in_ahead_ms * interval '1 millisecond'
        ORDER BY o.due LIMIT in_limit FOR UPDATE SKIP LOCKED),
    taken AS (
        UPDATE xs.outbox o SET state = 1, lease_by = in_worker
        FROM waiting w
        WHERE o.owner = w.owner AND o.device = w.device AND o.peer = w.peer
        RETURNING o.owner, o.device, o.peer, o.due, o.attempts, o.counted_at, o.gen,
                  o.newest_id)
    SELECT t.owner, t.device, t.peer,
           greatest(0, date_part('epoch', t.due - now()) * 1000)::bigint, t.attempts,
           t.counted_at, t.gen, t.newest_id, coalesce(a.jid, ''), coalesce(r.resource, ''),
           coalesce(r.app, (SELECT d.app FROM xs.device d WHERE d.device = t.device), '')
    FROM taken t
    LEFT JOIN xs.account a ON a.owner = t.owner
    LEFT JOIN xs.registration r ON r.owner = t.owner AND r.device = t.device;
END $$;
