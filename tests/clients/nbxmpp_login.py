# SPDX-License-Identifier: Apache-2.0
"""What every script for nbxmpp needs: a session, and a way to say that it went wrong."""

import json
import os
import sys

from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType
from nbxmpp.protocol import JID


def say(value):
    print(json.dumps(value), flush=True)


def give_up(*why):
    """Out of a callback, where an exception would only be logged."""
    print(*why, file=sys.stderr, flush=True)
    os._exit(1)


def be_done():
    sys.stdout.flush()
    os._exit(0)


def log_in(config, connected):
    """The client, which calls connected() once there is a session."""
    jid = JID.from_string(config["jid"])
    client = Client()
    client.set_domain(jid.domain)
    client.set_username(jid.localpart)
    client.set_resource(jid.resource)
    client.set_password(config["password"])
    client.set_custom_host(config["tcp"], ConnectionProtocol.TCP, ConnectionType.PLAIN)
    client.set_mechs(["SCRAM-SHA-1"])
    client.subscribe("connected", lambda *_: connected())
    for signal in ("disconnected", "connection-failed"):
        client.subscribe(signal, lambda *_: give_up(client.get_error()))
    client.connect()
    return client
