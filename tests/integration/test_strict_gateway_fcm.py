# SPDX-License-Identifier: Apache-2.0
"""The FCM side of the strict gateway itself: what it takes, what it refuses, what can be
ordered."""

import base64
import email.utils
import json
import subprocess
import time
import urllib.parse

import pytest

from harness.gateway import (ACCOUNT, ACCOUNT_KEY_ID, PROJECT, Gateway, make_service_account,
                             new_fcm_token)
from harness.h2_client import PING, RawClient
from harness.procs import Workspace, wait_until

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Fcm:
    """Asks the gateway as a sender would, by curl."""

    def __init__(self, gateway):
        self.gateway, self.folder = gateway, gateway.folder
        self.url = f"https://127.0.0.1:{gateway.fcm_port}"

    def assertion(self, key="service-account", header=None, **changes):
        now = int(time.time())
        claims = {"iss": ACCOUNT, "scope": SCOPE, "aud": f"{self.url}/token", "iat": now,
                  "exp": now + 3600, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "typ": "JWT", "kid": ACCOUNT_KEY_ID, **(header or {})}
        text = ".".join(b64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.folder / f"{key}.key"],
            input=text.encode(), capture_output=True, check=True).stdout
        return f"{text}.{b64(signature)}"

    def ask(self, path, body, *headers, method="POST"):
        """(status, headers, body) of one request."""
        args = ["curl", "-sS", "--http2", "--max-time", "60", "--cacert", self.folder / "ca.pem",
                "-i", "-X", method, "--data-binary", "@-"]
        for line in headers:
            args += ["-H", line]
        done = subprocess.run([*args, self.url + path], input=body, capture_output=True,
                              check=True)
        head, _, text = done.stdout.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in rest), text

    def exchange(self, form=None, **changes):
        form = {"grant_type": GRANT, "assertion": self.assertion(**changes), **(form or {})}
        form = {name: value for name, value in form.items() if value is not None}
        status, _, text = self.ask("/token", urllib.parse.urlencode(form).encode())
        return status, json.loads(text)

    def login(self):
        status, answer = self.exchange()
        assert status == 200, answer
        self.bearer = answer["access_token"]
        return self

    def send(self, message, project=PROJECT, bearer=None, content_type="application/json",
             **around):
        body = message if isinstance(message, bytes) else \
            json.dumps({"message": message, **around}).encode()
        return self.ask(f"/v1/projects/{project}/messages:send", body,
                        f"authorization: Bearer {bearer or self.bearer}",
                        f"content-type: {content_type}")

    def outcome(self, message, **options):
        """200, or (status, Google's word, FCM's word, the field that is wrong)."""
        status, _, text = self.send(message, **options)
        if status == 200:
            return 200
        error = json.loads(text)["error"]
        details = {detail["@type"]: detail for detail in error.get("details", [])}
        fields = details.get(BAD_REQUEST, {}).get("fieldViolations", [{}])
        return (status, error["status"], details.get(FCM_ERROR, {}).get("errorCode"),
                fields[0].get("field"))


@pytest.fixture(scope="module")
def started():
    with Workspace("strict-fcm-") as workspace:
        yield Fcm(Gateway(workspace).start()).login()


@pytest.fixture
def fcm(started):
    started.gateway.reset()
    return started.login()


@pytest.fixture
def token():
    return new_fcm_token()


# The token endpoint.

def test_an_assertion_is_exchanged_for_a_token(fcm):
    status, answer = fcm.exchange()
    assert status == 200
    assert answer.keys() == {"access_token", "expires_in", "token_type"}
    assert answer["expires_in"] == 3599 and answer["token_type"] == "Bearer"
    assert fcm.exchange()[1]["access_token"] != answer["access_token"]


@pytest.mark.parametrize("changes", [
    {"iss": "other@example.org"}, {"iss": None}, {"scope": SCOPE + " x"}, {"scope": None},
    {"aud": "https://oauth2.googleapis.com/token"}, {"sub": "x"}, {"iat": 1.5},
    {"exp": "soon"}, {"header": {"alg": "none"}}, {"header": {"kid": "x"}},
    {"header": {"typ": "at+jwt"}},
], ids=str)
def test_an_assertion_that_is_no_good(fcm, changes):
    status, answer = fcm.exchange(**changes)
    assert (status, answer["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("from_now", [
    {"iat": 3600, "exp": 7200}, {"iat": -7200, "exp": -3600}, {"exp": 4000}], ids=str)
def test_an_assertion_of_another_time(fcm, from_now):
    now = int(time.time())
    status, answer = fcm.exchange(**{name: now + seconds for name, seconds in from_now.items()})
    assert (status, answer["error"]) == (400, "invalid_grant")


def test_an_assertion_signed_by_somebody_else(fcm):
    make_service_account(fcm.folder, "other")
    assert fcm.exchange(key="other")[1]["error_description"] == "Invalid JWT Signature."
    assert fcm.exchange({"assertion": "a.b.c"})[1]["error"] == "invalid_grant"


def test_forms_that_are_none(fcm):
    assert fcm.exchange({"grant_type": "password"})[1]["error"] == "unsupported_grant_type"
    assert fcm.exchange({"grant_type": None})[1]["error"] == "unsupported_grant_type"
    assert fcm.exchange({"assertion": None})[1]["error"] == "invalid_request"
    assert fcm.ask("/token", b"{}", "content-type: application/json")[0] == 400
    assert fcm.gateway.stats()["oauth_refused"] == 4


# What is accepted.

def test_a_message_with_everything(fcm, token):
    message = {
        "token": token, "data": {"badge": "1"}, "notification": {"title": "t", "body": "b"},
        "android": {"collapse_key": "c", "priority": "HIGH", "ttl": "86400.5s",
                    "restricted_package_name": "p", "data": {"a": "b"}, "direct_boot_ok": True,
                    "notification": {"tag": "t", "notification_count": 3, "sound": "default",
                                     "channel_id": "m", "visibility": "PRIVATE",
                                     "body_loc_args": ["a"], "vibrate_timings": ["3.5s"],
                                     "light_settings": {"color": {"red": 1}}}},
        "apns": {"headers": {"apns-priority": "10"}, "payload": {"aps": {"badge": 3}, "x": [1]}},
        "webpush": {"headers": {"TTL": "1"}, "data": {"a": "b"}, "notification": {"any": 1}},
        "fcm_options": {"analytics_label": "l"},
    }
    status, headers, text = fcm.send(message, validate_only=False)
    assert status == 200
    assert json.loads(text)["name"].startswith(f"projects/{PROJECT}/messages/")
    assert abs(email.utils.parsedate_to_datetime(headers["date"]).timestamp() - time.time()) < 60
    (push,) = fcm.gateway.fcm_messages(token)
    assert push.message == message and push.jwt > 0 and "authorization" not in push.headers
    shown = fcm.gateway.device(token)
    assert shown["badge"] == 3 and shown["notifications"][0]["collapse_id"] == "c"


def test_a_phone_that_is_off_has_four_keys_kept(fcm, token):
    fcm.gateway.set_online(token, False)
    for number in range(1, 7):
        assert fcm.outcome({"token": token, "android": {
            "collapse_key": f"c{number % 5}", "ttl": "60s",
            "notification": {"notification_count": number}}}) == 200
    fcm.outcome({"token": token, "android": {"collapse_key": "x", "ttl": "0s"}})
    shown = fcm.gateway.device(token)
    assert shown["stored_count"] == 4 and shown["badge"] is None
    fcm.gateway.set_online(token, True)
    shown = fcm.gateway.device(token)
    assert [n["collapse_id"] for n in shown["notifications"]] == ["c3", "c4", "c0", "c1"]
    assert shown["badge"] == 6 and shown["stored_count"] == 0
    assert shown["lost_while_offline"] == 3


def test_the_answer_ends_with_an_empty_frame(fcm, token):
    with Client(fcm) as client:
        stream = client.send({"token": token})
        client.run(lambda: stream in client.ended)
        assert client.bodies[stream] == [True, False]  # something in it, nothing in it


# What is refused.

@pytest.mark.parametrize("message,field", [
    ({"extra": 1}, "message.extra"), ({"android": {"colour": "x"}}, "message.android.colour"),
    ({"android": {"notification": {"count": 1}}}, "message.android.notification.count"),
    ({"android": {"notification": {"notification_count": "1"}}},
     "message.android.notification.notification_count"),
    ({"android": {"notification": {"notification_count": 1.5}}},
     "message.android.notification.notification_count"),
    ({"android": {"ttl": "86400"}}, "message.android.ttl"),
    ({"android": {"ttl": 86400}}, "message.android.ttl"),
    ({"android": {"ttl": "2419201s"}}, "message.android.ttl"),
    ({"android": {"ttl": "-1s"}}, "message.android.ttl"),
    ({"android": {"priority": "urgent"}}, "message.android.priority"),
    ({"android": {"priority": 10}}, "message.android.priority"),
    ({"android": []}, "message.android"), ({"data": {"n": 1}}, "message.data"),
    ({"data": {"from": "x"}}, "message.data"), ({"data": {"google.x": "x"}}, "message.data"),
    ({"data": {"gcm.notification.x": "x"}}, "message.data"), ({"data": "x"}, "message.data"),
    ({"notification": {"title": 1}}, "message.notification.title"),
    ({"apns": {"headers": {"apns-priority": 5}}}, "message.apns.headers"),
    ({"apns": {"payload": "x"}}, "message.apns.payload"),
    ({"apns": {"headers": {"apns-priority": "10"}}}, "message.apns.headers"),
    ({"topic": "t"}, "message"), ({"token": "short"}, "message.token"),
    ({"token": "0123456789abcdef" * 4}, "message.token"),
], ids=str)
def test_a_field_that_is_wrong_is_named(fcm, token, message, field):
    assert fcm.outcome({"token": token, **message}) == \
        (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", field)


def test_requests_that_are_none(fcm, token):
    assert fcm.outcome({}) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message")
    assert fcm.outcome(b"no json")[0] == 400
    assert fcm.outcome(b'{"message":{"token":"a","token":"b"}}')[3] == "message.token"
    assert fcm.outcome({"token": token}, content_type="text/plain")[3] == "content-type"
    assert fcm.outcome({"token": token}, validate_only="x")[3] == "validate_only"
    assert fcm.outcome({"token": token}, project="other") == (404, "NOT_FOUND", None, None)


def test_4096_bytes_are_the_limit(fcm, token):
    empty = len(json.dumps({"message": {"token": token, "data": {"x": ""}}}))
    assert fcm.outcome({"token": token, "data": {"x": "a" * (4096 - empty)}}) == 200
    assert fcm.outcome({"token": token, "data": {"x": "a" * (4097 - empty)}}) == \
        (400, "INVALID_ARGUMENT", None, None)


def test_tokens_that_are_not_good(fcm, token):
    assert fcm.outcome({"token": token}, bearer="ya29.x") == (401, "UNAUTHENTICATED", None, None)
    fcm.gateway.oauth(expire_now=True)
    assert fcm.outcome({"token": token})[0] == 401
    fcm.gateway.oauth(life_s=1)
    fcm.login()
    assert fcm.outcome({"token": token}) == 200
    wait_until(lambda: fcm.outcome({"token": token})[0:1] == (401,)
               if fcm.outcome({"token": token}) != 200 else False, 5, "the token has ended")


def test_devices_that_are_gone_or_of_another_project(fcm, token):
    fcm.gateway.expire(token, 0)
    assert fcm.outcome({"token": token}) == (404, "NOT_FOUND", "UNREGISTERED", None)
    other = new_fcm_token()
    fcm.gateway._call("POST", "/register", {"token": other, "topics": ["other-project"]})
    assert fcm.outcome({"token": other}) == \
        (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", None)


# What can be ordered.

def test_details_come_in_both_orders(fcm, token):
    fcm.gateway.script(token, {"status": 503, "reason": "UNAVAILABLE", "times": 2})
    orders = set()
    with Client(fcm) as client:
        for _ in range(2):
            stream = client.send({"token": token})
            client.run(lambda at=stream: at in client.ended)
            details = json.loads(client.texts[stream])["error"]["details"]
            orders.add(tuple(detail["@type"] == FCM_ERROR for detail in details))
    assert orders == {(True, False), (False, True)}


def test_answers_to_order(fcm, token):
    fcm.gateway.script(token, {"status": 429, "reason": "QUOTA_EXCEEDED", "retry_after": 7},
                       {"status": 503, "reason": "UNAVAILABLE", "retry_after": 60,
                        "retry_as_date": True},
                       {"status": 502, "body": "<html>"}, {"status": 404})
    assert fcm.send({"token": token})[1]["retry-after"] == "7"
    at = email.utils.parsedate_to_datetime(fcm.send({"token": token})[1]["retry-after"])
    assert 50 < at.timestamp() - time.time() < 70
    status, headers, text = fcm.send({"token": token})
    assert (status, headers["content-type"], text) == (502, "text/html; charset=UTF-8",
                                                       b"<html>")
    status, headers, text = fcm.send({"token": token})
    assert (status, text) == (404, b"") and "content-type" not in headers
    fcm.gateway.script_oauth({"status": 400, "body": '{"error":"invalid_scope"}'})
    assert fcm.exchange()[1]["error"] == "invalid_scope"
    assert fcm.exchange()[0] == 200


# Connections.

class Client(RawClient):
    def __init__(self, fcm, settings_ack=True):
        self.fcm = fcm
        self.ended, self.bodies, self.texts = set(), {}, {}
        super().__init__(fcm.folder / "ca.pem", fcm.gateway.fcm_port, settings_ack)

    def request(self, message, end=True):
        fields = [(":method", "POST"), (":scheme", "https"),
                  (":authority", f"127.0.0.1:{self.fcm.gateway.fcm_port}"),
                  (":path", f"/v1/projects/{PROJECT}/messages:send"),
                  ("authorization", f"Bearer {self.fcm.bearer}"),
                  ("content-type", "application/json")]
        return self.frames(fields, json.dumps({"message": message}).encode(), end)

    def take(self, kind, flags, stream, payload):
        if kind == 0:
            self.bodies.setdefault(stream, []).append(bool(payload))
            self.texts[stream] = self.texts.get(stream, b"") + payload
            if flags & 1:
                self.ended.add(stream)
        else:
            super().take(kind, flags, stream, payload)


def test_100_streams_and_no_more(fcm, token):
    fcm.gateway.script(token, {"delay_ms": 600000, "times": -1})
    with Client(fcm) as client:
        client.run(lambda: client.limit == 100)
        wait_until(lambda: fcm.gateway.stats()["settings_acked"] >= 1, 5, "it is acknowledged")
        for _ in range(100):
            client.send({"token": token})
        assert not client.goaways
        client.send({"token": token})
        client.run(lambda: client.goaways)
        assert client.goaways[0][1:] == (1, b"exceeded_max_concurrent_streams")
        client.run_to_end()
    assert fcm.gateway.stats()["violations"] == ["exceeded_max_concurrent_streams"]


def test_asking_an_idle_connection_for_life(fcm):
    with Client(fcm) as client:
        client.run(lambda: client.limit)
        for number in range(1, 4):
            client.tls.sendall(client.frame(PING, 0, 0, b"12345678"))
            client.run(lambda n=number: client.pongs >= n or client.goaways)
        client.run(lambda: client.goaways)
        assert client.goaways[0][1:] == (0xb, b"too_many_pings")
    assert fcm.gateway.stats()["violations"] == ["too_many_pings"]


@pytest.mark.parametrize("option,word", [("--fcm-idle-ms", b"session_timeout"),
                                         ("--fcm-age-ms", b"max_age")])
def test_connections_end_when_idle_or_old(option, word, token):
    with Workspace("strict-fcm-") as own:
        fcm = Fcm(Gateway(own, options=(option, "300")).start()).login()
        with Client(fcm) as client:
            client.run(lambda: client.goaways)
            assert client.goaways[0][1:] == (0, word)
            client.run_to_end()
        assert fcm.gateway.stats()["violations"] == []


def test_a_text_beside_the_apps_own_words_is_a_violation(fcm, token):
    def send(shown, **more):
        return fcm.outcome({"token": token, "android": {"notification": shown}, **more})

    assert send({"body_loc_key": "new", "body_loc_args": ["3"], "title": "x"}) == 200
    assert fcm.gateway.stats()["violations"] == []
    assert send({"body_loc_key": "new", "body": "x"}) == 200
    assert send({"body_loc_key": "new"}, notification={"body": "x"}) == 200
    assert send({"body_loc_args": ["3"]}) == 200
    assert fcm.gateway.stats()["violations"] == [
        "body_loc_key beside body", "body_loc_key beside body",
        "body_loc_args without body_loc_key"]
    assert send({"body_loc_key": 1})[0] == send({"body_loc_args": [3]})[0] == 400
