-- SPDX-License-Identifier: Apache-2.0
-- Full-text index of owners with more messages than a search reads quickly.  A block is some
-- thousand messages of one owner, made once they are committed, never by who writes them.  What
-- an index says is always checked against the message, so it may say too much, never too little:
-- removing messages needs no change here.
CREATE TABLE xs.search_block (
    owner uuid NOT NULL,
    above bigint NOT NULL,   -- the owner's messages with above < id <= last_id: the block before
    last_id bigint NOT NULL, -- ends where this one begins
    ids bigint[],            -- of the rows that buckets tell by number; NULL: not indexed (again)
    PRIMARY KEY (owner, above)
);
CREATE INDEX search_block_open ON xs.search_block (owner, above) WHERE ids IS NULL;

CREATE TABLE xs.search_bucket (
    owner uuid NOT NULL,
    above bigint NOT NULL,
    bucket int NOT NULL,
    grams bytea NOT NULL,    -- archive/search_block.h
    PRIMARY KEY (owner, above, bucket)
);

-- Nothing that was written in these messages is left in the index; the blocks are made again
-- from what is left of them.  In the transaction that removes or changes the messages.  A whole
-- account: remove its row of xs.account first, which ends the indexing, then call this.
CREATE FUNCTION xs.search_forget(in_owner uuid, in_first bigint, in_last bigint)
RETURNS void LANGUAGE sql AS $$
    WITH hit AS (
        SELECT b.owner, b.above FROM xs.search_block b
        WHERE b.owner = in_owner AND b.last_id >= in_first AND b.above < in_last
          AND b.above >= coalesce((SELECT p.above FROM xs.search_block p
              WHERE p.owner = in_owner AND p.above < in_first
              ORDER BY p.above DESC LIMIT 1), 0)),
    gone AS (
        DELETE FROM xs.search_bucket k USING hit
        WHERE k.owner = hit.owner AND k.above = hit.above)
    UPDATE xs.search_block b SET ids = NULL FROM hit
        WHERE b.owner = hit.owner AND b.above = hit.above AND b.ids IS NOT NULL;
    DELETE FROM xs.search_block b
        WHERE b.owner = in_owner
          AND NOT EXISTS (SELECT FROM xs.account a WHERE a.owner = in_owner);
$$;
