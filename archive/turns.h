// SPDX-License-Identifier: Apache-2.0
/*
 * Who may read now: a bounded number at once, few of them one account's, and accounts take
 * turns.  So one account's many questions wait for each other and never before another's, and
 * what scans waits only for what scans.  It knows no question and no database.
 */
#ifndef ARCHIVE_TURNS_H
#define ARCHIVE_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/event.h"

enum turn_weight {
    TURN_PAGE, /* a page by an index */
    TURN_SCAN, /* may read much to find little */
    TURN_WEIGHTS,
};

enum turn_state {
    TURN_NONE,    /* -> WAITING, RUNNING */
    TURN_WAITING, /* -> RUNNING, NONE */
    TURN_RUNNING, /* -> NONE */
};

struct turn_account;

/* Embedded in what wants it; zero at first. */
struct turn {
    enum turn_state state;
    enum turn_weight weight;
    struct turn_account *account;
    struct turn *next; /* of the account's, waiting */
    void (*go)(struct turn *t);
};

struct turn_limits {
    unsigned running_max;  /* at once */
    unsigned running_each; /* of one account */
    unsigned waiting_each; /* of one account; more are refused */
};

struct turns;

struct turns *turns_new(const struct turn_limits limits[TURN_WEIGHTS]);
/* One of an account at a time, of any number of accounts; TURN_PAGE only. */
struct turns *turns_new_one_each(void);
/* After everything was given back. */
void turns_free(struct turns **t);

/* t->go is called when it is its turn: now or later.  False: the account has too many waiting,
 * and go will not be called. */
bool turns_take(struct turns *all, struct turn *t, const uint8_t owner[OWNER_BYTES],
                enum turn_weight weight, void (*go)(struct turn *t));
/* Running or waiting; may call go of others before it returns.  Nothing for a turn that was
 * not taken. */
void turns_give_back(struct turns *all, struct turn *t);

/* While held, nobody begins. */
void turns_hold(struct turns *all, bool held);
bool turns_are_held(const struct turns *all);

#endif
