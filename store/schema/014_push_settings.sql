-- SPDX-License-Identifier: Apache-2.0
-- What an account wants to be told of and when.  Nothing here changes what is counted as unread.

CREATE TABLE xs.push_settings (
    owner uuid PRIMARY KEY,
    content smallint CHECK (content BETWEEN 0 AND 3),  -- no more than that; NULL: as push.content
    quiet_from smallint CHECK (quiet_from BETWEEN 0 AND 1439),  -- minute of the day, NULL: never
    quiet_to smallint CHECK (quiet_to BETWEEN 0 AND 1439),
    zone text,                                         -- on the clock of that place, by IANA's name
    always text NOT NULL DEFAULT '',                   -- who is heard at any time: bare JIDs, one a line
    always_peers bigint[] NOT NULL DEFAULT '{}',       -- the same as in xs.conversation
    muted_in_badge boolean NOT NULL DEFAULT false,
    CHECK ((quiet_from IS NULL) = (zone IS NULL) AND (quiet_to IS NULL) = (zone IS NULL)
           AND (zone IS NULL OR quiet_from <> quiet_to))
);

-- Whether the clock of that place shows a time from the one minute of the day up to the other,
-- over midnight when it comes first.  What a clock skips or shows twice in spring and autumn is
-- taken as it shows.
CREATE FUNCTION xs.in_quiet_hours(in_at timestamptz, in_zone text, in_from int, in_to int)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    shown timestamp := in_at AT TIME ZONE in_zone;
    minute int := extract(hour FROM shown) * 60 + extract(minute FROM shown);
BEGIN
    RETURN CASE WHEN in_from < in_to THEN minute >= in_from AND minute < in_to
                ELSE minute >= in_from OR minute < in_to END;
END $$;

-- The same now, for a message of that peer.  A place that an upgrade has taken from PostgreSQL's
-- list must not stop the pushes of all.
CREATE FUNCTION xs.is_quiet(s xs.push_settings, in_peer bigint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN s.zone IS NOT NULL AND in_peer <> ALL (s.always_peers)
           AND xs.in_quiet_hours(now(), s.zone, s.quiet_from, s.quiet_to);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;

-- What a device's badge has beside xs.device_badge: muted conversations of accounts that want
-- them counted.
CREATE FUNCTION xs.device_muted(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE WHEN p.badge = 1 THEN (c.unread > 0)::int ELSE c.unread END), 0)::int
    FROM xs.registration r
    JOIN xs.push_settings s ON s.owner = r.owner AND s.muted_in_badge
    JOIN xs.mute m ON m.owner = r.owner AND (m.until IS NULL OR m.until > now())
    JOIN xs.conversation c ON c.owner = m.owner AND c.peer = m.peer
    LEFT JOIN xs.app p ON p.app = r.app
    WHERE r.device = in_device
$$;

-- As before, and with what device_muted adds.
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

-- False when there is no such zone: then nothing is changed.
CREATE FUNCTION xs.push_settings_set(in_owner uuid, in_content int, in_from int, in_to int,
                                     in_zone text, in_always text, in_peers bigint[],
                                     in_muted boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    muted_before boolean;
BEGIN
    IF in_zone IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = in_zone) THEN
        RETURN false;
    END IF;
    PERFORM xs.lane_lock(in_owner);
    SELECT s.muted_in_badge INTO muted_before FROM xs.push_settings s WHERE s.owner = in_owner;
    INSERT INTO xs.push_settings (owner, content, quiet_from, quiet_to, zone, always,
                                  always_peers, muted_in_badge)
        VALUES (in_owner, in_content, in_from, in_to, in_zone, in_always, in_peers, in_muted)
        ON CONFLICT (owner) DO UPDATE SET content = excluded.content,
            quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to,
            zone = excluded.zone, always = excluded.always,
            always_peers = excluded.always_peers, muted_in_badge = excluded.muted_in_badge;
    IF in_muted <> coalesce(muted_before, false) THEN
        PERFORM xs.badges_add(in_owner, 0);
    END IF;
    RETURN true;
END $$;

-- An account's own device leaves, by the name that it was shown under.
CREATE FUNCTION xs.device_remove(in_owner uuid, in_device uuid) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM xs.lane_lock(in_owner);
    RETURN xs.registration_remove(in_owner, in_device)::int;
END $$;

-- An alert about nothing to each device of the account (peer -1), for the worker to take up.
CREATE FUNCTION xs.test_push(in_owner uuid) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    place bigint := xs.id_from_time(clock_timestamp());
    n bigint;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
        SELECT in_owner, r.device, -1, place, place, clock_timestamp(), 2, now()
        FROM xs.registration r WHERE r.owner = in_owner ORDER BY r.device
        ON CONFLICT (owner, device, peer) DO UPDATE SET
            gen = greatest(o.gen + 1, excluded.gen),
            newest_id = excluded.newest_id,
            counted_at = excluded.counted_at,
            state = CASE o.state WHEN 1 THEN 1 ELSE 2 END,
            due = CASE o.state WHEN 1 THEN o.due ELSE now() END,
            attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
            reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;
