# SPDX-License-Identifier: Apache-2.0
"""UnifiedPush over XMPP: the clients that distribute pushes on a phone, and those who send."""

import base64
import http.client

from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

UP = "http://gultsch.de/xmpp/drafts/unified-push"
URL = "https://up.example.org/some"
APPLICATION = "bK3sdmrbtj3bf6XA2S12b8jJUA5TT1dhPEyeoZfVSRM="
INSTANCE = "EtD/1XPLmoIph7W73CZ/uyv6FAnhEAXY1GySHX17vAw="


class Distributor:
    """A client that gets pushes for the apps of its phone; it answers as it is told."""

    def __init__(self, client, *answers):
        self.client, self.answers, self.pushes = client, list(answers), []
        client.xmpp.register_handler(Callback(
            "unified push", MatchXPath(f"{{jabber:client}}iq/{{{UP}}}push"), self._on_push))

    def _on_push(self, iq):
        push = iq.xml.find(f"{{{UP}}}push")
        self.pushes.append((push.get("application"), push.get("instance"),
                            base64.b64decode(push.text, validate=True)))
        answer = self.answers.pop(0) if self.answers else "result"
        head = f"<iq id='{iq['id']}' to='{iq['from']}'"
        if answer == "result":
            self.client.xmpp.send_raw(f"{head} type='result'/>")
        elif answer != "silence":
            self.client.xmpp.send_raw(
                f"{head} type='error'><error type='cancel'><{answer} xmlns="
                "'urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")


def register(world, client, application=APPLICATION, instance=INSTANCE, kind="set"):
    """(endpoint, expiration)"""
    answer = client.iq(kind, f"<register xmlns='{UP}' application='{application}'"
                             f" instance='{instance}'/>", world.component)
    registered = answer.find(f"{{{UP}}}registered")
    world.sidecar.secrets.append(registered.get("endpoint").rpartition("/")[2])
    return registered.get("endpoint"), registered.get("expiration")


class Server:
    """The sidecar's, as the web server in front sees it."""

    def __init__(self, port):
        self.port = port
        self.settings = {"unified_push.listen": f"127.0.0.1:{port}", "unified_push.url": URL}

    def ask(self, method, path, body=None, timeout=60):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post(self, endpoint, body=b"hello", **options):
        """(status, headers)"""
        assert endpoint.startswith(URL)
        return self.ask("POST", endpoint[len(URL):], body, **options)[:2]
