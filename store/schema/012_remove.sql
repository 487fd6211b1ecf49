-- SPDX-License-Identifier: Apache-2.0
-- What is removed leaves nothing in the index of words.

-- Removes an owner's collections from the oldest on: of the peer, or of the domain, or of
-- everybody (both NULL), that start in [from, to) and have a message of last_at or later.
-- Messages from in_keep on lose their content but not their place (flags 32 and 128), so that a copy
-- that comes late is known; older ones go.  None is unread any longer, and
-- none of their words stays in the index.  After about in_rows
-- messages there may be more to do: call again.
CREATE OR REPLACE FUNCTION xs.collections_remove(in_owner uuid, in_lane int, in_peer bigint,
                                      in_domain text, in_from bigint, in_to bigint,
                                      in_last_at bigint, in_keep bigint,
                                      in_changed bigint, in_rows int,
                                      OUT gone int, OUT more boolean)
LANGUAGE plpgsql AS $$
DECLARE
    c record;
    place bigint;
    room int := in_rows;
    n int;
    lost int;
    unread_left int;
    bytes bigint;
BEGIN
    gone := 0;
    -- Nobody counts at the same time.
    PERFORM 1 FROM xs.lane WHERE lane = in_lane FOR UPDATE;
    SELECT changed INTO place FROM xs.collected WHERE owner = in_owner FOR UPDATE;
    place := greatest(coalesce(place, 0), in_changed);
    FOR c IN SELECT peer, start_us, first_id, last_id FROM xs.collection
        WHERE owner = in_owner AND NOT removed AND start_us >= in_from AND start_us < in_to
            AND last_id >= in_last_at AND (in_peer IS NULL OR peer = in_peer)
            AND (in_domain IS NULL OR jid = in_domain
                OR right(jid, length(in_domain) + 1) = '@' || in_domain)
        ORDER BY start_us, peer LOOP
        WITH picked AS (
            SELECT m.id, m.flags FROM xs.message m WHERE m.owner = in_owner
                AND m.peer = c.peer AND m.id >= c.first_id AND m.id <= c.last_id
                AND m.flags & 129 <> 128 ORDER BY m.id LIMIT room),
        emptied AS (
            UPDATE xs.message m SET flags = (m.flags & ~1) | 160, body = NULL, stanza = ''
                FROM picked p WHERE m.owner = in_owner AND m.id = p.id AND m.id >= in_keep),
        deleted AS (
            DELETE FROM xs.message m USING picked p
                WHERE m.owner = in_owner AND m.id = p.id AND m.id < in_keep)
        SELECT count(*), count(*) FILTER (WHERE p.flags & 1 = 1 AND p.id > v.read_id)
            INTO n, lost FROM picked p
            JOIN xs.conversation v ON v.owner = in_owner AND v.peer = c.peer;
        IF lost > 0 THEN
            UPDATE xs.conversation SET unread = greatest(unread - lost, 0)
                WHERE owner = in_owner AND peer = c.peer RETURNING unread INTO unread_left;
            UPDATE xs.account SET unread = greatest(unread - lost, 0),
                unread_conversations =
                    greatest(unread_conversations - (unread_left = 0)::int, 0)
                WHERE owner = in_owner;
        END IF;
        IF n > 0 THEN
            PERFORM xs.search_forget(in_owner, c.first_id, c.last_id);
        END IF;
        room := room - n;
        EXIT WHEN room <= 0; -- of this one there may be more
        room := room - 1;
        WITH d AS (DELETE FROM xs.saved WHERE owner = in_owner AND peer = c.peer
                AND start_us = c.start_us RETURNING length(xml) AS len)
        SELECT coalesce(sum(len), 0) INTO bytes FROM d;
        place := place + 1;
        gone := gone + 1;
        UPDATE xs.collection SET removed = true, version = version + 1, changed = place,
            subject = NULL, previous = NULL, next = NULL, form = NULL
            WHERE owner = in_owner AND peer = c.peer AND start_us = c.start_us;
        UPDATE xs.collected SET changed = place, saved_bytes = saved_bytes - bytes
            WHERE owner = in_owner;
        EXIT WHEN room <= 0;
    END LOOP;
    more := room <= 0;
END $$;
