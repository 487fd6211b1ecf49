-- SPDX-License-Identifier: Apache-2.0
-- When nothing was read from a server.  Not led by an owner: a gap is everybody's.
CREATE TABLE xs.gap (
    spool uuid NOT NULL,
    epoch bigint NOT NULL,          -- of the stream that ended
    server text NOT NULL,           -- host:port of the link
    from_at timestamptz NOT NULL,   -- nothing that came later was read
    to_at timestamptz,              -- the next stream began; NULL: not yet
    next_epoch bigint,              -- of that stream
    why text NOT NULL,
    PRIMARY KEY (spool, epoch)
);
CREATE INDEX gap_from ON xs.gap (from_at);

-- The newest 10,000 are kept.
CREATE FUNCTION xs.gap_begin(in_spool uuid, in_epoch bigint, in_server text, in_from_us bigint,
                             in_why text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO xs.gap (spool, epoch, server, from_at, why)
        VALUES (in_spool, in_epoch, in_server,
                timestamptz 'epoch' + in_from_us * interval '1 us', in_why)
        ON CONFLICT (spool, epoch) DO NOTHING;
    DELETE FROM xs.gap
        WHERE from_at < (SELECT from_at FROM xs.gap ORDER BY from_at DESC OFFSET 9999 LIMIT 1);
END $$;

-- A clock that was set back makes no gap of less than nothing.
CREATE FUNCTION xs.gap_end(in_spool uuid, in_epoch bigint, in_to_us bigint)
RETURNS void LANGUAGE sql AS $$
    UPDATE xs.gap SET next_epoch = in_epoch,
        to_at = greatest(from_at, timestamptz 'epoch' + in_to_us * interval '1 us')
    WHERE spool = in_spool AND epoch < in_epoch AND to_at IS NULL
$$;
