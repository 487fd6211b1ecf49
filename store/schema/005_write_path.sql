-- SPDX-License-Identifier: Apache-2.0
-- A batch needs fewer look-ups for its pushes, as a registration says itself which app it is of,
-- and calls no functions, each of which costs more than what it does for a small batch.

ALTER TABLE xs.registration ADD COLUMN app text;  -- its device's, which never changes
UPDATE xs.registration r SET app = d.app FROM xs.device d WHERE d.device = r.device;

CREATE FUNCTION xs.registration_app() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    SELECT d.app INTO NEW.app FROM xs.device d WHERE d.device = NEW.device;
    RETURN NEW;
END $$;
CREATE TRIGGER registration_app BEFORE INSERT ON xs.registration
    FOR EACH ROW EXECUTE FUNCTION xs.registration_app();

-- These are statements of the writer now.
DROP FUNCTION xs.advance(smallint, uuid, bigint, bigint);
DROP FUNCTION xs.outbox_add(uuid, int, bigint, bigint, uuid[], bigint[], bigint[], bigint[]);
DROP FUNCTION xs.outbox_add_badges(uuid, int, bigint, bigint, uuid[]);

-- A worker looks for copies of a message only among rows that others have written.
COMMENT ON COLUMN xs.lane.last_id IS
    'raised by whoever adds rows to the lane, which is how the others notice';
