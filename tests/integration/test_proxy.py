# SPDX-License-Identifier: Apache-2.0
"""push.proxy: every way to every push service goes through it, and its troubles are named."""

import pytest

from harness import webpush
from harness.connect_proxy import ConnectProxy
from harness.procs import wait_until
from harness.world import APP, World

ANDROID, WEB, PUBLIC = "org.example.android", "chat.web", "chat.public"
CREDENTIALS = "sidecar:pass:wörd"
IN_URL = "sidecar:pass%3Aw%C3%B6rd"


@pytest.fixture(scope="module")
def proxy(module_workspace):
    return ConnectProxy(module_workspace)


@pytest.fixture(scope="module")
def module_world(module_workspace, postgres, server, loop, proxy):
    proxy.credentials = CREDENTIALS
    world = World(module_workspace, postgres, loop, server, fcm_apps={ANDROID: {}},
                  webpush_apps={WEB: {}, PUBLIC: {"allow_private": False}},
                  settings={"push.proxy": proxy.url(IN_URL)})
    world.sidecar.secrets += ["pass:wörd", "pass%3A"]
    yield world
    assert world.sidecar.stop() == 0 and world.sidecar.findings() == []


@pytest.fixture(autouse=True)
def willing(proxy):
    yield
    proxy.answer, proxy.credentials = None, CREDENTIALS


def app_status(world, app):
    (shown,) = [shown for shown in world.sidecar.status()["apps"] if shown["id"] == app]
    return shown


def restart_gateway_connections(world):
    """Those that are open are closed: the next push needs a new way."""
    world.gateway.down()
    world.gateway.down(False)


def test_apns_goes_through_it(world, alice, proxy):
    bob = world.user("bob")
    token = world.phone(bob)
    proxy.targets.clear()
    restart_gateway_connections(world)
    alice.send_chat(bob.bare, world.body())
    assert world.gateway.wait(token, 1)[0].badge == 1
    assert ("127.0.0.1", world.gateway.port) in proxy.targets


def test_fcm_and_its_access_token_go_through_it(world, alice, proxy):
    bob = world.user("bob")
    token = world.android(bob, ANDROID)
    proxy.targets.clear()
    world.gateway.oauth(expire_now=True)
    world.gateway.down(service="fcm")
    world.gateway.down(False, service="fcm")
    alice.send_chat(bob.bare, world.body())
    world.gateway.wait_fcm(token, timeout=30)
    assert proxy.targets.count(("127.0.0.1", world.gateway.fcm_port)) >= 2


@pytest.mark.skipif(webpush.missing() is not None, reason=str(webpush.missing()))
def test_web_push_goes_through_it_to_public_addresses_alone(world, alice, proxy):
    bob, carol = world.user("bob"), world.user("carol")
    browser = world.browser(bob, WEB)
    name = f"https://localhost:{world.gateway.webpush_port}"
    # A name says nothing of where it leads; the proxy would have gone there.
    closed = world.browser(carol, PUBLIC, origin=name)
    proxy.targets.clear()
    alice.send_chat(bob.bare, world.body())
    alice.send_chat(carol.bare, world.body())
    browser.wait(1)
    assert ("127.0.0.1", world.gateway.webpush_port) in proxy.targets
    wait_until(lambda: world.oracle.push_log(carol.bare) == [(0, "address is loopback")], 10,
               "it is noticed")
    assert closed.all() == []
    assert not [host for host, port in proxy.targets if host == "localhost"]


@pytest.mark.parametrize("answer, credentials, reason", [
    (None, "somebody:else", "proxy: it wants other credentials (status 407)"),
    (b"HTTP/1.1 403 Forbidden\r\n\r\n", None, "proxy: it does not let us through (status 403)"),
    (b"220 mail.example.org ESMTP\r\n\r\n", None, "proxy: what it answers is not HTTP/1.1"),
    (b"", None, "proxy: no answer")], ids=["credentials", "forbidden", "another", "silent"])
def test_a_proxy_that_refuses_is_named_and_nothing_is_lost(world, alice, proxy, answer,
                                                           credentials, reason):
    bob = world.user("bob")
    token = world.phone(bob)
    proxy.answer = answer
    if credentials:
        proxy.credentials = credentials
    restart_gateway_connections(world)
    alice.send_chat(bob.bare, world.body())
    wait_until(lambda: ((shown := app_status(world, APP))["reason"], shown["state"])
               == (reason, "backoff"), 30, reason)
    assert reason in world.sidecar.command("status").stdout
    assert world.gateway.pushes(token) == []
    proxy.answer, proxy.credentials = None, CREDENTIALS
    assert world.gateway.wait(token, 1, timeout=60)[0].badge == 1


def test_fcm_names_it_too(world, alice, proxy):
    bob = world.user("bob")
    token = world.android(bob, ANDROID)
    proxy.credentials = "somebody:else"
    # A tunnel that is open asks for no credentials, and a worker that was refused waits long.
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    alice.send_chat(bob.bare, world.body())
    wait_until(lambda: "it wants other credentials (status 407)" in
               app_status(world, ANDROID)["reason"], 30, "it is named")
    proxy.credentials = CREDENTIALS
    world.gateway.wait_fcm(token, timeout=60)


def test_a_proxy_that_is_away_means_backoff(world, alice, proxy):
    bob = world.user("bob")
    token = world.phone(bob)
    proxy.close()
    restart_gateway_connections(world)
    alice.send_chat(bob.bare, world.body())
    wait_until(lambda: app_status(world, APP)["reason"] == "connect: Connection refused", 30,
               "it is away")
    proxy.listen()
    world.gateway.wait(token, 1, timeout=60)


def test_without_a_proxy_nothing_goes_there(world, alice, proxy):
    bob = world.user("bob")
    token = world.phone(bob)
    old = world.sidecar.worker_pid()
    world.sidecar.configure({"push.proxy": ""})
    world.sidecar.reload()
    world.sidecar.wait_new_worker(old)
    world.sidecar.wait_ready()
    proxy.targets.clear()
    alice.send_chat(bob.bare, world.body())
    world.gateway.wait(token, 1)
    assert proxy.targets == []
