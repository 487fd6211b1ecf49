-- SPDX-License-Identifier: Apache-2.0
-- Calls (XEP-0353): an outbox entry each, for the apps that ask for calls, with a number of its own
-- below -1 in place of a conversation's; and the second token of a phone that calls are sent to.

ALTER TABLE xs.device
    ADD COLUMN voip_token text,           -- PushKit's; both NULL: none
    ADD COLUMN voip_sealed bytea,
    ADD COLUMN voip_sealed_by int NOT NULL DEFAULT 0,  -- as sealed_by
    ADD COLUMN voip_at timestamptz,       -- when the app last said so
    ADD CONSTRAINT device_voip_token CHECK (
        CASE WHEN voip_sealed_by = 0 THEN voip_sealed IS NULL ELSE voip_token IS NULL END);
CREATE INDEX device_voip_sealed_by ON xs.device (voip_sealed_by, device)
    WHERE voip_token IS NOT NULL OR voip_sealed IS NOT NULL;

-- What is known of a call for as long as a copy of its message may come.
CREATE TABLE xs.call (
    owner uuid NOT NULL,
    peer bigint NOT NULL,                -- who calls, as in xs.conversation
    session text NOT NULL,
    entry bigint NOT NULL,               -- xs.outbox.peer
    ref bigint,                          -- of the message that proposes it; NULL: it has no id
    jid text NOT NULL,                   -- who calls
    media text NOT NULL,
    at timestamptz NOT NULL,
    over boolean NOT NULL DEFAULT false,
    PRIMARY KEY (owner, peer, session)
);
CREATE INDEX call_entry ON xs.call (owner, entry);
CREATE INDEX call_at ON xs.call (at);

-- Calls begin.  Answers with what is to be an entry: nothing for one that is known, for an account
-- without a device of such an app, above 16 calls of one minute, and above 4 of one caller, who must
-- not keep the others from being heard.
CREATE FUNCTION xs.call_begin(in_owner uuid[], in_jid text[], in_entry bigint[], in_peer bigint[],
                              in_session text[], in_ref bigint[], in_caller text[],
                              in_media text[], in_at_us bigint[], in_apps text[])
RETURNS TABLE (o_owner uuid, o_jid text, o_peer bigint, o_newest bigint, o_at_us bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT DISTINCT ON (s.owner, s.peer, s.session) s.*,
               timestamptz 'epoch' + s.at_us * interval '1 us' AS at
        FROM unnest(in_owner, in_jid, in_entry, in_peer, in_session, in_ref, in_caller, in_media,
                    in_at_us) AS s(owner, jid, entry, peer, session, ref, caller, media, at_us)
        ORDER BY s.owner, s.peer, s.session, s.at_us),
    of_caller AS MATERIALIZED (
        SELECT s.*, row_number() OVER (PARTITION BY s.owner, s.peer ORDER BY s.at_us)
                    + (SELECT count(*) FROM xs.call k
                       WHERE k.owner = s.owner AND k.peer = s.peer
                             AND k.at > s.at - interval '1 minute') AS nth_of_caller
        FROM said s
        WHERE EXISTS (SELECT FROM xs.registration r
                      WHERE r.owner = s.owner AND r.app = ANY (in_apps))
              AND NOT EXISTS (SELECT FROM xs.call k WHERE k.owner = s.owner
                              AND k.peer = s.peer AND k.session = s.session)),
    heard AS MATERIALIZED (
        SELECT c.*, row_number() OVER (PARTITION BY c.owner ORDER BY c.at_us)
                    + (SELECT count(*) FROM xs.call k
                       WHERE k.owner = c.owner AND k.at > c.at - interval '1 minute') AS nth
        FROM of_caller c WHERE c.nth_of_caller <= 4),
    new AS (
        INSERT INTO xs.call (owner, peer, session, entry, ref, jid, media, at)
        SELECT h.owner, h.peer, h.session, h.entry, nullif(h.ref, 0), h.caller, h.media, h.at
        FROM heard h WHERE h.nth <= 16
        RETURNING owner, peer, session)
    SELECT h.owner, h.jid, h.entry, 0::bigint, h.at_us
    FROM heard h JOIN new USING (owner, peer, session);
END $$;

-- What a push of a call says, as it is now; no row when it is over or not known any more.
CREATE FUNCTION xs.outbox_call(in_owner uuid, in_device uuid, in_entry bigint)
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
           d.voip_token, d.voip_sealed, d.voip_sealed_by
    FROM (SELECT c.* FROM xs.call c WHERE c.owner = in_owner AND c.entry = in_entry
          ORDER BY c.at DESC LIMIT 1) k
    LEFT JOIN xs.device d ON d.device = in_device
    LEFT JOIN xs.push_settings s ON s.owner = k.owner
    WHERE NOT k.over;
END $$;

-- The token that calls are sent to, as the app that registers says it; both NULL is none.
CREATE FUNCTION xs.device_voip(in_device uuid, in_token text, in_sealed bytea, in_sealed_by int)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE xs.device d SET voip_token = in_token, voip_sealed = in_sealed,
        voip_sealed_by = in_sealed_by, voip_at = clock_timestamp()
    WHERE d.device = in_device AND (in_token IS NOT NULL OR in_sealed IS NOT NULL
                                    OR d.voip_token IS NOT NULL OR d.voip_sealed IS NOT NULL);
END $$;
