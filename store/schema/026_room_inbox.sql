-- SPDX-License-Identifier: Apache-2.0
-- Rooms in the lists of their members' conversations.

-- The member has put the room away with what had been said up to here: what is said later
-- brings it back, and nothing is written for it.
ALTER TABLE xs.room_member ADD archived_id bigint NOT NULL DEFAULT 0;

-- An account's conversations and the rooms that it belongs to, without those that have no
-- message.  What is said in a room and in private with its occupants has one address: it is
-- one conversation.  o_room is NULL where there is no room, else its newest message is
-- o_room_id.
CREATE FUNCTION xs.inbox_with_rooms(in_owner uuid)
RETURNS TABLE (o_peer bigint, o_jid text, o_last_id bigint, o_unread bigint, o_box int,
               o_room uuid, o_room_id bigint)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(c.peer, r.peer), coalesce(c.jid, r.jid), greatest(c.last_id, r.last_id),
           coalesce(c.unread, 0)::bigint + coalesce(r.unread, 0), least(c.box::int, r.box),
           r.room, r.last_id
    FROM (SELECT x.peer, x.jid, x.last_id, x.unread, x.box FROM xs.conversation x
          WHERE x.owner = in_owner AND x.last_id > 0) c
    FULL JOIN (
        SELECT m.conversation AS peer, u.o_jid AS jid, n.id AS last_id, u.o_unread AS unread,
               CASE WHEN n.id <= m.archived_id THEN 1 ELSE 0 END AS box, m.owner AS room
        FROM xs.rooms_unread(in_owner) u
        JOIN xs.room_member m ON m.member = in_owner AND m.conversation = u.o_conversation
        CROSS JOIN LATERAL (SELECT s.id FROM xs.message s
                            WHERE s.owner = m.owner AND s.flags & 32 <> 32
                            ORDER BY s.id DESC LIMIT 1) n) r ON r.peer = c.peer;
END $$;
