-- SPDX-License-Identifier: Apache-2.0
-- Stanzas put aside: what they are read with, their true length, and trying them again.
ALTER TABLE xs.quarantine
    ADD COLUMN length bigint,            -- of the stanza; bytes may be only its beginning
    ADD COLUMN header bytea,             -- of its stream, which has the namespaces
    ADD COLUMN received_at timestamptz,  -- when the link read it
    ADD COLUMN retry_at timestamptz,     -- to be tried again, since then
    ADD COLUMN tries int NOT NULL DEFAULT 0,
    ADD COLUMN retry_error text;
UPDATE xs.quarantine SET length = octet_length(bytes), received_at = at;
ALTER TABLE xs.quarantine
    ALTER COLUMN length SET NOT NULL,
    ALTER COLUMN received_at SET NOT NULL;
CREATE INDEX quarantine_at ON xs.quarantine (at);
CREATE INDEX quarantine_retry ON xs.quarantine (retry_at) WHERE retry_at IS NOT NULL;

-- One row: what is there, and what ever was.  Whoever adds or removes locks it first.
CREATE TABLE xs.quarantine_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,    -- ever put aside
    evicted bigint NOT NULL DEFAULT 0,  -- of these, given up to make room
    rows_max bigint NOT NULL DEFAULT 10000,
    bytes_max bigint NOT NULL DEFAULT 67108864
);
INSERT INTO xs.quarantine_state (rows, bytes, total)
    SELECT count(*), coalesce(sum(octet_length(q.bytes)), 0), count(*) FROM xs.quarantine q;

-- False when it was not there.
CREATE FUNCTION xs.quarantine_drop(in_spool uuid, in_pos bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    had bigint;
BEGIN
    PERFORM FROM xs.quarantine_state FOR UPDATE;
    DELETE FROM xs.quarantine q WHERE q.spool = in_spool AND q.pos = in_pos
        RETURNING octet_length(q.bytes) INTO had;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE xs.quarantine_state s SET rows = s.rows - 1, bytes = s.bytes - had;
    RETURN true;
END $$;

-- The same stanza again is nothing new.  Beyond the maximum the oldest go, but for those that
-- wait to be tried again: what is new is what a person will look at.
CREATE FUNCTION xs.quarantine_add(in_spool uuid, in_pos bigint, in_reason text, in_bytes bytea,
                                  in_length bigint, in_header bytea, in_received_us bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    oldest record;
BEGIN
    PERFORM FROM xs.quarantine_state FOR UPDATE;
    INSERT INTO xs.quarantine (spool, pos, reason, bytes, length, header, received_at, at)
        VALUES (in_spool, in_pos, in_reason, in_bytes, in_length, in_header,
                timestamptz 'epoch' + in_received_us * interval '1 us', clock_timestamp())
        ON CONFLICT (spool, pos) DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE xs.quarantine_state s SET rows = s.rows + 1, total = s.total + 1,
        bytes = s.bytes + octet_length(in_bytes);
    WHILE (SELECT s.rows > s.rows_max OR s.bytes > s.bytes_max FROM xs.quarantine_state s) LOOP
        SELECT q.spool, q.pos INTO oldest FROM xs.quarantine q
            WHERE q.retry_at IS NULL AND (q.spool, q.pos) <> (in_spool, in_pos)
            ORDER BY q.at LIMIT 1;
        EXIT WHEN NOT FOUND;
        PERFORM xs.quarantine_drop(oldest.spool, oldest.pos);
        UPDATE xs.quarantine_state s SET evicted = s.evicted + 1;
    END LOOP;
END $$;
