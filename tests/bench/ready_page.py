# SPDX-License-Identifier: Apache-2.0
"""A component that has one page of an archive ready and answers each query with it: without
database, spool or parser, so that what a page still costs is what the server spends to carry it.

    ready_page.py PORT SECRET COMPONENT HOST privilege|direct MESSAGES
"""

import hashlib
import re
import socket
import sys

DISCO = re.compile(rb"<iq ([^>]*)><query ([^>]*node='urn:xmpp:delegation[^>]*)/></iq>")
QUERY = re.compile(rb"<iq ([^>]*)><delegation [^>]*><forwarded [^>]*>"
                   rb"<iq ([^>]*)><query ([^>]*)>.*?</delegation></iq>")
ATTRIBUTE = re.compile(r"([a-z:]+)='([^']*)'")

# As long as ours, in the benchmark of pages.
RESULT = (
    '<message{outer} from="{account}" to="{asker}" id="xs-{n:016d}-{n:016d}">'
    '<result xmlns="urn:xmpp:mam:2" id="00000000-0000-4000-8000-{n:012d}" queryid="{queryid}">'
    '<forwarded xmlns="urn:xmpp:forward:0">'
    '<delay xmlns="urn:xmpp:delay" stamp="2025-01-01T00:00:00.000000Z"/>'
    '<message xmlns="jabber:client" from="peer@chat.example.org/phone" '
    'to="owner@chat.example.org" type="chat" id="{n:032d}"><body>{text}</body>'
    '<origin-id xmlns="urn:xmpp:sid:0" id="{n:032d}"/></message></forwarded></result>'
    '<no-store xmlns="urn:xmpp:hints"/></message>')
AS_USER = ('<message from="{component}" to="{host}"><privilege xmlns="urn:xmpp:privilege:1">'
           '<forwarded xmlns="urn:xmpp:forward:0">{message}</forwarded></privilege></message>')
FIN = (
    '<iq type="result" id="{outer_id}" from="{component}" to="{host}">'
    '<delegation xmlns="urn:xmpp:delegation:1"><forwarded xmlns="urn:xmpp:forward:0">'
    '<iq xmlns="jabber:client" type="result" id="{id}" from="{account}" to="{asker}">'
    '<fin xmlns="urn:xmpp:mam:2"><set xmlns="http://jabber.org/protocol/rsm">'
    '<first>{first}</first><last>{first}</last></set></fin></iq></forwarded></delegation></iq>')
FEATURES = (
    '<iq type="result" id="{id}" from="{to}" to="{from}"><query node="{node}" '
    'xmlns="http://jabber.org/protocol/disco#info"><feature var="{namespace}"/></query></iq>')


def attributes(tag):
    return dict(ATTRIBUTE.findall(tag.decode()))


class Component:
    def __init__(self, port, secret, name, host, speak, messages):
        self.name, self.host, self.speak, self.messages = name, host, speak, messages
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(f"<stream:stream xmlns='jabber:component:accept' to='{name}' "
                            "xmlns:stream='http://etherx.jabber.org/streams'>".encode())
        stream = re.search(rb"id='([^']+)'", self.socket.recv(1 << 16)).group(1).decode()
        digest = hashlib.sha1((stream + secret).encode()).hexdigest()
        self.socket.sendall(f"<handshake>{digest}</handshake>".encode())

    def features(self, iq, query):
        iq, node = attributes(iq), attributes(query)["node"]
        namespace = re.sub("^urn:xmpp:delegation:[12]:(bare)?:", "", node)
        return FEATURES.format(**iq, node=node, namespace=namespace)

    def page(self, outer, inner, query):
        asker = attributes(inner)["from"]
        told = {"account": asker.partition("/")[0], "asker": asker, "component": self.name,
                "host": self.host, "queryid": attributes(query).get("queryid", "")}
        wrapped = self.speak == "privilege"
        outer_ns = ' xmlns="jabber:client"' if wrapped else ""
        results = [RESULT.format(n=n, outer=outer_ns, text="text" * 24, **told)
                   for n in range(self.messages)]
        if wrapped:
            results = [AS_USER.format(message=message, **told) for message in results]
        first = "00000000-0000-4000-8000-000000000000"
        return "".join(results) + FIN.format(outer_id=attributes(outer)["id"], first=first,
                                             id=attributes(inner)["id"], **told)

    def run(self):
        seen = b""
        while data := self.socket.recv(1 << 18):
            seen += data
            for match in DISCO.finditer(seen):
                self.socket.sendall(self.features(*match.groups()).encode())
            for match in QUERY.finditer(seen):
                self.socket.sendall(self.page(*match.groups()).encode())
            # Copies of what was sent are passed over; only half an IQ is waited for.
            seen = seen[max(seen.rfind(b"</message>"), seen.rfind(b"</iq>"), 0):]


if __name__ == "__main__":
    Component(int(sys.argv[1]), *sys.argv[2:6], int(sys.argv[6])).run()
