-- SPDX-License-Identifier: Apache-2.0
-- Pushes of what is said in rooms, to the members that have devices.

-- What the room calls who belongs to it or has said something there.  nick_words is the nick
-- without case, with its words' borders marked (base/words.h).
CREATE TABLE xs.room_nick (
    owner uuid NOT NULL,           -- the room
    peer bigint NOT NULL,          -- as in xs.room_member
    nick text NOT NULL,
    nick_words text NOT NULL,      -- '': there is no word in it
    PRIMARY KEY (owner, peer)
) WITH (fillfactor = 80);

-- Messages that their room has told of and that its members are not told of yet.  The worker
-- goes through the members page by page: those up to after_peer are done.
CREATE TABLE xs.room_due (
    owner uuid NOT NULL,
    id bigint NOT NULL,
    after_peer bigint NOT NULL DEFAULT -9223372036854775808,
    PRIMARY KEY (owner, id)
);
CREATE INDEX room_due_id ON xs.room_due (id);

-- Members with devices whom a message has named.
CREATE TABLE xs.room_mention (
    member uuid NOT NULL,
    peer bigint NOT NULL,          -- as in xs.room_member, where the two name room and member
    id bigint NOT NULL,
    PRIMARY KEY (member, peer, id)
);

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

-- What an account wants to be told of a conversation: 1 always, 2 when it is named, 3 never.
CREATE TABLE xs.notify (
    owner uuid NOT NULL,
    peer bigint NOT NULL,
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 3),
    bookmarked boolean NOT NULL,   -- it stood in a bookmark (XEP-0492), and goes as it came
    PRIMARY KEY (owner, peer)
);
-- The same for all rooms of the account; NULL: as push.rooms, which the worker writes down.
ALTER TABLE xs.push_settings ADD rooms smallint CHECK (rooms BETWEEN 1 AND 3);
INSERT INTO xs.setting (name, value) VALUES ('push.rooms', '2');

-- An entry of the outbox that is about a room has the member's peer, not the conversation: what
-- is said in private with occupants has that, and is written under another lane.
DROP INDEX xs.room_member_member;
CREATE INDEX room_member_member ON xs.room_member (member, peer);

CREATE FUNCTION xs.room_level(in_member uuid, in_conversation bigint) RETURNS int
LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT n.level::int FROM xs.notify n
         WHERE n.owner = in_member AND n.peer = in_conversation),
        (SELECT s.rooms::int FROM xs.push_settings s WHERE s.owner = in_member),
        (SELECT x.value::int FROM xs.setting x WHERE x.name = 'push.rooms'))
$$;

-- What rooms add to a badge: of each what is pushed of it, so far as it is unread, or of what came
-- after a place.  1000 at most, which is all that is looked at: of the rooms behind that only whether
-- there is something.
CREATE FUNCTION xs.rooms_badge(in_member uuid, in_after bigint DEFAULT 0, OUT messages int,
                               OUT conversations int)
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

-- As before, and with rooms; whether an account has any costs one look at an index.
CREATE OR REPLACE FUNCTION xs.device_badge(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(coalesce(r.published,
           CASE WHEN p.badge = 1 THEN a.unread_conversations ELSE a.unread END
           - coalesce((
               SELECT sum((SELECT CASE WHEN p.badge = 1 THEN (c.unread > 0)::int ELSE c.unread END
                           FROM xs.conversation c
                           WHERE c.owner = m.owner AND c.peer = m.peer))
               FROM xs.mute m
               WHERE m.owner = a.owner AND (m.until IS NULL OR m.until > now())), 0)
           + CASE WHEN EXISTS (SELECT FROM xs.room_member g WHERE g.member = a.owner)
                  THEN (SELECT CASE WHEN p.badge = 1 THEN b.conversations ELSE b.messages END
                        FROM xs.rooms_badge(a.owner) b)
                  ELSE 0 END)), 0)::int
    FROM xs.registration r JOIN xs.account a ON a.owner = r.owner
    LEFT JOIN xs.app p ON p.app = r.app
    WHERE r.device = in_device
$$;

-- Members of a room whose positions were moved: their phones may show less.  One at a time in
-- order of owners, as everybody does who touches entries of several.
CREATE FUNCTION xs.badges_add_all(in_owner uuid[], in_wait_ms bigint) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    of_owner uuid;
BEGIN
    FOR of_owner IN
        SELECT DISTINCT g.owner FROM unnest(in_owner) AS u (owner)
        JOIN xs.registration g ON g.owner = u.owner ORDER BY g.owner
    LOOP
        PERFORM xs.badges_add(of_owner, in_wait_ms);
    END LOOP;
END $$;

-- What a bookmark says of a room; 0: nothing, which undoes what another bookmark said.
CREATE FUNCTION xs.notify_bookmarked(in_owner uuid, in_peer bigint, in_level int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF in_level = 0 THEN
        DELETE FROM xs.notify n WHERE n.owner = in_owner AND n.peer = in_peer AND n.bookmarked;
    ELSE
        INSERT INTO xs.notify AS n (owner, peer, level, bookmarked)
            VALUES (in_owner, in_peer, in_level, true)
            ON CONFLICT (owner, peer) DO UPDATE SET level = excluded.level, bookmarked = true
            WHERE n.level <> excluded.level OR NOT n.bookmarked;
    END IF;
    IF FOUND THEN
        PERFORM xs.badges_add_all(ARRAY[in_owner], 2000);
    END IF;
END $$;

-- What the account itself says; 0: as for all its rooms.
CREATE FUNCTION xs.notify_set(in_owner uuid, in_peer bigint, in_level int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM xs.lane_lock(in_owner);
    DELETE FROM xs.notify n WHERE n.owner = in_owner AND n.peer = in_peer;
    IF in_level > 0 THEN
        INSERT INTO xs.notify (owner, peer, level, bookmarked)
            VALUES (in_owner, in_peer, in_level, false);
    END IF;
    PERFORM xs.badges_add_all(ARRAY[in_owner], 0);
END $$;

-- As before, with what the room calls the member; NULL: it has not said.
DROP FUNCTION xs.room_member_add(uuid, text, bigint, uuid, text, bigint, int, bigint);
CREATE FUNCTION xs.room_member_add(in_owner uuid, in_jid text, in_peer bigint, in_member uuid,
                                   in_member_jid text, in_conversation bigint, in_bond int,
                                   in_read_id bigint, in_nick text, in_nick_words text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF in_nick IS NOT NULL THEN
        INSERT INTO xs.room_nick AS n (owner, peer, nick, nick_words)
            VALUES (in_owner, in_peer, in_nick, in_nick_words)
            ON CONFLICT (owner, peer) DO UPDATE SET nick = excluded.nick,
                nick_words = excluded.nick_words
            WHERE n.nick <> excluded.nick;
    END IF;
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

-- As before; who belongs to a room no longer has nothing of it on his phones.
CREATE OR REPLACE FUNCTION xs.room_member_remove(in_owner uuid, in_peer bigint, in_bond int)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    gone uuid;
BEGIN
    DELETE FROM xs.room_member r
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & ~in_bond = 0
        RETURNING r.member INTO gone;
    IF FOUND THEN
        DELETE FROM xs.room_mention k WHERE k.member = gone AND k.peer = in_peer;
        PERFORM xs.badges_add_all(ARRAY[gone], 2000);
        RETURN;
    END IF;
    UPDATE xs.room_member r SET bonds = r.bonds & ~in_bond
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & in_bond <> 0;
END $$;

-- As before, and phones are told of rooms, too.
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
    IF messages > 0 THEN
        PERFORM xs.badges_add(in_owner, 2000);
    END IF;
END $$;

-- One page of a room's members is told of the messages in_id: entries for the worker to take
-- up, for those who have devices, want it, and have not read it or said it themselves.  in_words is
-- what each says, marked as nicks are; named are those that it addresses, nicked the nicks.  The
-- page and its entries are one transaction, so that nobody is left out or told twice; o_done:
-- that was the last one.
CREATE FUNCTION xs.room_push(in_room uuid, in_after bigint, in_limit int, in_settle_ms bigint,
                             in_id bigint[], in_sender bigint[], in_words text[],
                             in_named_id bigint[], in_named bigint[],
                             in_nicked_id bigint[], in_nicked text[],
                             OUT o_entries bigint, OUT o_done boolean)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_memoize = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    up_to bigint;
    held bigint;
BEGIN
    o_entries := 0;
    o_done := false;
    SELECT count(*) INTO held FROM (
        SELECT FROM xs.room_due d WHERE d.owner = in_room AND d.id = ANY (in_id)
               AND d.after_peer = in_after ORDER BY d.id FOR UPDATE) x;
    IF held <> cardinality(in_id) THEN
        RETURN;  -- another worker has been here
    END IF;
    SELECT max(x.peer) INTO up_to FROM (
        SELECT r.peer FROM xs.room_member r WHERE r.owner = in_room AND r.peer > in_after
        ORDER BY r.peer LIMIT in_limit) x;
    o_done := up_to IS NULL OR NOT EXISTS (
        SELECT FROM xs.room_member r WHERE r.owner = in_room AND r.peer > up_to);
    IF o_done THEN
        DELETE FROM xs.room_due d WHERE d.owner = in_room AND d.id = ANY (in_id);
    ELSE
        UPDATE xs.room_due d SET after_peer = up_to
            WHERE d.owner = in_room AND d.id = ANY (in_id);
    END IF;
    WITH said AS MATERIALIZED (
        SELECT * FROM unnest(in_id, in_sender, in_words) AS s (id, sender, words)
        WHERE s.sender <> 0),
    members AS MATERIALIZED (
        SELECT r.member, r.peer, r.read_id, xs.room_level(r.member, r.conversation) AS level,
               coalesce(n.nick_words, '') AS nick
        FROM xs.room_member r
        LEFT JOIN xs.room_nick n ON n.owner = r.owner AND n.peer = r.peer
        WHERE r.owner = in_room AND r.peer > in_after AND r.peer <= up_to
              AND EXISTS (SELECT FROM xs.registration g WHERE g.owner = r.member)),
    mentioned AS MATERIALIZED (
        SELECT m.member, m.peer, m.level, s.id
        FROM members m JOIN said s ON s.sender <> m.peer AND s.id > m.read_id
        WHERE m.nick <> '' AND strpos(s.words, m.nick) > 0
              OR EXISTS (SELECT FROM unnest(in_named_id, in_named) AS u (id, peer)
                         WHERE u.id = s.id AND u.peer = m.peer)
              OR m.nick <> '' AND EXISTS (
                         SELECT FROM unnest(in_nicked_id, in_nicked) AS u (id, nick)
                         WHERE u.id = s.id AND u.nick = m.nick)),
    forgotten AS (
        DELETE FROM xs.room_mention k USING members m
        WHERE k.member = m.member AND k.peer = m.peer AND k.id <= m.read_id
              AND EXISTS (SELECT FROM mentioned x WHERE x.member = m.member)),
    kept AS (
        INSERT INTO xs.room_mention (member, peer, id)
        SELECT x.member, x.peer, x.id FROM mentioned x ON CONFLICT DO NOTHING),
    due AS MATERIALIZED (
        SELECT m.member, m.peer, max(s.id) AS newest
        FROM members m JOIN said s ON s.sender <> m.peer AND s.id > m.read_id
        WHERE m.level = 1 GROUP BY m.member, m.peer
        UNION ALL
        SELECT x.member, x.peer, max(x.id) FROM mentioned x
        WHERE x.level = 2 GROUP BY x.member, x.peer)
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
    SELECT d.member, g.device, d.peer, xs.id_from_time(clock_timestamp()), d.newest, t.at, 2,
           greatest(now(), t.at + in_settle_ms * interval '1 ms')
    FROM due d JOIN xs.registration g ON g.owner = d.member
    CROSS JOIN LATERAL (SELECT timestamptz '2020-01-01 00:00:00+00'
                               + (d.newest >> 8) * interval '1 us' AS at) t
    ORDER BY d.member, g.device, d.peer
    ON CONFLICT (owner, device, peer) DO UPDATE SET
        gen = greatest(o.gen + 1, excluded.gen),
        newest_id = greatest(o.newest_id, excluded.newest_id),
        counted_at = greatest(o.counted_at, excluded.counted_at),
        state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
        due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
        attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
        reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END;
    GET DIAGNOSTICS o_entries = ROW_COUNT;
END $$;

-- What an entry that is about a room tells: the newest message up to there that waits to be read
-- and is to be pushed.  Without one unread is 0.
CREATE FUNCTION xs.outbox_room(in_text boolean, in_member uuid, in_peer bigint,
                               in_newest_id bigint)
RETURNS TABLE (unread int, conversation bigint, jid text, flags int, body text, nick text)
LANGUAGE plpgsql STABLE ROWS 1 SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT (k.id IS NOT NULL)::int, r.conversation, a.jid, k.flags,
           CASE WHEN in_text THEN k.body END,
           (SELECT n.nick FROM xs.room_nick n WHERE n.owner = r.owner AND n.peer = k.peer)
    FROM xs.room_member r JOIN xs.account a ON a.owner = r.owner
    CROSS JOIN LATERAL xs.room_level(in_member, r.conversation) AS l (level)
    LEFT JOIN LATERAL (
        (SELECT m.id, m.peer, m.flags, m.body FROM xs.message m
         WHERE l.level = 1 AND m.owner = r.owner AND m.id > r.read_id AND m.id <= in_newest_id
               AND m.flags & 1536 = 512 AND m.peer IS DISTINCT FROM r.peer
         ORDER BY m.id DESC LIMIT 1)
        UNION ALL
        (SELECT m.id, m.peer, m.flags, m.body FROM xs.room_mention x
         JOIN xs.message m ON m.owner = r.owner AND m.id = x.id AND m.flags & 1536 = 512
         WHERE l.level = 2 AND x.member = in_member AND x.peer = r.peer AND x.id > r.read_id
               AND x.id <= in_newest_id
         ORDER BY x.id DESC LIMIT 1)) k ON true
    WHERE r.member = in_member AND r.peer = in_peer;
END $$;
