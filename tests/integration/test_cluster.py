# SPDX-License-Identifier: Apache-2.0
"""A server of two nodes, with a link to each: copies, presence and queries come by both."""

import re
import time

import pytest

from harness.clients import new_id
from harness.ejabberd import Cluster
from harness.procs import free_port, wait_until
from harness.proxy import Proxy
from harness.unified_push import Distributor, Server, register

pytestmark = pytest.mark.needs("cluster")
UNIFIED_PUSH = Server(free_port())
# Who waits for somebody to read waits for good.
SETTINGS = {"push.confirm_after": "1h", "read.own_message_reads": False,
            **UNIFIED_PUSH.settings}


@pytest.fixture(scope="module")
def cluster(module_workspace):
    return Cluster(module_workspace)


@pytest.fixture(scope="module")
def server(cluster):
    return cluster.nodes[0]


@pytest.fixture
def near(cluster):
    return cluster.nodes[0]


@pytest.fixture
def far(cluster):
    return cluster.nodes[1]


def drain(world, *clients, timeout=30):
    """What was copied before is archived: each node's copies come by its own link."""
    for client in clients:
        client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", world.component, timeout)
    wait_until(lambda: world.sidecar.behind() == 0, timeout, "the archive has caught up", 0.05)


def link(world, number):
    return world.sidecar.status()["links"][number]


def metric(world, name):
    found = re.search(rf"^xmpp_sidecar_{name} (\S+)$", world.sidecar.http("/metrics")[1],
                      re.MULTILINE)
    return float(found.group(1))


def test_a_client_of_either_node_is_asked_and_answers(world, near, far):
    """Its answer comes by its own node's link, whichever asked."""
    for node in (near, far):
        client = world.login(world.user("bob"), "phone", node=node)
        distributor = Distributor(client)
        assert UNIFIED_PUSH.post(register(world, client)[0], timeout=10)[0] == 201
        assert len(distributor.pushes) == 1


def test_messages_between_nodes_are_archived_once_while_workers_die(world, near, far):
    users = world.users(4)
    clients = [world.login(user, node=(near, far)[number % 2])
               for number, user in enumerate(users)]
    sent = {user.bare: [] for user in users}
    received = {user.bare: 0 for user in users}
    total, deaths, before = 0, 0, world.sidecar.status()
    while total < 320 or deaths < 6:
        for number, client in enumerate(clients):
            texts = []
            for step in (1, 2, 3):  # the next two are on the other node, one on the same
                other = users[(number + step) % 4]
                message_id = new_id("node")
                texts.append(f"<message to='{other.bare}' type='chat' id='{message_id}'>"
                             f"<body>{message_id}</body></message>")
                sent[client.bare].append(message_id)
                sent[other.bare].append(message_id)
                received[other.bare] += 1
                total += 1
            client.send_many(texts)
        if total > 50 * deaths:
            world.sidecar.wait_new_worker(world.sidecar.kill_worker())
            deaths += 1
    for client in clients:
        client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", world.ejabberd.host, 30)
    drain(world, *clients)
    for user in users:
        stored = world.oracle.stanza_ids(user.bare)
        assert sorted(stored.elements()) == sorted(sent[user.bare])
        assert world.oracle.unread(user.bare) == received[user.bare]
    assert world.oracle.recount() == []
    status = world.sidecar.status()
    assert [entry["connects"] for entry in status["links"]] == \
        [entry["connects"] for entry in before["links"]], "a stream was closed"
    assert status["worker"]["starts"] == before["worker"]["starts"] + deaths


@pytest.fixture
def lagging(world, own_workspace, far):
    """The world with a proxy in the far node's link that can hold it back."""
    hosts = world.sidecar.settings["xmpp"]["hosts"]
    world.proxy = Proxy(own_workspace, far.component_port)
    world.sidecar.configure({"xmpp.hosts": [hosts[0], f"127.0.0.1:{world.proxy.port}"]})
    world.sidecar.restart()
    yield world
    world.sidecar.configure({"xmpp.hosts": hosts})
    world.sidecar.restart()


def test_a_link_that_is_seconds_behind_adds_no_second_row(lagging, near, far):
    world, alice, bob = lagging, lagging.user("alice"), lagging.user("bob")
    here, there = world.login(alice, node=near), world.login(bob, node=far)
    drain(world, here, there)
    world.proxy.pause()
    sent = []
    for _ in range(20):  # the far link has the receive copy of one, and the send copy of the other
        for sender, receiver in ((here, there), (there, here)):
            sent.append(sender.send_chat(receiver.bare, world.body()))
            receiver.wait_id(sent[-1])
    drain(world, here)
    # Both owners' rows are there: one copy is enough for both, whichever it is.
    assert sorted(world.oracle.stanza_ids(alice.bare).elements()) == sorted(sent)
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    time.sleep(3)  # copies of one message are so far apart
    world.proxy.resume()
    drain(world, here, there)
    for user in (alice, bob):
        assert sorted(world.oracle.stanza_ids(user.bare).elements()) == sorted(sent)
        assert world.oracle.unread(user.bare) == 20
    assert world.sidecar.status()["archive"]["duplicates"] > len(sent), "none came late"


def test_the_archive_answers_on_both_nodes(world, near, far):
    alice, bob = world.user("alice"), world.user("bob")
    here, there = world.login(alice, node=near), world.login(bob, node=far)
    bodies = [world.body(str(number)) for number in range(4)]
    for number, body in enumerate(bodies):
        sender, receiver = (here, there) if number % 2 else (there, here)
        sender.send_chat(receiver.bare, body)
        # Send, then ask; get, then ask.
        assert sender.mam_page().bodies == bodies[:number + 1]
        receiver.wait_message(body)
        assert receiver.mam_page().bodies == bodies[:number + 1]
    # The same account sees the same archive by either node.
    elsewhere = world.login(alice, "elsewhere", node=far)
    assert elsewhere.mam_page().ids == here.mam_page().ids


def test_a_session_on_the_other_node_counts_as_online(world, near, far):
    alice, bob = world.user("alice"), world.user("bob")
    beside = world.login(world.user("carol"), node=far)  # whose words follow on that link
    token = world.phone(bob)
    sender, desk = world.login(alice, node=near), world.login(bob, "desk", node=far)
    body = world.body()
    message_id = sender.send_chat(bob.bare, body)
    desk.wait_message(body)
    drain(world, sender, desk)
    assert world.oracle.unread(bob.bare) == 1
    world.no_push(token, 2)  # it waits for the desk to read
    desk.displayed(alice.bare, message_id)
    world.oracle.wait_unread(bob.bare, 0)
    # Gone from there, also for those whom a copy of its last words reaches later.
    desk.send_chat(alice.bare, world.body())
    desk.logout()
    world.away(bob)
    drain(world, sender, beside)
    sender.send_chat(bob.bare, world.body())
    assert [push.badge for push in world.gateway.wait(token, 1)] == [1]


def test_a_node_goes_down_and_comes_back(world, cluster, near, far):
    alice, bob = world.user("alice"), world.user("bob")
    known, before = world.oracle.gaps(), world.sidecar.status()["links"]
    here, there = world.login(alice, node=near), world.login(bob, node=far)
    world.sidecar.wait_log("xmpp link=0 .*sessions")
    far.kill()
    wait_until(lambda: link(world, 1)["state"] != "up", 10, "it is noticed")
    # The other link goes on, and the lost one is named.
    there.drop()
    moved = world.login(bob, node=near)
    body = world.body()
    message_id = here.send_chat(bob.bare, body)
    moved.wait_message(body)
    drain(world, here)
    assert world.oracle.stanza_ids(bob.bare) == {message_id: 1}
    assert (link(world, 0)["state"], link(world, 0)["connects"]) == \
        ("up", before[0]["connects"])
    down = link(world, 1)
    assert re.match(r"20\d\d-", down["down_since"]) and down["why"]
    code, said = world.sidecar.http("/readyz")
    assert code == 503 and f"no link to 127.0.0.1:{far.component_port} since" in said
    assert f":{near.component_port}" not in said
    assert re.search(rf"127\.0\.0\.1:{far.component_port}  \S+  NOTHING IS READ since 20",
                     world.sidecar.command("status").stdout)
    far.start()
    wait_until(lambda: link(world, 1)["state"] == "up", 40, "a new stream")
    world.sidecar.wait_ready()
    # The gap is that link's alone.
    def gaps():
        return [gap for gap in world.oracle.gaps() if gap not in known]
    gap, = wait_until(lambda: all(gap.end for gap in gaps()) and gaps(), 10, "the gap is kept")
    assert gap.server == f"127.0.0.1:{far.component_port}"
    assert [entry["gaps"] for entry in world.sidecar.status()["links"]] == \
        [before[0]["gaps"], before[1]["gaps"] + 1]
    # And all is as before.
    carol = world.user("carol")
    again = world.login(carol, node=far)
    body = world.body()
    again.send_chat(alice.bare, body)
    here.wait_message(body)
    assert again.mam_page().bodies == [body]
    drain(world, here, again)
    assert len(world.oracle.with_body(alice.bare, body)) == 1
    wait_until(lambda: world.sidecar.status()["nodes"]["running"] == 2, 10, "both are counted")


def test_a_node_without_a_link_is_told(world, near, far):
    wait_until(lambda: world.sidecar.status()["nodes"] ==
               {"running": 2, "links": 2, "names": f"{near.node} {far.node}"}, 10, "both are counted")
    assert f"2 nodes: {near.node} {far.node}" in world.sidecar.command("status").stdout
    assert metric(world, "server_nodes_without_link") == 0
    hosts = world.sidecar.settings["xmpp"]["hosts"]
    world.sidecar.stop()
    world.sidecar.configure({"xmpp.hosts": hosts[:1]})
    world.sidecar.start(ready=False)
    try:
        wait_until(lambda: "the server runs 2 nodes" in world.sidecar.http("/readyz")[1], 20,
                   "it says so")
        assert world.sidecar.http("/readyz")[0] == 503
        assert "cluster    WRONG: the server runs 2 nodes" in world.sidecar.command("status").stdout
        assert metric(world, "server_nodes_without_link") == 1
        world.sidecar.wait_log("level=warn .*the server runs 2 nodes and xmpp.hosts names 1")
    finally:
        world.sidecar.stop()
        world.sidecar.configure({"xmpp.hosts": hosts})
        world.sidecar.start()
