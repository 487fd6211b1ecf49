# SPDX-License-Identifier: Apache-2.0
"""xmpp.speak_as_users: direct, with an ejabberd that takes it and with one that does not."""

import re

from harness.procs import wait_until

SETTINGS = {"xmpp.speak_as_users": "direct"}
# Results cannot go by privilege: the server grants no messages.
NO_MESSAGES = {"modules": {"mod_privilege": {"message": {"outgoing": "none"}}}}


def archive_of_three(world):
    alice, bob = world.login(world.user("alice")), world.login(world.user("bob"))
    return alice, bob, [world.exchange(alice, bob)[1] for _ in range(3)]


def test_pages_come_as_always(make_world):
    world = make_world(settings=SETTINGS, options={"check_from": False, "extra": NO_MESSAGES})
    alice, bob, bodies = archive_of_three(world)
    for client in (alice, bob):
        page = client.mam_page()
        assert page.bodies == bodies and page.complete
        assert {result.outer.get("from") for result in page.results} == {client.bare}
        assert {result.outer.get("to") for result in page.results} == {client.jid}
    assert bob.mam_page(rsm="<max>2</max><before/>").bodies == bodies[1:]
    world.drain(alice)
    assert world.oracle.count(bob.bare) == 3  # no result was archived
    left = world.user("carol")
    gone = world.login(left)
    world.exchange(alice, gone)
    gone.mam_page()
    assert world.server.offline_count(left.name) == 0
    assert world.server.component_connections() == 1
    assert world.sidecar.http("/readyz")[0] == 200


def test_who_may_not_falls_back_and_says_so(make_world):
    """The first page costs the connection; then results go by privilege."""
    world = make_world(settings=SETTINGS)
    world.sidecar.allowed_errors.append(re.compile("check_from: false"))
    _, bob, bodies = archive_of_three(world)
    bob.iq_start("set", bob.mam_xml(None, "", "lost"))
    wait_until(lambda: world.server.component_connections() == 2, 15, "the link is back")
    wait_until(lambda: world.sidecar.http("/readyz")[0] == 200, 15, "everything is granted again")
    assert bob.mam_page().bodies == bodies
    assert bob.mam_page().bodies == bodies
    assert world.server.component_connections() == 2
    assert "set check_from: false on its listener" in world.sidecar.log.read_text()
