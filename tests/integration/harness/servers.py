# SPDX-License-Identifier: Apache-2.0
"""The servers under test.  Whatever its kind, a server has

    kind                      the word for it in xmpp.server
    host, remote_host         the domain that is served, and one that is not (None: there is none)
    component, secret         the sidecar's name and what it shares with the server
    component_port, c2s_port  on loopback
    cluster                   None, or the nodes that are one server
    archive_address           where clients ask for their history: None = their own account
    settings()                what sidecar.yml must say beside that, by dotted name
    start() stop() kill() restart()
    rooms                     the domain of group chats, where it was set up with_muc
    register() ensure() unregister()              accounts: (user, password, host)
    sessions() wait_no_session() offline_count() kick()
    settle(client)            returns when copies of all that the client has sent are on their
                              way to the component, before the answer to its next question
    component_connections() component_refusals()  handshakes that the server has seen

and a module, or make_world(kind=...), names it by kind.  What only one kind has is used by tests
that are about that kind.
"""

from .ejabberd import Ejabberd
from .openfire import OpenfireStandIn
from .openfire.installed import InstalledOpenfire, home
from .prosody import PlainProsody, Prosody

KINDS = {"ejabberd": Ejabberd, "prosody": Prosody, "openfire": InstalledOpenfire if home() else OpenfireStandIn,
         "generic": PlainProsody}


def make_server(kind, workspace, name="", **options):
    return KINDS[kind](workspace, name=f"{kind}{name}", **options)
