// SPDX-License-Identifier: Apache-2.0
/*
 * Why a worker died, and whether that is held against the stanza it had in hand: only a fault
 * of its own is (design: poison).  What is found is kept in the shared page, where the next
 * worker looks.
 */
#ifndef SIDECAR_DEATH_H
#define SIDECAR_DEATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct page;

/* Silent for so long it hangs.  With its grace less than servers wait for the answer to an IQ
 * (ejabberd: 32 s): the next worker still answers what this one left open. */
#define DEATH_SILENT_MS 20000
#define DEATH_FAULTS_OVER_MS 60000 /* a worker that lived so long has ended the row */

enum death_cause {
    DEATH_BY_OTHERS,
    DEATH_WANTED,      /* we have told it to end */
    DEATH_BY_WATCHDOG, /* it was silent, and we killed it */
};

/* status is waitpid's. */
bool death_is_own_fault(enum death_cause cause, int status);
void death_describe(enum death_cause cause, int status, char *out, size_t size);

/* Held against the stanza in hand; when none was, the next worker has to go one by one, which
 * it sees from fault_times > 0 without a place. */
void death_note_fault(struct page *p, int64_t lived_ms, const char *how);

#endif
