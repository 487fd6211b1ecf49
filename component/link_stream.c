// SPDX-License-Identifier: Apache-2.0
/* The bytes of a stream that is up, and its end: from the socket to the spool, and from the
 * worker's frames to the socket. */
#include "component/link_int.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "component/opts.h"
#include "component/resume.h"
#include "component/wire.h"

#define READS_AT_ONCE 4 /* then other events have their turn */
#define STREAM_END "</stream:stream>"

void link_publish(struct link *l)
{
    struct page_link *p = l->set.page;
    atomic_store(&p->spool_begin, spool_begin(l->set.spool));
    atomic_store(&p->spool_bytes, spool_bytes(l->set.spool));
    atomic_store(&p->epoch, l->epoch);
    uint64_t end = spool_end(l->set.spool);
    if (atomic_exchange(&p->spool_end, end) != end && l->ev.spooled)
        l->ev.spooled(l->ev.ctx, l->set.index);
}

void link_sync_later(struct link *l)
{
    if (spool_dirty(l->set.spool) && !event_pending(l->sync, EV_TIMEOUT, NULL))
        link_arm(l->sync, l->set.spool_opts->fsync_ms);
}

void link_on_sync(int fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct link *l = ctx;
    struct err e;
    if (spool_sync(l->set.spool, &e) != ERR_NONE)
        log_error(l->prefix, "%s", e.text);
}

/* The spool's level, with the words a person needs when it changes. */
enum spool_level link_check_level(struct link *l)
{
    enum spool_level level = spool_level(l->set.spool);
    unsigned long long mib = spool_bytes(l->set.spool) >> 20;
    if (level == SPOOL_FULL && l->level != SPOOL_FULL)
        log_error(l->prefix,
                  "spool is full spooled_mib=%llu: messages are missed until it is "
                  "a tenth empty; see why the archive does not move (PostgreSQL?)",
                  mib);
    else if (level == SPOOL_ALARM && l->level == SPOOL_EASY)
        log_error(l->prefix, "spool is over 80 %% of spool.max_size spooled_mib=%llu", mib);
    else if (level < l->level)
        log_info(l->prefix, "spool has room again spooled_mib=%llu", mib);
    l->level = level;
    atomic_store(&l->set.page->level, (int)level);
    return level;
}

/* Its end. */

/* The stream is over: nothing of it will be written or read any more. */
void link_end_stream(struct link *l, const char *why)
{
    struct err e;
    if (l->epoch == 0)
        return;
    /* Without CLOSE, for want of room, the next OPEN says as much. */
    if (spool_stream_close(l->set.spool, why, clock_real_us(), &e) != ERR_NONE)
        log_warn(l->prefix, "%s", e.text);
    if (l->kept)
        l->ev.discard(l->ev.ctx, l->set.index, l->epoch);
    l->kept = false;
    resume_note_no_frames(l->set.page);
    l->epoch = 0;
    l->down_since_us = clock_real_us();
    atomic_store(&l->set.page->down_since_us, l->down_since_us);
    atomic_fetch_add(&l->set.page->disconnects, 1);
    if (clock_mono_ms() - l->up_since_ms >= l->timing.settled_ms)
        backoff_reset(&l->retry);
    link_publish(l);
    link_sync_later(l);
}

void link_start_closing(struct link *l, enum then then, const char *why)
{
    snprintf(l->why, sizeof l->why, "%s", why);
    l->then = then;
    link_set_state(l, LINK_CLOSING);
    resume_note_closing(l->set.page);
    link_arm(l->timer, l->timing.closing_ms);
    l->paused = false;
    wire_read_on(l->wire, true);
}

/* Ends the stream in good order: what the server still sends is spooled until it has closed
 * its side too, for the old connection must be gone before a new one may come. */
void link_close_stream(struct link *l, enum then then, const char *why)
{
    if (l->state == LINK_CLOSING) {
        l->then = then > l->then ? then : l->then;
        return;
    }
    link_start_closing(l, then, why);
    (void)wire_write(l->wire, STREAM_END, strlen(STREAM_END));
}

/* Its bytes. */

/* The spool has no room before a byte was read: nothing is lost that was not the server's. */
static void no_room(struct link *l)
{
    if (l->state == LINK_CLOSING) {
        link_lost(l, "spool is full");
    } else if (l->set.spool_opts->when_full == SPOOL_STOP_READING) {
        l->paused = true;
        wire_read_on(l->wire, false);
        link_arm(l->timer, LINK_FULL_POLL_MS);
    } else {
        link_close_stream(l, THEN_FULL, "spool is full");
    }
}

void link_spool_failed(struct link *l, const struct err *e)
{
    log_error(l->prefix, "%s", e->text);
    link_lost(l, "the spool cannot be written");
}

/* One read into the spool; false when there is no more to read now. */
static bool read_once(struct link *l)
{
    const char *why;
    struct err e;
    if (spool_room(l->set.spool, LINK_READ_BYTES, &e) != ERR_NONE) {
        log_warn(l->prefix, "%s", e.text);
        link_check_level(l);
        no_room(l);
        return false;
    }
    ssize_t n = wire_peek(l->wire, l->chunk, LINK_READ_BYTES, &why);
    if (n == 0)
        return false;
    if (n < 0) {
        link_lost(l, why);
        return false;
    }
    FAILPOINT("link-peeked");
    atomic_fetch_add(&l->set.page->bytes_read, (uint64_t)n);
    if (spool_append(l->set.spool, l->chunk, (size_t)n, clock_real_us(), &e) != ERR_NONE) {
        link_spool_failed(l, &e);
        return false;
    }
    FAILPOINT("link-spooled");
    /* Killed before this, the bytes are in the spool and in the socket: whoever goes on sees
     * from the kernel's count that they were not consumed, and drops them.  After it, they are
     * in the spool only.  Before the append, in the socket only. */
    if (!wire_consume(l->wire, (size_t)n)) {
        link_lost(l, "what was read cannot be taken from the socket");
        return false;
    }
    FAILPOINT("link-consumed");
    return (size_t)n == LINK_READ_BYTES;
}

void link_read_stream(struct link *l)
{
    for (int i = 0; i < READS_AT_ONCE && read_once(l); i++)
        ;
    if (l->epoch == 0)
        return;
    link_publish(l);
    link_sync_later(l);
    if (link_check_level(l) == SPOOL_FULL && l->state == LINK_UP)
        no_room(l);
}

void link_on_keepalive(int fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct link *l = ctx;
    int64_t silent = clock_mono_ms() - l->sent_ms;
    if (l->state != LINK_UP)
        return;
    if (silent >= l->timing.keepalive_ms) {
        if (wire_queued(l->wire) == 0)
            (void)wire_write(l->wire, " ", 1);
        resume_note_queued(l->set.page, l->wire);
        l->sent_ms = clock_mono_ms();
        silent = 0;
    }
    link_arm(l->keepalive, l->timing.keepalive_ms - silent);
}

/* A frame was taken and nothing is left to be done with it. */
static bool drop_frame(struct link *l)
{
    struct page_link *p = l->set.page;
    atomic_fetch_add(&p->frames_dropped, 1);
    resume_note_frame(p);
    if (link_queued(l) == 0)
        resume_note_no_frames(p);
    return false;
}

bool link_send(struct link *l, uint64_t epoch, const uint8_t *data, size_t len)
{
    struct page_link *p = l->set.page;
    if (l->state != LINK_UP || epoch != l->epoch)
        return drop_frame(l);
    if (!wire_write(l->wire, data, len)) {
        link_close_stream(l, THEN_RETRY, "the server does not read");
        return drop_frame(l);
    }
    resume_note_queued(p, l->wire);
    resume_note_frame(p);
    FAILPOINT("link-answer"); /* taken, and not written */
    l->sent_ms = clock_mono_ms();
    atomic_fetch_add(&p->bytes_written, len);
    atomic_fetch_add(&p->frames_written, 1);
    return true;
}

size_t link_queued(const struct link *l)
{
    return l->wire ? wire_queued(l->wire) : 0;
}
