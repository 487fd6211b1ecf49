-- SPDX-License-Identifier: Apache-2.0
-- Archive, read state and the ingest's place.  Every key leads with the owner, nothing relates
-- two owners, there are no sequences: the same schema can be distributed by owner.

-- Keys and what is fixed for the life of this schema.
CREATE TABLE xs.setting (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO xs.setting (name, value) VALUES
    ('lanes', '8'),
    ('id.scheme', 'microseconds since 2020-01-01T00:00:00Z << 8');

-- One writer at a time per lane; last_id makes ids unique and growing in commit order.
CREATE TABLE xs.lane (
    lane smallint PRIMARY KEY,
    last_id bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO xs.lane (lane, last_id) SELECT n, 0 FROM generate_series(0, 7) n;

-- Everything below pos of that spool is committed for that lane.
CREATE TABLE xs.spool_position (
    lane smallint NOT NULL,
    spool uuid NOT NULL,
    pos bigint NOT NULL,
    PRIMARY KEY (lane, spool)
) WITH (fillfactor = 10);

-- The guard of each batch: fails when somebody else has moved the position.
CREATE FUNCTION xs.advance(in_lane smallint, in_spool uuid, in_old bigint, in_new bigint)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE xs.spool_position SET pos = in_new
        WHERE lane = in_lane AND spool = in_spool AND pos = in_old;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lane % of spool % is not at %', in_lane, in_spool, in_old
            USING ERRCODE = 'XS001';
    END IF;
END $$;

CREATE TABLE xs.account (
    owner uuid PRIMARY KEY,
    jid text NOT NULL,
    unread int NOT NULL DEFAULT 0 CHECK (unread >= 0),
    unread_conversations int NOT NULL DEFAULT 0 CHECK (unread_conversations >= 0),
    first_id bigint,                        -- no row of this owner is older
    proven boolean NOT NULL DEFAULT false,  -- something of its own was seen
    prefs jsonb
) WITH (fillfactor = 70);

-- flags: 1 counted, 2 outgoing, 4 retracted, 8 encrypted, 16 groupchat, 32 failed, 64 late.
CREATE TABLE xs.message (
    owner uuid NOT NULL,
    id bigint NOT NULL,         -- time of archiving << 8, see setting id.scheme
    peer bigint NOT NULL,       -- keyed hash of the peer's bare JID; its text is in conversation
    ref_id uuid NOT NULL,       -- owner's first half, keyed hash of (peer, direction, stanza id)
    ref_body bigint NOT NULL,   -- keyed hash of the content
    flags int NOT NULL,
    sent_at timestamptz,        -- the server's delay stamp, where there was one
    body text,
    stanza bytea NOT NULL,
    PRIMARY KEY (owner, id)
) PARTITION BY RANGE (id);
CREATE INDEX message_peer ON xs.message (owner, peer, id);
-- The owner is inside ref_id, so that looking a message up by what it is called has one index to
-- go by: beside (owner, id) a planner without statistics could not tell which is better.
CREATE INDEX message_ref ON xs.message (ref_id);

-- A conversation with last_id 0 has no message: it only keeps a marker that came first.
-- No index on anything that a message changes: it would end HOT updates.
CREATE TABLE xs.conversation (
    owner uuid NOT NULL,
    peer bigint NOT NULL,
    jid text NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    read_id bigint NOT NULL DEFAULT 0,       -- the owner has read up to here
    floor_id bigint NOT NULL DEFAULT 0,      -- retention has removed up to here
    peer_read_id bigint NOT NULL DEFAULT 0,  -- the peer has read up to here
    unread int NOT NULL DEFAULT 0 CHECK (unread >= 0),
    pending_ref bigint,                      -- a marker for a message that was not there yet
    pending_at timestamptz,
    box smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, peer)
) WITH (fillfactor = 80);

CREATE TABLE xs.mute (
    owner uuid NOT NULL,
    peer bigint NOT NULL,
    until timestamptz,
    level smallint NOT NULL,
    PRIMARY KEY (owner, peer)
);

-- Stanzas that PostgreSQL will not take, for a person to look at.
CREATE TABLE xs.quarantine (
    spool uuid NOT NULL,
    pos bigint NOT NULL,
    reason text NOT NULL,
    bytes bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (spool, pos)
);

-- The first id of a moment.
CREATE FUNCTION xs.id_from_time(at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM at) * 1000000 - 1577836800000000)::bigint << 8
$$;

-- Makes the partition of the quarter that holds this moment; true when it was missing.  Index
-- and constraint names follow PostgreSQL's defaults.
CREATE FUNCTION xs.ensure_partition(at timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    utc timestamp := date_trunc('quarter', at AT TIME ZONE 'UTC');
    name text := 'message_' || to_char(utc, 'YYYY"q"Q');
BEGIN
    IF to_regclass('xs.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Two that start at once must not both try.
    PERFORM pg_advisory_xact_lock(7853000113632850);
    IF to_regclass('xs.' || name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE xs.%I (LIKE xs.message INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                   name);
    EXECUTE format('ALTER TABLE xs.message ATTACH PARTITION xs.%I FOR VALUES FROM (%s) TO (%s)',
                   name, xs.id_from_time(utc AT TIME ZONE 'UTC'),
                   xs.id_from_time((utc + interval '3 months') AT TIME ZONE 'UTC'));
    RETURN true;
END $$;

-- The quarter before (what was spooled in it may still come), this one and those ahead.
CREATE FUNCTION xs.ensure_partitions(ahead int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    made int := 0;
BEGIN
    FOR n IN -1 .. ahead LOOP
        IF xs.ensure_partition(now() + n * interval '3 months') THEN
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
