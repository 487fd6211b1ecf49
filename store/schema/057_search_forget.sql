-- SPDX-License-Identifier: Apache-2.0
-- What is forgotten while a block is made stays forgotten.

-- How often something of the block was forgotten: who makes it begins again when that grows.
ALTER TABLE xs.search_block ADD COLUMN forgot int NOT NULL DEFAULT 0;

-- Nothing that was written in these messages is left in the index; the blocks are made again
-- from what is left of them.  In the transaction that removes or changes the messages.  A whole
-- account: remove its row of xs.account first, which ends the indexing, then call this.  The
-- block's row is taken first: what its maker has written by then is seen by what follows.
CREATE OR REPLACE FUNCTION xs.search_forget(in_owner uuid, in_first bigint, in_last bigint)
RETURNS void LANGUAGE sql AS $$
    UPDATE xs.search_block b SET ids = NULL, forgot = b.forgot + 1
        WHERE b.owner = in_owner AND b.last_id >= in_first AND b.above < in_last
          AND b.above >= coalesce((SELECT p.above FROM xs.search_block p
              WHERE p.owner = in_owner AND p.above < in_first
              ORDER BY p.above DESC LIMIT 1), 0);
    DELETE FROM xs.search_bucket k USING xs.search_block b
        WHERE b.owner = in_owner AND b.last_id >= in_first AND b.above < in_last
          AND b.above >= coalesce((SELECT p.above FROM xs.search_block p
              WHERE p.owner = in_owner AND p.above < in_first
              ORDER BY p.above DESC LIMIT 1), 0)
          AND b.ids IS NULL AND k.owner = b.owner AND k.above = b.above;
    DELETE FROM xs.search_block b
        WHERE b.owner = in_owner
          AND NOT EXISTS (SELECT FROM xs.account a WHERE a.owner = in_owner);
$$;
