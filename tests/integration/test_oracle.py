# SPDX-License-Identifier: Apache-2.0
"""The judge of the other tests: what is wrong in the database, it must see, and nothing else."""

import secrets
import subprocess
import uuid

import pytest

from harness.oracle import Oracle
from harness.procs import HarnessError
from harness.sidecar import build_folder

HOUR_US = 3600 * 1000000
NOW = 200 * 86400 * 1000000 + 6 * 365 * 86400 * 1000000  # some time in 2026, since 2020
OWNER = "00000000-0000-8000-8000-000000000001"
PEER, FLAGS = 7, 1


@pytest.fixture
def oracle(postgres, tmp_path):
    """An account with a conversation of two messages, of which one is unread."""
    database = f"xs_{secrets.token_hex(4)}"
    postgres.create_database(database)
    config = tmp_path / "sidecar.yml"
    config.write_text("xmpp: {server: ejabberd, component: s.e.test, secret: s, domains: [e.test]}\n"
                      f"database: {{url: '{postgres.url(database)}'}}\n")
    done = subprocess.run([build_folder() / "xmpp-sidecar", "-c", config, "migrate"],
                          capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise HarnessError(done.stderr)
    oracle = Oracle(postgres, database)
    run(oracle, "SELECT xs.ensure_partition(timestamptz '2020-01-01' + %s * interval '1 us')", NOW)
    run(oracle, "INSERT INTO xs.account (owner, jid, unread, unread_conversations, first_id)"
                " VALUES (%s, 'bob@e.test', 1, 1, %s)", OWNER, NOW << 8)
    run(oracle, "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, read_id, unread)"
                " VALUES (%s, %s, 'alice@e.test', %s, %s, %s, 1)",
        OWNER, PEER, NOW << 8, (NOW + 10) << 8, NOW << 8)
    row(oracle, 0, "<body>one</body>", "a")
    row(oracle, 10, "<body>two</body>", "b")
    yield oracle
    oracle.close()
    postgres.drop_database(database)


def run(oracle, text, *args):
    with oracle._connection.cursor() as cursor:
        cursor.execute(text, args)


def row(oracle, after_us, content, message_id, flags=FLAGS, sent_us=None, resource="r1",
        hashes=None):
    """One more row; by default the identity stored beside it is one of a kind."""
    ref, body = hashes or (str(uuid.uuid4()), secrets.randbits(62))
    id_text = f" id='{message_id}'" if message_id else ""
    stanza = (f"<message xmlns='jabber:client' from='alice@e.test/{resource}' to='bob@e.test'"
              f" type='chat'{id_text}>{content}</message>")
    run(oracle, "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, sent_at, stanza)"
                " VALUES (%s, %s, %s, %s, %s, %s,"
                " timestamptz '2020-01-01T00:00:00Z' + %s * interval '1 us', %s)",
        OWNER, (NOW + after_us) << 8, PEER, ref, body, flags, sent_us, stanza.encode())


def duplicated(oracle):
    return [found[1] for found in oracle.duplicates()]


def test_a_sound_database_has_no_problems(oracle):
    assert oracle.problems() == []


@pytest.mark.parametrize("content, message_id, after_us, sent_us", [
    ("<body>one</body>", "a", 20, None),
    ("<body>one</body>", "a", HOUR_US, None),
    ("<body>one</body><delay xmlns='urn:xmpp:delay' stamp='x'/>", "a", 20, None),
    ("<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='x'/><body>one</body>", "a", 20, None),
    ("<body>one</body>", "a", 5 * HOUR_US, NOW - 1000000),
], ids=["at once", "in the hour", "with a delay", "with a stanza-id", "delivered late"])
def test_the_same_message_twice_is_a_duplicate(oracle, content, message_id, after_us, sent_us):
    row(oracle, after_us, content, message_id, sent_us=sent_us)
    assert duplicated(oracle) == ["a"]


@pytest.mark.parametrize("content, message_id, after_us, flags, resource", [
    ("<body>three</body>", "a", 20, FLAGS, "r1"),
    ("<body>one</body>", "c", 20, FLAGS, "r1"),
    ("<body>one</body>", "a", HOUR_US + 20, FLAGS, "r1"),
    ("<body>one</body>", "a", 20, 2, "r1"),
    ("<body>one</body>", "a", 20, FLAGS, "r2"),
], ids=["other text", "other id", "an hour later", "other direction", "other session"])
def test_another_message_is_none(oracle, content, message_id, after_us, flags, resource):
    row(oracle, after_us, content, message_id, flags, resource=resource)
    assert duplicated(oracle) == []


def test_without_ids_only_what_comes_together_is_a_duplicate(oracle):
    for after_us in (0, 4000000, 9000000):
        row(oracle, 20 + after_us, "<body>yes</body>", "")
    assert duplicated(oracle) == []
    row(oracle, 20 + 11000000, "<body>yes</body>", "")
    assert duplicated(oracle) == [""]


def test_one_identity_twice_is_a_duplicate_whatever_the_stanzas_say(oracle):
    for n in range(2):
        row(oracle, 20 + n, f"<body>{n}</body>", "c", hashes=(OWNER, 2))
    assert duplicated(oracle) == ["c"]


@pytest.mark.parametrize("change", [
    "UPDATE xs.conversation SET unread = 0",
    "UPDATE xs.conversation SET read_id = 0",
    "UPDATE xs.conversation SET last_id = last_id + 1",
    "UPDATE xs.conversation SET first_id = first_id + 1",
    "DELETE FROM xs.conversation",
    "UPDATE xs.account SET unread = 2",
    "UPDATE xs.account SET unread_conversations = 0",
    "UPDATE xs.account SET first_id = first_id + 1",
    "DELETE FROM xs.account",
    "UPDATE xs.message SET flags = 0 WHERE body IS NULL",
    "DELETE FROM xs.message",
])
def test_every_difference_between_rows_and_counts_is_seen(oracle, change):
    run(oracle, change)
    assert oracle.recount() != []


@pytest.mark.parametrize("content, flags", [
    ("<body>three</body>", 0),
    ("<body>three</body>", 1 | 2),
    ("<body>three</body>", 1 | 4),
    ("<body>three</body>", 1 | 32),
    ("<body>three</body><replace xmlns='urn:xmpp:message-correct:0' id='a'/>", 1),
    ("<received xmlns='urn:xmpp:receipts' id='a'/>", 1),
])
def test_what_is_counted_wrongly_is_seen(oracle, content, flags):
    row(oracle, 20, content, "c", flags)
    assert oracle.miscounted() == [("bob@e.test", "c", flags)]


def test_a_problem_is_told_once(oracle):
    run(oracle, "UPDATE xs.account SET unread = 2")
    with pytest.raises(AssertionError):
        oracle.assert_sound()
    oracle.assert_sound()
    run(oracle, "UPDATE xs.account SET unread_conversations = 2")
    with pytest.raises(AssertionError):
        oracle.assert_sound()


def newly_told(oracle):
    """The kinds of what is wrong and was not wrong before."""
    before = set(oracle._told)
    with pytest.raises(AssertionError):
        oracle.assert_sound()
    return {kind for kind, *_ in oracle._told - before}


def test_what_goes_wrong_in_an_archive_that_was_judged_is_seen(oracle):
    oracle.assert_sound()
    row(oracle, 20, "<body>three</body>", "c", 1 | 2)
    assert "miscounted" in newly_told(oracle)
    row(oracle, 30, "<body>two</body>", "b")
    assert "duplicate" in newly_told(oracle)
    run(oracle, "UPDATE xs.message SET flags = 1 | 32 WHERE id = %s", NOW << 8)
    assert "miscounted" in newly_told(oracle)
