#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nbxmpp, the library of Gajim: the same work as walk.cjs, forwards only, as Gajim pages."""

import json
import sys
import traceback

from gi.repository import GLib
from nbxmpp.protocol import JID
from nbxmpp.structs import StanzaHandler

from nbxmpp_login import be_done, give_up, log_in, say


class Walker:
    def __init__(self, config):
        self.walks = config["walks"]
        self.bare = JID.from_string(config["jid"]).new_as_bare()
        self.queries = 0
        self.client = log_in(config, self.next_walk)
        self.client.register_handler(
            StanzaHandler(name="message", callback=self.on_message, priority=51))

    def on_message(self, _client, _stanza, properties):
        if properties.is_mam_message and properties.mam.query_id == f"q{self.queries}":
            self.entries.append((properties.mam.id, properties.body))

    def next_walk(self):
        if not self.walks:
            be_done()
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
        sys.stdin.readline()
        if page.complete or self.pages == self.walk.get("pages"):
            say({"ids": [entry[0] for entry in self.entries],
                 "bodies": [entry[1] for entry in self.entries]})
            self.next_walk()
        else:
            self.ask(page.rsm.last)


walker = Walker(json.loads(sys.stdin.readline()))
GLib.MainLoop().run()
