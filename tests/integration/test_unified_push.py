# SPDX-License-Identifier: Apache-2.0
"""UnifiedPush over XMPP: a client registers, others POST, the client's answer is theirs."""

import base64
import http.client
import json
import os
import threading
from datetime import datetime, timezone

import pytest
from harness.clients import StanzaError
from harness.procs import free_port, wait_until
from harness.unified_push import APPLICATION, INSTANCE, UP, URL, Distributor, Server, register

SERVER_AT = Server(free_port())
SETTINGS = SERVER_AT.settings
ask, post = SERVER_AT.ask, SERVER_AT.post


@pytest.fixture
def client(world):
    return world.login(world.user("bob"), "phone")


# Registering.


def test_it_is_announced(world, client):
    assert UP in client.disco_info(world.component)[1]


def test_an_endpoint_lives_a_day_and_tells_nothing(world, client):
    endpoint, expiration = register(world, client)
    assert endpoint.startswith(f"{URL}/push/") and len(endpoint) <= 1000
    life = datetime.fromisoformat(expiration.replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert 86300 < life.total_seconds() <= 86400
    again, _ = register(world, client)
    assert again != endpoint and post(again)[0] == post(endpoint)[0]


@pytest.mark.parametrize("application, instance, kind", [
    ("", INSTANCE, "set"), (APPLICATION, "", "set"), (APPLICATION[:-1], INSTANCE, "set"),
    (APPLICATION, "x" * 44, "set"), (APPLICATION + "AAAA", INSTANCE, "set"),
    (APPLICATION, INSTANCE, "get"),
])
def test_registrations_that_are_none(world, client, application, instance, kind):
    with pytest.raises(StanzaError, match="^modify/bad-request$"):
        register(world, client, application, instance, kind)


def test_only_accounts_of_our_domains(world):
    with pytest.raises(StanzaError, match="^auth/forbidden$"):
        register(world, world.login(world.remote_user()))


# Pushing.


@pytest.mark.parametrize("body", [b"x", b"title=Test&message=hi", bytes(range(256)) * 16])
def test_a_push_reaches_the_client_as_it_was_sent(world, client, body):
    distributor = Distributor(client)
    endpoint, _ = register(world, client)
    status, headers = post(endpoint, body)
    assert (status, headers["TTL"]) == (201, "0")
    assert distributor.pushes == [(APPLICATION, INSTANCE, body)]


def test_two_apps_of_one_phone(world, client):
    distributor = Distributor(client)
    other = base64.b64encode(os.urandom(32)).decode()
    first, second = register(world, client)[0], register(world, client, instance=other)[0]
    assert [post(first)[0], post(second)[0]] == [201, 201]
    assert [push[1] for push in distributor.pushes] == [INSTANCE, other]


@pytest.mark.parametrize("answer, status", [
    ("item-not-found", 404), ("feature-not-implemented", 404), ("service-unavailable", 503),
    ("recipient-unavailable", 503), ("internal-server-error", 503)])
def test_the_clients_answer_is_passed_back(world, client, answer, status):
    Distributor(client, answer)
    endpoint, _ = register(world, client)
    told, headers = post(endpoint)
    assert told == status and ("Retry-After" in headers) == (status == 503)
    assert post(endpoint)[0] == 201


def test_a_client_that_is_not_there(world, client):
    endpoint, _ = register(world, client)
    client.logout()
    world.server.wait_no_session(client.user)
    assert post(endpoint)[0] == 503


def test_a_client_that_does_not_answer_and_one_that_is_asked_too_much(world, client):
    distributor = Distributor(client, *["silence"] * 10)
    endpoint, _ = register(world, client)
    told = []
    threads = [threading.Thread(target=lambda: told.append(post(endpoint, timeout=120)[0]))
               for _ in range(10)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(distributor.pushes) == 10, 10, "all are on their way")
    status, headers = post(endpoint)
    assert status == 429 and "Retry-After" in headers
    other = world.login(world.user("carol"), "phone")  # no other client is concerned
    Distributor(other)
    assert post(register(world, other)[0])[0] == 201
    for thread in threads:
        thread.join(120)
    assert told == [503] * 10  # by us: those who ask would wait longer
    assert post(endpoint)[0] == 201


def test_a_sender_that_goes_away_does_no_harm(world, client):
    distributor = Distributor(client, "silence")
    endpoint, _ = register(world, client)
    connection = http.client.HTTPConnection("127.0.0.1", SERVER_AT.port, timeout=60)
    connection.request("POST", endpoint[len(URL):], b"hello")
    wait_until(lambda: len(distributor.pushes) == 1, 10, "it is passed on")
    connection.close()
    assert post(endpoint)[0] == 201


def test_requests_that_are_none(world, client):
    distributor = Distributor(client)
    endpoint, _ = register(world, client)
    path = endpoint[len(URL):]
    middle = len(path) // 2
    changed = path[:middle] + ("A" if path[middle] != "A" else "B") + path[middle + 1:]
    for wrong in (changed, path[:-4], path + "AAAA", "/push/", "/push", "/", "/other", path + "/",
                  path.replace("/push/", "/message/")):
        assert ask("POST", wrong, b"x")[0] == 404, wrong
    assert ask("POST", path, b"")[0] == 400
    assert ask("POST", path, bytes(4097))[0] == 413
    assert ask("PUT", path, b"x")[0] in (405, 501)
    assert distributor.pushes == []
    for where in ("/", path):
        status, headers, body = ask("GET", where)
        assert status == 200 and headers["Content-Type"] == "application/json"
        assert json.loads(body) == {"unifiedpush": {"version": 1}}
    assert post(endpoint)[0] == 201


def test_endpoints_outlive_a_worker(world, client):
    distributor = Distributor(client)
    endpoint, _ = register(world, client)
    old = world.sidecar.worker_pid()
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()

    def works():
        try:
            return post(endpoint)[0] == 201
        except OSError:  # the port changes hands
            return False
    wait_until(works, 20, "it is passed on again")
    assert distributor.pushes
