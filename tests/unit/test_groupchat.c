// SPDX-License-Identifier: Apache-2.0
/* Rooms as owners: archive/rows.c and the lane, over a real database. */
#include "tests/unit/ingest_world.h"

#include "base/clock.h"

#define ROOM "den@rooms.here"

static void begin_with_rooms(struct world *w)
{
    settings.groupchat = true;
    begin(w);
}

static void end_with_rooms(struct world *w)
{
    end(w);
    settings.groupchat = false;
}

static struct event *said(struct world *w, const char *from, const char *attrs,
                          const char *inside)
{
    char all[512];
    snprintf(all, sizeof all, " %s", attrs);
    struct event *ev = add(w, EVENT_GROUPCHAT, from, ROOM, all, inside);
    ev->to_local = false;
    return ev;
}

static struct event *says(struct world *w, const char *from, const char *id, const char *text)
{
    char attrs[64], inside[128];
    snprintf(attrs, sizeof attrs, "id='%s'", id);
    snprintf(inside, sizeof inside, "<body>%s</body>", text);
    return said(w, from, attrs, inside);
}

/* The room tells one of its members, in the name of an occupant. */
static struct event *told(struct world *w, const char *member, const char *id,
                          const char *text)
{
    char attrs[64], inside[512];
    snprintf(attrs, sizeof attrs, "%s%s%s", *id ? " id='" : "", id, *id ? "'" : "");
    snprintf(inside, sizeof inside,
             "<body>%s</body><occupant-id xmlns='urn:xmpp:occupant-id:0' id='o'/>"
             "<stanza-id xmlns='urn:xmpp:sid:0' by='" ROOM "' id='s%s'/>"
             "<x xmlns='http://jabber.org/protocol/muc#user'/>",
             text, id);
    struct event *ev = add(w, EVENT_REFLECTED, ROOM, member, attrs, inside);
    ev->from_resource = "nick";
    return ev;
}

static int of_room(const char *what)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.message m JOIN xs.account a USING (owner)"
             " WHERE a.jid = '" ROOM "' AND (%s)",
             what);
    return (int)db_int(sql);
}

static void the_room_owns_one_row_and_its_members_none(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    says(&w, "li@here", "1", "hello");
    says(&w, "mei@here", "2", "hello");
    says(&w, "li@here", "1", "hello"); /* the same once more */
    settle(&w);
    says(&w, "mei@here", "2", "hello");
    settle(&w);
    assert_int_equal(rows(), 2);
    assert_int_equal(of_room("flags = 1024 + 512 + 32 + 16"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.account"), 1);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.conversation c JOIN xs.account a USING (owner)"
               " WHERE a.jid = '" ROOM "' AND c.jid IN ('li@here', 'mei@here')"),
        2);
    assert_int_equal(total_of(ROOM), 0); /* nobody reads a room as its owner */
    assert_int_equal(w.batches, 0);
    assert_counts_are_right();
    end_with_rooms(&w);
}

static void what_is_said_shows_when_the_room_has_told_of_it(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        says(&w, "li@here", "1", "hello");
        says(&w, "far@here", "1", "not let in");
        said(&w, "li@here", "", "<body>no id</body>");
        told(&w, "li@here", "1", "hello");
        told(&w, "mei@here", "1", "hello");
        told(&w, "mei@here", "", "no id");
        told(&w, "mei@here", "9", "said by somebody elsewhere");
        if (way)
            settle_one_by_one(&w);
        settle(&w);
        assert_int_equal(rows(), 3);
        assert_int_equal(of_room("flags = 512 + 16"), 2);
        assert_int_equal(of_room("flags = 1024 + 512 + 32 + 16 AND body = 'not let in'"), 1);
        /* An hour later it is another message, which the room has to tell of again. */
        w.now_us += HOUR + MINUTE;
        says(&w, "li@here", "1", "hello");
        settle(&w);
        assert_int_equal(of_room("flags = 512 + 16"), 2);
        told(&w, "mei@here", "1", "hello");
        settle(&w);
        assert_int_equal(rows(), 4);
        assert_int_equal(of_room("flags = 512 + 16"), 3);
        assert_counts_are_right();
        end_with_rooms(&w);
    }
}

/* Openfire shows a message when the room has passed it on to everybody, with whose it is. */
static void a_room_may_have_told_of_it_before_it_is_shown(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    told(&w, "mei@here", "1",
         "hello</body><addresses xmlns='http://jabber.org/protocol/address'>"
         "<address type='ofrom' jid='li@here/r'/></addresses><body xml:lang='fr'>salut");
    settle(&w);
    assert_int_equal(rows(), 0);
    says(&w, "li@here", "1", "hello</body><body xml:lang='fr'>salut");
    says(&w, "li@here", "2", "not told of");
    settle(&w);
    assert_int_equal(rows(), 2);
    assert_int_equal(of_room("flags = 512 + 16"), 1);
    assert_int_equal(of_room("flags = 1024 + 512 + 32 + 16"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_stanza_id"), 1);
    end_with_rooms(&w);
}

/* A batch with something in it that PostgreSQL refuses is halved until that is found. */
static void what_a_room_has_told_of_is_pushed_when_its_batch_is_tried_in_parts(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    db_do("ALTER TABLE xs.message ADD CONSTRAINT poison CHECK (body NOT LIKE '%poison')");
    says(&w, "li@here", "1", "hello");
    says(&w, "li@here", "2", "not told of");
    says(&w, "li@here", "3", "poison");
    told(&w, "mei@here", "1", "hello");
    settle(&w);
    assert_int_equal(rows(), 2);
    assert_int_equal(of_room("flags = 512 + 16"), 1);
    assert_int_equal(of_room("(m.owner, m.id) IN (SELECT owner, id FROM xs.room_due)"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_nick WHERE nick = 'nick'"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_stanza_id"), 1);
    end_with_rooms(&w);
}

static void a_room_of_many_costs_one_write(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    w.rows_max = 100000;
    says(&w, "li@here", "1", "hello");
    for (int i = 0; i < 500; i++)
        told(&w, "mei@here", "1", "hello");
    offer_up_to(&w, w.n);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_int_equal(st.queue_rows, 2);
    settle(&w);
    assert_int_equal(of_room("flags = 512 + 16"), 1);
    end_with_rooms(&w);
}

static void two_may_say_the_same_by_the_same_id(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        says(&w, "li@here", "3", "ok");
        says(&w, "mei@here", "3", "ok");
        said(&w, "li@here", "", "<body>no id</body>");
        said(&w, "mei@here", "", "<body>no id</body>");
        if (way)
            settle_one_by_one(&w);
        settle(&w);
        assert_int_equal(rows(), 4);
        end_with_rooms(&w);
    }
}

static void what_a_room_refuses_is_hidden_and_only_its_sender_takes_it_back(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        says(&w, "li@here", "1", "refused");
        says(&w, "mei@here", "1", "let through");
        says(&w, "mei@here", "2", "taken back");
        says(&w, "mei@here", "4", "not his to take back");
        told(&w, "mei@here", "1", "let through");
        told(&w, "mei@here", "2", "taken back");
        told(&w, "mei@here", "4", "not his to take back");
        if (way)
            settle_one_by_one(&w);
        meaning(&w, EVENT_BOUNCE, ROOM, "li@here", "1")->from_local = false;
        meaning(&w, EVENT_BOUNCE, "li@here", "mei@here", "4"); /* not the room's word */
        said(&w, "mei@here", "id='r2'",
             "<retract xmlns='urn:xmpp:message-retract:1' id='2'/>");
        said(&w, "li@here", "id='r4'", "<retract xmlns='urn:xmpp:message-retract:1' id='4'/>");
        if (way)
            settle_one_by_one(&w);
        settle(&w);
        assert_int_equal(of_room("body = 'refused' AND flags & 512 = 0"), 1);
        assert_int_equal(of_room("flags & 32 = 32"), 3); /* and the unconfirmed retractions */
        assert_int_equal(of_room("flags & (4 + 512) = 4 AND body IS NULL"), 1);
        assert_int_equal(of_room("flags = 512 + 16"), 2);
        assert_counts_are_right();
        end_with_rooms(&w);
    }
}

static void what_is_no_message_of_a_room_is_not_kept(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    said(&w, "li@here", "id='s1'", "<subject>news</subject>");
    said(&w, "li@here", "id='s2'", "<subject>news</subject><store xmlns='urn:xmpp:hints'/>");
    said(&w, "li@here", "id='s3'",
         "<composing xmlns='http://jabber.org/protocol/chatstates'/>");
    said(&w, "li@here", "id='s4'", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>");
    settle(&w);
    assert_int_equal(rows(), 0);
    said(&w, "li@here", "id='s5'", "<subject>about</subject><body>a letter</body>");
    said(&w, "li@here", "id='s6'",
         "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>");
    said(&w, "li@here", "id='s7'",
         "<reactions xmlns='urn:xmpp:reactions:0' id='1'/><store xmlns='urn:xmpp:hints'/>");
    settle(&w);
    assert_int_equal(of_room("flags & 512 = 512 AND body = 'a letter'"), 1);
    assert_int_equal(of_room("flags & 512 = 0"), 1); /* the reaction */
    add(&w, EVENT_REFLECTED, ROOM, "mei@here", " id='s6'",
        "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>");
    settle(&w);
    assert_int_equal(of_room("flags = 512 + 16 + 32 + 128 AND stanza = ''"), 1);
    end_with_rooms(&w);
}

static void what_only_a_room_may_say_is_taken_off(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    said(&w, "li@here", "id='f1'",
         "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='" ROOM "' id='forged'/>"
         "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='mei@here'/></x>"
         "<delay xmlns='urn:xmpp:delay' from='" ROOM "' stamp='2001-01-01T00:00:00Z'/>");
    settle(&w);
    assert_int_equal(of_room("flags & 512 = 512 AND sent_at IS NULL"), 1);
    assert_int_equal(of_room("stanza LIKE '%forged%'::bytea OR stanza LIKE '%muc#user%'"), 0);
    end_with_rooms(&w);
}

static void preferences_of_accounts_say_nothing_of_rooms(void **state)
{
    (void)state;
    struct world w;
    settings.prefs_default = PREFS_NEVER;
    begin_with_rooms(&w);
    says(&w, "li@here", "1", "kept");
    message(&w, "far@there", "li@here", "2");
    settle(&w);
    assert_int_equal(of_room("body = 'kept'"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body IS NOT NULL"), 1);
    end_with_rooms(&w);
    settings.prefs_default = PREFS_ALWAYS;
}

/* Of her own message a member speaks as she or the room calls it, and a room of anybody's. */
static void a_message_is_taken_back_by_the_rooms_own_name_for_it(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        says(&w, "li@here", "1", "hers");
        told(&w, "mei@here", "1", "hers");
        says(&w, "li@here", "2", "moderated");
        told(&w, "mei@here", "2", "moderated");
        says(&w, "li@here", "3", "not his");
        told(&w, "mei@here", "3", "not his");
        if (way)
            settle_one_by_one(&w);
        said(&w, "li@here", "id='r1'",
             "<retract xmlns='urn:xmpp:message-retract:1' id='s1'/>");
        said(&w, "mei@here", "id='r3'",
             "<retract xmlns='urn:xmpp:message-retract:1' id='s3'/>");
        for (int i = 0; i < 3; i++)
            meaning(&w, EVENT_MODERATED, ROOM, "mei@here", "s2")->from_local = false;
        if (way)
            settle_one_by_one(&w);
        settle(&w);
        assert_int_equal(of_room("flags & (4 + 512) = 4 AND body IS NULL"
                                 " AND convert_from(stanza, 'UTF8') LIKE '%retracted%'"),
                         2);
        assert_int_equal(of_room("flags & 4 = 4"), 2);
        assert_int_equal(of_room("body = 'not his' AND flags = 512 + 16"), 1);
        assert_counts_are_right();
        end_with_rooms(&w);
    }
}

/* --- members ----------------------------------------------------------------------------- */

static void bond(struct world *w, enum event_kind kind, const char *member, enum event_bond by)
{
    add(w, kind, ROOM, member, "", "")->bond = by;
}

static void passes(struct world *w, const char *from, const char *id)
{
    says(w, from, id, id);
    told(w, from, id, id);
}

static int unread_in_rooms(struct world *w, const char *member)
{
    char sql[256];
    settle(w);
    assert_counts_are_right();
    snprintf(sql, sizeof sql,
             "SELECT coalesce(sum(o_unread), -1) FROM xs.account a, xs.rooms_unread(a.owner)"
             " WHERE a.jid = '%s'",
             member);
    return (int)db_int(sql);
}

static void unread_in_a_room_is_what_others_have_said_behind_the_position(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        passes(&w, "li@here", "0");
        bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
        bond(&w, EVENT_MEMBER, "li@here", BOND_AFFILIATION);
        passes(&w, "li@here", "1");
        passes(&w, "far@here", "2");
        passes(&w, "li@here", "3");
        says(&w, "li@here", "4", "refused");
        if (way)
            settle_one_by_one(&w);
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 3);
        assert_int_equal(unread_in_rooms(&w, "li@here"), 0); /* the last word was theirs */
        assert_int_equal(unread_in_rooms(&w, "far@here"), -1);
        passes(&w, "mei@here", "5");
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 0);
        assert_int_equal(unread_in_rooms(&w, "li@here"), 1);
        passes(&w, "li@here", "6");
        said(&w, "li@here", "id='r6'", "<retract xmlns='urn:xmpp:message-retract:1' id='6'/>");
        passes(&w, "li@here", "7");
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
        end_with_rooms(&w);
    }
}

static void what_a_member_has_displayed_moves_that_members_position(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
        bond(&w, EVENT_MEMBER, "li@here", BOND_SUBSCRIPTION);
        for (const char *ids = "12345"; *ids; ids++)
            passes(&w, "far@here", (char[]){*ids, 0});
        meaning(&w, EVENT_ROOM_MARKER, "mei@here", ROOM, "s2"); /* as the room calls it */
        meaning(&w, EVENT_ROOM_MARKER, "mei@here", ROOM, "s1");
        meaning(&w, EVENT_ROOM_MARKER, "mei@here", ROOM, "unknown");
        meaning(&w, EVENT_ROOM_MARKER, "far@here", ROOM, "s5"); /* no member */
        if (way)
            settle_one_by_one(&w);
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 3);
        assert_int_equal(unread_in_rooms(&w, "li@here"), 5);
        meaning(&w, EVENT_ROOM_MARKER, "mei@here", ROOM, "4"); /* as its sender does */
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
        assert_int_equal(db_int("SELECT count(*) FROM xs.conversation c JOIN xs.account a"
                                " USING (owner) WHERE a.jid = 'mei@here'"),
                         0);
        end_with_rooms(&w);
    }
}

static void what_comes_after_a_marker_is_not_meant_by_it_whatever_its_id(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin_with_rooms(&w);
        bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
        passes(&w, "far@here", "1");
        meaning(&w, EVENT_ROOM_MARKER, "mei@here", ROOM, "1");
        passes(&w, "li@here", "2");
        passes(&w, "li@here", "1");
        if (way)
            settle_one_by_one(&w);
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 2);
        end_with_rooms(&w);
    }
}

static void who_leaves_has_nothing_there_and_who_comes_back_begins_anew(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    passes(&w, "li@here", "1");
    bond(&w, EVENT_MEMBER, "mei@here", BOND_AFFILIATION); /* moves nothing */
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
    bond(&w, EVENT_NO_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
    bond(&w, EVENT_NO_MEMBER, "mei@here", BOND_AFFILIATION);
    assert_int_equal(unread_in_rooms(&w, "mei@here"), -1);
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 0);
    passes(&w, "li@here", "2");
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
    end_with_rooms(&w);
}

static bool is_waited(void *ctx)
{
    struct world *w = ctx;
    return w->waits_true + w->waits_false > 0;
}

static void on_waited(void *ctx, bool done)
{
    struct world *w = ctx;
    if (done)
        w->waits_true++;
    else
        w->waits_false++;
}

static void reading_a_conversation_or_all_of_them_reads_rooms(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    for (int all = 0; all < 3; all++) {
        struct timespec ts;
        clock_gettime(CLOCK_REALTIME, &ts);
        w.now_us = ts.tv_sec * SECOND + ts.tv_nsec / 1000;
        passes(&w, "li@here", all == 0 ? "1" : all == 1 ? "2" : "3");
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
        if (all == 2) {
            assert_int_equal(db_int("SELECT messages FROM xs.account a,"
                                    " xs.mark_all_read(a.owner) WHERE a.jid = 'mei@here'"),
                             1);
        } else {
            w.waits_true = w.waits_false = 0;
            ingest_mark_read(w.ing, "mei@here", all ? NULL : ROOM, db_now_ms() + 10000,
                             on_waited, &w);
            db_loop(w.base, is_waited, &w);
            w.waits_true = 0;
            ingest_wait(w.ing, ROOM, db_now_ms() + 10000, on_waited, &w);
            db_loop(w.base, is_waited, &w);
            assert_int_equal(w.waits_false, 0);
        }
        assert_int_equal(unread_in_rooms(&w, "mei@here"), 0);
    }
    end_with_rooms(&w);
}

static void rooms_are_shown_and_read_while_our_clock_is_hours_ahead(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    w.now_us = ts.tv_sec * SECOND + 3 * HOUR;
    passes(&w, "li@here", "1");
    settle_one_by_one(&w);
    assert_int_equal(of_room("flags = 512 + 16"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_stanza_id"), 1);
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
    clock_fake(clock_mono_ms(), w.now_us);
    ingest_mark_read(w.ing, "mei@here", NULL, db_now_ms() + 10000, on_waited, &w);
    clock_fake_off();
    db_loop(w.base, is_waited, &w);
    w.waits_true = 0;
    ingest_wait(w.ing, ROOM, db_now_ms() + 10000, on_waited, &w);
    db_loop(w.base, is_waited, &w);
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 0);
    passes(&w, "li@here", "2");
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 1);
    end_with_rooms(&w);
}

static void no_more_is_counted_than_anybody_wants_to_know(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    for (int i = 0; i < 1010; i++) {
        char id[16];
        snprintf(id, sizeof id, "n%d", i);
        passes(&w, "li@here", id);
    }
    assert_int_equal(unread_in_rooms(&w, "mei@here"), 1000);
    end_with_rooms(&w);
}

/* As unit/ingest has it for accounts. */
static void plans_that_were_made_for_empty_tables_hold_for_full_rooms(void **state)
{
    (void)state;
    struct world w;
    begin_with_rooms(&w);
    enum { N = 1000 };
    static char ids[N][16], marks[N][16];
    bond(&w, EVENT_MEMBER, "mei@here", BOND_SUBSCRIPTION);
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        snprintf(marks[i], sizeof marks[i], "s%d", i);
        says(&w, "li@here", ids[i], ids[i]);
        settle(&w);
        told(&w, "mei@here", ids[i], ids[i]);
        if (i % 50 == 49) {
            meaning(&w, EVENT_ROOM_MARKER, "mei@here", ROOM, marks[i - 5]);
            meaning(&w, EVENT_MODERATED, ROOM, "mei@here", marks[i - 1])->from_local = false;
        }
    }
    settle(&w);
    ingest_free(&w.ing);
    db_wait_sessions_gone();
    assert_int_equal(db_int("SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables"
                            " WHERE relname LIKE 'message%' OR relname LIKE 'room_%'"),
                     0);
    assert_true(db_int("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
                       " WHERE schemaname = 'xs'") < 20 * N);
    start(&w);
    db_loop(w.base, is_ready, &w);
    end_with_rooms(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_room_owns_one_row_and_its_members_none),
        cmocka_unit_test(what_is_said_shows_when_the_room_has_told_of_it),
        cmocka_unit_test(a_room_may_have_told_of_it_before_it_is_shown),
        cmocka_unit_test(what_a_room_has_told_of_is_pushed_when_its_batch_is_tried_in_parts),
        cmocka_unit_test(a_room_of_many_costs_one_write),
        cmocka_unit_test(two_may_say_the_same_by_the_same_id),
        cmocka_unit_test(what_a_room_refuses_is_hidden_and_only_its_sender_takes_it_back),
        cmocka_unit_test(what_is_no_message_of_a_room_is_not_kept),
        cmocka_unit_test(what_only_a_room_may_say_is_taken_off),
        cmocka_unit_test(preferences_of_accounts_say_nothing_of_rooms),
        cmocka_unit_test(unread_in_a_room_is_what_others_have_said_behind_the_position),
        cmocka_unit_test(what_a_member_has_displayed_moves_that_members_position),
        cmocka_unit_test(what_comes_after_a_marker_is_not_meant_by_it_whatever_its_id),
        cmocka_unit_test(who_leaves_has_nothing_there_and_who_comes_back_begins_anew),
        cmocka_unit_test(reading_a_conversation_or_all_of_them_reads_rooms),
        cmocka_unit_test(a_message_is_taken_back_by_the_rooms_own_name_for_it),
        cmocka_unit_test(plans_that_were_made_for_empty_tables_hold_for_full_rooms),
        cmocka_unit_test(rooms_are_shown_and_read_while_our_clock_is_hours_ahead),
        cmocka_unit_test(no_more_is_counted_than_anybody_wants_to_know),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
