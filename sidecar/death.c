// SPDX-License-Identifier: Apache-2.0
#include "sidecar/death.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "component/page.h"

#define PREFIX "supervisor"
#define FAULTS_ALARM 3 /* with nothing in hand: no stanza is to blame, somebody must look */

bool death_is_own_fault(enum death_cause cause, int status)
{
    if (cause == DEATH_BY_WATCHDOG)
        return true;
    if (!WIFSIGNALED(status) || cause == DEATH_WANTED)
        return false;
    switch (WTERMSIG(status)) {
    case SIGSEGV:
    case SIGABRT:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
        return true;
    }
    return false;
}

void death_describe(enum death_cause cause, int status, char *out, size_t size)
{
    if (cause == DEATH_BY_WATCHDOG)
        snprintf(out, size, "no heartbeat for %d s", DEATH_SILENT_MS / 1000);
    else if (WIFSIGNALED(status))
        snprintf(out, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "exit code %d", WEXITSTATUS(status));
}

void death_note_fault(struct page *p, int64_t lived_ms, const char *how)
{
    struct place now, before;
    bool clear = page_place_get(&p->in_hand, &now);
    bool had = page_place_get(&p->fault, &before);
    bool same = clear && had && now.spool == before.spool && now.begin == before.begin;
    if (lived_ms >= DEATH_FAULTS_OVER_MS) {
        atomic_store(&p->faults_in_row, 0);
        atomic_store(&p->faults_unclear, 0);
    }
    atomic_fetch_add(&p->worker_faults, 1);
    atomic_fetch_add(&p->faults_in_row, 1);
    atomic_store(&p->faults_unclear, clear ? 0 : atomic_load(&p->faults_unclear) + 1);
    page_text_set(&p->fault_why, how);
    if (same) {
        atomic_fetch_add(&p->fault_times, 1);
    } else {
        page_place_set(&p->fault, clear ? &now : NULL);
        atomic_store(&p->fault_times, 1);
    }
    if (atomic_load(&p->faults_unclear) >= FAULTS_ALARM)
        log_error(PREFIX, "the worker died %u times in a row and no stanza is to blame",
                  atomic_load(&p->faults_unclear));
}
