// SPDX-License-Identifier: Apache-2.0
/* The feed of one link with a real spool and a real service, and an archive that is played. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "archive/ingest.h"
#include "base/log.h"
#include "component/page.h"
#include "component/segments.h"
#include "component/spool.h"
#include "sidecar/feed.h"
#include "sidecar/hand.h"
#include "tests/unit/spool_dir.h"
#include "tests/unit/xmpp_world.h"

#define HEADER                                                                                \
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "    \
    "xmlns='jabber:component:accept' from='sidecar.e.test' id='s1'>"
#define NOTHING UINT64_MAX

/* --- the archive, in place of archive/ingest.c --- */

struct ingest {
    uint64_t start;
    size_t room;      /* events that it still takes */
    uint64_t refused; /* where the stanza began that found no room */
    uint64_t passed;
    bool slow;        /* nothing is committed yet */
    uint64_t begin;   /* of the oldest thing that is not */
    unsigned no_more; /* how often who waits was told so */
    struct buf ids;
    struct buf streams; /* that it took, as text */
    struct buf aside;   /* what was put aside: why, and whether with its bytes */
};

uint64_t ingest_start_position(const struct ingest *ing, unsigned spool)
{
    assert_int_equal(spool, 0);
    return ing->start;
}

static bool has_room(struct ingest *ing, const struct place *p)
{
    if (ing->room == 0) {
        ing->refused = p->begin;
        return false;
    }
    ing->refused = NOTHING;
    ing->room--;
    return true;
}

enum ingest_answer ingest_event(struct ingest *ing, const struct event *ev)
{
    uint64_t refused = ing->refused;
    if (!has_room(ing, &ev->place))
        return INGEST_FULL;
    if (refused != NOTHING)
        assert_int_equal(ev->place.begin, refused);
    if (!ing->slow || ing->begin == NOTHING)
        ing->begin = ev->place.begin;
    buf_addf(&ing->ids, "%s ", ev->id);
    return INGEST_TAKEN;
}

/* It may be told again of what it took: the table's key tells. */
enum ingest_answer ingest_stream(struct ingest *ing, const struct ingest_stream *st)
{
    if (!has_room(ing, &st->place))
        return INGEST_FULL;
    assert_string_equal(st->server, "e.test:5347");
    char line[256];
    snprintf(line, sizeof line, "%s%llu at %lld%s%s\n", st->opened ? "+" : "-",
             (unsigned long long)st->epoch, (long long)st->at_us, *st->why ? " " : "",
             st->why);
    if (!strstr(buf_cstr(&ing->streams), line))
        buf_add_str(&ing->streams, line);
    return INGEST_TAKEN;
}

enum ingest_answer ingest_put_aside(struct ingest *ing, const struct ingest_aside *a)
{
    if (!has_room(ing, &a->place))
        return INGEST_FULL;
    buf_addf(&ing->aside, "%s (%s) ", a->why, a->with_bytes ? "bytes" : "no bytes");
    return INGEST_TAKEN;
}

uint64_t ingest_committed(const struct ingest *ing, unsigned spool)
{
    assert_int_equal(spool, 0);
    return ing->slow && ing->begin < ing->passed ? ing->begin : ing->passed;
}

void ingest_passed(struct ingest *ing, unsigned spool, uint64_t end)
{
    assert_int_equal(spool, 0);
    assert_true(end > ing->passed);
    assert_true(end <= ing->refused); /* nothing is passed that was not taken */
    ing->passed = end;
}

void ingest_wait_no_more(struct ingest *ing, unsigned spool)
{
    assert_int_equal(spool, 0);
    ing->no_more++;
}

/* --- the rest of the stage --- */

struct stage {
    struct temp_dir dir;
    struct spool *spool;
    struct world world;
    struct service *service;
    struct ingest archive;
    struct page *page;
    struct hand *hand;
    struct feed *feed;
    bool open; /* the request that was asked last */
    bool keep_open;
    unsigned written; /* messages so far */
    uint64_t live;    /* as told by passed() */
    unsigned reconnects;
    unsigned errors; /* in the log */
};

static struct stage s;

static void on_send(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data, size_t len)
{
    (void)ctx;
    assert_int_equal(link, 0);
    assert_int_equal(epoch, spool_epoch(s.spool));
    buf_add(&s.world.sent, data, len);
    buf_add_char(&s.world.sent, '\n');
}

static void on_event(void *ctx, const struct event *e)
{
    (void)ctx;
    feed_event(s.feed, e);
}

static bool on_is_open(void *ctx, const struct place *p)
{
    (void)ctx;
    (void)p;
    return s.world.was_open;
}

static void on_place(void *ctx, const struct place *p)
{
    (void)ctx;
    (void)p;
}

static void on_opened(void *ctx, const struct place *p)
{
    on_place(ctx, p);
    s.open = true;
}

static void on_done(void *ctx, const struct place *p)
{
    on_place(ctx, p);
    s.open = s.keep_open;
}

static bool on_is_unanswered(void *ctx, const struct place *p)
{
    on_place(ctx, p);
    return s.open;
}

static void on_reconnect(void *ctx, unsigned link, uint64_t epoch, const char *why)
{
    (void)ctx;
    assert_int_equal(link, 0);
    assert_int_equal(epoch, spool_epoch(s.spool));
    assert_true(*why);
    s.reconnects++;
}

static void on_passed(void *ctx, unsigned link, const struct place *p)
{
    (void)ctx;
    (void)link;
    assert_true(p->end > s.live);
    s.live = p->end;
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)line;
    s.errors += level == LOG_ERROR;
}

static void start_service(void)
{
    const struct service_events events = {.send = on_send,
                                          .event = on_event,
                                          .request_opened = on_opened,
                                          .request_done = on_done,
                                          .request_is_open = on_is_open,
                                          .reconnect = on_reconnect};
    s.service = service_new(&s.world.opts, world_key, &events);
}

static void start_feed(uint64_t live_from, uint64_t replay_until)
{
    struct feed_opts opts = {.link = 0,
                             .directory = s.dir.spool,
                             .server = "e.test:5347",
                             .live_from = live_from,
                             .replay_until = replay_until,
                             .stanza_bytes_max = 64 << 10,
                             .service = s.service,
                             .hand = s.hand,
                             .is_open = on_is_unanswered,
                             .passed = on_passed,
                             .reconnect = on_reconnect};
    s.feed = feed_new(&opts);
}

/* The next worker, with an archive that has got as far as it got. */
static void next_worker(uint64_t live_from, uint64_t replay_until)
{
    feed_free(&s.feed);
    service_free(&s.service);
    hand_free(&s.hand);
    s.hand = hand_new(s.page);
    s.live = 0;
    if (s.archive.passed > s.archive.start)
        s.archive.start = s.archive.passed;
    s.archive.passed = 0;
    s.archive.refused = NOTHING;
    start_service();
    start_feed(live_from, replay_until);
}

static void append(const char *xml)
{
    struct err e;
    assert_int_equal(
        spool_append(s.spool, (const uint8_t *)xml, strlen(xml), s.world.real_us, &e),
        ERR_NONE);
}

static int setup(void **state)
{
    (void)state;
    s = (struct stage){.archive = {.refused = NOTHING, .room = SIZE_MAX}};
    temp_dir_make(&s.dir);
    world_init(&s.world, 1);
    buf_init(&s.archive.ids, 1 << 16);
    buf_init(&s.archive.streams, 1 << 16);
    buf_init(&s.archive.aside, 1 << 16);
    s.page = calloc(1, sizeof *s.page);
    assert_non_null(s.page);
    s.page->links_n = 1;
    s.hand = hand_new(s.page);
    struct spool_settings set = {.size_max = 64 << 20};
    struct err e;
    uint64_t epoch;
    assert_int_equal(spool_open(s.dir.spool, &set, &s.spool, &e), ERR_NONE);
    assert_int_equal(spool_stream_open(s.spool, (const uint8_t *)HEADER, strlen(HEADER),
                                       s.world.real_us, &epoch, &e),
                     ERR_NONE);
    log_set_sink(on_log, NULL);
    start_service();
    start_feed(0, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    feed_free(&s.feed);
    service_free(&s.service);
    spool_close(&s.spool);
    temp_dir_drop(&s.dir);
    buf_deinit(&s.archive.ids);
    buf_deinit(&s.archive.streams);
    buf_deinit(&s.archive.aside);
    hand_free(&s.hand);
    free(s.page);
    buf_deinit(&s.world.sent);
    buf_deinit(&s.world.events);
    buf_deinit(&s.world.reconnects);
    clock_fake_off();
    log_set_sink(NULL, NULL);
    return 0;
}

static void next_message(struct buf *out)
{
    buf_addf(out,
             COPY("<message xmlns='jabber:client' from='a@e.test/x' to='b@e.test' "
                  "type='chat' id='m%u'><body>hello</body></message>"),
             ++s.written);
}

static void request(struct buf *out, const char *id)
{
    buf_addf(out,
             "<iq type='get' from='a@e.test/x' to='sidecar.e.test' id='%s'>"
             "<ping xmlns='urn:xmpp:ping'/></iq>",
             id);
}

/* As one read of the link's. */
static void append_record(struct buf *xml)
{
    append(buf_cstr(xml));
    buf_reset(xml);
}

static void write_messages(unsigned n)
{
    struct buf xml;
    buf_init(&xml, 1024);
    for (; n > 0; n--) {
        next_message(&xml);
        append_record(&xml);
    }
    buf_deinit(&xml);
}

static void ask(const char *id)
{
    struct buf xml;
    buf_init(&xml, 1024);
    request(&xml, id);
    append_record(&xml);
    buf_deinit(&xml);
}

static bool was_answered(const char *id)
{
    char attribute[64];
    snprintf(attribute, sizeof attribute, "id='%s'", id);
    const char *sent = buf_cstr(&s.world.sent);
    if (strstr(sent, attribute))
        return true;
    snprintf(attribute, sizeof attribute, "id=\"%s\"", id);
    return strstr(sent, attribute) != NULL;
}

static void pump(void)
{
    for (int turns = 0; feed_pump(s.feed, spool_end(s.spool)); turns++)
        assert_true(turns < 1000);
}

/* The archive has exactly m1 … mN, in order. */
static void assert_archived(unsigned n)
{
    char expected[4096];
    size_t len = 0;
    expected[0] = '\0';
    for (unsigned i = 1; i <= n; i++)
        len += (size_t)snprintf(expected + len, sizeof expected - len, "m%u ", i);
    assert_string_equal(buf_cstr(&s.archive.ids), expected);
}

/* --- tests --- */

static void an_archive_that_keeps_up_is_fed_in_the_same_pass(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_messages(3);
    assert_false(feed_pump(s.feed, spool_end(s.spool))); /* one call is enough */
    assert_archived(3);
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
    assert_int_equal(feed_live_position(s.feed), s.live);
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), 0);
    assert_int_equal(s.errors, 0);
}

static void without_an_archive_questions_are_answered_and_messages_wait(void **state)
{
    (void)state;
    write_messages(2);
    ask("q1");
    write_messages(2);
    pump();
    assert_true(was_answered("q1"));
    assert_archived(0);
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), INT64_MAX);
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(4);
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), 0);
}

static void a_full_archive_reads_again_from_what_it_refused(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    s.archive.room = 2;
    write_messages(5);
    ask("q1");
    pump();
    assert_archived(2);
    assert_true(was_answered("q1")); /* the live cursor went on */
    write_messages(1);
    pump();
    assert_archived(2);
    s.archive.room = SIZE_MAX;
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(6);
    write_messages(2); /* both are one again */
    assert_false(feed_pump(s.feed, spool_end(s.spool)));
    assert_archived(8);
}

/* As ejabberd shows it: sent, and received.  One in a thousand messages takes the place of the
 * one before it among those that are known, so both copies come in a row. */
static void write_twice(unsigned n)
{
    for (; n > 0; n--) {
        write_messages(1);
        s.written--;
        write_messages(1);
    }
}

static void a_turn_is_short_however_much_is_waiting(void **state)
{
    (void)state;
    uint64_t begin = spool_end(s.spool);
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_messages(2000);
    uint64_t end = spool_end(s.spool);
    assert_true(end - begin > 400000);
    assert_true(feed_pump(s.feed, end));
    assert_true(feed_live_position(s.feed) > begin);
    assert_true(feed_live_position(s.feed) - begin < 100000);
    assert_true(s.archive.passed <= feed_live_position(s.feed));
    pump();
    assert_int_equal(s.archive.passed, end);
}

static void the_second_copy_of_a_message_reaches_nobody_but_moves_the_place(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_twice(3);
    assert_false(feed_pump(s.feed, spool_end(s.spool)));
    assert_archived(3);
    assert_int_equal(feed_live_position(s.feed), spool_end(s.spool));
    assert_int_equal(s.archive.passed, spool_end(s.spool));
}

/* Each refusal is followed by another reading of the same bytes.  What is given twice is told
 * by its identity; what is not given at all would be lost. */
static void what_was_refused_is_given_again_though_its_bytes_were_seen(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    s.archive.room = 1;
    write_twice(4);
    pump();
    assert_archived(1);
    for (unsigned n = 2; n <= 4; n++) {
        s.archive.room = 1;
        feed_archive_open(s.feed, &s.archive);
        pump();
        assert_archived(n);
    }
    s.archive.room = SIZE_MAX;
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_int_equal(strncmp(buf_cstr(&s.archive.ids), "m1 m2 m3 m4 ", 12), 0);
    assert_int_equal(s.archive.passed, spool_end(s.spool));
}

static void a_new_worker_reads_what_the_one_before_it_knew(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_twice(2);
    pump();
    buf_reset(&s.archive.ids);
    next_worker(0, s.live);
    s.archive.start = 0; /* what was taken has not been committed */
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(2);
}

static void an_archive_that_is_full_again_and_again_misses_and_repeats_nothing(void **state)
{
    (void)state;
    s.archive.room = 1;
    feed_archive_open(s.feed, &s.archive);
    for (unsigned i = 0; i < 40; i++) {
        write_messages(i % 3);
        pump();
        s.archive.room = i % 4;
        feed_archive_open(s.feed, &s.archive);
    }
    s.archive.room = SIZE_MAX;
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(s.written);
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
}

static void the_lag_is_the_age_of_what_the_archive_was_given_last(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    s.archive.room = 1;
    write_messages(2);
    pump();
    int64_t now_us = s.world.real_us + 7 * SECOND_US;
    assert_int_equal(feed_behind_us(s.feed, now_us), 7 * SECOND_US);
    s.archive.room = SIZE_MAX;
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_int_equal(feed_behind_us(s.feed, now_us), 0);
}

static void an_archive_that_kept_up_for_long_is_behind_from_where_it_was_full(void **state)
{
    (void)state;
    write_messages(1);
    feed_archive_open(s.feed, &s.archive);
    pump();
    world_pass(&s.world, 3600 * 1000);
    s.archive.room = 1;
    write_messages(1);
    pump();
    world_pass(&s.world, 2000);
    write_messages(1);
    pump();
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), 0);
    assert_int_equal(s.archive.room, 0);
    world_pass(&s.world, 7000);
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), 7 * SECOND_US);
}

static void the_next_worker_archives_from_the_place_that_is_stored(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    write_messages(3);
    pump();
    uint64_t passed = feed_live_position(s.feed);
    write_messages(2); /* while no worker was there */
    next_worker(0, passed);
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(5);
}

static void a_live_cursor_that_starts_behind_the_archive_gives_nothing_twice(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    write_messages(1);
    pump();
    uint64_t snapshot = feed_live_position(s.feed);
    write_messages(3);
    pump();
    next_worker(snapshot, feed_live_position(s.feed));
    feed_archive_open(s.feed, &s.archive); /* before the first byte was read */
    write_messages(1);
    pump();
    assert_archived(5);
}

/* So far behind that the archive has nothing to read before both meet. */
static void a_live_cursor_far_behind_the_archive_offers_nothing_again(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_messages(1000);
    pump();
    uint64_t end = s.live;
    buf_reset(&s.archive.ids);
    next_worker(0, end);
    s.archive.room = 0;
    feed_archive_open(s.feed, &s.archive);
    assert_true(feed_pump(s.feed, spool_end(s.spool)));
    assert_true(feed_live_position(s.feed) < end / 2);
    /* What it has still to read is kept, though the archive needs nothing of it. */
    assert_int_equal(feed_keeps_from(s.feed), feed_live_position(s.feed));
    pump();
    assert_int_equal(feed_keeps_from(s.feed), end);
    assert_int_equal(s.archive.refused, NOTHING);
    s.archive.room = SIZE_MAX;
    write_messages(2);
    assert_false(feed_pump(s.feed, spool_end(s.spool))); /* both are one */
    assert_string_equal(buf_cstr(&s.archive.ids), "m1001 m1002 ");
}

static void a_replay_answers_only_what_the_last_worker_left_open(void **state)
{
    (void)state;
    ask("q1");
    pump();
    assert_true(was_answered("q1"));
    uint64_t passed = feed_live_position(s.feed);
    ask("q2");
    buf_reset(&s.world.sent);
    next_worker(0, passed);
    pump();
    assert_false(was_answered("q1"));
    assert_true(was_answered("q2"));
    buf_reset(&s.world.sent);
    s.world.was_open = true; /* as the shared page remembers it */
    next_worker(0, passed);
    pump();
    assert_true(was_answered("q1"));
}

/* With nothing to replay the service goes live at once, and may have a question to send: not
 * before its owner can take it. */
static void a_new_feed_says_nothing_before_it_is_pumped(void **state)
{
    (void)state;
    struct buf saved;
    buf_init(&saved, 1 << 16);
    append(GRANT("urn:xmpp:privilege:2"));
    pump(); /* asks the server who is online; there is no answer yet */
    assert_true(buf_len(&s.world.sent) > 0);
    service_save(s.service, &saved);
    uint64_t passed = feed_live_position(s.feed);
    feed_free(&s.feed);
    service_free(&s.service);
    start_service();
    assert_true(service_load(s.service, buf_data(&saved), buf_len(&saved)));
    buf_reset(&s.world.sent);
    start_feed(passed, passed);
    assert_int_equal(buf_len(&s.world.sent), 0);
    pump();
    assert_true(buf_len(&s.world.sent) > 0);
    buf_deinit(&saved);
}

static void a_stanza_over_the_limit_costs_only_itself(void **state)
{
    (void)state;
    static char large[100 << 10];
    memset(large, 'y', sizeof large - 1);
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_messages(1);
    append("<message to='sidecar.e.test' from='e.test'><body>");
    append(large);
    append("</body></message>");
    write_messages(1);
    pump();
    assert_archived(2);
    assert_int_equal(buf_len(&s.archive.aside), 0); /* it is nobody's message */
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
    assert_int_equal(s.reconnects, 0);
    assert_int_equal(s.errors, 0);
}

static void a_stream_that_is_no_xml_is_given_up_and_the_next_one_read(void **state)
{
    (void)state;
    struct err e;
    uint64_t epoch;
    feed_archive_open(s.feed, &s.archive);
    write_messages(1);
    append("<message></oops>");
    write_messages(1); /* cannot be trusted any more */
    pump();
    assert_int_equal(s.reconnects, 1);
    assert_int_equal(s.errors, 1);
    assert_archived(1);
    s.written = 1;
    assert_int_equal(spool_stream_close(s.spool, "as asked", s.world.real_us, &e), ERR_NONE);
    assert_int_equal(spool_stream_open(s.spool, (const uint8_t *)HEADER, strlen(HEADER),
                                       s.world.real_us, &epoch, &e),
                     ERR_NONE);
    write_messages(2);
    pump();
    assert_archived(3);
    assert_int_equal(s.reconnects, 1);
}

static void end_stream(const char *why)
{
    struct err e;
    s.world.real_us += SECOND_US;
    assert_int_equal(spool_stream_close(s.spool, why, s.world.real_us, &e), ERR_NONE);
}

static void begin_stream(void)
{
    struct err e;
    uint64_t epoch;
    s.world.real_us += SECOND_US;
    assert_int_equal(spool_stream_open(s.spool, (const uint8_t *)HEADER, strlen(HEADER),
                                       s.world.real_us, &epoch, &e),
                     ERR_NONE);
}

/* Two gaps, the second of which begins with half a stanza; what the archive must hear. */
static void write_two_gaps(char expected[512])
{
    long long t = s.world.real_us, second = SECOND_US;
    write_messages(1);
    end_stream("server \xff restarts");
    begin_stream();
    write_messages(1);
    append("<message><half");
    end_stream("connection reset");
    begin_stream();
    write_messages(1);
    snprintf(expected, 512,
             "+1 at %lld\n-1 at %lld server ? restarts\n+2 at %lld\n"
             "-2 at %lld connection reset; half a stanza was dropped\n+3 at %lld\n",
             t, t + second, t + 2 * second, t + 2 * second, t + 4 * second);
}

static void the_archive_hears_when_a_stream_ended_and_the_next_began(void **state)
{
    (void)state;
    char expected[512];
    feed_archive_open(s.feed, &s.archive);
    pump(); /* joined */
    write_two_gaps(expected);
    pump();
    assert_string_equal(buf_cstr(&s.archive.streams), expected);
    assert_archived(3);
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
}

static void an_archive_that_comes_later_hears_the_same_of_streams(void **state)
{
    (void)state;
    char expected[512];
    write_two_gaps(expected);
    pump();
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_string_equal(buf_cstr(&s.archive.streams), expected);
    assert_archived(3);
}

/* It takes one thing at a time, and every other worker dies after it. */
static void streams_are_told_to_a_full_archive_and_over_the_death_of_workers(void **state)
{
    (void)state;
    char expected[512];
    write_two_gaps(expected);
    for (int i = 0; i < 20; i++) {
        s.archive.room = 1;
        feed_archive_open(s.feed, &s.archive);
        pump();
        if (i % 2)
            next_worker(0, feed_live_position(s.feed));
    }
    s.archive.room = SIZE_MAX;
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_string_equal(buf_cstr(&s.archive.streams), expected);
    assert_archived(3);
}

/* T1: what RFC 6120 forbids ends the stream, not the worker. */
static void a_stream_with_restricted_xml_is_asked_to_begin_again(void **state)
{
    (void)state;
    static const char *const forbidden[] = {"<!DOCTYPE m [<!ENTITY a 'b'>]><m>&a;</m>",
                                            "<!-- x -->", "<?php x?>", "<m>&nbsp;</m>"};
    struct err e;
    uint64_t epoch;
    feed_archive_open(s.feed, &s.archive);
    for (unsigned i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        write_messages(1);
        append(forbidden[i]);
        pump();
        assert_int_equal(s.reconnects, i + 1);
        assert_int_equal(s.errors, i + 1);
        assert_archived(i + 1);
        assert_int_equal(spool_stream_close(s.spool, "as asked", s.world.real_us, &e),
                         ERR_NONE);
        assert_int_equal(spool_stream_open(s.spool, (const uint8_t *)HEADER, strlen(HEADER),
                                           s.world.real_us, &epoch, &e),
                         ERR_NONE);
    }
}

/* --- what is passed over --- */

static char large_text[100 << 10];

static const char *large(void)
{
    memset(large_text, 'y', sizeof large_text - 1);
    return large_text;
}

/* A copy of what stands between the two halves, over the limit. */
static void write_large_copy(const char *before, const char *after)
{
    append("<message to='sidecar.e.test' from='e.test' id='c'><forwarded "
           "xmlns='urn:xmpp:forward:0'>");
    append(before);
    append(large());
    append(after);
    append("</forwarded></message>");
}

static const char *aside(void)
{
    return buf_cstr(&s.archive.aside);
}

static void a_message_over_the_limit_is_put_aside_in_its_place(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_messages(1);
    write_large_copy("<message xmlns='jabber:client' from='a@e.test/x' to='b@e.test'><body>",
                     "</body></message>");
    write_messages(1);
    pump();
    assert_archived(2);
    assert_string_equal(aside(), "over a limit: size (bytes) ");
    s.archive.room = 0; /* and where there is no room, it is offered again */
    write_large_copy("<message xmlns='jabber:client' from='a@e.test/x' to='b@e.test'><body>",
                     "</body></message>");
    write_messages(1);
    pump();
    assert_archived(2);
    s.archive.room = SIZE_MAX;
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(3);
    assert_string_equal(aside(), "over a limit: size (bytes) over a limit: size (bytes) ");
    assert_int_equal(s.errors, 0);
}

static void other_peoples_requests_over_the_limit_are_not_put_aside(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    write_large_copy("<iq xmlns='jabber:client' type='get' from='a@e.test/x' to='b@e.test/y' "
                     "id='q'><query xmlns='urn:private'>",
                     "</query></iq>");
    append("<presence from='a@e.test/x' to='sidecar.e.test'><status>");
    append(large());
    append("</status></presence>");
    write_messages(1);
    pump();
    assert_archived(1);
    assert_string_equal(aside(), "");
}

static void a_question_over_the_limit_gets_its_error(void **state)
{
    (void)state;
    append("<iq type='get' from='a@e.test/x' to='sidecar.e.test' id='q1'>"
           "<ping xmlns='urn:xmpp:ping'>");
    append(large());
    append("</ping></iq>");
    append("<iq type='set' from='e.test' to='sidecar.e.test' id='outer'>"
           "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"
           "<iq xmlns='jabber:client' type='set' from='a@e.test/x' to='a@e.test' id='inner'>"
           "<query xmlns='urn:xmpp:mam:2'>");
    append(large());
    append("</query></iq></forwarded></delegation></iq>");
    append("<iq type='result' from='a@e.test/x' to='sidecar.e.test' id='q2'><x>");
    append(large());
    append("</x></iq>");
    pump();
    assert_true(was_answered("q1"));
    assert_true(was_answered("inner"));
    assert_false(was_answered("q2"));
    assert_non_null(strstr(buf_cstr(&s.world.sent), "policy-violation"));
    assert_null(strstr(buf_cstr(&s.world.sent), "yyyy"));
}

static void a_message_with_an_address_that_is_none_is_put_aside(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    pump();
    append(COPY("<message xmlns='jabber:client' from='@e.test/x' to='b@e.test' id='bad'>"
                "<body>hello</body></message>"));
    append("<message to='sidecar.e.test' from='e.test' id='c'><forwarded "
           "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@e.test/x' to='");
    for (int i = 0; i < 600; i++)
        append("yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
    append("@e.test'><body>hello</body></message></forwarded></message>");
    write_messages(1);
    pump();
    assert_archived(1);
    assert_string_equal(aside(), "copy of a message with an address that is none (bytes) "
                                 "copy of a message with an address that is none (bytes) ");
    assert_int_equal(s.errors, 0);
}

/* --- after a worker's own fault --- */

static struct place place_of_next(void)
{
    return (struct place){.begin = s.live, .end = 0};
}

/* As the supervisor does at a death. */
static void die(const struct place *in_hand, unsigned times)
{
    page_text_set(&s.page->fault_why, "signal 11");
    page_place_set(&s.page->fault, in_hand);
    atomic_store(&s.page->fault_times, times);
}

static void poison_is_passed_over_by_both_cursors(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    write_messages(1);
    pump();
    uint64_t snapshot = s.live;
    struct place poison = place_of_next();
    write_messages(1);
    pump();
    poison.end = s.live;
    write_messages(1);
    die(&poison, 2);
    s.archive.passed = snapshot; /* it was not committed */
    buf_reset(&s.archive.ids);
    next_worker(0, snapshot);
    assert_int_equal(hand_poison_count(s.hand), 1);
    assert_false(hand_is_careful(s.hand));
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_string_equal(buf_cstr(&s.archive.ids), "m3 ");
    assert_string_equal(aside(),
                        "the worker died with it in hand, 2 times: signal 11 (bytes) ");
    /* The worker after that one knows it as well, until nobody reads there again. */
    next_worker(0, snapshot);
    assert_int_equal(hand_poison_count(s.hand), 1);
    hand_released(s.hand, 0, poison.end - 1);
    assert_int_equal(hand_poison_count(s.hand), 1);
    hand_released(s.hand, 0, poison.end);
    assert_int_equal(hand_poison_count(s.hand), 0);
}

static void a_question_that_is_poison_gets_its_error_and_leaves_no_bytes(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    write_messages(1);
    pump();
    struct place poison = place_of_next();
    uint64_t before = s.live;
    ask("q1");
    pump();
    poison.end = s.live;
    buf_reset(&s.world.sent);
    die(&poison, 2);
    s.archive.passed = before;
    s.world.was_open = true;
    next_worker(0, poison.end);
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_true(was_answered("q1"));
    assert_non_null(strstr(buf_cstr(&s.world.sent), "internal-server-error"));
    assert_string_equal(aside(),
                        "the worker died with it in hand, 2 times: signal 11 (no bytes) ");
}

static void a_careful_worker_has_one_stanza_at_a_time_in_hand(void **state)
{
    (void)state;
    struct place held;
    feed_archive_open(s.feed, &s.archive);
    write_messages(3);
    pump();
    s.archive.passed = 0; /* and nothing of it was committed */
    buf_reset(&s.archive.ids);
    uint64_t end = s.live;
    atomic_store(&s.page->links[0].live_pos, end);
    die(NULL, 1);
    s.archive.slow = true;
    s.archive.begin = NOTHING;
    next_worker(0, end);
    assert_true(hand_is_careful(s.hand));
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(0); /* first a while with nothing in hand */
    assert_false(page_place_get(&s.page->in_hand, &held));
    world_pass(&s.world, HAND_QUIET_MS);
    uint64_t last = 0;
    for (unsigned i = 1; i <= 3; i++) {
        pump();
        assert_archived(i);
        assert_true(page_place_get(&s.page->in_hand, &held));
        assert_true(held.begin >= last && held.end <= end);
        last = held.end;
        hand_passed(s.hand, 0, s.live, ingest_committed(&s.archive, 0));
        assert_true(hand_is_careful(s.hand));
        pump(); /* nothing new before this one is committed */
        assert_archived(i);
        s.archive.begin = NOTHING;
    }
    pump();
    assert_false(page_place_get(&s.page->in_hand, &held));
    hand_passed(s.hand, 0, feed_live_position(s.feed), s.archive.passed);
    assert_false(hand_is_careful(s.hand));
    assert_int_equal(atomic_load(&s.page->fault_times), 0);
    s.archive.slow = false;
    write_messages(2);
    pump();
    assert_archived(5);
}

static void a_careful_worker_waits_for_the_answer_before_it_reads_on(void **state)
{
    (void)state;
    struct place held;
    ask("q1");
    ask("q2");
    die(NULL, 1);
    next_worker(0, 0);
    world_pass(&s.world, HAND_QUIET_MS);
    s.keep_open = true; /* as if the answer came from PostgreSQL, later */
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_true(was_answered("q1"));
    assert_false(was_answered("q2"));
    assert_true(page_place_get(&s.page->in_hand, &held));
    assert_int_equal(s.archive.no_more, 1); /* it must not wait for what now waits for it */
    pump();
    assert_false(was_answered("q2"));
    s.open = s.keep_open = false;
    pump();
    assert_true(was_answered("q2"));
    assert_false(page_place_get(&s.page->in_hand, &held));
}

/* The live cursor stops where its turn is over, which is rarely where a record ends. */
static void
an_archive_that_comes_up_with_the_live_cursor_inside_a_record_misses_nothing(void **state)
{
    (void)state;
    struct buf xml;
    buf_init(&xml, 1 << 20);
    write_messages(10);
    pump();
    s.archive.start = s.live; /* as the last worker left it, which had not stored its state */
    s.written = 0;
    for (unsigned n = 0; n < 600; n++)
        next_message(&xml);
    assert_true(buf_len(&xml) > 130000); /* two turns and more */
    append_record(&xml);
    next_worker(0, 0);
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_archived(600);
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
    assert_int_equal(s.errors, 0);
    buf_deinit(&xml);
}

/* What the last worker stored of its state cannot be read, as after an upgrade, and what the
 * stream began with is released. */
static void a_worker_that_knows_nothing_of_a_stream_asks_for_a_new_one(void **state)
{
    (void)state;
    struct spool_settings small = {.size_max = 64 << 20, .segment_bytes = 4096};
    spool_set_settings(s.spool, &small);
    feed_archive_open(s.feed, &s.archive);
    write_messages(60);
    pump();
    spool_delete_below(s.spool, s.live);
    spool_wait(s.spool);
    next_worker(0, s.live);
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_int_equal(s.reconnects, 1);
    assert_int_equal(s.errors, 0); /* nothing is wrong with the spool */
    end_stream("as asked");
    begin_stream();
    write_messages(2);
    pump();
    assert_archived(62);
}

/* In the only segment. */
static void damage(uint64_t at)
{
    uint64_t *bases;
    size_t n;
    assert_true(segment_list(s.dir.spool, &bases, &n));
    assert_int_equal(n, 1);
    char name[SEGMENT_NAME_BYTES], path[PATH_MAX];
    segment_name(bases[0], name);
    snprintf(path, sizeof path, "%s/%s", s.dir.spool, name);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "!!!!", 4, (off_t)(at - bases[0])), 4);
    close(fd);
    free(bases);
}

/* It has a boundary of its own, and must not join who is still looking for one. */
static void what_is_damaged_before_the_archives_place_costs_it_nothing(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    write_messages(5);
    pump();
    damage(s.live - 100);
    buf_reset(&s.archive.ids);
    next_worker(0, s.live);
    feed_archive_open(s.feed, &s.archive);
    struct buf xml;
    buf_init(&xml, 1024);
    next_message(&xml);
    char *half = strdup(buf_cstr(&xml));
    half[100] = '\0';
    append(half);
    pump();
    assert_int_equal(s.errors, 1);
    append(buf_cstr(&xml) + 100);
    write_messages(1);
    pump();
    end_stream("as asked");
    begin_stream();
    write_messages(1);
    pump();
    assert_string_equal(buf_cstr(&s.archive.ids), "m6 m7 m8 ");
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
    assert_int_equal(feed_behind_us(s.feed, s.world.real_us), 0);
    free(half);
    buf_deinit(&xml);
}

/* It could not be understood until the next segment begins, which may be in days. */
static void
a_stream_whose_header_is_damaged_is_told_once_and_asked_to_begin_again(void **state)
{
    (void)state;
    feed_archive_open(s.feed, &s.archive);
    write_messages(1);
    pump(); /* joined */
    end_stream("bye");
    uint64_t at = spool_end(s.spool);
    begin_stream();
    damage(at + 100);
    write_messages(5);
    pump();
    assert_int_equal(s.errors, 2); /* that it is damaged, and that what follows is lost */
    assert_int_equal(s.reconnects, 1);
    end_stream("as asked");
    begin_stream();
    s.written = 1;
    write_messages(2);
    pump();
    assert_archived(3);
}

/* It may be damaged since the live cursor read it. */
static void
what_the_archive_alone_cannot_read_is_told_and_a_new_stream_is_asked_for(void **state)
{
    (void)state;
    write_messages(5);
    pump();
    damage(s.live - 700);
    feed_archive_open(s.feed, &s.archive);
    pump();
    assert_int_equal(s.errors, 1);
    assert_int_equal(s.reconnects, 1);
    assert_archived(2);
    write_messages(2);
    end_stream("as asked"); /* which tells where its stanzas began again */
    begin_stream();
    write_messages(1);
    pump();
    assert_string_equal(buf_cstr(&s.archive.ids), "m1 m2 m5 m6 m7 m8 ");
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
    assert_int_equal(s.archive.passed, feed_live_position(s.feed));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_archive_that_keeps_up_is_fed_in_the_same_pass),
        TEST(without_an_archive_questions_are_answered_and_messages_wait),
        TEST(a_full_archive_reads_again_from_what_it_refused),
        TEST(a_turn_is_short_however_much_is_waiting),
        TEST(the_second_copy_of_a_message_reaches_nobody_but_moves_the_place),
        TEST(what_was_refused_is_given_again_though_its_bytes_were_seen),
        TEST(a_new_worker_reads_what_the_one_before_it_knew),
        TEST(an_archive_that_is_full_again_and_again_misses_and_repeats_nothing),
        TEST(the_lag_is_the_age_of_what_the_archive_was_given_last),
        TEST(an_archive_that_kept_up_for_long_is_behind_from_where_it_was_full),
        TEST(the_next_worker_archives_from_the_place_that_is_stored),
        TEST(a_live_cursor_that_starts_behind_the_archive_gives_nothing_twice),
        TEST(a_live_cursor_far_behind_the_archive_offers_nothing_again),
        TEST(a_replay_answers_only_what_the_last_worker_left_open),
        TEST(a_new_feed_says_nothing_before_it_is_pumped),
        TEST(a_stanza_over_the_limit_costs_only_itself),
        TEST(the_archive_hears_when_a_stream_ended_and_the_next_began),
        TEST(an_archive_that_comes_later_hears_the_same_of_streams),
        TEST(streams_are_told_to_a_full_archive_and_over_the_death_of_workers),
        TEST(a_stream_that_is_no_xml_is_given_up_and_the_next_one_read),
        TEST(a_stream_with_restricted_xml_is_asked_to_begin_again),
        TEST(a_message_over_the_limit_is_put_aside_in_its_place),
        TEST(other_peoples_requests_over_the_limit_are_not_put_aside),
        TEST(a_question_over_the_limit_gets_its_error),
        TEST(a_message_with_an_address_that_is_none_is_put_aside),
        TEST(poison_is_passed_over_by_both_cursors),
        TEST(a_question_that_is_poison_gets_its_error_and_leaves_no_bytes),
        TEST(a_careful_worker_has_one_stanza_at_a_time_in_hand),
        TEST(a_careful_worker_waits_for_the_answer_before_it_reads_on),
        TEST(an_archive_that_comes_up_with_the_live_cursor_inside_a_record_misses_nothing),
        TEST(a_worker_that_knows_nothing_of_a_stream_asks_for_a_new_one),
        TEST(what_is_damaged_before_the_archives_place_costs_it_nothing),
        TEST(a_stream_whose_header_is_damaged_is_told_once_and_asked_to_begin_again),
        TEST(what_the_archive_alone_cannot_read_is_told_and_a_new_stream_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
