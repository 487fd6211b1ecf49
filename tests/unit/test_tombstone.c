// SPDX-License-Identifier: Apache-2.0
/* Retractions over a real database: what stays of a message that was taken back. */
#include "archive/tombstone.h"

#include "ingest_world.h"

#include "archive/rows.h"
#include "base/buf.h"

#define TEXT "convert_from(m.stanza, 'UTF8')"

/* Of the row that a message with this id made, and not its retraction. */
static long long row_of(const char *owner, const char *id, const char *what)
{
    char sql[1024];
    snprintf(sql, sizeof sql,
             "SELECT %s FROM xs.message m JOIN xs.account a USING (owner) WHERE a.jid = '%s'"
             " AND strpos(" TEXT ", 'id=\"%s\"') > 0 AND strpos(" TEXT ", '<retract ') = 0",
             what, owner, id);
    return db_int(sql);
}

static void the_start_tag_stays_and_nothing_else(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"<message xmlns=\"jabber:client\" id=\"a&gt;1\"><body>x &gt; y</body></message>",
         "<message xmlns=\"jabber:client\" id=\"a&gt;1\">"},
        {"<message xmlns=\"jabber:client\"/>", "<message xmlns=\"jabber:client\">"},
    };
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[512];
        snprintf(want, sizeof want,
                 "%s<retracted xmlns=\"urn:xmpp:message-retract:1\" "
                 "stamp=\"2026-03-04T01:02:03.000000Z\" id=\"r&quot;1\"/></message>",
                 cases[i][1]);
        buf_reset(&out);
        tombstone_write(&out, (const uint8_t *)cases[i][0], strlen(cases[i][0]), "r\"1",
                        INT64_C(1772586123000000));
        assert_string_equal(buf_cstr(&out), want);
    }
    buf_deinit(&out);
}

static void assert_tombstone(const char *owner, const char *by)
{
    char end[128];
    snprintf(end, sizeof end, "(" TEXT " LIKE '%%\" id=\"%s\"/></message>')::int", by);
    assert_int_equal(row_of(owner, "1", end), 1);
    assert_int_equal(
        row_of(owner, "1", "(" TEXT " ~ ' type=\"chat\"[^>]*><retracted [^<]*</m')::int"), 1);
    assert_int_equal(row_of(owner, "1", "(m.body IS NULL)::int"), 1);
    assert_int_equal(row_of(owner, "1", "m.flags & 5"), ROW_RETRACTED);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message m WHERE body = 'text 1' OR"
                            " strpos(" TEXT ", 'text 1') > 0"),
                     0);
}

static void s3_a_message_that_was_taken_back_keeps_its_id_and_place(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "0");
    message(&w, "li@here", "mei@here", "1");
    message(&w, "li@here", "mei@here", "2");
    settle(&w);
    long long id = row_of("mei@here", "1", "m.id");
    retraction(&w, "li@here", "mei@here", "r>1", "1");
    settle(&w);
    assert_tombstone("mei@here", "r&gt;1");
    assert_tombstone("li@here", "r&gt;1");
    assert_int_equal(row_of("mei@here", "1", "m.id"), id);
    assert_int_equal(rows(), 8); /* the retraction is kept in both archives */
    assert_counts_are_right();
    assert_int_equal(unread_of("mei@here", "li@here"), 2);
    /* Its copies are still known, and a second retraction changes nothing. */
    message(&w, "li@here", "mei@here", "1");
    retraction(&w, "li@here", "mei@here", "r2", "1");
    settle(&w);
    assert_tombstone("mei@here", "r&gt;1");
    assert_int_equal(rows(), 10);
    end(&w);
}

/* Everybody's messages so far as one block of the full-text index. */
static void make_blocks(void)
{
    db_do("INSERT INTO xs.search_block (owner, above, last_id, ids)"
          " SELECT owner, 0, max(id), array_agg(id) FROM xs.message GROUP BY owner");
    db_do("INSERT INTO xs.search_bucket (owner, above, bucket, grams)"
          " SELECT owner, 0, 1, 'x' FROM xs.search_block");
}

static void s3_nothing_of_it_stays_in_the_index(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    message(&w, "wang@here", "wang@here", "2");
    settle(&w);
    make_blocks();
    unsigned samples = w.samples;
    retraction(&w, "li@here", "mei@here", "r1", "1");
    settle(&w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block WHERE ids IS NULL"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_bucket"), 1);
    assert_true(w.samples >= samples + 2); /* so that somebody makes it again */
    end(&w);
}

static void s3_so_does_one_that_was_taken_back_at_once(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    retraction(&w, "li@here", "mei@here", "r1", "1");
    retraction(&w, "li@here", "mei@here", "r2", "1");
    message(&w, "li@here", "mei@here", "1");
    settle(&w);
    assert_tombstone("mei@here", "r1");
    assert_tombstone("li@here", "r1");
    assert_int_equal(rows(), 6);
    assert_counts_are_right();
    assert_int_equal(unread_of("mei@here", "li@here"), 0);
    end(&w);
}

static void s3_nobody_else_can_take_it_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    retraction(&w, "mei@here", "li@here", "r1", "1");
    retraction(&w, "wang@here", "mei@here", "r2", "1");
    retraction(&w, "li@here", "wang@here", "r3", "1");
    retraction(&w, "li@here", "mei@here", "r4", "another");
    settle(&w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body = 'text 1'"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 4 = 4"), 0);
    assert_int_equal(rows(), 10);
    end(&w);
}

static void what_was_not_kept_becomes_no_tombstone(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    add(&w, EVENT_MESSAGE, "far@there", "mei@here", " id='1'",
        "<body>text 1</body><no-permanent-store xmlns='urn:xmpp:hints'/>");
    settle(&w);
    assert_int_equal(unread_of("mei@here", "far@there"), 1);
    retraction(&w, "far@there", "mei@here", "r1", "1");
    settle(&w);
    assert_counts_are_right();
    assert_int_equal(unread_of("mei@here", "far@there"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE stanza = ''"), 1);
    end(&w);
}

static void s5_a_correction_is_a_message_of_its_own_that_does_not_count(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "far@there", "mei@here", "1");
    add(&w, EVENT_MESSAGE, "far@there", "mei@here", " id='2'",
        "<body>better</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>");
    settle(&w);
    assert_int_equal(rows(), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body = 'text 1'"), 1);
    assert_int_equal(unread_of("mei@here", "far@there"), 1);
    end(&w);
}

static void m53_what_the_server_refused_is_hidden_and_keeps_its_id(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    message(&w, "li@here", "mei@here", "1");
    settle(&w);
    long long id = row_of("mei@here", "1", "m.id");
    struct event *bounce = meaning(&w, EVENT_BOUNCE, "mei@here", "li@here", "1");
    bounce->from_resource = "";
    settle(&w);
    assert_int_equal(row_of("mei@here", "1", "m.id"), id);
    assert_int_equal(row_of("mei@here", "1", "m.flags & 33"), ROW_HIDDEN);
    assert_int_equal(row_of("li@here", "1", "m.flags & 32"), 0);
    assert_counts_are_right();
    assert_int_equal(unread_of("mei@here", "li@here"), 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_start_tag_stays_and_nothing_else),
        cmocka_unit_test(s3_a_message_that_was_taken_back_keeps_its_id_and_place),
        cmocka_unit_test(s3_nothing_of_it_stays_in_the_index),
        cmocka_unit_test(s3_so_does_one_that_was_taken_back_at_once),
        cmocka_unit_test(s3_nobody_else_can_take_it_back),
        cmocka_unit_test(what_was_not_kept_becomes_no_tombstone),
        cmocka_unit_test(s5_a_correction_is_a_message_of_its_own_that_does_not_count),
        cmocka_unit_test(m53_what_the_server_refused_is_hidden_and_keeps_its_id),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
