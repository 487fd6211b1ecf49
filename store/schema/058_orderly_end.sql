-- SPDX-License-Identifier: Apache-2.0
-- A worker that has ended in good order has sent nothing whose answer it has not stored.

-- As in 054, and 3: from now on this one, after nobody or one that ended in good order.
CREATE OR REPLACE FUNCTION xs.loader_claim(in_worker uuid, in_begins boolean) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    nobody constant uuid := '00000000-0000-0000-0000-000000000000';
    before record;
BEGIN
    SELECT l.worker, l.seen_at INTO before FROM xs.loader l;
    IF before.worker = in_worker AND before.seen_at > now() - interval '10 seconds' THEN
        RETURN 1;
    END IF;
    UPDATE xs.loader l SET worker = in_worker, seen_at = now()
        WHERE in_begins OR l.worker = in_worker OR l.seen_at < now() - interval '2 minutes';
    RETURN CASE WHEN NOT FOUND THEN 0 WHEN before.worker = in_worker THEN 1
                WHEN before.worker = nobody THEN 3 ELSE 2 END;
END $$;

-- The last that a worker says.
CREATE FUNCTION xs.loader_leave(in_worker uuid) RETURNS void
LANGUAGE sql AS $$
    UPDATE xs.loader l SET worker = '00000000-0000-0000-0000-000000000000'
        WHERE l.worker = in_worker
$$;
