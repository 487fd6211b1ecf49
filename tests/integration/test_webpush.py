# SPDX-License-Identifier: Apache-2.0
"""Web Push: what a browser reads, where pushes go and where they never do, and what each answer
leads to."""

import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import webpush
from harness.clients import NS, StanzaError, form_fields
from harness.procs import wait_until

pytestmark = pytest.mark.skipif(webpush.missing() is not None, reason=str(webpush.missing()))

WEB, PUBLIC, LISTED = "chat.web", "chat.public", "chat.listed"
APPS = ()
WEBPUSH_APPS = {
    WEB: {},
    PUBLIC: {"allow_private": False},
    LISTED: {"allow_hosts": ["push.example.net", "*.push.example.org"]},
}
SETTINGS = {"push.settle": "200ms", "limits.commands_per_minute": 1000,
            "limits.devices_per_account": 50}


@pytest.fixture
def browser(world, bob):
    """bob's: subscribed by a session that has ended."""
    return world.browser(bob, WEB)


def write(world, sender, recipient, **options):
    return sender.send_chat(recipient.bare, world.body(), **options)


def parked(world, user):
    return [reason for (reason,) in world.oracle.query(
        "SELECT o.reason FROM xs.outbox o JOIN xs.account a USING (owner)"
        " WHERE a.jid = %s AND o.state = 3", (user.bare,))]


def logged(world, user):
    """Each try that was made for the account: (status, reason), oldest first."""
    return world.oracle.query(
        "SELECT p.status, p.reason FROM xs.push_log p JOIN xs.account a USING (owner)"
        " WHERE a.jid = %s ORDER BY p.at", (user.bare,))


def registrations(world, user):
    return world.oracle.registrations(user.bare)


def localhost(world):
    """The gateway under another name: another origin."""
    return f"https://localhost:{world.gateway.webpush_port}"


# What a browser reads.


@pytest.mark.parametrize("http1", [False, True])
def test_a_push_is_read_by_the_subscription_alone(world, alice, bob, http1):
    world.gateway.only_http1(http1)
    browser = world.browser(bob, WEB)
    for number in range(1, 4):
        write(world, alice, bob)
        push = browser.wait(number)[-1]
        data = push.data
        assert data.pop("conversation")
        assert data == {"badge": number, "title": alice.user, "body": "New message"}
        assert push.headers["content-encoding"] == "aes128gcm"
        assert push.headers["urgency"] == "high"
        assert 11 * 3600 < int(push.headers["ttl"]) <= 12 * 3600


def test_pushes_of_a_conversation_replace_each_other(world, alice, bob, browser):
    carol = world.login(world.user("carol"))
    write(world, alice, bob)
    browser.wait(1)
    write(world, carol, bob)
    browser.wait(2)
    write(world, alice, bob)
    first, other, last = browser.wait(3)
    assert first.headers["topic"] == last.headers["topic"] != other.headers["topic"]
    assert len(first.headers["topic"]) == 32
    assert first.data["conversation"] == last.data["conversation"]
    # What the push service sees is another in each browser, and none of what the browser sees.
    second = world.browser(bob, WEB)
    write(world, alice, bob)
    seen = second.wait(1)[0]
    assert seen.headers["topic"] != first.headers["topic"]
    assert first.headers["topic"] != first.data["conversation"]


def test_what_was_accepted_is_known(world, alice, bob, browser):
    write(world, alice, bob)
    browser.wait(1)
    wait_until(lambda: world.oracle.query(
        "SELECT d.answered_at IS NOT NULL, d.badge_sent FROM xs.device d"
        " JOIN xs.registration r USING (device) JOIN xs.account a USING (owner)"
        " WHERE a.jid = %s", (bob.bare,)) == [(True, 1)], 5, "the device has answered")


def test_a_user_sends_a_test(world, bob, browser):
    client = world.login(bob)
    client.command(world.component, "test-push")
    assert "test" in browser.wait(1)[0].data["body"].lower()


def test_nothing_is_told_by_lengths_and_keys(world, alice, bob, browser):
    write(world, alice, bob)
    write(world, world.login(world.user("somebody-with-a-longer-name")), bob)
    first, second = browser.wait(2)
    assert len(first.body) == len(second.body) == 86 + 256 + 1 + 16
    assert first.body[:16] != second.body[:16]      # salts
    assert first.body[21:86] != second.body[21:86]  # keys


def test_what_was_read_elsewhere_is_a_count(world, alice, bob, browser):
    laptop = world.login(bob, "laptop", presence=False)
    message_id = write(world, alice, bob)
    browser.wait(1)
    laptop.send_xml("<presence/>")
    laptop.displayed(alice.bare, message_id)
    silent = browser.wait(2)[1]
    assert silent.data == {"badge": 0}
    assert silent.headers["urgency"] == "low"


@pytest.mark.parametrize("content, shown", [
    ("none", {"body": "New message"}),
    ("count", {"body": "1 unread message"}),
    ("body", {"title": "alice", "body": None}),
])
def test_it_shows_what_the_settings_allow(make_world, content, shown):
    world = make_world(apps=(), webpush_apps={WEB: {}},
                       settings={**SETTINGS, "push.content": content})
    alice, bob = world.login(world.user("alice")), world.user("bob")
    browser = world.browser(bob, WEB)
    body = world.body("\U0001f600\"\\ " * 1500)
    alice.send_chat(bob.bare, body)
    push = browser.wait(1)[0]
    data = push.data
    del data["conversation"]
    if content == "body":
        assert len(push.body) == 4096
        assert data["body"].endswith("\u2026") and body.startswith(data["body"][:-1])
        assert data["title"].startswith("alice")
    else:
        assert data == {"badge": 1, **shown}


# Settings.


@pytest.mark.parametrize("changes, complaint", [
    ({"subject": "admin@example.org"}, "subject must be mailto:somebody@example.org or an https"),
    ({"private_key_file": "ca.pem"}, "the key file holds no readable PEM private key"),
    ({"private_key_file": "p384.pem"}, "the key file must hold a P-256 private key"),
    ({"ca_file": "vapid.der"}, "push.apps[].webpush.ca_file"),
])
def test_wrong_settings_are_told_before_the_start(make_world, changes, complaint):
    world = make_world(apps=(), webpush_apps={WEB: {}}, start=False)
    folder = world.gateway.folder
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt",
                    "ec_paramgen_curve:P-384", "-out", folder / "p384.pem"], check=True)
    assert world.sidecar.command("check").returncode == 0
    app = world.gateway.webpush_app(WEB, **{
        key: str(folder / value) if key.endswith("_file") else value
        for key, value in changes.items()})
    world.sidecar.configure({"push.apps": [app]})
    done = world.sidecar.command("check")
    assert done.returncode == 78 and complaint in done.stderr


# Registering.


def test_a_client_learns_the_key_before_it_subscribes(world, bob):
    client = world.login(bob)
    form = client.command(world.component, "register-push-webpush", None).find("x:x", NS)
    fields = form_fields(form)
    assert {"endpoint", "p256dh", "auth", "device-id"} <= fields.keys()
    assert dict(reversed(offer.split(" ", 1)) for offer in fields["vapid"]) == {
        app: world.gateway.vapid_key for app in WEBPUSH_APPS}


def test_the_key_is_the_one_that_pushes_are_signed_with(world, alice, bob):
    browser = world.subscription()
    world.gateway.register(browser.token, world.gateway.vapid_key)
    client = world.login(bob, "browser")
    world.register_webpush(client, browser, app=WEB)
    client.logout()
    world.away(bob)
    write(world, alice, bob)
    assert browser.wait(1)[0].data["badge"] == 1


def test_a_new_subscription_of_the_same_browser_takes_the_old_ones_place(world, alice, bob):
    client = world.login(bob, "browser")
    old, new = world.subscription(), world.subscription()
    first = world.register_webpush(client, old, app=WEB)
    second = world.register_webpush(client, new, app=WEB)
    assert first == second and registrations(world, bob) == 1
    client.logout()
    world.away(bob)
    write(world, alice, bob)
    new.wait(1)
    assert old.all() == []
    client = world.login(bob, "browser")
    client.command(world.component, "unregister-push-webpush",
                   {"device-id": "browser-1", "app": WEB})
    assert registrations(world, bob) == 0


PUBLIC_HOSTS = ("1.1.1.1", "[2606:4700::1111]", "push.example.net")
PRIVATE_HOSTS = (
    "127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1",
    "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1",
    "198.18.0.1", "192.88.99.1",
    "[::]", "[::1]", "[fe80::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]", "[fec0::1]",
    "[2001:db8::1]", "[2001::1]",
    "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b::169.254.169.254]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:c0a8:1::1]",
)
STRANGE_HOSTS = ("2130706433", "0x7f000001", "0x7f.0.0.1", "127.1", "0177.0.0.1", "127.0.0.1.",
                 "user@127.0.0.1", "[fe80::1%25lo]", "", "\u2460.1.1.1")


def refusal(world, client, app, **changes):
    subscription = world.subscription()
    with pytest.raises(StanzaError) as error:
        client.command(world.component, "register-push-webpush",
                       {**subscription.fields, "device-id": "x", "app": app, **changes})
    return error.value.kind, error.value.condition


def test_an_endpoint_in_private_is_refused_in_every_form(world, bob):
    client = world.login(bob)
    port = world.gateway.webpush_port
    for host in PRIVATE_HOSTS:
        assert refusal(world, client, PUBLIC, endpoint=f"https://{host}:{port}/x") == \
            ("cancel", "not-acceptable"), host
    for host in STRANGE_HOSTS:
        assert refusal(world, client, PUBLIC, endpoint=f"https://{host}:{port}/x") == \
            ("modify", "bad-request"), host
    for number, host in enumerate(PUBLIC_HOSTS):
        subscription = world.subscription(f"https://{host}:{port}")
        world.register_webpush(client, subscription, app=PUBLIC, device_id=f"device-{number}")
    assert registrations(world, bob) == len(PUBLIC_HOSTS)


def test_other_endpoints_and_keys_are_refused(world, bob):
    client = world.login(bob)
    url = world.gateway.webpush_url
    for changes in ({"endpoint": url.replace("https", "http") + "/x"},
                    {"endpoint": "file:///etc/passwd"}, {"endpoint": url},
                    {"endpoint": f"{url}/{'x' * 1000}"}, {"endpoint": f"{url}/a b"},
                    {"p256dh": "BAAA"}, {"p256dh": "B" + "A" * 86}, {"auth": "AAAA"}):
        assert refusal(world, client, WEB, **changes) == ("modify", "bad-request"), changes
    assert refusal(world, client, WEB, endpoint="https://127.0.0.1:22/x") == \
        ("cancel", "not-acceptable")
    assert refusal(world, client, LISTED) == ("cancel", "not-acceptable")
    port = world.gateway.webpush_port
    world.register_webpush(client, world.subscription(f"https://a.push.example.org:{port}"),
                           app=LISTED)
    assert registrations(world, bob) == 1


# Where pushes never go.


def test_a_name_that_leads_home_is_not_followed(world, alice, bob):
    browser = world.browser(bob, PUBLIC, localhost(world))
    opened = world.gateway.stats()["connections_opened"]
    write(world, alice, bob)
    wait_until(lambda: (0, "address is loopback") in logged(world, bob), 10, "it is noticed")
    assert browser.all() == [] and world.gateway.stats()["connections_opened"] == opened
    assert registrations(world, bob) == 1  # the name may mean something else tomorrow


def test_a_redirect_is_not_followed(world, alice, bob, browser):
    other = world.subscription(localhost(world))
    for number, status in enumerate((301, 302, 303, 307, 308), 1):
        world.gateway.script(browser.token, {"status": status, "location": other.endpoint})
        write(world, alice, bob)
        wait_until(lambda: parked(world, bob) == [f"{status} redirect not followed"], 15,
                   "it is parked")
        browser.wait_seen(number)
        write(world, alice, bob)  # a service that works is not left alone
        browser.wait(number)
        browser.wait_seen(2 * number)
    assert other.all() == [] and registrations(world, bob) == 1


class Listener:
    """A server at another loopback address and the gateway's port: another origin."""

    def __init__(self, world, host, serve=None):
        self.origin = f"https://{host}:{world.gateway.webpush_port}"
        self.accepted, self.serve = [], serve
        self.socket = socket.create_server((host, world.gateway.webpush_port))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                self.accepted.append(self.socket.accept()[0])
            except OSError:
                return
            if self.serve:
                self.serve(self.accepted[-1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        for connection in self.accepted:
            connection.close()


def test_an_endless_answer_is_not_read(world, alice, bob):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(world.gateway.folder / "cert.pem", world.gateway.folder / "key.pem")
    sent = []

    def serve(plain):
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 201 Created\r\n\r\n")
            try:
                while len(sent) < 5000:
                    tls.sendall(bytes(4096))
                    sent.append(1)
            except OSError:
                pass

    with Listener(world, "127.0.0.3", serve) as listener:
        world.browser(bob, WEB, listener.origin)
        write(world, alice, bob)
        wait_until(lambda: logged(world, bob) == [(200, None)], 15, "it is taken for accepted")
        assert len(sent) < 1000


def test_a_certificate_for_somebody_else_is_not_believed(world, alice, bob):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(world.gateway.folder / "cert.pem", world.gateway.folder / "key.pem")
    got = []

    def serve(plain):
        try:
            with context.wrap_socket(plain, server_side=True) as tls:
                got.append(tls.recv(65536))
        except OSError:
            pass

    with Listener(world, "127.0.0.2", serve) as listener:
        world.browser(bob, WEB, listener.origin)
        write(world, alice, bob)
        wait_until(lambda: logged(world, bob), 15, "it is noticed")
        assert logged(world, bob)[0][0] == 0 and not any(got)
        assert "certificate" in logged(world, bob)[0][1]


def given_up_at(world, user):
    """When the first try for the account ended (unix time); None before."""
    return world.oracle.value("SELECT extract(epoch FROM min(p.at))::float FROM xs.push_log p"
                              " JOIN xs.account a USING (owner) WHERE a.jid = %s", (user.bare,))


def test_the_trouble_of_some_services_delays_no_other(world, alice, bob, browser):
    """More tarpits than new services may be addressed at once."""
    write(world, alice, bob)
    browser.wait(1)
    carol, dave = world.user("carol"), world.user("dave")
    client = world.login(carol, "browser")
    pits = [Listener(world, f"127.0.1.{number}") for number in range(1, 21)]
    try:
        for number, pit in enumerate(pits):
            world.register_webpush(client, world.subscription(pit.origin), app=WEB,
                                   device_id=f"device-{number}")
        client.logout()
        world.away(carol)
        late = world.browser(dave, WEB, localhost(world))
        with world.held(alice):
            write(world, alice, carol)
            write(world, alice, bob)
        wait_until(lambda: sum(len(pit.accepted) for pit in pits) >= 16, 10, "they are tried")
        _, push = browser.wait(2)
        # Connections are given up after 10 s.
        given_up = wait_until(lambda: given_up_at(world, carol), 20, "the first is given up")
        assert push.time_ms / 1000 < given_up
        write(world, alice, dave)  # a service that is new, too, has to wait for its turn
        late.wait(1, timeout=20)
        client = world.login(carol, "browser")
        for number in range(len(pits)):
            client.command(world.component, "unregister-push-webpush",
                           {"device-id": f"device-{number}", "app": WEB})
    finally:
        for pit in pits:
            pit.__exit__()


# What each answer leads to.


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_is_gone_is_dropped(world, alice, bob, browser, status):
    world.gateway.script(browser.token, {"status": status})
    write(world, alice, bob)
    wait_until(lambda: registrations(world, bob) == 0, 10, "the device is dropped")
    write(world, alice, bob)
    time.sleep(1)
    assert len(browser.all()) == 1


def test_what_is_too_large_is_sent_without_its_words(world, alice, bob, browser):
    world.gateway.script(browser.token, {"status": 413})
    write(world, alice, bob)
    first, second = browser.wait_seen(2)
    assert (first.status, second.status) == (413, 201)
    assert first.data["body"] and second.data == {
        "badge": 1, "conversation": first.data["conversation"]}
    world.gateway.script(browser.token, {"status": 413, "times": 2})
    write(world, alice, bob)
    wait_until(lambda: parked(world, bob) == ["413 too large"], 10, "it is parked")


@pytest.mark.parametrize("status, reason", [
    (400, "400 bad request"), (401, "401 VAPID refused"), (403, "403 VAPID refused"),
    (405, "405 refused")])
def test_what_is_refused_is_parked_and_the_device_stays(world, alice, bob, browser, status,
                                                        reason):
    # For ever: a token that is older than a minute is made again first.
    world.gateway.script(browser.token, {"status": status, "times": -1})
    write(world, alice, bob)
    wait_until(lambda: parked(world, bob) == [reason], 10, "it is parked")
    assert registrations(world, bob) == 1
    world.gateway.reset()
    write(world, alice, bob)
    assert browser.wait(1)[0].data["badge"] == 2


def test_a_service_that_goes_on_refusing_is_left_alone_and_no_other(world, alice, bob):
    origin = localhost(world)
    browser = world.browser(bob, WEB, origin)
    carol = world.user("carol")
    other = world.browser(carol, WEB)
    world.gateway.script(browser.token, {"status": 403, "times": -1})
    for number in range(1, 4):
        write(world, alice, bob)
        wait_until(lambda: len(logged(world, bob)) == number, 15, "it is parked")
    world.sidecar.wait_log(f"{origin} is left alone for .* 403 VAPID refused")
    seen = len(browser.all())
    write(world, alice, bob)
    write(world, alice, carol)
    other.wait(1)
    assert len(browser.all()) == seen and registrations(world, bob) == 1
    status = next(a for a in world.sidecar.status()["apps"] if a["id"] == WEB)
    assert "push services paused" in status["reason"]


PASSING = (
    {"status": 500, "retry_after": 1}, {"status": 502, "body": "<html>", "retry_after": 1},
    {"status": 503, "retry_after": 2}, {"status": 429, "retry_after": 2},
    {"status": 429, "retry_after": 2, "retry_as_date": True},
)


@pytest.mark.parametrize("answer", PASSING)
@pytest.mark.parametrize("http1", [False, True])
def test_what_may_pass_is_tried_again_not_before_its_time(world, alice, bob, answer, http1):
    world.gateway.only_http1(http1)
    browser = world.browser(bob, WEB)
    world.gateway.script(browser.token, answer)
    write(world, alice, bob)
    assert browser.wait(1, timeout=30)[0].data["badge"] == 1
    first, last = browser.all()
    assert first.status == answer["status"] and last.time_ms - first.time_ms > 800
    assert registrations(world, bob) == 1 and parked(world, bob) == []


@pytest.mark.parametrize("http1", [False, True])
def test_a_lost_answer_is_asked_for_again(world, alice, bob, http1):
    world.gateway.only_http1(http1)
    browser = world.browser(bob, WEB)
    for number, action in enumerate(({"cut": "before_answer"}, {"refuse_stream": True},
                                     {"goaway": {"last": "before"}}), 1):
        world.gateway.script(browser.token, action)
        write(world, alice, bob)
        assert browser.wait(number, timeout=30)[-1].data["badge"] == number
    assert registrations(world, bob) == 1


def test_the_service_away_and_back(world, alice, bob, browser):
    write(world, alice, bob)
    browser.wait(1)
    world.gateway.down(service="webpush")
    for _ in range(2):
        write(world, alice, bob)
    wait_until(lambda: any(status == 0 for status, _ in logged(world, bob)), 15, "it is noticed")
    world.gateway.down(False, service="webpush")
    wait_until(lambda: browser.accepted()[-1].data["badge"] == 3, 30, "the last count")
    assert parked(world, bob) == []


def test_one_token_for_each_origin(world, alice, bob, browser):
    carol = world.user("carol")
    other = world.browser(carol, WEB, localhost(world))
    for number in range(1, 4):
        write(world, alice, bob)
        write(world, alice, carol)
        browser.wait(number)
        other.wait(number)
    first, second = ({push.jwt for push in each.all()} for each in (browser, other))
    assert len(first) == len(second) == 1 and first != second


def test_a_burst_goes_over_few_connections(world, alice):
    users = world.users(20)
    browsers = [world.browser(user, WEB) for user in users]
    for user in users:
        write(world, alice, user)
    for browser in browsers:
        assert browser.wait(1, timeout=30)[0].data["badge"] == 1
    assert len({b.accepted()[0].connection for b in browsers}) <= 4
