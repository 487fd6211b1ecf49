# SPDX-License-Identifier: Apache-2.0
"""The strict gateway (tests/gateway) itself: a stand-in that lets mistakes pass, or that
invents some, would make every push test worthless.

Single requests are sent with curl; what is about streams and frames with a client of a few
lines that does exactly what it is told, also what HTTP/2 forbids.
"""

import base64
import json
import os
import re
import secrets
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from harness.gateway import make_certificates, make_provider_key
from harness.h2_client import (DATA, END_STREAM, PING, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM,
                               RawClient)
from harness.procs import ROOT, Process, Workspace, wait_until

BUILD = Path(os.environ.get("SIDECAR_BUILD", ROOT / "build" / "asan"))
TOPIC = "org.example.chat"
OTHER_TOPIC = "org.example.other"
TOKEN = "0123456789abcdef" * 4
OTHER_TOKEN = "fedcba9876543210" * 4
ALERT = {"aps": {"alert": "hello", "badge": 1}}
# key id: (team, file name, topics it is good for)
KEYS = {"KEYONE0001": ("TEAMONE001", "one", ""),
        "KEYTWO0002": ("TEAMTWO002", "two", f":{OTHER_TOPIC}")}
LIMIT_TEXT = b"Maximum active streams violated for this endpoint."


# Provider tokens.

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_signature(der):
    """SEQUENCE of two INTEGERs to r and s of 32 bytes each."""
    assert der[0] == 0x30
    numbers, at = b"", 2
    for _ in range(2):
        length = der[at + 1]
        number = der[at + 2:at + 2 + length].lstrip(b"\0")
        numbers += number.rjust(32, b"\0")
        at += 2 + length
    return numbers


def make_jwt(folder, kid="KEYONE0001", iss=None, age=0, alg="ES256", der=False, sign_with=None,
             **claims):
    team, name, _ = KEYS.get(kid, KEYS["KEYONE0001"])
    header = {"alg": alg, "kid": kid}
    body = {"iss": team if iss is None else iss, "iat": int(time.time()) - age, **claims}
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, body))
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", folder / f"{sign_with or name}.p8"],
        input=text.encode(), capture_output=True, check=True).stdout
    return f"{text}.{b64(signature if der else raw_signature(signature))}"


# The gateway as a child.

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers = status, headers
        parsed = json.loads(body) if body else {}
        self.reason, self.timestamp = parsed.get("reason"), parsed.get("timestamp")

    @property
    def outcome(self):
        return self.status, self.reason


class Gateway:
    def __init__(self, workspace, name, *options, keys=True):
        self.folder = workspace.folder(name)
        self.name, self.options, self.keys = name, options, keys
        make_certificates(self.folder)
        for _, file_name, _ in KEYS.values():
            make_provider_key(self.folder, file_name)
        self.process = None
        workspace.on_close(self.stop)

    def start(self):
        ready = self.folder / "ready"
        keys = [f"--auth-key={kid}:{team}:{self.folder / file_name}.pub.pem{topics}"
                for kid, (team, file_name, topics) in KEYS.items()] if self.keys else []
        self.process = Process(self.name, [
            BUILD / "strict-gateway", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
            "--cert", self.folder / "cert.pem", "--key", self.folder / "key.pem",
            "--ready-file", ready, *keys, *self.options], self.folder / f"{self.name}.log")
        self.process.wait_ready(ready.exists, 15)
        ports = json.loads(ready.read_text())
        self.port, self.control_port = ports["apns"], ports["control"]
        return self

    def stop(self):
        """Leaks and undefined behaviour would show in the exit status."""
        if self.process is not None:
            process, self.process = self.process, None
            status = process.stop(signal.SIGTERM)
            assert status == 0, process.log_tail()

    def jwt(self, **options):
        return make_jwt(self.folder, **options)

    # The control port.

    def control(self, method, path, body=None, **query):
        url = f"http://127.0.0.1:{self.control_port}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(
            url, method=method, data=json.dumps(body).encode() if method == "POST" else None)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path, **body):
        status, answer = self.control("POST", path, body)
        assert status == 200, answer

    def get(self, path, **query):
        status, answer = self.control("GET", path, **query)
        assert status == 200, answer
        return answer

    def script(self, *actions, token=TOKEN):
        self.post("/script", token=token, actions=list(actions))

    def stats(self):
        return self.get("/stats")

    # Single requests.

    def headers(self, **changes):
        """A good request's; a change to None leaves the header out."""
        headers = {"apns-topic": TOPIC, "apns-push-type": "alert"}
        headers.update({name.replace("_", "-"): value for name, value in changes.items()})
        if "authorization" not in headers:
            headers["authorization"] = f"bearer {self.current_jwt}"
        return {name: value for name, value in headers.items() if value is not None}

    def push(self, payload=ALERT, path=f"/3/device/{TOKEN}", method="POST", curl=(), more=(),
             **changes):
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        lines = [f"{name}: {value}" for name, value in self.headers(**changes).items()]
        args = ["curl", "-sS", "--http2", "--max-time", "60", "--cacert", self.folder / "ca.pem",
                "-i", "-X", method, "--data-binary", "@-", *curl]
        for line in [*lines, *more]:
            args += ["-H", line]
        args.append(f"https://127.0.0.1:{self.port}{path}")
        done = subprocess.run(args, input=body, capture_output=True, check=False)
        if done.returncode != 0:
            return Answer(None, {"curl": done.stderr.decode()}, b"")
        head, _, text = done.stdout.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        return Answer(int(first.split()[1]),
                      dict(line.split(": ", 1) for line in rest), text)


@pytest.fixture(scope="module")
def workspace():
    with Workspace("strict-gateway-") as made:
        yield made


@pytest.fixture(scope="module")
def started(workspace):
    gateway = Gateway(workspace, "strict").start()
    gateway.current_jwt = gateway.jwt()
    return gateway


@pytest.fixture
def gateway(started):
    """As at the start, and TOKEN is registered for TOPIC."""
    started.post("/reset")
    started.post("/register", token=TOKEN, topics=[TOPIC])
    return started


@pytest.fixture
def make_gateway():
    with Workspace("strict-gateway-") as own:
        def make(*options, keys=True):
            gateway = Gateway(own, "own", *options, keys=keys).start()
            if keys:
                gateway.current_jwt = gateway.jwt()
            return gateway
        yield make


# A client that does what it is told.

class Client(RawClient):
    def __init__(self, gateway, settings_ack=True):
        self.gateway = gateway
        super().__init__(gateway.folder / "ca.pem", gateway.port, settings_ack)

    def request(self, payload=ALERT, token=TOKEN, fields=None, more=(), end=True, **changes):
        """The frames of one request, and its stream id."""
        if fields is None:
            fields = [(":method", "POST"), (":scheme", "https"),
                      (":authority", f"127.0.0.1:{self.gateway.port}"),
                      (":path", f"/3/device/{token}"),
                      *self.gateway.headers(**changes).items(), *more]
        return self.frames(fields, json.dumps(payload).encode(), end)

    @staticmethod
    def outcome(body):
        return json.loads(body)["reason"]

    def open_up(self):
        """First push accepted, the limit raised and acknowledged."""
        acked = self.gateway.stats()["settings_acked"]
        assert self.answer_to(self.send()) == 200
        self.run(lambda: self.limit and self.limit > 1)
        self.acknowledged(acked + 1)

    def acknowledged(self, count):
        """The gateway has seen that many acknowledgements."""
        self.run(self.ended_or(lambda: self.gateway.stats()["settings_acked"] >= count))


# What is accepted.

def test_the_manual_names_every_option_and_question():
    """It is installed for people who have no source at hand."""
    manual = (ROOT / "man" / "xmpp-sidecar-gateway.1").read_text().replace("\\-", "-")
    usage = subprocess.run([BUILD / "strict-gateway", "--help"], capture_output=True, text=True,
                           check=True)
    options = set(re.findall(r"--[a-z-]+", usage.stdout))
    assert len(options) > 15 and options - set(re.findall(r"--[a-z-]+", manual)) == set()
    control = (ROOT / "tests" / "gateway" / "control.c").read_text()
    questions = set(re.findall(r"^ \*  ((?:POST|GET)  ?/\w+)", control, re.M))
    asked = {f"{method} /{path}" for method, path in
             (question.replace("  ", " ").split(" /") for question in questions)}
    assert len(asked) > 12 and {q for q in asked if q not in manual} == set()


def test_valid_notification(gateway):
    apns_id = "12345678-90ab-cdef-1234-567890abcdef"
    answer = gateway.push(apns_id=apns_id, apns_priority="5", apns_expiration="0",
                          apns_collapse_id="conversation")
    assert answer.outcome == (200, None)
    assert answer.headers["apns-id"] == apns_id
    (push,) = gateway.get("/pushes", token=TOKEN)
    assert push["status"] == 200 and push["reason"] is None
    assert push["payload"] == ALERT and push["jwt"] > 0 and push["stream"] == 1
    assert push["headers"]["apns-id"] == apns_id and push["headers"][":method"] == "POST"
    assert "authorization" not in push["headers"]
    assert abs(push["time_ms"] - time.time() * 1000) < 60000


def test_apns_id_is_made_for_an_accepted_push_without_one(gateway):
    assert len(gateway.push().headers["apns-id"]) == 36


def test_apns_id_is_echoed_for_a_rejected_push(gateway):
    apns_id = "12345678-90ab-cdef-1234-567890abcdef"
    answer = gateway.push(apns_id=apns_id, apns_priority="7")
    assert answer.headers["apns-id"] == apns_id
    assert answer.headers["content-type"] == "application/json"


def test_apns_unique_id(make_gateway, gateway):
    sandbox = make_gateway("--sandbox", "--token-any")
    assert len(sandbox.push().headers["apns-unique-id"]) == 36
    assert "apns-unique-id" not in gateway.push().headers


@pytest.mark.parametrize("priority", ["10", "5", "1"])
def test_specified_priority(gateway, priority):
    assert gateway.push(apns_priority=priority).status == 200


@pytest.mark.parametrize("collapse_id", ["a", "x" * 64, "ü" * 32])
def test_collapse_id(gateway, collapse_id):
    assert gateway.push(apns_collapse_id=collapse_id).status == 200


@pytest.mark.parametrize("expiration", ["0", "1795000000"])
def test_expiration_date(gateway, expiration):
    assert gateway.push(apns_expiration=expiration).status == 200


def test_device_token_in_upper_case_is_the_same_device(gateway):
    assert gateway.push(path=f"/3/device/{TOKEN.upper()}").status == 200
    assert len(gateway.get("/pushes", token=TOKEN)) == 1


@pytest.mark.parametrize("der", [False, True])
def test_raw_and_der_signatures(gateway, der):
    assert gateway.push(authorization=f"bearer {gateway.jwt(der=der)}").status == 200


PUSH_TYPES = {
    "alert": "", "background": "", "voip": ".voip", "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider", "liveactivity": ".push-type.liveactivity",
    "location": ".location-query", "pushtotalk": ".voip-ptt", "widgets": ".push-type.widgets",
    "controls": ".push-type.controls"}


@pytest.mark.parametrize("push_type", PUSH_TYPES)
def test_push_types_and_their_topics(gateway, push_type):
    topic = TOPIC + PUSH_TYPES[push_type]
    gateway.post("/register", token=TOKEN, topics=[topic])
    changes = {"apns_push_type": push_type, "apns_topic": topic}
    payload = {"aps": {"content-available": 1}} if push_type == "background" else ALERT
    if push_type == "background":
        changes["apns_priority"] = "5"
    if push_type == "pushtotalk":
        changes["apns_expiration"] = "0"
    assert gateway.push(payload, **changes).outcome == (200, None)
    changes["apns_topic"] = TOPIC if PUSH_TYPES[push_type] else f"{TOPIC}.voip"
    assert gateway.push(payload, **changes).outcome == (400, "BadTopic")


def test_mdm_push(gateway):
    gateway.post("/register", token=TOKEN, topics=["com.apple.mgmt.External"])
    changes = {"apns_push_type": "mdm", "apns_topic": "com.apple.mgmt.External"}
    assert gateway.push({"mdm": "magic"}, **changes).status == 200
    assert gateway.push(ALERT, **changes).outcome == (400, "BadPayload")


# What is rejected.

@pytest.mark.parametrize("apns_id", [
    "nonsense", "12345678-90ab-cdef-1234-567890abcde", "12345678-90AB-CDEF-1234-567890ABCDEF",
    "1234567890abcdef1234567890abcdef1234"])
def test_bad_apns_id(gateway, apns_id):
    answer = gateway.push(apns_id=apns_id)
    assert answer.outcome == (400, "BadMessageId")
    assert answer.headers["apns-id"] != apns_id


def test_method_not_allowed(gateway):
    assert gateway.push(method="PUT").outcome == (405, "MethodNotAllowed")


def test_missing_topic(gateway):
    assert gateway.push(apns_topic=None).outcome == (400, "MissingTopic")


@pytest.mark.parametrize("collapse_id", ["x" * 65, "ü" * 33])
def test_oversized_collapse_id(gateway, collapse_id):
    assert gateway.push(apns_collapse_id=collapse_id).outcome == (400, "BadCollapseId")


@pytest.mark.parametrize("priority", ["0", "6", "10.0", "ten", "010"])
def test_bad_priority(gateway, priority):
    assert gateway.push(apns_priority=priority).outcome == (400, "BadPriority")


@pytest.mark.parametrize("expiration", ["soon", "-1", "1.5", "99999999999999999999"])
def test_bad_expiration_date(gateway, expiration):
    assert gateway.push(apns_expiration=expiration).outcome == (400, "BadExpirationDate")


@pytest.mark.parametrize("push_type", ["Alert", "silent", None])
def test_invalid_push_type(gateway, push_type):
    assert gateway.push(apns_push_type=push_type).outcome == (400, "InvalidPushType")


@pytest.mark.parametrize("priority", ["10", None])
def test_background_with_priority_10(gateway, priority):
    answer = gateway.push({"aps": {"content-available": 1}}, apns_push_type="background",
                          apns_priority=priority)
    assert answer.outcome == (400, "BadPriority")


@pytest.mark.parametrize("aps", [
    {"content-available": 1, "alert": "x"}, {"content-available": 1, "badge": 1},
    {"content-available": 1, "sound": "default"}, {}])
def test_background_that_shows_something(gateway, aps):
    answer = gateway.push({"aps": aps}, apns_push_type="background", apns_priority="5")
    assert answer.outcome == (400, "InvalidPushType")


@pytest.mark.parametrize("path", ["/", "/3/device", "/2/device/" + TOKEN, "/3/devices/" + TOKEN])
def test_bad_path(gateway, path):
    assert gateway.push(path=path).outcome == (404, "BadPath")


def test_missing_device_token(gateway):
    assert gateway.push(path="/3/device/").outcome == (400, "MissingDeviceToken")


@pytest.mark.parametrize("token", [TOKEN[1:], TOKEN + "0", "g" + TOKEN[1:], TOKEN + "?a=b",
                                   TOKEN + "/", "x" * 300])
def test_bad_device_token(gateway, token):
    assert gateway.push(path=f"/3/device/{token}").outcome == (400, "BadDeviceToken")


def test_expired_device_token(gateway):
    gateway.post("/expire", token=TOKEN, timestamp_ms=1700000000123)
    answer = gateway.push()
    assert answer.outcome == (410, "Unregistered")
    assert answer.timestamp == 1700000000123
    gateway.post("/register", token=TOKEN, topics=[TOPIC])
    assert gateway.push().status == 200


def test_device_token_for_wrong_topic(gateway):
    assert gateway.push(apns_topic=OTHER_TOPIC).outcome == (400, "DeviceTokenNotForTopic")


def test_device_token_that_nobody_registered(gateway):
    """As one of the other environment."""
    unknown = gateway.push(path=f"/3/device/{OTHER_TOKEN}")
    assert unknown.outcome == (400, "BadDeviceToken")


def test_token_any_is_for_unregistered_tokens_only(make_gateway):
    gateway = make_gateway("--token-any")
    assert gateway.push().status == 200
    gateway.post("/register", token=TOKEN, topics=[OTHER_TOPIC])
    assert gateway.push().outcome == (400, "DeviceTokenNotForTopic")


def test_missing_payload(gateway):
    answer = gateway.push(b"", curl=["-X", "POST"])
    assert answer.outcome == (400, "PayloadEmpty")


def payload_of(size):
    return b'{"aps":{"alert":"' + b"x" * (size - 20) + b'"}}'


def test_oversized_payload(gateway):
    assert gateway.push(payload_of(4096)).status == 200
    assert gateway.push(payload_of(4097)).outcome == (413, "PayloadTooLarge")
    assert gateway.push(payload_of(200000)).outcome == (413, "PayloadTooLarge")


def test_voip_may_be_larger(gateway):
    topic = f"{TOPIC}.voip"
    gateway.post("/register", token=TOKEN, topics=[topic])
    changes = {"apns_push_type": "voip", "apns_topic": topic}
    assert gateway.push(payload_of(5120), **changes).status == 200
    assert gateway.push(payload_of(5121), **changes).outcome == (413, "PayloadTooLarge")


def test_a_call_that_may_ring_late_is_a_violation(gateway):
    """Apple takes it all the same."""
    topic = f"{TOPIC}.voip"
    gateway.post("/register", token=TOKEN, topics=[topic])
    now = int(time.time())
    good = {"apns_push_type": "voip", "apns_topic": topic, "apns_priority": "10"}
    for expiration in ("0", str(now + 45)):
        assert gateway.push(**good, apns_expiration=expiration).status == 200
    assert gateway.stats()["violations"] == []
    for bad in ({"apns_expiration": str(now + 3600)}, {},
                {"apns_expiration": "0", "apns_priority": "5"}):
        assert gateway.push(**{**good, **bad}).status == 200
    assert gateway.stats()["violations_count"] == 3


@pytest.mark.parametrize("alert, violations", [
    ({"loc-key": "new", "loc-args": ["3"]}, []),
    ({"title": "x", "loc-key": "new"}, []),
    ({"body": "x", "loc-key": "new"}, ["loc-key beside body"]),
    ({"body": "x", "loc-args": ["3"]}, ["loc-args without loc-key"]),
    ({"title": "x", "title-loc-key": "new"}, ["title-loc-key beside title"]),
])
def test_the_apps_own_words_stand_alone(gateway, alert, violations):
    assert gateway.push({"aps": {"alert": alert}}).outcome == (200, None)
    assert gateway.stats()["violations"] == violations


@pytest.mark.parametrize("payload", [
    b'{"aps":{"alert":{"loc-key":1}}}', b'{"aps":{"alert":{"loc-key":"a","loc-args":"b"}}}',
    b'{"aps":{"alert":{"loc-key":"a","loc-args":[3]}}}',
    b"nonsense", b"[]", b'"aps"', b"{}", b'{"aps":1}', b'{"aps":{}', b'{"aps":{}} x',
    b'{"aps":{"alert":"a\nb"}}', b'{"aps":{"alert":"\xff"}}', b'{"aps":{"alert":"\xed\xa0\x80"}}',
    b'{"aps":{"alert":"\xc0\xaf"}}', b'{"aps":{"alert":"\\ud800"}}', b'{"aps":{"alert":"\\x"}}',
    b'{"aps":{"badge":"1"}}', b'{"aps":{"badge":-1}}', b'{"aps":{"badge":1.5}}',
    b'{"aps":{"badge":01}}', b'{"aps":{"alert":1}}', b'{"aps":{"sound":true}}',
    b'{"aps":{"badge":1,"content-available":2}}', b'{"aps":{"badge":1,"content-available":"1"}}',
    b'{"aps":{"alert":"x","mutable-content":true}}',
    b'{"aps":{"alert":"x",}}', b"{'aps':{}}", b"\xef\xbb\xbf" + b'{"aps":{}}'])
def test_bad_payload(gateway, payload):
    assert gateway.push(payload).outcome == (400, "BadPayload")


@pytest.mark.parametrize("payload", [
    b' {"aps" : {"badge" : 0 } } \n', b'{"aps":{"badge":3,"content-available":1},"own":["a"]}',
    '{"aps":{"alert":{"title":"Grüße 😀"}}}'.encode(),
    b'{"aps":{"alert":"\\ud83d\\ude00\\n\\u0000","badge":1e1},"own":[1.5e-3,null,true,{}]}'])
def test_unusual_but_good_payload(gateway, payload):
    assert gateway.push(payload).outcome == (200, None)


def test_the_first_failing_check_answers(gateway):
    """All wrong at first, then repaired in the order of the checks."""
    gateway.post("/register", token=TOKEN, topics=[OTHER_TOPIC])
    gateway.post("/expire", token=OTHER_TOKEN, timestamp_ms=1)
    expired = f"bearer {gateway.jwt(age=3601)}"
    wrong = {"apns-id": "x", ":method": "PUT", "apns-topic": "", "apns-collapse-id": "x" * 65,
             "apns-priority": "7", "apns-expiration": "x", "apns-push-type": "x",
             ":path": "/nowhere", "authorization": None, "payload": b""}
    repairs = [
        ({"apns-id": None}, "BadMessageId"), ({":method": "POST"}, "MethodNotAllowed"),
        ({"apns-topic": TOPIC}, "MissingTopic"), ({"apns-collapse-id": None}, "BadCollapseId"),
        ({"apns-priority": "5"}, "BadPriority"), ({"apns-expiration": "0"}, "BadExpirationDate"),
        ({"apns-push-type": "alert"}, "InvalidPushType"),
        ({":path": "/3/device/"}, "BadPath"), ({":path": "/3/device/x"}, "MissingDeviceToken"),
        ({":path": f"/3/device/{OTHER_TOKEN}"}, "BadDeviceToken"),
        ({":path": f"/3/device/{TOKEN}"}, "Unregistered"),
        ({"apns-topic": OTHER_TOPIC}, "DeviceTokenNotForTopic"),
        ({"authorization": "bearer x.y.z"}, "MissingProviderToken"),
        ({"authorization": expired}, "InvalidProviderToken"),
        ({"authorization": f"bearer {gateway.current_jwt}"}, "ExpiredProviderToken"),
        ({"payload": payload_of(4097)}, "PayloadEmpty"),
        ({"payload": b"x"}, "PayloadTooLarge"), ({"payload": b'{"aps":{}}'}, "BadPayload")]
    for repair, reason in repairs:
        state = dict(wrong)
        answer = gateway.push(state.pop("payload"), path=state.pop(":path"),
                              method=state.pop(":method"), **{**state, "apns-topic": wrong[
                                  "apns-topic"] or None})
        assert answer.reason == reason
        wrong.update(repair)
    state = dict(wrong)
    assert gateway.push(state.pop("payload"), path=state.pop(":path"),
                        method=state.pop(":method"), **state).outcome == (200, None)


# Provider tokens.

@pytest.mark.parametrize("authorization", [None, "Basic abc", "bearer", "Bearer x.y.z", "x.y.z"])
def test_missing_authentication_token(gateway, authorization):
    answer = gateway.push(authorization=authorization)
    assert answer.outcome == (403, "MissingProviderToken")


def test_empty_authentication_token(gateway):
    """HTTP/2 allows no space at the end of a value: to send one resets the stream."""
    with Client(gateway) as client:
        assert client.answer_to(client.send(authorization="")) == "MissingProviderToken"
        stream = client.send(authorization="bearer ")
        client.run(lambda: stream in client.resets)


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c", "a.b.c.d", "..", "e30.e30.AAAA", "é.é.é",
                                   "x" * 5000])
def test_malformed_authentication_token(gateway, token):
    answer = gateway.push(authorization=f"bearer {token}")
    assert answer.outcome == (403, "InvalidProviderToken")


@pytest.mark.parametrize("options", [
    {"kid": "KEYUNKNOWN"}, {"iss": "TEAMTWO002"}, {"iss": 5}, {"iat": "now"}, {"iat": 1.5},
    {"iat": None}, {"alg": "ES384"}, {"alg": "none"}, {"age": -120}, {"sign_with": "two"}],
    ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()))
def test_unusable_authentication_token(gateway, options):
    """Unrecognized key id, other team, bad claims, bad algorithm, bad signature."""
    answer = gateway.push(authorization=f"bearer {gateway.jwt(**options)}")
    assert answer.outcome == (403, "InvalidProviderToken")


def test_bad_signature(gateway):
    head, _, signature = gateway.current_jwt.rpartition(".")
    for wrong in (signature[::-1], signature[:40], "", b64(b"\0" * 64)):
        answer = gateway.push(authorization=f"bearer {head}.{wrong}")
        assert answer.outcome == (403, "InvalidProviderToken")


def test_expired_authentication_token(gateway):
    good = gateway.push(authorization=f"bearer {gateway.jwt(age=3590)}")
    assert good.status == 200
    answer = gateway.push(authorization=f"bearer {gateway.jwt(age=3601)}")
    assert answer.outcome == (403, "ExpiredProviderToken")


def test_token_for_wrong_topic(gateway):
    jwt = f"bearer {gateway.jwt(kid='KEYTWO0002')}"
    assert gateway.push(authorization=jwt).outcome == (403, "InvalidProviderToken")
    gateway.post("/register", token=TOKEN, topics=[OTHER_TOPIC, f"{OTHER_TOPIC}.voip"])
    assert gateway.push(authorization=jwt, apns_topic=OTHER_TOPIC).status == 200
    voip = gateway.push(authorization=jwt, apns_topic=f"{OTHER_TOPIC}.voip",
                        apns_push_type="voip")
    assert voip.status == 200


def test_connection_belongs_to_the_team_of_its_first_push(gateway):
    gateway.post("/register", token=OTHER_TOKEN, topics=[OTHER_TOPIC])
    other = f"bearer {gateway.jwt(kid='KEYTWO0002')}"
    with Client(gateway) as client:
        assert client.answer_to(client.send()) == 200
        stream = client.send(token=OTHER_TOKEN, authorization=other, apns_topic=OTHER_TOPIC)
        assert client.answer_to(stream) == "InvalidProviderToken"
    with Client(gateway) as client:
        stream = client.send(token=OTHER_TOKEN, authorization=other, apns_topic=OTHER_TOPIC)
        assert client.answer_to(stream) == 200


def test_provider_token_may_change_every_20_minutes(gateway):
    jwts = [gateway.jwt(age=age) for age in (2400, 1201, 1200, 600)]
    with Client(gateway) as client:
        answers = [client.answer_to(client.send(authorization=f"bearer {jwt}")) for jwt in jwts]
        assert answers == [200, "TooManyProviderTokenUpdates", 200, "TooManyProviderTokenUpdates"]
        # What was in flight at the change, or goes back to it, is good.
        again = [client.answer_to(client.send(authorization=f"bearer {jwts[i]}")) for i in (0, 2)]
        assert again == [200, 200]
    with Client(gateway) as client:
        assert client.answer_to(client.send(authorization=f"bearer {jwts[3]}")) == 200


def test_tokens_can_be_made_to_expire(gateway):
    old, new = gateway.jwt(age=5), gateway.jwt(age=4)
    with Client(gateway) as client:
        assert client.answer_to(client.send(authorization=f"bearer {old}")) == 200
        gateway.post("/jwt", expire_now=True)
        stream = client.send(authorization=f"bearer {old}")
        assert client.answer_to(stream) == "ExpiredProviderToken"
        assert client.answer_to(client.send(authorization=f"bearer {new}")) == 200
    assert gateway.stats()["jwt_count"] == 2


def test_expiry_can_stick_to_the_connection(gateway):
    old, new = gateway.jwt(age=7), gateway.jwt(age=6)
    with Client(gateway) as client:
        assert client.answer_to(client.send(authorization=f"bearer {old}")) == 200
        gateway.post("/jwt", expire_now=True, stick_to_connection=True)
        for jwt in (old, new):
            stream = client.send(authorization=f"bearer {jwt}")
            assert client.answer_to(stream) == "ExpiredProviderToken"
    with Client(gateway) as client:
        assert client.answer_to(client.send(authorization=f"bearer {new}")) == 200


def test_client_certificate_instead_of_a_token(make_gateway, workspace):
    folder = workspace.folder("client")
    make_certificates(folder)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-keyout", folder / "client.key", "-out", folder / "client.pem", "-subj",
                    f"/UID={TOPIC}/CN=Apple Push Services"], check=True, capture_output=True)
    gateway = make_gateway("--client-ca", folder / "client.pem", "--token-any", keys=False)
    certificate = ["--cert", folder / "client.pem", "--key", folder / "client.key"]
    assert gateway.push(authorization=None, curl=certificate).status == 200
    voip = gateway.push(authorization=None, curl=certificate, apns_push_type="voip",
                        apns_topic=f"{TOPIC}.voip")
    assert voip.status == 200
    other = gateway.push(authorization=None, curl=certificate, apns_topic=OTHER_TOPIC)
    assert other.outcome == (400, "BadTopic")
    assert gateway.push(authorization=None).outcome == (403, "MissingProviderToken")


# Against HTTP/2 and TLS.

def test_duplicate_headers(gateway):
    answer = gateway.push(more=["apns-priority: 10"], apns_priority="10")
    assert answer.status == 400 and answer.reason == "DuplicateHeaders"


@pytest.mark.parametrize("field", [("Apns-Priority", "10"), ("apns priority", "10"),
                                   ("connection", "close"), (":unknown", "x")])
def test_header_against_http2_resets_the_stream(gateway, field):
    with Client(gateway) as client:
        stream = client.send(more=[field])
        client.run(lambda: stream in client.resets)
        assert client.resets[stream] == PROTOCOL_ERROR
    assert gateway.stats()["violations_count"] >= 1
    assert gateway.get("/pushes") == []


def test_missing_authority_resets_the_stream(gateway):
    head = [(":method", "POST"), (":scheme", "https"), (":path", f"/3/device/{TOKEN}")]
    for host in ([], [("host", "127.0.0.1")]):
        with Client(gateway) as client:
            stream = client.send(fields=[*head, *host, *gateway.headers().items()])
            client.run(lambda: stream in client.resets)
    assert gateway.get("/pushes") == []


def test_header_list_above_8000_resets_the_stream(gateway):
    with Client(gateway) as client:
        stream = client.send(more=[("own", "x" * 8000)])
        client.run(lambda: stream in client.resets)
        assert client.answer_to(client.send(more=[("own", "x" * 5000)])) == 200
    assert gateway.stats()["violations"] == ["header list larger than 8000"]


def tls_client(gateway, **options):
    context = ssl.create_default_context(cafile=gateway.folder / "ca.pem")
    if "alpn" in options:
        context.set_alpn_protocols(options["alpn"])
    if "version" in options:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = options["version"]
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            return tls.recv(100)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_alpn_or_old_tls_is_refused(gateway):
    with pytest.raises(ssl.SSLError):
        tls_client(gateway, alpn=["http/1.1"])
    with pytest.raises(ssl.SSLError):
        tls_client(gateway, alpn=["h2"], version=ssl.TLSVersion.TLSv1_1)
    assert tls_client(gateway, alpn=["http/1.1", "h2"], version=ssl.TLSVersion.TLSv1_2) != b""
    try:
        assert tls_client(gateway) == b""
    except (ssl.SSLError, ConnectionResetError):
        pass
    assert gateway.stats()["handshakes_failed"] == 3


def test_nonsense_instead_of_tls_or_http2(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as plain:
        plain.sendall(secrets.token_bytes(2000))
    context = ssl.create_default_context(cafile=gateway.folder / "ca.pem")
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            while tls.recv(1000):
                pass
    assert gateway.push().status == 200


# The limit of streams.

def test_one_stream_until_the_first_accepted_push(gateway):
    with Client(gateway) as client:
        assert client.answer_to(client.send(apns_priority="7")) == "BadPriority"
        assert client.limits == [1]
        client.open_up()
        assert client.limits == [1, 1000]
        streams = client.send_together(500)
        client.run(lambda: all(stream in client.answers for stream in streams))
    assert gateway.stats()["max_concurrent_streams"] <= 1000


def test_streams_before_the_settings_are_acknowledged_are_refused(gateway):
    with Client(gateway, settings_ack=False) as client:
        first, second, third = client.send_together(3)
        client.run(lambda: len(client.resets) == 2)
        assert client.answer_to(first) == 200
        assert client.resets == {second: REFUSED_STREAM, third: REFUSED_STREAM}
    assert gateway.stats()["streams_refused"] == 2
    assert len(gateway.get("/pushes")) == 1


def test_streams_above_the_acknowledged_limit_end_the_connection(gateway):
    with Client(gateway) as client:
        client.run(lambda: client.limit == 1)
        client.acknowledged(1)
        client.send_together(3)
        client.run(lambda: client.goaways)
        ((last, code, text),) = client.goaways
        assert (last, code, text) == (1, PROTOCOL_ERROR, LIMIT_TEXT)
        assert client.run_to_end() == "closed"
    stats = gateway.stats()
    assert LIMIT_TEXT.decode() in stats["violations"] and stats["goaways_sent"] == 1


def test_a_rejection_lowers_the_limit_until_the_next_accepted_push(gateway):
    with Client(gateway) as client:
        client.open_up()
        bad, bad_frames = client.request(apns_priority="7")
        made = [client.request() for _ in range(3)]
        acked = gateway.stats()["settings_acked"]
        client.tls.sendall(bad_frames + b"".join(frames for _, frames in made))
        assert client.answer_to(bad) == "BadPriority"
        # Those that came before the client could know are refused, not punished.
        client.run(lambda: len(client.resets) + len(client.answers) == 5)
        assert all(code == REFUSED_STREAM for code in client.resets.values())
        assert client.limits[2] == 1 and not client.goaways
        assert client.resets
        client.acknowledged(acked + 1)
        assert client.answer_to(client.send()) == 200
        client.run(lambda: client.limit == 1000)


def test_a_rejection_resets_streams_that_are_still_being_sent(gateway):
    with Client(gateway) as client:
        client.open_up()
        half = [client.send(end=False) for _ in range(3)]
        assert client.answer_to(client.send(apns_priority="7")) == "BadPriority"
        client.run(lambda: len(client.resets) == 2)
        assert set(client.resets) == set(half[1:])
        client.tls.sendall(client.frame(DATA, END_STREAM, half[0], json.dumps(ALERT).encode()))
        assert client.answer_to(half[0]) == 200


def test_the_limit_can_be_changed(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.post("/max_streams", n=7)
        client.run(lambda: client.limit == 7)
    with Client(gateway) as client:
        assert client.answer_to(client.send()) == 200
        client.run(lambda: client.limit == 7)


# Scripts.

def test_scripted_rejections(gateway):
    gateway.script({"status": 503, "reason": "ServiceUnavailable", "times": 2, "retry_after": 7},
                   {"status": 200}, {"status": 410, "reason": "Unregistered", "timestamp_ms": 5},
                   {"status": 500})
    first = gateway.push()
    assert first.outcome == (503, "ServiceUnavailable") and first.headers["retry-after"] == "7"
    assert [gateway.push().status for _ in range(2)] == [503, 200]
    assert gateway.push().timestamp == 5
    bare = gateway.push()
    assert bare.outcome == (500, None) and "content-type" not in bare.headers
    assert gateway.push().status == 200
    stats = gateway.stats()
    assert stats["by_status"] == {"503": 2, "200": 2, "410": 1, "500": 1}
    assert stats["by_reason"] == {"ServiceUnavailable": 2, "Unregistered": 1}
    assert stats["script_actions_pending"] == 0


def test_scripts_of_a_token_come_before_those_for_all(gateway):
    gateway.script({"status": 429, "reason": "TooManyRequests", "times": -1}, token="*")
    gateway.script({"status": 503, "reason": "Shutdown"})
    outcomes = [gateway.push().reason for _ in range(3)]
    assert outcomes == ["Shutdown", "TooManyRequests", "TooManyRequests"]


def test_scripts_apply_only_to_pushes_that_passed_the_checks(gateway):
    gateway.script({"status": 503, "reason": "Shutdown"})
    assert gateway.push(apns_priority="7").reason == "BadPriority"
    assert gateway.push().reason == "Shutdown"


@pytest.mark.parametrize("action", [
    {}, {"status": 99}, {"status": 503, "silence": True}, {"unknown": 1}, {"silence": False},
    {"goaway": {"reason": "x"}}, {"cut": "sometimes"}, {"status": 503, "times": 0}, 5])
def test_scripts_that_mean_nothing_are_refused(gateway, action):
    good = {"status": 503}
    status, _ = gateway.control("POST", "/script", {"token": TOKEN, "actions": [good, action]})
    assert status == 400
    assert gateway.stats()["script_actions_pending"] == 0


def test_silence(gateway):
    gateway.script({"silence": True})
    with Client(gateway) as client:
        silent = client.send()
        status, _ = gateway.control("GET", "/wait", token=TOKEN, count=1, any="true",
                                    timeout_ms=25000)
        assert status == 200
        client.tls.sendall(client.frame(RST_STREAM, 0, silent, struct.pack(">I", 8)))
        assert client.answer_to(client.send()) == 200
        assert silent not in client.answers
    first, second = gateway.get("/pushes")
    assert (first["status"], first["reason"]) == (0, "(silence)") and second["status"] == 200
    assert len(gateway.get("/device", token=TOKEN)["notifications"]) == 1


def test_refused_and_reset_streams(gateway):
    gateway.script({"refuse_stream": True}, {"reset_stream": 2})
    with Client(gateway) as client:
        for code in (REFUSED_STREAM, 2):
            stream = client.send()
            client.run(lambda: stream in client.resets)
            assert client.resets[stream] == code
        assert client.answer_to(client.send()) == 200
    assert [push["status"] for push in gateway.get("/pushes")] == [0, 0, 200]


def test_goaway_before_the_push_was_processed(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"status": 200, "times": 2}, {"goaway": {"reason": "Shutdown",
                                                               "last": "before"}})
        streams = client.send_together(6)
        client.run_to_end()
        ((last, code, text),) = client.goaways
        assert last == streams[1] and code == 0 and json.loads(text) == {"reason": "Shutdown"}
        assert [stream in client.answers for stream in streams] == [True] * 2 + [False] * 4
        assert client.end == "closed"
    assert [push["status"] for push in gateway.get("/pushes")] == [200, 200, 200, 0]


def test_goaway_after_the_push_was_processed(gateway):
    with Client(gateway) as client:
        gateway.script({"goaway": {"reason": "IdleTimeout", "last": "after"}})
        stream = client.send()
        assert client.answer_to(stream) == 200
        assert client.run_to_end() == "closed"
        ((last, _, text),) = client.goaways
        assert last == stream and json.loads(text) == {"reason": "IdleTimeout"}


def test_goaway_lets_earlier_streams_finish(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"delay_ms": 300}, {"goaway": {"last": "after"}})
        late, last = client.send_together(2)
        assert client.answer_to(last) == 200
        assert client.answer_to(late) == 200
        assert client.order[-2:] == [last, late]
        assert client.run_to_end() == "closed"


def test_goaway_never_takes_back_an_answer(gateway):
    """The stream that says 'before' is older than one that is answered already."""
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"goaway": {"last": "before"}, "delay_ms": 200})
        older, newer = client.send_together(2)
        assert client.answer_to(newer) == 200
        client.run(lambda: client.goaways)
        assert client.goaways[0][0] == newer
        assert client.resets == {older: REFUSED_STREAM}


def test_goaway_in_two_steps(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"two_step_goaway": True, "gap_ms": 300})
        assert client.answer_to(client.send()) == 200
        client.run(lambda: len(client.goaways) == 1)
        assert client.goaways[0][0] == 2**31 - 1
        between = client.send()
        assert client.answer_to(between) == 200
        assert client.run_to_end() == "closed"
        assert client.goaways[1][0] == between


def test_connection_cut_before_the_answer(gateway):
    gateway.script({"cut": "before_answer"})
    with Client(gateway) as client:
        stream = client.send()
        assert client.run_to_end() == "cut" and stream not in client.answers
    assert gateway.get("/pushes")[0]["reason"] == "(cut)"
    assert gateway.get("/device", token=TOKEN)["notifications"] == []
    assert gateway.push().status == 200


def test_connection_cut_after_the_push_was_delivered(gateway):
    gateway.script({"cut": "before_answer", "deliver": True})
    assert gateway.push().status is None
    assert len(gateway.get("/device", token=TOKEN)["notifications"]) == 1


def test_connection_cut_after_the_answer(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"cut": "after_answer"})
        first, second = client.send_together(2)
        assert client.run_to_end() == "cut"
        assert client.answers[first] == 200 and second not in client.answers
    assert len(gateway.get("/pushes")) == 2


def test_answers_out_of_order(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"delay_ms": 300, "status": 503, "reason": "Shutdown"}, {"delay_ms": 100})
        slow, faster, fast = client.send_together(3)
        client.run(lambda: len(client.answers) == 4)
        assert client.order[1:] == [fast, faster, slow] and client.answers[slow] == "Shutdown"


def test_an_answer_is_held_until_it_is_let_go(gateway):
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"hold": True, "status": 503, "reason": "Shutdown"}, {"delay_ms": 100})
        held, fast = client.send_together(2)
        client.run(lambda: len(client.answers) == 2)
        assert client.order[1:] == [fast]
        gateway.post("/release")
        client.run(lambda: len(client.answers) == 3)
        assert client.answers[held] == "Shutdown"
        # What comes after that is held no longer, until the next script.
        gateway.script({"hold": True})
        gateway.post("/release")
        assert client.answer_to(client.send()) == 200


def test_delayed_answer_that_nobody_waits_for(gateway):
    gateway.script({"delay_ms": 60000})
    with Client(gateway) as client:
        client.send()
        wait_until(lambda: gateway.stats()["script_actions_pending"] == 0, 5, "it has come")
    status, _ = gateway.control("GET", "/wait", token=TOKEN, any="true", timeout_ms=25000)
    assert status == 200
    assert gateway.get("/pushes")[0]["reason"] == "(cancelled)"


def test_ping_with_and_without_answer(gateway):
    with Client(gateway) as client:
        client.tls.sendall(client.frame(PING, payload=b"12345678"))
        client.run(lambda: client.pongs == 1)
        gateway.post("/ping", ack=False)
        client.tls.sendall(client.frame(PING, payload=b"12345678"))
        assert client.answer_to(client.send()) == 200
        assert client.pongs == 1
    assert gateway.stats()["pings_received"] == 2


def test_down_and_up_on_the_same_port(gateway):
    with Client(gateway) as client:
        assert client.answer_to(client.send()) == 200
        gateway.post("/down", down=True)
        assert client.run_to_end() == "cut"
    assert gateway.push().status is None
    gateway.post("/down", down=False)
    assert gateway.push(curl=["--retry", "5", "--retry-connrefused"]).status == 200
    gateway.post("/down", ms=300)
    assert gateway.push().status is None
    assert gateway.push(curl=["--retry", "5", "--retry-connrefused"]).status == 200


# What the phone would have, and waiting for it.

def shown(gateway):
    device = gateway.get("/device", token=TOKEN)
    return device["badge"], [(n["collapse_id"], n["payload"]["aps"]["alert"])
                             for n in device["notifications"]]


def test_device_shows_the_last_badge_and_collapses(gateway):
    assert shown(gateway) == (None, [])
    gateway.push({"aps": {"alert": "a1", "badge": 1}}, apns_collapse_id="a")
    gateway.push({"aps": {"alert": "b1", "badge": 2}}, apns_collapse_id="b")
    gateway.push({"aps": {"alert": "a2", "badge": 3}}, apns_collapse_id="a")
    gateway.push({"aps": {"alert": "none"}})
    gateway.push({"aps": {"badge": 0}}, apns_priority="5")
    gateway.push({"aps": {"alert": "refused", "badge": 9}}, apns_priority="7")
    assert shown(gateway) == (0, [("b", "b1"), ("a", "a2"), (None, "none")])


def test_one_push_is_stored_for_a_phone_that_is_offline(gateway):
    gateway.post("/device", token=TOKEN, online=False)
    gateway.push({"aps": {"alert": "first", "badge": 1}}, apns_collapse_id="a")
    gateway.push({"aps": {"alert": "second", "badge": 2}}, apns_collapse_id="b")
    gateway.push({"aps": {"badge": 3}}, apns_expiration="0")
    assert shown(gateway) == (None, [])
    assert gateway.get("/device", token=TOKEN)["stored"]["collapse_id"] == "b"
    gateway.post("/device", token=TOKEN, online=True)
    assert shown(gateway) == (2, [("b", "second")])
    device = gateway.get("/device", token=TOKEN)
    assert device["stored"] is None and device["lost_while_offline"] == 2
    assert device["accepted"] == 3


def test_waiting_for_pushes(gateway):
    status, answer = gateway.control("GET", "/wait", token=TOKEN, count=1, timeout_ms=50)
    assert (status, answer) == (408, {"count": 0})
    wait = subprocess.Popen(
        ["curl", "-s", "-w", "%{http_code}",
         f"http://127.0.0.1:{gateway.control_port}/wait?token={TOKEN}&count=2&timeout_ms=9000"],
        stdout=subprocess.PIPE)
    gateway.push(apns_priority="7")
    gateway.push()
    assert wait.poll() is None
    gateway.push()
    assert wait.communicate(timeout=60)[0] == b'{"count":2}\n200'
    gone = subprocess.Popen(
        ["curl", "-s", f"http://127.0.0.1:{gateway.control_port}/wait?token={TOKEN}&count=9"])
    time.sleep(0.1)
    gone.terminate()
    gone.wait()
    for _ in range(7):
        gateway.push()
    assert gateway.stats()["accepted"] == 9


def test_pushes_can_be_selected(gateway):
    gateway.post("/register", token=OTHER_TOKEN, topics=[TOPIC])
    gateway.push()
    gateway.push(path=f"/3/device/{OTHER_TOKEN}")
    gateway.push(apns_priority="7")
    gateway.push(b"\xff\"", path="/3/device/short")
    assert [push["seq"] for push in gateway.get("/pushes")] == [1, 2, 3, 4]
    assert [push["seq"] for push in gateway.get("/pushes", token=TOKEN)] == [1, 3]
    assert [push["seq"] for push in gateway.get("/pushes", since=1, limit=2)] == [2, 3]
    assert [push["seq"] for push in gateway.get("/pushes", status=400)] == [3, 4]
    (bad,) = gateway.get("/pushes", token="short")
    assert bad["payload"] is None and bad["payload_text"] == "\u00ff\""


@pytest.mark.parametrize("method, path, body", [
    ("GET", "/nothing", None), ("GET", "/script", None), ("POST", "/script", {}),
    ("POST", "/register", {"token": "x"}), ("POST", "/expire", {}), ("POST", "/down", {}),
    ("POST", "/device", {"token": TOKEN}), ("POST", "/max_streams", {"n": 0}),
    ("POST", "/jwt", {}), ("POST", "/reset", [])])
def test_control_requests_that_mean_nothing(gateway, method, path, body):
    status, answer = gateway.control(method, path, body)
    assert status in (400, 404) and answer["error"]


# The program.

def test_start_and_shutdown(make_gateway):
    gateway = make_gateway("--token-any")
    with Client(gateway) as client:
        client.open_up()
        gateway.script({"silence": True}, {"delay_ms": 60000})
        client.send_together(2)
        waiting = subprocess.Popen(
            ["curl", "-s", f"http://127.0.0.1:{gateway.control_port}/wait?count=99"])
        time.sleep(0.2)
        gateway.stop()  # asserts the exit status
        waiting.wait(10)
        assert client.run_to_end() == "cut"


def test_usage_errors():
    def run(*options):
        return subprocess.run([BUILD / "strict-gateway", *options], capture_output=True,
                              check=False).returncode
    ports = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    files = ["--cert", "nowhere.pem", "--key", "nowhere.pem"]
    assert run() == 64
    assert run("--nonsense") == 64
    assert run(*ports, *files) == 64
    assert run(*ports, *files, "--auth-key", "a:b") == 64
    assert run(*ports, *files, "--accept-all", "--max-streams", "0") == 64
    assert run(*ports, *files, "--accept-all") == 69


def test_only_the_last_pushes_are_kept(make_gateway):
    gateway = make_gateway("--token-any", "--keep", "5")
    with Client(gateway) as client:
        client.open_up()
        streams = client.send_together(20)
        client.run(lambda: all(stream in client.answers for stream in streams))
    assert [push["seq"] for push in gateway.get("/pushes")] == [17, 18, 19, 20, 21]
    assert gateway.stats()["accepted"] == 21


def test_small_windows(make_gateway):
    gateway = make_gateway("--token-any", "--initial-window", "1")
    assert gateway.push(payload_of(200)).status == 200


def test_accept_all(make_gateway):
    gateway = make_gateway("--accept-all", keys=False)
    apns_id = "12345678-90ab-cdef-1234-567890abcdef"
    answer = gateway.push(b"anything", path="/3/device/x", authorization=None, apns_topic=None,
                          apns_id=apns_id)
    assert answer.status == 200 and answer.headers["apns-id"] == apns_id
    gateway.current_jwt = "x"
    with Client(gateway) as client:
        client.run(lambda: client.limit == 1000)
        streams = client.send_together(500)
        client.run(lambda: all(client.answers.get(stream) == 200 for stream in streams))
    assert gateway.stats()["accepted"] == 501 and gateway.get("/pushes") == []
