-- SPDX-License-Identifier: Apache-2.0
--
-- What Prosody needs to know about xmpp-sidecar.  It needs prosody-modules
-- (mod_firewall, mod_delegation, mod_privilege, mod_cloud_notify).  Merge this into
-- prosody.cfg.lua: the first part stands before any VirtualHost, the second
-- goes into yours, the third behind them.  Replace
--
--   example.org           by your own domain,
--   sidecar.example.org   by xmpp.component of sidecar.yml, here and in prosody.pfw,
--   SECRET                by xmpp.secret of sidecar.yml,
--   5347                  by xmpp.port, if another one is wanted.

component_ports = { 5347 }
component_interfaces = { "127.0.0.1" }
-- A connection that broke without a word must not keep the next one out.
component_conflict_resolve = "kick_old"

VirtualHost "example.org"
  modules_enabled = { "firewall"; "delegation"; "privilege"; "cloud_notify" }
  -- Tells the sidecar of what did not reach a client that hibernates (mod_cloud_notify).
  push_notification_with_sender = true
  push_notification_with_body = true
  -- Queries to the users' own addresses are answered by the sidecar.
  modules_disabled = { "mam" }
  firewall_scripts = { "/etc/prosody/prosody.pfw" }
  firewall_extra_chains = {
    sidecar_offline = { type = "event"; priority = 0.1; "message/offline/handle" };
  }
  delegations = {
    ["urn:xmpp:mam:2"] = { jid = "sidecar.example.org" };
    ["urn:xmpp:mam:1"] = { jid = "sidecar.example.org" }; -- older clients
    ["urn:xmpp:archive"] = { jid = "sidecar.example.org" }; -- XEP-0136
    ["urn:xmpp:inbox:1"] = { jid = "sidecar.example.org" };
    ["erlang-solutions.com:xmpp:inbox:0"] = { jid = "sidecar.example.org" };
    ["erlang-solutions.com:xmpp:inbox:0#conversation"] = { jid = "sidecar.example.org" };
  }
  -- Presence and rosters, and sending archive results as the user.
  privileged_entities = {
    ["sidecar.example.org"] = {
      roster = "get"; message = "outgoing"; presence = "managed_entity";
    };
  }

Component "sidecar.example.org"
  component_secret = "SECRET"
  -- These announce to the sidecar what it has been granted.
  modules_enabled = { "delegation"; "privilege" }
