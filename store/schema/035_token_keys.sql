-- SPDX-License-Identifier: Apache-2.0
-- Devices' tokens sealed with a key that is not in the database.  A device is looked up by its id,
-- a keyed hash of app and token, before and after.

ALTER TABLE xs.device
    ALTER COLUMN token DROP NOT NULL,
    ADD COLUMN sealed bytea,
    ADD COLUMN sealed_by int NOT NULL DEFAULT 0,  -- the key's id; 0: the token is in clear
    ADD CONSTRAINT device_token CHECK (CASE WHEN sealed_by = 0
        THEN token IS NOT NULL AND sealed IS NULL ELSE token IS NULL AND sealed IS NOT NULL END);
-- What is not under the key in force is found without reading all the rest.
CREATE INDEX device_sealed_by ON xs.device (sealed_by, device);

-- As before, with the token in one of its two forms.
DROP FUNCTION xs.device_register(uuid, text, uuid, text, text, uuid, int, text, text, text, text,
                                 int);
CREATE FUNCTION xs.device_register(in_owner uuid, in_jid text, in_device uuid,
                                   in_app text, in_token text, in_sealed bytea, in_sealed_by int,
                                   in_client uuid, in_dialect int, in_node text, in_secret text,
                                   in_resource text, in_account_name text, in_limit int)
RETURNS TABLE (o_node text, o_secret text, o_fresh boolean, o_evicted bigint)
LANGUAGE plpgsql AS $$
DECLARE
    old record;
    moved boolean := false;
BEGIN
    PERFORM xs.lane_lock(in_owner);
    INSERT INTO xs.account AS a (owner, jid, proven) VALUES (in_owner, in_jid, true)
        ON CONFLICT (owner) DO UPDATE SET proven = true WHERE NOT a.proven;
    -- Locks the row until the end, see device_forget.
    INSERT INTO xs.device AS d (device, app, token, sealed, sealed_by)
        VALUES (in_device, in_app, in_token, in_sealed, in_sealed_by)
        ON CONFLICT (device) DO UPDATE SET token = excluded.token, sealed = excluded.sealed,
            sealed_by = excluded.sealed_by;

    -- The same installation with a new token keeps its names and what is queued for it.
    SELECT r.* INTO old FROM xs.registration r JOIN xs.device d USING (device)
        WHERE r.owner = in_owner AND r.client = in_client AND r.device <> in_device
              AND d.app = in_app
        ORDER BY r.registered_at DESC LIMIT 1;
    IF FOUND THEN
        moved := true;
        UPDATE xs.outbox o SET device = in_device, state = 2, lease_by = NULL, due = now()
            WHERE o.owner = in_owner AND o.device = old.device AND o.state <> 3
                  AND NOT EXISTS (SELECT FROM xs.outbox x WHERE x.owner = in_owner
                                  AND x.device = in_device AND x.peer = o.peer);
        PERFORM xs.registration_remove(in_owner, old.device);
        -- In another dialect its names have another form.
        IF old.dialect = in_dialect THEN
            in_node := old.node;
            in_secret := coalesce(old.secret, in_secret);
        END IF;
    END IF;

    INSERT INTO xs.registration AS r (owner, device, dialect, client, node, secret, resource,
                                      account_name, registered_at)
    VALUES (in_owner, in_device, in_dialect, in_client, in_node, in_secret, in_resource,
            in_account_name, clock_timestamp())
    ON CONFLICT (owner, device) DO UPDATE SET
        node = CASE WHEN r.dialect = excluded.dialect AND NOT moved
                         AND (r.dialect <> 3 OR r.client = excluded.client) THEN r.node
                    ELSE excluded.node END,
        secret = CASE WHEN r.dialect = excluded.dialect AND NOT moved
                           AND (r.dialect <> 3 OR r.client = excluded.client) THEN r.secret
                      ELSE excluded.secret END,
        dialect = excluded.dialect, client = coalesce(excluded.client, r.client),
        resource = excluded.resource, account_name = excluded.account_name,
        registered_at = excluded.registered_at
    RETURNING r.node, r.secret, r.xmax = 0 AND NOT moved INTO o_node, o_secret, o_fresh;

    SELECT count(*) FILTER (WHERE xs.registration_remove(in_owner, x.device)) INTO o_evicted
    FROM (SELECT r.device FROM xs.registration r WHERE r.owner = in_owner
          ORDER BY r.registered_at DESC, r.device OFFSET in_limit) x;
    RETURN NEXT;
END $$;
