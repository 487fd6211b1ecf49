# SPDX-License-Identifier: Apache-2.0
"""Debian's Prosody, with what the published fragment makes of it."""

import re
import secrets
import socket
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

from .ejabberd import COMPONENT, HOST, REMOTE_HOST, ROOMS
from .procs import (ROOT, HarnessError, OneProcess, Process, free_port, port_answers,
                    wait_until)

# What a server has anyway.  The published fragment comes behind it, so that
# what administrators paste is what is tested.
BASE = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}/data"
admin_socket = "{folder}/admin.sock"
plugin_paths = {{ "/usr/lib/prosody/modules" }}
log = {{ info = "{folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s_port} }}
c2s_direct_tls_ports = {{}}
http_ports = {{}}
https_ports = {{}}
authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
smacks_hibernation_time = {resume_timeout}
modules_enabled = {{
  "roster"; "saslauth"; "disco"; "presence"; "message"; "iq"; "offline"; "ping"; "carbons";
  "smacks"; "blocklist"; "pep"; "admin_shell"; "cloud_notify";
}}
push_notification_with_sender = true
push_notification_with_body = true
modules_disabled = {{ "s2s"; "tls" }}
"""

# A server that knows nothing of the sidecar: the remote side of tests.  And another component.
REMOTE = """
VirtualHost "{remote}"
Component "other.{host}"
  component_secret = "{secret}"
"""

MUC = """
Component "{rooms}" "muc"
"""


def _escape(name):
    """As Prosody names files."""
    return "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in name)


# A server that knows of components what XEP-0114 says, and nothing of what is in
# config/prosody.  For copies an administrator might write rules of his own: here each stanza is
# forwarded when it is sent and, to a local account, when it is delivered.
PLAIN = """
component_ports = {{ {component_port} }}
component_interfaces = {{ "127.0.0.1" }}
component_conflict_resolve = "kick_old"
VirtualHost "{host}"
  {firewall}
Component "{component}"
  component_secret = "{secret}"
"""
FIREWALL = """
  modules_enabled = {{ "firewall" }}
  firewall_scripts = {{ "{rules}" }}
"""
RULES = """
::preroute
KIND: message
FROM: nobody@firewall.invalid
REPLY=never said

KIND: message presence
FORWARD={component}

KIND: iq
TYPE: set
INSPECT: {{http://jabber.org/protocol/pubsub}}pubsub/publish@node=urn:xmpp:mds:displayed:0
FORWARD={component}

::deliver
KIND: message
FROM: nobody@firewall.invalid
REPLY=never said

KIND: message
NOT FROM: {component}
FORWARD={component}
"""


class Prosody(OneProcess):
    kind = "prosody"
    archive_address = None  # queries to the users' own addresses are delegated
    cluster = None

    def __init__(self, workspace, name="prosody", resume_timeout=3, component=COMPONENT,
                 with_muc=False, room_presence=False):
        self.host, self.remote_host, self.rooms = HOST, REMOTE_HOST, ROOMS
        self.component = component
        self.secret = secrets.token_hex(16)
        self.c2s_port, self.component_port = free_port(), free_port()
        self.folder = workspace.folder(name)
        self.config = self.folder / "prosody.cfg.lua"
        (self.folder / "data").mkdir()
        self.rules = self.folder / "prosody.pfw"
        self.room_presence = room_presence
        self.config.write_text(
            BASE.format(folder=self.folder, c2s_port=self.c2s_port,
                        resume_timeout=resume_timeout)
            + self._fragment()
            + REMOTE.format(remote=REMOTE_HOST, host=HOST, secret=self.secret)
            + (MUC.format(rooms=ROOMS) if with_muc else ""))
        workspace.on_close(self.stop)

    def _fragment(self):
        """The published one; its rules are written, too."""
        rules = self._published("prosody.pfw", {"sidecar.example.org": self.component})
        if self.room_presence:  # the lines that are not in force as published
            rules = re.sub(r"^#(?=(KIND|PAYLOAD|TO|FORWARD)[:=])", "", rules, flags=re.M)
        self.rules.write_text(rules)
        return self._published("prosody.cfg.lua", {
            "sidecar.example.org": self.component, "example.org": HOST, "SECRET": self.secret,
            "5347": str(self.component_port), "/etc/prosody/prosody.pfw": str(self.rules)})

    @staticmethod
    def _published(name, placeholders):
        text = (ROOT / "config" / "prosody" / name).read_text()
        for placeholder, value in placeholders.items():
            if placeholder not in text:
                raise HarnessError(f"config/prosody/{name} has no placeholder {placeholder}")
            text = text.replace(placeholder, value)
        return text

    @staticmethod
    def settings():
        return {}

    def settle(self, client):
        """Copies go out with the stanza itself."""

    def start(self):
        self.process = Process("prosody", ["prosody", "-F", "--config", self.config],
                               self.folder / "stdout.log", cwd=self.folder)
        self.process.wait_ready(
            lambda: port_answers(self.c2s_port) and port_answers(self.component_port), 30)
        return self

    # Accounts: files that Prosody reads at each login.

    def _account(self, user, host):
        return self.folder / "data" / _escape(host) / "accounts" / f"{_escape(user)}.dat"

    def register(self, user, password, host=HOST):
        account = self._account(user, host)
        account.parent.mkdir(parents=True, exist_ok=True)
        account.write_text(f'return {{ ["password"] = "{password}"; }}\n')

    def ensure(self, user, password, host=HOST):
        self.register(user, password, host)

    def unregister(self, user, host=HOST):
        self._account(user, host).unlink()

    def offline_count(self, user, host=HOST):
        store = self.folder / "data" / _escape(host) / "offline" / f"{_escape(user)}.list"
        return store.read_text().count("item({") if store.exists() else 0

    # Sessions, by the administrator's shell.

    def _shell(self, lua):
        """As `prosodyctl shell` says it, which takes a Lua of its own for that."""
        with socket.socket(socket.AF_UNIX) as shell:
            shell.settimeout(30)
            shell.connect(str(self.folder / "admin.sock"))
            shell.sendall("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'"
                          " xmlns='xmpp:prosody.im/admin' version='1.0'>"
                          f"<repl-input>&gt; {escape(lua)}</repl-input>".encode())
            parser = ET.XMLPullParser(("end",))
            while data := shell.recv(65536):
                parser.feed(data)
                for _, element in parser.read_events():
                    if element.tag.endswith("}repl-result"):
                        text = element.text or ""
                        if not text.startswith("Result: "):
                            raise HarnessError(f"prosody's shell, {lua}: {text}")
                        return text.removeprefix("Result: ")
        raise HarnessError(f"prosody's shell, {lua}: no answer")

    def sessions(self, user, host=HOST):
        """Resources of the user that have a session, hibernating ones included."""
        found = self._shell(
            f"(function() local names = {{}};"
            f" for name in pairs((prosody.hosts['{host}'].sessions['{user}'] or {{}}).sessions or {{}})"
            " do table.insert(names, name) end; return table.concat(names, ' ') end)()")
        return sorted(found.strip('"').split())

    def kick(self, user, resource, host=HOST):
        self._shell(f"prosody.full_sessions['{user}@{host}/{resource}']:close('reset') or true")

    def wait_no_session(self, user, timeout=10):
        wait_until(lambda: not self.sessions(user), timeout, f"{user} has no session")

    # What the server has seen of components.

    def _log_count(self, text):
        return (self.folder / "prosody.log").read_text(errors="replace").count(text)

    def component_connections(self):
        return self._log_count("External component successfully authenticated")

    def component_is_connected(self):
        return self._shell(f"prosody.hosts['{self.component}'].modules.component.connected") \
            == "true"

    def component_refusals(self):
        return self._log_count("Disconnecting component")


class PlainProsody(Prosody):
    """As any server with components; `forwards`: what passes is forwarded to ours."""

    kind = "generic"

    def __init__(self, workspace, name="generic", forwards=True, **options):
        self.forwards = forwards
        super().__init__(workspace, name, **options)
        self.archive_address = self.component  # nobody delegates

    def settings(self):
        return {"xmpp.copies_from": [HOST]} if self.forwards else {}

    def _fragment(self):
        self.rules.write_text(RULES.format(component=self.component))
        return PLAIN.format(component_port=self.component_port, host=HOST,
                            component=self.component, secret=self.secret,
                            firewall=FIREWALL.format(rules=self.rules) if self.forwards else "")
