// SPDX-License-Identifier: Apache-2.0
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "component/frame.h"

static void test_a_frame_comes_back_whole_however_it_is_cut(void **state)
{
    (void)state;
    struct buf b;
    struct frame in = {.kind = FRAME_STANZA,
                       .link = 3,
                       .epoch = 1ull << 40,
                       .position = 12345678901,
                       .data = (const uint8_t *)"<iq/>",
                       .len = 5};
    struct frame out;
    size_t used;
    buf_init(&b, 1000);
    frame_write(&b, &in);
    assert_int_equal(buf_len(&b), FRAME_HEADER_BYTES + 5);
    for (size_t n = 0; n < buf_len(&b); n++) {
        assert_int_equal(frame_read(buf_data(&b), n, &out, &used, NULL), ERR_NONE);
        assert_int_equal(used, 0);
    }
    assert_int_equal(frame_read(buf_data(&b), buf_len(&b), &out, &used, NULL), ERR_NONE);
    assert_int_equal(used, buf_len(&b));
    assert_int_equal(out.kind, FRAME_STANZA);
    assert_int_equal(out.link, 3);
    assert_int_equal(out.epoch, in.epoch);
    assert_int_equal(out.position, in.position);
    assert_int_equal(out.len, 5);
    assert_memory_equal(out.data, "<iq/>", 5);
    buf_deinit(&b);
}

static void test_what_is_no_frame_is_refused(void **state)
{
    (void)state;
    uint8_t bad[FRAME_HEADER_BYTES] = {0};
    struct frame out;
    size_t used;
    assert_int_equal(frame_read(bad, sizeof bad, &out, &used, NULL), ERR_PEER); /* kind 0 */
    bad[5] = FRAME_LAST + 1;
    assert_int_equal(frame_read(bad, sizeof bad, &out, &used, NULL), ERR_PEER);
    bad[5] = FRAME_STANZA;
    bad[0] = 0xFF;
    assert_int_equal(frame_read(bad, sizeof bad, &out, &used, NULL), ERR_PEER); /* too long */
}

static void test_what_does_not_fit_is_not_written_in_part(void **state)
{
    (void)state;
    struct buf b;
    uint8_t data[100] = {0};
    buf_init(&b, 100);
    frame_write(&b, &(struct frame){.kind = FRAME_STANZA, .data = data, .len = 100});
    assert_true(buf_failed(&b));
    assert_int_equal(buf_len(&b), 0);
    buf_deinit(&b);
}

/* Two channels on a socket pair. */
struct side {
    struct frame_channel *channel;
    unsigned counts[FRAME_LAST + 1];
    size_t bytes;
    char closed[64];
    bool free_in_frame;
    unsigned pause_after;
};

static struct event_base *base;
static struct side a, b;
static int raw[2];

static void on_frame(void *ctx, const struct frame *f)
{
    struct side *s = ctx;
    s->counts[f->kind]++;
    s->bytes += f->len;
    if (s->free_in_frame)
        frame_channel_free(&s->channel);
    else if (s->pause_after && --s->pause_after == 0)
        frame_channel_pause(s->channel, true);
}

static void on_closed(void *ctx, const char *why)
{
    struct side *s = ctx;
    snprintf(s->closed, sizeof s->closed, "%s", why);
}

static struct frame_channel *channel(struct side *s, int fd, size_t max)
{
    struct frame_events ev = {.frame = on_frame, .closed = on_closed, .ctx = s};
    memset(s, 0, sizeof *s);
    return s->channel = frame_channel_new(base, fd, max, &ev);
}

static int setup(void **state)
{
    (void)state;
    base = event_base_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, raw), 0);
    channel(&a, raw[0], 100000);
    channel(&b, raw[1], 100000);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    frame_channel_free(&a.channel);
    frame_channel_free(&b.channel);
    event_base_free(base);
    return 0;
}

static void turn(void)
{
    for (int i = 0; i < 50; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

static void test_frames_go_both_ways_and_the_queue_drains(void **state)
{
    (void)state;
    uint8_t data[5000] = {0};
    struct frame f = {.kind = FRAME_STANZA, .data = data, .len = sizeof data};
    for (int i = 0; i < 10; i++)
        assert_true(frame_channel_send(a.channel, &f));
    assert_true(frame_channel_tell(b.channel, FRAME_LINK_STATE, 0));
    turn();
    assert_int_equal(b.counts[FRAME_STANZA], 10);
    assert_int_equal(b.bytes, 50000);
    assert_int_equal(a.counts[FRAME_LINK_STATE], 1);
    assert_int_equal(frame_channel_queued(a.channel), 0);
}

static void test_a_full_queue_refuses_and_keeps_what_it_has(void **state)
{
    (void)state;
    uint8_t data[30000] = {0};
    struct frame f = {.kind = FRAME_STANZA, .data = data, .len = sizeof data};
    for (int i = 0; i < 3; i++)
        assert_true(frame_channel_send(a.channel, &f));
    assert_false(frame_channel_send(a.channel, &f));
    turn();
    assert_int_equal(b.counts[FRAME_STANZA], 3);
    assert_true(frame_channel_send(a.channel, &f));
}

static void test_many_wake_ups_wait_as_one_and_the_last_is_never_lost(void **state)
{
    (void)state;
    frame_channel_pause(b.channel, true);
    for (int i = 0; i < 100000; i++)
        assert_true(frame_channel_tell(a.channel, FRAME_SPOOLED, 1));
    assert_in_range(frame_channel_queued(a.channel), 1, FRAME_HEADER_BYTES);
    frame_channel_pause(b.channel, false);
    turn();
    assert_int_equal(frame_channel_queued(a.channel), 0);
    unsigned before = b.counts[FRAME_SPOOLED];
    assert_in_range(before, 1, 99999);
    assert_true(frame_channel_tell(a.channel, FRAME_SPOOLED, 1));
    turn();
    assert_int_equal(b.counts[FRAME_SPOOLED], before + 1);
}

static void test_a_wake_up_is_written_at_once_when_nothing_waits(void **state)
{
    (void)state;
    uint8_t header[FRAME_HEADER_BYTES + 1];
    assert_true(frame_channel_tell(a.channel, FRAME_SPOOLED, 1));
    assert_int_equal(frame_channel_queued(a.channel), 0);
    assert_int_equal(read(raw[1], header, sizeof header), FRAME_HEADER_BYTES);
}

static void test_a_wake_up_stays_behind_what_is_queued(void **state)
{
    (void)state;
    uint8_t data[1000] = {0};
    struct frame f = {.kind = FRAME_STANZA, .data = data, .len = sizeof data};
    assert_true(frame_channel_send(a.channel, &f));
    assert_true(frame_channel_tell(a.channel, FRAME_SPOOLED, 1));
    assert_int_equal(frame_channel_queued(a.channel),
                     sizeof data + (size_t)2 * FRAME_HEADER_BYTES);
    turn();
    assert_int_equal(b.counts[FRAME_STANZA], 1);
    assert_int_equal(b.counts[FRAME_SPOOLED], 1);
}

static void test_a_pause_stops_between_two_frames(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        assert_true(frame_channel_tell(a.channel, FRAME_LINK_STATE, i));
    b.pause_after = 2;
    turn();
    assert_int_equal(b.counts[FRAME_LINK_STATE], 2);
    frame_channel_pause(b.channel, false);
    turn();
    assert_int_equal(b.counts[FRAME_LINK_STATE], 5);
}

static void test_the_end_of_the_other_side_is_told_once(void **state)
{
    (void)state;
    assert_true(frame_channel_tell(b.channel, FRAME_READY, 0));
    turn();
    frame_channel_free(&b.channel);
    turn();
    assert_string_equal(a.closed, "closed");
    assert_false(frame_channel_tell(a.channel, FRAME_SPOOLED, 0));
}

/* A worker that was killed: it had not read all that we wrote, nor we all that it wrote. */
static void test_what_a_dead_process_wrote_is_read_all_the_same(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        assert_true(frame_channel_tell(b.channel, FRAME_LINK_STATE, i));
    assert_true(frame_channel_tell(a.channel, FRAME_RELOAD, 0));
    event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK); /* both are written */
    a.pause_after = 1;
    frame_channel_free(&b.channel);
    assert_true(frame_channel_tell(a.channel, FRAME_SHUTDOWN, 0));
    frame_channel_read_rest(a.channel);
    assert_int_equal(a.counts[FRAME_LINK_STATE], 5);
    assert_true(*a.closed);
}

static void test_a_write_to_a_dead_process_loses_nothing_that_it_said(void **state)
{
    (void)state;
    frame_channel_pause(a.channel, true);
    for (unsigned i = 0; i < 5; i++)
        assert_true(frame_channel_tell(b.channel, FRAME_LINK_STATE, i));
    turn();
    frame_channel_free(&b.channel);
    assert_true(frame_channel_tell(a.channel, FRAME_RELOAD, 0));
    turn();
    assert_false(frame_channel_tell(a.channel, FRAME_RELOAD, 0));
    assert_int_equal(a.counts[FRAME_LINK_STATE], 0);
    frame_channel_pause(a.channel, false);
    turn();
    assert_int_equal(a.counts[FRAME_LINK_STATE], 5);
    assert_true(*a.closed);
}

static void test_garbage_closes_the_channel(void **state)
{
    (void)state;
    assert_int_equal(write(raw[1], "this is not a frame at all", 26), 26);
    turn();
    assert_string_equal(a.closed, "not a frame");
}

static void test_a_channel_may_be_freed_in_its_callback(void **state)
{
    (void)state;
    a.free_in_frame = true;
    assert_true(frame_channel_tell(b.channel, FRAME_READY, 0));
    assert_true(frame_channel_tell(b.channel, FRAME_READY, 0));
    turn();
    assert_int_equal(a.counts[FRAME_READY], 1);
    assert_null(a.channel);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_comes_back_whole_however_it_is_cut),
        cmocka_unit_test(test_what_is_no_frame_is_refused),
        cmocka_unit_test(test_what_does_not_fit_is_not_written_in_part),
        T(test_frames_go_both_ways_and_the_queue_drains),
        T(test_a_full_queue_refuses_and_keeps_what_it_has),
        T(test_many_wake_ups_wait_as_one_and_the_last_is_never_lost),
        T(test_a_wake_up_is_written_at_once_when_nothing_waits),
        T(test_a_wake_up_stays_behind_what_is_queued),
        T(test_a_pause_stops_between_two_frames),
        T(test_the_end_of_the_other_side_is_told_once),
        T(test_what_a_dead_process_wrote_is_read_all_the_same),
        T(test_a_write_to_a_dead_process_loses_nothing_that_it_said),
        T(test_garbage_closes_the_channel),
        T(test_a_channel_may_be_freed_in_its_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
