// SPDX-License-Identifier: Apache-2.0
/*
 * What the link process and its worker say to each other over their socket pair: frames with a
 * length, as bytes, and the channel that pumps them.  A frame is whole or not there at all.
 * The channel's queue has a maximum; nothing here knows what the frames mean.
 */
#ifndef COMPONENT_FRAME_H
#define COMPONENT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf;
struct event_base;

#define FRAME_HEADER_BYTES 24
#define FRAME_PAYLOAD_MAX ((size_t)16 * 1024 * 1024)

enum frame_kind {
    /* Worker to link. */
    FRAME_STANZA = 1, /* link, epoch, bytes: whole stanzas; dropped when the epoch is dead */
    FRAME_RELEASE,    /* link, position: segments below it may go */
    FRAME_RECONNECT,  /* link, epoch, bytes: why, as text */
    FRAME_STOP,       /* link, bytes: why; it closes and stays closed */
    FRAME_READY,      /* the worker serves */
    /* Link to worker. */
    FRAME_SPOOLED,    /* link: its spool has grown (one for many) */
    FRAME_LINK_STATE, /* link: the page tells the new state */
    FRAME_SHUTDOWN,
    FRAME_RELOAD,
    FRAME_LAST = FRAME_RELOAD,
};

struct frame {
    enum frame_kind kind;
    unsigned link;
    uint64_t epoch;
    uint64_t position;
    const uint8_t *data; /* borrowed */
    size_t len;
};

/* Appends; buf_failed(out) when it did not fit. */
void frame_write(struct buf *out, const struct frame *f);
/* Bytes of the frame that begins with these FRAME_HEADER_BYTES; 0 when it is none. */
size_t frame_size(const uint8_t *header);
/* Reads the frame at the head of data, used_out bytes of it; 0 used: more bytes are needed.
 * PEER: not a frame. */
MUST_CHECK enum err_kind frame_read(const uint8_t *data, size_t len, struct frame *out,
                                    size_t *used_out, struct err *e);

struct frame_channel;

struct frame_events {
    /* data is borrowed for the call; the channel may be freed in it. */
    void (*frame)(void *ctx, const struct frame *f);
    /* The other side is gone, or wrote what is no frame; called once, the last call. */
    void (*closed)(void *ctx, const char *why);
    void *ctx;
};

/* Takes the descriptor. */
struct frame_channel *frame_channel_new(struct event_base *base, int fd, size_t queue_max,
                                        const struct frame_events *events);
void frame_channel_free(struct frame_channel **c);

/* False when the queue is full or the other side is gone; then nothing of it was queued. */
bool frame_channel_send(struct frame_channel *c, const struct frame *f);
/* The frames with no more than a link number, written at once where nothing is queued.  A
 * SPOOLED that waits in the queue is not queued twice. */
bool frame_channel_tell(struct frame_channel *c, enum frame_kind kind, unsigned link);
size_t frame_channel_queued(const struct frame_channel *c);
/* Stops reading: the other side's queue fills. */
void frame_channel_pause(struct frame_channel *c, bool paused);
/* The other side's process has ended: delivers at once what it had written, paused or not. */
void frame_channel_read_rest(struct frame_channel *c);

#endif
