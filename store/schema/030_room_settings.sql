-- SPDX-License-Identifier: Apache-2.0
-- What an account wants to be told of all its rooms, among its other settings.

-- False when there is no such zone: then nothing is changed.  in_rooms 0: as push.rooms.
DROP FUNCTION xs.push_settings_set(uuid, int, int, int, text, text, bigint[], boolean);
CREATE FUNCTION xs.push_settings_set(in_owner uuid, in_content int, in_from int, in_to int,
                                     in_zone text, in_always text, in_peers bigint[],
                                     in_muted boolean, in_rooms int)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    before xs.push_settings;
BEGIN
    IF in_zone IS NOT NULL
        AND NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = in_zone) THEN
        RETURN false;
    END IF;
    PERFORM xs.lane_lock(in_owner);
    SELECT s.* INTO before FROM xs.push_settings s WHERE s.owner = in_owner;
    INSERT INTO xs.push_settings (owner, content, quiet_from, quiet_to, zone, always,
                                  always_peers, muted_in_badge, rooms)
        VALUES (in_owner, in_content, in_from, in_to, in_zone, in_always, in_peers, in_muted,
                nullif(in_rooms, 0))
        ON CONFLICT (owner) DO UPDATE SET content = excluded.content,
            quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to,
            zone = excluded.zone, always = excluded.always,
            always_peers = excluded.always_peers, muted_in_badge = excluded.muted_in_badge,
            rooms = excluded.rooms;
    IF in_muted <> coalesce(before.muted_in_badge, false)
        OR in_rooms <> coalesce(before.rooms, 0) THEN
        PERFORM xs.badges_add(in_owner, 0);
    END IF;
    RETURN true;
END $$;
