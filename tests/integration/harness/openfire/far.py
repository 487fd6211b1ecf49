# SPDX-License-Identifier: Apache-2.0
"""The other server beside an Openfire that is installed: a Prosody that reaches it by s2s.

There are no names to look up for either: Openfire is told by a property where the other is, and
Prosody by a module that takes the place of its look-ups.
"""

from ..procs import Process, free_port, port_answers
from ..prosody import Prosody

HOST = "r.test"

CONFIG = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}/data"
plugin_paths = {{ "{folder}", "/usr/lib/prosody/modules" }}
log = {{ debug = "{folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s_port} }}
c2s_direct_tls_ports = {{}}
s2s_ports = {{ {s2s_port} }}
s2s_direct_tls_ports = {{}}
http_ports = {{}}
https_ports = {{}}
authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = false
s2s_require_encryption = false
s2s_secure_auth = false
allow_unencrypted_plain_auth = true
modules_enabled = {{
  "there"; "roster"; "saslauth"; "disco"; "presence"; "message"; "iq"; "offline"; "ping";
  "carbons"; "dialback"; "s2s";
}}
modules_disabled = {{ "tls" }}
VirtualHost "{host}"
"""
THERE = """
local basic = require "net.resolvers.basic";
require "net.resolvers.service".new = function (_, service)
  return basic.new("127.0.0.1", service == "xmpp-server" and {port} or 1, "tcp", {{}});
end
"""


class FarProsody(Prosody):
    def __init__(self, workspace, name, openfire_port, archive_address):  # its base makes another
        self.host, self.archive_address = HOST, archive_address
        self.c2s_port, self.s2s_port = free_port(), free_port()
        self.folder = workspace.folder(name)
        self.config = self.folder / "prosody.cfg.lua"
        (self.folder / "data").mkdir()
        (self.folder / "mod_there.lua").write_text(THERE.format(port=openfire_port))
        self.config.write_text(CONFIG.format(folder=self.folder, c2s_port=self.c2s_port,
                                             s2s_port=self.s2s_port, host=HOST))
        workspace.on_close(self.stop)

    def start(self):
        self.process = Process("prosody", ["prosody", "-F", "--config", self.config],
                               self.folder / "stdout.log", cwd=self.folder)
        self.process.wait_ready(
            lambda: port_answers(self.c2s_port) and port_answers(self.s2s_port), 30)
        return self
