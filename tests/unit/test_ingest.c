// SPDX-License-Identifier: Apache-2.0
#include "archive/ingest.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ingest_world.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>

/* --- scenarios ----------------------------------------------------------------------------
 */

static void a_message_is_a_row_for_each_local_side_and_counts_where_it_comes_in(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    message(&w, "li@here", "mei@here", "2");
    message(&w, "far@there", "mei@here", "3");
    message(&w, "mei@here", "far@there", "4");
    settle(&w);
    assert_counts_are_right();
    assert_int_equal(rows(), 6);
    assert_int_equal(unread_of("mei@here", "li@here"), 2);
    assert_int_equal(unread_of("li@here", "mei@here"), 0);
    assert_int_equal(unread_of("mei@here", "far@there"), 0); /* her answer read it */
    assert_int_equal(total_of("mei@here"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.account"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.account WHERE proven"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body LIKE 'text %'"
                            " AND convert_from(stanza, 'UTF8') LIKE '<message%'"),
                     6);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_int_equal(st.rows, 6);
    assert_int_equal(st.queue_rows, 0);
    assert_int_equal(st.queue_bytes, 0);
    assert_true(st.up);
    end(&w);
}

static void copies_are_stored_once_in_one_batch_or_in_two(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin(&w);
        for (int i = 0; i < 3; i++)
            message(&w, "li@here", "mei@here", "1");
        w.now_us += 59 * MINUTE;
        message(&w, "li@here", "mei@here", "1");
        if (way)
            settle_one_by_one(&w);
        assert_unread(&w, "mei@here", "li@here", 1);
        assert_int_equal(rows(), 2);
        struct ingest_stats st;
        ingest_get_stats(w.ing, &st);
        assert_int_equal(st.duplicates, 6);
        /* More than an hour later it is another message with a used id. */
        w.now_us += HOUR + SECOND;
        message(&w, "li@here", "mei@here", "1");
        assert_unread(&w, "mei@here", "li@here", 2);
        /* The same id with other content is always another one. */
        add(&w, EVENT_MESSAGE, "li@here", "mei@here", " id='1'", "<body>other</body>");
        assert_unread(&w, "mei@here", "li@here", 3);
        end(&w);
    }
}

static void without_ids_three_seconds_tell_copies_from_repeats(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin(&w);
        add(&w, EVENT_MESSAGE, "li@here", "mei@here", "", "<body>ok</body>");
        add(&w, EVENT_MESSAGE, "li@here", "mei@here", "", "<body>ok</body>");
        w.now_us += 5 * SECOND;
        add(&w, EVENT_MESSAGE, "li@here", "mei@here", "", "<body>ok</body>");
        if (way)
            settle_one_by_one(&w);
        assert_unread(&w, "mei@here", "li@here", 2);
        /* Late deliveries of both, and of one that we never saw, twice. */
        int64_t first = w.lines[0].ev.received_us, third = w.lines[2].ev.received_us;
        w.now_us += 2 * DAY;
        int64_t stamps[] = {first, third, third + DAY, third + DAY};
        for (int i = 0; i < 4; i++)
            add(&w, EVENT_MESSAGE, "li@here", "mei@here", "", "<body>ok</body>")->delayed_us =
                stamps[i];
        if (way)
            settle_one_by_one(&w);
        assert_unread(&w, "mei@here", "li@here", 3);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 64 = 64"
                                " AND sent_at IS NOT NULL"),
                         2);
        end(&w);
    }
}

static void a_late_delivery_of_what_was_archived_is_no_second_row(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    settle(&w);
    int64_t sent = w.lines[0].ev.received_us;
    w.now_us += 10 * DAY;
    message(&w, "li@here", "mei@here", "1")->delayed_us = sent;
    /* From far away only the late copy is ever seen: it counts, at the time it came. */
    message(&w, "far@there", "mei@here", "2")->delayed_us = sent;
    message(&w, "far@there", "mei@here", "2")->delayed_us = sent;
    settle(&w);
    assert_counts_are_right();
    assert_int_equal(rows(), 3);
    assert_int_equal(unread_of("mei@here", "far@there"), 1);
    assert_int_equal(unread_of("mei@here", "li@here"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message m WHERE flags & 64 = 64 AND"
                            " id >= xs.id_from_time(sent_at + interval '9 days')"),
                     1);
    end(&w);
}

static int64_t told_us;

static void keep_time(struct world *w, struct pg *conn)
{
    (void)conn;
    for (size_t i = 0; i < w->changes_n; i++)
        if (w->changes[i].counted)
            told_us = w->changes[i].received_us;
}

static void what_was_asked_for_is_as_old_as_when_it_passed(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.in_batch = keep_time;
    int64_t passed = w.now_us - DAY;
    struct event *ev = message(&w, "far@there", "mei@here", "1");
    ev->delayed_us = ev->passed_us = passed;
    settle(&w);
    assert_true(told_us == passed);
    /* Beside a new one it is the new one that is told of, whichever comes first. */
    int64_t now = w.now_us;
    message(&w, "far@there", "mei@here", "2");
    ev = message(&w, "far@there", "mei@here", "3");
    ev->delayed_us = ev->passed_us = passed;
    settle(&w);
    assert_true(told_us == now);
    assert_int_equal(unread_of("mei@here", "far@there"), 3);
    end(&w);
}

static void a_marker_reads_up_to_its_message_and_never_back(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin(&w);
        message(&w, "li@here", "mei@here", "1");
        message(&w, "li@here", "mei@here", "2");
        message(&w, "li@here", "mei@here", "3");
        if (way)
            settle_one_by_one(&w);
        meaning(&w, EVENT_MARKER, "mei@here", "li@here", "2");
        assert_unread(&w, "mei@here", "li@here", 1);
        meaning(&w, EVENT_MARKER, "mei@here", "li@here", "1");
        meaning(&w, EVENT_MARKER, "mei@here", "li@here", "unknown");
        meaning(&w, EVENT_MARKER, "li@here", "mei@here", "3"); /* not the owner's */
        assert_unread(&w, "mei@here", "li@here", 1);
        assert_int_equal(unread_of("li@here", "mei@here"), 0);
        message(&w, "li@here", "mei@here", "4");
        meaning(&w, EVENT_MARKER, "mei@here", "li@here", "3");
        assert_unread(&w, "mei@here", "li@here", 1);
        meaning(&w, EVENT_MARKER, "mei@here", "li@here", "4");
        assert_unread(&w, "mei@here", "li@here", 0);
        assert_true(w.lowered);
        assert_int_equal(db_int("SELECT count(*) FROM xs.conversation WHERE peer_read_id > 0"),
                         1);
        end(&w);
    }
}

/* As its owner's archive calls the row. */
static const char *archive_id(struct world *w, const char *owner, const char *body)
{
    static char id[ARCHIVE_ID_BYTES];
    char sql[256];
    uint8_t raw[OWNER_BYTES];
    snprintf(sql, sizeof sql,
             "SELECT m.id FROM xs.message m JOIN xs.account a USING (owner)"
             " WHERE a.jid = '%s' AND m.body = '%s'",
             owner, body);
    ident_owner(ingest_ident(w->ing), owner, raw);
    ident_archive_id(ingest_ident(w->ing), raw, db_int(sql), id);
    return id;
}

static void what_was_displayed_is_read_up_to_the_named_row(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    for (int i = 1; i <= 4; i++)
        message(&w, "li@here", "mei@here", (const char *[]){"1", "2", "3", "4"}[i - 1]);
    message(&w, "wang@here", "mei@here", "5");
    settle(&w);
    char second[ARCHIVE_ID_BYTES], third[ARCHIVE_ID_BYTES], fourth[ARCHIVE_ID_BYTES],
        other[ARCHIVE_ID_BYTES], foreign[ARCHIVE_ID_BYTES];
    strcpy(second, archive_id(&w, "mei@here", "text 2"));
    strcpy(third, archive_id(&w, "mei@here", "text 3"));
    strcpy(fourth, archive_id(&w, "mei@here", "text 4"));
    strcpy(other, archive_id(&w, "mei@here", "text 5"));
    strcpy(foreign, archive_id(&w, "li@here", "text 4"));
    meaning(&w, EVENT_DISPLAYED, "mei@here", "li@here", third);
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_true(w.lowered);
    /* Older, of another chat, of another archive, of a chat that is not there. */
    meaning(&w, EVENT_DISPLAYED, "mei@here", "li@here", second);
    meaning(&w, EVENT_DISPLAYED, "mei@here", "li@here", other);
    meaning(&w, EVENT_DISPLAYED, "mei@here", "li@here", foreign);
    meaning(&w, EVENT_DISPLAYED, "mei@here", "nobody@there", fourth);
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_int_equal(unread_of("mei@here", "wang@here"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.conversation WHERE jid LIKE 'nobody%'"),
                     0);
    /* Together with a marker and a new row; both orders. */
    message(&w, "li@here", "mei@here", "6");
    meaning(&w, EVENT_DISPLAYED, "mei@here", "li@here", fourth);
    meaning(&w, EVENT_MARKER, "mei@here", "li@here", "3");
    assert_unread(&w, "mei@here", "li@here", 1);
    /* An own row is a place like any other. */
    settings.own_message_reads = false;
    message(&w, "mei@here", "li@here", "7");
    assert_unread(&w, "mei@here", "li@here", 1);
    settings.own_message_reads = true;
    strcpy(second, archive_id(&w, "mei@here", "text 7"));
    meaning(&w, EVENT_DISPLAYED, "mei@here", "li@here", second);
    assert_unread(&w, "mei@here", "li@here", 0);
    assert_int_equal(total_of("mei@here"), 1);
    end(&w);
}

static void a_marker_before_its_message_waits_seven_days(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    meaning(&w, EVENT_MARKER, "mei@here", "li@here", "2");
    settle(&w);
    message(&w, "li@here", "mei@here", "1");
    assert_unread(&w, "mei@here", "li@here", 1);
    w.now_us += 6 * DAY;
    message(&w, "li@here", "mei@here", "2");
    message(&w, "li@here", "mei@here", "3");
    assert_unread(&w, "mei@here", "li@here", 1);
    meaning(&w, EVENT_MARKER, "mei@here", "li@here", "4");
    settle(&w);
    w.now_us += 8 * DAY;
    message(&w, "li@here", "mei@here", "4");
    assert_unread(&w, "mei@here", "li@here", 2);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.conversation WHERE pending_ref IS NOT NULL"), 0);
    end(&w);
}

static void bounces_and_retractions_take_a_message_off_once(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin(&w);
        message(&w, "li@here", "mei@here", "1");
        message(&w, "li@here", "mei@here", "2");
        message(&w, "li@here", "mei@here", "3");
        if (way)
            settle_one_by_one(&w);
        meaning(&w, EVENT_BOUNCE, "mei@here", "li@here", "1");
        meaning(&w, EVENT_BOUNCE, "mei@here", "li@here", "1");
        retraction(&w, "li@here", "mei@here", "r2", "2");
        retraction(&w, "mei@here", "li@here", "r3", "3"); /* not hers to take back */
        if (way == 1)
            settle_one_by_one(&w);
        assert_unread(&w, "mei@here", "li@here", 1);
        retraction(&w, "li@here", "mei@here", "r1", "1");
        assert_unread(&w, "mei@here", "li@here", 1);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 32 = 32"), 1);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 4 = 4"), 4);
        assert_int_equal(rows(), 12);
        /* Of a message that was read already nothing is taken off. */
        meaning(&w, EVENT_MARKER, "mei@here", "li@here", "3");
        retraction(&w, "li@here", "mei@here", "r3", "3");
        assert_unread(&w, "mei@here", "li@here", 0);
        end(&w);
    }
}

/* It was in a gap when it was said, and is fetched or delivered later. */
static void what_comes_late_may_have_been_taken_back_before(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct world w;
        begin(&w);
        int64_t sent = w.now_us;
        retraction(&w, "far@there", "mei@here", "r1", "1");
        retraction(&w, "mei@here", "far@there", "r2", "2");
        retraction(&w, "other@there", "mei@here", "r3",
                   "3"); /* not the sender's to take back */
        add(&w, EVENT_MESSAGE, "far@there", "mei@here", "",
            "<retract xmlns='urn:xmpp:message-retract:1' id='4'/>");
        for (int again = 0; again < 2; again++)
            retraction(&w, "far@there", "mei@here", "r1", "1");
        settle(&w);
        assert_int_equal(db_int("SELECT count(*) FROM xs.retraction_early"), 4);
        if (way)
            restart(&w);
        w.now_us += 20 * DAY - HOUR;
        message(&w, "far@there", "mei@here", "1")->delayed_us = sent;
        message(&w, "mei@here", "far@there", "2")->delayed_us = sent;
        message(&w, "far@there", "mei@here", "3")->delayed_us = sent;
        message(&w, "far@there", "mei@here", "4")->delayed_us = sent;
        message(&w, "far@there", "mei@here", "1")->delayed_us = sent;
        assert_unread(&w, "mei@here", "far@there", 1);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 4 = 4"
                                " AND body IS NULL AND flags & 64 = 64"
                                " AND convert_from(stanza, 'UTF8') LIKE '%<retracted %'"),
                         3);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 4 = 4"
                                " AND convert_from(stanza, 'UTF8') LIKE '%id=\"r1\"%'"),
                         1);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body = 'text 3'"), 1);
        end(&w);
    }
}

static void the_first_retraction_is_named_though_another_comes_with_the_message(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    int64_t sent = w.now_us;
    retraction(&w, "far@there", "mei@here", "r1", "1");
    settle(&w);
    w.now_us += HOUR;
    message(&w, "far@there", "mei@here", "1")->delayed_us = sent;
    retraction(&w, "far@there", "mei@here", "r2", "1");
    settle(&w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 4 = 4"
                            " AND convert_from(stanza, 'UTF8') LIKE '%id=\"r1\"%'"),
                     1);
    end(&w);
}

static void what_was_sent_after_a_retraction_is_not_meant_by_it(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct world w;
        begin(&w);
        retraction(&w, "far@there", "mei@here", "r1", "1"); /* of what is not kept anywhere */
        meaning(&w, EVENT_BOUNCE, "mei@here", "far@there", "1");
        if (way)
            settle(&w);
        w.now_us += 2 * DAY; /* some count their messages anew */
        struct event *ev = message(&w, "far@there", "mei@here", "1");
        if (way < 2)
            ev->delayed_us = w.now_us - HOUR;
        assert_unread(&w, "mei@here", "far@there", 1);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body = 'text 1'"), 1);
        end(&w);
    }
}

static void what_nothing_came_for_is_forgotten_after_thirty_days(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    db_do(
        "INSERT INTO xs.retraction_early (ref_id, at)"
        " SELECT gen_random_uuid(), now() - interval '31 days' FROM generate_series(1, 150)");
    retraction(&w, "far@there", "mei@here", "r1", "1");
    settle(&w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.retraction_early"), 51);
    retraction(&w, "far@there", "mei@here", "r2", "2");
    settle(&w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.retraction_early"), 2);
    end(&w);
}

static void a_refusal_may_come_before_its_message(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    meaning(&w, EVENT_BOUNCE, "mei@here", "li@here", "1");
    meaning(&w, EVENT_BOUNCE, "mei@here", "li@here", "2");
    settle(&w);
    message(&w, "li@here", "mei@here", "1");
    message(&w, "li@here", "mei@here", "3");
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 32 = 32"), 1);
    /* Not for ever: an id may come again. */
    w.now_us += 11 * SECOND;
    message(&w, "li@here", "mei@here", "2");
    assert_unread(&w, "mei@here", "li@here", 2);
    end(&w);
}

/* Batches of one lane go by either connection, as it comes. */
static void a_refusal_is_known_on_whichever_connection_its_message_is_written(void **state)
{
    (void)state;
    struct world w;
    char ids[8][16], mei[8][32], others[100][32]; /* the world borrows them */
    begin(&w);
    for (int k = 0; k < 100; k++)
        snprintf(others[k], sizeof others[k], "user%d@here", k);
    for (int i = 0; i < 8; i++) {
        snprintf(ids[i], sizeof ids[i], "m%d", i);
        snprintf(mei[i], sizeof mei[i], "mei%d@here", i);
        meaning(&w, EVENT_BOUNCE, mei[i], "li@here", ids[i]);
        settle(&w);
        for (int k = 0; k < 100; k++) /* so much that both connections are needed */
            message(&w, "kim@far", others[k], ids[i]);
        message(&w, "li@here", mei[i], ids[i]);
        assert_unread(&w, mei[i], "li@here", 0);
    }
    end(&w);
}

static void what_did_not_get_through_is_told_once_more(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    settle(&w);
    w.undelivered = true;
    message(&w, "li@here", "mei@here", "1");
    settle(&w);
    assert_int_equal(w.told_undelivered, 1);
    assert_unread(&w, "mei@here", "li@here", 1);
    w.undelivered = false;
    meaning(&w, EVENT_MARKER, "mei@here", "li@here", "1");
    settle(&w);
    w.undelivered = true;
    message(&w, "li@here", "mei@here", "1");
    settle(&w);
    assert_int_equal(w.told_undelivered, 1); /* it has been read since */
    end(&w);
}

static void what_is_not_for_reading_does_not_count(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    add(&w, EVENT_MESSAGE, "li@here", "mei@here", " id='2'",
        "<body>b</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>");
    add(&w, EVENT_MESSAGE, "li@here", "mei@here", " id='3'",
        "<reactions xmlns='urn:xmpp:reactions:0' id='1'/><store xmlns='urn:xmpp:hints'/>");
    message(&w, "mei@here", "mei@here", "4");
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_int_equal(rows(), 7);
    assert_int_equal(total_of("mei@here"), 1);
    end(&w);
}

static void own_messages_read_when_the_setting_says_so(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    settings.own_message_reads = false;
    message(&w, "li@here", "mei@here", "1");
    message(&w, "mei@here", "li@here", "2");
    assert_unread(&w, "mei@here", "li@here", 1);
    settings.own_message_reads = true;
    message(&w, "mei@here", "li@here", "3");
    message(&w, "li@here", "mei@here", "4");
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_int_equal(unread_of("li@here", "mei@here"), 0);
    end(&w);
}

static void on_wait(void *ctx, bool done)
{
    struct world *w = ctx;
    if (done)
        w->waits_true++;
    else
        w->waits_false++;
}

static bool waits_over(void *ctx)
{
    struct world *w = ctx;
    return w->waits_true + w->waits_false >= 2;
}

static void reading_everything_goes_through_the_lane_like_any_write(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    message(&w, "wang@here", "mei@here", "2");
    settle(&w);
    message(&w, "far@there", "mei@here", "3");
    offer_up_to(&w, w.n);
    ingest_mark_read(w.ing, "mei@here", "li@here", db_now_ms() + 9000, on_wait, &w);
    ingest_wait(w.ing, "mei@here", db_now_ms() + 9000, on_wait, &w);
    assert_int_equal(w.waits_true, 0);
    db_loop(w.base, waits_over, &w);
    assert_int_equal(w.waits_true, 2);
    assert_counts_are_right();
    assert_int_equal(total_of("mei@here"), 2);
    w.waits_true = 0;
    message(&w, "far@there", "mei@here", "4");
    offer_up_to(&w, w.n);
    ingest_mark_read(w.ing, "mei@here", NULL, db_now_ms() + 9000, on_wait, &w);
    message(&w, "far@there", "mei@here", "5");
    offer_up_to(&w, w.n);
    ingest_wait(w.ing, "nobody@here", db_now_ms() + 9000, on_wait, &w);
    db_loop(w.base, waits_over, &w);
    assert_unread(&w, "mei@here", "far@there", 1);
    assert_int_equal(total_of("mei@here"), 1);
    assert_int_equal(w.waits_false, 0);
    end(&w);
}

static void a_wait_ends_at_its_deadline_while_postgres_is_away(void **state)
{
    (void)state;
    struct world w = {.base = event_base_new(), .url = "postgresql:///x?host=/nonexistent"};
    start(&w);
    ingest_wait(w.ing, "mei@here", db_now_ms() + 9000, on_wait, &w);
    ingest_mark_read(w.ing, "mei@here", NULL, db_now_ms() + 9000, on_wait, &w);
    db_loop(w.base, waits_over, &w);
    assert_int_equal(w.waits_false, 2);
    assert_int_equal(w.down, 1);
    end(&w);

    begin(&w);
    db_do("ALTER TABLE xs.lane RENAME TO lane_away");
    message(&w, "li@here", "mei@here", "1");
    offer_up_to(&w, 1);
    ingest_wait(w.ing, "mei@here", db_now_ms() + 100, on_wait, &w);
    ingest_wait(w.ing, "mei@here", db_now_ms() + 9000, on_wait, &w);
    int64_t before = db_now_ms();
    while (db_now_ms() < before + 300)
        event_base_loop(w.base, EVLOOP_NONBLOCK);
    assert_int_equal(w.waits_false, 1);
    assert_true(w.down >= 1); /* told again when the reason changes */
    db_do("ALTER TABLE xs.lane_away RENAME TO lane");
    db_loop(w.base, waits_over, &w);
    assert_int_equal(w.waits_true, 1);
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_true(w.up >= 2); /* once more when the other connection came up in between */
    end(&w);
}

static void a_new_worker_goes_on_where_the_last_one_committed(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        message(&w, i % 2 ? "li@here" : "wang@here", "mei@here", id);
    }
    settle(&w);
    restart(&w);
    assert_true(w.cursor <= 50);
    settle(&w);
    assert_int_equal(rows(), 100);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_int_equal(st.duplicates, 0); /* the place told it, not a look at the rows */
    end(&w);
}

static bool places_followed(void *ctx)
{
    (void)ctx;
    return db_int("SELECT min(pos) FROM xs.spool_position") == 200;
}

static void idle_lanes_follow_the_reader(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    message(&w, "li@here", "mei@here", "2");
    settle(&w);
    db_loop(w.base, places_followed, &w);
    assert_counts_are_right();
    end(&w);
}

static void a_full_queue_takes_nothing_until_there_is_room(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    ingest_free(&w.ing);
    w.rows_max = 10;
    start(&w);
    db_loop(w.base, is_ready, &w);
    char ids[100][16];
    for (int i = 0; i < 100; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&w, "li@here", "mei@here", ids[i]);
    }
    offer_up_to(&w, 100);
    assert_true(w.cursor >= 4 && w.cursor < 10);
    assert_unread(&w, "mei@here", "li@here", 100);
    assert_int_equal(rows(), 200);
    end(&w);
}

/* --- what goes wrong ------------------------------------------------------------------------
 */

static void a_stanza_that_postgres_refuses_is_put_aside_alone(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    db_do("ALTER TABLE xs.message ADD CONSTRAINT poison CHECK (body NOT LIKE '%poison')");
    char ids[60][16];
    for (int i = 0; i < 60; i++) {
        snprintf(ids[i], sizeof ids[i], i == 23 ? "poison" : "%d", i);
        message(&w, "li@here", "mei@here", ids[i]);
    }
    /* The row of the sender is as bad as that of the recipient: each lane puts its own aside,
     * but it is the same stanza. */
    assert_unread(&w, "mei@here", "li@here", 59);
    assert_int_equal(rows(), 118);
    assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine WHERE pos = 2300"
                            " AND reason LIKE '23514%' AND length(bytes) > 20"),
                     1);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_true(st.quarantined == 1 || st.quarantined == 2);
    end(&w);
}

/* PostgreSQL speaks its administrator's language. */
static void what_is_refused_in_a_long_sentence_of_any_language_is_put_aside(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    db_do("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
          " RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = repeat('约', 90); END $$");
    db_do("CREATE TRIGGER refuse BEFORE INSERT ON xs.message FOR EACH ROW"
          " WHEN (NEW.body LIKE '%poison') EXECUTE FUNCTION public.refuse()");
    message(&w, "far@there", "mei@here", "poison");
    message(&w, "far@there", "mei@here", "1");
    assert_unread(&w, "mei@here", "far@there", 1);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.quarantine WHERE reason ~ '^22000: 约{40,}$'"), 1);
    end(&w);
}

/* As a disk that takes 30 s for so many: with fewer it goes on. */
static void what_takes_too_long_at_once_is_written_in_parts(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    db_do("CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
          " IF (SELECT count(*) FROM added) > 10 THEN"
          "  RAISE EXCEPTION USING ERRCODE = '57014', MESSAGE = 'too slow'; END IF;"
          " RETURN NULL; END $$");
    db_do("CREATE TRIGGER slow AFTER INSERT ON xs.message REFERENCING NEW TABLE AS added"
          " FOR EACH STATEMENT EXECUTE FUNCTION public.slow()");
    char ids[50][16];
    for (int i = 0; i < 50; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&w, "far@there", "mei@here", ids[i]);
    }
    assert_unread(&w, "mei@here", "far@there", 50);
    assert_int_equal(rows(), 50);
    assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine"), 0);
    end(&w);
}

/* The batch is halved until the bad one is found: a row and what takes it back are in the same
 * one first, and then in two. */
static void what_is_taken_back_leaves_no_text_when_its_batch_is_tried_in_parts(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    db_do("ALTER TABLE xs.message ADD CONSTRAINT poison CHECK (body NOT LIKE '%poison')");
    message(&w, "far@there", "mei@here", "1");
    message(&w, "far@there", "mei@here", "2");
    message(&w, "far@there", "mei@here", "3");
    message(&w, "far@there", "mei@here", "poison");
    retraction(&w, "far@there", "mei@here", "r1", "1");
    meaning(&w, EVENT_BOUNCE, "mei@here", "far@there", "2");
    assert_unread(&w, "mei@here", "far@there", 1);
    assert_int_equal(rows(), 4);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body = 'text 1'"), 0);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.message WHERE flags = 4 AND body IS NULL"
               " AND convert_from(stanza, 'UTF8') LIKE '%<retracted %id=\"r1\"%'"),
        1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags = 32"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine"), 1);
    end(&w);
}

static const struct pg_statement bad_push = {"bad_push", "SELECT 1 / (random() * 0)::int"};

static void break_the_batch(struct world *w, struct pg *conn)
{
    if (w->open_counted > 0)
        pg_send(conn, &bad_push, NULL, NULL, NULL);
}

static void what_a_hook_breaks_is_archived_without_it(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.in_batch = break_the_batch;
    char ids[8][16];
    for (int i = 0; i < 8; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&w, "li@here", "mei@here", ids[i]);
    }
    assert_unread(&w, "mei@here", "li@here", 8);
    assert_int_equal(w.committed, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine"), 0);
    end(&w);
}

static void a_missing_partition_is_made(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.now_us -= 400 * DAY;
    message(&w, "li@here", "mei@here", "1");
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine"), 0);
    end(&w);
}

static void a_clock_that_is_ahead_does_not_run_away_with_the_ids(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.now_us += 60 * DAY;
    message(&w, "li@here", "mei@here", "1");
    message(&w, "li@here", "mei@here", "2");
    assert_unread(&w, "mei@here", "li@here", 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"
                            " WHERE id > xs.id_from_time(now() + interval '3 s')"),
                     0);
    end(&w);
}

static void copies_are_known_while_our_clock_is_hours_ahead(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.now_us += 20 * DAY; /* the present */
    message(&w, "li@here", "mei@here", "1");
    assert_unread(&w, "mei@here", "li@here", 1);
    w.now_us += 3 * HOUR;
    for (int copy = 0; copy < 3; copy++) { /* each in a batch of its own */
        message(&w, "li@here", "mei@here", "1");
        message(&w, "li@here", "mei@here", "2");
        assert_unread(&w, "mei@here", "li@here", 2);
    }
    assert_int_equal(rows(), 4);
    end(&w);
}

static void another_worker_on_the_same_spool_loses_nothing_and_doubles_nothing(void **state)
{
    (void)state;
    struct world a, b;
    begin(&a);
    b = a;
    b.lines = NULL;
    b.cap = b.n = 0;
    b.base = event_base_new();
    b.now_us = a.now_us;
    start(&b);
    db_loop(b.base, is_ready, &b);
    static char ids[40][16];
    for (int i = 0; i < 40; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&a, "li@here", "mei@here", ids[i]);
        message(&b, "li@here", "mei@here", ids[i]);
    }
    offer_up_to(&a, 20);
    settle(&b);
    settle(&a);
    assert_counts_are_right();
    assert_int_equal(rows(), 80);
    assert_int_equal(unread_of("mei@here", "li@here"), 40);
    a.batches = a.ended; /* only b's and a's own ends are compared below */
    end(&b);
    end(&a);
}

static bool nothing_waits(void *ctx)
{
    struct ingest_stats stats;
    ingest_get_stats(((struct world *)ctx)->ing, &stats);
    return stats.queue_rows == 0;
}

static void a_queue_that_another_worker_has_emptied_has_room_again(void **state)
{
    (void)state;
    struct world a, b;
    static char ids[20][16];
    begin(&a);
    ingest_free(&a.ing);
    b = a;
    b.base = event_base_new();
    a.rows_max = 4;
    start(&a);
    start(&b);
    db_loop(a.base, is_ready, &a);
    db_loop(b.base, is_ready, &b);
    for (int i = 0; i < 20; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&a, "li@here", "mei@here", ids[i]);
        message(&b, "li@here", "mei@here", ids[i]);
    }
    offer_up_to(&a, 20);
    assert_true(a.cursor < 20); /* it is full, and waits to be told */
    settle(&b);
    unsigned told = a.progress;
    db_loop(a.base, nothing_waits, &a);
    assert_true(a.progress > told);
    settle(&a);
    assert_int_equal(rows(), 40);
    a.batches = a.ended;
    end(&b);
    end(&a);
}

/* Each knows what itself has stored lately, and must not take that for all there is. */
static void what_another_sidecar_has_stored_is_not_stored_again(void **state)
{
    (void)state;
    struct world a, b;
    begin(&a);
    b = a;
    b.lines = NULL;
    b.cap = b.n = 0;
    b.other_spool = true;
    b.base = event_base_new();
    start(&b);
    db_loop(b.base, is_ready, &b);
    static char ids[60][16];
    for (int i = 0; i < 60; i++) {
        struct world *first = i % 3 ? &a : &b, *then = i % 2 ? &a : &b;
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(first, "li@here", "mei@here", ids[i]);
        settle(first);
        message(then, "li@here", "mei@here", ids[i]);
        message(then, "li@here", "mei@here", i ? ids[i - 1] : ids[i]);
        settle(then);
        assert_int_equal(rows(), 2 * (i + 1));
    }
    assert_counts_are_right();
    assert_int_equal(unread_of("mei@here", "li@here"), 60);
    end(&b);
    end(&a);
}

static bool has_two_rows(void *ctx)
{
    offer_up_to(ctx, ((struct world *)ctx)->n);
    return rows() == 2;
}

static void a_lane_that_is_held_up_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    /* Mei's lane is taken by somebody; two others in another lane write to each other. */
    uint8_t owner[OWNER_BYTES];
    char names[64][32], sql[128];
    const char *free_ones[2];
    int n = 0;
    ident_owner(ingest_ident(w.ing), "mei@here", owner);
    unsigned held = ident_lane(ingest_ident(w.ing), owner);
    for (int i = 0; i < 64 && n < 2; i++) {
        snprintf(names[i], sizeof names[i], "user%d@here", i);
        ident_owner(ingest_ident(w.ing), names[i], owner);
        if (ident_lane(ingest_ident(w.ing), owner) != held)
            free_ones[n++] = names[i];
    }
    assert_int_equal(n, 2);
    snprintf(sql, sizeof sql, "SELECT FROM xs.lane WHERE lane = %u FOR UPDATE", held);
    db_do("BEGIN");
    db_do(sql);
    message(&w, "far@there", "mei@here", "1");
    message(&w, free_ones[0], free_ones[1], "2");
    db_loop(w.base, has_two_rows, &w);
    db_do("COMMIT");
    settle(&w);
    assert_counts_are_right();
    assert_int_equal(rows(), 3);
    end(&w);
}

static void end_all_sessions(struct world *w, struct pg *conn)
{
    (void)conn;
    w->in_batch = NULL;
    db_end_sessions();
}

static void a_session_that_ends_inside_a_batch_is_as_if_it_never_was(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.in_batch = end_all_sessions;
    message(&w, "li@here", "mei@here", "1");
    assert_unread(&w, "mei@here", "li@here", 1);
    assert_int_equal(rows(), 2);
    assert_int_equal(w.committed, 1);
    assert_true(w.batches >= 2);
    end(&w);
}

static bool has_lost(void *ctx)
{
    struct world *w = ctx;
    offer_up_to(w, w->n);
    return w->lost > 0;
}

/* A standby that was behind has taken its place. */
static void what_postgres_has_lost_is_read_again(void **state)
{
    (void)state;
    for (int behind = 0; behind < 2; behind++) {
        struct world w;
        begin(&w);
        message(&w, "li@here", "mei@here", "1");
        message(&w, "far@there", "mei@here", "2");
        settle(&w);
        db_do("TRUNCATE xs.message, xs.conversation, xs.account");
        db_do("UPDATE xs.lane SET last_id = 0");
        if (behind)
            db_do("UPDATE xs.spool_position SET pos = 0");
        else /* it has never heard of this spool */
            db_do("DELETE FROM xs.spool_position");
        message(&w, "li@here", "mei@here", "3");
        db_loop(w.base, has_lost, &w);
        message(&w, "li@here", "mei@here", "4");
        offer_up_to(&w, w.n);
        assert_int_equal(rows(), 0);
        assert_int_equal(w.lost, 1);
        assert_int_equal(ingest_start_position(w.ing, 0), 0);
        assert_true(w.cursor < 4);
        restart(&w);
        assert_int_equal(w.cursor, 0);
        assert_unread(&w, "mei@here", "li@here", 3);
        assert_int_equal(rows(), 7);
        assert_int_equal(w.lost, 1);
        end(&w);
    }
}

/* The plans are made while the tables are empty and used while they grow: none may read more
 * of an owner's rows than the batch is about. */
static void plans_that_were_made_for_empty_tables_hold_for_full_ones(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    enum { N = 3000 };
    static char ids[N][16];
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&w, "far@there", "mei@here", ids[i]);
        if (i % 100 == 99) {
            meaning(&w, EVENT_MARKER, "mei@here", "far@there", ids[i - 50]);
            meaning(&w, EVENT_BOUNCE, "mei@here", "far@there", ids[i - 3]);
            settle(&w);
        }
    }
    settle(&w);
    ingest_free(&w.ing); /* a session's numbers are complete when it has ended */
    db_wait_sessions_gone();
    assert_true(db_int("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
                       " WHERE schemaname = 'xs'") < 10 * N);
    assert_int_equal(db_int("SELECT sum(seq_tup_read) FROM pg_stat_user_tables"
                            " WHERE relname LIKE 'message%'"),
                     0);
    start(&w);
    db_loop(w.base, is_ready, &w);
    assert_counts_are_right();
    end(&w);
}

/* --- a wire that loses the answer to COMMIT
 * -------------------------------------------------- */

struct wire {
    struct event_base *base;
    struct evconnlistener *listener;
    char folder[64];
    char server[256];
    int lose; /* so many more COMMITs */
    int lost;
};

struct link {
    struct wire *wire;
    struct bufferevent *client;
    struct bufferevent *server;
    bool losing;
};

static void link_free(struct link *l)
{
    bufferevent_free(l->client);
    bufferevent_free(l->server);
    free(l);
}

static void from_client(struct bufferevent *b, void *ctx)
{
    struct link *l = ctx;
    struct evbuffer *in = bufferevent_get_input(b);
    if (l->wire->lose > 0 && evbuffer_search(in, "COMMIT", 6, NULL).pos >= 0) {
        l->wire->lose--;
        l->losing = true;
    }
    evbuffer_add_buffer(bufferevent_get_output(l->server), in);
}

/* The server has answered, so it has committed; the client never hears of it. */
static void from_server(struct bufferevent *b, void *ctx)
{
    struct link *l = ctx;
    struct evbuffer *in = bufferevent_get_input(b);
    if (l->losing && evbuffer_search(in, "COMMIT", 6, NULL).pos >= 0) {
        l->wire->lost++;
        link_free(l);
        return;
    }
    if (l->losing)
        return; /* let it add up */
    evbuffer_add_buffer(bufferevent_get_output(l->client), in);
}

static void on_link_event(struct bufferevent *b, short what, void *ctx)
{
    (void)b;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        link_free(ctx);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
                      int len, void *ctx)
{
    (void)listener, (void)sa, (void)len;
    struct wire *wire = ctx;
    struct link *l = calloc(1, sizeof *l);
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    assert_non_null(l);
    memcpy(to.sun_path, wire->server, strlen(wire->server) + 1);
    l->wire = wire;
    l->client = bufferevent_socket_new(wire->base, fd, BEV_OPT_CLOSE_ON_FREE);
    l->server = bufferevent_socket_new(wire->base, -1, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(l->client, from_client, NULL, on_link_event, l);
    bufferevent_setcb(l->server, from_server, NULL, on_link_event, l);
    bufferevent_enable(l->client, EV_READ | EV_WRITE);
    bufferevent_enable(l->server, EV_READ | EV_WRITE);
    bufferevent_socket_connect(l->server, (struct sockaddr *)&to, sizeof to);
}

static void wire_begin(struct wire *wire, struct event_base *base)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memset(wire, 0, sizeof *wire);
    wire->base = base;
    strcpy(wire->folder, "/tmp/test-ingest-XXXXXX");
    assert_non_null(mkdtemp(wire->folder));
    const char *port = PQport(db);
    snprintf(wire->server, sizeof wire->server, "%s/.s.PGSQL.%s", PQhost(db), port);
    snprintf(at.sun_path, sizeof at.sun_path, "%s/.s.PGSQL.%s", wire->folder, port);
    wire->listener = evconnlistener_new_bind(base, on_accept, wire, LEV_OPT_CLOSE_ON_FREE, 16,
                                             (struct sockaddr *)&at, sizeof at);
    assert_non_null(wire->listener);
}

static void wire_end(struct wire *wire)
{
    char path[128];
    evconnlistener_free(wire->listener);
    snprintf(path, sizeof path, "%s/.s.PGSQL.%s", wire->folder, PQport(db));
    unlink(path);
    rmdir(wire->folder);
}

static bool places_are_at_400(void *ctx)
{
    (void)ctx;
    return db_int("SELECT min(pos) FROM xs.spool_position") == 400;
}

static void an_answer_to_commit_that_is_lost_is_looked_up_in_the_positions(void **state)
{
    (void)state;
    struct world w = {0};
    struct wire wire;
    char url[256];
    if (PQhost(db)[0] != '/')
        skip();
    db_fresh();
    w.base = event_base_new();
    wire_begin(&wire, w.base);
    snprintf(url, sizeof url,
             "postgresql:///%s?host=%s&port=%s&user=%s&sslmode=disable&gssencmode=disable",
             PQdb(db), wire.folder, PQport(db), PQuser(db));
    w.url = url;
    w.now_us = (int64_t)time(NULL) * SECOND - 20 * DAY;
    start(&w);
    db_loop(w.base, is_ready, &w);
    for (int i = 0; i < 4; i++) {
        static char ids[4][16];
        snprintf(ids[i], sizeof ids[i], "%d", i);
        message(&w, "far@there", "mei@here", ids[i]);
        wire.lose = 1;
        settle(&w);
    }
    assert_int_equal(wire.lost, 4);
    wire.lose = 0;
    assert_unread(&w, "mei@here", "far@there", 4);
    assert_int_equal(rows(), 4);
    assert_int_equal(w.committed, 4);
    assert_int_equal(w.batches, 4); /* none was sent again */
    assert_int_equal(w.counted, 4);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_int_equal(st.duplicates, 0);
    /* Reading moves no place, and all lanes have come to theirs. */
    db_loop(w.base, places_are_at_400, &w);
    wire.lose = 1;
    ingest_mark_read(w.ing, "mei@here", NULL, db_now_ms() + 9000, on_wait, &w);
    ingest_wait(w.ing, "mei@here", db_now_ms() + 9000, on_wait, &w);
    db_loop(w.base, waits_over, &w);
    assert_int_equal(w.waits_true, 2);
    assert_unread(&w, "mei@here", "far@there", 0);
    assert_int_equal(wire.lost, 5);
    assert_int_equal(w.batches, 5);
    assert_int_equal(w.committed, 5);
    ingest_free(&w.ing);
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    wire_end(&wire);
    end(&w);
}

/* --- anything, in any order
 * ------------------------------------------------------------------ */

#define USERS 6
#define MESSAGES 400

static const char *const users[USERS] = {"a@here", "b@here",  "c@here",
                                         "d@here", "e@there", "f@there"};

struct sent {
    int from;
    int to;
    char id[16];
    size_t line;  /* of its first copy */
    bool late;    /* that copy was a late one */
    bool gone[2]; /* for sender, recipient: not counted any more */
};

static uint32_t seed;

static unsigned dice(unsigned n)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % n;
}

/* What is unread by the definition: incoming, not taken back, behind the furthest position. */
static int expected_unread(const struct world *w, const struct sent *sent, int n, int owner,
                           int peer, const size_t *marks)
{
    size_t read = marks[owner * USERS + peer];
    int unread = 0;
    (void)w;
    for (int i = 0; i < n; i++)
        if (sent[i].from == owner && sent[i].to == peer && !sent[i].late &&
            sent[i].line + 1 > read)
            read = sent[i].line + 1;
    for (int i = 0; i < n; i++)
        if (sent[i].from == peer && sent[i].to == owner && !sent[i].gone[1] &&
            sent[i].line + 1 > read)
            unread++;
    return unread;
}

/* Marks hold the line of the message that was read, plus one. */
static void write_the_story(struct world *w, struct sent *sent, int *n_out, size_t *marks)
{
    int n = 0;
    while (n < MESSAGES) {
        unsigned what = dice(10);
        struct sent *old = n ? &sent[n - 1 - (int)dice(n < 20 ? (unsigned)n : 20u)] : NULL;
        if (what < 4 || !old) {
            struct sent *s = &sent[n++];
            s->from = (int)dice(USERS);
            do
                s->to = (int)dice(USERS);
            while (s->to == s->from);
            snprintf(s->id, sizeof s->id, "m%d", n);
            s->line = w->n;
            s->late = dice(8) == 0;
            s->gone[0] = s->gone[1] = false;
            struct event *ev = message(w, users[s->from], users[s->to], s->id);
            if (s->late)
                ev->delayed_us = ev->received_us - MINUTE;
        } else if (what < 6) { /* one more copy */
            struct event *ev = message(w, users[old->from], users[old->to], old->id);
            if (dice(3) == 0)
                ev->delayed_us = w->lines[old->line].ev.received_us;
        } else if (what < 8) { /* the recipient has read it */
            meaning(w, EVENT_MARKER, users[old->to], users[old->from], old->id);
            size_t *mark = &marks[old->to * USERS + old->from];
            if (old->line + 1 > *mark)
                *mark = old->line + 1;
        } else if (what == 8) {
            meaning(w, EVENT_BOUNCE, users[old->to], users[old->from], old->id);
            old->gone[1] = true;
        } else {
            add(w, EVENT_MESSAGE, users[old->from], users[old->to], "",
                "<retract xmlns='urn:xmpp:message-retract:1' id='x'/>");
            /* The id is patched in below: the story's ids live as long as the story. */
            struct line *line = &w->lines[w->n - 1];
            struct stanza *r = stanza_child(line->stanza, "retract", NULL);
            stanza_set(r, "id", old->id);
            old->gone[1] = true;
        }
    }
    *n_out = n;
}

static void play(struct world *w, unsigned troubles)
{
    while (!all_committed(w)) {
        if (dice(3) == 0) {
            size_t end = w->cursor + dice(40);
            offer_up_to(w, end < w->n ? end : w->n);
        }
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        if (troubles && dice(200) == 0) {
            troubles--;
            if (dice(2))
                db_end_sessions();
            else
                restart(w);
        }
        usleep(200);
    }
}

#define SAID "(body IS NOT NULL OR flags & 4 = 4)" /* and maybe taken back */

static void whatever_happens_every_message_is_there_once_and_counts_are_right(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct world w;
        static struct sent sent[MESSAGES];
        size_t marks[USERS * USERS] = {0};
        int n;
        seed = 1000 + round;
        begin(&w);
        write_the_story(&w, sent, &n, marks);
        play(&w, round * 3);
        assert_counts_are_right();
        for (int owner = 0; owner < 4; owner++)
            for (int peer = 0; peer < USERS; peer++) {
                if (owner == peer)
                    continue;
                int want = expected_unread(&w, sent, n, owner, peer, marks);
                int got = unread_of(users[owner], users[peer]);
                if (want != got)
                    fail_msg("round %u: %s of %s: %d unread, should be %d", round,
                             users[owner], users[peer], got, want);
            }
        int want_rows = 0;
        for (int i = 0; i < n; i++)
            want_rows += (sent[i].from < 4) + (sent[i].to < 4);
        assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE " SAID), want_rows);
        assert_int_equal(db_int("SELECT count(*) FROM (SELECT FROM xs.message WHERE " SAID
                                " GROUP BY owner, ref_id, ref_body HAVING count(*) > 1) d"),
                         0);
        assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine"), 0);
        end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_a_row_for_each_local_side_and_counts_where_it_comes_in),
        cmocka_unit_test(copies_are_stored_once_in_one_batch_or_in_two),
        cmocka_unit_test(without_ids_three_seconds_tell_copies_from_repeats),
        cmocka_unit_test(a_late_delivery_of_what_was_archived_is_no_second_row),
        cmocka_unit_test(what_was_asked_for_is_as_old_as_when_it_passed),
        cmocka_unit_test(a_marker_reads_up_to_its_message_and_never_back),
        cmocka_unit_test(what_was_displayed_is_read_up_to_the_named_row),
        cmocka_unit_test(a_marker_before_its_message_waits_seven_days),
        cmocka_unit_test(bounces_and_retractions_take_a_message_off_once),
        cmocka_unit_test(what_comes_late_may_have_been_taken_back_before),
        cmocka_unit_test(the_first_retraction_is_named_though_another_comes_with_the_message),
        cmocka_unit_test(what_was_sent_after_a_retraction_is_not_meant_by_it),
        cmocka_unit_test(what_nothing_came_for_is_forgotten_after_thirty_days),
        cmocka_unit_test(a_refusal_may_come_before_its_message),
        cmocka_unit_test(a_refusal_is_known_on_whichever_connection_its_message_is_written),
        cmocka_unit_test(what_did_not_get_through_is_told_once_more),
        cmocka_unit_test(what_is_not_for_reading_does_not_count),
        cmocka_unit_test(own_messages_read_when_the_setting_says_so),
        cmocka_unit_test(reading_everything_goes_through_the_lane_like_any_write),
        cmocka_unit_test(a_wait_ends_at_its_deadline_while_postgres_is_away),
        cmocka_unit_test(a_new_worker_goes_on_where_the_last_one_committed),
        cmocka_unit_test(idle_lanes_follow_the_reader),
        cmocka_unit_test(a_full_queue_takes_nothing_until_there_is_room),
        cmocka_unit_test(a_stanza_that_postgres_refuses_is_put_aside_alone),
        cmocka_unit_test(what_is_taken_back_leaves_no_text_when_its_batch_is_tried_in_parts),
        cmocka_unit_test(what_is_refused_in_a_long_sentence_of_any_language_is_put_aside),
        cmocka_unit_test(what_takes_too_long_at_once_is_written_in_parts),
        cmocka_unit_test(what_a_hook_breaks_is_archived_without_it),
        cmocka_unit_test(a_missing_partition_is_made),
        cmocka_unit_test(a_clock_that_is_ahead_does_not_run_away_with_the_ids),
        cmocka_unit_test(copies_are_known_while_our_clock_is_hours_ahead),
        cmocka_unit_test(another_worker_on_the_same_spool_loses_nothing_and_doubles_nothing),
        cmocka_unit_test(a_queue_that_another_worker_has_emptied_has_room_again),
        cmocka_unit_test(what_another_sidecar_has_stored_is_not_stored_again),
        cmocka_unit_test(a_lane_that_is_held_up_does_not_hold_up_the_others),
        cmocka_unit_test(a_session_that_ends_inside_a_batch_is_as_if_it_never_was),
        cmocka_unit_test(what_postgres_has_lost_is_read_again),
        cmocka_unit_test(plans_that_were_made_for_empty_tables_hold_for_full_ones),
        cmocka_unit_test(an_answer_to_commit_that_is_lost_is_looked_up_in_the_positions),
        cmocka_unit_test(whatever_happens_every_message_is_there_once_and_counts_are_right),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
