-- SPDX-License-Identifier: Apache-2.0
-- Retractions whose message has not come yet: it may be delivered late, or be fetched from the
-- server's archive after a gap.
CREATE TABLE xs.retraction_early (
    ref_id uuid PRIMARY KEY,   -- of the message meant, as in xs.message
    by_id text,                -- the retraction's own id; NULL: it has none
    at timestamptz NOT NULL
);
CREATE INDEX retraction_early_at ON xs.retraction_early (at);
