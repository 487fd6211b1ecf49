# SPDX-License-Identifier: Apache-2.0
"""XEP-0313 on the user's own address, as an unmodified client library uses it."""

import datetime
import time

import pytest

from harness.clients import NS, body_of, error_of, form_fields, new_id
from harness.ejabberd import HOST
from harness.procs import wait_until

SERVER = {"ejabberd": {"with_mam_never": True}}
PAGE_MAX, PAGE_DEFAULT = 100, 50
SETTINGS = {"archive.page_max": PAGE_MAX}
MESSAGES = 1000
FULLTEXT = "{urn:xmpp:fulltext:0}fulltext"


@pytest.fixture(scope="module")
def history(module_world):
    """(alice, bob, bodies) of an archive with MESSAGES in it."""
    return module_world.history(MESSAGES)


@pytest.fixture
def reader(world, history):
    return world.login(history[1], new_id("reader"))


@pytest.fixture
def pair(world):
    """Two fresh accounts, both online."""
    return world.login(world.user("alice")), world.login(world.user("bob"))


def say(world, sender, recipient, *texts):
    """Messages one after the other; returns their bodies."""
    bodies = [world.body(text) for text in texts]
    for body in bodies:
        sender.send_chat(recipient.bare, body)
        recipient.wait_message(body)
    world.drain(sender)
    return bodies


# slixmpp, unmodified.


@pytest.mark.servers()
def test_slixmpp_walks_forwards(reader, history):
    entries = reader.mam_walk(page=50)
    assert [entry.body for entry in entries] == history[2]
    assert len({entry.archive_id for entry in entries}) == MESSAGES


@pytest.mark.servers()
def test_slixmpp_walks_backwards(reader, history):
    entries = reader.mam_walk(page=50, reverse=True)
    assert [entry.body for entry in entries] == history[2][::-1]


def test_slixmpp_retrieves_one_page(reader, history):
    entries = reader.mam_retrieve(rsm={"max": 20})
    assert [entry.body for entry in entries] == history[2][:20]


def test_slixmpp_retrieves_with_one_peer(world, reader, history, pair):
    body = world.body("from another")
    sender = pair[0]
    sender.send_chat(history[1].bare, body)
    reader.wait_message(body)
    world.drain(sender)
    assert [e.body for e in reader.mam_retrieve(with_jid=sender.bare)] == [body]
    history[2].append(body)  # it belongs to the archive from now on


@pytest.mark.parametrize("reverse", [False, True])
def test_walking_while_new_messages_arrive(world, reader, reverse):
    """No gap and no repeat in what was there when the walk began."""
    sender = world.login(world.user("talker"))
    before = reader.mam_walk(page=100)
    sent = []

    def talk(_):
        sent.append(world.body("meanwhile"))
        sender.xmpp.send_raw(f"<message to='{reader.bare}' type='chat' id='{new_id('w')}'>"
                             f"<body>{sent[-1]}</body></message>")
    walked = reader.mam_walk(page=50, reverse=reverse, on_page=talk)
    walked = walked[::-1] if reverse else walked
    ids = [entry.archive_id for entry in walked]
    assert len(set(ids)) == len(ids)
    assert ids[:len(before)] == [entry.archive_id for entry in before]
    # What came during the walk follows in order; forwards, most of it is seen.
    late = [entry.body for entry in walked[len(before):]]
    assert late == sent[:len(late)]
    assert len(sent) >= len(before) // 50
    if not reverse:
        assert len(late) > 0
    world.drain(sender)
    reader.wait_message(sent[-1])


@pytest.mark.servers()
@pytest.mark.needs("live-copies")
def test_send_and_ask_at_once(world, pair):
    """What a client has sent is in the answer to its next question, without waiting."""
    sender, receiver = pair
    for number in range(20):
        body = world.body(f"now {number}")
        sender.send_chat(receiver.bare, body)
        page = sender.mam_page(rsm="<max>1</max><before/>")
        assert page.bodies == [body], f"message {number}"
        assert page.stable


# The form of answers.


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_results_look_as_clients_expect(world, pair):
    sender, receiver = pair
    body, = say(world, sender, receiver, "hello")
    page = receiver.mam_page(queryid="a\"&<b")
    entry, = page.results
    assert entry.outer.get("from") == receiver.bare
    assert entry.outer.get("to") == receiver.jid
    assert entry.queryid == "a\"&<b"
    assert entry.message.get("from") == sender.jid
    assert entry.message.get("to") == receiver.bare
    assert body_of(entry.message) == body
    stamp = datetime.datetime.fromisoformat(entry.stamp.replace("Z", "+00:00"))
    age = datetime.datetime.now(datetime.timezone.utc) - stamp
    assert entry.stamp.endswith("Z") and abs(age.total_seconds()) < 60
    assert page.complete and page.first == page.last == entry.archive_id
    assert page.count == "1"
    # UUID-shaped: some clients keep their place only then.
    assert [len(part) for part in entry.archive_id.split("-")] == [8, 4, 4, 4, 12]


def test_without_queryid_none_is_made_up(world, pair):
    sender, receiver = pair
    say(world, sender, receiver, "hello")
    since = len(receiver.inbox)
    answer = receiver.iq("set", "<query xmlns='urn:xmpp:mam:2'/>")
    results = [s.find("{urn:xmpp:mam:2}result") for s in receiver.inbox.snapshot()[since:]]
    results = [result for result in results if result is not None]
    assert len(results) == 1 and results[0].get("queryid") is None
    assert answer.find("{urn:xmpp:mam:2}fin").get("complete") == "true"


def test_empty_archive(world):
    client = world.login(world.user("fresh"))
    page = client.mam_page(rsm="<max>10</max>")
    assert page.results == [] and page.complete
    assert page.first is None and page.last is None and page.count == "0"
    assert page.fin.find("{http://jabber.org/protocol/rsm}set") is not None


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_the_form(reader):
    query = reader.iq("get", "<query xmlns='urn:xmpp:mam:2'/>").find("{urn:xmpp:mam:2}query")
    form = query.find("{jabber:x:data}x")
    fields = form_fields(form)
    assert form.get("type") == "form"
    assert fields["FORM_TYPE"] == "urn:xmpp:mam:2"
    assert {"with", "start", "end", FULLTEXT} <= fields.keys()
    assert form.find(".//{jabber:x:data}required") is None


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_disco_on_the_own_account(reader):
    """mod_mam of group chat rooms says the same again."""
    _, features = reader.disco_info(reader.bare)
    assert {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:mam:1",
            "urn:xmpp:fulltext:0"} <= set(features)


def test_without_mod_mam(make_world):
    """The archive is announced by us alone, once, and answers."""
    world = make_world()
    client = world.login(world.user("alice"))
    for address in (client.bare, HOST):
        features = client.disco_info(address)[1]
        assert features.count("urn:xmpp:mam:2") == 1
        assert "urn:xmpp:sid:0" not in features  # live messages carry no id of the archive (I5)
    _, body = world.exchange(world.login(world.user("bob")), client)
    assert client.mam_page().bodies == [body]


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_the_components_own_address_does_not_pass_for_the_servers_archive(world, reader):
    """Clients that look at everything in disco#items must find the archive once: their own."""
    items = reader.iq("get", f"<query xmlns='{NS['items']}'/>", HOST)
    assert world.component in {item.get("jid") for item in items.iter(f"{{{NS['items']}}}item")}
    features = reader.disco_info(world.component)[1]
    assert not [feature for feature in features if feature.startswith("urn:xmpp:mam")]
    assert reader.iq("get", f"<query xmlns='{NS['items']}'/>", world.component) is not None


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_while_the_sidecar_is_away_the_server_says_so_at_once(make_world):
    """And afterwards all is as before (G6)."""
    world = make_world()
    client = world.login(world.user("alice"))
    _, body = world.exchange(world.login(world.user("bob")), client)
    assert client.mam_page().bodies == [body]
    world.sidecar.stop()
    began = time.monotonic()
    assert client.mam_error() == ("cancel", "service-unavailable")
    assert time.monotonic() - began < 20  # questions to nobody are given up later
    world.sidecar.start()
    wait_until(lambda: world.sidecar.http("/readyz")[0] == 200, 30, "namespaces are delegated")
    assert client.mam_page().bodies == [body]


# Paging.


@pytest.mark.parametrize("size", [1, 3, 7, 20, 21])
def test_pages_by_after_cover_everything_once(world, pair, size):
    sender, receiver = pair
    bodies = say(world, sender, receiver, *[f"n{i}" for i in range(20)])
    seen, anchor = [], ""
    while True:
        page = receiver.mam_page(rsm=f"<max>{size}</max>{anchor}")
        assert page.first == page.ids[0] and page.last == page.ids[-1]
        seen += page.bodies
        if page.complete:
            break
        assert len(page.results) == size
        anchor = f"<after>{page.last}</after>"
    assert seen == bodies


@pytest.mark.parametrize("size", [1, 3, 20])
def test_pages_by_before_are_oldest_first(world, pair, size):
    sender, receiver = pair
    bodies = say(world, sender, receiver, *[f"n{i}" for i in range(20)])
    seen, anchor = [], "<before/>"
    while True:
        page = receiver.mam_page(rsm=f"<max>{size}</max>{anchor}")
        seen = page.bodies + seen
        if page.complete:
            break
        anchor = f"<before>{page.first}</before>"
    assert seen == bodies


def test_after_the_last_there_is_an_empty_complete_page(world, pair):
    sender, receiver = pair
    say(world, sender, receiver, "one")
    last = receiver.mam_page().last
    page = receiver.mam_page(rsm=f"<after>{last}</after>")
    assert page.results == [] and page.complete and page.first is None


def test_max_0_counts(world, pair):
    sender, receiver = pair
    say(world, sender, receiver, "one", "two", "three")
    page = receiver.mam_page(rsm="<max>0</max>")
    assert page.results == [] and page.first is None
    assert page.count == "3" and not page.complete


@pytest.mark.parametrize("size, results", [
    ("1000000", PAGE_MAX), ("99999999999999999999", PAGE_MAX), (" 10 ", 10),
    ("-1", PAGE_DEFAULT), ("abc", PAGE_DEFAULT), ("", PAGE_DEFAULT)])
def test_odd_max_is_capped_or_ignored(reader, size, results):
    page = reader.mam_page(rsm=f"<max>{size}</max>")
    assert len(page.results) == results
    assert not page.complete


def test_without_max_the_page_has_a_usual_size(reader):
    page = reader.mam_page()
    assert len(page.results) == PAGE_DEFAULT
    assert not page.complete


# Filters.


@pytest.mark.parametrize("who", ["bare", "odd case", "full"])
def test_with(world, pair, who):
    sender, receiver = pair
    other = world.login(world.user("carol"))
    wanted = say(world, sender, receiver, "one", "two")
    wanted += say(world, receiver, sender, "three")
    say(world, other, receiver, "not this")
    name = {"bare": sender.bare, "odd case": sender.bare.upper(), "full": sender.jid}[who]
    bodies = receiver.mam_page({"with": name}).bodies
    assert bodies == (wanted[:2] if who == "full" else wanted)


@pytest.mark.servers()
def test_with_oneself_is_the_notes(world, pair):
    sender, receiver = pair
    say(world, sender, receiver, "hello")
    note = world.body("note")
    receiver.send_chat(receiver.bare, note)
    receiver.wait_message(note)
    world.drain(receiver)
    assert receiver.mam_page({"with": receiver.bare}).bodies == [note]
    assert receiver.mam_page().bodies.count(note) == 1


def test_start_and_end_are_inclusive(world, pair):
    sender, receiver = pair
    # What the sidecar reads at once has one time: each has to be there before the next.
    bodies = [say(world, sender, receiver, text)[0] for text in ("one", "two", "three")]
    stamps = [entry.stamp for entry in receiver.mam_page().results]
    assert receiver.mam_page({"start": stamps[1]}).bodies == bodies[1:]
    assert receiver.mam_page({"end": stamps[1]}).bodies == bodies[:2]
    assert receiver.mam_page({"start": stamps[1], "end": stamps[1]}).bodies == [bodies[1]]
    empty = receiver.mam_page({"start": stamps[2], "end": stamps[0]})
    assert empty.results == [] and empty.complete


@pytest.mark.parametrize("date", ["2001-01-01T00:00:00Z", "2001-01-01T00:00:00.123Z",
                                  "2001-01-01T00:00:00.123456Z", "2001-01-01T08:00:00+08:00",
                                  "2000-12-31T18:30:00-05:30"])
def test_every_form_of_date(world, pair, date):
    sender, receiver = pair
    bodies = say(world, sender, receiver, "one")
    assert receiver.mam_page({"start": date}).bodies == bodies
    assert receiver.mam_page({"end": date}).bodies == []


def test_an_anchor_outside_the_filter_is_valid(world, pair):
    sender, receiver = pair
    other = world.login(world.user("carol"))
    say(world, sender, receiver, "before")
    say(world, other, receiver, "anchor")
    bodies = say(world, sender, receiver, "after")
    anchor = receiver.mam_page({"with": other.bare}).first
    assert receiver.mam_page({"with": sender.bare}, f"<after>{anchor}</after>").bodies == bodies


def test_an_anchor_of_mod_mam_is_a_time(world, pair):
    """Sixteen digits: microseconds.  Clients keep their place when the archive changes hands."""
    sender, receiver = pair
    before = say(world, sender, receiver, "before")
    anchor = int(time.time() * 1000000)
    after = say(world, sender, receiver, "after")
    assert receiver.mam_page(rsm=f"<after>{anchor}</after>").bodies == after
    assert receiver.mam_page(rsm=f"<before>{anchor}</before>").bodies == before


# What is called extended.


def test_neighbours_ids_and_the_flipped_page(world, pair):
    sender, receiver = pair
    bodies = say(world, sender, receiver, *"abcde")
    ids = receiver.mam_page().ids
    between = receiver.mam_page({"after-id": ids[0], "before-id": ids[4]}, "<max>2</max><before/>")
    assert between.bodies == bodies[2:4] and not between.complete
    chosen = receiver.mam_page({"ids": [ids[3], ids[1]]})
    assert chosen.bodies == [bodies[1], bodies[3]] and chosen.complete
    flipped = receiver.mam_page(rsm="<max>3</max>", extra="<flip-page/>")
    assert flipped.bodies == bodies[2::-1]
    assert (flipped.first, flipped.last) == (ids[0], ids[2])


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_metadata(world, pair):
    sender, receiver = pair
    asked = "<metadata xmlns='urn:xmpp:mam:2'/>"
    answer = receiver.iq("get", asked).find("{urn:xmpp:mam:2}metadata")
    assert answer is not None and len(answer) == 0
    say(world, sender, receiver, "one", "two", "three")
    entries = receiver.mam_page().results
    start, end = receiver.iq("get", asked).find("{urn:xmpp:mam:2}metadata")
    assert (start.get("id"), start.get("timestamp")) == (entries[0].archive_id, entries[0].stamp)
    assert (end.get("id"), end.get("timestamp")) == (entries[-1].archive_id, entries[-1].stamp)
    assert error_of(sender.ask("get", asked, receiver.bare)) == ("auth", "forbidden")


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_the_older_protocol_is_answered_too(world, pair):
    sender, receiver = pair
    body, = say(world, sender, receiver, "hello")
    since = len(receiver.inbox)
    answer = receiver.iq("set", "<query xmlns='urn:xmpp:mam:1' queryid='old'/>")
    results = [s.find("{urn:xmpp:mam:1}result") for s in receiver.inbox.snapshot()[since:]]
    result, = [r for r in results if r is not None]
    assert body in "".join(result.itertext()) and result.get("queryid") == "old"
    assert answer.find("{urn:xmpp:mam:1}fin").get("complete") == "true"


# Refusals.


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_another_account_is_forbidden(world, pair, history):
    alice, bob = history[0], history[1]
    client = pair[0]
    for owner in (bob.bare, alice.bare, f"nobody@{HOST}", HOST):
        assert client.mam_error(to=owner) == ("auth", "forbidden"), owner


@pytest.mark.servers()
@pytest.mark.needs("own-archive")
def test_a_remote_user_is_forbidden(world, history):
    stranger = world.login(world.remote_user())
    assert stranger.mam_error(to=history[1].bare) == ("auth", "forbidden")


@pytest.mark.parametrize("anchor", [
    "0b0e6a52-77f1-4c6e-9d0f-2a8d6b3f1c11", "1", "no id at all", "9999999999999999999999"])
@pytest.mark.parametrize("direction", ["after", "before"])
def test_unknown_anchor(reader, anchor, direction):
    error = reader.mam_error(rsm=f"<max>5</max><{direction}>{anchor}</{direction}>")
    assert error == ("cancel", "item-not-found")


@pytest.mark.servers()
def test_an_id_of_another_account_is_unknown(world, reader, pair):
    sender, receiver = pair
    say(world, sender, receiver, "private")
    foreign = receiver.mam_page().first
    assert reader.mam_error(rsm=f"<after>{foreign}</after>") == ("cancel", "item-not-found")


@pytest.mark.parametrize("field", ["start", "end"])
@pytest.mark.parametrize("date", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "0"])
def test_bad_dates(reader, field, date):
    assert reader.mam_error({field: date}) == ("modify", "bad-request")


@pytest.mark.parametrize("jid", ["@", "a@b@c@", "x" * 1100 + "@" + HOST],
                         ids=["empty parts", "many @", "too long"])
def test_bad_with(reader, jid):
    assert reader.mam_error({"with": jid}) == ("modify", "jid-malformed")


@pytest.mark.servers()
def test_unknown_field(reader):
    assert reader.mam_error({"colour": "blue"}) == ("cancel", "feature-not-implemented")


def test_paging_by_index(reader):
    error = reader.mam_error(rsm="<max>5</max><index>10</index>")
    assert error == ("cancel", "feature-not-implemented")


def test_wrong_form_type(reader):
    assert reader.mam_error({"FORM_TYPE": "urn:example"}) == ("modify", "bad-request")


@pytest.mark.parametrize("form", [
    "<x xmlns='jabber:x:data' type='result'/>",
    "<x xmlns='jabber:x:data' type='submit'><field><value>a@b</value></field></x>"],
    ids=["a form of another type", "a field without a name"])
def test_bad_forms(reader, form):
    answer = reader.ask("set", f"<query xmlns='urn:xmpp:mam:2'>{form}</query>")
    assert error_of(answer) == ("modify", "bad-request")


def test_slixmpp_ends_the_walk_on_an_error(reader, history):
    assert reader.mam_walk(jid=history[0].bare) == []


# At the component's own address.


@pytest.mark.servers()
@pytest.mark.needs("component-archive")
def test_the_component_serves_the_asker_too(world, reader, history):
    page = reader.mam_page(rsm="<max>3</max>", to=world.component)
    assert page.bodies == history[2][:3]
    assert page.results[0].outer.get("from") == world.component


@pytest.mark.servers()
def test_the_component_refuses_strangers(world):
    stranger = world.login(world.remote_user())
    assert stranger.mam_error(to=world.component) == ("auth", "forbidden")


@pytest.mark.servers()
def test_many_questions_at_once(world, reader, history):
    """Answers come for all, each complete and with its own results."""
    started = [reader.iq_start("set", reader.mam_xml(rsm="<max>10</max>", queryid=f"par{n}"),
                               world.server.archive_address)
               for n in range(50)]
    for start in started:
        assert reader.iq_finish(start).get("type") == "result"
    results = [s.find("{urn:xmpp:mam:2}result") for s in reader.inbox.snapshot()]
    for number in range(50):
        mine = [r for r in results if r is not None and r.get("queryid") == f"par{number}"]
        assert len(mine) == 10


@pytest.mark.servers()
def test_text_survives(world, pair):
    """Astral characters, markup, other namespaces: what was sent is what is read."""
    sender, receiver = pair
    body = "会议改到三点 👩‍👩‍👧 <b>&amp;</b> \"'" + world.body()
    message_id = sender.send_chat(
        receiver.bare, body,
        extra="<e:extra xmlns:e='urn:example:extra' e:a='1'><child xmlns='urn:x'/></e:extra>")
    receiver.wait_id(message_id)
    world.drain(sender)
    entry, = receiver.mam_page().results
    assert entry.body == body
    extra = entry.message.find("{urn:example:extra}extra")
    assert extra.get("{urn:example:extra}a") == "1"
    assert extra.find("{urn:x}child") is not None
    assert len(world.oracle.with_body(receiver.bare, body)) == 1


# Words (XEP-0431).


def test_words_are_found_in_any_language(world, pair):
    sender, receiver = pair
    meeting, trip, wide, _ = say(world, sender, receiver, "会议改到三点", "明天去北京出差",
                                 "See you in ＢＥＩＪＩＮＧ", "nothing of it")
    page = receiver.mam_page({FULLTEXT: "北京"})
    assert page.bodies == [trip] and page.complete and page.count == "1"
    assert receiver.mam_page({FULLTEXT: "beijing"}).bodies == [wide]
    assert sender.mam_page({FULLTEXT: "会议"}).bodies == [meeting]
    assert receiver.mam_page({FULLTEXT: "京北"}).results == []
    assert receiver.mam_page({FULLTEXT: "100%"}).results == []
    assert receiver.mam_page({FULLTEXT: "京", "with": sender.bare}).bodies == [trip]


def test_what_was_taken_back_or_is_secret_is_not_found(world, pair):
    sender, receiver = pair
    word = new_id("word")
    body = world.body(word)
    message_id = sender.send_chat(receiver.bare, body)
    receiver.wait_message(body)
    secret_id = sender.send_chat(receiver.bare, f"no {word} for you", extra="<encrypted xmlns="
                                 "'urn:xmpp:omemo:2'><payload>c2VjcmV0</payload></encrypted>")
    receiver.wait_id(secret_id)
    world.drain(sender)
    assert receiver.mam_page({FULLTEXT: word}).bodies == [body]
    retract_id = sender.send_chat(receiver.bare, None, extra="<retract xmlns="
                                  f"'urn:xmpp:message-retract:1' id='{message_id}'/>")
    receiver.wait_id(retract_id)
    world.drain(sender)
    for client in pair:
        assert client.mam_page({FULLTEXT: word}).results == []


def test_old_messages_are_found_by_the_index(world, reader, history):
    """The next worker finds an archive that is large enough for a block of the index."""
    later = say(world, world.login(history[0]), reader, *[f"later {n}" for n in range(40)])
    world.sidecar.wait_new_worker(world.sidecar.kill_worker())
    world.sidecar.wait_ready()
    owner = world.oracle.value("SELECT owner FROM xs.account WHERE jid = %s", (reader.bare,))
    wait_until(lambda: world.oracle.value("SELECT count(*) FROM xs.search_bucket"
                                          " WHERE owner = %s", (owner,)) > 0, 60,
               "the index is made")
    page = reader.mam_page({FULLTEXT: "NUMBER 77"}, rsm="<max>3</max><before/>")
    assert page.bodies == [body for body in history[2]
                           if "number" in body and "77" in body][-3:] != []
    assert reader.mam_page({FULLTEXT: "number later"}).results == []
    assert reader.mam_page({FULLTEXT: later[39]}).bodies == [later[39]]
