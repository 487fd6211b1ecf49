# SPDX-License-Identifier: Apache-2.0
"""Clients that cost little beside the server they are connected to, and an ejabberd with its own
archive, as an administrator would have it without us."""

import asyncio
import base64
import pathlib

import yaml

from harness.ejabberd import Ejabberd

LIMIT = 1 << 22  # bytes read to find the end of an answer
MAM_SCHEMA = pathlib.Path("/usr/share/ejabberd/sql/pg.sql")


def with_mod_mam(workspace, cluster):
    """Not started; its archive is the new database "mam" of the cluster."""
    cluster.fresh("mam")
    cluster.sql("mam", MAM_SCHEMA.read_text())
    ejabberd = Ejabberd(workspace, name="ejabberd-mam", extra={
        "loglevel": "warning", "sql_type": "pgsql", "sql_username": "xs", "sql_database": "mam",
        "sql_server": "127.0.0.1", "sql_port": cluster.port,
        "modules": {"mod_mam": {"default": "always", "db_type": "sql"}}})
    settings = yaml.safe_load(ejabberd.config.read_text())
    for name in ("mod_service_log", "mod_privilege", "mod_delegation", "mod_push"):
        del settings["modules"][name]
    ejabberd.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    return ejabberd


class Client:
    """One connection that has logged in; it counts the messages that it gets."""

    def __init__(self, name, host):
        self.name, self.host = name, host
        self.reader = self.writer = None
        self.received = 0

    async def login(self, port, password):
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", port, limit=LIMIT)
        header = (f"<stream:stream to='{self.host}' xmlns='jabber:client' version='1.0' "
                  "xmlns:stream='http://etherx.jabber.org/streams'>").encode()
        secret = base64.b64encode(f"\0{self.name}\0{password}".encode()).decode()
        steps = [
            (header, b"</stream:features>"),
            (b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"
             + secret.encode() + b"</auth>", b"<success"),
            (header, b"</stream:features>"),
            (b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
             b"<resource>phone</resource></bind></iq>", b"</iq>"),
            (b"<presence/>", b"<presence"),
        ]
        for sent, wanted in steps:
            self.writer.write(sent)
            await asyncio.wait_for(self.reader.readuntil(wanted), 20)

    async def read(self):
        while data := await self.reader.read(1 << 18):
            self.received += data.count(b"</body>")
