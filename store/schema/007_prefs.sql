-- SPDX-License-Identifier: Apache-2.0
-- What an account wants archived (XEP-0441), and its contacts where that decides.  Who writes
-- these takes the owner's lane and raises its last id, as for rows.

CREATE TABLE xs.prefs (
    owner uuid PRIMARY KEY,
    mode smallint NOT NULL CHECK (mode BETWEEN 0 AND 2),  -- always, never, roster
    always text[] NOT NULL,  -- prepared JIDs, bare or full
    never text[] NOT NULL
);

CREATE TABLE xs.roster (
    owner uuid PRIMARY KEY,
    contacts bytea NOT NULL,  -- hashes as in xs.message.peer, 8 bytes each
    read_at timestamptz NOT NULL
);

ALTER TABLE xs.account DROP COLUMN prefs;
