// SPDX-License-Identifier: Apache-2.0
/*
 * What a link notes in the shared page so that another process can go on with its connection
 * should it be killed, and how that process finds out where to go on.
 *
 * Input: bytes are peeked, spooled, then consumed.  The kernel counts what was consumed, the
 * spool what was spooled; what was spooled and not consumed is still in the socket and must be
 * dropped.  Output: the kernel counts what was written; the page holds where stanzas end.  A
 * connection whose output ends in the middle of one can be read to its end, but not written.
 *
 * It knows no events; it neither reads nor writes the connection.
 */
#ifndef COMPONENT_RESUME_H
#define COMPONENT_RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page_link;
struct spool;
struct wire;

/* Whole stanzas were queued; before any of it is written. */
void resume_note_queued(struct page_link *p, const struct wire *w);
/* The queue is empty. */
void resume_note_drained(struct page_link *p, const struct wire *w);
/* Nothing more may be written on this connection. */
void resume_note_closing(struct page_link *p);
/* A frame of a worker was taken: it is queued, or there is nothing to be done with it. */
void resume_note_frame(struct page_link *p);
/* Whatever was taken, nothing is left to be done with it. */
void resume_note_no_frames(struct page_link *p);

/* The kernel counts this connection, which is up and has nothing queued, like we do.  False
 * over TLS, too. */
bool resume_is_possible(const struct spool *s, const struct wire *w);

struct resume_plan {
    size_t overlap;      /* bytes to be consumed that are in the spool already */
    uint64_t written;    /* bytes */
    const char *why_not; /* to be read to its end only; NULL: it goes on */
};

/* Of a connection of a link that was killed.  False when nothing can be done with it. */
bool resume_find(const struct spool *s, struct page_link *p, int fd, struct resume_plan *out);
/* It goes on: frames that died in the queue were not taken. */
void resume_take_back_frames(struct page_link *p, const struct resume_plan *plan);

#endif
