# SPDX-License-Identifier: Apache-2.0
"""The Web Push side of the strict gateway itself: it takes what the reference implementation
sends (npm's web-push), and refuses each thing that is wrong with it."""

import base64
import json
import secrets
import socket
import ssl
import subprocess
import time

import pytest

from harness import webpush
from harness.gateway import Gateway
from harness.procs import Workspace, wait_until
from harness.webpush import Node, Subscription

pytestmark = pytest.mark.skipif(webpush.missing() is not None, reason=str(webpush.missing()))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64_decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Service:
    """Sends to the gateway as web-push would, with changes."""

    def __init__(self, workspace):
        self.gateway = Gateway(workspace).start()
        self.node = Node(workspace)
        self.keys = self.node.ask("vapid")
        self.vapid = {"subject": "mailto:admin@example.org", **self.keys}

    def subscription(self):
        return Subscription(self.node, self.gateway)

    def request(self, subscription, payload="hello", **options):
        made = self.node.ask(
            "request", vapid=self.vapid, payload=payload,
            subscription={"endpoint": subscription.endpoint,
                          "keys": {k: subscription.keys[k] for k in ("p256dh", "auth")}},
            options={"TTL": 60, "urgency": "normal", "topic": "abc", **options})
        return made["headers"], bytes.fromhex(made["body"])

    def send(self, path, headers, body, http="--http2", method="POST",
             within=60):
        """(status, headers) of one request; headers may be a list, for what is there twice."""
        args = ["curl", "-sS", http, "--max-time", str(within), "--cacert",
                self.gateway.folder / "ca.pem", "-i", "-X", method, "--data-binary", "@-",
                "-H", "Content-Type: application/octet-stream"]
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            if name not in ("Content-Length", "Content-Type"):
                args += ["-H", f"{name}: {value}"]
        done = subprocess.run([*args, self.gateway.webpush_url + path], input=body,
                              capture_output=True, check=True)
        first, *rest = done.stdout.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        fields = {k.lower(): v for k, v in (line.split(": ", 1) for line in rest)}
        return int(first.split()[1]), fields

    def judged(self, subscription, headers, body, **options):
        """What it is answered, and for what reason."""
        status, _ = self.send(f"/push/{subscription.token}", headers, body, **options)
        record = self.gateway.records(subscription.token)[-1]
        assert record["status"] == status
        return status, record["reason"]

    def signed(self, header=None, **claims):
        """A token of our key with these claims (None: without), as the Authorization."""
        all_claims = {"aud": self.gateway.webpush_url, "exp": int(time.time()) + 3600,
                      "sub": "mailto:admin@example.org", **claims}
        all_claims = {k: v for k, v in all_claims.items() if v is not None}
        text = ".".join(b64(json.dumps(part).encode()) for part in
                        ({"typ": "JWT", "alg": "ES256", **(header or {})}, all_claims))
        der = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.gateway.folder / "vapid.pem"],
            input=text.encode(), capture_output=True, check=True).stdout
        return f"vapid t={text}.{b64(raw_signature(der))}, k={self.gateway.vapid_key}"


def raw_signature(der):
    """r and s side by side, 32 bytes each."""
    out, at = b"", 2
    for _ in range(2):
        length = der[at + 1]
        out += der[at + 2:at + 2 + length][-32:].rjust(32, b"\0")
        at += 2 + length
    return out


@pytest.fixture(scope="module")
def service():
    with Workspace() as workspace:
        yield Service(workspace)


@pytest.fixture(autouse=True)
def reset(service):
    yield
    assert service.gateway.stats()["violations"] == []
    service.gateway.reset()


@pytest.mark.parametrize("http", ["--http2", "--http1.1"])
def test_the_reference_implementation_is_taken(service, http):
    service.gateway.only_http1(http == "--http1.1")
    subscription = service.subscription()
    headers, body = service.request(subscription, payload="héllo", TTL=90)
    status, answer = service.send(f"/push/{subscription.token}", headers, body, http)
    assert status == 201
    assert answer["location"].startswith(f"{service.gateway.webpush_url}/message/")
    assert answer["ttl"] == "90"
    push = subscription.accepted()[0]
    assert subscription.decrypt(push.body) == "héllo"
    assert push.headers["topic"] == "abc" and "authorization" not in push.headers


@pytest.mark.parametrize("name, value, reason", [
    ("TTL", None, "BadTTL"), ("TTL", "", "BadTTL"), ("TTL", "1.5", "BadTTL"),
    ("TTL", "-1", "BadTTL"), ("TTL", "12345678901", "BadTTL"),
    ("Urgency", None, "BadUrgency"), ("Urgency", "urgent", "BadUrgency"),
    ("Urgency", "High", "BadUrgency"),
    ("Topic", "a" * 33, "BadTopic"), ("Topic", "a=", "BadTopic"), ("Topic", "a+b", "BadTopic"),
    ("Content-Encoding", None, "BadContentEncoding"),
    ("Content-Encoding", "aesgcm", "BadContentEncoding"),
])
def test_a_wrong_header(service, name, value, reason):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    headers = {k: v for k, v in headers.items() if k != name}
    if value is not None:
        headers[name] = value
    if value == "":
        headers = [*((k, v) for k, v in headers.items() if k != name), (f"{name};", "")]
        headers = [(k.rstrip(";"), v) for k, v in headers if v]  # curl leaves an empty one out
    assert service.judged(subscription, headers, body) == (400, reason)


def test_a_header_that_is_there_twice(service):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    twice = [*headers.items(), ("Urgency", "high")]
    assert service.judged(subscription, twice, body) == (400, "DuplicateHeaders")


def test_without_a_topic_it_is_taken(service):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    del headers["Topic"]
    assert service.judged(subscription, headers, body) == (201, None)


@pytest.mark.parametrize("claims, status, reason", [
    ({"aud": "https://127.0.0.1"}, 403, "BadAudience"),
    ({"aud": None}, 403, "BadAudience"),
    ({"aud": "http://127.0.0.1:1"}, 403, "BadAudience"),
    ({"exp": 1}, 401, "Expired"),
    ({"exp": None}, 403, "BadExpiry"),
    ({"exp": int(time.time()) + 2 * 86400}, 403, "BadExpiry"),
    ({"sub": None}, 403, "BadSubject"),
    ({"sub": "admin@example.org"}, 403, "BadSubject"),
    ({"header": {"alg": "ES384"}}, 403, "BadJwtHeader"),
    ({"header": {"typ": "JOSE"}}, 403, "BadJwtHeader"),
    ({}, 201, None),
])
def test_the_claims_of_a_token(service, claims, status, reason):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    headers["Authorization"] = service.signed(**claims)
    assert service.judged(subscription, headers, body) == (status, reason)


def changed_signature(text):
    signed, _, key = text.partition(", k=")
    head, _, signature = signed.rpartition(".")
    raw = bytearray(b64_decode(signature))
    raw[40] ^= 1
    return f"{head}.{b64(bytes(raw))}, k={key}"


@pytest.mark.parametrize("change, status, reason", [
    (lambda text: None, 401, "MissingAuthorization"),
    (lambda text: text.replace("vapid ", "WebPush "), 401, "BadAuthorization"),
    (lambda text: text.partition(", k=")[0], 401, "BadAuthorization"),
    (lambda text: text[:-1], 401, "BadAuthorization"),
    (lambda text: text.replace(".", "", 1), 401, "BadJwt"),
    (changed_signature, 403, "BadSignature"),
])
def test_a_wrong_authorization(service, change, status, reason):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    text = change(headers.pop("Authorization"))
    if text is not None:
        headers["Authorization"] = text
    assert service.judged(subscription, headers, body) == (status, reason)


def test_a_subscription_takes_one_key(service):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    service.gateway.register(subscription.token, service.gateway.vapid_key)
    assert service.judged(subscription, headers, body) == (403, "OtherKey")
    service.gateway.register(subscription.token, service.keys["publicKey"])
    assert service.judged(subscription, headers, body) == (201, None)


@pytest.mark.parametrize("change, status, reason", [
    (lambda body: b"", 400, "BodyTooShort"),
    (lambda body: body[:86 + 17], 400, "BodyTooShort"),
    (lambda body: body[:20] + b"\x40" + body[21:], 400, "BadKeyId"),
    (lambda body: body[:21] + b"\x02" + body[22:], 400, "BadKeyId"),
    (lambda body: body[:16] + b"\0\0\0\x12" + body[20:], 400, "NotOneRecord"),
    (lambda body: body[:16] + b"\0\0\0\x11" + body[20:], 400, "NotOneRecord"),
    (lambda body: body + bytes(4096 - len(body)), 201, None),
    (lambda body: body + bytes(4097 - len(body)), 413, "PayloadTooLarge"),
])
def test_a_wrong_body(service, change, status, reason):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    assert service.judged(subscription, headers, change(body)) == (status, reason)


def test_paths_and_methods(service):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    for path in ("/", "/push/", "/push/abc", f"/push/{subscription.token.upper()}",
                 f"/push/{subscription.token}0", f"/{subscription.token}"):
        assert service.send(path, headers, body)[0] == 404, path
    assert service.judged(subscription, headers, body, method="PUT") == (405, "MethodNotAllowed")


def test_a_subscription_that_has_ended(service):
    subscription = service.subscription()
    headers, body = service.request(subscription)
    service.gateway.expire(subscription.token, 1)
    assert service.judged(subscription, headers, body) == (410, "Gone")


@pytest.mark.parametrize("http", ["--http2", "--http1.1"])
def test_answers_to_order(service, http):
    service.gateway.only_http1(http == "--http1.1")
    subscription = service.subscription()
    headers, body = service.request(subscription)
    path = f"/push/{subscription.token}"
    service.gateway.script(subscription.token, {"status": 429, "retry_after": 7},
                           {"status": 307, "location": "https://elsewhere.example/x"},
                           {"status": 500, "body": "<html>", "delay_ms": 200}, {"silence": True})
    status, answer = service.send(path, headers, body, http)
    assert (status, answer["retry-after"]) == (429, "7")
    status, answer = service.send(path, headers, body, http)
    assert (status, answer["location"]) == (307, "https://elsewhere.example/x")
    start = time.monotonic()
    assert service.send(path, headers, body, http)[0] == 500
    assert time.monotonic() - start > 0.2
    with pytest.raises(subprocess.CalledProcessError):
        service.send(path, headers, body, http, within=10)
    assert [push.status for push in subscription.all()] == [429, 307, 500, 0]


@pytest.mark.parametrize("head, reason", [
    ("POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n", "request line"),
    ("POST {path}\r\nHost: {host}\r\n", "request line"),
    ("POST https://{host}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n",
     "request line"),
    ("POST {path} HTTP/1.1\r\nContent-Length: 0\r\n", "Host or Content-Length is missing"),
    ("POST {path} HTTP/1.1\r\nHost: {host}\r\n", "Host or Content-Length is missing"),
    ("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
     "Content-Length"),
    ("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: +1\r\n", "Content-Length"),
    ("POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n",
     "transfer-encoding"),
    ("POST {path} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n", "expect"),
    ("POST {path} HTTP/1.1\r\nHost: {host}\r\n folded: x\r\n", "field"),
    ("POST {path} HTTP/1.1\r\nHost : {host}\r\n", "field"),
    ("POST {path} HTTP/1.1\nHost: {host}\n", "line end"),
])
def test_http_1_1_against_its_rules(service, head, reason):
    service.gateway.only_http1()
    context = ssl.create_default_context(cafile=service.gateway.folder / "ca.pem")
    context.set_alpn_protocols(["http/1.1"])
    host = f"127.0.0.1:{service.gateway.webpush_port}"
    with socket.create_connection(("127.0.0.1", service.gateway.webpush_port), 10) as plain, \
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        tls.sendall((head.format(path=f"/push/{secrets.token_hex(32)}", host=host) +
                     "\r\n").encode())
        assert tls.recv(100).startswith(b"HTTP/1.1 400 ")
    wait_until(lambda: service.gateway.stats()["violations"] == [f"HTTP/1.1: {reason}"], 5,
               "it is told")
    service.gateway.reset()
