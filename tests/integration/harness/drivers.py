# SPDX-License-Identifier: Apache-2.0
"""Clients that are programs of their own: what tests/clients has for each library."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading

from .procs import PATIENCE, ROOT
from .sidecar import build_folder

SOURCES = ROOT / "tests" / "clients"
MODULES = ROOT / "build" / "clients" / "node_modules"


LIBSTROPHE = build_folder() / "libstrophe-walk"


def _python(script):
    return ["/usr/bin/python3", SOURCES / script]


COMMANDS = {
    "stanza.js": ["node", SOURCES / "stanza.cjs"],
    "strophe.js": ["node", SOURCES / "strophe.cjs"],
    "nbxmpp": _python("nbxmpp_walk.py"),
    "libstrophe": [LIBSTROPHE],
}


def missing(name):
    """Why this client cannot run here, or None."""
    if name.endswith(".js"):
        if shutil.which("node") is None:
            return "no node here"
        if not (MODULES / "stanza").exists():
            return "npm could not install the clients: sh tests/deps.sh test says why"
    if name == "libstrophe" and not LIBSTROPHE.exists():
        return f"{LIBSTROPHE} is not built"
    return None


class Walk:
    """What a client found: archive ids and bodies, oldest first."""

    def __init__(self, ids, bodies):
        self.ids, self.bodies = ids, bodies


class Driver:
    """One run of a client: it logs in once and does all the walks."""

    def __init__(self, name, server, user, resource):
        self.name = name
        self.config = {
            "jid": f"{user.bare}/{resource}", "password": user.password,
            "websocket": server.websocket, "tcp": f"127.0.0.1:{server.c2s_port}",
            "port": server.c2s_port,
        }

    def walk(self, *walks, on_page=None, timeout=60):
        """Each of walks says to (the own account without), after, max, reverse, pages (how many at
        most); on_page(number) is called after each page of the first walk, before the next is
        asked for.  Returns a Walk for each."""
        found = []

        def take(said):
            if "ids" in said:
                found.append(Walk(said["ids"], said["bodies"]))
            elif on_page and not found:
                on_page(said["page"])

        self._run(COMMANDS[self.name], {"walks": walks}, take, timeout)
        assert len(found) == len(walks), f"{self.name} found {len(found)} of {len(walks)}"
        return found

    def run_command(self, component, node, values, timeout=30):
        """An ad-hoc command, by nbxmpp: what it says of each step."""
        said = []
        self._run(_python(f"{self.name}_command.py"),
                  {"component": component, "node": node, "values": values}, said.append, timeout)
        return said

    def _run(self, command, more, take, timeout):
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "NODE_PATH": str(MODULES)})
        timer = threading.Timer(timeout * PATIENCE, process.kill)
        timer.start()
        errors = queue.Queue()
        reader = threading.Thread(target=lambda: errors.put(process.stderr.read()), daemon=True)
        reader.start()
        try:
            process.stdin.write(json.dumps({**self.config, **more}) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                said = json.loads(line)
                take(said)
                if "page" in said:
                    with contextlib.suppress(BrokenPipeError):  # its status says why
                        process.stdin.write("\n")
                        process.stdin.flush()
            status = process.wait(timeout * PATIENCE)
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        assert status == 0, f"{self.name} ended with {status}: {errors.get(timeout=5)}"
