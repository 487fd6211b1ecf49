// SPDX-License-Identifier: Apache-2.0
/*
 * The client's side of XEP-0114's handshake as a state machine: bytes in, bytes out, time as
 * an argument.  It promises to tell one kind of refusal from another, and to use no byte that
 * follows the server's <handshake/>.  It knows no sockets; the secret leaves it only hashed.
 */
#ifndef COMPONENT_HANDSHAKE_H
#define COMPONENT_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HANDSHAKE_DEADLINE_MS 15000

enum handshake_state {
    HANDSHAKE_HEADER, /* waits for the server's stream header; -> ANSWER, FAILED */
    HANDSHAKE_ANSWER, /* waits for <handshake/>; -> DONE, FAILED */
    HANDSHAKE_DONE,
    HANDSHAKE_FAILED,
};

enum handshake_fault {
    HANDSHAKE_OK,
    HANDSHAKE_SECRET,       /* not-authorized */
    HANDSHAKE_CONFLICT,     /* our domain is taken, or is one of the server's own */
    HANDSHAKE_HOST_UNKNOWN, /* the server has no such component */
    HANDSHAKE_NO_SECRET,    /* internal-server-error: what Openfire says without a secret */
    HANDSHAKE_STREAM_ERROR, /* another stream error */
    HANDSHAKE_GARBAGE,      /* not an XMPP server's component port */
    HANDSHAKE_CLOSED,       /* by the server, without a word */
    HANDSHAKE_TIMEOUT,
};

struct handshake;

/* Copies both.  The first output is there at once. */
struct handshake *handshake_new(const char *component, const char *secret, int64_t now_ms);
void handshake_free(struct handshake **h);

/* Feeds bytes; cut them anywhere.  PEER (and FAILED, with handshake_fault) when this
 * connection will not come up.  Not to be called once DONE. */
MUST_CHECK enum err_kind handshake_input(struct handshake *h, const uint8_t *data, size_t len,
                                         struct err *e);
/* The server has closed.  Always PEER. */
enum err_kind handshake_eof(struct handshake *h, struct err *e);
/* PEER when the deadline has passed. */
MUST_CHECK enum err_kind handshake_tick(struct handshake *h, int64_t now_ms, struct err *e);
int64_t handshake_deadline_ms(const struct handshake *h);

/* Bytes to be sent, until the next call of any function here; *len_out 0 when none.  They
 * count as sent. */
const uint8_t *handshake_output(struct handshake *h, size_t *len_out);

enum handshake_state handshake_state(const struct handshake *h);
enum handshake_fault handshake_fault(const struct handshake *h);
/* When DONE: the server's stream header as it came, from its first byte to its '>'. */
const uint8_t *handshake_header(const struct handshake *h, size_t *len_out);
/* When DONE: what the server sent after <handshake/> already. */
const uint8_t *handshake_rest(const struct handshake *h, size_t *len_out);

/* True for what waits for a person: retry slowly.  And what that person should do. */
bool handshake_fault_is_lasting(enum handshake_fault fault);
const char *handshake_remedy(enum handshake_fault fault);

#endif
