# SPDX-License-Identifier: Apache-2.0
"""Clients as they are.  Libraries page through an archive of a thousand messages: on the account's
own address (delegation) and at the component's, from the beginning and from where they were, while
messages arrive.  The requests of clients that cannot run here are sent as they send them, and the
answers judged by what each of them cannot live without."""

import datetime
import itertools
import uuid

import pytest

from harness import requests as R
from harness.clients import NS, StanzaError, error_of, new_id
from harness.drivers import COMMANDS, Driver, missing

SERVER = {"ejabberd": {"with_mam_never": True}}
MESSAGES = 1000
BOTH_WAYS = ("stanza.js", "strophe.js", "libstrophe")  # nbxmpp has no paging backwards


class Archive:
    """Bob's: the history with alice, and what arrived later.  Everything oldest first."""

    def __init__(self, world):
        self.alice, self.bob, self.bodies = world.history(MESSAGES)
        entries = world.login(self.bob, "first").mam_walk(page=100)
        world.loop.close_clients()
        assert [entry.body for entry in entries] == self.bodies
        self.ids = [entry.archive_id for entry in entries]
        self.times = [time_of(entry.stamp) for entry in entries]
        self.message_ids = [entry.message.get("id") for entry in entries]

    def since(self, number, form):
        """The time of a message as a client writes it, and the bodies of the chat with alice
        from then on."""
        text = written(self.times[number], form)
        start = time_of(text)
        return text, [body for body, at in zip(self.bodies, self.times) if at >= start]

    @property
    def late(self):
        return self.bodies[MESSAGES:]


SECONDS, MILLISECONDS = "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%f"
MICROSECONDS = "%Y-%m-%dT%H:%M:%S.%f+00:00"


def written(time, form):
    text = time.strftime(form)
    return text[:-3] + "Z" if form == MILLISECONDS else text


def now(form):
    return written(datetime.datetime.now(datetime.timezone.utc), form)


def time_of(stamp):
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00"))


@pytest.fixture(scope="module")
def archive(module_world):
    return Archive(module_world)


@pytest.fixture
def talker(world):
    return world.login(world.user("talker"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_library_pages_through_everything(world, archive, talker, name):
    """First sync while messages arrive, catch-up in a later session, the same at the
    component's address, and scrolling back where the library can."""
    if missing(name):
        pytest.skip(missing(name))
    ids, bodies, sent = archive.ids, archive.bodies, []

    def talk(_):
        sent.append(world.body("meanwhile"))
        talker.send_chat(archive.bob.bare, sent[-1], new_id("w"))
        if len(sent) == 1:  # this one at least is to be seen
            world.oracle.wait_body(archive.bob.bare, sent[0])

    def run(*walks, **options):
        return Driver(name, world.ejabberd, archive.bob, new_id("r")).walk(*walks, **options)

    first, = run({"max": 50}, on_page=talk)
    bodies += sent
    known = len(ids)
    assert len(sent) >= MESSAGES // 50
    assert first.ids[:known] == ids and len(set(first.ids)) == len(first.ids) > known
    assert first.bodies == bodies[:len(first.bodies)]
    world.drain(talker)

    walks = [{"max": 100, "to": world.component}, {"max": 70, "after": ids[799]},
             {"max": 100, "after": ids[899], "to": world.component}]
    if name in BOTH_WAYS:
        walks.append({"max": 100, "reverse": True, "pages": 2})
    found = run(*walks)
    ids[known:] = found[0].ids[known:]
    for walk, start in zip(found, (0, 800, 900, -200)):
        assert walk.bodies == bodies[start:]
        assert walk.ids == ids[start:]


# The requests of clients that cannot run here.


class Asker:
    """Sends them, and holds every page against what some client somewhere depends on."""

    def __init__(self, client, archive, total=None):
        self.client, self.archive, self.total = client, archive, total

    def ask(self, template, **values):
        iq_id = new_id("g")
        to = values.pop("to", None)
        text = template.format(id=iq_id, own=self.client.bare, peer=self.archive.alice.bare,
                               to=f" to='{to}'" if to else "", **values)
        page = self.client.mam_raw(text, iq_id)
        # By this alone XMPPFramework and Smack know them.  Others there are: what a session that
        # ended had not acknowledged (XEP-0198) the server sends to the account's next one.
        queryid = text.partition("queryid='")[2].partition("'")[0] or None
        page.results = [entry for entry in page.results if entry.queryid == queryid]
        self.check(page, to or self.client.bare)
        return page

    def check(self, page, address):
        for entry in page.results:
            assert entry.outer.get("from") == address      # Gajim, Converse, stanza.js
            assert entry.outer.get("to") == self.client.jid
            assert entry.message.get("from") and entry.message.get("to")  # Conversations
            assert entry.stamp.endswith("Z") and time_of(entry.stamp)     # Dino, nbxmpp
            uuid.UUID(entry.archive_id)                    # Siskin: else no place to resume from
        rsm = page.fin.find("rsm:set", NS)
        assert rsm is not None                             # Smack, Gajim
        ids = page.ids
        assert (page.first, page.last) == ((ids[0], ids[-1]) if ids else (None, None))  # Dino
        assert page.complete or ids or page.count          # Monal hangs on nothing at all
        if ids:
            assert rsm.find("rsm:first", NS).get("index") is None  # slixmpp backwards
        if self.total is not None:
            assert page.count in (None, str(self.total))   # Conversations: of the whole set

    def walk(self, first, following, backward=False, **values):
        """Pages by the client's own rule, as bodies: on until complete, from the page's end."""
        page = self.ask(first, **values)
        bodies = page.bodies
        while not page.complete:
            values["anchor"] = page.first if backward else page.last
            page = self.ask(following, **values)
            bodies = page.bodies + bodies if backward else bodies + page.bodies
        return bodies


@pytest.fixture
def asker(world, archive):
    return Asker(world.login(archive.bob, new_id("asker")), archive)


@pytest.fixture
def chat_asker(asker):
    """For queries that ask for the chat with alice."""
    asker.total = MESSAGES
    return asker


@pytest.mark.parametrize("at_the_component", [False, True])
def test_xmppframework(world, archive, asker, at_the_component):
    """Goes on until complete, no <last/>, or an empty page."""
    to = world.component if at_the_component else None
    form = asker.client.iq("get", "<query xmlns='urn:xmpp:mam:2'/>", to)
    assert form.find("mam:query/x:x", NS).get("type") == "form"
    first = asker.ask(R.XMPPFRAMEWORK_FIRST, to=to)
    assert first.bodies == archive.bodies[:20] and not first.complete
    assert asker.walk(R.XMPPFRAMEWORK_NEXT, R.XMPPFRAMEWORK_NEXT, to=to,
                      anchor=archive.ids[949]) == archive.bodies[950:]


def test_xmppframework_after_the_last_page(archive, asker):
    """Paging on from <before/> it asks for what comes after the newest message."""
    last = asker.ask(R.XMPPFRAMEWORK_LAST_PAGE)
    assert last.bodies == archive.bodies[-20:]
    nothing = asker.ask(R.XMPPFRAMEWORK_NEXT, anchor=last.last)
    assert nothing.results == [] and nothing.complete


def test_chatsecure(archive, asker):
    """Time-based: no size of pages, so that ours decides."""
    start, expected = archive.since(900, MILLISECONDS)
    assert asker.walk(R.CHATSECURE_FIRST, R.CHATSECURE_NEXT, start=start) == expected


def test_smack(archive, chat_asker):
    """Both directions by anchors; a full last page is complete."""
    first = chat_asker.ask(R.SMACK_PAGE)
    second = chat_asker.ask(R.SMACK_NEXT, anchor=first.last)
    again = chat_asker.ask(R.SMACK_PREVIOUS, anchor=second.first)
    assert first.bodies == again.bodies == archive.bodies[:10]
    assert second.bodies == archive.bodies[10:20]
    last = chat_asker.ask(R.SMACK_LAST_PAGE)
    assert last.bodies == archive.bodies[MESSAGES - 10:MESSAGES] and not last.complete
    full = chat_asker.ask(R.SMACK_NEXT, anchor=archive.ids[MESSAGES - 11])
    assert full.bodies == last.bodies and full.complete


def test_smack_counts_without_paging(archive, chat_asker):
    page = chat_asker.ask(R.SMACK_COUNT)
    assert page.bodies == archive.bodies[:50] and not page.complete


def test_smack_between_times(archive, asker):
    start, _ = archive.since(100, MILLISECONDS)
    end, _ = archive.since(200, MILLISECONDS)
    page = asker.ask(R.SMACK_BETWEEN, start=start, end=end)
    assert page.complete and page.bodies == [
        body for body, at in zip(archive.bodies, archive.times)
        if time_of(start) <= at <= time_of(end)]


def test_conversations(archive, asker):
    start, expected = archive.since(900, MILLISECONDS)
    assert asker.walk(R.CONVERSATIONS_CATCH_UP, R.CONVERSATIONS_NEXT, start=start) \
        == expected + archive.late


def test_conversations_scrolls_back(archive, chat_asker):
    """It has all when the count is not more than what came."""
    end = now(MILLISECONDS)
    page = chat_asker.ask(R.CONVERSATIONS_SCROLL, end=end)
    older = chat_asker.ask(R.CONVERSATIONS_SCROLL_NEXT, end=end, anchor=page.first)
    assert older.bodies + page.bodies == archive.bodies[MESSAGES - 100:MESSAGES]
    assert not older.complete


def test_dino(archive, asker):
    """A gap between ids that it knows, from its newer end; one queryid for all pages."""
    start, _ = archive.since(800, SECONDS)
    values = {"start": start, "low": archive.ids[939]}
    bodies = asker.walk(R.DINO_RANGE, R.DINO_RANGE_NEXT, backward=True, **values)
    assert bodies == archive.bodies[940:]


def test_monal(archive, asker):
    newest = asker.ask(R.MONAL_PRIME, end=now(MILLISECONDS))
    assert newest.ids == archive.ids[-1:]
    nothing = asker.ask(R.MONAL_CATCH_UP, anchor=newest.last)
    assert nothing.results == [] and nothing.complete
    assert asker.walk(R.MONAL_CATCH_UP, R.MONAL_CATCH_UP, anchor=archive.ids[899]) \
        == archive.bodies[900:]
    asker.total = MESSAGES
    assert asker.ask(R.MONAL_HISTORY, anchor=archive.ids[500]).bodies == archive.bodies[450:500]


def test_monal_without_its_place(archive, asker):
    """An id that the archive never had: it asks again by time, once."""
    with pytest.raises(StanzaError, match="cancel/item-not-found"):
        asker.ask(R.MONAL_CATCH_UP, anchor=str(uuid.uuid4()))
    start, expected = archive.since(960, MILLISECONDS)
    assert asker.ask(R.MONAL_SINCE, start=start).bodies == (expected + archive.late)[:50]


def test_siskin(archive, asker):
    start, expected = archive.since(600, MILLISECONDS)
    assert asker.walk(R.MARTIN_SYNC, R.MARTIN_NEXT, start=start) == expected + archive.late


def test_snikket_with_an_id_of_another_kind(archive, asker):
    """The message's own id where the archive's belongs."""
    with pytest.raises(StanzaError, match="cancel/item-not-found"):
        asker.ask(R.SNIKKET_SYNC, anchor=archive.message_ids[900])
    assert asker.ask(R.SNIKKET_SYNC, anchor=archive.ids[900]).bodies[:99] \
        == archive.bodies[901:1000]


def test_profanity(archive, asker):
    start, _ = archive.since(0, MICROSECONDS)
    end = now(MICROSECONDS)
    asker.total = MESSAGES
    count = asker.ask(R.PROFANITY_COUNT, start=start, end=end)
    assert count.results == [] and count.count == str(MESSAGES)
    last = asker.ask(R.PROFANITY_LAST_PAGE, start=start, end=end)
    assert last.bodies == archive.bodies[MESSAGES - 10:MESSAGES]
    following = asker.ask(R.PROFANITY_NEXT, start=start, anchor=archive.ids[9])
    assert following.bodies == archive.bodies[10:20]


def test_profanity_0_13_puts_the_anchor_nowhere(archive, chat_asker):
    start, _ = archive.since(0, SECONDS)
    page = chat_asker.ask(R.PROFANITY_0_13_NEXT, start=start, anchor=archive.ids[9])
    assert page.bodies == archive.bodies[:50]


def test_converse_finds_its_gap(archive, asker):
    """The last page since a time, cut: its first message is named, and is in the page."""
    start, expected = archive.since(900, MILLISECONDS)
    page = asker.ask(R.CONVERSE_SYNC, start=start)
    assert page.bodies == (expected + archive.late)[-50:] and not page.complete
    assert page.first == archive.ids[-50]


def test_answers_never_interleave(archive, asker):
    """However many are asked for at once: all results of one query, then those of the next, each
    before its own answer.  (The server may hold an answer back a little.)"""
    client = asker.client
    started = {}
    for n in range(20):
        query = client.mam_xml(rsm="<max>20</max>", queryid=f"i{n}")
        iq_id, _ = client.iq_start("set", query)
        started[iq_id] = f"i{n}"
    for iq_id in started:
        client.iq_finish((iq_id, 0))
    results, done = [], []
    for stanza in client.inbox.snapshot():
        result = stanza.find("mam:result", NS)
        if result is not None:
            assert result.get("queryid") not in done
            results.append(result.get("queryid"))
        elif stanza.get("id") in started:
            done.append(started[stanza.get("id")])
    runs = [queryid for queryid, _ in itertools.groupby(results)]
    assert len(results) == 20 * 20 and len(runs) == 20


def test_xmppframework_finds_push_and_is_not_told_to_stop_archiving(asker):
    """It looks for push in the features of its own account, and asks for XEP-0136's preferences
    after login: an answer without <default save=…/> makes it stop storing messages itself."""
    assert "urn:xmpp:push:0" in asker.client.disco_info(asker.client.bare)[1]
    answer = asker.client.ask("get", "<pref xmlns='urn:xmpp:archive'/>")
    default = answer.find("{urn:xmpp:archive}pref/{urn:xmpp:archive}default")
    assert answer.get("type") == "error" or default.get("save") != "false"


def test_preferences_as_clients_write_them(world, archive):
    """Gajim needs the default and both lists; Monal sends no list, Siskin <always/> twice."""
    client = world.login(world.user("prefs"))
    peer = archive.alice.bare

    def preferences(template):
        iq_id = new_id("g")
        since = len(client.inbox)
        client.send_xml(template.format(id=iq_id, peer=peer))
        prefs = client.iq_finish((iq_id, since)).find("mam:prefs", NS)
        lists = [prefs.find(f"mam:{name}", NS) for name in ("always", "never")]
        return prefs.get("default"), *([jid.text for jid in entries] for entries in lists)

    assert preferences(R.MONAL_PREFS) == ("always", [], [])
    assert preferences(R.MARTIN_PREFS_SET) == ("always", [peer], [])
    assert preferences(R.MONAL_PREFS) == ("always", [peer], [])
    assert preferences(R.MONAL_PREFS_SET) == ("always", [], [])


REQUESTS = {
    "a page": ("set", "<query xmlns='urn:xmpp:mam:2'/>"),
    "its form": ("get", "<query xmlns='urn:xmpp:mam:2'/>"),
    "the version before": ("set", "<query xmlns='urn:xmpp:mam:1'/>"),
    "metadata": ("get", "<metadata xmlns='urn:xmpp:mam:2'/>"),
    "preferences": ("get", "<prefs xmlns='urn:xmpp:mam:2'/>"),
    "new preferences": ("set", "<prefs xmlns='urn:xmpp:mam:2' default='never'/>"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_nobody_reads_another_account(world, archive, talker, what):
    """The same for an account that there is and for one that there is not."""
    for owner in (archive.bob.bare, f"nobody@{talker.host}"):
        assert error_of(talker.ask(*REQUESTS[what], to=owner)) == ("auth", "forbidden"), owner


def test_what_every_own_resource_sends_is_in_one_archive(world):
    alice, bob = world.user("alice"), world.user("bob")
    sessions = [world.login(alice, resource) for resource in ("phone", "desk")]
    receiver = world.login(bob)
    bodies = []
    for session in sessions * 2:
        bodies.append(world.exchange(session, receiver)[1])
    page = sessions[0].mam_page()
    assert page.bodies == bodies
    assert [entry.message.get("from") for entry in page.results] \
        == [session.jid for session in sessions * 2]
    assert sessions[1].mam_page().ids == page.ids
