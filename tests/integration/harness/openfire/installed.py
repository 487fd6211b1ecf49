# SPDX-License-Identifier: Apache-2.0
"""An Openfire that is installed on this machine ($OPENFIRE_HOME), in place of the stand-in.

It runs from a home of its own (libraries linked, embedded database, set up by autosetup) with what
config/openfire tells administrators to set.  Copies come when Openfire sends them: up to 5 s late.
With monitoring=True it has the monitoring plugin, where that is in its plugins folder.
"""

import os
import secrets
import shutil
import socket
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest

from ..clients import new_id
from ..component import Component
from ..procs import HarnessError, OneProcess, Process, free_port, port_answers, wait_until
from . import far
from .commands import ADMIN, COMMANDS, FORMS, NOTIFICATION, PRESENCES
from .components import DISCO_INFO, published_properties
from .monitoring import MAM

HOST = "e.test"
COMPONENT = "sidecar.e.test"
HELPER = "helper.e.test"  # what the tests want to know of the server, they ask as a component
PLUGIN = "monitoring.jar"
EVENT = "http://jabber.org/protocol/packet#event"

AUTOSETUP = """<?xml version="1.0" encoding="UTF-8"?>
<jive>
  <adminConsole><port>-1</port><securePort>-1</securePort></adminConsole>
  <network><interface>127.0.0.1</interface></network>
  <connectionProvider>
    <className>org.jivesoftware.database.EmbeddedConnectionProvider</className>
  </connectionProvider>
  <autosetup>
    <run>true</run><locale>en</locale>
    <xmpp><domain>{host}</domain><fqdn>localhost</fqdn>
      <auth><anonymous>false</anonymous></auth></xmpp>
    <database><mode>embedded</mode></database>
    <admin><email>a@example.org</email><password>{secret}</password></admin>
  </autosetup>
  {properties}
</jive>
"""


def home():
    """Where one is installed, None when nobody says."""
    named = os.environ.get("OPENFIRE_HOME")
    if named and not (Path(named) / "lib" / "startup.jar").exists():
        raise HarnessError(f"OPENFIRE_HOME={named} has no lib/startup.jar")
    return Path(named) if named else None


def _nested(properties):
    """a.b = c as elements: at the end of autosetup Openfire takes such over."""
    root = ET.Element("root")
    for name, value in properties.items():
        at = root
        for part in name.split("."):
            found = at.find(part)
            at = found if found is not None else ET.SubElement(at, part)
        at.text = value
    return "".join(ET.tostring(child).decode() for child in root)


class InstalledOpenfire(OneProcess):
    kind = "openfire"
    cluster = None
    stands_in = False
    shows_presence_early = True  # before it routes messages by it
    never_kept = ("carbon",)  # what is not put into the offline store
    host, remote_host, rooms = HOST, far.HOST, f"conference.{HOST}"

    def __init__(self, workspace, name="openfire", component=COMPONENT, monitoring=False):
        if monitoring and not (home() / "plugins" / PLUGIN).exists():
            pytest.skip("the monitoring plugin is not installed in this Openfire")
        self.component, self._monitoring = component, monitoring
        self.archive_address = component
        self.secret = secrets.token_hex(16)
        self.c2s_port, self.component_port, self._s2s_port = (free_port() for _ in range(3))
        self.remote = far.FarProsody(workspace, f"{name}-far", self._s2s_port, component)
        self.folder = workspace.folder(name)
        self._helper = None
        self._install()
        workspace.on_close(self.stop)

    def _install(self):
        for part in ("lib", "resources"):
            (self.folder / part).symlink_to(home() / part)
        for part in ("conf", "plugins", "embedded-db", "logs"):
            (self.folder / part).mkdir()
        admin = home() / "plugins" / "admin"
        if admin.exists():
            (self.folder / "plugins" / "admin").symlink_to(admin)
        shutil.copy(home() / "conf" / "security.xml", self.folder / "conf")
        if self._monitoring:
            shutil.copy(home() / "plugins" / PLUGIN, self.folder / "plugins")
        properties = {**published_properties(self.secret),
                      "xmpp.component.socket.port": str(self.component_port),
                      "xmpp.socket.plain.port": str(self.c2s_port),
                      "xmpp.socket.ssl.active": "false",
                      "xmpp.client.tls.policy": "disabled",
                      "xmpp.server.socket.active": "true",
                      "xmpp.server.socket.port": str(self._s2s_port),
                      "xmpp.server.tls.policy": "disabled",
                      "dnsutil.dnsOverride": f"{{{far.HOST},127.0.0.1:{self.remote.s2s_port}}}",
                      "httpbind.enabled": "false"}
        if self._monitoring:
            properties["admin.authorizedJIDs"] = f"admin@{HOST}, {self.component}"
        (self.folder / "conf" / "openfire.xml").write_text(AUTOSETUP.format(
            host=HOST, secret=self.secret, properties=_nested(properties)))

    @staticmethod
    def settings():
        return {"xmpp.presence_every": "1s"}

    def start(self):
        self.remote.start()  # at once, before another takes its ports
        self.process = Process(
            "openfire",
            ["java", "-server", "-Xmx512m", f"-DopenfireHome={self.folder}",
             f"-Dopenfire.lib.dir={self.folder / 'lib'}",
             "-jar", self.folder / "lib" / "startup.jar"],
            self.folder / "stdout.log", cwd=self.folder)
        self.process.wait_ready(
            lambda: port_answers(self.c2s_port) and port_answers(self.component_port), 120)
        self._helper = Component(self.component_port, HELPER, self.secret)
        self._subscribe()
        wait_until(self._is_copied, 60, "the first batch")
        if self._monitoring:
            wait_until(self._offers_archive, 120, "the plugin is deployed", 1)
        return self

    def stop(self):
        if self._helper is not None:
            self._helper.close()
            self._helper = None
        self.remote.stop()
        return super().stop()

    # Questions of a component.

    def _offers_archive(self):
        info = self._ask(f'<query xmlns="{DISCO_INFO}"/>', "get")
        return any(f.get("var") == MAM for f in info.iter(f"{{{DISCO_INFO}}}feature"))

    def _ask(self, payload, kind="set"):
        """The answer to a request; a question's id must be long, all components share them."""
        iq_id = secrets.token_hex(16)
        self._helper.send(
            f'<iq type="{kind}" id="{iq_id}" from="{HELPER}" to="{HOST}">{payload}</iq>')
        return self._helper.inbox.wait_for(lambda s: s.get("id") == iq_id, 15, "an answer")

    def _command(self, node, fields):
        """Both stages; the answer's command."""
        def command(inner="", session=""):
            return f'<command xmlns="{COMMANDS}" node="{node}"{session}>{inner}</command>'
        begun = self._ask(command()).find(f"{{{COMMANDS}}}command")
        rows = "".join(
            f'<field var="{var}">{"".join(f"<value>{escape(v)}</value>" for v in values)}</field>'
            for var, values in {"FORM_TYPE": [ADMIN], **fields}.items())
        done = self._ask(command(f'<x xmlns="{FORMS}" type="submit">{rows}</x>',
                                 f' sessionid="{begun.get("sessionid")}"'))
        return done.find(f"{{{COMMANDS}}}command")

    def _subscribe(self):
        self._command(NOTIFICATION, {"packet_type": ["message"], "direction": ["incoming"],
                                     "processed": ["true"]})

    def sessions(self, user, host=HOST):
        """Those that have announced themselves: of others nobody tells."""
        answer = self._command(PRESENCES, {"max_items": ["none"]})
        jids = [ET.fromstring(value.text).get("from") for value in answer.iter(f"{{{FORMS}}}value")
                if value.text and value.text.startswith("<presence")]
        return sorted(jid.partition("/")[2] for jid in jids
                      if jid.partition("/")[0] == f"{user}@{host}")

    def wait_no_session(self, user, timeout=10):
        wait_until(lambda: not self.sessions(user), timeout, f"{user} has no session", 0.2)

    def settle(self, client):
        """Batches go out in order: when a later message's copy has come, all before have, too."""
        client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", self.host)
        wait_until(self._is_copied, 20, "the next batch")

    def _is_copied(self):
        """A message of our own, within a batch or so: Openfire may lose a copy."""
        mark = new_id("settle" + secrets.token_hex(8))
        since = len(self._helper.inbox)
        self._helper.send(f'<message from="{HELPER}" to="{HELPER}" id="{mark}"/>')
        end = time.monotonic() + 6
        while time.monotonic() < end:
            if any(m.get("id") == mark for s in self._helper.inbox.snapshot()[since:]
                   for copy in s.iter(f"{{{EVENT}}}copy") for m in copy):
                return True
            time.sleep(0.05)
        return False

    # Accounts, as people make them: by in-band registration (XEP-0077).

    def register(self, user, password, host=HOST):
        if host == far.HOST:
            return self.remote.register(user, password, host)
        with socket.create_connection(("127.0.0.1", self.c2s_port), 10) as stream:
            stream.sendall((f"<stream:stream to='{HOST}' version='1.0' xmlns='jabber:client'"
                            " xmlns:stream='http://etherx.jabber.org/streams'>").encode())
            _until(stream, b"</stream:features>")
            stream.sendall((
                "<iq type='set' id='r1'><query xmlns='jabber:iq:register'>"
                f"<username>{escape(user)}</username><password>{escape(password)}</password>"
                "</query></iq>").encode())
            answer = _until(stream, b"r1", b">")
            if b"error" in answer:
                raise HarnessError(f"register {quoteattr(user)}: {answer!r}")

    def ensure(self, user, password, host=HOST):
        if not self.sessions(user):
            self.register(user, password)

    def offline_count(self, user, host=HOST):
        pytest.skip("an installed Openfire does not tell what is in its offline store")



def _until(stream, *ends):
    """What comes, until it holds all of these."""
    text = b""
    while not all(end in text for end in ends):
        data = stream.recv(65536)
        if not data:
            raise HarnessError(f"the stream ended: {text!r}")
        text += data
    return text
