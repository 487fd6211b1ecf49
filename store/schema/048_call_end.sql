-- SPDX-License-Identifier: Apache-2.0
-- How a call ended and when, for whoever asks why a phone did not ring.

ALTER TABLE xs.call
    ADD COLUMN over_because text,          -- NULL: it is not over, as far as is known
    ADD COLUMN over_at timestamptz;
UPDATE xs.call SET over_because = 'the call is over', over_at = at WHERE over;
ALTER TABLE xs.call DROP COLUMN over;

-- As before, and for one that is over why it is.
DROP FUNCTION xs.outbox_call(uuid, uuid, bigint);
CREATE FUNCTION xs.outbox_call(in_owner uuid, in_device uuid, in_entry bigint)
RETURNS TABLE (o_peer bigint, o_jid text, o_session text, o_media text, o_muted boolean,
               o_quiet boolean, o_voip_token text, o_voip_sealed bytea,
               o_voip_sealed_by int, o_over_because text)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT k.peer, k.jid, k.session, k.media,
           EXISTS (SELECT FROM xs.mute m WHERE m.owner = k.owner AND m.peer = k.peer
                   AND (m.until IS NULL OR m.until > now())),
           CASE WHEN s.zone IS NULL THEN false ELSE xs.is_quiet(s, k.peer) END,
           r.voip_token, r.voip_sealed, r.voip_sealed_by, k.over_because
    FROM (SELECT c.* FROM xs.call c WHERE c.owner = in_owner AND c.entry = in_entry
          ORDER BY c.at DESC LIMIT 1) k
    LEFT JOIN xs.registration r ON r.owner = in_owner AND r.device = in_device
    LEFT JOIN xs.push_settings s ON s.owner = k.owner;
END $$;
