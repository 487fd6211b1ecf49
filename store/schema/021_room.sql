-- SPDX-License-Identifier: Apache-2.0
-- Who belongs to a room, and up to where each has read.  The room owns these rows: its lane
-- writes them beside its messages, of which nothing is written for each member.

COMMENT ON COLUMN xs.message.flags IS
    '1 counted, 2 outgoing, 4 retracted, 8 encrypted, 16 groupchat, 32 hidden, 64 late, '
    '128 not kept, 256 of a publish only, 512 of a room: to be read by its members, '
    '1024 the room has not told of it';

CREATE TABLE xs.room_member (
    owner uuid NOT NULL,           -- the room
    peer bigint NOT NULL,          -- the member, as peer of what it says there
    member uuid NOT NULL,          -- the member, as an owner itself
    conversation bigint NOT NULL,  -- the room, as the member's peer (xs.mute)
    bonds smallint NOT NULL,       -- 1 a rank in the room, 2 a subscription
    read_id bigint NOT NULL,
    PRIMARY KEY (owner, peer)
) WITH (fillfactor = 80);
CREATE INDEX room_member_member ON xs.room_member (member);

-- What a room calls its messages: the owner's first half, keyed hash of the id, as
-- xs.message.ref_id for what their senders call them.
CREATE TABLE xs.room_stanza_id (
    ref_id uuid PRIMARY KEY,
    id bigint NOT NULL
);

-- Under the room's lane.  A second bond moves nothing.
CREATE FUNCTION xs.room_member_add(in_owner uuid, in_jid text, in_peer bigint, in_member uuid,
                                   in_member_jid text, in_conversation bigint, in_bond int,
                                   in_read_id bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO xs.room_member AS r (owner, peer, member, conversation, bonds, read_id)
        VALUES (in_owner, in_peer, in_member, in_conversation, in_bond, in_read_id)
        ON CONFLICT (owner, peer) DO UPDATE SET bonds = r.bonds | in_bond
        WHERE r.bonds | in_bond <> r.bonds;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO xs.account (owner, jid) VALUES (in_owner, in_jid) ON CONFLICT DO NOTHING;
    INSERT INTO xs.account (owner, jid) VALUES (in_member, in_member_jid) ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION xs.room_member_remove(in_owner uuid, in_peer bigint, in_bond int)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM xs.room_member r
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & ~in_bond = 0;
    UPDATE xs.room_member r SET bonds = r.bonds & ~in_bond
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & in_bond <> 0;
END $$;

-- The rooms that an account belongs to, with what it has not read there: the others' messages
-- behind its position, counted now and up to 1000, which is all that is looked at.
CREATE FUNCTION xs.rooms_unread(in_member uuid)
RETURNS TABLE (o_jid text, o_conversation bigint, o_unread int, o_read_id bigint,
               o_first_id bigint, o_last_id bigint)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT a.jid, r.conversation, u.n::int, r.read_id, u.first_id, u.last_id
    FROM xs.room_member r JOIN xs.account a ON a.owner = r.owner
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, min(x.id) AS first_id, max(x.id) AS last_id
        FROM (SELECT m.id FROM xs.message m
              WHERE m.owner = r.owner AND m.id > r.read_id AND m.flags & 1536 = 512
                    AND m.peer IS DISTINCT FROM r.peer
              ORDER BY m.id LIMIT 1000) x) u
    WHERE r.member = in_member;
END $$;

-- As before, and of the rooms that the owner belongs to.
CREATE OR REPLACE FUNCTION xs.mark_all_read(in_owner uuid, OUT conversations bigint,
                                            OUT messages bigint)
LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
    rooms bigint;
    said bigint;
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
    SELECT count(*), coalesce(sum(o_unread), 0) INTO rooms, said
        FROM xs.rooms_unread(in_owner) WHERE o_unread > 0;
    IF said > 0 THEN
        place := xs.id_from_time(clock_timestamp());
        UPDATE xs.room_member r SET read_id = place
            WHERE r.member = in_owner AND r.read_id < place;
        conversations := conversations + rooms;
        messages := messages + said;
    END IF;
END $$;
