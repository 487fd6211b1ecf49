-- SPDX-License-Identifier: Apache-2.0
-- Devices, the durable outbox of pushes, and the record of what was answered.
--
-- The functions are plpgsql so that their plans are kept, and plan without sequential scans:
-- the outbox is empty one second and long the next, and a plan made while it was empty must
-- not be one that reads it all for each entry.

-- One phone with one app; shared by the accounts on it: the only table not led by an owner.
CREATE TABLE xs.device (
    device uuid PRIMARY KEY,             -- keyed hash of app and token
    app text NOT NULL,
    token text NOT NULL,
    badge_sent int NOT NULL DEFAULT 0,   -- what the phone was told last; -1: not known
    answered_at timestamptz              -- the last push that was accepted
) WITH (fillfactor = 70);

CREATE TABLE xs.registration (
    owner uuid NOT NULL,
    device uuid NOT NULL,
    dialect smallint NOT NULL,           -- 1 register-device, 2 register-push-apns
    client uuid,                         -- keyed hash of the client's own device-id
    node text NOT NULL,
    secret text,
    resource text NOT NULL,
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (owner, device)
);
CREATE INDEX registration_device ON xs.registration (device);
CREATE INDEX registration_node ON xs.registration (node);

-- state: 1 held by a worker, 2 waiting here until due, 3 parked (due: when it is forgotten).
-- gen rises with everything that happens to the entry, so that an answer to an older push
-- does not settle what came after it; it starts at the time, so that it is never used again.
CREATE TABLE xs.outbox (
    owner uuid NOT NULL,
    device uuid NOT NULL,
    peer bigint NOT NULL,                -- 0: only the badge
    gen bigint NOT NULL,
    newest_id bigint NOT NULL,           -- newest counted row
    counted_at timestamptz NOT NULL,     -- when that was received
    state smallint NOT NULL,
    due timestamptz NOT NULL,
    lease_by uuid,
    attempts smallint NOT NULL DEFAULT 0,
    reason text,
    PRIMARY KEY (owner, device, peer)
) WITH (fillfactor = 70);
-- An entry that is born held and answered at once is never in this index.
CREATE INDEX outbox_due ON xs.outbox (due) WHERE state IN (2, 3);

-- What became of each entry each time it was tried, for push.history.
CREATE TABLE xs.push_log (
    owner uuid NOT NULL,
    device uuid NOT NULL,
    peer bigint NOT NULL,
    gen bigint NOT NULL,
    newest_id bigint NOT NULL,
    at timestamptz NOT NULL,
    apns_id uuid,                        -- NULL: nothing was sent
    status smallint NOT NULL,            -- 0: the gateway gave no answer
    reason text
);
CREATE INDEX push_log_owner ON xs.push_log (owner, at);
CREATE INDEX push_log_at ON xs.push_log (at);

-- The number for the phone's icon: what is unread in all its accounts, less what is muted now.
-- Written so that the few muted conversations are looked up, never all of an account's.
CREATE FUNCTION xs.device_badge(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(a.unread - coalesce((
               SELECT sum((SELECT c.unread FROM xs.conversation c
                           WHERE c.owner = m.owner AND c.peer = m.peer))
               FROM xs.mute m
               WHERE m.owner = a.owner AND (m.until IS NULL OR m.until > now())), 0)), 0)::int
    FROM xs.registration r JOIN xs.account a ON a.owner = r.owner
    WHERE r.device = in_device
$$;

-- Messages were counted: an entry for each device of the owner.  Answers with what this worker
-- holds now.  Runs inside the transaction that counted them.
CREATE FUNCTION xs.outbox_add(in_worker uuid, in_state int, in_gen bigint, in_settle_ms bigint,
                              in_owner uuid[], in_peer bigint[], in_newest bigint[],
                              in_counted_us bigint[])
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_due_ms bigint, o_attempts smallint,
               o_counted_at timestamptz, o_gen bigint, o_newest_id bigint, o_jid text,
               o_resource text, o_app text)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH added AS (
        INSERT INTO xs.outbox AS o
            (owner, device, peer, gen, newest_id, counted_at, state, due, lease_by)
        SELECT c.owner, r.device, c.peer, in_gen, c.newest,
               timestamptz 'epoch' + c.counted_us * interval '1 microsecond', in_state,
               now() + in_settle_ms * interval '1 millisecond',
               CASE WHEN in_state = 1 THEN in_worker END
        FROM unnest(in_owner, in_peer, in_newest, in_counted_us)
                 AS c(owner, peer, newest, counted_us)
        JOIN xs.registration r ON r.owner = c.owner
        -- Everybody who touches several entries does so in this order: no deadlocks.
        ORDER BY c.owner, r.device, c.peer
        ON CONFLICT (owner, device, peer) DO UPDATE SET
            gen = greatest(o.gen + 1, excluded.gen),
            newest_id = greatest(o.newest_id, excluded.newest_id),
            counted_at = excluded.counted_at,
            -- A parked entry lives again; what a dead worker held is ours; what waits, waits.
            state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
            due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
            attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
            reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END,
            lease_by = CASE o.state WHEN 3 THEN excluded.lease_by
                                    WHEN 1 THEN in_worker END
        RETURNING o.owner, o.device, o.peer, o.state, o.due, o.attempts, o.counted_at, o.gen,
                  o.newest_id)
    SELECT a.owner, a.device, a.peer,
           greatest(0, extract(epoch FROM a.due - now()) * 1000)::bigint, a.attempts,
           a.counted_at, a.gen, a.newest_id, acc.jid, r.resource, d.app
    FROM added a
    JOIN xs.account acc ON acc.owner = a.owner
    JOIN xs.registration r ON r.owner = a.owner AND r.device = a.device
    JOIN xs.device d ON d.device = a.device
    WHERE a.state = 1;
END $$;

-- Totals fell: a badge entry for each device of the owner that shows another number, or that
-- will, because a push to it may be under way with the old one.
CREATE FUNCTION xs.outbox_add_badges(in_worker uuid, in_state int, in_gen bigint,
                                     in_wait_ms bigint, in_owner uuid[])
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_due_ms bigint, o_attempts smallint,
               o_counted_at timestamptz, o_gen bigint, o_newest_id bigint, o_jid text,
               o_resource text, o_app text)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH added AS (
        INSERT INTO xs.outbox AS o
            (owner, device, peer, gen, newest_id, counted_at, state, due, lease_by)
        SELECT c.owner, r.device, 0, in_gen, 0, clock_timestamp(), in_state,
               now() + in_wait_ms * interval '1 millisecond',
               CASE WHEN in_state = 1 THEN in_worker END
        FROM unnest(in_owner) AS c(owner)
        JOIN xs.registration r ON r.owner = c.owner
        JOIN xs.device d ON d.device = r.device
        CROSS JOIN LATERAL xs.device_badge(r.device) b
        WHERE d.badge_sent <> b.badge OR EXISTS (
            SELECT FROM xs.registration r2
            JOIN xs.outbox o2 ON o2.owner = r2.owner AND o2.device = r2.device
            WHERE r2.device = r.device AND o2.state <> 3)
        ORDER BY c.owner, r.device
        ON CONFLICT (owner, device, peer) DO UPDATE SET
            gen = greatest(o.gen + 1, excluded.gen),
            counted_at = excluded.counted_at,
            state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
            due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
            attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
            reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END,
            lease_by = CASE o.state WHEN 3 THEN excluded.lease_by
                                    WHEN 1 THEN in_worker END
        RETURNING o.owner, o.device, o.peer, o.state, o.due, o.attempts, o.counted_at, o.gen,
                  o.newest_id)
    SELECT a.owner, a.device, a.peer,
           greatest(0, extract(epoch FROM a.due - now()) * 1000)::bigint, a.attempts,
           a.counted_at, a.gen, a.newest_id, acc.jid, r.resource, d.app
    FROM added a
    JOIN xs.account acc ON acc.owner = a.owner
    JOIN xs.registration r ON r.owner = a.owner AND r.device = a.device
    JOIN xs.device d ON d.device = a.device
    WHERE a.state = 1;
END $$;

-- What to send, as it is at this moment.  An entry that is missing from the answer is not this
-- worker's any more.
CREATE FUNCTION xs.outbox_fetch(in_worker uuid, in_text boolean, in_owner uuid[],
                                in_device uuid[], in_peer bigint[])
RETURNS TABLE (o_n bigint, o_gen bigint, o_newest_id bigint, o_counted_at timestamptz,
               o_registered boolean, o_token text, o_badge_sent int, o_badge int, o_unread int,
               o_muted boolean, o_peer_jid text, o_encrypted boolean, o_body text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT i.n, o.gen, o.newest_id, o.counted_at, r.owner IS NOT NULL AND d.device IS NOT NULL,
           d.token, d.badge_sent, b.badge, c.unread,
           EXISTS (SELECT FROM xs.mute m WHERE m.owner = i.owner AND m.peer = i.peer
                   AND (m.until IS NULL OR m.until > now())),
           c.jid, t.flags & 8 <> 0, t.body
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

-- Stores what became of entries: action 0 ended, 1 held until in_delay_ms from now, 2 waits
-- here until then, 3 parked.  status below 0: not worth a line in the log; badge below -1: the
-- phone was told none.  Answers with the entries to which something happened meanwhile, which
-- did not end, and their generation.  Safe to say twice.
CREATE FUNCTION xs.outbox_settle(in_worker uuid, in_owner uuid[], in_device uuid[],
                                 in_peer bigint[], in_gen bigint[], in_newest bigint[],
                                 in_action int[], in_delay_ms bigint[], in_attempts int[],
                                 in_status int[], in_badge int[], in_apns_id uuid[],
                                 in_reason text[])
RETURNS TABLE (o_n bigint, o_gen bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT * FROM unnest(in_owner, in_device, in_peer, in_gen, in_newest, in_action,
                             in_delay_ms, in_attempts, in_status, in_badge, in_apns_id,
                             in_reason) WITH ORDINALITY
            AS s(owner, device, peer, gen, newest, action, delay_ms, attempts, status, badge,
                 apns_id, reason, n)),
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
            state = h.action,
            due = now() + h.delay_ms * interval '1 millisecond',
            lease_by = CASE h.action WHEN 1 THEN in_worker END,
            attempts = h.attempts,
            reason = h.reason
        FROM held h
        WHERE o.owner = h.owner AND o.device = h.device AND o.peer = h.peer
              AND (h.action IN (1, 2) OR h.action = 3 AND h.gen_now = h.gen)),
    told AS (
        UPDATE xs.device d SET
            badge_sent = s.badge,
            answered_at = CASE s.status WHEN 200 THEN now() ELSE d.answered_at END
        FROM said s WHERE d.device = s.device AND s.badge >= -1),
    logged AS (
        INSERT INTO xs.push_log
            (owner, device, peer, gen, newest_id, at, apns_id, status, reason)
        SELECT h.owner, h.device, h.peer, h.gen, h.newest, now(),
               nullif(h.apns_id, '00000000-0000-0000-0000-000000000000'::uuid), h.status,
               h.reason
        FROM held h WHERE h.status >= 0)
    SELECT h.n, h.gen_now FROM held h WHERE h.action IN (0, 3) AND h.gen_now <> h.gen;
END $$;

-- Takes what is due within in_ahead_ms from the waiting ones.
CREATE FUNCTION xs.outbox_load(in_worker uuid, in_ahead_ms bigint, in_limit int)
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_due_ms bigint, o_attempts smallint,
               o_counted_at timestamptz, o_gen bigint, o_newest_id bigint, o_jid text,
               o_resource text, o_app text)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
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
           greatest(0, extract(epoch FROM t.due - now()) * 1000)::bigint, t.attempts,
           t.counted_at, t.gen, t.newest_id, coalesce(a.jid, ''), coalesce(r.resource, ''), coalesce(d.app, '')
    FROM taken t
    LEFT JOIN xs.account a ON a.owner = t.owner
    LEFT JOIN xs.registration r ON r.owner = t.owner AND r.device = t.device
    LEFT JOIN xs.device d ON d.device = t.device;
END $$;

-- One page of a walk over the whole outbox: what other workers held is set free.  Answers with
-- the page's keys, in order, and whether the entry is held by this worker.
CREATE FUNCTION xs.outbox_walk(in_worker uuid, in_owner uuid, in_device uuid, in_peer bigint,
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
        ORDER BY o.owner, o.device, o.peer FOR UPDATE OF o),
    freed AS (
        UPDATE xs.outbox o SET state = 2, lease_by = NULL
        FROM lost l
        WHERE o.owner = l.owner AND o.device = l.device AND o.peer = l.peer)
    SELECT p.owner, p.device, p.peer, p.state = 1 AND p.lease_by = in_worker
    FROM page p ORDER BY 1, 2, 3;
END $$;

-- An app works again: what waits for it is due now.  The rest of a long queue comes when it is
-- due by itself, within minutes.
CREATE FUNCTION xs.outbox_wake(in_app text, in_limit int) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    woken bigint;
BEGIN
    WITH waiting AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer FROM xs.outbox o
        JOIN xs.device d ON d.device = o.device AND d.app = in_app
        WHERE o.state = 2 AND o.due > now()
        ORDER BY o.due LIMIT in_limit FOR UPDATE OF o SKIP LOCKED)
    UPDATE xs.outbox o SET due = now()
    FROM waiting w
    WHERE o.owner = w.owner AND o.device = w.device AND o.peer = w.peer;
    GET DIAGNOSTICS woken = ROW_COUNT;
    RETURN woken;
END $$;

-- Forgets log lines and parked entries whose time is over; answers with how many.
CREATE FUNCTION xs.outbox_purge(in_history_ms bigint, in_limit int) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    lines bigint;
    entries bigint;
BEGIN
    DELETE FROM xs.push_log WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM xs.push_log
        WHERE at < now() - in_history_ms * interval '1 millisecond'
        ORDER BY at LIMIT in_limit));
    GET DIAGNOSTICS lines = ROW_COUNT;
    DELETE FROM xs.outbox WHERE state = 3 AND ctid = ANY (ARRAY(
        SELECT ctid FROM xs.outbox WHERE state = 3 AND due < now()
        ORDER BY due LIMIT in_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS entries = ROW_COUNT;
    RETURN greatest(lines, entries);
END $$;

-- Takes the lane of an owner: whatever changes an owner's data does so first.
CREATE FUNCTION xs.lane_lock(in_owner uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM xs.lane
        WHERE lane = get_byte(uuid_send(in_owner), 0) & ((SELECT count(*) FROM xs.lane) - 1)
        FOR UPDATE;
END $$;

-- A device without accounts is forgotten.  Its row is locked first, so that a registration
-- that is just coming in is either seen or makes the row again.
CREATE FUNCTION xs.device_forget(in_device uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM xs.device WHERE device = in_device FOR UPDATE;
    DELETE FROM xs.device d WHERE d.device = in_device
        AND NOT EXISTS (SELECT FROM xs.registration r WHERE r.device = in_device);
END $$;

-- An account leaves a device.  The others on it have a smaller sum now: a badge entry.
CREATE FUNCTION xs.registration_remove(in_owner uuid, in_device uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM xs.device WHERE device = in_device FOR UPDATE;
    DELETE FROM xs.registration WHERE owner = in_owner AND device = in_device;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM xs.outbox WHERE owner = in_owner AND device = in_device;
    PERFORM xs.device_forget(in_device);
    INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, due)
        SELECT r.owner, r.device, 0, xs.id_from_time(clock_timestamp()), 0, clock_timestamp(),
               2, now()
        FROM xs.registration r WHERE r.device = in_device ORDER BY r.owner LIMIT 1
        ON CONFLICT DO NOTHING;
    RETURN true;
END $$;

CREATE FUNCTION xs.device_register(in_owner uuid, in_jid text, in_device uuid, in_app text,
                                   in_token text, in_client uuid, in_dialect int, in_node text,
                                   in_secret text, in_resource text, in_limit int)
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
                                      registered_at)
    VALUES (in_owner, in_device, in_dialect, in_client, in_node, in_secret, in_resource,
            clock_timestamp())
    ON CONFLICT (owner, device) DO UPDATE SET
        node = CASE WHEN r.dialect = excluded.dialect AND NOT moved THEN r.node
                    ELSE excluded.node END,
        secret = CASE WHEN r.dialect = excluded.dialect AND NOT moved THEN r.secret
                      ELSE excluded.secret END,
        dialect = excluded.dialect, client = coalesce(excluded.client, r.client),
        resource = excluded.resource, registered_at = excluded.registered_at
    RETURNING r.node, r.secret, r.xmax = 0 AND NOT moved INTO o_node, o_secret, o_fresh;

    SELECT count(*) FILTER (WHERE xs.registration_remove(in_owner, x.device)) INTO o_evicted
    FROM (SELECT r.device FROM xs.registration r WHERE r.owner = in_owner
          ORDER BY r.registered_at DESC, r.device OFFSET in_limit) x;
    RETURN NEXT;
END $$;

-- By the device's id, or by the client's own when that is NULL.
CREATE FUNCTION xs.device_unregister(in_owner uuid, in_device uuid, in_client uuid, in_app text)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    removed bigint;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    SELECT count(*) FILTER (WHERE xs.registration_remove(in_owner, x.device)) INTO removed
    FROM (SELECT r.device FROM xs.registration r JOIN xs.device d USING (device)
          WHERE r.owner = in_owner AND d.app = in_app
                AND CASE WHEN in_device IS NULL THEN r.client = in_client
                         ELSE r.device = in_device END
          ORDER BY r.device) x;
    RETURN removed;
END $$;

-- The gateway says that the device is gone since then: registrations of before that go.
-- Answers with how many went, and whether this owner's is still there.
CREATE FUNCTION xs.device_drop(in_owner uuid, in_device uuid, in_peer bigint, in_gen bigint,
                               in_newest bigint, in_before timestamptz, in_apns_id uuid,
                               in_status int, in_reason text)
RETURNS TABLE (o_removed bigint, o_registered boolean)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO xs.push_log (owner, device, peer, gen, newest_id, at, apns_id, status, reason)
        VALUES (in_owner, in_device, in_peer, in_gen, in_newest, now(), in_apns_id, in_status,
                in_reason);
    PERFORM FROM xs.device WHERE device = in_device FOR UPDATE;
    SELECT count(*) FILTER (WHERE xs.registration_remove(x.owner, in_device)) INTO o_removed
    FROM (SELECT r.owner FROM xs.registration r
          WHERE r.device = in_device AND r.registered_at < in_before ORDER BY r.owner) x;
    o_registered := EXISTS (SELECT FROM xs.registration r
                            WHERE r.owner = in_owner AND r.device = in_device);
    RETURN NEXT;
END $$;
