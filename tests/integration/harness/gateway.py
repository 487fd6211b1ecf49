# SPDX-License-Identifier: Apache-2.0
"""The strict gateway (tests/gateway), APNs, FCM and Web Push: certificates, keys, and asking it."""

import base64
import json
import secrets
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from .procs import PATIENCE, HarnessError, Process, wait_until
from .sidecar import build_folder

TEAM_ID = "TEAM123456"
KEY_ID = "ABC123DEFG"
PROJECT = "example-chat"
ACCOUNT = "push@example-chat.iam.gserviceaccount.com"
ACCOUNT_KEY_ID = "0123456789abcdef0123456789abcdef01234567"


def new_fcm_token():
    """A registration token as Google's look."""
    return f"{secrets.token_urlsafe(16)}:APA91b{secrets.token_urlsafe(96)}"


def new_token():
    """A device token as Apple's look: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def _openssl(*args, folder):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, cwd=folder,
                          check=False)
    if done.returncode != 0:
        raise HarnessError(f"openssl {args[0]}: {done.stderr}")


def make_certificates(folder):
    """ca.pem, and cert.pem + key.pem for 127.0.0.1 (and 127.0.0.3) signed by it."""
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key",
             folder=folder)
    _openssl("req", "-x509", "-new", "-key", "ca.key", "-out", "ca.pem", "-days", "30",
             "-subj", "/CN=test authority", folder=folder)
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem",
             folder=folder)
    _openssl("req", "-new", "-key", "key.pem", "-out", "cert.csr", "-subj", "/CN=127.0.0.1",
             folder=folder)
    (folder / "san.cnf").write_text("subjectAltName=IP:127.0.0.1,IP:127.0.0.3,DNS:localhost\n")
    _openssl("x509", "-req", "-in", "cert.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-CAcreateserial", "-days", "30", "-extfile", "san.cnf", "-out", "cert.pem",
             folder=folder)


def make_provider_key(folder, name="AuthKey"):
    """NAME.p8, as Apple hands it out, and NAME.pub.pem, which Apple keeps."""
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
             f"{name}.p8", folder=folder)
    _openssl("pkey", "-in", f"{name}.p8", "-pubout", "-out", f"{name}.pub.pem", folder=folder)


def make_client_certificate(folder, topic, name="client", days=365, more_topics=()):
    """NAME.pem and NAME.key, as Apple hands them out for an app; ca.pem has signed it."""
    _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
             f"{name}.csr", "-subj", f"/UID={topic}/CN=Apple Push Services", folder=folder)
    topics = "".join(f"t{n}=UTF8:{t}\nu{n}=SEQUENCE:uses\n"
                     for n, t in enumerate((topic, *more_topics)))
    (folder / f"{name}.cnf").write_text(
        "extendedKeyUsage=clientAuth\n1.2.840.113635.100.6.3.6=ASN1:SEQUENCE:topics\n"
        f"[topics]\n{topics}[uses]\nuse=UTF8:app\n")
    _openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
             "-CAcreateserial", "-days", str(days), "-extfile", f"{name}.cnf", "-out",
             f"{name}.pem", folder=folder)


def make_vapid_key(folder):
    """vapid.pem, and its public half as clients subscribe with it."""
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
             "vapid.pem", folder=folder)
    _openssl("pkey", "-in", "vapid.pem", "-pubout", "-outform", "DER", "-out", "vapid.der",
             folder=folder)
    point = (folder / "vapid.der").read_bytes()[-65:]
    return base64.urlsafe_b64encode(point).decode().rstrip("=")


_account_keys = {}


def make_service_account(folder, name="service-account", token_uri=None, **changes):
    """NAME.json, as Google's console hands it out, and NAME.pub.pem, which Google keeps."""
    key, public = folder / f"{name}.key", folder / f"{name}.pub.pem"
    if name not in _account_keys:  # they take long to make
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key,
                 folder=folder)
        _openssl("pkey", "-in", key, "-pubout", "-out", public, folder=folder)
        _account_keys[name] = key.read_text(), public.read_text()
    for path, text in zip((key, public), _account_keys[name]):
        path.write_text(text)
    account = {"type": "service_account", "project_id": PROJECT, "private_key_id": ACCOUNT_KEY_ID,
               "private_key": key.read_text(), "client_email": ACCOUNT, "client_id": "1",
               "token_uri": token_uri or "https://oauth2.googleapis.com/token", **changes}
    (folder / f"{name}.json").write_text(json.dumps(account))
    return folder / f"{name}.json"


class FcmPush:
    """One message as the FCM side saw it; status 0 when it was never answered."""

    def __init__(self, record):
        self.status, self.reason = record["status"], record["reason"]
        self.headers, self.jwt = record["headers"], record["jwt"]
        self.connection, self.time_ms = record["conn"], record["time_ms"]
        self.message = (record["payload"] or {}).get("message", {})

    @property
    def android(self):
        return self.message.get("android", {})

    @property
    def notification(self):
        return self.message.get("notification", {})

    @property
    def data(self):
        return self.message.get("data", {})

    @property
    def count(self):
        """What the launcher shows."""
        return self.android.get("notification", {}).get("notification_count")

    def __repr__(self):
        return f"<FcmPush {self.status} {self.reason} {self.message}>"


class Push:
    """One request as the gateway saw it; status 0 when it was never answered."""

    def __init__(self, record):
        self.status, self.reason = record["status"], record["reason"]
        self.headers = record["headers"]
        self.payload = record["payload"] or {}
        self.connection, self.jwt = record["conn"], record["jwt"]
        self.time_ms = record["time_ms"]

    @property
    def _aps(self):
        return self.payload.get("aps", {})

    @property
    def badge(self):
        return self._aps.get("badge")

    @property
    def alert(self):
        return self._aps.get("alert")

    @property
    def sound(self):
        return self._aps.get("sound")

    @property
    def thread(self):
        return self._aps.get("thread-id")

    def header(self, name):
        return self.headers.get(name)

    @property
    def apns_id(self):
        return self.header("apns-id")

    def __repr__(self):
        return f"<Push {self.status} {self.reason} badge={self.badge} {self.headers}>"


class Gateway:
    def __init__(self, workspace, topics=("org.example.chat",), name="gateway", options=(),
                 token_any=True):
        self.folder = workspace.folder(name)
        self.topics = topics
        self.options = (*options, *(["--token-any"] if token_any else []))
        make_certificates(self.folder)
        make_provider_key(self.folder)
        make_service_account(self.folder)
        self.vapid_key = make_vapid_key(self.folder)
        self.process = None
        self.port = self.control_port = self.fcm_port = self.webpush_port = None
        self._ready = self.folder / "ready"
        workspace.on_close(self.stop)

    def start(self):
        self._ready.unlink(missing_ok=True)
        listen = f"127.0.0.1:{self.port or 0}"  # the same again after stop()
        control = f"127.0.0.1:{self.control_port or 0}"
        self.process = Process("strict-gateway", [
            build_folder() / "strict-gateway", "--listen", listen,
            "--cert", self.folder / "cert.pem", "--key", self.folder / "key.pem",
            "--client-ca", self.folder / "ca.pem",
            "--control", control,
            "--auth-key", f"{KEY_ID}:{TEAM_ID}:{self.folder / 'AuthKey.pub.pem'}",
            "--fcm", f"127.0.0.1:{self.fcm_port or 0}",
            "--fcm-account", f"{PROJECT}:{ACCOUNT}:{ACCOUNT_KEY_ID}:"
                             f"{self.folder / 'service-account.pub.pem'}",
            "--webpush", f"127.0.0.1:{self.webpush_port or 0}",
            "--ready-file", self._ready, *self.options], self.folder / "gateway.log")
        self.process.wait_ready(self._read_ready, 15)
        return self

    def _read_ready(self):
        try:
            ports = json.loads(self._ready.read_text())
        except FileNotFoundError:
            return False
        self.port, self.control_port = ports["apns"], ports["control"]
        self.fcm_port, self.webpush_port = ports["fcm"], ports["webpush"]
        return True

    def stop(self):
        if self.process is not None:
            self.process.stop(signal.SIGTERM)
            self.process = None

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def app(self, app_id="org.example.chat", **settings):
        """An entry of push.apps that sends here."""
        return {
            "id": app_id, **settings,
            "apns": {
                "topic": app_id, "key_file": str(self.folder / "AuthKey.p8"), "key_id": KEY_ID,
                "team_id": TEAM_ID, "environment": "production", "url": self.url,
                "ca_file": str(self.folder / "ca.pem"),
            },
        }

    def certificate_app(self, app_id="org.example.chat", days=365, **settings):
        """The same with a certificate in place of the key."""
        make_client_certificate(self.folder, app_id, name=app_id, days=days)
        app = self.app(app_id, **settings)
        for key in ("key_file", "key_id", "team_id"):
            del app["apns"][key]
        app["apns"] |= {"certificate_file": str(self.folder / f"{app_id}.pem"),
                        "private_key_file": str(self.folder / f"{app_id}.key")}
        return app

    def fcm_app(self, app_id="org.example.chat.android", **settings):
        """An entry of push.apps that sends to the FCM side."""
        url = f"https://127.0.0.1:{self.fcm_port}"
        return {
            "id": app_id,
            "fcm": {
                "service_account_file": str(self.folder / "service-account.json"),
                "url": url, "token_url": f"{url}/token",
                "ca_file": str(self.folder / "ca.pem"), **settings,
            },
        }

    @property
    def webpush_url(self):
        """The origin of its Web Push side."""
        return f"https://127.0.0.1:{self.webpush_port}"

    def webpush_app(self, app_id="org.example.chat.web", **settings):
        """An entry of push.apps that may send to the Web Push side, which is on this machine."""
        return {
            "id": app_id,
            "webpush": {
                "private_key_file": str(self.folder / "vapid.pem"),
                "subject": "mailto:admin@example.org", "ports": [self.webpush_port],
                "allow_private": True, "ca_file": str(self.folder / "ca.pem"), **settings,
            },
        }

    # The control port.

    def _call(self, method, path, body=None, timeout=30, **query):
        text = urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.control_port}{path}" + (f"?{text}" if text else ""),
            data=None if method == "GET" else json.dumps(body or {}).encode(), method=method,
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout * PATIENCE) as answer:
                data = answer.read()
        except urllib.error.HTTPError as error:
            raise HarnessError(f"gateway {path}: {error.code} {error.read()!r}") from error
        return json.loads(data) if data else None

    def records(self, token):
        """Every request for the token as it was recorded, oldest first."""
        return self._call("GET", "/pushes", token=token)

    def pushes(self, token):
        """Every request for the token, however it was answered, oldest first."""
        return [Push(record) for record in self.records(token)]

    def fcm_messages(self, token):
        """Every message for the registration token, however it was answered, oldest first."""
        return [FcmPush(record) for record in self.records(token)]

    def wait_fcm(self, token, count=1, timeout=15):
        """The messages that were accepted for the token, once there are that many."""
        def accepted():
            return [m for m in self.fcm_messages(token) if m.status == 200]
        wait_until(lambda: len(accepted()) >= count, timeout, f"{count} accepted messages", 0.05)
        return accepted()

    def accepted(self, token):
        return [Push(record) for record in self._call("GET", "/pushes", token=token, status=200)]

    def wait(self, token, count, timeout=10):
        """The pushes that were accepted for the token, once there are that many."""
        wait_until(lambda: len(self.accepted(token)) >= count, timeout,
                   f"{count} accepted pushes", 0.05)
        return self.accepted(token)

    def wait_seen(self, token, count, timeout=10):
        """Every request for the token, once there are that many."""
        wait_until(lambda: len(self.pushes(token)) >= count, timeout, f"{count} requests", 0.05)
        return self.pushes(token)

    def device(self, token):
        """What the phone would show."""
        return self._call("GET", "/device", token=token)

    def stats(self):
        return self._call("GET", "/stats")

    def script(self, token, *actions):
        """What the next pushes to the token that pass all checks meet, in order; see
        tests/gateway/control.c: {"status": 429, "times": 2}, {"silence": True},
        {"goaway": {"last": "before"}}, {"cut": "before_answer"}, {"delay_ms": 500},
        {"hold": True} (until release()), …
        """
        self._call("POST", "/script", {"token": token, "actions": list(actions)})

    def release(self):
        """What a script has held ({"hold": True}) is answered, and what it holds later, too."""
        self._call("POST", "/release")

    def expire(self, token, timestamp_ms):
        """From now on 410 for the token, with this timestamp."""
        self._call("POST", "/expire", {"token": token, "timestamp_ms": timestamp_ms})

    def down(self, is_down=True, service="apns"):
        """Refuses connections, closing those that are open; or accepts again."""
        self._call("POST", "/down", {"down": is_down, "service": service})

    def only_http1(self, only=True):
        """The Web Push side, for connections from now on."""
        self._call("POST", "/webpush", {"http1": only})

    def register(self, token, *topics):
        """The token is good for these alone; a subscription's is the VAPID key."""
        self._call("POST", "/register", {"token": token, "topics": list(topics)})

    def oauth(self, **order):
        """FCM's access tokens: expire_now=True, life_s=N, clock_s=N; see control.c."""
        self._call("POST", "/oauth", order)

    def script_oauth(self, *answers):
        """What the token endpoint says next: {"status": 400, "body": "…"}, …"""
        self._call("POST", "/script", {"token": "oauth", "actions": list(answers)})

    def expire_jwt(self, stick_to_connection=False):
        """Provider tokens made so far are ExpiredProviderToken; or all on their connection."""
        self._call("POST", "/jwt", {"expire_now": True,
                                    "stick_to_connection": stick_to_connection})

    def set_online(self, token, online):
        """A phone that is off stores one push at most, as with Apple."""
        self._call("POST", "/device", {"token": token, "online": online})

    def max_streams(self, number):
        self._call("POST", "/max_streams", {"n": number})

    def reset(self):
        """Forgets pushes, devices, scripts and counters."""
        self._call("POST", "/reset")
