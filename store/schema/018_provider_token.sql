-- SPDX-License-Identifier: Apache-2.0
-- The provider token of each team and key (Apple, "Establishing a token-based connection to
-- APNs"): one for all connections and processes, and over their restarts, because the service
-- counts how often it changes.  Sealed with the private key: nobody reads it here.
CREATE TABLE xs.provider_token (
    team_id text NOT NULL,
    key_id text NOT NULL,
    iat bigint NOT NULL,  -- seconds since 1970, as the token says
    sealed bytea NOT NULL,
    PRIMARY KEY (team_id, key_id)
);

-- Offers a token: it is taken where there is none, when it is so many seconds younger than the
-- one there, or when that one was refused or is from a clock that was wrong.  Answers with the
-- one that all are to use; of two who offer at once, one hears of the other's.
CREATE FUNCTION xs.provider_token_offer(in_team text, in_key text, in_iat bigint,
                                        in_sealed bytea, in_younger_s bigint,
                                        in_refused_iat bigint)
RETURNS TABLE (o_iat bigint, o_sealed bytea)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO xs.provider_token AS p (team_id, key_id, iat, sealed)
        VALUES (in_team, in_key, in_iat, in_sealed)
        ON CONFLICT (team_id, key_id) DO UPDATE SET iat = excluded.iat, sealed = excluded.sealed
        WHERE excluded.iat - p.iat >= in_younger_s OR p.iat = in_refused_iat
              OR p.iat - excluded.iat > 300;
    RETURN QUERY SELECT p.iat, p.sealed FROM xs.provider_token p
        WHERE p.team_id = in_team AND p.key_id = in_key;
END $$;
