-- SPDX-License-Identifier: Apache-2.0
-- As before (054); of a page only what another holds is looked at once more, not all of it.
CREATE OR REPLACE FUNCTION xs.outbox_walk(in_worker uuid, in_owner uuid, in_device uuid, in_peer bigint,
                               in_limit int)
RETURNS TABLE (o_owner uuid, o_device uuid, o_peer bigint, o_mine boolean)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer, o.state, o.lease_by FROM xs.outbox o
        WHERE (o.owner, o.device, o.peer) > (in_owner, in_device, in_peer)
        ORDER BY o.owner, o.device, o.peer LIMIT in_limit),
    -- Waits where a batch is adding to one: that batch has made the entry ours, or failed.
    lost AS MATERIALIZED (
        SELECT o.owner, o.device, o.peer
        FROM page p JOIN xs.outbox o ON o.owner = p.owner AND o.device = p.device
                                        AND o.peer = p.peer
        WHERE p.state = 1 AND p.lease_by IS DISTINCT FROM in_worker
              AND o.state = 1 AND o.lease_by IS DISTINCT FROM in_worker AND xs.loads(in_worker)
        ORDER BY o.peer = 0, o.owner, o.device, o.peer FOR UPDATE OF o),
    freed AS (
        UPDATE xs.outbox o SET state = 2, lease_by = NULL
        FROM lost l
        WHERE o.owner = l.owner AND o.device = l.device AND o.peer = l.peer)
    SELECT p.owner, p.device, p.peer, p.state = 1 AND p.lease_by = in_worker
    FROM page p ORDER BY 1, 2, 3;
END $$;
