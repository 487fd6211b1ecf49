// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/people.h"

#include <math.h>

#define FLAT 5.0 /* the first few ranks are alike: no account is a tenth of the traffic */
#define CONTACTS_MIN 4
#define CONTACTS_MORE 196
#define ANSWERS 0.4 /* messages that answer one of the last conversations */
#define TRIES 64

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double share(uint64_t random)
{
    return (double)(random >> 11) / 9007199254740992.0;
}

/* Rank r of n comes with a weight of 1 / (r + FLAT): the inverse of the sum, as an integral.
 */
static uint32_t zipf(uint32_t n, double chance)
{
    double rank = FLAT * pow((n + FLAT) / FLAT, chance) - FLAT;
    return rank < n ? (uint32_t)rank : n - 1;
}

/* What is always the same of an account. */
static uint64_t trait(uint32_t who, uint32_t which)
{
    return mix(mix(((uint64_t)who << 32 | which) + UINT64_C(0x9E3779B97F4A7C15)));
}

void people_init(struct people *p, uint32_t accounts, double offline, uint64_t seed)
{
    *p = (struct people){.accounts = accounts, .offline = offline, .state = seed};
}

uint64_t people_random(struct people *p)
{
    return mix(p->state += UINT64_C(0x9E3779B97F4A7C15));
}

double people_chance(struct people *p)
{
    return share(people_random(p));
}

bool people_online(const struct people *p, uint32_t who)
{
    return share(trait(who, 0)) >= p->offline;
}

unsigned people_contacts(uint32_t who)
{
    return CONTACTS_MIN + zipf(CONTACTS_MORE, share(trait(who, 1)));
}

uint32_t people_contact(const struct people *p, uint32_t who, unsigned n)
{
    uint32_t other = zipf(p->accounts, share(trait(who, 2 + n)));
    return other != who ? other : (who + 1) % p->accounts;
}

uint32_t people_writer(struct people *p)
{
    uint32_t who = 0;
    for (int i = 0; i < TRIES; i++) {
        who = zipf(p->accounts, people_chance(p));
        if (people_online(p, who))
            break;
    }
    return who;
}

void people_next(struct people *p, uint32_t *from_out, uint32_t *to_out)
{
    unsigned known = p->recent_n < PEOPLE_RECENT ? p->recent_n : PEOPLE_RECENT;
    unsigned at = known ? (unsigned)(people_random(p) % known) : 0;
    if (known && people_chance(p) < ANSWERS && people_online(p, p->recent[at].to)) {
        *from_out = p->recent[at].to;
        *to_out = p->recent[at].from;
    } else {
        *from_out = people_writer(p);
        unsigned n = zipf(people_contacts(*from_out), people_chance(p));
        *to_out = people_contact(p, *from_out, n);
    }
    at = p->recent_n++ % PEOPLE_RECENT;
    p->recent[at].from = *from_out;
    p->recent[at].to = *to_out;
}
