// SPDX-License-Identifier: Apache-2.0
/*
 * Our own IQ requests to servers and their users: each is answered exactly once, by who was
 * asked, or by nobody in time.
 */
#ifndef COMPONENT_QUESTIONS_H
#define COMPONENT_QUESTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adapter;
struct questions;
struct stanza;

/* Borrows adapter and ctx until questions_free. */
typedef void (*questions_send_fn)(void *ctx, unsigned link, uint64_t epoch,
                                  const uint8_t *data, size_t len);
struct questions *questions_new(const struct adapter *adapter, questions_send_fn send,
                                void *ctx);
/* Tells what is open that there is no answer. */
void questions_free(struct questions **qs);

/* Called exactly once, with NULL when no answer came. */
typedef void (*iq_answer_fn)(void *ctx, const struct stanza *iq);
struct iq_question {
    unsigned link;
    uint64_t epoch;
    const char *to;
    const char *type;
    const struct stanza *payload; /* borrowed */
    int64_t deadline_ms;
    iq_answer_fn fn;
    void *ctx;
};
/* One too many is answered at once, with NULL. */
void questions_ask(struct questions *qs, const struct iq_question *q);
/* An <iq type='result|error'>, by any link: a client answers by that of its own node.  False
 * when it answers none of our questions. */
bool questions_answered(struct questions *qs, const struct stanza *iq);

void questions_link_lost(struct questions *qs, unsigned link);
void questions_tick(struct questions *qs, int64_t now_ms);
int64_t questions_deadline(const struct questions *qs); /* INT64_MAX when nothing is open */

#endif
