-- SPDX-License-Identifier: Apache-2.0
-- In which order entries of the outbox are locked: those that are about something first, then the
-- badges (peer 0), each by owner, device and peer.  So does a batch, which counts before it looks
-- whose total has fallen, and it touches no owners but those of its lane.  The functions that settle
-- and walk entries follow this order from 054 on.

-- Accounts whose phones may show less, because of what they have read in rooms.  Rooms are other
-- lanes' than their members, so the worker makes their entries afterwards.  No key: who adds to
-- it waits for nobody.
CREATE TABLE xs.badge_due (owner uuid NOT NULL);

CREATE FUNCTION xs.badge_due_add(in_owner uuid[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO xs.badge_due (owner)
        SELECT DISTINCT u.owner FROM unnest(in_owner) AS u (owner)
        WHERE EXISTS (SELECT FROM xs.registration g WHERE g.owner = u.owner)
$$;

-- Some of them; answers with how many, in_limit when there may be more.
CREATE FUNCTION xs.badges_due(in_limit int, in_wait_ms bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    owners uuid[];
    n bigint;
BEGIN
    WITH taken AS (
        DELETE FROM xs.badge_due d WHERE d.ctid = ANY (ARRAY(
            SELECT x.ctid FROM xs.badge_due x LIMIT in_limit FOR UPDATE SKIP LOCKED))
        RETURNING d.owner)
    SELECT array_agg(DISTINCT t.owner), count(*) INTO owners, n FROM taken t;
    IF n > 0 THEN
        PERFORM xs.badges_add_all(owners, in_wait_ms);
    END IF;
    RETURN n;
END $$;

-- As before, and phones are told afterwards.
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
        PERFORM xs.badge_due_add(ARRAY[gone]);
        RETURN;
    END IF;
    UPDATE xs.room_member r SET bonds = r.bonds & ~in_bond
        WHERE r.owner = in_owner AND r.peer = in_peer AND r.bonds & in_bond <> 0;
END $$;

-- As before, and phones are told afterwards.
CREATE OR REPLACE FUNCTION xs.notify_bookmarked(in_owner uuid, in_peer bigint, in_level int)
RETURNS void
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
        PERFORM xs.badge_due_add(ARRAY[in_owner]);
    END IF;
END $$;

-- As before, and of an account 1000 rooms at most: a stranger's server could name it in any number,
-- and each is looked at for each number on an icon.
CREATE OR REPLACE FUNCTION xs.room_member_add(in_owner uuid, in_jid text, in_peer bigint, in_member uuid,
                                   in_member_jid text, in_conversation bigint, in_bond int,
                                   in_read_id bigint, in_nick text, in_nick_words text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM xs.room_member r WHERE r.owner = in_owner AND r.peer = in_peer)
        AND (SELECT count(*) >= 1000 FROM (
                 SELECT FROM xs.room_member r WHERE r.member = in_member LIMIT 1000) x) THEN
        RETURN;
    END IF;
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

-- As before; an entry for the badge of an account that stays is made anew when there is one, as its
-- push may be on its way with the old number.
CREATE OR REPLACE FUNCTION xs.registration_remove(in_owner uuid, in_device uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM xs.device WHERE device = in_device FOR UPDATE;
    DELETE FROM xs.registration WHERE owner = in_owner AND device = in_device;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM xs.outbox WHERE owner = in_owner AND device = in_device;
    PERFORM xs.device_forget(in_device);
    INSERT INTO xs.outbox AS o (owner, device, peer, gen, newest_id, counted_at, state, due)
        SELECT r.owner, r.device, 0, xs.id_from_time(clock_timestamp()), 0, clock_timestamp(),
               2, now()
        FROM xs.registration r WHERE r.device = in_device ORDER BY r.owner LIMIT 1
        ON CONFLICT (owner, device, peer) DO UPDATE SET
            gen = greatest(o.gen + 1, excluded.gen),
            counted_at = excluded.counted_at,
            state = CASE o.state WHEN 3 THEN excluded.state ELSE o.state END,
            due = CASE o.state WHEN 3 THEN excluded.due ELSE o.due END,
            attempts = CASE o.state WHEN 3 THEN 0 ELSE o.attempts END,
            reason = CASE o.state WHEN 3 THEN NULL ELSE o.reason END;
    RETURN true;
END $$;
