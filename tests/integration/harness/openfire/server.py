# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Openfire 4.x and 5.x, as far as its clients and components can tell.

It serves unmodified clients (SASL PLAIN, bind) and XEP-0114 components, and has Openfire's
habits and faults: copies in batches, of what became of a stanza, lost when the queue is full
(copier.py); commands that are silent (commands.py); answers to components' questions found by
nothing but the id; queries to a user's bare address refused when no module of its own takes
them; a component's name that stays taken for a moment; a first component question or two.

Where Openfire would go on quietly it is stricter with the sidecar, and puts the fact into
.violations: a value in single quotes, a stream element that is not spelled stream:stream, a
stanza without "from", a question with a short id, a stanza in a user's name with a resource.

With monitoring=True it has the archive of that plugin (monitoring.py).  It has no TLS, no rooms,
no stream management (detach() and end_detached() play its part), and of s2s only users of r.test,
who are on the same port.
"""

import asyncio
import base64
import secrets
import threading
from contextlib import suppress

from ..procs import PATIENCE, free_port, wait_until
from . import xml
from .commands import COMMANDS, Commands, Refused, Silence
from .components import DISCO_INFO, HOST, ComponentSide, published_properties
from .copier import Copier
from .monitoring import MAM, Monitoring

REMOTE_HOST = "r.test"
COMPONENT = "sidecar.e.test"

CLIENT_NS = "jabber:client"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BLOCKING = "urn:xmpp:blocking"
CARBONS = "urn:xmpp:carbons:2"
DELAY = "urn:xmpp:delay"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
FORWARD = "urn:xmpp:forward:0"
HINTS = "urn:xmpp:hints"
CHATSTATES = "http://jabber.org/protocol/chatstates"


class Session:
    """Of one client."""

    def __init__(self, writer, jid):
        self.writer, self.jid = writer, jid
        self.presence = None   # the last available one
        self.priority = 0
        self.carbons = False
        self.detached = False
        self.unacked = []      # (element, when)

    @property
    def takes_messages(self):
        return self.presence is not None and self.priority >= 0


class OpenfireStandIn(ComponentSide):
    kind = "openfire"
    cluster = None
    stands_in = True
    never_kept = ("carbon",)  # what is not put into the offline store
    host, remote_host = HOST, REMOTE_HOST

    def __init__(self, workspace, name="openfire", period=0.2, capacity=10_000, linger=0.2,
                 component=COMPONENT, monitoring=False):
        self.component = component
        self.archive_address = component  # queries to the users' own addresses are refused
        self.secret = secrets.token_hex(16)
        self.properties = published_properties(self.secret)
        self.period = period               # seconds between two batches (5 in real life)
        self.linger = linger               # how long a name stays taken
        self.c2s_port, self.component_port = free_port(), free_port()
        self.violations = []
        self.copier = Copier(HOST, self._to_component, capacity)
        self.commands = Commands(self.copier, self._presences, self._is_component)
        self.monitoring = Monitoring(HOST, self.properties, self._route, self.copier.now,
                                     self.violations) if monitoring else None
        self._users = {}       # (user, host) -> password
        self._sessions = {}    # full JID -> Session
        self._offline = {}     # bare JID -> elements
        self._blocked = {}     # bare JID -> set of bare JIDs
        self._components = {}  # domain -> [Connection]
        self._taken = {}       # domain -> until when
        self._askers = {}      # id -> Connection, of all components together
        self._probes = {}      # domain -> answers to our own questions
        self._handshakes = self._refusals = 0
        self._loop = asyncio.new_event_loop()
        self._tasks, self._servers = set(), []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        workspace.on_close(self.close)

    @staticmethod
    def settings():
        """What sidecar.yml says because the server is this one."""
        return {"xmpp.presence_every": "1s"}

    # Life.

    def _call(self, coroutine, timeout=10):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout * PATIENCE)

    def _do(self, function, *args):
        """Runs it where everything lives."""
        async def run():
            return function(*args)
        return self._call(run())

    def start(self):
        self._call(self._start())
        return self

    async def _start(self):
        listeners = [(self.c2s_port, self._serve_client)]
        if self.properties["xmpp.component.socket.active"] == "true":
            listeners.append((self.component_port, self._serve_component))
        for port, serve in listeners:
            self._servers.append(await asyncio.start_server(
                self._as_task(serve), "127.0.0.1", port, limit=1 << 24))
        self._keep(self._run_timer())

    def _keep(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _as_task(self, serve):
        async def run(reader, writer):
            task = asyncio.current_task()
            self._tasks.add(task)
            try:
                with suppress(ConnectionError, asyncio.CancelledError):
                    await serve(reader, writer)
            except Exception as error:  # of the stand-in itself: no test may pass over it
                self.violations.append(f"{serve.__name__}: {error!r}")
            finally:
                self._tasks.discard(task)
                writer.close()
        return run

    async def _run_timer(self):
        at = self._loop.time()
        while True:
            at += self.period
            await asyncio.sleep(max(0, at - self._loop.time()))
            await self.copier.flush()

    def stop(self):
        """Everything that is only in memory is gone: sessions, subscriptions."""
        self._call(self._stop())

    async def _stop(self):
        for server in self._servers:
            server.close()
        self._servers = []
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        self._sessions.clear()
        self._taken.clear()
        self._askers.clear()

    kill = stop

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    # Administration, and what a test makes happen.

    def register(self, user, password, host=HOST):
        self._users[user, host] = password

    ensure = register

    def unregister(self, user, host=HOST):
        self._users.pop((user, host), None)

    def sessions(self, user, host=HOST):
        return self._do(lambda: sorted(
            jid.partition("/")[2] for jid in self._sessions if xml.bare(jid) == f"{user}@{host}"))

    def wait_no_session(self, user, timeout=10):
        wait_until(lambda: not self.sessions(user), timeout, f"{user} has no session")

    def offline_count(self, user, host=HOST):
        return self._do(lambda: len(self._offline.get(f"{user}@{host}", ())))

    def kick(self, user, resource, host=HOST):
        self._do(lambda: self._sessions[f"{user}@{host}/{resource}"].writer.transport.abort())

    def component_connections(self):
        return self._handshakes

    def component_refusals(self):
        return self._refusals

    def settle(self, client):
        """Copies of all that the client has sent so far are with the components."""
        client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", self.host)
        self._call(self.copier.flush())

    def detach(self, jid):
        """The client's connection dies, and its session waits to be resumed: it looks online."""
        def detach():
            session = self._sessions[jid]
            session.detached = True
            session.writer.transport.abort()
        self._do(detach)

    def end_detached(self, jid):
        """Nobody has resumed it: what was not acknowledged is routed again."""
        def end():
            session = self._end_session(jid)
            for element, when in session.unacked:
                if element.find(f"{{{DELAY}}}delay") is None:
                    xml.add(element, f"{{{DELAY}}}delay", **{"from": HOST, "stamp": when})
                self._route(element)
        self._do(end)

    def fan_out(self, text, recipients):
        """One stanza to many as rooms and pubsub nodes send it: only its address changes."""
        def send():
            element = xml.strip(xml.parse(text), CLIENT_NS)
            for recipient in recipients:
                element.set("to", recipient)
                self._route(element)
        self._do(send)

    def pour(self, texts, burst=1, pause=0.0):
        """Routes stanzas as they would come from many clients at once; .result() waits.  The pause
        after a burst may be a function."""
        async def pour():
            self._tasks.add(asyncio.current_task())
            for number, text in enumerate(texts, 1):
                self._route(xml.parse(text))
                if number % burst == 0:
                    await asyncio.sleep(pause() if callable(pause) else pause)
        return asyncio.run_coroutine_threadsafe(pour(), self._loop)

    def disconnect_component(self, domain=None):
        def drop():
            for connection in list(self._components.get(domain or self.component, ())):
                connection.writer.transport.abort()
        self._do(drop)

    def free_names(self):
        """Those that are taken after their connection's end are so no longer."""
        self._do(self._taken.clear)

    def listed_components(self):
        """Those that disco#items of the server shows: who has said what it is."""
        return self._do(self._listed)

    def _listed(self):
        return sorted(domain for domain, answers in self._probes.items()
                      if domain in self._components
                      and any(iq.find(f".//{{{DISCO_INFO}}}identity") is not None
                              for iq in answers))

    # Clients.

    @staticmethod
    def _write(writer, text):
        if not writer.is_closing():
            writer.write(text.encode())

    async def _serve_client(self, reader, writer):
        user = host = session = None
        stream, greeted = xml.StreamReader(), False
        try:
            while data := await reader.read(65536):
                for stanza in stream.feed(data):
                    if session is not None:
                        self._from_client(session, stanza)
                    elif user is None:
                        user = self._authenticate(writer, stanza, host)
                        stream, greeted = xml.StreamReader(), False
                    else:
                        session = self._bind(writer, stanza, user, host)
                if stream.root is not None and not greeted:
                    greeted, host = True, stream.root.get("to")
                    self._greet(writer, host, user is not None)
                if stream.ended:
                    self._write(writer, "</stream:stream>")
                    return
        finally:
            if session is not None and not session.detached:
                self._end_session(session.jid, session)

    def _greet(self, writer, host, authenticated):
        features = f"<bind xmlns='{BIND}'/>" if authenticated else \
            f"<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>"
        self._write(writer, "<?xml version='1.0'?>"
                    f"<stream:stream xmlns='{CLIENT_NS}' xmlns:stream='{xml.STREAMS}' "
                    f"id='{secrets.token_hex(5)}' from='{host}' version='1.0'>"
                    f"<stream:features>{features}</stream:features>")

    def _authenticate(self, writer, auth, host):
        _, user, password = base64.b64decode(auth.text).decode().split("\0")
        if self._users.get((user, host)) != password:
            self._write(writer, f"<failure xmlns='{SASL}'><not-authorized/></failure>")
            raise ConnectionError
        self._write(writer, f"<success xmlns='{SASL}'/>")
        return user

    def _bind(self, writer, iq, user, host):
        resource = iq.findtext(f"{{{BIND}}}bind/{{{BIND}}}resource") or secrets.token_hex(5)
        session = Session(writer, f"{user}@{host}/{resource}")
        self._end_session(session.jid)
        self._sessions[session.jid] = session
        self._write(writer, f"<iq type='result' id='{iq.get('id')}'><bind xmlns='{BIND}'>"
                            f"<jid>{session.jid}</jid></bind></iq>")
        return session

    def _end_session(self, jid, only=None):
        session = self._sessions.get(jid)
        if session is None or only not in (None, session):
            return session
        del self._sessions[jid]
        if session.presence is not None:
            self._passes(xml.ET.Element("presence", {"from": jid, "type": "unavailable"}))
        return session

    def _from_client(self, session, stanza):
        stanza.set("from", session.jid)
        if stanza.tag == "presence":
            self._presence(session, stanza)
        else:
            self._route(stanza)

    def _presence(self, session, presence):
        self._passes(presence)
        if presence.get("to"):
            return
        kind = presence.get("type")
        came = session.presence is None
        session.presence = presence if kind is None else None
        session.priority = int(presence.findtext("priority") or 0)
        if kind is None:
            for other in self._of(xml.bare(session.jid)):
                self._to_session(other, presence)
        if came and session.takes_messages:
            for element in self._offline.pop(xml.bare(session.jid), ()):
                self._to_session(session, element)

    def _presences(self):
        return [session.presence for session in self._sessions.values()
                if session.presence is not None and xml.domain(session.jid) == HOST]

    def _of(self, bare):
        return [s for jid, s in self._sessions.items() if xml.bare(jid) == bare]

    def _to_session(self, session, element):
        """The two places where a stanza leaves; what nobody reads is kept (XEP-0198)."""
        self.copier.passed(element, False, False)
        if session.detached and element.tag == "message":
            session.unacked.append((element, xml.now_text()))
        elif not session.detached:
            self._write(session.writer, xml.write_stanza(element))
        self.copier.passed(element, False, True)

    # Routing.

    def _passes(self, element):
        self.copier.passed(element, True, False)
        self.copier.passed(element, True, True)

    def _route(self, element):
        self.copier.passed(element, True, False)
        if element.tag == "message":
            if element.get("to") is None and element.get("from"):
                element.set("to", xml.bare(element.get("from")))
            if element.get("to") == HOST:
                return  # to the administrators; it ends before the second place
            self._route_message(element)
            if self.monitoring is not None:
                self.monitoring.passed(element)
        elif element.tag == "iq":
            self._route_iq(element)
        self.copier.passed(element, True, True)

    def _route_message(self, message):
        to, sender = message.get("to"), message.get("from")
        host = xml.domain(to)
        if sender and xml.bare(to) in self._blocked.get(xml.bare(sender), ()):
            self._turn_back(message, sender)
        elif host in self._components:
            self._to_component(host, message)
        elif host not in (HOST, REMOTE_HOST):
            self._bounce(message, "remote-server-not-found")
        elif tuple(xml.bare(to).split("@")) not in self._users:
            pass  # neither refused nor kept (store_and_bounce)
        else:
            self._to_user(message, to)

    def _turn_back(self, message, sender):
        """Refused by the sender's own block list: the stanza itself is changed."""
        del message.attrib["from"]
        message.set("type", "error")
        message.set("to", sender)
        self._to_session(self._sessions[sender], message)

    def _bounce(self, message, condition):
        if message.get("type") != "error":
            self._route(xml.error_reply(message, "cancel", condition))

    def _to_user(self, message, to):
        kind = message.get("type", "normal")
        session = self._sessions.get(to)
        private = message.find(f"{{{CARBONS}}}private")
        if private is not None:
            message.remove(private)
        if session is None and "/" in to and kind != "chat":
            return  # silently
        takers = [session] if session is not None else self._best(xml.bare(to))
        for taker in takers:
            self._to_session(taker, message)
        if not takers:
            self._store(message, kind)
        if private is None and kind == "chat":
            self._carbons(message, takers)

    def _best(self, bare):
        """The best one, the latest of equals, and everybody who has carbons."""
        able = [s for s in self._of(bare) if s.takes_messages]
        if not able:
            return []
        best = max(able, key=lambda s: (s.priority, able.index(s)))
        return [s for s in able if s is best or s.carbons]

    def _carbons(self, message, takers):
        for bare, kind in ((xml.bare(message.get("to")), "received"),
                           (xml.bare(message.get("from")), "sent")):
            for session in self._of(bare):
                if not session.carbons or session in takers \
                        or session.jid == message.get("from"):
                    continue
                outer = xml.ET.Element("message", {"from": bare, "to": session.jid,
                                                   "type": "chat"})
                forwarded = xml.add(xml.add(outer, f"{{{CARBONS}}}{kind}"),
                                    f"{{{FORWARD}}}forwarded")
                forwarded.append(xml.parse(xml.write(message, "").replace(
                    "<message", f"<message xmlns='{CLIENT_NS}'", 1)))
                self._to_session(session, outer)

    def _store(self, message, kind):
        states = [e for e in message if xml.split(e.tag)[0] not in (CHATSTATES, HINTS)]
        if self.properties["xmpp.offline.type"] == "drop":
            return
        if kind in ("error", "headline") or not states \
                or any(xml.split(e.tag)[0] == CARBONS for e in message) \
                or message.find(f"{{{HINTS}}}no-store") is not None:
            return
        if kind == "groupchat":
            self._bounce(message, "service-unavailable")
            return
        kept = xml.parse(xml.write(message))
        xml.add(kept, f"{{{DELAY}}}delay", **{"from": HOST, "stamp": xml.now_text()})
        self._offline.setdefault(xml.bare(message.get("to")), []).append(kept)

    # Questions.

    def _route_iq(self, iq):
        to = iq.get("to") or xml.bare(iq.get("from"))
        host, asks = xml.domain(to), iq.get("type") in ("get", "set")
        if host in self._components:
            if asks:
                self._to_component(host, iq)
            else:
                self._answer_component(iq)
        elif host == HOST and "/" not in to:
            if asks:
                self._answer(iq, to)
        elif to in self._sessions:
            self._to_session(self._sessions[to], iq)
        elif asks:
            self._give(xml.error_reply(iq, "cancel", "service-unavailable" if host == HOST
                                       else "remote-server-not-found"))

    def _give(self, answer):
        """Answers of the server are not routed."""
        if xml.domain(answer.get("to")) in self._components:
            self._answer_component(answer)
        elif answer.get("to") in self._sessions:
            self._to_session(self._sessions[answer.get("to")], answer)

    def _answer(self, iq, to):
        result = xml.ET.Element("iq", {"type": "result", "id": iq.get("id"), "from": to,
                                       "to": iq.get("from")})
        namespace, name = xml.split(iq[0].tag)
        session = self._sessions.get(iq.get("from"))
        if namespace == COMMANDS and to == HOST:
            try:
                result.append(self.commands.take(iq))
            except Silence:
                return
            except Refused as refusal:
                result = xml.error_reply(iq, refusal.kind, refusal.condition)
        elif namespace == DISCO_INFO and to == HOST:
            query = xml.add(result, iq[0].tag)
            xml.add(query, f"{{{DISCO_INFO}}}identity", category="server", type="im")
            if self.monitoring is not None:
                xml.add(query, f"{{{DISCO_INFO}}}feature", var=MAM)
        elif namespace == MAM and self.monitoring is not None:
            self._keep(self.monitoring.answer(iq, to, self._give))
            return
        elif namespace == DISCO_ITEMS and to == HOST:
            query = xml.add(result, iq[0].tag)
            for domain in self._listed():
                xml.add(query, f"{{{DISCO_ITEMS}}}item", jid=domain)
        elif namespace == CARBONS and session:
            session.carbons = name == "enable"
        elif namespace == BLOCKING and name == "block":
            self._blocked.setdefault(xml.bare(iq.get("from")), set()).update(
                item.get("jid") for item in iq[0])
        elif namespace not in ("urn:xmpp:ping", "jabber:iq:roster"):
            # No module for it: not a component's business either.
            result = xml.error_reply(iq, "cancel", "service-unavailable" if "@" in to
                                     else "feature-not-implemented")
        self._give(result)
