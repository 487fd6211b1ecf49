-- SPDX-License-Identifier: Apache-2.0
-- Times of which copies may be missing, to be filled from the server's own archive account by
-- account.  Not led by an owner: like xs.gap, everybody's.
CREATE TABLE xs.fill (
    why text NOT NULL,                -- gap: nothing was read; lost: copies seem to have been
                                      -- dropped; check: from time to time
    from_at timestamptz NOT NULL,     -- by the server's clock
    to_at timestamptz NOT NULL,
    owner uuid,                       -- asked up to here; NULL: nobody yet
    accounts int NOT NULL DEFAULT 0,  -- that were asked
    failed int NOT NULL DEFAULT 0,    -- of these, without an answer of use
    messages bigint NOT NULL DEFAULT 0,  -- that the server told of, most of them known already
    done_at timestamptz,
    PRIMARY KEY (from_at, why)
);
CREATE INDEX fill_open ON xs.fill (from_at) WHERE done_at IS NULL;

ALTER TABLE xs.gap ADD planned boolean NOT NULL DEFAULT false;  -- is in xs.fill

-- Joins what is near and not begun: a link that flaps makes one task.
CREATE FUNCTION xs.fill_add(in_why text, in_from timestamptz, in_to timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE xs.fill f SET to_at = greatest(f.to_at, in_to)
        WHERE f.why = in_why AND f.done_at IS NULL AND f.owner IS NULL
            AND f.from_at <= in_from AND f.to_at >= in_from - interval '10 minutes';
    IF NOT FOUND THEN
        INSERT INTO xs.fill (why, from_at, to_at) VALUES (in_why, in_from, in_to)
            ON CONFLICT (from_at, why) DO NOTHING;
    END IF;
END $$;

-- Plans the gaps that have ended; then the oldest task that is due, with how many there are.
-- Copies have come since in_since_us, and what was read last had passed some time before.  Of
-- what is older than 29 days a row could not be told from a new message any more.
-- in_every_us: how often all that has passed is looked at, 0: never.
CREATE FUNCTION xs.fill_next(in_since_us bigint, in_every_us bigint)
RETURNS TABLE (why text, from_us bigint, to_us bigint, owner uuid, tasks bigint)
LANGUAGE plpgsql AS $$
DECLARE
    since timestamptz := timestamptz 'epoch' + in_since_us * interval '1 us';
    every interval := in_every_us * interval '1 us';
    checked timestamptz;
    gap record;
BEGIN
    FOR gap IN SELECT g.spool, g.epoch, g.from_at,
            CASE WHEN lead(g.from_at) OVER (ORDER BY g.from_at) IS NULL
                THEN greatest(g.to_at, since) ELSE g.to_at END AS to_at, g.planned
        FROM xs.gap g
        WHERE g.from_at > now() - interval '29 days' AND g.to_at IS NOT NULL
        ORDER BY g.from_at
    LOOP
        CONTINUE WHEN gap.planned;
        PERFORM xs.fill_add('gap', gap.from_at - interval '15 s', gap.to_at + interval '5 s');
        UPDATE xs.gap g SET planned = true WHERE g.spool = gap.spool AND g.epoch = gap.epoch;
    END LOOP;
    SELECT max(f.to_at) INTO checked FROM xs.fill f WHERE f.why = 'check';
    IF in_every_us > 0 AND coalesce(checked, '-infinity') < now() - every
        AND NOT EXISTS (SELECT FROM xs.fill f WHERE f.why = 'check' AND f.done_at IS NULL)
    THEN
        INSERT INTO xs.fill (why, from_at, to_at) VALUES ('check',
            greatest(coalesce(checked, now() - every), now() - interval '1 day'),
            now() - interval '15 s');
    END IF;
    UPDATE xs.fill f SET done_at = now()
        WHERE f.done_at IS NULL AND f.from_at < now() - interval '29 days';
    DELETE FROM xs.fill f WHERE f.done_at < now() - interval '30 days';
    RETURN QUERY SELECT f.why, (extract(epoch FROM f.from_at) * 1000000)::bigint,
            (extract(epoch FROM f.to_at) * 1000000)::bigint, f.owner,
            count(*) OVER ()
        FROM xs.fill f
        WHERE f.done_at IS NULL AND f.to_at < now() - interval '10 s'
        ORDER BY f.from_at LIMIT 1;
END $$;

-- False when the task is another one meanwhile: it is to be looked at anew.
CREATE FUNCTION xs.fill_save(in_why text, in_from_us bigint, in_to_us bigint, in_owner uuid,
                             in_accounts int, in_failed int, in_messages bigint, in_done boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE xs.fill f SET owner = coalesce(in_owner, f.owner),
            accounts = f.accounts + in_accounts, failed = f.failed + in_failed,
            messages = f.messages + in_messages,
            done_at = CASE WHEN in_done THEN now() END
        WHERE f.why = in_why AND f.done_at IS NULL
            AND f.from_at = timestamptz 'epoch' + in_from_us * interval '1 us'
            AND f.to_at = timestamptz 'epoch' + in_to_us * interval '1 us';
    RETURN FOUND;
END $$;
