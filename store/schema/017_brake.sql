-- SPDX-License-Identifier: Apache-2.0
-- What was parked because too many devices were rejected comes back when others are accepted.
ALTER TABLE xs.outbox ADD COLUMN braked boolean NOT NULL DEFAULT false;  -- meant while parked
-- Not by when a message was counted: what a message changes in an entry that waits is in no index,
-- it would end HOT updates.
CREATE INDEX outbox_braked ON xs.outbox (due) WHERE state = 3 AND braked;

-- Some of what the brake has parked for an app is due now, what was parked last first: those
-- phones are the most likely to be there.  Answers with how many.
CREATE FUNCTION xs.outbox_give_back(in_app text, in_limit int) RETURNS bigint
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
