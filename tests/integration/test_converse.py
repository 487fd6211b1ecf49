# SPDX-License-Identifier: Apache-2.0
"""Converse.js in a headless Chromium: `make browser`."""

import json
import os
import shutil

import pytest

from harness.browser import CONVERSE, Browser, Site, program
from harness.clients import new_id
from harness.procs import ROOT, wait_until

SERVER = {"ejabberd": {"with_mam_never": True}}
MESSAGES = 1000
PATIENCE = 240  # the more messages there are, the longer Converse takes for each
SCREENSHOT = ROOT / "docs" / "converse.png"

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Converse</title>
<link rel="stylesheet" href="converse.min.css">
<script type="module" src="converse.min.js"></script></head><body></body></html>
"""

START = """
new Promise((resolve) => {{
  converse.plugins.add("test", {{ initialize() {{
    window.it = this._converse;
    this._converse.api.listen.on("connected", () => resolve(true));
  }} }});
  converse.initialize({settings});
}})
"""

# In the order of the chat; without the placeholders for gaps.
BODIES = """it.state.chatboxes.get({peer}).messages.models
  .filter((m) => m.get("body")).sort((a, b) => a.get("time") < b.get("time") ? -1 : 1)
  .map((m) => [m.get("body"), m.get("stanza_id " + {own})])"""

# Where Converse knows that messages are missing it puts a place holder, which does this when it
# comes into view.  (Drawing a thousand messages takes Converse minutes: the page stays behind.)
FILL_THE_GAPS = """Promise.all(it.state.chatboxes.get({peer}).messages.models
  .filter((m) => m.fetchMissingMessages && !m.get("fetching"))
  .map((m) => m.fetchMissingMessages())).then(() => true)"""

pytestmark = pytest.mark.skipif(os.environ.get("BROWSER") != "1",
                                reason="takes a browser: make browser")


class Converse:
    def __init__(self, world, browser, user, peer):
        self.browser, self.user, self.peer = browser, user, peer
        folder = world.workspace.folder("converse")
        if not (folder / "dist").exists():
            shutil.copytree(CONVERSE, folder / "dist")
            (folder / "dist" / "index.html").write_text(PAGE)
        self.site = Site(world.workspace, folder / "dist")
        self.websocket = world.ejabberd.websocket

    def start(self):
        self.browser.go(f"{self.site.url}/index.html")
        wait_until(lambda: self.browser.run("typeof converse === 'object' "
                                            "&& typeof converse.initialize === 'function'"),
                   20, "the page is there", 0.2)
        settings = {
            "authentication": "login", "auto_login": True, "jid": self.user.bare,
            "password": self.user.password, "websocket_url": self.websocket,
            "discover_connection_methods": False, "view_mode": "fullscreen", "theme": "classic",
            "persistent_store": "sessionStorage", "loglevel": "warn", "i18n": "en",
            "archived_messages_page_size": "100", "assets_path": "/", "auto_reconnect": False,
            "reuse_scram_keys": False,
            # ejabberd gives up who does not acknowledge for a minute, and while it draws, a
            # page does not.
            "enable_smacks": False,
            "whitelisted_plugins": ["test"], "blacklisted_plugins": ["converse-omemo"]}
        self.browser.run(START.format(settings=json.dumps(settings)), PATIENCE)
        self.browser.run(f"it.api.chats.open({json.dumps(self.peer.bare)}).then(() => true)",
                         PATIENCE)

    def bodies(self):
        return self.browser.run(BODIES.format(peer=json.dumps(self.peer.bare),
                                              own=json.dumps(self.user.bare)), PATIENCE)

    def read_all(self, count):
        """Fetches what is missing, as a reader does who scrolls, until there are so many."""
        def enough():
            self.browser.run(FILL_THE_GAPS.format(peer=json.dumps(self.peer.bare)), PATIENCE)
            found = self.bodies()
            return len(found) >= count and found
        return wait_until(enough, PATIENCE, f"Converse has {count} messages", 0.3)


def test_pages_through_everything_and_catches_up(module_world, world):
    if program() is None or not CONVERSE.exists():
        pytest.fail("Chromium or Converse is not installed: sh tests/deps.sh browser")
    alice, bob, bodies = world.history(MESSAGES)
    sender = world.login(alice)
    browser = Browser(world.workspace)
    converse = Converse(world, browser, bob, alice)
    converse.start()
    # While it reads what was, more arrives.
    meanwhile = [world.body(f"meanwhile {n}") for n in range(20)]
    for body in meanwhile:
        sender.send_chat(bob.bare, body)
    found = converse.read_all(MESSAGES + 20)
    assert sorted(body for body, _ in found) == sorted(bodies + meanwhile)
    ids = [archive_id for _, archive_id in found if archive_id]
    assert len(ids) >= MESSAGES and len(set(ids)) == len(ids)
    # The page is closed; a hundred come; it is opened again with what it had kept.
    browser.go("about:blank")
    world.away(bob)
    missed = [world.body(f"missed {n}") for n in range(120)]
    sender.send_many([f"<message to='{bob.bare}' type='chat' id='{new_id('m')}'>"
                      f"<body>{body}</body></message>" for body in missed])
    world.drain(sender)
    converse.start()
    found = converse.read_all(MESSAGES + 140)
    assert sorted(body for body, _ in found) == sorted(bodies + meanwhile + missed)
    browser.screenshot(SCREENSHOT)
