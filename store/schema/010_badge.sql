-- SPDX-License-Identifier: Apache-2.0
-- What an app's icon counts.  The worker writes down its apps at its start.
CREATE TABLE xs.app (
    app text PRIMARY KEY,
    badge smallint NOT NULL  -- 0 unread messages, 1 conversations with unread messages
);

-- The number for the phone's icon: what is unread in all its accounts, less what is muted now.
-- Written so that the few muted conversations are looked up, never all of an account's.
CREATE OR REPLACE FUNCTION xs.device_badge(in_device uuid) RETURNS TABLE (badge int)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE WHEN p.badge = 1 THEN a.unread_conversations ELSE a.unread END
           - coalesce((
               SELECT sum((SELECT CASE WHEN p.badge = 1 THEN (c.unread > 0)::int ELSE c.unread END
                           FROM xs.conversation c
                           WHERE c.owner = m.owner AND c.peer = m.peer))
               FROM xs.mute m
               WHERE m.owner = a.owner AND (m.until IS NULL OR m.until > now())), 0)), 0)::int
    FROM xs.registration r JOIN xs.account a ON a.owner = r.owner
    LEFT JOIN xs.app p ON p.app = r.app
    WHERE r.device = in_device
$$;
