// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "component/record.h"
#include "component/segments.h"
#include "component/spool.h"
#include "tests/unit/spool_dir.h"

#define HEADER "<stream:stream id='1'>"
#define GIB ((uint64_t)1 << 30)

static struct temp_dir dir;

static int setup(void **state)
{
    (void)state;
    temp_dir_make(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_drop(&dir);
    return 0;
}

static struct spool *open_kept(uint64_t size_max, uint64_t segment_bytes, uint64_t kept_to)
{
    struct spool_settings set = {
        .size_max = size_max, .segment_bytes = segment_bytes, .kept_to = kept_to};
    struct spool *s;
    struct err e;
    if (spool_open(dir.spool, &set, &s, &e) != ERR_NONE)
        fail_msg("%s", e.text);
    return s;
}

static struct spool *open_spool(uint64_t size_max, uint64_t segment_bytes)
{
    return open_kept(size_max, segment_bytes, 0);
}

static void open_stream(struct spool *s)
{
    uint64_t epoch;
    assert_int_equal(
        spool_stream_open(s, (const uint8_t *)HEADER, strlen(HEADER), 1, &epoch, NULL),
        ERR_NONE);
    assert_int_equal(epoch, spool_epoch(s));
}

static void append(struct spool *s, size_t len)
{
    uint8_t *data = calloc(1, len);
    memset(data, 'x', len);
    assert_int_equal(spool_append(s, data, len, 2, NULL), ERR_NONE);
    free(data);
}

static void newest_path(char *out, size_t size)
{
    uint64_t *bases;
    size_t n;
    char name[SEGMENT_NAME_BYTES];
    assert_true(segment_list(dir.spool, &bases, &n) && n > 0);
    segment_name(bases[n - 1], name);
    free(bases);
    snprintf(out, size, "%s/%s", dir.spool, name);
}

/* As after a kill: the object is gone, nothing marks the spool clean. */
static void forget(struct spool **s)
{
    char clean[128];
    spool_close(s);
    snprintf(clean, sizeof clean, "%s/clean", dir.spool);
    unlink(clean);
}

static void test_files_are_private(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    open_stream(s);
    struct stat st;
    char path[128];
    assert_int_equal(stat(dir.spool, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    newest_path(path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(path, sizeof path, "%s/id", dir.spool);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    spool_close(&s);
}

static void test_id_stays_and_a_spool_without_segments_gets_a_new_one(void **state)
{
    (void)state;
    uint8_t first[UUID_BYTES], again[UUID_BYTES];
    struct spool *s = open_spool(1 << 20, 0);
    memcpy(first, spool_id(s), UUID_BYTES);
    spool_close(&s);
    assert_true(spool_read_id(dir.spool, again));
    assert_memory_equal(first, again, UUID_BYTES);
    s = open_spool(1 << 20, 0);
    assert_memory_equal(first, spool_id(s), UUID_BYTES);
    spool_close(&s);
    char path[128];
    newest_path(path, sizeof path);
    unlink(path);
    s = open_spool(1 << 20, 0);
    assert_memory_not_equal(first, spool_id(s), UUID_BYTES);
    spool_close(&s);
}

static void test_epochs_grow_over_restarts(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    assert_int_equal(spool_epoch(s), 0);
    open_stream(s);
    open_stream(s);
    assert_int_equal(spool_epoch(s), 2);
    assert_int_equal(spool_stream_close(s, "bye", 77, NULL), ERR_NONE);
    forget(&s);
    s = open_spool(1 << 20, 0);
    assert_int_equal(spool_epoch(s), 2);
    assert_int_equal(spool_last_us(s), 77);
    forget(&s);
    s = open_spool(1 << 20, 0); /* the newest segment is empty now */
    assert_int_equal(spool_epoch(s), 2);
    open_stream(s);
    assert_int_equal(spool_epoch(s), 3);
    spool_close(&s);
}

static void test_epochs_grow_even_when_every_record_was_deleted(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    open_stream(s);
    open_stream(s);
    assert_int_equal(spool_stream_close(s, "bye", 77, NULL), ERR_NONE);
    spool_close(&s);
    s = open_spool(1 << 20, 0);
    spool_delete_below(s, spool_end(s));
    assert_int_equal(spool_bytes(s), 0);
    forget(&s);
    s = open_spool(1 << 20, 0);
    assert_int_equal(spool_last_us(s), 77);
    open_stream(s);
    assert_int_equal(spool_epoch(s), 3);
    spool_close(&s);
}

static void test_clean_restart_goes_on_where_it_ended(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    open_stream(s);
    append(s, 100);
    uint64_t end = spool_end(s);
    assert_int_equal(end, SPOOL_FIRST + 2 * RECORD_HEADER_BYTES + strlen(HEADER) + 100);
    spool_close(&s);
    s = open_spool(1 << 20, 0);
    assert_int_equal(spool_end(s), end);
    assert_int_equal(spool_begin(s), SPOOL_FIRST);
    spool_close(&s);
    s = open_spool(1 << 20, 0); /* twice with an empty segment */
    assert_int_equal(spool_end(s), end);
    open_stream(s);
    spool_close(&s);
}

static void test_unclean_restart_never_uses_an_offset_again(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    open_stream(s);
    append(s, 100);
    uint64_t end = spool_end(s);
    forget(&s);
    s = open_spool(1 << 20, 0);
    assert_true(spool_end(s) >= end + GIB && spool_end(s) % GIB == 0);
    end = spool_end(s);
    forget(&s); /* nothing was appended, and still */
    s = open_spool(1 << 20, 0);
    assert_true(spool_end(s) >= end + GIB);
    spool_close(&s);
}

static void test_a_torn_tail_makes_a_clean_mark_void(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    open_stream(s);
    append(s, 5000);
    uint64_t end = spool_end(s);
    char path[128];
    newest_path(path, sizeof path);
    spool_close(&s);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 10), 0);
    s = open_spool(1 << 20, 0);
    assert_true(spool_end(s) >= end + GIB - 10);
    assert_int_equal(spool_epoch(s), 1);
    spool_close(&s);
}

/* What stands in the newest segment: its first record. */
static struct record newest_first(void)
{
    uint64_t *bases;
    size_t n;
    struct segment_reader r;
    struct record rec;
    const uint8_t *payload;
    assert_true(segment_list(dir.spool, &bases, &n) && n > 0);
    segment_reader_init(&r);
    assert_true(segment_reader_open(&r, dir.spool, bases[n - 1]));
    assert_int_equal(segment_reader_next(&r, UINT64_MAX, &rec, &payload), SEGMENT_RECORD);
    segment_reader_deinit(&r);
    free(bases);
    return rec;
}

static void test_a_stream_goes_on_where_its_killed_writer_ended(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 4096);
    spool_stream_skip(s, 100);
    open_stream(s);
    for (int i = 0; i < 20; i++)
        append(s, 1000);
    spool_delete_below(s, spool_end(s)); /* what was deleted is still counted */
    uint64_t end = spool_end(s);
    assert_int_equal(spool_streamed(s), 20100);
    forget(&s);
    s = open_kept(1 << 20, 4096, end);
    assert_int_equal(spool_end(s), end);
    assert_true(spool_resumable(s));
    assert_false(spool_streaming(s));
    assert_int_equal(spool_epoch(s), 1);
    assert_int_equal(spool_streamed(s), 20100);
    assert_int_equal(spool_stream_resume(s, 3, NULL), ERR_NONE);
    assert_true(spool_streaming(s) && !spool_resumable(s));
    struct record first = newest_first();
    assert_int_equal(first.kind, RECORD_AGAIN);
    assert_int_equal(first.epoch, 1);
    assert_int_equal(first.position, end);
    assert_int_equal(first.stream, 20100);
    append(s, 5);
    assert_int_equal(spool_streamed(s), 20105);
    end = spool_end(s);
    forget(&s);
    /* Killed when the next segment was begun and empty. */
    char path[128], name[SEGMENT_NAME_BYTES];
    segment_name(end, name);
    snprintf(path, sizeof path, "%s/%s", dir.spool, name);
    close(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    s = open_kept(1 << 20, 4096, end);
    assert_int_equal(spool_end(s), end);
    assert_true(spool_resumable(s));
    assert_int_equal(spool_streamed(s), 20105);
    spool_close(&s);
}

static void test_a_record_that_its_killed_writer_did_not_finish_was_not_spooled(void **state)
{
    (void)state;
    for (size_t missing = 1; missing < 1000 + RECORD_HEADER_BYTES; missing += 7) {
        struct spool *s = open_spool(1 << 20, 0);
        open_stream(s);
        append(s, 500);
        uint64_t end = spool_end(s), streamed = spool_streamed(s);
        append(s, 1000);
        char path[128];
        newest_path(path, sizeof path);
        forget(&s);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(truncate(path, st.st_size - (off_t)missing), 0);
        s = open_kept(1 << 20, 0, end);
        assert_int_equal(spool_end(s), end);
        assert_int_equal(spool_streamed(s), streamed);
        assert_int_equal(spool_stream_resume(s, 3, NULL), ERR_NONE);
        append(s, 1000);
        assert_int_equal(spool_streamed(s), streamed + 1000);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(newest_first().position, end);
        spool_close(&s);
        temp_dir_drop(&dir);
        temp_dir_make(&dir);
    }
}

static void test_what_a_stream_cannot_go_on_from(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    open_stream(s);
    append(s, 500);
    uint64_t end = spool_end(s);
    forget(&s);
    s = open_kept(1 << 20, 0, end + 1); /* something that was published is not there */
    assert_false(spool_resumable(s));
    assert_true(spool_end(s) >= end + GIB);
    open_stream(s);
    append(s, 500);
    assert_int_equal(spool_stream_close(s, "bye", 77, NULL), ERR_NONE);
    end = spool_end(s);
    forget(&s);
    s = open_kept(1 << 20, 0, end); /* it is over */
    assert_false(spool_resumable(s));
    assert_int_equal(spool_end(s), end);
    spool_close(&s);
    s = open_kept(1 << 20, 0, 0); /* nothing is known of the kernel */
    assert_false(spool_resumable(s));
    spool_close(&s);
}

static void test_segments_turn_over_and_repeat_the_header(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 4096);
    open_stream(s);
    for (int i = 0; i < 20; i++)
        append(s, 1000);
    uint64_t *bases;
    size_t n;
    assert_true(segment_list(dir.spool, &bases, &n));
    assert_true(n >= 5);
    for (size_t i = 0; i < n; i++) {
        struct segment_reader r;
        struct record rec;
        const uint8_t *payload;
        segment_reader_init(&r);
        assert_true(segment_reader_open(&r, dir.spool, bases[i]));
        assert_int_equal(segment_reader_next(&r, UINT64_MAX, &rec, &payload), SEGMENT_RECORD);
        assert_int_equal(rec.kind, i == 0 ? RECORD_OPEN : RECORD_AGAIN);
        assert_int_equal(rec.len, strlen(HEADER));
        assert_memory_equal(payload, HEADER, rec.len);
        while (segment_reader_next(&r, UINT64_MAX, &rec, &payload) == SEGMENT_RECORD)
            assert_int_equal(rec.kind, RECORD_DATA);
        assert_int_equal(r.at, i + 1 < n ? bases[i + 1] : spool_end(s));
        segment_reader_deinit(&r);
    }
    free(bases);
    spool_close(&s);
}

static void test_deletes_whole_segments_below_and_never_the_newest(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 4096);
    open_stream(s);
    for (int i = 0; i < 20; i++)
        append(s, 1000);
    uint64_t *bases;
    size_t n, left;
    assert_true(segment_list(dir.spool, &bases, &n));
    spool_delete_below(s, bases[2] - 1);
    assert_int_equal(spool_begin(s), bases[1]);
    spool_delete_below(s, bases[2]);
    assert_int_equal(spool_begin(s), bases[2]);
    spool_delete_below(s, UINT64_MAX);
    assert_int_equal(spool_begin(s), bases[n - 1]);
    assert_int_equal(spool_bytes(s), spool_end(s) - bases[n - 1]);
    free(bases);
    spool_wait(s);
    assert_true(segment_list(dir.spool, &bases, &left));
    assert_int_equal(left, 1);
    free(bases);
    spool_close(&s);
}

static void test_alarm_and_full_have_hysteresis(void **state)
{
    (void)state;
    struct spool *s = open_spool(100000, 10000);
    uint64_t at[128];
    unsigned n = 0;
    open_stream(s);
    assert_int_equal(spool_level(s), SPOOL_EASY);
    while (spool_level(s) == SPOOL_EASY) {
        append(s, 1000);
        at[n++] = spool_end(s);
    }
    assert_int_equal(spool_level(s), SPOOL_ALARM);
    assert_in_range(spool_bytes(s), 80000, 81500);
    while (spool_level(s) == SPOOL_ALARM) {
        append(s, 1000);
        at[n++] = spool_end(s);
    }
    assert_in_range(spool_bytes(s), 100000, 101500);
    unsigned i = 0;
    for (; spool_bytes(s) >= 90000; i++) {
        assert_int_equal(spool_level(s), SPOOL_FULL);
        spool_delete_below(s, at[i]);
    }
    assert_int_equal(spool_level(s), SPOOL_ALARM);
    for (; spool_bytes(s) >= 70000; i++) {
        assert_int_equal(spool_level(s), SPOOL_ALARM);
        spool_delete_below(s, at[i]);
    }
    assert_int_equal(spool_level(s), SPOOL_EASY);
    spool_close(&s);
}

static void test_a_full_spool_of_one_segment_is_freed_when_all_is_done(void **state)
{
    (void)state;
    struct spool *s = open_spool(5000, 10000);
    open_stream(s);
    append(s, 6000);
    assert_int_equal(spool_level(s), SPOOL_FULL);
    assert_int_equal(spool_stream_close(s, "full", 1, NULL), ERR_NONE);
    uint64_t end = spool_end(s);
    spool_delete_below(s, end);
    assert_int_equal(spool_bytes(s), 0);
    assert_int_equal(spool_end(s), end);
    assert_int_equal(spool_level(s), SPOOL_EASY);
    spool_close(&s);
}

/* RLIMIT_FSIZE stands in for the full disk: writes past it fail with EFBIG. */
static void append_to_a_full_disk(struct spool *s, size_t room, size_t len)
{
    struct rlimit old, tight = {.rlim_cur = room};
    uint8_t *data = calloc(1, len);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    assert_int_equal(spool_append(s, data, len, 1, NULL), ERR_RETRY);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    free(data);
}

/* Puts it off while the disk is still at what it was asked before. */
static void sync_all(struct spool *s)
{
    for (int i = 0; spool_dirty(s) && i < 10000; i++) {
        assert_int_equal(spool_sync(s, NULL), ERR_NONE);
        usleep(1000);
    }
}

static void test_a_write_that_fails_appends_nothing_and_may_be_repeated(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 0);
    uint8_t big[5000] = {0};
    open_stream(s);
    append(s, 100);
    uint64_t end = spool_end(s);
    append_to_a_full_disk(s, 3000, sizeof big);
    assert_int_equal(spool_end(s), end);
    assert_int_equal(spool_append(s, big, sizeof big, 1, NULL), ERR_NONE);
    assert_int_equal(spool_end(s), end + RECORD_HEADER_BYTES + sizeof big);
    assert_true(spool_dirty(s));
    sync_all(s);
    assert_false(spool_dirty(s));
    spool_close(&s);
}

/* The disk is met full where a segment begins: the rest of the one before was promised. */
static void test_a_segment_begins_with_the_header_though_the_disk_was_full_then(void **state)
{
    (void)state;
    struct spool *s = open_spool(1 << 20, 2000);
    struct segment_reader reader;
    struct record r;
    const uint8_t *payload;
    open_stream(s);
    append(s, 1000);
    append_to_a_full_disk(s, 10, 1000);
    append(s, 1000);
    uint64_t *bases, end = spool_end(s);
    size_t n;
    assert_true(segment_list(dir.spool, &bases, &n));
    assert_int_equal(n, 2);
    segment_reader_init(&reader);
    assert_true(segment_reader_open(&reader, dir.spool, bases[1]));
    assert_int_equal(segment_reader_next(&reader, end, &r, &payload), SEGMENT_RECORD);
    assert_int_equal(r.kind, RECORD_AGAIN);
    assert_int_equal(segment_reader_next(&reader, end, &r, &payload), SEGMENT_RECORD);
    assert_int_equal(r.kind, RECORD_DATA);
    segment_reader_deinit(&reader);
    free(bases);
    forget(&s);
    s = open_kept(1 << 20, 2000, end);
    assert_true(spool_resumable(s));
    spool_close(&s);
}

static void test_a_missing_parent_is_a_configuration_error(void **state)
{
    (void)state;
    struct spool_settings set = {.size_max = 1 << 20};
    struct spool *s;
    struct err e;
    assert_int_equal(spool_open("/nonexistent/spool/0", &set, &s, &e), ERR_CONFIG);
    assert_null(s);
}

static void test_sync_always_leaves_nothing_dirty(void **state)
{
    (void)state;
    struct spool_settings set = {.size_max = 1 << 20, .sync_always = true};
    struct spool *s;
    assert_int_equal(spool_open(dir.spool, &set, &s, NULL), ERR_NONE);
    open_stream(s);
    append(s, 10);
    assert_false(spool_dirty(s));
    spool_close(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_files_are_private),
        T(test_id_stays_and_a_spool_without_segments_gets_a_new_one),
        T(test_epochs_grow_over_restarts),
        T(test_epochs_grow_even_when_every_record_was_deleted),
        T(test_clean_restart_goes_on_where_it_ended),
        T(test_unclean_restart_never_uses_an_offset_again),
        T(test_a_torn_tail_makes_a_clean_mark_void),
        T(test_a_stream_goes_on_where_its_killed_writer_ended),
        T(test_a_record_that_its_killed_writer_did_not_finish_was_not_spooled),
        T(test_what_a_stream_cannot_go_on_from),
        T(test_segments_turn_over_and_repeat_the_header),
        T(test_deletes_whole_segments_below_and_never_the_newest),
        T(test_alarm_and_full_have_hysteresis),
        T(test_a_full_spool_of_one_segment_is_freed_when_all_is_done),
        T(test_a_write_that_fails_appends_nothing_and_may_be_repeated),
        T(test_a_segment_begins_with_the_header_though_the_disk_was_full_then),
        T(test_a_missing_parent_is_a_configuration_error),
        T(test_sync_always_leaves_nothing_dirty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
