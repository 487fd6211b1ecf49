// SPDX-License-Identifier: Apache-2.0
#include "component/frame.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"

#define MAGIC 0x4652414d
#define READ_BYTES ((size_t)64 * 1024)
#define LINKS_MAX 64 /* whose SPOOLED is told only once */

/* Length of the payload (4), kind (2), link (2), epoch (8), position (8); big-endian. */
void frame_write(struct buf *out, const struct frame *f)
{
    if (f->len > FRAME_PAYLOAD_MAX || buf_len(out) + FRAME_HEADER_BYTES + f->len > out->max) {
        out->failed = true; /* and not half of it appended */
        return;
    }
    buf_add_u32(out, (uint32_t)f->len);
    buf_add_u16(out, (uint16_t)f->kind);
    buf_add_u16(out, (uint16_t)f->link);
    buf_add_u64(out, f->epoch);
    buf_add_u64(out, f->position);
    buf_add(out, f->data, f->len);
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

size_t frame_size(const uint8_t *header)
{
    uint64_t len = get(header, 4), kind = get(header + 4, 2);
    if (len > FRAME_PAYLOAD_MAX || kind < FRAME_STANZA || kind > FRAME_LAST)
        return 0;
    return FRAME_HEADER_BYTES + (size_t)len;
}

enum err_kind frame_read(const uint8_t *data, size_t len, struct frame *out, size_t *used_out,
                         struct err *e)
{
    *used_out = 0;
    if (len < FRAME_HEADER_BYTES)
        return ERR_NONE;
    size_t size = frame_size(data);
    if (size == 0)
        return err_set(e, ERR_PEER, "not a frame");
    if (len < size)
        return ERR_NONE;
    *out = (struct frame){.kind = (enum frame_kind)get(data + 4, 2),
                          .link = (unsigned)get(data + 6, 2),
                          .epoch = get(data + 8, 8),
                          .position = get(data + 16, 8),
                          .data = data + FRAME_HEADER_BYTES,
                          .len = size - FRAME_HEADER_BYTES};
    *used_out = size;
    return ERR_NONE;
}

struct frame_channel {
    uint32_t magic;
    int fd;
    struct event *reading;
    struct event *writing;
    struct buf in;
    struct buf out;
    struct frame_events ev;
    bool told[LINKS_MAX];  /* SPOOLED is in out */
    bool again[LINKS_MAX]; /* and there is more since; told when out is empty */
    bool paused;
    bool last;    /* no pause any more */
    bool unheard; /* the other side takes nothing any more; what it wrote is still read */
    bool closed;
    unsigned busy; /* inside callbacks */
    bool freed;
};

static void release(struct frame_channel *c)
{
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    c->magic = 0;
    free(c);
}

static void shut(struct frame_channel *c)
{
    if (c->closed)
        return;
    c->closed = true;
    event_free(c->reading);
    event_free(c->writing);
    close(c->fd);
}

static void fail(struct frame_channel *c, const char *why)
{
    shut(c);
    if (c->ev.closed && !c->freed)
        c->ev.closed(c->ev.ctx, why);
}

static void deliver(struct frame_channel *c)
{
    while (!c->closed && !c->paused) {
        struct frame f;
        struct err e;
        size_t used;
        if (frame_read(buf_data(&c->in), buf_len(&c->in), &f, &used, &e) != ERR_NONE) {
            fail(c, e.text);
            return;
        }
        if (used == 0)
            return;
        c->ev.frame(c->ev.ctx, &f);
        buf_consume(&c->in, used);
    }
}

/* False when there is no more to read now. */
static bool read_some(struct frame_channel *c)
{
    deliver(c); /* what a pause left */
    if (c->closed || c->paused)
        return false;
    uint8_t *room = buf_reserve(&c->in, READ_BYTES);
    assert(room); /* in.max has room for one frame and a read */
    ssize_t n = recv(c->fd, room, READ_BYTES, 0);
    if (n > 0) {
        buf_commit(&c->in, (size_t)n);
        deliver(c);
    } else if (n == 0) {
        fail(c, "closed");
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(c, strerror(errno));
    }
    return n > 0 || (n < 0 && errno == EINTR);
}

static void write_some(struct frame_channel *c)
{
    ssize_t n = send(c->fd, buf_data(&c->out), buf_len(&c->out), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        /* Its last words may still be unread: their end closes the channel. */
        event_del(c->writing);
        buf_reset(&c->out);
        c->unheard = true;
        return;
    }
    if (n > 0)
        buf_consume(&c->out, (size_t)n);
    if (buf_len(&c->out) > 0)
        return;
    event_del(c->writing);
    memset(c->told, 0, sizeof c->told);
    for (unsigned i = 0; i < LINKS_MAX; i++)
        if (c->again[i]) {
            c->again[i] = false;
            (void)frame_channel_tell(c, FRAME_SPOOLED, i);
        }
}

static struct frame_channel *enter(void *ctx)
{
    struct frame_channel *c = ctx;
    assert(c->magic == MAGIC);
    c->busy++;
    return c;
}

static void leave(struct frame_channel *c)
{
    c->busy--;
    if (c->freed && c->busy == 0)
        release(c);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct frame_channel *c = enter(ctx);
    (void)read_some(c);
    leave(c);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct frame_channel *c = enter(ctx);
    write_some(c);
    leave(c);
}

struct frame_channel *frame_channel_new(struct event_base *base, int fd, size_t queue_max,
                                        const struct frame_events *events)
{
    struct frame_channel *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->magic = MAGIC;
    c->fd = fd;
    c->ev = *events;
    buf_init(&c->in, FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX + READ_BYTES);
    buf_init(&c->out, queue_max);
    evutil_make_socket_nonblocking(fd);
    c->reading = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writing = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
    if (!c->reading || !c->writing || event_add(c->reading, NULL) != 0)
        abort();
    return c;
}

void frame_channel_free(struct frame_channel **cp)
{
    struct frame_channel *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    shut(c);
    c->freed = true;
    if (c->busy == 0)
        release(c);
}

static bool queue_frame(struct frame_channel *c, const struct frame *f)
{
    if (c->closed || c->unheard)
        return false;
    frame_write(&c->out, f);
    if (buf_failed(&c->out)) {
        c->out.failed = false; /* what is queued is whole */
        return false;
    }
    return true;
}

bool frame_channel_send(struct frame_channel *c, const struct frame *f)
{
    if (!queue_frame(c, f))
        return false;
    event_add(c->writing, NULL);
    return true;
}

bool frame_channel_tell(struct frame_channel *c, enum frame_kind kind, unsigned link)
{
    bool once = kind == FRAME_SPOOLED && link < LINKS_MAX;
    if (once && c->told[link]) {
        c->again[link] = true;
        return true;
    }
    bool alone = buf_len(&c->out) == 0;
    bool sent = queue_frame(c, &(struct frame){.kind = kind, .link = link});
    if (once)
        c->told[link] = sent;
    /* Nothing comes right after it that could go with it, as stanzas do: to wait for the loop
     * to say that there is room would cost three system calls more than to try. */
    if (sent && alone)
        write_some(c);
    if (sent && buf_len(&c->out) > 0)
        event_add(c->writing, NULL);
    return sent;
}

size_t frame_channel_queued(const struct frame_channel *c)
{
    return buf_len(&c->out);
}

void frame_channel_pause(struct frame_channel *c, bool paused)
{
    if (c->closed || c->last || c->paused == paused)
        return;
    c->paused = paused;
    if (paused) {
        event_del(c->reading);
        return;
    }
    event_add(c->reading, NULL);
    /* What was read already waits in c->in and no event will tell of it. */
    if (buf_len(&c->in) > 0)
        event_active(c->reading, EV_READ, 0);
}

void frame_channel_read_rest(struct frame_channel *c)
{
    if (c->closed)
        return;
    (void)enter(c);
    c->paused = false;
    c->last = true;
    while (read_some(c))
        continue;
    leave(c);
}
