-- SPDX-License-Identifier: Apache-2.0
-- A third way to count on an app's icon: what has come since it was last opened and is unread.
-- Nothing that a server shows says when that was; the app says it, by registering again at each
-- start or by a command.

COMMENT ON COLUMN xs.app.badge IS '0 unread messages, 1 conversations with some, 2 unread messages '
    'that came after the app was opened';

ALTER TABLE xs.registration
    ADD COLUMN opened_id bigint NOT NULL DEFAULT 0,  -- what was there then, by the owner's own ids
    ADD COLUMN opened_at timestamptz;                -- the same, for what is in other lanes

-- The app was opened on a device, known by its id or by its node.  Answers with how many
-- registrations that is.
CREATE FUNCTION xs.app_opened(in_owner uuid, in_device uuid, in_node text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
    n bigint;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    SELECT last_id INTO place FROM xs.lane WHERE lane = xs.lane_of(in_owner);
    UPDATE xs.registration r SET opened_id = place, opened_at = clock_timestamp()
        WHERE r.owner = in_owner AND (r.device = in_device OR r.node = in_node);
    GET DIAGNOSTICS n = ROW_COUNT;
    IF EXISTS (SELECT FROM xs.registration r JOIN xs.app p ON p.app = r.app
               WHERE r.owner = in_owner AND (r.device = in_device OR r.node = in_node)
                     AND p.badge = 2) THEN
        PERFORM xs.badges_add(in_owner, 2000);
    END IF;
    RETURN n;
END $$;

-- How much of what came after a place is unread, up to 1000: more is not looked at.  Of a
-- conversation that was read up to a later place all that is unread came after it.
CREATE FUNCTION xs.unread_since(in_owner uuid, in_after bigint) RETURNS int
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    c record;
    held int := (SELECT a.unread_conversations FROM xs.account a WHERE a.owner = in_owner);
    muted_too boolean := EXISTS (SELECT FROM xs.push_settings s
                                 WHERE s.owner = in_owner AND s.muted_in_badge);
    total int := 0;
BEGIN
    IF held IS NULL OR held <= 0 THEN
        RETURN 0;
    END IF;
    FOR c IN SELECT k.peer, k.unread, k.read_id, k.last_id FROM xs.conversation k
             WHERE k.owner = in_owner AND k.unread > 0 LIMIT held LOOP
        CONTINUE WHEN c.last_id <= in_after OR NOT muted_too AND EXISTS (
            SELECT FROM xs.mute m WHERE m.owner = in_owner AND m.peer = c.peer
                   AND (m.until IS NULL OR m.until > now()));
        total := total + CASE WHEN c.read_id >= in_after THEN c.unread ELSE (
            SELECT count(*)::int FROM (
                SELECT FROM xs.message m
                WHERE m.owner = in_owner AND m.peer = c.peer AND m.id > in_after
                      AND m.flags & 1 = 1
                ORDER BY m.id LIMIT 1000) x) END;
        IF total >= 1000 THEN
            RETURN 1000;
        END IF;
    END LOOP;
    RETURN total;
END $$;

-- The number for the icon of such an app: up to 1000 of each account.  What only an account's
-- server counts is as it says.
CREATE FUNCTION xs.opened_badge(in_device uuid) RETURNS int
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(coalesce(r.published, least(1000,
               xs.unread_since(r.owner, r.opened_id)
               + CASE WHEN EXISTS (SELECT FROM xs.room_member g WHERE g.member = r.owner)
                      THEN (SELECT b.messages FROM xs.rooms_badge(
                                r.owner, coalesce(xs.id_from_time(r.opened_at), 0)) b)
                      ELSE 0 END))), 0)::int
    FROM xs.registration r WHERE r.device = in_device
$$;

-- As before, for apps of the other two ways.
ALTER FUNCTION xs.device_badge(uuid) RENAME TO device_badge_unread;
CREATE FUNCTION xs.device_badge(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM xs.app p WHERE p.badge = 2) AND EXISTS (
                         SELECT FROM xs.device d JOIN xs.app p ON p.app = d.app
                         WHERE d.device = in_device AND p.badge = 2)
                THEN xs.opened_badge(in_device)
                ELSE (SELECT b.badge FROM xs.device_badge_unread(in_device) b) END
$$;
CREATE OR REPLACE FUNCTION xs.device_muted(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE WHEN p.badge = 1 THEN (c.unread > 0)::int ELSE c.unread END), 0)::int
    FROM xs.registration r
    JOIN xs.push_settings s ON s.owner = r.owner AND s.muted_in_badge
    JOIN xs.mute m ON m.owner = r.owner AND (m.until IS NULL OR m.until > now())
    JOIN xs.conversation c ON c.owner = m.owner AND c.peer = m.peer
    LEFT JOIN xs.app p ON p.app = r.app
    WHERE r.device = in_device AND p.badge IS DISTINCT FROM 2
$$;
