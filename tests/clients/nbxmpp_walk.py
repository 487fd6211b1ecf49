#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nbxmpp, the library of Gajim: the same work as walk.cjs, forwards only, as Gajim pages."""

import json
import os
import sys
import traceback

from gi.repository import GLib
from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType
from nbxmpp.protocol import JID
from nbxmpp.structs import StanzaHandler


def say(value):
    print(json.dumps(value), flush=True)


def give_up(*why):
    """Out of a callback, where an exception would only be logged."""
    print(*why, file=sys.stderr, flush=True)
    os._exit(1)


class Walker:
    def __init__(self, config):
        self.walks = config["walks"]
        jid = JID.from_string(config["jid"])
        self.bare = jid.new_as_bare()
        self.queries = 0
        self.client = Client()
        self.client.set_domain(jid.domain)
        self.client.set_username(jid.localpart)
        self.client.set_resource(jid.resource)
        self.client.set_password(config["password"])
        self.client.set_custom_host(config["tcp"], ConnectionProtocol.TCP, ConnectionType.PLAIN)
        self.client.set_mechs(["SCRAM-SHA-1"])
        self.client.subscribe("connected", lambda *_: self.next_walk())
        for signal in ("disconnected", "connection-failed"):
            self.client.subscribe(signal, lambda *_: give_up(self.client.get_error()))
        self.client.register_handler(
            StanzaHandler(name="message", callback=self.on_message, priority=51))
        self.client.connect()

    def on_message(self, _client, _stanza, properties):
        if properties.is_mam_message and properties.mam.query_id == f"q{self.queries}":
            self.entries.append((properties.mam.id, properties.body))

    def next_walk(self):
        if not self.walks:
            sys.stdout.flush()
            os._exit(0)
        self.walk = self.walks.pop(0)
        self.entries, self.pages = [], 0
        self.ask(self.walk.get("after"))

    def ask(self, after):
        self.queries += 1
        self.client.get_module("MAM").make_query(
            self.walk.get("to") or self.bare, queryid=f"q{self.queries}", after=after,
            max_=self.walk["max"], callback=self.on_page)

    def on_page(self, task):
        try:
            page = task.finish()
        except Exception:
            give_up(traceback.format_exc())
        self.pages += 1
        say({"page": self.pages})
        if page.complete or self.pages == self.walk.get("pages"):
            say({"ids": [entry[0] for entry in self.entries],
                 "bodies": [entry[1] for entry in self.entries]})
            self.next_walk()
        else:
            self.ask(page.rsm.last)


walker = Walker(json.loads(sys.stdin.readline()))
GLib.MainLoop().run()
