-- SPDX-License-Identifier: Apache-2.0
-- What a batch does for its pushes needs fewer look-ups: a registration says itself which app
-- it is of, and the statement that adds entries lives with the writer, whose session plans as
-- the function did.

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

DROP FUNCTION xs.outbox_add(uuid, int, bigint, bigint, uuid[], bigint[], bigint[], bigint[]);
