# SPDX-License-Identifier: Apache-2.0
"""Browsers, as far as Web Push goes: subscriptions, and reading what is pushed to them, by npm's
http_ece; and npm's web-push, which sends what our gateway must take."""

import json
import os
import secrets
import shutil
import subprocess

from .drivers import MODULES, SOURCES
from .procs import wait_until


def missing():
    """Why this cannot run here, or None."""
    if shutil.which("node") is None:
        return "no node here"
    if not (MODULES / "web-push").exists():
        return "npm could not install the clients: sh tests/deps.sh test says why"
    return None


class Node:
    """The program in tests/clients that does what a browser would."""

    def __init__(self, workspace):
        self.process = subprocess.Popen(
            ["node", str(SOURCES / "webpush.cjs")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "NODE_PATH": str(MODULES)})
        workspace.on_close(self.stop)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)

    def ask(self, op, **order):
        self.process.stdin.write(json.dumps({"op": op, **order}) + "\n")
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer
        return answer


class WebPush:
    """One request as the Web Push side saw it; status 0 when it was never answered."""

    def __init__(self, record, subscription):
        self.status, self.reason = record["status"], record["reason"]
        self.headers, self.jwt = record["headers"], record["jwt"]
        self.connection, self.time_ms = record["conn"], record["time_ms"]
        self.body = bytes.fromhex(record.get("body_hex", ""))
        self._subscription = subscription

    @property
    def data(self):
        """What the browser's service worker gets."""
        return json.loads(self._subscription.decrypt(self.body))

    def __repr__(self):
        return f"<WebPush {self.status} {self.reason} {self.headers}>"


class Subscription:
    """A PushSubscription at the gateway, or at another origin that leads there."""

    def __init__(self, node, gateway, origin=None):
        self.node, self.gateway = node, gateway
        self.token = secrets.token_hex(32)
        self.endpoint = f"{origin or gateway.webpush_url}/push/{self.token}"
        self.keys = node.ask("subscribe")

    @property
    def fields(self):
        """What the client hands over."""
        return {"endpoint": self.endpoint, "p256dh": self.keys["p256dh"],
                "auth": self.keys["auth"]}

    @property
    def secrets(self):
        return [self.token, self.keys["p256dh"], self.keys["auth"]]

    def decrypt(self, body):
        return self.node.ask("decrypt", keys=self.keys, body=body.hex())["plain"]

    def all(self):
        """Every request, however it was answered, oldest first."""
        return [WebPush(record, self) for record in self.gateway.records(self.token)]

    def accepted(self):
        return [push for push in self.all() if push.status == 201]

    def wait(self, count=1, timeout=15):
        """The pushes that were accepted, once there are that many."""
        wait_until(lambda: len(self.accepted()) >= count, timeout, f"{count} accepted pushes", 0.05)
        return self.accepted()

    def wait_seen(self, count=1, timeout=15):
        wait_until(lambda: len(self.all()) >= count, timeout, f"{count} requests", 0.05)
        return self.all()
