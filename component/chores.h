// SPDX-License-Identifier: Apache-2.0
/*
 * What a file system may take its time over (syncing, deleting), done one after another by a
 * thread, so that the loop that reads the socket never waits for it.  A sync that follows
 * others in the queue covers what they covered.
 */
#ifndef COMPONENT_CHORES_H
#define COMPONENT_CHORES_H

#include <stdbool.h>
#include <stdint.h>

#include "component/segments.h"

struct chores;

/* dirfd is borrowed until chores_free. */
struct chores *chores_new(int dirfd);
/* Ends when all is done. */
void chores_free(struct chores **c);

/* fdatasync; fd must stay open until chores_idle, or is closed afterwards. */
void chores_sync(struct chores *c, int fd);
void chores_sync_and_close(struct chores *c, int fd);
/* fsync of the directory. */
void chores_sync_names(struct chores *c);
void chores_delete(struct chores *c, uint64_t base);

/* Nothing is left to do. */
bool chores_idle(struct chores *c);
/* Returns when that is so. */
void chores_wait(struct chores *c);
/* The errno of the first failed sync since the last call, or 0. */
int chores_failure(struct chores *c);

#endif
