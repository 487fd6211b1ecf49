// SPDX-License-Identifier: Apache-2.0
#include "sidecar/supervisor_int.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/crypt.h"
#include "base/err.h"
#include "base/log.h"
#include "component/frame.h"
#include "component/link.h"
#include "component/opts.h"
#include "component/page.h"
#include "component/spool.h"
#include "sidecar/death.h"
#include "sidecar/fd_store.h"
#include "sidecar/reexec.h"
#include "sidecar/spawn.h"

#define PREFIX "supervisor"
#define CHANNEL_QUEUE_MAX ((size_t)1024 * 1024)
#define TICK_MS 1000
#define READY_AFTER_MS 10000 /* the links are what must be up; a worker may take its time */
#define ABORT_GRACE_MS 5000  /* from SIGABRT to SIGKILL */
#define STOP_GRACE_MS 5000
#define LONG_LIFE_MS 10000 /* a worker that lived so long is started again at once */
#define RESTART_MIN_MS 100
#define RESTART_MAX_MS 400 /* questions wait while there is no worker */
/* After so many faults in a row a worker that comes back at once only burns the machine. */
#define FAULTS_FAST 8
#define FAULT_RESTART_MS 10000

void supervisor_forbid_core(void)
{
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    /* A core that is piped to a program does not heed the limit.  The leak checker of a test
     * build traces its own process, which this would forbid. */
#ifndef __SANITIZE_ADDRESS__
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static void arm(struct event *timer, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(timer, &tv);
}

void supervisor_set_state(struct supervisor *s, enum sup_state to)
{
    assert((int)to == (int)s->state + 1);
    s->state = to;
}

/* The worker ends in good order and the next one takes over. */
static void replace_worker(struct supervisor *s, enum frame_kind how)
{
    if (!s->worker || s->killed_by_us)
        return;
    s->killed_by_us = true;
    (void)frame_channel_tell(s->channel, how, 0);
    arm(s->stop_grace, STOP_GRACE_MS);
}

/* A stream that cannot be handed on is worth more than a new link process. */
static bool all_can_be_handed_on(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->links_n; i++)
        if (link_state(s->links[i].link) == LINK_UP && s->links[i].fd < 0)
            return false;
    return true;
}

static void upgrade_self(struct supervisor *s)
{
    s->upgrade = UPGRADE_NONE;
    if (!all_can_be_handed_on(s)) {
        log_info(PREFIX, "the link stays the program that it was: another process could not "
                         "go on with its stream");
        return;
    }
    s->upgrade = UPGRADE_SELF;
    replace_worker(s, FRAME_SHUTDOWN);
}

/* The worker: frames from it. */

static void on_frame(void *ctx, const struct frame *f)
{
    struct supervisor *s = ctx;
    char why[128];
    if (f->kind != FRAME_READY && f->link >= s->links_n)
        return;
    struct link *link = s->links[f->link].link;
    snprintf(why, sizeof why, "%.*s", f->len < 100 ? (int)f->len : 100, (const char *)f->data);
    switch (f->kind) {
    case FRAME_STANZA:
        (void)link_send(link, f->epoch, f->data, f->len);
        if (link_queued(link) > SUP_LINK_QUEUE_HIGH)
            frame_channel_pause(s->channel, true);
        break;
    case FRAME_RELEASE:
        link_release(link, f->position);
        break;
    case FRAME_RECONNECT:
        link_reconnect(link, f->epoch, why);
        break;
    case FRAME_STOP:
        log_warn(PREFIX, "the worker stops a link link=%u why=\"%s\"", f->link, why);
        link_stop(link, why);
        break;
    case FRAME_READY:
        s->worker_was_ready = true;
        if (s->upgrade == UPGRADE_WORKER)
            upgrade_self(s);
        break;
    case FRAME_SPOOLED:
    case FRAME_LINK_STATE:
    case FRAME_SHUTDOWN:
    case FRAME_RELOAD:
        break; /* ours, not the worker's */
    }
}

/* Its death, if that is what it was, comes as SIGCHLD; if it lives on it is of no use. */
static void on_channel_closed(void *ctx, const char *why)
{
    struct supervisor *s = ctx;
    log_debug(PREFIX, "channel closed why=\"%s\"", why);
    if (!event_pending(s->stop_grace, EV_TIMEOUT, NULL))
        arm(s->stop_grace, STOP_GRACE_MS);
}

static void start_worker(struct supervisor *s)
{
    const struct frame_events events = {
        .frame = on_frame, .closed = on_channel_closed, .ctx = s};
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        log_error(PREFIX, "socketpair: %s", strerror(errno));
        arm(s->restart, RESTART_MAX_MS);
        return;
    }
    page_place_set(&s->page->in_hand, NULL);
    atomic_store(&s->page->worker_heartbeat_ms, clock_mono_ms());
    pid_t pid = spawn_worker(s->opts.program, s->opts.config_path, fds[1]);
    close(fds[1]);
    if (pid < 0) {
        log_error(PREFIX, "fork: %s", strerror(errno));
        close(fds[0]);
        arm(s->restart, RESTART_MAX_MS);
        return;
    }
    s->worker = pid;
    s->worker_started_ms = clock_mono_ms();
    s->aborted_ms = 0;
    s->killed_by_us = false;
    s->channel = frame_channel_new(s->base, fds[0], CHANNEL_QUEUE_MAX, &events);
    atomic_store(&s->page->worker_pid, pid);
    atomic_store(&s->page->worker_started_us, clock_real_us());
    atomic_fetch_add(&s->page->worker_starts, 1);
    log_info(PREFIX, "worker started pid=%d", (int)pid);
}

/* The worker: its death. */

static enum death_cause cause_of(const struct supervisor *s)
{
    if (s->aborted_ms)
        return DEATH_BY_WATCHDOG;
    return s->killed_by_us ? DEATH_WANTED : DEATH_BY_OTHERS;
}

static void begin_stop(struct supervisor *s)
{
    if (s->state != SUP_RUNNING)
        return;
    supervisor_set_state(s, SUP_WORKER_STOPPING);
    sd_notify(0, "STOPPING=1");
    event_del(s->restart);
    if (!s->worker) {
        supervisor_stop_links(s);
        return;
    }
    s->killed_by_us = true;
    (void)frame_channel_tell(s->channel, FRAME_SHUTDOWN, 0);
    arm(s->stop_grace, STOP_GRACE_MS);
}

static void plan_restart(struct supervisor *s, bool wanted, bool fault)
{
    int64_t lived = clock_mono_ms() - s->worker_started_ms;
    int64_t wait = 0;
    if (lived >= LONG_LIFE_MS)
        backoff_reset(&s->backoff);
    /* The first death in a row costs nobody a wait. */
    if (!wanted && lived < LONG_LIFE_MS && atomic_load(&s->page->worker_starts) > 1)
        wait = backoff_next_ms(&s->backoff, crypt_random_u64());
    if (fault && lived < DEATH_FAULTS_OVER_MS &&
        atomic_load(&s->page->faults_in_row) > FAULTS_FAST)
        wait = FAULT_RESTART_MS;
    arm(s->restart, wait);
}

/* Only a fault of its own needs somebody; an end by another hand (kill, the OOM killer) or for
 * a passing reason heals by itself. */
static void log_death(const struct supervisor *s, int status, const char *how)
{
    if (death_is_own_fault(cause_of(s), status))
        log_error(PREFIX, "worker died how=\"%s\"; the stream stays up", how);
    else if (s->killed_by_us && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        log_info(PREFIX, "worker replaced how=\"%s\"", how);
    else
        log_warn(PREFIX, "worker died how=\"%s\"; the stream stays up", how);
}

static void worker_died(struct supervisor *s, int status)
{
    char how[64];
    death_describe(cause_of(s), status, how, sizeof how);
    bool wanted = s->killed_by_us;
    /* Answers that it held for given. */
    frame_channel_read_rest(s->channel);
    bool config = WIFEXITED(status) && WEXITSTATUS(status) == EX_CONFIG;
    s->worker = 0;
    event_del(s->stop_grace);
    frame_channel_free(&s->channel);
    atomic_store(&s->page->worker_pid, 0);
    bool fault = death_is_own_fault(cause_of(s), status);
    if (fault)
        death_note_fault(s->page, clock_mono_ms() - s->worker_started_ms, how);
    if (!wanted || s->state == SUP_RUNNING)
        page_text_set(&s->page->worker_death, how);
    if (s->upgrade == UPGRADE_SELF && s->state == SUP_RUNNING)
        supervisor_become_what_is_installed(s);
    if (!wanted)
        s->upgrade = UPGRADE_NONE; /* the new one does not work */
    if (s->state == SUP_WORKER_STOPPING) {
        supervisor_stop_links(s);
    } else if (config && !s->worker_was_ready) {
        /* It has said why; starting it again and again would not help. */
        log_error(PREFIX, "the worker cannot work with this configuration");
        s->exit_code = EX_CONFIG;
        begin_stop(s);
    } else if (s->state == SUP_RUNNING) {
        log_death(s, status, how);
        plan_restart(s, wanted, fault);
    }
}

static void on_child(evutil_socket_t sig, short what, void *ctx)
{
    (void)sig;
    (void)what;
    struct supervisor *s = ctx;
    int status;
    if (s->worker && waitpid(s->worker, &status, WNOHANG) == s->worker)
        worker_died(s, status);
}

static void on_restart(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct supervisor *s = ctx;
    if (!s->worker && s->state == SUP_RUNNING)
        start_worker(s);
}

/* Time. */

static void watch_worker(struct supervisor *s, int64_t now)
{
    if (!s->worker)
        return;
    if (s->aborted_ms) {
        if (now - s->aborted_ms > ABORT_GRACE_MS)
            kill(s->worker, SIGKILL);
        return;
    }
    int64_t beat = atomic_load(&s->page->worker_heartbeat_ms);
    if (now - beat <= DEATH_SILENT_MS || s->killed_by_us)
        return;
    log_error(PREFIX, "worker hangs silent_ms=%lld", (long long)(now - beat));
    s->aborted_ms = now;
    kill(s->worker, SIGABRT);
    kill(s->worker, SIGCONT); /* one that is stopped takes no signal but this */
}

static void tell_systemd(struct supervisor *s, int64_t now)
{
    unsigned up = 0;
    for (unsigned i = 0; i < s->links_n; i++)
        up += link_state(s->links[i].link) == LINK_UP;
    bool ready = s->worker_was_ready || now - s->started_ms > READY_AFTER_MS;
    if (ready && !s->told_systemd) {
        s->told_systemd = true;
        sd_notify(0, "READY=1");
    }
    sd_notifyf(0, "STATUS=%u of %u links up, worker %s, %llu worker starts", up, s->links_n,
               s->worker ? "running" : "down",
               (unsigned long long)atomic_load(&s->page->worker_starts));
    if (s->watchdog_ms && now - s->petted_ms >= s->watchdog_ms / 2) {
        s->petted_ms = now;
        sd_notify(0, "WATCHDOG=1");
    }
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct supervisor *s = ctx;
    int64_t now = clock_mono_ms();
    watch_worker(s, now);
    tell_systemd(s, now);
    /* A paused channel whose link went down has nothing more to drain. */
    supervisor_link_drained(s, 0);
    int64_t next =
        s->watchdog_ms && s->watchdog_ms / 4 < TICK_MS ? s->watchdog_ms / 4 : TICK_MS;
    arm(s->tick, next);
}

static void on_stop_grace(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct supervisor *s = ctx;
    if (!s->worker)
        return;
    log_warn(PREFIX, "worker did not stop in time");
    kill(s->worker, SIGKILL);
}

/* Signals. */

static void on_term(evutil_socket_t sig, short what, void *ctx)
{
    (void)what;
    log_info(PREFIX, "stopping signal=%d", (int)sig);
    begin_stop(ctx);
}

static void on_hup(evutil_socket_t sig, short what, void *ctx)
{
    (void)sig;
    (void)what;
    struct supervisor *s = ctx;
    struct supervisor_opts fresh = s->opts;
    struct err e;
    if (s->state != SUP_RUNNING || !s->opts.reload)
        return;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_ms() * 1000);
    bool read = s->opts.reload(s->opts.ctx, &fresh);
    if (read && fresh.component->hosts_n != s->links_n) {
        log_error(PREFIX, "the number of xmpp.hosts changes only with a restart");
    } else if (read) {
        s->opts.component = fresh.component;
        s->opts.spool = fresh.spool;
        for (unsigned i = 0; i < s->links_n; i++)
            if (link_set_opts(s->links[i].link, fresh.component, fresh.spool, &e) != ERR_NONE)
                log_error(PREFIX, "%s", e.text);
        replace_worker(s, FRAME_RELOAD);
    }
    sd_notify(0, "READY=1");
}

/* An upgrade: the worker ends in good order, the next one is what is installed now, and when
 * that works this process becomes it, too. */
static void on_usr2(evutil_socket_t sig, short what, void *ctx)
{
    (void)sig;
    (void)what;
    struct supervisor *s = ctx;
    if (s->state != SUP_RUNNING || s->upgrade != UPGRADE_NONE)
        return;
    s->upgrade = UPGRADE_WORKER;
    replace_worker(s, FRAME_SHUTDOWN);
}

static void catch_signals(struct supervisor *s)
{
    const struct {
        int number;
        event_callback_fn handler;
    } table[] = {{SIGTERM, on_term},
                 {SIGINT, on_term},
                 {SIGHUP, on_hup},
                 {SIGUSR2, on_usr2},
                 {SIGCHLD, on_child}};
    static_assert(sizeof table / sizeof *table == 5, "one event each");
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < 5; i++) {
        s->signals[i] = evsignal_new(s->base, table[i].number, table[i].handler, s);
        if (!s->signals[i] || event_add(s->signals[i], NULL) != 0)
            abort();
    }
}

/* Start and end. */

static int exit_code_of(enum err_kind kind)
{
    return kind == ERR_CONFIG ? EX_CONFIG : EX_TEMPFAIL;
}

static int take_lock(struct supervisor *s)
{
    const char *dir = s->opts.spool->directory;
    char path[PATH_MAX];
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        log_error(PREFIX, "spool.directory %s: %s", dir, strerror(errno));
        return EX_CONFIG;
    }
    snprintf(path, sizeof path, "%s/lock", dir);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock < 0) {
        log_error(PREFIX, "%s: %s", path, strerror(errno));
        return EX_CONFIG;
    }
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        log_error(PREFIX,
                  "another xmpp-sidecar runs on spool.directory %s: one of the two "
                  "must stop",
                  dir);
        return EX_TEMPFAIL;
    }
    return 0;
}

static int set_up(struct supervisor *s)
{
    struct err e;
    int code = take_lock(s);
    if (code)
        return code;
    s->base = event_base_new();
    if (!s->base)
        abort();
    s->tick = evtimer_new(s->base, on_tick, s);
    s->restart = evtimer_new(s->base, on_restart, s);
    s->stop_grace = evtimer_new(s->base, on_stop_grace, s);
    if (!s->tick || !s->restart || !s->stop_grace)
        abort();
    enum err_kind kind = supervisor_make_page(s, &e);
    for (unsigned i = 0; i < s->opts.component->hosts_n && kind == ERR_NONE; i++)
        kind = supervisor_add_link(s, i, &e);
    if (kind != ERR_NONE) {
        log_error(PREFIX, "%s", e.text);
        return exit_code_of(kind);
    }
    atomic_store(&s->page->supervisor_pid, getpid());
    atomic_store(&s->page->started_us, clock_real_us());
    backoff_init(&s->backoff, RESTART_MIN_MS, RESTART_MAX_MS);
    s->started_ms = clock_mono_ms();
    uint64_t usec;
    if (sd_watchdog_enabled(0, &usec) > 0)
        s->watchdog_ms = (int64_t)(usec / 1000);
    return 0;
}

static void tear_down(struct supervisor *s)
{
    frame_channel_free(&s->channel);
    for (unsigned i = 0; i < s->links_n; i++) {
        link_free(&s->links[i].link);
        spool_close(&s->links[i].spool);
    }
    for (size_t i = 0; i < 5; i++)
        if (s->signals[i])
            event_free(s->signals[i]);
    if (s->page)
        atomic_store(&s->page->supervisor_pid, 0);
    page_close(&s->page);
    if (s->base) {
        event_free(s->tick);
        event_free(s->restart);
        event_free(s->stop_grace);
        event_base_free(s->base);
    }
    if (s->lock >= 0)
        close(s->lock);
}

int supervisor_run(const struct supervisor_opts *opts)
{
    struct supervisor s = {.opts = *opts, .lock = -1};
    supervisor_forbid_core();
    fd_store_read(&s.kept);
    s.exit_code = set_up(&s);
    if (s.exit_code == 0) {
        catch_signals(&s);
        reexec_done();
        for (unsigned i = 0; i < s.links_n; i++)
            supervisor_resume_link(&s, i);
        fd_store_drop(&s.kept);
        start_worker(&s);
        for (unsigned i = 0; i < s.links_n; i++)
            link_start(s.links[i].link);
        arm(s.tick, 0);
        event_base_dispatch(s.base);
        log_info(PREFIX, "stopped");
    }
    tear_down(&s);
    return s.exit_code;
}
