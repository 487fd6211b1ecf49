// SPDX-License-Identifier: Apache-2.0
/*
 * What the two files of the supervisor share: supervisor.c has the worker's life, signals and
 * time, supervisor_links.c the links and what is kept of them over an end of this process.
 */
#ifndef SIDECAR_SUPERVISOR_INT_H
#define SIDECAR_SUPERVISOR_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/backoff.h"
#include "base/crypt.h"
#include "base/err.h"
#include "component/page.h"
#include "sidecar/fd_store.h"
#include "sidecar/supervisor.h"

struct event;
struct event_base;
struct frame_channel;
struct link;
struct spool;

/* Above it the worker is not read from until the server has taken some. */
#define SUP_LINK_QUEUE_HIGH ((size_t)8 * 1024 * 1024)

enum sup_state {
    SUP_RUNNING,         /* -> WORKER_STOPPING */
    SUP_WORKER_STOPPING, /* -> LINKS_STOPPING */
    SUP_LINKS_STOPPING,  /* -> end */
};

struct sup_link {
    struct spool *spool;
    struct link *link;
    /* A connection that another process could go on with, -1: it has none. */
    int fd;
    uint64_t epoch;
    char settings[SHA1_HEX_BYTES]; /* a digest of what it was made with */
};

/* After SIGUSR2 the worker is replaced first: what is installed has to show that it works. */
enum upgrade {
    UPGRADE_NONE,   /* -> WORKER */
    UPGRADE_WORKER, /* is the next worker ready? -> SELF, NONE */
    UPGRADE_SELF,   /* it was; when it has ended, so do we, and are the new program */
};

struct supervisor {
    struct supervisor_opts opts;
    enum sup_state state;
    int exit_code;
    int lock;
    struct event_base *base;
    struct page *page;
    struct fd_store kept; /* by the service manager, of the supervisor before us */
    enum upgrade upgrade;
    struct sup_link links[PAGE_LINKS_MAX];
    unsigned links_n;
    struct event *signals[5];
    struct event *tick;
    struct event *restart;
    struct event *stop_grace;

    pid_t worker; /* 0: none */
    struct frame_channel *channel;
    struct backoff backoff;
    int64_t worker_started_ms;
    int64_t aborted_ms; /* when the watchdog sent SIGABRT, 0: it did not */
    bool killed_by_us;  /* to stop it: no fault of its own */
    bool worker_was_ready;
    bool told_systemd;
    int64_t started_ms;
    int64_t watchdog_ms; /* of systemd, 0: none */
    int64_t petted_ms;
};

/* supervisor.c */
void supervisor_set_state(struct supervisor *s, enum sup_state to);

/* supervisor_links.c */
/* The shared page, with what is true of the one before. */
MUST_CHECK enum err_kind supervisor_make_page(struct supervisor *s, struct err *e);
/* Opens the spool of link i and makes the link, not yet started. */
MUST_CHECK enum err_kind supervisor_add_link(struct supervisor *s, unsigned i, struct err *e);
/* Goes on with the connection of the link's last epoch, where that was kept. */
void supervisor_resume_link(struct supervisor *s, unsigned link);
/* Reads from the worker again when no link has too much to send; also from link_events. */
void supervisor_link_drained(void *ctx, unsigned link);
/* All of them; ends the loop when they have stopped. */
void supervisor_stop_links(struct supervisor *s);
/* Executes the installed program with the links' connections handed on; does not return. */
_Noreturn void supervisor_become_what_is_installed(const struct supervisor *s);

#endif
