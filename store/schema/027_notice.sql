-- SPDX-License-Identifier: Apache-2.0
-- What a push says of a notice (push.notices) is in the stanza: that of the newest message
-- which waits to be read and is to be pushed.  Bit 2048 of xs.message.flags: counted, and no
-- push for it.  Planned as outbox_fetch is.

CREATE FUNCTION xs.outbox_notice(in_owner uuid, in_peer bigint, in_newest_id bigint)
RETURNS bytea
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (SELECT m.stanza FROM xs.conversation c
            JOIN xs.message m ON m.owner = c.owner AND m.peer = c.peer
            WHERE c.owner = in_owner AND c.peer = in_peer AND m.flags & 1 = 1
                  AND m.flags & 2048 = 0 AND m.id > c.read_id AND m.id <= in_newest_id
            ORDER BY m.id DESC LIMIT 1);
END $$;
