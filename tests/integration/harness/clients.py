# SPDX-License-Identifier: Apache-2.0
"""Real XMPP clients (slixmpp, unmodified) behind a synchronous face.

All clients of a test run live in one asyncio loop in a background thread; a
test calls plain methods and waits for what it expects.
"""

import asyncio
import itertools
import logging
import ssl
import threading
import xml.etree.ElementTree as ET
from unittest import mock
from xml.sax.saxutils import escape, quoteattr

logging.getLogger("slixmpp").setLevel(logging.CRITICAL)  # also silences its import

import slixmpp  # noqa: E402

from .inbox import Inbox  # noqa: E402
from .procs import PATIENCE  # noqa: E402

# No client speaks TLS here.  Reading the machine's authorities is most of what a client costs,
# so that it is done for none.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

MDS = "urn:xmpp:mds:displayed:0"
CLIENT = "{jabber:client}"
NS = {
    "c": "jabber:client",
    "carbons": "urn:xmpp:carbons:2",
    "cmd": "http://jabber.org/protocol/commands",
    "delay": "urn:xmpp:delay",
    "disco": "http://jabber.org/protocol/disco#info",
    "items": "http://jabber.org/protocol/disco#items",
    "fwd": "urn:xmpp:forward:0",
    "mam": "urn:xmpp:mam:2",
    "markers": "urn:xmpp:chat-markers:0",
    "rsm": "http://jabber.org/protocol/rsm",
    "stanzas": "urn:ietf:params:xml:ns:xmpp-stanzas",
    "x": "jabber:x:data",
}

_numbers = itertools.count(1)


def new_id(prefix="m"):
    return f"{prefix}{next(_numbers)}"


class StanzaError(Exception):
    """An IQ was answered with an error."""

    def __init__(self, kind, condition):
        super().__init__(f"{kind}/{condition}")
        self.kind, self.condition = kind, condition


def error_of(stanza):
    """(type, condition) of an error stanza, or None."""
    if stanza.get("type") != "error":
        return None
    error = stanza.find("c:error", NS)
    for child in error:
        if child.tag.startswith("{" + NS["stanzas"] + "}") and not child.tag.endswith("}text"):
            return error.get("type"), child.tag.rpartition("}")[2]
    return error.get("type"), None


def body_of(message):
    return message.findtext("c:body", None, NS)


def form_fields(form):
    """{var: value} of a data form; a list where a field has several values."""
    fields = {}
    for field in form.findall("x:field", NS):
        values = [value.text or "" for value in field.findall("x:value", NS)]
        fields[field.get("var")] = values[0] if len(values) == 1 else values
    return fields


def submit_form(fields):
    rows = []
    for var, value in fields.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        rows.append(f"<field var={quoteattr(var)}>"
                    + "".join(f"<value>{escape(str(v))}</value>" for v in values) + "</field>")
    return f"<x xmlns='jabber:x:data' type='submit'>{''.join(rows)}</x>"


class MamPage:
    """One answer to one query: results in the order they came, and the <fin/>."""

    def __init__(self, results, iq):
        self.results = results
        self.iq = iq
        self.fin = iq.find("mam:fin", NS)
        self.complete = self.fin.get("complete") in ("true", "1")
        self.stable = self.fin.get("stable") not in ("false", "0")
        self.first = self.fin.findtext("rsm:set/rsm:first", None, NS)
        self.last = self.fin.findtext("rsm:set/rsm:last", None, NS)
        self.count = self.fin.findtext("rsm:set/rsm:count", None, NS)

    @property
    def ids(self):
        return [entry.archive_id for entry in self.results]

    @property
    def bodies(self):
        return [body_of(entry.message) for entry in self.results]


class MamEntry:
    """One archived message as a client gets it."""

    def __init__(self, outer):
        self.outer = outer
        result = outer.find("mam:result", NS)
        self.archive_id = result.get("id")
        self.queryid = result.get("queryid")
        self.stamp = result.find("fwd:forwarded/delay:delay", NS).get("stamp")
        self.message = result.find("fwd:forwarded/c:message", NS)

    @property
    def body(self):
        return body_of(self.message)


class ClientLoop:
    """The thread in which all clients live."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)
        self._clients = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coroutine, timeout=30):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout * PATIENCE)

    def add(self, client):
        self._clients.append(client)

    def close_clients(self):
        clients, self._clients = self._clients, []
        for client in clients:
            try:
                client.drop()
            except Exception:  # it may be gone already
                pass

    def close(self):
        self.close_clients()
        try:
            self.call(self._cancel_tasks(), 5)
        except Exception:  # nothing to save here
            pass
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)

    @staticmethod
    async def _cancel_tasks():
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=2) if tasks else None


class Client:
    """One session.  Connects in login(); nothing is sent that the test did not ask for."""

    def __init__(self, loop, server, user, password, resource="r1", host=None, sm=False):
        self.loop, self.server = loop, server
        self.host = host or server.host
        self.user, self.bare = user, f"{user}@{host or server.host}"
        self.jid = f"{self.bare}/{resource}"
        self.sm = sm
        self.inbox = Inbox()
        self._session = None
        self.password = password
        self.xmpp = loop.call(self._make())
        loop.add(self)

    async def _make(self):
        with mock.patch.object(ssl, "create_default_context", lambda: NO_TLS):
            xmpp = slixmpp.ClientXMPP(self.jid, self.password, sasl_mech="PLAIN")
        xmpp["feature_mechanisms"].unencrypted_plain = True
        xmpp.whitespace_keepalive = False
        for plugin in ("xep_0030", "xep_0050", "xep_0059", "xep_0199", "xep_0313"):
            xmpp.register_plugin(plugin)
        if self.sm:
            xmpp.register_plugin("xep_0198")
        xmpp.add_filter("in", self._record)
        for event in ("session_start", "session_resumed", "failed_auth"):
            xmpp.add_event_handler(event, lambda _, event=event: self._settle(event))
        return xmpp

    def _record(self, stanza):
        self.inbox.put(stanza.xml)
        return stanza

    def _settle(self, event):
        if self._session is not None and not self._session.done():
            self._session.set_result(event)

    async def _connect(self):
        self._session = asyncio.get_event_loop().create_future()
        self.xmpp.connect(("127.0.0.1", self.server.c2s_port), use_ssl=False,
                          force_starttls=False, disable_starttls=True)
        return await asyncio.wait_for(self._session, 20 * PATIENCE)

    # Sessions.

    def login(self, presence=True, priority=None, carbons=False):
        """Connects; presence=False leaves the session silent (and invisible)."""
        event = self.loop.call(self._connect())
        if event != "session_start":
            raise AssertionError(f"{self.jid}: {event}")
        if carbons:
            self.iq("set", f"<enable xmlns='{NS['carbons']}'/>")
        if presence:
            self.presence(priority)
        return self

    def presence(self, priority=None):
        """Announces the session and waits until the server has taken note."""
        inner = "" if priority is None else f"<priority>{priority}</priority>"
        since = len(self.inbox)
        self.send_xml(f"<presence>{inner}</presence>")
        self.wait_for(lambda s: s.tag == CLIENT + "presence" and s.get("from") == self.jid,
                      what=f"{self.jid} sees its own presence", since=since)
        if getattr(self.server, "shows_presence_early", False):
            self.iq("get", "<ping xmlns='urn:xmpp:ping'/>", self.host)

    def resume(self):
        """Connects again after drop(); True when stream management resumed the session."""
        return self.loop.call(self._connect()) == "session_resumed"

    def logout(self):
        """Says goodbye properly and waits for the server to have ended the session."""
        self.send_xml("<presence type='unavailable'/>")
        self.loop.call(self._close())

    async def _close(self):
        await asyncio.wait_for(self.xmpp.disconnect(wait=1.0), 5 * PATIENCE)

    def drop(self):
        """The connection vanishes; the server is told nothing."""
        self.loop.call(self._abort())

    async def _abort(self):
        self.xmpp.cancel_connection_attempt()
        if self.xmpp.transport is not None:
            self.xmpp.transport.abort()
            await asyncio.sleep(0)

    # Sending.

    def send_xml(self, text):
        """Exactly these bytes, or, with stream management, a stanza that is counted."""
        if self.sm:
            self.loop.call(self._send_counted(text))
        else:
            self.loop.call(self._send_bytes(text))

    async def _send_bytes(self, text):
        self.xmpp.send_raw(text)

    async def _send_counted(self, text):
        element = ET.fromstring(f"<s xmlns='jabber:client'>{text}</s>")[0]
        kind = {CLIENT + "message": slixmpp.Message, CLIENT + "iq": slixmpp.Iq,
                CLIENT + "presence": slixmpp.Presence}[element.tag]
        self.xmpp.send(kind(self.xmpp, element, recv=True))

    def send_chat(self, to, body, message_id=None, kind="chat", extra=""):
        """Sends a message and returns its id; message_id="" sends none."""
        if message_id is None:
            message_id = new_id()
        id_text = f" id={quoteattr(message_id)}" if message_id else ""
        to_text = f" to={quoteattr(to)}" if to else ""
        body_text = "" if body is None else f"<body>{escape(body)}</body>"
        self.send_xml(f"<message{to_text} type='{kind}'{id_text}>{body_text}{extra}</message>")
        return message_id

    def send_many(self, texts):
        """Many stanzas in one write: for load."""
        self.send_xml("".join(texts)) if not self.sm else [self.send_xml(t) for t in texts]

    def displayed(self, to, message_id):
        """A displayed marker (XEP-0333)."""
        return self.send_chat(to, None,
                              extra=f"<displayed xmlns='{NS['markers']}' id={quoteattr(message_id)}/>")

    def publish_displayed(self, chat, archive_id, by=None, to=None):
        """XEP-0490: tells the account's other devices how far a chat was displayed."""
        self.iq("set", "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
                       f"<publish node='{MDS}'><item id='{chat}'><displayed xmlns='{MDS}'>"
                       f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by or self.bare}'"
                       f" id='{archive_id}'/></displayed></item></publish></pubsub>", to)

    def join(self, room, nick):
        since = len(self.inbox)
        self.send_xml(f"<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'>"
                      "<history maxstanzas='0'/></x></presence>")
        self.wait_for(lambda s: s.tag == CLIENT + "presence" and s.get("from") == f"{room}/{nick}",
                      what=f"{self.jid} is in {room}", since=since)

    # Receiving.

    def wait_for(self, predicate, timeout=10, what="a stanza", since=0):
        return self.inbox.wait_for(predicate, timeout, what, since)

    def wait_message(self, body, timeout=10, since=0):
        """The message with this body, addressed to us directly (no carbon)."""
        return self.wait_for(lambda s: s.tag == CLIENT + "message" and body_of(s) == body,
                             timeout, f"{self.jid} gets a message", since)

    def wait_id(self, message_id, timeout=10, since=0):
        return self.wait_for(lambda s: s.tag == CLIENT + "message" and s.get("id") == message_id,
                             timeout, f"{self.jid} gets {message_id}", since)

    def messages(self, since=0):
        return [s for s in self.inbox.snapshot()[since:] if s.tag == CLIENT + "message"]

    # Questions.

    def iq_start(self, kind, payload, to=None):
        """Sends an IQ and returns what iq_finish() needs."""
        iq_id = new_id("q")
        to_text = f" to={quoteattr(to)}" if to else ""
        since = len(self.inbox)
        self.send_xml(f"<iq type='{kind}' id='{iq_id}'{to_text}>{payload}</iq>")
        return iq_id, since

    def iq_finish(self, started, timeout=10):
        iq_id, since = started
        return self.wait_for(
            lambda s: s.tag == CLIENT + "iq" and s.get("id") == iq_id
            and s.get("type") in ("result", "error"),
            timeout, f"{self.jid} gets the answer to {iq_id}", since)

    def ask(self, kind, payload, to=None, timeout=10):
        """The answer, result or error."""
        return self.iq_finish(self.iq_start(kind, payload, to), timeout)

    def iq(self, kind, payload, to=None, timeout=10):
        """The result; an error is raised as StanzaError."""
        answer = self.ask(kind, payload, to, timeout)
        error = error_of(answer)
        if error:
            raise StanzaError(*error)
        return answer

    def command(self, to, node, fields=None, action="execute", session=None, timeout=10):
        """Executes an ad-hoc command in one step; returns its <command/>."""
        form = submit_form(fields) if fields is not None else ""
        session_text = f" sessionid={quoteattr(session)}" if session else ""
        action_text = f" action='{action}'" if action else ""
        answer = self.iq("set", f"<command xmlns='{NS['cmd']}' node={quoteattr(node)}"
                                f"{action_text}{session_text}>{form}</command>", to, timeout)
        return answer.find("cmd:command", NS)

    def disco_info(self, to):
        """(identities, features) of a JID."""
        query = self.iq("get", f"<query xmlns='{NS['disco']}'/>", to).find("disco:query", NS)
        identities = [(i.get("category"), i.get("type"))
                      for i in query.findall("disco:identity", NS)]
        return identities, [f.get("var") for f in query.findall("disco:feature", NS)]

    def block(self, jid):
        self.iq("set", f"<block xmlns='urn:xmpp:blocking'><item jid={quoteattr(jid)}/></block>")

    def enable_push(self, jid, node, secret=None):
        """XEP-0357: the server shall publish to jid and node."""
        options = ""
        if secret is not None:
            options = submit_form({
                "FORM_TYPE": "http://jabber.org/protocol/pubsub#publish-options",
                "secret": secret})
        self.iq("set", f"<enable xmlns='urn:xmpp:push:0' jid={quoteattr(jid)} "
                       f"node={quoteattr(node)}>{options}</enable>")

    # The archive.

    def mam_xml(self, fields=None, rsm="", queryid=None, extra=""):
        form = ""
        if fields is not None:
            form = submit_form({"FORM_TYPE": NS["mam"], **fields})
        rsm_text = f"<set xmlns='{NS['rsm']}'>{rsm}</set>" if rsm else ""
        id_text = f" queryid={quoteattr(queryid)}" if queryid else ""
        return f"<query xmlns='{NS['mam']}'{id_text}>{form}{rsm_text}{extra}</query>"

    def mam_page(self, fields=None, rsm="", to=None, queryid=None, timeout=10, extra=""):
        """One hand-made query; to=None asks where the server's clients do."""
        queryid, to = queryid or new_id("p"), to or self.server.archive_address
        started = self.iq_start("set", self.mam_xml(fields, rsm, queryid, extra), to)
        return self._mam_finish(started, timeout, queryid)

    def archive_ids(self):
        """{stanza id: its id in the own archive} of the archive's newest messages."""
        return {entry.message.get("id"): entry.archive_id
                for entry in self.mam_page(rsm="<before/>").results}

    def mam_raw(self, text, iq_id, timeout=10):
        """A query in the very bytes of some client: <iq/> and all."""
        since = len(self.inbox)
        self.send_xml(text)
        return self._mam_finish((iq_id, since), timeout)

    def _mam_finish(self, started, timeout, queryid=None):
        answer = self.iq_finish(started, timeout)
        if error_of(answer):
            raise StanzaError(*error_of(answer))
        entries = []
        for stanza in self.inbox.snapshot()[started[1]:]:
            if stanza is answer:
                break  # what comes after the answer is too late
            result = stanza.find("mam:result", NS)
            if result is not None and queryid in (None, result.get("queryid")):
                entries.append(MamEntry(stanza))
        return MamPage(entries, answer)

    def mam_error(self, fields=None, rsm="", to=None, timeout=10):
        """(type, condition) of a query that must fail."""
        answer = self.ask("set", self.mam_xml(fields, rsm, new_id("p")),
                          to or self.server.archive_address, timeout)
        error = error_of(answer)
        assert error, "the archive answered a query that it should refuse"
        return error

    def mam_walk(self, page=50, reverse=False, jid=None, on_page=None, timeout=120, **filters):
        """Every entry by slixmpp's own paging: its xep_0313 `iterate`, as it comes."""
        return self.loop.call(self._walk(page, reverse, jid, on_page, filters), timeout)

    async def _walk(self, page, reverse, jid, on_page, filters):
        entries = []
        walk = self.xmpp["xep_0313"].iterate(jid=jid or self.server.archive_address,
                                             reverse=reverse, rsm={"max": page},
                                             **filters)
        async for result in walk:
            entries.append(MamEntry(result.xml))
            if on_page and len(entries) % page == 0:
                on_page(len(entries))
        return entries

    def mam_retrieve(self, timeout=30, **arguments):
        """slixmpp's xep_0313 `retrieve`: one page."""
        return self.loop.call(self._retrieve(arguments), timeout)

    async def _retrieve(self, arguments):
        arguments.setdefault("jid", self.server.archive_address)
        answer = await self.xmpp["xep_0313"].retrieve(**arguments)
        return [MamEntry(message.xml) for message in answer["mam"]["results"]]
