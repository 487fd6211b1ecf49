# SPDX-License-Identifier: Apache-2.0
"""Client libraries, unmodified, page through an archive of a thousand messages: on the account's
own address (delegation) and at the component's, from the beginning and from where they were, while
messages arrive."""

import pytest

from harness.clients import new_id
from harness.drivers import COMMANDS, Driver, missing

MESSAGES = 1000
BOTH_WAYS = ("stanza.js", "strophe.js", "libstrophe")  # nbxmpp has no paging backwards


@pytest.fixture(scope="module")
def history(module_world):
    return module_world.history(MESSAGES)


@pytest.fixture(scope="module")
def ids(module_world, history):
    """The archive ids of the history, as the first reader sees them."""
    reader = module_world.login(history[1], "ids")
    entries = reader.mam_walk(page=50)
    module_world.loop.close_clients()
    assert [entry.body for entry in entries] == history[2]
    return [entry.archive_id for entry in entries]


@pytest.fixture
def talker(world):
    return world.login(world.user("talker"))


@pytest.mark.parametrize("name", COMMANDS)
def test_pages_through_everything(world, history, ids, talker, name):
    """First sync while messages arrive, catch-up in a later session, the same at the
    component's address, and scrolling back where the library can."""
    if missing(name):
        pytest.skip(missing(name))
    _, reader, bodies = history  # what arrives belongs to it from now on
    sent = []

    def talk(_):
        sent.append(world.body("meanwhile"))
        talker.xmpp.send_raw(f"<message to='{reader.bare}' type='chat' id='{new_id('w')}'>"
                             f"<body>{sent[-1]}</body></message>")

    def run(*walks, **options):
        return Driver(name, world.ejabberd, reader, new_id("r")).walk(*walks, **options)

    first, = run({"max": 50}, on_page=talk)
    bodies += sent
    known = len(ids)
    assert len(sent) >= MESSAGES // 50
    assert first.ids[:known] == ids and len(set(first.ids)) == len(first.ids) > known
    assert first.bodies == bodies[:len(first.bodies)]
    world.drain(talker)

    walks = [{"max": 100, "to": world.component}, {"max": 70, "after": ids[799]},
             {"max": 100, "after": ids[899], "to": world.component}]
    if name in BOTH_WAYS:
        walks.append({"max": 100, "reverse": True, "pages": 2})
    found = run(*walks)
    ids[known:] = found[0].ids[known:]
    for walk, start in zip(found, (0, 800, 900, -200)):
        assert walk.bodies == bodies[start:]
        assert walk.ids == ids[start:]
