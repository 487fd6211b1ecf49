// SPDX-License-Identifier: Apache-2.0
/* Between link.c, which connects and decides what comes next, and link_stream.c, which moves
 * the bytes of a stream that is up. */
#ifndef COMPONENT_LINK_INT_H
#define COMPONENT_LINK_INT_H

#include "base/backoff.h"
#include "component/handshake.h"
#include "component/link.h"
#include "component/spool.h"

struct addrinfo;
struct event;

#define LINK_READ_BYTES ((size_t)256 * 1024)
#define LINK_FULL_POLL_MS 5000

/* What comes after a connection has been closed. */
enum then { THEN_RETRY, THEN_FULL, THEN_STOP }; /* the stronger wish wins */

struct link {
    uint32_t magic;
    struct link_setup set;
    struct link_timing timing;
    struct link_events ev;
    char prefix[128];
    enum link_state state;
    enum then then; /* while CLOSING */
    char why[128];  /* of the closing */

    struct wire_tls *tls;
    struct resolve *resolve;
    const struct addrinfo *next_address; /* resolve's */
    struct wire *wire;
    struct handshake *shake;
    uint64_t shaken;     /* bytes that it was given */
    struct event *timer; /* of the present state */
    struct event *keepalive;
    struct event *sync;
    uint8_t *chunk;

    uint64_t epoch; /* 0: no stream */
    int64_t up_since_ms;
    int64_t down_since_us; /* 0: nothing was missed yet */
    int64_t sent_ms;
    int64_t complained_ms; /* of a lasting fault */
    enum handshake_fault complained;
    struct backoff retry;
    struct backoff slow;
    enum spool_level level;
    bool paused; /* stop_reading, and the spool is full */
    bool kept;   /* the connection, by somebody outside */
};

void link_set_state(struct link *l, enum link_state to);
/* The connection is gone, for this reason: whatever comes next is begun. */
void link_lost(struct link *l, const char *why);

/* What the page tells of the spool, and whoever reads it is woken. */
void link_publish(struct link *l);
void link_sync_later(struct link *l);
/* Says so when it has changed. */
enum spool_level link_check_level(struct link *l);
void link_read_stream(struct link *l);
void link_spool_failed(struct link *l, const struct err *e);
/* Ends the stream in good order; what comes then is at least this. */
void link_close_stream(struct link *l, enum then then, const char *why);
/* The same without a word to the server. */
void link_start_closing(struct link *l, enum then then, const char *why);
/* Nothing of it will be written or read any more. */
void link_end_stream(struct link *l, const char *why);

/* Of its timers. */
void link_on_sync(int fd, short what, void *ctx);
void link_on_keepalive(int fd, short what, void *ctx);

void link_arm(struct event *timer, int64_t ms);

#endif
