// SPDX-License-Identifier: Apache-2.0
/*
 * Brings the tokens of all devices under the key in force, in small steps beside the pushes:
 * those that are in clear or under an older key.  A step is one transaction, and whatever is
 * not done yet can be read all the same, so that it may end anywhere.  What is under a key
 * that is not there stays as it is, and is told once.
 */
#ifndef APNS_SEALING_H
#define APNS_SEALING_H

struct event_base;
struct pg_pool;
struct sealing;
struct token_keys;

/* Begins on the next loop turn, and looks again every hour.  Both are borrowed. */
struct sealing *sealing_new(struct event_base *base, struct pg_pool *pool,
                            struct token_keys *keys);
/* After the pool: what it still has to answer comes here. */
void sealing_free(struct sealing **s);

#endif
