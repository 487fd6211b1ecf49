// SPDX-License-Identifier: Apache-2.0
/*
 * What ejabberd shows a component, as bytes: copies by mod_service_log (sent and received),
 * presence by mod_privilege, requests by mod_delegation, letter for letter as version 23.01
 * writes them.  It knows no sockets and no time.
 */
#ifndef TESTS_BENCH_LOADGEN_TRAFFIC_H
#define TESTS_BENCH_LOADGEN_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#include "tests/bench/loadgen/people.h"

struct buf;
struct stanza;

/* How many of each come with one message that has a body. */
struct traffic_mix {
    double composing;
    double receipts; /* of messages whose recipient is online; so with displayed */
    double displayed;
    double presence;
    double iqs;     /* between clients and the server: a request and its answer */
    double offline; /* share of the accounts */
    double remote;  /* share of the messages that come from another server */
};
extern const struct traffic_mix traffic_typical;
/* Nothing but messages between sessions that are online: two copies each. */
extern const struct traffic_mix traffic_plain;

struct traffic_opts {
    const char *domain;
    const char *component;
    uint32_t accounts;
    uint64_t seed;
    struct traffic_mix mix;
};

struct traffic_counts {
    uint64_t messages; /* with a body */
    uint64_t stanzas;
    uint64_t echoes;
};

enum traffic_question {
    TRAFFIC_MAM, /* the last page of an archive, delegated */
    TRAFFIC_DISCO,
    TRAFFIC_PING,
};

struct traffic;

/* Copies the opts' texts. */
struct traffic *traffic_new(const struct traffic_opts *opts);
void traffic_free(struct traffic **t);
struct people *traffic_people(struct traffic *t);
const struct traffic_counts *traffic_counts(const struct traffic *t);

/* One message with a body and what comes with it; returns the length of out at the end of the
 * message's first copy, from which it is archived. */
size_t traffic_message(struct traffic *t, struct buf *out);
/* The accounts of the last of them. */
void traffic_last(const struct traffic *t, uint32_t *from_out, uint32_t *to_out);
/* A question of a user, whose answer has this id. */
void traffic_question(struct traffic *t, struct buf *out, enum traffic_question what,
                      const char *id);
/* The copy of a stanza that a session got because the component sent it. */
void traffic_echo(struct traffic *t, struct buf *out, const struct stanza *st);
/* The address of an account's one session. */
void traffic_session(const struct traffic *t, uint32_t who, char *out, size_t size);

#endif
