-- SPDX-License-Identifier: Apache-2.0
-- What one person can make of mentions, rooms and calls has an end.

-- As before, and 1000 at most, which is all that is looked at: of the rooms behind that only
-- whether there is something.
CREATE OR REPLACE FUNCTION xs.rooms_badge(in_member uuid, in_after bigint DEFAULT 0,
                                          OUT messages int, OUT conversations int)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    most constant int := 1000;
    room record;
    n int;
BEGIN
    messages := 0;
    conversations := 0;
    FOR room IN
        SELECT r.owner, r.peer, greatest(r.read_id, in_after) AS read_id, l.level
        FROM xs.room_member r
        CROSS JOIN LATERAL (
            SELECT CASE WHEN EXISTS (
                            SELECT FROM xs.mute u
                            WHERE u.owner = in_member AND u.peer = r.conversation
                                  AND (u.until IS NULL OR u.until > now()))
                        AND NOT EXISTS (
                            SELECT FROM xs.push_settings s
                            WHERE s.owner = in_member AND s.muted_in_badge)
                   THEN 3 ELSE xs.room_level(in_member, r.conversation) END AS level) l
        WHERE r.member = in_member AND l.level < 3
    LOOP
        IF room.level = 1 THEN
            SELECT count(*) INTO n FROM (
                SELECT FROM xs.message m
                WHERE m.owner = room.owner AND m.id > room.read_id
                      AND m.flags & 1536 = 512 AND m.peer IS DISTINCT FROM room.peer
                ORDER BY m.id LIMIT greatest(most - messages, 1)) u;
        ELSE
            SELECT count(*) INTO n FROM (
                SELECT FROM xs.room_mention k
                JOIN xs.message m ON m.owner = room.owner AND m.id = k.id
                                     AND m.flags & 1536 = 512
                WHERE k.member = in_member AND k.peer = room.peer AND k.id > room.read_id
                ORDER BY k.id LIMIT greatest(most - messages, 1)) u;
        END IF;
        messages := messages + n;
        conversations := conversations + (n > 0)::int;
    END LOOP;
    messages := least(messages, most);
END $$;

-- Who never reads a room in which he is named keeps as many of his mentions as are looked at.
CREATE FUNCTION xs.room_mention_trim() RETURNS trigger
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    DELETE FROM xs.room_mention k USING (
            SELECT n.member, n.peer,
                   (SELECT x.id FROM xs.room_mention x
                    WHERE x.member = n.member AND x.peer = n.peer
                    ORDER BY x.id DESC OFFSET 1000 LIMIT 1) AS up_to
            FROM (SELECT DISTINCT a.member, a.peer FROM added a) n) d
        WHERE k.member = d.member AND k.peer = d.peer AND k.id <= d.up_to;
    RETURN NULL;
END $$;
CREATE TRIGGER room_mention_trim AFTER INSERT ON xs.room_mention
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION xs.room_mention_trim();

-- As before, and not above 4 of one caller: he must not keep the others from being heard.
CREATE OR REPLACE FUNCTION xs.call_begin(in_owner uuid[], in_jid text[], in_entry bigint[],
                              in_peer bigint[], in_session text[], in_ref bigint[],
                              in_caller text[], in_media text[], in_at_us bigint[],
                              in_apps text[])
RETURNS TABLE (o_owner uuid, o_jid text, o_peer bigint, o_newest bigint, o_at_us bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT DISTINCT ON (s.owner, s.peer, s.session) s.*,
               timestamptz 'epoch' + s.at_us * interval '1 us' AS at
        FROM unnest(in_owner, in_jid, in_entry, in_peer, in_session, in_ref, in_caller, in_media,
                    in_at_us) AS s(owner, jid, entry, peer, session, ref, caller, media, at_us)
        ORDER BY s.owner, s.peer, s.session, s.at_us),
    of_caller AS MATERIALIZED (
        SELECT s.*, row_number() OVER (PARTITION BY s.owner, s.peer ORDER BY s.at_us)
                    + (SELECT count(*) FROM xs.call k
                       WHERE k.owner = s.owner AND k.peer = s.peer
                             AND k.at > s.at - interval '1 minute') AS nth_of_caller
        FROM said s
        WHERE EXISTS (SELECT FROM xs.registration r
                      WHERE r.owner = s.owner AND r.app = ANY (in_apps))
              AND NOT EXISTS (SELECT FROM xs.call k WHERE k.owner = s.owner
                              AND k.peer = s.peer AND k.session = s.session)),
    heard AS MATERIALIZED (
        SELECT c.*, row_number() OVER (PARTITION BY c.owner ORDER BY c.at_us)
                    + (SELECT count(*) FROM xs.call k
                       WHERE k.owner = c.owner AND k.at > c.at - interval '1 minute') AS nth
        FROM of_caller c WHERE c.nth_of_caller <= 4),
    new AS (
        INSERT INTO xs.call (owner, peer, session, entry, ref, jid, media, at)
        SELECT h.owner, h.peer, h.session, h.entry, nullif(h.ref, 0), h.caller, h.media, h.at
        FROM heard h WHERE h.nth <= 16
        RETURNING owner, peer, session)
    SELECT h.owner, h.jid, h.entry, 0::bigint, h.at_us
    FROM heard h JOIN new USING (owner, peer, session);
END $$;
