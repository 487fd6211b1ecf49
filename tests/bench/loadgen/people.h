// SPDX-License-Identifier: Apache-2.0
/*
 * Who writes to whom: accounts of which few write most (Zipf, s = 1), each with contacts of
 * which few get most, and answers.  Who knows whom and who is online is always the same; the
 * seed decides who writes when.
 */
#ifndef TESTS_BENCH_LOADGEN_PEOPLE_H
#define TESTS_BENCH_LOADGEN_PEOPLE_H

#include <stdbool.h>
#include <stdint.h>

#define PEOPLE_ACCOUNTS_MAX 1000000
#define PEOPLE_RECENT 4096

struct people {
    uint32_t accounts;
    double offline; /* share of the accounts that have no session */
    uint64_t state; /* of the random numbers */
    struct {
        uint32_t from, to;
    } recent[PEOPLE_RECENT]; /* conversations that may be answered in */
    unsigned recent_n;
};

void people_init(struct people *p, uint32_t accounts, double offline, uint64_t seed);
uint64_t people_random(struct people *p);
/* In [0, 1). */
double people_chance(struct people *p);
bool people_online(const struct people *p, uint32_t who);
/* An account with a session, the busy ones more often. */
uint32_t people_writer(struct people *p);
/* The next message's sender, who is online, and another account. */
void people_next(struct people *p, uint32_t *from_out, uint32_t *to_out);
unsigned people_contacts(uint32_t who);
uint32_t people_contact(const struct people *p, uint32_t who, unsigned n);

#endif
