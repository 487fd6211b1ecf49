-- SPDX-License-Identifier: Apache-2.0
-- An app with one login: who registers takes the device over, and with it goes what is queued for
-- the account before.  After device_register, so that the device never is without an account.  What
-- a publish has registered (dialect 4) is nobody's login.

CREATE FUNCTION xs.device_take_over(in_owner uuid, in_device uuid) RETURNS bigint
LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE xs.registration_remove(x.owner, in_device))
    FROM (SELECT r.owner FROM xs.registration r
          WHERE r.device = in_device AND r.owner <> in_owner AND r.dialect <> 4
          ORDER BY r.owner) x
$$;

-- Of APNs' tokens, when the service of its app's environment did not know it and the other did.
-- The device stays its app's.
ALTER TABLE xs.device ADD COLUMN sandbox boolean;  -- NULL: as its app
