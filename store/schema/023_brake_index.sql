-- SPDX-License-Identifier: Apache-2.0
-- What a message changes in an entry that waits is in no index: it would end HOT updates.
DROP INDEX xs.outbox_braked;
CREATE INDEX outbox_braked ON xs.outbox (due) WHERE state = 3 AND braked;

-- As before, but what was parked last comes first.
CREATE OR REPLACE FUNCTION xs.outbox_give_back(in_app text, in_limit int) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    given bigint;
BEGIN
    WITH chosen AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer FROM xs.outbox o
        JOIN xs.device d ON d.device = o.device AND d.app = in_app
        WHERE o.state = 3 AND o.braked
        ORDER BY o.due DESC LIMIT in_limit FOR UPDATE OF o SKIP LOCKED)
    UPDATE xs.outbox o SET state = 2, due = now(), attempts = 0
    FROM chosen c
    WHERE o.owner = c.owner AND o.device = c.device AND o.peer = c.peer;
    GET DIAGNOSTICS given = ROW_COUNT;
    RETURN given;
END $$;
