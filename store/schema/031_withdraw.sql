-- SPDX-License-Identifier: Apache-2.0
-- Which conversations a device has been shown a notification of, for apps that take them back:
-- when the conversation has been read elsewhere, the next badge update names it.

CREATE TABLE xs.shown (
    owner uuid NOT NULL,
    device uuid NOT NULL,
    peer bigint NOT NULL,
    PRIMARY KEY (owner, device, peer)
);

-- Goes with the registration.
CREATE FUNCTION xs.registration_shown() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM xs.shown s WHERE s.owner = OLD.owner AND s.device = OLD.device;
    RETURN NULL;
END $$;
CREATE TRIGGER registration_shown AFTER DELETE ON xs.registration
    FOR EACH ROW EXECUTE FUNCTION xs.registration_shown();

-- Their devices have been shown a notification.
CREATE FUNCTION xs.shown_add(in_owner uuid[], in_device uuid[], in_peer bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO xs.shown (owner, device, peer)
        SELECT s.owner, s.device, s.peer FROM unnest(in_owner, in_device, in_peer)
            AS s (owner, device, peer)
        JOIN xs.registration r ON r.owner = s.owner AND r.device = s.device
        ON CONFLICT DO NOTHING;
END $$;

-- Whether something in it waits to be read: in the conversation, or in the room in which the
-- owner is that peer, where it is pushed only when it names its member what does.
CREATE FUNCTION xs.is_unread(in_owner uuid, in_peer bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM xs.conversation c
                   WHERE c.owner = in_owner AND c.peer = in_peer AND c.unread > 0)
        OR CASE WHEN EXISTS (SELECT FROM xs.room_member r
                             WHERE r.member = in_owner AND r.peer = in_peer)
                THEN EXISTS (SELECT FROM xs.outbox_room(false, in_owner, in_peer,
                                                        9223372036854775807) x
                             WHERE x.unread > 0)
                ELSE false END
$$;

-- What of it the device may forget: up to 64 of the owner's conversations in which nothing waits
-- to be read, eight bytes each; then eight zero bytes when of no account on the device anything
-- that it was shown does.  Of an account whose server counts only that server knows.  1000 of
-- each account's are looked at.
CREATE FUNCTION xs.withdrawable(in_owner uuid, in_device uuid) RETURNS bytea
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (
        WITH looked AS MATERIALIZED (
            SELECT s.owner, s.peer,
                   CASE WHEN r.published IS NOT NULL THEN r.published > 0
                        ELSE xs.is_unread(s.owner, s.peer) END AS waits
            FROM xs.registration r
            CROSS JOIN LATERAL (SELECT x.owner, x.peer FROM xs.shown x
                                WHERE x.owner = r.owner AND x.device = in_device
                                LIMIT 1000) s
            WHERE r.device = in_device)
        SELECT coalesce((SELECT string_agg(int8send(w.peer), ''::bytea)
                         FROM (SELECT l.peer FROM looked l
                               WHERE l.owner = in_owner AND NOT l.waits LIMIT 64) w),
                        ''::bytea)
               || CASE WHEN EXISTS (SELECT FROM looked l WHERE l.waits) THEN ''::bytea
                       ELSE int8send(0) END);
END $$;

-- A badge update has named them, or, when in_peer holds a 0, all of the device's.
CREATE FUNCTION xs.withdrawn(in_owner uuid, in_device uuid, in_peer bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF 0 = ANY (in_peer) THEN
        DELETE FROM xs.shown s USING xs.registration r
            WHERE r.device = in_device AND s.owner = r.owner AND s.device = in_device;
    ELSE
        DELETE FROM xs.shown s
            WHERE s.owner = in_owner AND s.device = in_device AND s.peer = ANY (in_peer);
    END IF;
END $$;

-- Read on the device itself: it knows.
CREATE FUNCTION xs.shown_forget(in_owner uuid, in_device uuid) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    DELETE FROM xs.shown s WHERE s.owner = in_owner AND s.device = in_device
        AND NOT xs.is_unread(s.owner, s.peer);
END $$;

-- As before, and for devices that may show a notification of what was read.
CREATE OR REPLACE FUNCTION xs.badges_add(in_owner uuid, in_wait_ms bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
    SELECT in_owner, r.device, 0, xs.id_from_time(clock_timestamp()), 0, clock_timestamp(), 2,
           now() + in_wait_ms * interval '1 millisecond'
    FROM xs.registration r JOIN xs.device d ON d.device = r.device
    CROSS JOIN LATERAL xs.device_badge(r.device) b
    CROSS JOIN LATERAL xs.device_muted(r.device) muted
    WHERE r.owner = in_owner AND (d.badge_sent <> b.badge + muted.badge OR EXISTS (
        SELECT FROM xs.registration r2
        JOIN xs.outbox o2 ON o2.owner = r2.owner AND o2.device = r2.device
        WHERE r2.device = r.device AND o2.state <> 3)
        OR EXISTS (SELECT FROM xs.shown s WHERE s.owner = in_owner AND s.device = r.device))
    ORDER BY r.device
    ON CONFLICT (owner, device, peer) DO UPDATE SET
        gen = greatest(o.gen + 1, excluded.gen),
        counted_at = excluded.counted_at,
        state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
        due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
        attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
        reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END
$$;
