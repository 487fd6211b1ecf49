// SPDX-License-Identifier: Apache-2.0
/* Ingest of a cluster's links: copies of one message in two spools, and the gaps of each. */
#include "archive/ingest.h"

#include "database.h"

#include "archive/opts.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

#define SECOND INT64_C(1000000)
#define LINE_BYTES 100
#define LINES_MAX 64
#define ROOM "den@rooms.here"

/* --- two spools whose readers can be stopped and started again ----------------------------
 */

struct line {
    bool is_stream;
    struct event ev;
    struct stanza *stanza;
    struct ingest_stream stream;
};

struct reader {
    struct line lines[LINES_MAX];
    size_t n;
    size_t cursor; /* lines offered */
};

static struct archive_opts settings = {.own_message_reads = true, .groupchat = true};
static const uint8_t spools[2][16] = {{1, 1, 1}, {2, 2, 2}};

static struct {
    struct event_base *base;
    struct ingest *ing;
    struct reader readers[2];
    int64_t now_us;
} w;

static bool is_ready(void *ctx)
{
    (void)ctx;
    return ingest_ready(w.ing);
}

static void start(void)
{
    struct ingest_opts opts = {.url = db_url(),
                               .archive = &settings,
                               .spools = 2,
                               .spool_ids = spools,
                               .queue_bytes_max = 64 << 20,
                               .queue_rows_max = 100000};
    w.ing = ingest_new(w.base, &opts);
    db_loop(w.base, is_ready, NULL);
    for (unsigned s = 0; s < 2; s++)
        w.readers[s].cursor = ingest_start_position(w.ing, s) / LINE_BYTES;
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    db_fresh();
    w.base = event_base_new();
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    w.now_us = ts.tv_sec * SECOND - 3600 * SECOND;
    start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ingest_free(&w.ing);
    event_base_free(w.base);
    for (unsigned s = 0; s < 2; s++)
        for (size_t i = 0; i < w.readers[s].n; i++)
            stanza_free(&w.readers[s].lines[i].stanza);
    return 0;
}

static struct line *add_line(unsigned spool, struct place *place_out)
{
    struct reader *r = &w.readers[spool];
    assert_true(r->n < LINES_MAX);
    *place_out = (struct place){spool, LINE_BYTES * r->n, LINE_BYTES * (r->n + 1)};
    return &r->lines[r->n++];
}

static void event_of(unsigned spool, enum event_kind kind, const char *from, const char *to,
                     const char *id, int64_t at_us)
{
    char text[256];
    struct err e = {0};
    struct place place;
    struct line *line = add_line(spool, &place);
    snprintf(text, sizeof text,
             "<message xmlns='jabber:client' type='%s' id='%s'><body>%s</body></message>",
             kind == EVENT_MESSAGE ? "chat" : "groupchat", id, id);
    line->stanza = xml_parse_element(text, strlen(text), &e);
    assert_non_null(line->stanza);
    line->ev = (struct event){.kind = kind,
                              .from = from,
                              .from_resource = "r",
                              .to = to,
                              .to_resource = "",
                              .from_local = strcmp(from, ROOM) != 0,
                              .to_local = strcmp(to, ROOM) != 0,
                              .received_us = at_us,
                              .place = place,
                              .stanza = line->stanza};
    line->ev.id = stanza_get(line->stanza, "id");
}

static void copy_of(unsigned spool, const char *id, int64_t at_us)
{
    event_of(spool, EVENT_MESSAGE, "li@here", "mei@here", id, at_us);
}

static void stream(unsigned spool, bool opened, uint64_t epoch, int64_t at_us)
{
    struct place place;
    struct line *line = add_line(spool, &place);
    line->is_stream = true;
    line->stream = (struct ingest_stream){.opened = opened,
                                          .epoch = epoch,
                                          .at_us = at_us,
                                          .server = spool ? "b:5347" : "a:5347",
                                          .why = opened ? "" : "reset",
                                          .place = place};
}

static void offer(unsigned spool)
{
    struct reader *r = &w.readers[spool];
    for (; r->cursor < r->n; r->cursor++) {
        const struct line *line = &r->lines[r->cursor];
        enum ingest_answer answer = line->is_stream ? ingest_stream(w.ing, &line->stream)
                                                    : ingest_event(w.ing, &line->ev);
        assert_int_equal(answer, INGEST_TAKEN);
        ingest_passed(w.ing, spool, LINE_BYTES * (r->cursor + 1));
    }
}

static bool all_committed(void *ctx)
{
    (void)ctx;
    bool all = true;
    for (unsigned s = 0; s < 2; s++)
        all = all && ingest_committed(w.ing, s) >= LINE_BYTES * w.readers[s].cursor;
    return all;
}

static void settle(void)
{
    db_loop(w.base, all_committed, NULL);
}

/* What a new worker finds is what the database has of this one. */
static void next_worker(void)
{
    ingest_free(&w.ing);
    start();
}

/* --- copies -------------------------------------------------------------------------------
 */

enum between { BETWEEN_NOTHING, BETWEEN_BATCHES, BETWEEN_COMMITTED, BETWEEN_KILLED };

static void between(enum between what)
{
    switch (what) {
    case BETWEEN_NOTHING:
        break;
    case BETWEEN_BATCHES:
        settle();
        break;
    case BETWEEN_COMMITTED:
        settle();
        next_worker();
        break;
    case BETWEEN_KILLED: /* maybe in the middle of its transaction */
        event_base_loop(w.base, EVLOOP_NONBLOCK);
        next_worker();
        break;
    }
}

/* The sender's node copies it on link 0, the recipient's on link 1; either may be read first,
 * seconds apart by either clock, in one batch or in two, with a death in between. */
static void two_copies_on_two_links_are_one_message_in_any_order(void **state)
{
    (void)state;
    static const int64_t apart_s[] = {0, 5, -5, 600};
    int number = 0;
    for (unsigned first = 0; first < 2; first++)
        for (int what = BETWEEN_NOTHING; what <= BETWEEN_KILLED; what++)
            for (size_t a = 0; a < sizeof apart_s / sizeof *apart_s; a++) {
                char id[16];
                snprintf(id, sizeof id, "m%d", ++number);
                w.now_us += SECOND;
                copy_of(first, id, w.now_us);
                offer(first);
                between((enum between)what);
                copy_of(!first, id, w.now_us + apart_s[a] * SECOND);
                offer(0);
                offer(1);
                settle();
            }
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"), 2 * number);
    assert_int_equal(db_int("SELECT count(DISTINCT (owner, body)) FROM xs.message"),
                     2 * number);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'mei@here'"), number);
    assert_int_equal(db_int("SELECT sum(unread) FROM xs.conversation"), number);
}

/* PostgreSQL was away: both spools are long, and one is read to its end before the other. */
static void a_spool_that_is_read_long_after_the_other_adds_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%d", i);
        copy_of(0, id, w.now_us + i * SECOND);
        copy_of(1, id, w.now_us + i * SECOND + 2000);
    }
    offer(1);
    settle();
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"), 80);
    offer(0);
    settle();
    assert_int_equal(db_int("SELECT count(*) FROM xs.message"), 80);
    struct ingest_stats st;
    ingest_get_stats(w.ing, &st);
    assert_int_equal(st.duplicates, 80);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'mei@here'"), 40);
}

/* PostgreSQL was away, and the spool in which the retraction stands is shorter. */
static void what_is_taken_back_on_the_link_that_is_read_first_leaves_no_text(void **state)
{
    (void)state;
    static const char retract[] = "<retract xmlns='urn:xmpp:message-retract:1' id='m'/>";
    struct err e = {0};
    event_of(1, EVENT_MESSAGE, "li@here", "mei@here", "r", w.now_us + SECOND);
    struct event *ev = &w.readers[1].lines[0].ev;
    char text[256];
    snprintf(text, sizeof text,
             "<message xmlns='jabber:client' type='chat' id='r'>%s</message>", retract);
    stanza_free(&w.readers[1].lines[0].stanza);
    w.readers[1].lines[0].stanza = xml_parse_element(text, strlen(text), &e);
    ev->stanza = w.readers[1].lines[0].stanza;
    ev->id = stanza_get(ev->stanza, "id");
    offer(1);
    settle();
    next_worker();
    copy_of(0, "m", w.now_us);
    copy_of(0, "m2", w.now_us);
    offer(0);
    offer(1);
    settle();
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE flags & 5 = 4"
                            " AND body IS NULL"),
                     2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body = 'm2'"), 2);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'mei@here'"), 1);
}

/* What one node's occupants were told of was committed before there was a message: that is
 * read again, by whoever comes next, and must not stand for what the others are told. */
static void what_a_room_has_told_of_shows_though_it_was_told_elsewhere_before(void **state)
{
    (void)state;
    event_of(1, EVENT_REFLECTED, ROOM, "mei@here", "m", w.now_us);
    offer(1);
    settle();
    next_worker();
    assert_int_equal(w.readers[1].cursor, 0); /* another lane has not moved */
    event_of(0, EVENT_GROUPCHAT, "li@here", ROOM, "m", w.now_us + 1000);
    offer(0);
    offer(1);
    event_of(0, EVENT_REFLECTED, ROOM, "li@here", "m", w.now_us + 2000);
    offer(0);
    settle();
    assert_int_equal(db_int("SELECT flags FROM xs.message"), 512 + 16);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_due"), 1);
}

static int members(void)
{
    return (int)db_int("SELECT count(*) FROM xs.room_member");
}

static void who_comes_back_to_a_room_is_in_it_though_a_worker_died_meanwhile(void **state)
{
    (void)state;
    const enum event_bond by = BOND_AFFILIATION;
    event_of(0, EVENT_MEMBER, ROOM, "li@here", "", w.now_us);
    w.readers[0].lines[0].ev.bond = by;
    offer(0);
    settle();
    event_of(1, EVENT_NO_MEMBER, ROOM, "li@here", "", w.now_us + 1000);
    w.readers[1].lines[0].ev.bond = by;
    offer(1);
    settle();
    assert_int_equal(members(), 0);
    next_worker();
    offer(1);
    offer(0);
    event_of(0, EVENT_MEMBER, ROOM, "li@here", "", w.now_us + 2000);
    w.readers[0].lines[1].ev.bond = by;
    offer(0);
    settle();
    assert_int_equal(members(), 1);
}

/* --- gaps ---------------------------------------------------------------------------------
 */

static void the_first_stream_ends_no_gap(void **state)
{
    (void)state;
    stream(0, true, 1, w.now_us);
    offer(0);
    settle();
    assert_int_equal(db_int("SELECT count(*) FROM xs.gap"), 0);
}

static void a_gap_is_open_until_the_next_stream_of_its_own_link(void **state)
{
    (void)state;
    stream(0, false, 1, w.now_us);
    stream(1, true, 7, w.now_us + SECOND);
    offer(0);
    offer(1);
    settle();
    assert_string_equal(db_ask("SELECT (server, epoch, why, to_at IS NULL)::text FROM xs.gap"),
                        "(a:5347,1,reset,t)");
    stream(0, true, 2, w.now_us + 90 * SECOND);
    offer(0);
    settle();
    assert_string_equal(
        db_ask("SELECT (count(*), max(to_at - from_at), max(next_epoch))::text FROM xs.gap"),
        "(1,00:01:30,2)");
    assert_int_equal(
        db_int("SELECT (extract(epoch FROM from_at) * 1000000)::bigint FROM xs.gap"),
        w.now_us);
}

static void a_gap_is_kept_once_whenever_the_worker_dies(void **state)
{
    (void)state;
    for (uint64_t epoch = 1; epoch <= 12; epoch++) {
        unsigned spool = epoch % 2;
        copy_of(spool, "x", w.now_us);
        stream(spool, false, epoch, w.now_us + SECOND);
        offer(spool);
        between((enum between)(epoch % 4));
        stream(spool, true, epoch + 1, w.now_us + 3 * SECOND);
        offer(0);
        offer(1);
        between((enum between)(epoch / 4));
        w.now_us += 10 * SECOND;
    }
    offer(0);
    offer(1);
    settle();
    assert_int_equal(db_int("SELECT count(*) FROM xs.gap"), 12);
    assert_int_equal(db_int("SELECT count(*) FROM xs.gap WHERE next_epoch = epoch + 1"
                            " AND to_at - from_at = interval '2 s'"),
                     12);
}

/* The bytes around a gap are read again although they are committed: by a lane that is behind.
 */
static void a_gap_that_is_told_again_stays_as_it_is(void **state)
{
    (void)state;
    stream(0, false, 1, w.now_us);
    stream(0, true, 2, w.now_us + SECOND);
    offer(0);
    settle();
    db_do("UPDATE xs.spool_position SET pos = 0");
    next_worker();
    assert_int_equal(w.readers[0].cursor, 0);
    offer(0);
    settle();
    assert_string_equal(db_ask("SELECT (count(*), max(to_at - from_at))::text FROM xs.gap"),
                        "(1,00:00:01)");
}

static void a_clock_that_was_set_back_makes_a_gap_of_no_length(void **state)
{
    (void)state;
    stream(0, false, 1, w.now_us);
    stream(0, true, 2, w.now_us - 50 * SECOND);
    offer(0);
    settle();
    assert_string_equal(db_ask("SELECT (to_at - from_at)::text FROM xs.gap"), "00:00:00");
}

static void the_newest_ten_thousand_gaps_are_kept(void **state)
{
    (void)state;
    db_do("INSERT INTO xs.gap SELECT '00000000-0000-0000-0000-000000000009', n, 'a',"
          " now() - interval '1 day' - n * interval '1 s', now(), n + 1, 'old'"
          " FROM generate_series(1, 10050) n");
    stream(0, false, 1, w.now_us);
    offer(0);
    settle();
    assert_int_equal(db_int("SELECT count(*) FROM xs.gap"), 10000);
    assert_int_equal(db_int("SELECT count(*) FROM xs.gap WHERE why = 'reset'"), 1);
    assert_int_equal(db_int("SELECT max(epoch) FROM xs.gap"), 9999);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_copies_on_two_links_are_one_message_in_any_order),
        TEST(a_spool_that_is_read_long_after_the_other_adds_nothing),
        TEST(what_a_room_has_told_of_shows_though_it_was_told_elsewhere_before),
        TEST(who_comes_back_to_a_room_is_in_it_though_a_worker_died_meanwhile),
        TEST(what_is_taken_back_on_the_link_that_is_read_first_leaves_no_text),
        TEST(the_first_stream_ends_no_gap),
        TEST(a_gap_is_open_until_the_next_stream_of_its_own_link),
        TEST(a_gap_is_kept_once_whenever_the_worker_dies),
        TEST(a_gap_that_is_told_again_stays_as_it_is),
        TEST(a_clock_that_was_set_back_makes_a_gap_of_no_length),
        TEST(the_newest_ten_thousand_gaps_are_kept),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
