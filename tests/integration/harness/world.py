# SPDX-License-Identifier: Apache-2.0
"""One tapped server with everything around it, and the steps that tests have in common."""

import contextlib
import itertools
import os
import secrets
import signal
import time

import pytest

from . import spool
from .clients import Client, form_fields, new_id
from .ejabberd import new_password
from .gateway import Gateway, new_fcm_token, new_token
from .oracle import Oracle
from .procs import wait_stopped, wait_until
from .servers import make_server
from .sidecar import Sidecar, merge_dotted
from .webpush import Node, Subscription

APP = "org.example.chat"

_users = itertools.count(1)


class User:
    def __init__(self, name, host, password):
        self.name, self.host, self.password = name, host, password
        self.bare = f"{name}@{host}"

    def __repr__(self):
        return self.bare


class World:
    """Starts what is not given.  Everything is closed with the workspace."""

    def __init__(self, workspace, postgres, loop, server=None, settings=None, apps=(APP,),
                 kind="ejabberd", options=None, start=True, name="", fcm_apps=None,
                 certificate_apps=None, webpush_apps=None, app_settings=None):
        self.workspace, self.postgres, self.loop = workspace, postgres, loop
        self.server = server or make_server(kind, workspace, name, **(options or {})).start()
        self.gateway = Gateway(workspace, topics=apps, name=f"gateway{name}").start()
        self.database = f"xs_{secrets.token_hex(4)}"
        postgres.create_database(self.database)
        entries = ([self.gateway.app(app) for app in apps] +
                   [self.gateway.fcm_app(app, **app_options)
                    for app, app_options in (fcm_apps or {}).items()] +
                   [self.gateway.certificate_app(app, **app_options)
                    for app, app_options in (certificate_apps or {}).items()] +
                   [self.gateway.webpush_app(app, **app_options)
                    for app, app_options in (webpush_apps or {}).items()])
        for entry in entries:
            merge_dotted(entry, (app_settings or {}).get(entry["id"], {}))
        self.sidecar = Sidecar(workspace, self.server, postgres.url(self.database), entries,
                               name=f"sidecar{name}", settings=settings)
        self._oracle = None
        self._node = None
        if start:
            self.sidecar.start()

    @property
    def oracle(self):
        """Connected at first use, so that a test may begin without a database."""
        if self._oracle is None:
            self._oracle = Oracle(self.postgres, self.database)
            self.workspace.on_close(self._oracle.close)
        return self._oracle

    def forget_oracle(self):
        """After PostgreSQL was stopped: connect again at next use."""
        self._oracle = None

    @property
    def ejabberd(self):
        """The server, for tests of what only ejabberd has."""
        return self.server

    @property
    def node(self):
        """Started at first use: the browsers' end of Web Push."""
        if self._node is None:
            self._node = Node(self.workspace)
        return self._node

    @property
    def component(self):
        return self.server.component

    # People.

    def user(self, label="user", host=None):
        """A new account, unique in the test run."""
        user = User(f"{label}{next(_users)}", host or self.server.host, new_password())
        self.server.register(user.name, user.password, user.host)
        return user

    def remote_user(self, label="remote"):
        if self.server.remote_host is None:
            pytest.skip("there is no other server beside this one")
        return self.user(label, self.server.remote_host)

    def users(self, count, label="user"):
        return [self.user(label) for _ in range(count)]

    def client(self, user, resource="r1", sm=False, node=None):
        """A client that is not connected yet; node is one of a cluster."""
        if user.host == self.server.remote_host:  # where that is a server of its own
            node = node or getattr(self.server, "remote", None)
        return Client(self.loop, node or self.server, user.name, user.password, resource,
                      host=user.host, sm=sm)

    def login(self, user, resource="r1", sm=False, node=None, **options):
        return self.client(user, resource, sm, node).login(**options)

    def another(self, client, resource, **options):
        """A further session of the same account."""
        return self.login(User(client.user, client.host, client.password), resource, **options)

    def away(self, user):
        """Waits until the server has no session of the user any more."""
        self.server.wait_no_session(user.name)

    def known_offline(self, user):
        """The account has been seen to come and go: a push need not wait for it."""
        client = self.login(user, "seen")
        client.logout()
        self.away(user)

    # Texts that no log may hold.

    def body(self, text="hello"):
        marker = secrets.token_hex(8)
        self.sidecar.secrets.append(marker)
        return f"{text} {marker}"

    def token(self):
        token = new_token()
        self.sidecar.secrets += [token, token.upper()]
        return token

    def fcm_token(self):
        token = new_fcm_token()
        self.sidecar.secrets.append(token)
        return token

    # Devices.

    def android(self, user, app, token=None):
        """The user's Android phone, in the Tigase dialect: registers and goes away."""
        client = self.login(user, "android")
        token = self.register_device(client, token or self.fcm_token(), provider=app)
        client.logout()
        self.away(user)
        return token

    def subscription(self, origin=None):
        """A browser's, not registered; another origin must lead to the gateway, too."""
        made = Subscription(self.node, self.gateway, origin)
        self.sidecar.secrets += made.secrets
        return made

    def register_webpush(self, client, subscription, device_id="browser-1", **fields):
        """Hands the subscription over; returns the answer's {jid, node, secret}."""
        command = client.command(self.component, "register-push-webpush",
                                 {**subscription.fields, "device-id": device_id, **fields})
        answer = form_fields(command.find("{jabber:x:data}x"))
        self.sidecar.secrets.append(answer["secret"])
        return answer

    def browser(self, user, app, origin=None):
        """The user's browser: subscribes and goes away."""
        client = self.login(user, "browser")
        subscription = self.subscription(origin)
        self.register_webpush(client, subscription, app=app)
        client.logout()
        self.away(user)
        return subscription

    def register_device(self, client, token=None, provider=APP):
        """The Tigase dialect; returns the device token."""
        token = token or self.token()
        client.command(self.component, "register-device",
                       {"provider": provider, "device-token": token})
        return token

    def register_push_apns(self, client, token=None, device_id="device-1", **fields):
        """The p2 dialect; returns (token, {jid, node, secret})."""
        token = token or self.token()
        command = client.command(self.component, "register-push-apns",
                                 {"token": token, "device-id": device_id, **fields})
        answer = form_fields(command.find("{jabber:x:data}x"))
        self.sidecar.secrets.append(answer["secret"])
        return token, answer

    def phone(self, user, resource="phone", app=APP):
        """The user's iPhone: registers a device and goes away.  Returns the device token."""
        client = self.login(user, resource)
        token = self.register_device(client, provider=app)
        client.logout()
        self.away(user)
        return token

    # Waiting.

    def drain(self, client, timeout=15):
        """Returns when everything that the server copied before this call is committed.

        The component answers the ping in stream order, so all earlier copies
        are in the spool by then; the archive then only has to reach its end.
        """
        self.server.settle(client)
        client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", self.component, timeout)
        wait_until(lambda: self.sidecar.behind() == 0, timeout, "the archive has caught up", 0.05)

    def spooled(self, *clients):
        """Returns when everything that the server copied for these before this call is in the
        spool: the sign that drain() waits for while there is a worker."""
        for client in clients:
            self.server.settle(client)
            mark = new_id("spooled" + secrets.token_hex(8))
            client.send_xml(f"<iq type='get' id='{mark}' to='{self.component}'>"
                            "<ping xmlns='urn:xmpp:ping'/></iq>")
            wait_until(lambda mark=mark: any(mark.encode() in spool.text(folder)
                                             for folder in self.sidecar.spools()), 15,
                       f"what {client.jid} has sent is in the spool", 0.05)

    @contextlib.contextmanager
    def held(self, *clients):
        """What these send meanwhile comes to the worker at once: it stands still until all that
        the server shows of it is in the spool."""
        worker = self.sidecar.kill_worker(signal.SIGSTOP)
        wait_stopped(worker)
        try:
            yield
            self.spooled(*clients)
        finally:
            os.kill(worker, signal.SIGCONT)

    def no_push(self, token, seconds, since=0):
        """Watches that nothing (more) is pushed to the token for that long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert len(self.gateway.pushes(token)) == since
            time.sleep(0.1)

    def exchange(self, sender, recipient, body=None, **options):
        """A message between two clients that are online, until it is archived; (id, body)."""
        body = body or self.body()
        message_id = sender.send_chat(recipient.bare, body, **options)
        recipient.wait_message(body)
        self.drain(sender)
        return message_id, body

    def history(self, messages):
        """Two accounts with so many messages between them, half in each direction, in turns of 50:
        (alice, bob, bodies in order)."""
        alice, bob = self.user("alice"), self.user("bob")
        first, second = self.login(alice), self.login(bob)
        bodies = []
        while len(bodies) < messages:
            for client, other in ((first, second), (second, first)):
                part = [self.body(f"number {len(bodies) + n}") for n in range(50)]
                client.send_many([
                    f"<message to='{other.bare}' type='chat' id='{new_id('h')}'>"
                    f"<body>{body}</body></message>" for body in part])
                bodies += part
                other.wait_message(part[-1], 30)
        self.drain(first, 30)
        assert self.oracle.count(alice.bare) == self.oracle.count(bob.bare) == messages
        self.loop.close_clients()
        return alice, bob, bodies

    # Judging.

    def assert_sound(self):
        """What holds after every test, whatever it did."""
        assert self.sidecar.findings() == []
        assert getattr(self.server, "violations", []) == []
        if self.gateway.process is not None:
            assert self.gateway.stats()["violations"] == []
        if self._oracle is not None:
            self._oracle.assert_sound()
