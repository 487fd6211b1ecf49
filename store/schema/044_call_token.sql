-- SPDX-License-Identifier: Apache-2.0
-- The token that calls are sent to is its registration's.  Who knows a device's token can register
-- it for himself, and must not say for the other accounts on it where their calls go.

ALTER TABLE xs.registration
    ADD COLUMN voip_token text,           -- PushKit's; both NULL: none
    ADD COLUMN voip_sealed bytea,
    ADD COLUMN voip_sealed_by int NOT NULL DEFAULT 0,  -- as xs.device.sealed_by
    ADD COLUMN voip_at timestamptz,       -- when the app last said so
    ADD CONSTRAINT registration_voip_token CHECK (
        CASE WHEN voip_sealed_by = 0 THEN voip_sealed IS NULL ELSE voip_token IS NULL END);

-- Whose it was nobody has written down: it is kept where nobody else is on the device, and where it
-- was said with that registration, not by somebody who has left since.  Apps say it again at each
-- start.
UPDATE xs.registration r SET voip_token = d.voip_token, voip_sealed = d.voip_sealed,
        voip_sealed_by = d.voip_sealed_by, voip_at = d.voip_at
    FROM xs.device d
    WHERE d.device = r.device AND (d.voip_token IS NOT NULL OR d.voip_sealed IS NOT NULL)
          AND d.voip_at BETWEEN r.registered_at AND r.registered_at + interval '10 s'
          AND NOT EXISTS (SELECT FROM xs.registration o
                          WHERE o.device = r.device AND o.owner <> r.owner);
CREATE INDEX registration_voip_sealed_by ON xs.registration (voip_sealed_by, device, owner)
    WHERE voip_token IS NOT NULL OR voip_sealed IS NOT NULL;

DROP FUNCTION xs.device_voip(uuid, text, bytea, int);
ALTER TABLE xs.device
    DROP CONSTRAINT device_voip_token,
    DROP COLUMN voip_token, DROP COLUMN voip_sealed, DROP COLUMN voip_sealed_by,
    DROP COLUMN voip_at;

-- As before, with the registration's own token.
CREATE OR REPLACE FUNCTION xs.outbox_call(in_owner uuid, in_device uuid, in_entry bigint)
RETURNS TABLE (o_peer bigint, o_jid text, o_session text, o_media text, o_muted boolean,
               o_quiet boolean, o_voip_token text, o_voip_sealed bytea,
               o_voip_sealed_by int)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    SELECT k.peer, k.jid, k.session, k.media,
           EXISTS (SELECT FROM xs.mute m WHERE m.owner = k.owner AND m.peer = k.peer
                   AND (m.until IS NULL OR m.until > now())),
           CASE WHEN s.zone IS NULL THEN false ELSE xs.is_quiet(s, k.peer) END,
           r.voip_token, r.voip_sealed, r.voip_sealed_by
    FROM (SELECT c.* FROM xs.call c WHERE c.owner = in_owner AND c.entry = in_entry
          ORDER BY c.at DESC LIMIT 1) k
    LEFT JOIN xs.registration r ON r.owner = in_owner AND r.device = in_device
    LEFT JOIN xs.push_settings s ON s.owner = k.owner
    WHERE NOT k.over;
END $$;

-- The token that calls are sent to, as the app that registers says it; both NULL is none.
CREATE FUNCTION xs.registration_voip(in_owner uuid, in_device uuid, in_token text,
                                     in_sealed bytea, in_sealed_by int)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE xs.registration r SET voip_token = in_token, voip_sealed = in_sealed,
        voip_sealed_by = in_sealed_by, voip_at = clock_timestamp()
    WHERE r.owner = in_owner AND r.device = in_device
          AND (in_token IS NOT NULL OR in_sealed IS NOT NULL
               OR r.voip_token IS NOT NULL OR r.voip_sealed IS NOT NULL);
END $$;
