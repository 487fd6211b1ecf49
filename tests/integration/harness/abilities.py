# SPDX-License-Identifier: Apache-2.0
"""What is promised on which server, and why not on another: the one table.

A test says what it needs with @pytest.mark.needs("…") and is skipped, with the reason, where
that is not to be had.  tests/servers.py writes the table into docs/servers.md and sees that
every promise has a test which runs on that server.  No imports here: it runs without the harness.
"""

TITLES = {"ejabberd": "ejabberd", "prosody": "Prosody", "openfire": "Openfire",
          "generic": "any other"}

# In the order of the page.
ABILITIES = {
    "copies": "each message is one row of each local owner, whoever is online",
    "component-archive": "history, conversations and preferences at the component's address",
    "registration": "device registration by ad-hoc command",
    "read-state": "read state, counts, badge updates",
    "publishes-seen": "what a device has displayed (XEP-0490), though no other device is online",
    "pushes": "pushes as the table in architecture.md decides",
    "own-archive": "history, conversations and preferences at the users' own addresses",
    "rosters": "preferences by roster (XEP-0441 `roster`), and names out of it in pushes",
    "snapshot": "who is online when the sidecar connects",
    "live-presence": "who comes and goes, as it happens",
    "goodbyes": "a session that ends without a word is known to have ended",
    "undelivered": "the server's sign that a session did not get a message",
    "remote-offline": "what comes from another server for somebody who is away, at once",
    "blocked": "what the recipient has blocked is not in the recipient's archive",
    "refusals": "what is sent to an account that does not exist makes no archive",
    "late": "what was sent while the sidecar was away, when it is delivered later",
    "live-copies": "copies with the message itself, not in batches",
    "cluster": "several nodes that are one server",
}

# kind -> ability -> why not.
LACKS = {
    "ejabberd": {
        "remote-offline": "no copy is made before the user comes online; where his client has "
                          "enabled push, it is counted and pushed all the same",
        "goodbyes": "nothing is told; silence counts after `push.stale_after`",
    },
    "prosody": {
        "late": "deliveries from the offline store are not copied",
        "cluster": "Prosody has none",
    },
    "openfire": {
        "own-archive": "Openfire answers for the users' addresses itself",
        "publishes-seen": "only the notification to another device is copied",
        "rosters": "no component may read them",
        "live-presence": "by a list every `xmpp.presence_every`",
        "goodbyes": "by that list",
        "undelivered": "the push plugin publishes what was delivered, too",
        "blocked": "such a message looks like any other",
        "refusals": "Openfire neither refuses nor keeps them, and shows them like others",
        "late": "deliveries from the offline store are not copied; the monitoring plugin can be "
                "asked instead",
        "live-copies": "batches, up to 5 s late",
        "cluster": "only the node that we are connected to would be seen",
    },
    "generic": {
        "own-archive": "no delegation is known",
        "rosters": "no way to read them is known",
        "snapshot": "nobody tells",
        "goodbyes": "nothing is told; silence counts after `push.stale_after`",
        "undelivered": "no publish is known to mean it",
        "blocked": "unless the refusal is forwarded, too",
        "refusals": "unless the refusal is forwarded, too",
        "late": "unless the delivery is forwarded, too",
        "cluster": "one connection",
    },
}

# What a test needs that is no promise of ours.
ASIDE = {
    "openfire": {
        "all-resources": "one of several equal sessions gets a message",
        "quick-end": "a session that waits to be resumed ends after 10 min",
    },
}

# What Openfire has and the stand-in for it has not.
STAND_IN_LACKS = {
    "rooms": "the stand-in has no rooms",
    "stream-management": "the stand-in has no stream management",
}


def reason(kind, needed, stand_in=True):
    """Why a test that needs it cannot run there; None when it can."""
    lacks = {**ASIDE.get(kind, {}), **LACKS[kind]}
    if kind == "openfire" and stand_in:
        lacks |= STAND_IN_LACKS
    if needed not in {*ABILITIES, *STAND_IN_LACKS}.union(*ASIDE.values()):
        raise ValueError(f"needs({needed!r}) is not in harness/abilities.py")
    return f"{TITLES[kind]}: {lacks[needed]}" if needed in lacks else None
