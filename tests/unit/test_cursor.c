// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/cursor.h"
#include "component/record.h"
#include "component/segments.h"
#include "component/spool.h"
#include "tests/unit/roll.h"
#include "tests/unit/spool_dir.h"

#define HEADER                                                                                \
    "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' "    \
    "xmlns='jabber:component:accept' from='sidecar.e.test' id='s1'>"
#define SEEN_MAX 4096

/* What a cursor told, one line per event. */
struct seen {
    struct {
        char id[32];
        struct place place;
        uint64_t epoch;
        int64_t received_us;
    } stanzas[SEEN_MAX];
    size_t n;
    unsigned opened, resumed, closed, half, skipped, lost, lost_streaming, broken;
    uint64_t lost_bytes, found_bytes, skipped_bytes;
    unsigned found, refuse; /* the one that is refused, 0: none */
    char why[128];
    int64_t last_us;                  /* of the stream that ended last */
    struct place closed_at, began_at; /* of the last that ended, and that was seen to begin */
    struct cursor *c;
    size_t stop_after; /* stanzas, 0: never */
};

static struct temp_dir dir;
static struct spool *spool;
static struct seen seen, other;

static void open_spool(uint64_t segment_bytes)
{
    struct spool_settings set = {.size_max = 64 << 20, .segment_bytes = segment_bytes};
    struct err e;
    if (spool_open(dir.spool, &set, &spool, &e) != ERR_NONE)
        fail_msg("%s", e.text);
}

static int setup(void **state)
{
    (void)state;
    temp_dir_make(&dir);
    rng = 1;
    open_spool(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    spool_close(&spool);
    temp_dir_drop(&dir);
    return 0;
}

static void on_stanza(void *ctx, struct stanza *s, const struct place *place, int64_t us,
                      uint64_t epoch)
{
    struct seen *v = ctx;
    assert_true(v->n < SEEN_MAX);
    const char *id = stanza_get(s, "id");
    snprintf(v->stanzas[v->n].id, sizeof v->stanzas[0].id, "%s", id ? id : "");
    v->stanzas[v->n].place = *place;
    v->stanzas[v->n].epoch = epoch;
    v->stanzas[v->n++].received_us = us;
    stanza_free(&s);
    if (v->stop_after && v->n == v->stop_after)
        cursor_stop(v->c);
}

static void on_opened(void *ctx, const struct cursor_opened *o)
{
    struct seen *v = ctx;
    v->opened++;
    v->resumed += o->resumed;
    if (!o->resumed)
        v->began_at = o->place;
    assert_string_equal(o->id, "s1");
    assert_string_equal(o->from, "sidecar.e.test");
}

static void on_closed(void *ctx, const struct cursor_closed *o)
{
    struct seen *v = ctx;
    v->closed++;
    v->half += o->half_stanza;
    v->last_us = o->last_us;
    v->closed_at = o->place;
    snprintf(v->why, sizeof v->why, "%s", o->why);
}

static bool on_found(void *ctx, const struct cursor_piece *p)
{
    struct seen *v = ctx;
    v->found++;
    v->found_bytes += p->bytes;
    assert_true(p->place.end - p->place.begin >= p->bytes);
    return v->found != v->refuse;
}

static void on_skipped(void *ctx, const struct cursor_piece *p)
{
    struct seen *v = ctx;
    v->skipped++;
    v->skipped_bytes = p->bytes;
    snprintf(v->why, sizeof v->why, "%s %s", p->name, p->why);
}

static void on_lost(void *ctx, uint64_t epoch, uint64_t begin, uint64_t end, bool streaming,
                    const char *why)
{
    struct seen *v = ctx;
    (void)epoch;
    assert_true(begin <= end);
    v->lost++;
    v->lost_streaming += streaming;
    v->lost_bytes += end - begin;
    snprintf(v->why, sizeof v->why, "%s", why);
}

static void on_broken(void *ctx, uint64_t epoch, const char *why)
{
    struct seen *v = ctx;
    (void)epoch;
    v->broken++;
    snprintf(v->why, sizeof v->why, "%s", why);
}

static struct cursor *start_at(struct seen *v, uint64_t position,
                               const struct xml_parse_opts *limits)
{
    struct cursor_events ev = {.stanza = on_stanza,
                               .opened = on_opened,
                               .closed = on_closed,
                               .found = on_found,
                               .skipped = on_skipped,
                               .lost = on_lost,
                               .broken = on_broken,
                               .ctx = v};
    memset(v, 0, sizeof *v);
    v->c = cursor_new(dir.spool, 3, position, limits, &ev);
    return v->c;
}

static void read_all(struct seen *v, uint64_t position)
{
    struct cursor *c = start_at(v, position, NULL);
    while (cursor_pump(c, spool_end(spool), 1 + roll(5000)))
        ;
    assert_int_equal(cursor_read_position(c), spool_end(spool));
    cursor_free(&c);
}

static void open_stream(void)
{
    uint64_t epoch;
    assert_int_equal(
        spool_stream_open(spool, (const uint8_t *)HEADER, strlen(HEADER), 5, &epoch, NULL),
        ERR_NONE);
}

static void close_stream(void)
{
    assert_int_equal(spool_stream_close(spool, "bye", 6, NULL), ERR_NONE);
}

static int64_t write_us;

/* Appends the text in pieces of at most `piece` bytes (random up to it when cut is set). */
static void append(const char *text, size_t piece, bool cut)
{
    for (size_t len = strlen(text); len > 0;) {
        size_t n = cut ? 1 + roll((unsigned)piece) : piece;
        n = n < len ? n : len;
        assert_int_equal(spool_append(spool, (const uint8_t *)text, n, ++write_us, NULL),
                         ERR_NONE);
        text += n;
        len -= n;
    }
}

static void append_messages(unsigned from, unsigned n, size_t piece, bool cut)
{
    for (unsigned i = from; i < from + n; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "%s<message id='m%u'><forwarded><message id='inner%u'><body>a &gt; b</body>"
                 "<x y='a&gt;\"b'/></message></forwarded></message>%s",
                 i % 3 ? "" : " \n", i, i, i % 5 ? "" : " ");
        append(text, piece, cut);
    }
}

static void expect_messages(const struct seen *v, size_t at, unsigned from, unsigned n)
{
    assert_true(v->n >= at + n);
    for (unsigned i = 0; i < n; i++) {
        char id[32];
        snprintf(id, sizeof id, "m%u", from + i);
        assert_string_equal(v->stanzas[at + i].id, id);
    }
}

static void expect_same(const struct seen *a, size_t from, const struct seen *b)
{
    assert_int_equal(a->n - from, b->n);
    for (size_t i = 0; i < b->n; i++) {
        assert_string_equal(a->stanzas[from + i].id, b->stanzas[i].id);
        assert_int_equal(a->stanzas[from + i].place.begin, b->stanzas[i].place.begin);
        assert_int_equal(a->stanzas[from + i].place.end, b->stanzas[i].place.end);
        assert_int_equal(a->stanzas[from + i].epoch, b->stanzas[i].epoch);
        assert_int_equal(a->stanzas[from + i].received_us, b->stanzas[i].received_us);
    }
}

/* Flips one byte of the file that holds this spool offset. */
static void damage(uint64_t offset)
{
    uint64_t *bases, base = 0;
    size_t n;
    char name[SEGMENT_NAME_BYTES], path[128];
    assert_true(segment_list(dir.spool, &bases, &n));
    for (size_t i = 0; i < n && bases[i] <= offset; i++)
        base = bases[i];
    free(bases);
    segment_name(base, name);
    snprintf(path, sizeof path, "%s/%s", dir.spool, name);
    int fd = open(path, O_RDWR);
    uint8_t b;
    assert_int_equal(pread(fd, &b, 1, (off_t)(offset - base)), 1);
    b ^= 0x5A;
    assert_int_equal(pwrite(fd, &b, 1, (off_t)(offset - base)), 1);
    close(fd);
}

static void remove_segment(size_t index)
{
    uint64_t *bases;
    size_t n;
    char name[SEGMENT_NAME_BYTES], path[128];
    assert_true(segment_list(dir.spool, &bases, &n) && index < n);
    segment_name(bases[index], name);
    free(bases);
    snprintf(path, sizeof path, "%s/%s", dir.spool, name);
    assert_int_equal(unlink(path), 0);
}

static void test_resuming_after_any_stanza_gives_the_same_stanzas_and_places(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 7, 100, 100000};
    for (size_t p = 0; p < 4; p++) {
        teardown(NULL);
        temp_dir_make(&dir);
        open_spool(p == 0 ? 100000 : 4096);
        open_stream();
        append_messages(0, 30, pieces[p], true);
        close_stream();
        open_stream();
        append_messages(30, 30, pieces[p], true);
        append("</stream:stream>", pieces[p], true);
        close_stream();
        open_stream();
        append_messages(60, 20, pieces[p], true);
        read_all(&seen, 0);
        assert_int_equal(seen.n, 80);
        expect_messages(&seen, 0, 0, 80);
        assert_int_equal(seen.opened, 3);
        assert_int_equal(seen.resumed + seen.half + seen.lost + seen.broken, 0);
        assert_int_equal(seen.closed, 2);
        for (size_t i = 0; i < 80; i++) {
            read_all(&other, seen.stanzas[i].place.end);
            expect_same(&seen, i + 1, &other);
            assert_int_equal(other.lost + other.broken, 0);
            assert_int_equal(other.half, 0);
        }
    }
}

static void test_resuming_where_a_stopped_cursor_stands_misses_nothing(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 50, 5000, true);
    read_all(&seen, 0);
    uint64_t position = 0;
    for (size_t i = 0; i < 50; i++) {
        struct cursor *c = start_at(&other, position, NULL);
        other.stop_after = 1;
        assert_true(cursor_pump(c, spool_end(spool), 1 << 20));
        assert_int_equal(other.n, 1);
        assert_string_equal(other.stanzas[0].id, seen.stanzas[i].id);
        assert_int_equal(other.stanzas[0].place.begin, seen.stanzas[i].place.begin);
        position = cursor_position(c);
        assert_int_equal(position, seen.stanzas[i].place.end);
        /* And the same cursor goes on from there. */
        other.stop_after = 0;
        assert_false(cursor_pump(c, spool_end(spool), 1 << 20));
        assert_int_equal(other.n, 50 - i);
        cursor_free(&c);
    }
}

static void test_follows_a_spool_that_grows(void **state)
{
    (void)state;
    teardown(NULL);
    temp_dir_make(&dir);
    open_spool(4096);
    struct cursor *c = start_at(&seen, 0, NULL);
    assert_false(cursor_pump(c, spool_end(spool), 4096));
    open_stream();
    for (unsigned i = 0; i < 200; i++) {
        append_messages(i, 1, 60, true);
        while (cursor_pump(c, spool_end(spool), 100))
            ;
        assert_int_equal(seen.n, i + 1);
        spool_delete_below(spool, cursor_position(c));
    }
    expect_messages(&seen, 0, 0, 200);
    assert_int_equal(seen.lost + seen.broken, 0);
    cursor_free(&c);
}

static void test_reads_only_up_to_the_published_end(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 5, 100000, false);
    uint64_t limit = spool_end(spool);
    append_messages(5, 5, 100000, false);
    struct cursor *c = start_at(&seen, 0, NULL);
    assert_false(cursor_pump(c, limit, 1 << 20));
    assert_int_equal(seen.n, 5);
    assert_int_equal(cursor_read_position(c), limit);
    cursor_free(&c);
}

static void test_follows_another_cursor_into_the_middle_of_records(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 400, 700, false);
    append_messages(400, 200, 1 << 20, false);
    struct cursor *behind = start_at(&other, 0, NULL), *ahead = start_at(&seen, 0, NULL);
    while (cursor_read_position(behind) < spool_end(spool)) {
        (void)cursor_pump(ahead, spool_end(spool), 1 + roll(300));
        (void)cursor_follow(behind, ahead, spool_end(spool), 1 + roll(500));
        assert_true(cursor_read_position(behind) <= cursor_read_position(ahead));
    }
    expect_messages(&other, 0, 0, 600);
    expect_same(&seen, 0, &other);
    assert_int_equal(other.lost + other.broken + other.skipped, 0);
    cursor_free(&behind);
    cursor_free(&ahead);
}

static void test_close_drops_half_a_stanza(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 2, 100, true);
    append("<message id='half'><body>x", 100, false);
    close_stream();
    open_stream();
    append_messages(2, 2, 100, true);
    read_all(&seen, 0);
    assert_int_equal(seen.n, 4);
    expect_messages(&seen, 0, 0, 4);
    assert_int_equal(seen.half, 1);
    assert_string_equal(seen.why, "bye");
    read_all(&other, seen.stanzas[1].place.end);
    expect_same(&seen, 2, &other);
    assert_int_equal(other.half, 1);
}

static void test_a_new_epoch_without_close_closes_the_old_one(void **state)
{
    (void)state;
    open_stream();
    append("<message id='m0'/><mess", 100, false);
    spool_close(&spool);
    open_spool(0);
    open_stream();
    append("<message id='m1'/>", 100, false);
    read_all(&seen, 0);
    expect_messages(&seen, 0, 0, 2);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.half, 1);
    assert_int_equal(seen.lost + seen.broken, 0);
}

/* Where a stream ended, in place and time, is the same for whoever reads it again, from the
 * last stanza or from the end itself. */
static void test_the_end_of_a_stream_has_one_place_and_time(void **state)
{
    (void)state;
    static const struct {
        const char *half;
        bool closed;
    } ends[] = {{"", true}, {"<message><bo", true}, {"", false}, {"<message><bo", false}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        uint64_t begin = spool_end(spool);
        open_stream();
        append("<message id='m0'/>", 100, false);
        append(ends[i].half, 100, false);
        int64_t last_us = *ends[i].half || !ends[i].closed ? write_us : 6;
        if (ends[i].closed)
            close_stream();
        open_stream();
        append("<message id='m1'/>", 100, false);
        read_all(&seen, begin);
        size_t n = seen.n;
        assert_int_equal(seen.last_us, last_us);
        assert_int_equal(seen.half > 0, *ends[i].half != 0);
        assert_int_equal(seen.closed_at.begin, seen.stanzas[n - 2].place.end);
        assert_int_equal(seen.began_at.end, seen.stanzas[n - 1].place.begin);
        assert_true(seen.closed_at.end > seen.closed_at.begin);
        read_all(&other, seen.closed_at.begin);
        assert_int_equal(other.last_us, last_us);
        assert_memory_equal(&other.closed_at, &seen.closed_at, sizeof seen.closed_at);
        assert_memory_equal(&other.began_at, &seen.began_at, sizeof seen.began_at);
        read_all(&other, seen.began_at.begin);
        assert_int_equal(other.n, 1);
        assert_memory_equal(&other.began_at, &seen.began_at, sizeof seen.began_at);
        spool_delete_below(spool, spool_end(spool));
        spool_wait(spool);
        close_stream();
    }
}

/* The service was stopped and started: the new stream is in a new segment, and who reads on
 * from the end of the old one looks back for when that was. */
static void test_the_end_of_the_last_run_is_found_from_the_beginning_of_the_next(void **state)
{
    (void)state;
    open_stream();
    append("<message id='m0'/>", 100, false);
    int64_t last_us = write_us;
    spool_close(&spool);
    open_spool(0);
    uint64_t end = spool_end(spool);
    open_stream();
    append("<message id='m1'/>", 100, false);
    read_all(&seen, end);
    expect_messages(&seen, 0, 1, 1);
    assert_int_equal(seen.closed, 1);
    assert_int_equal(seen.last_us, last_us);
    assert_int_equal(seen.closed_at.begin, end);
    assert_true(seen.closed_at.end > end);
    spool_delete_below(spool, end - 1); /* as the worker asks */
    spool_wait(spool);
    read_all(&other, end);
    assert_int_equal(other.last_us, last_us);
    spool_delete_below(spool, end);
    spool_wait(spool);
    read_all(&other, end);
    assert_int_equal(other.closed + other.lost, 0);
}

static void test_the_jump_after_a_crash_is_no_loss(void **state)
{
    (void)state;
    char clean[128];
    open_stream();
    append("<message id='m0'/>", 100, false);
    spool_close(&spool);
    snprintf(clean, sizeof clean, "%s/clean", dir.spool);
    unlink(clean);
    open_spool(0);
    read_all(&seen, 0);
    uint64_t after = seen.stanzas[0].place.end;
    open_stream();
    append("<message id='m1'/>", 100, false);
    read_all(&seen, after);
    expect_messages(&seen, 0, 1, 1);
    assert_int_equal(seen.lost, 0);
    /* A power cut took bytes that somebody had read: their offsets mean nothing now. */
    read_all(&seen, after + 1000);
    expect_messages(&seen, 0, 1, 1);
}

static void test_a_damaged_record_costs_what_it_holds(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 100, 300, true);
    close_stream();
    open_stream();
    append_messages(100, 10, 300, true);
    read_all(&seen, 0);
    uint64_t hit = seen.stanzas[50].place.end - 20;
    damage(hit);
    read_all(&other, 0);
    assert_int_equal(other.lost, 1);
    assert_int_equal(other.lost_streaming, 1);
    assert_int_equal(other.broken, 0);
    assert_in_range(other.n, 100, 109);
    /* Only stanzas near the damage are missing, none is invented, places stay. */
    size_t j = 0;
    for (size_t i = 0; i < seen.n; i++) {
        if (j < other.n && strcmp(seen.stanzas[i].id, other.stanzas[j].id) == 0) {
            assert_int_equal(seen.stanzas[i].place.end, other.stanzas[j].place.end);
            j++;
        } else {
            assert_in_range(i, 45, 55);
        }
    }
    assert_int_equal(j, other.n);
}

/* It then seems to go on beyond the end of its file, as what a power cut has left does. */
static void test_a_record_with_a_damaged_length_costs_what_it_holds(void **state)
{
    (void)state;
    teardown(NULL);
    temp_dir_make(&dir);
    open_spool(20000);
    open_stream();
    append_messages(0, 300, 100000, false);
    close_stream();
    read_all(&seen, 0);
    damage(seen.stanzas[10].place.begin + 10);
    read_all(&other, 0);
    assert_int_equal(other.lost, 1);
    expect_messages(&other, 0, 0, 10);
    assert_in_range(other.n, 298, 299);
    assert_string_equal(other.stanzas[other.n - 1].id, "m299");
    assert_int_equal(other.broken, 0);
}

static void test_damage_anywhere_never_invents_a_stanza(void **state)
{
    (void)state;
    teardown(NULL);
    temp_dir_make(&dir);
    open_spool(4096);
    open_stream();
    append_messages(0, 60, 200, true);
    close_stream();
    uint64_t begin = SPOOL_FIRST, end = spool_end(spool);
    for (uint64_t at = begin; at < end; at += 37) {
        damage(at);
        read_all(&other, 0);
        assert_true(other.lost >= 1);
        assert_int_equal(other.broken, 0);
        assert_true(other.n >= 25);
        for (size_t i = 0; i < other.n; i++)
            assert_int_equal(other.stanzas[i].id[0], 'm');
        damage(at); /* back again */
    }
    read_all(&other, 0);
    assert_int_equal(other.n, 60);
    assert_int_equal(other.lost, 0);
}

static void test_a_missing_segment_is_told_and_reading_goes_on(void **state)
{
    (void)state;
    teardown(NULL);
    temp_dir_make(&dir);
    open_spool(4096);
    open_stream();
    append_messages(0, 100, 300, true);
    close_stream();
    read_all(&seen, 0);
    remove_segment(2);
    read_all(&other, 0);
    assert_int_equal(other.lost, 1);
    assert_string_equal(other.why, "bye");
    assert_true(other.n > 50 && other.n < 100);
    assert_string_equal(other.stanzas[other.n - 1].id, "m99");
    assert_int_equal(other.broken, 0);
}

static void test_a_position_before_the_first_segment_starts_at_the_first(void **state)
{
    (void)state;
    teardown(NULL);
    temp_dir_make(&dir);
    open_spool(4096);
    open_stream();
    append_messages(0, 100, 300, true);
    close_stream();
    read_all(&seen, 0);
    remove_segment(0);
    read_all(&other, seen.stanzas[0].place.end);
    assert_true(other.lost >= 1);
    assert_int_equal(other.broken, 0);
    assert_int_equal(other.resumed, 1);
    assert_string_equal(other.stanzas[other.n - 1].id, "m99");
    for (size_t i = 0; i < other.n; i++)
        assert_int_equal(other.stanzas[i].id[0], 'm');
}

/* While the stream goes on, an inner boundary cannot be told from an outer one: the cursor
 * waits, and what it committed does not move. */
static void test_after_damage_in_a_quiet_stream_it_waits_for_the_end(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 20, 100000, false);
    read_all(&seen, 0);
    damage(seen.stanzas[10].place.end - 3);
    struct cursor *c = start_at(&other, 0, NULL);
    while (cursor_pump(c, spool_end(spool), 100))
        ;
    assert_int_equal(other.n, 10);
    assert_int_equal(other.lost_streaming, 1);
    assert_int_equal(cursor_position(c), seen.stanzas[9].place.end);
    close_stream();
    while (cursor_pump(c, spool_end(spool), 100))
        ;
    /* The first whole stanza after the damage tells where stanzas end. */
    assert_in_range(other.n, 18, 19);
    assert_string_equal(other.stanzas[other.n - 1].id, "m19");
    assert_int_equal(other.half, 0);
    cursor_free(&c);
}

static void test_a_stream_that_is_no_xml_is_passed_over_to_the_next_epoch(void **state)
{
    (void)state;
    open_stream();
    append("<message id='m0'/></wrong>", 7, false);
    append_messages(50, 10, 100, true);
    close_stream();
    open_stream();
    append("<message id='m1'/>", 100, false);
    struct cursor *c = start_at(&seen, 0, NULL);
    while (cursor_pump(c, spool_end(spool), 100))
        if (seen.broken && !seen.closed)
            assert_int_equal(cursor_position(c), seen.stanzas[0].place.end);
    expect_messages(&seen, 0, 0, 2);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.broken, 1);
    assert_int_equal(seen.half, 1);
    cursor_free(&c);
}

static void test_a_stanza_over_its_limit_is_skipped(void **state)
{
    (void)state;
    struct xml_parse_opts limits = xml_parse_defaults;
    limits.stanza_bytes_max = 200;
    open_stream();
    append("<message id='m0'/><message id='big'><body>", 9, false);
    for (int i = 0; i < 50; i++)
        append("0123456789", 9, false);
    append("</body></message><message id='m1'/>", 9, false);
    struct cursor *c = start_at(&seen, 0, &limits);
    while (cursor_pump(c, spool_end(spool), 64))
        ;
    expect_messages(&seen, 0, 0, 2);
    assert_int_equal(seen.skipped, 1);
    assert_int_equal(seen.skipped_bytes,
                     strlen("<message id='big'><body></body></message>") + 500);
    assert_string_equal(seen.why, "message size");
    assert_int_equal(seen.found, 2); /* it never was whole */
    uint64_t after = seen.stanzas[0].place.end;
    cursor_free(&c);
    c = start_at(&other, after, &limits);
    while (cursor_pump(c, spool_end(spool), 64))
        ;
    expect_same(&seen, 1, &other);
    cursor_free(&c);
}

static void test_gives_back_the_bytes_of_a_place(void **state)
{
    (void)state;
    teardown(NULL);
    temp_dir_make(&dir);
    open_spool(4096);
    open_stream();
    append_messages(0, 60, 50, true);
    read_all(&seen, 0);
    struct buf out, header;
    buf_init(&out, 1000);
    buf_init(&header, 1000);
    for (size_t i = 0; i < 60; i++) {
        char want[64];
        buf_reset(&out);
        buf_reset(&header);
        assert_int_equal(cursor_bytes(dir.spool, &seen.stanzas[i].place, &out, &header, NULL),
                         ERR_NONE);
        assert_string_equal(buf_cstr(&header), HEADER);
        snprintf(want, sizeof want, "<message id='m%zu'>", i);
        const char *text = buf_cstr(&out);
        text += strspn(text, " \n");
        assert_memory_equal(text, want, strlen(want));
        assert_string_equal(text + strlen(text) - 10, "</message>");
    }
    struct place gone = {.begin = 5, .end = 10};
    buf_reset(&out);
    assert_int_equal(cursor_bytes(dir.spool, &gone, &out, NULL, NULL), ERR_REJECT);
    buf_deinit(&out);
    buf_deinit(&header);
}

static void test_of_a_large_stanza_it_gives_back_the_beginning(void **state)
{
    (void)state;
    open_stream();
    append("<message id='big'><body>", 9, false);
    for (int i = 0; i < 50; i++)
        append("0123456789", 9, false);
    append("</body></message>", 9, false);
    read_all(&seen, 0);
    struct buf out;
    buf_init(&out, 100);
    assert_int_equal(cursor_bytes(dir.spool, &seen.stanzas[0].place, &out, NULL, NULL),
                     ERR_NONE);
    assert_int_equal(buf_len(&out), 100);
    assert_memory_equal(buf_data(&out), "<message id='big'><body>0123456789", 34);
    buf_deinit(&out);
}

/* As if the first look into it were deadly. */
static void test_a_stanza_that_is_refused_unseen_costs_only_itself(void **state)
{
    (void)state;
    open_stream();
    append_messages(0, 10, 9, false);
    read_all(&seen, 0);
    assert_int_equal(seen.found, 10);
    struct cursor *c = start_at(&other, 0, NULL);
    other.refuse = 4;
    while (cursor_pump(c, spool_end(spool), 64))
        ;
    assert_int_equal(other.n, 9);
    for (size_t i = 0, j = 0; i < 10; i++)
        if (i != 3)
            assert_int_equal(seen.stanzas[i].place.begin, other.stanzas[j++].place.begin);
    assert_int_equal(cursor_position(c), seen.stanzas[9].place.end);
    cursor_free(&c);
    assert_int_equal(other.skipped, 0);
}

static bool on_found_raw(void *ctx, const struct cursor_piece *p)
{
    struct seen *v = ctx;
    assert_true(p->bytes > 20 && memcmp(p->raw, "<message id='m", 14) == 0);
    assert_int_equal(p->raw[p->bytes - 1], '>'); /* whole, however it was cut into records */
    v->skipped++;
    return p->raw[14] != '1';
}

static void a_stanza_can_be_passed_over_by_its_bytes_without_a_trace(void **state)
{
    (void)state;
    struct cursor_events ev = {.found = on_found_raw, .stanza = on_stanza, .ctx = &seen};
    open_stream();
    append_messages(0, 30, 40, true);
    read_all(&other, 0);
    memset(&seen, 0, sizeof seen);
    seen.c = cursor_new(dir.spool, 3, 0, NULL, &ev);
    while (cursor_pump(seen.c, spool_end(spool), 100))
        ;
    assert_int_equal(seen.skipped, 30);
    assert_int_equal(seen.n, 30 - 11); /* m1, m10 ... m19 */
    for (size_t i = 0, k = 0; i < 30; i++) {
        if (other.stanzas[i].id[1] == '1')
            continue;
        assert_string_equal(seen.stanzas[k].id, other.stanzas[i].id);
        assert_int_equal(seen.stanzas[k].place.begin, other.stanzas[i].place.begin);
        assert_int_equal(seen.stanzas[k++].place.end, other.stanzas[i].place.end);
    }
    assert_int_equal(cursor_position(seen.c), other.stanzas[29].place.end);
    cursor_free(&seen.c);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_stanza_can_be_passed_over_by_its_bytes_without_a_trace),
        T(test_resuming_after_any_stanza_gives_the_same_stanzas_and_places),
        T(test_resuming_where_a_stopped_cursor_stands_misses_nothing),
        T(test_follows_a_spool_that_grows),
        T(test_reads_only_up_to_the_published_end),
        T(test_follows_another_cursor_into_the_middle_of_records),
        T(test_close_drops_half_a_stanza),
        T(test_a_new_epoch_without_close_closes_the_old_one),
        T(test_the_end_of_a_stream_has_one_place_and_time),
        T(test_the_end_of_the_last_run_is_found_from_the_beginning_of_the_next),
        T(test_the_jump_after_a_crash_is_no_loss),
        T(test_a_damaged_record_costs_what_it_holds),
        T(test_a_record_with_a_damaged_length_costs_what_it_holds),
        T(test_damage_anywhere_never_invents_a_stanza),
        T(test_a_missing_segment_is_told_and_reading_goes_on),
        T(test_a_position_before_the_first_segment_starts_at_the_first),
        T(test_after_damage_in_a_quiet_stream_it_waits_for_the_end),
        T(test_a_stream_that_is_no_xml_is_passed_over_to_the_next_epoch),
        T(test_a_stanza_over_its_limit_is_skipped),
        T(test_gives_back_the_bytes_of_a_place),
        T(test_of_a_large_stanza_it_gives_back_the_beginning),
        T(test_a_stanza_that_is_refused_unseen_costs_only_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
