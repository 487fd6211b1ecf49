// SPDX-License-Identifier: Apache-2.0
/*
 * The connection to one server: connects, shakes hands, puts everything it reads into the
 * spool with the time, writes whole stanzas, connects again when it is lost.  It promises that
 * what it has read is in the spool, that there is never more than one connection, and that it
 * goes on reading as long as the spool has room.  After the handshake it parses nothing.
 */
#ifndef COMPONENT_LINK_H
#define COMPONENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "component/page.h"

struct event_base;
struct component_opts;
struct spool;
struct spool_opts;

/* How long things take; tests make it shorter. */
struct link_timing {
    int64_t connect_ms; /* per address */
    int64_t closing_ms; /* how long the server may take to end its side */
    int64_t keepalive_ms;
    int64_t retry_min_ms, retry_max_ms;
    int64_t slow_min_ms, slow_max_ms; /* for what a person must repair */
    int64_t settled_ms;               /* a connection that lasted so long ends the back-off */
};
extern const struct link_timing link_timing_defaults;

struct link_events {
    void (*spooled)(void *ctx, unsigned link); /* the page's spool_end has moved */
    void (*state)(void *ctx, unsigned link);   /* the page tells which */
    void (*drained)(void *ctx, unsigned link); /* link_queued has become 0 */
    /* Another process may go on with this connection (link_resume) should this one die: the
     * descriptor is borrowed, whoever keeps it dups it.  NULL: nobody keeps any. */
    void (*keep)(void *ctx, unsigned link, int fd, uint64_t epoch);
    /* It is over: to be kept no longer. */
    void (*discard)(void *ctx, unsigned link, uint64_t epoch);
    void *ctx;
};

struct link_setup {
    struct event_base *base;
    unsigned index; /* of opts->hosts and page->links */
    const struct component_opts *opts;
    const struct spool_opts *spool_opts;
    struct spool *spool;
    struct page_link *page;
    const struct link_timing *timing; /* NULL: defaults */
};

struct link;

/* Borrows what is in setup.  CONFIG: the TLS settings cannot be used.  Stopped at first. */
MUST_CHECK enum err_kind link_new(const struct link_setup *setup,
                                  const struct link_events *events, struct link **out,
                                  struct err *e);
/* Closes at once; for an orderly end stop it first and wait for LINK_STOPPED. */
void link_free(struct link **l);

void link_start(struct link *l);
/* Instead of link_start: goes on with a connection of a link that was killed, of which page
 * and spool tell the rest; takes the descriptor.  It promises that no byte of it is spooled
 * twice or left out, and that nothing is written after half a stanza.  Why_not (NULL: nothing
 * speaks against it) or output that was cut in a stanza end the stream, but only after all
 * that the server still sends has been spooled; then comes a new connection.  False: nothing
 * of the connection could be used, link_start is still to be called. */
bool link_resume(struct link *l, int fd, const char *why_not);
/* Ends the stream, the server has closing_ms to end its side; then LINK_STOPPED. */
void link_stop(struct link *l, const char *why);
/* The same, and then a new connection; nothing when that epoch is not the present one. */
void link_reconnect(struct link *l, uint64_t epoch, const char *why);
/* New settings: for the next connection (secret, TLS) and at once (spool).  CONFIG: the TLS
 * settings cannot be used; the old ones stay. */
MUST_CHECK enum err_kind link_set_opts(struct link *l, const struct component_opts *opts,
                                       const struct spool_opts *spool_opts, struct err *e);

/* Whole stanzas.  False: dropped, because that epoch is not the present one. */
bool link_send(struct link *l, uint64_t epoch, const uint8_t *data, size_t len);
size_t link_queued(const struct link *l);
/* The worker needs nothing below pos any more. */
void link_release(struct link *l, uint64_t pos);
enum link_state link_state(const struct link *l);

#endif
