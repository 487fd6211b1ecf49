// SPDX-License-Identifier: Apache-2.0
#include "component/link_int.h"

#include <assert.h>
#include <event2/event.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypt.h"
#include "base/log.h"
#include "base/resolve.h"
#include "component/opts.h"
#include "component/resume.h"
#include "component/wire.h"

#define MAGIC 0x4c494e4b
#define QUEUE_MAX ((size_t)64 * 1024 * 1024)
#define LOG_AGAIN_MS (5 * 60 * 1000)
#define SHADOW_US INT64_C(30000000)

const struct link_timing link_timing_defaults = {
    .connect_ms = 10000,
    .closing_ms = 3000,
    .keepalive_ms = 60000,
    .retry_min_ms = 1000,
    .retry_max_ms = 30000,
    .slow_min_ms = 30000,
    .slow_max_ms = 5 * 60 * 1000,
    .settled_ms = 60000,
};

static bool may_go(enum link_state from, enum link_state to)
{
    switch (from) {
    case LINK_STOPPED:
        return to == LINK_CONNECTING || to == LINK_UP;
    case LINK_CONNECTING:
        return to == LINK_HANDSHAKING || to == LINK_BACKOFF || to == LINK_STOPPED;
    case LINK_HANDSHAKING:
        return to == LINK_UP || to == LINK_BACKOFF || to == LINK_FULL || to == LINK_STOPPED;
    case LINK_UP:
        return to == LINK_CLOSING || to == LINK_BACKOFF || to == LINK_FULL;
    case LINK_CLOSING:
        return to == LINK_CONNECTING || to == LINK_BACKOFF || to == LINK_FULL ||
               to == LINK_STOPPED;
    case LINK_BACKOFF:
        return to == LINK_CONNECTING || to == LINK_FULL || to == LINK_STOPPED;
    case LINK_FULL:
        return to == LINK_CONNECTING || to == LINK_STOPPED;
    }
    return false;
}

void link_arm(struct event *timer, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(timer, &tv);
}

void link_set_state(struct link *l, enum link_state to)
{
    assert(may_go(l->state, to));
    l->state = to;
    atomic_store(&l->set.page->state, (int)to);
    event_del(l->timer);
    if (l->ev.state)
        l->ev.state(l->ev.ctx, l->set.index);
}

/* Connecting and its failures. */

static void drop_connection(struct link *l)
{
    wire_free(&l->wire);
    handshake_free(&l->shake);
    resolve_free(&l->resolve);
    l->next_address = NULL;
    event_del(l->keepalive);
    l->paused = false;
}

static void connect_now(struct link *l);

static void back_off(struct link *l, struct backoff *b)
{
    link_set_state(l, LINK_BACKOFF);
    link_arm(l->timer, backoff_next_ms(b, crypt_random_u64()));
}

void link_lost(struct link *l, const char *why)
{
    enum then then = l->state == LINK_CLOSING ? l->then : THEN_RETRY;
    bool was_up = l->state == LINK_UP;
    const char *reason = l->state == LINK_CLOSING ? l->why : why;
    char said[PAGE_TEXT_BYTES];
    page_text_get(&l->set.page->error, said);
    if (l->state == LINK_CLOSING)
        log_info(l->prefix, "closed why=\"%s\"", reason);
    else if (was_up)
        log_warn(l->prefix, "connection lost why=\"%s\"", reason);
    else if (strncmp(reason, "certificate", 11) == 0 && strcmp(said, reason) != 0)
        log_error(l->prefix, "cannot connect why=\"%s\": see xmpp.tls_ca_file and tls_name",
                  reason);
    else if (strcmp(said, reason) != 0)
        log_warn(l->prefix, "cannot connect why=\"%s\"", reason);
    else
        log_debug(l->prefix, "cannot connect why=\"%s\"", reason);
    page_text_set(&l->set.page->error, reason);
    link_end_stream(l, reason);
    drop_connection(l);
    switch (then) {
    case THEN_RETRY:
        back_off(l, &l->retry);
        break;
    case THEN_FULL:
        link_set_state(l, LINK_FULL);
        link_arm(l->timer, LINK_FULL_POLL_MS);
        break;
    case THEN_STOP:
        link_set_state(l, LINK_STOPPED);
        break;
    }
}

/* Openfire takes a moment to forget the connection that we have just had. */
static bool is_own_shadow(const struct link *l, enum handshake_fault fault)
{
    return fault == HANDSHAKE_CONFLICT && l->down_since_us > 0 &&
           clock_real_us() - l->down_since_us < SHADOW_US;
}

static void refused(struct link *l, const struct err *e)
{
    enum handshake_fault fault = handshake_fault(l->shake);
    bool shadow = is_own_shadow(l, fault);
    bool lasting = handshake_fault_is_lasting(fault) && !shadow;
    const char *remedy = shadow ? "" : handshake_remedy(fault);
    int64_t now = clock_mono_ms();
    bool said = l->complained == fault && now - l->complained_ms < LOG_AGAIN_MS;
    page_text_set(&l->set.page->error, e->text);
    if (*remedy && !said) {
        log_error(l->prefix, "%s: %s", e->text, remedy);
        l->complained = fault;
        l->complained_ms = now;
    } else if (!*remedy) {
        log_warn(l->prefix, "handshake failed why=\"%s\"", e->text);
    }
    drop_connection(l);
    back_off(l, lasting ? &l->slow : &l->retry);
}

/* Has the connection kept over our death, if the kernel counts it like we do. */
static void keep(struct link *l)
{
    if (!l->ev.keep || !resume_is_possible(l->set.spool, l->wire))
        return;
    l->kept = true;
    l->ev.keep(l->ev.ctx, l->set.index, wire_plain_fd(l->wire), l->epoch);
}

static void now_up(struct link *l)
{
    size_t header_len, rest_len;
    const uint8_t *header = handshake_header(l->shake, &header_len);
    const uint8_t *rest = handshake_rest(l->shake, &rest_len);
    struct page_link *p = l->set.page;
    int64_t now = clock_real_us();
    struct err e;
    spool_stream_skip(l->set.spool, l->shaken - rest_len);
    enum err_kind kind =
        spool_stream_open(l->set.spool, header, header_len, now, &l->epoch, &e);
    if (kind == ERR_NONE && rest_len > 0)
        kind = spool_append(l->set.spool, rest, rest_len, now, &e);
    if (kind != ERR_NONE) {
        link_spool_failed(l, &e);
        return;
    }
    handshake_free(&l->shake);
    backoff_reset(&l->slow);
    l->complained = HANDSHAKE_OK;
    l->up_since_ms = l->sent_ms = clock_mono_ms();
    atomic_store(&p->connected_us, now);
    atomic_store(&p->down_since_us, 0);
    atomic_fetch_add(&p->connects, 1);
    page_text_set(&p->error, "");
    if (l->down_since_us) {
        atomic_store(&p->gap_from_us, l->down_since_us);
        atomic_store(&p->gap_to_us, now);
        atomic_fetch_add(&p->gaps, 1);
    }
    log_info(l->prefix, "up epoch=%llu", (unsigned long long)l->epoch);
    link_arm(l->keepalive, l->timing.keepalive_ms);
    link_publish(l);
    link_sync_later(l);
    resume_note_queued(p, l->wire);
    resume_note_drained(p, l->wire);
    link_set_state(l, LINK_UP);
    keep(l);
}

static void send_handshake(struct link *l)
{
    size_t len;
    const uint8_t *data = handshake_output(l->shake, &len);
    if (len > 0)
        (void)wire_write(l->wire, data, len);
}

static void read_handshake(struct link *l)
{
    const char *why;
    struct err e;
    ssize_t n = wire_read(l->wire, l->chunk, LINK_READ_BYTES, &why);
    if (n == 0)
        return;
    l->shaken += n > 0 ? (uint64_t)n : 0;
    enum err_kind kind = n < 0 ? handshake_eof(l->shake, &e)
                               : handshake_input(l->shake, l->chunk, (size_t)n, &e);
    if (kind != ERR_NONE) {
        refused(l, &e);
        return;
    }
    send_handshake(l);
    if (handshake_state(l->shake) == HANDSHAKE_DONE)
        now_up(l);
}

/* What the wire calls back. */

static void on_up(void *ctx)
{
    struct link *l = ctx;
    const struct component_opts *o = l->set.opts;
    l->shake = handshake_new(o->component, o->secret, clock_mono_ms());
    l->shaken = 0;
    link_set_state(l, LINK_HANDSHAKING);
    link_arm(l->timer, HANDSHAKE_DEADLINE_MS);
    send_handshake(l);
    wire_read_on(l->wire, true);
}

static void on_readable(void *ctx)
{
    struct link *l = ctx;
    assert(l->magic == MAGIC);
    if (l->state == LINK_HANDSHAKING)
        read_handshake(l);
    else
        link_read_stream(l);
}

static void on_drained(void *ctx)
{
    struct link *l = ctx;
    if (l->state != LINK_UP)
        return;
    resume_note_drained(l->set.page, l->wire);
    if (l->ev.drained)
        l->ev.drained(l->ev.ctx, l->set.index);
}

static void try_address(struct link *l, const char *why_not);

static void on_down(void *ctx, const char *why)
{
    struct link *l = ctx;
    char copy[128];
    snprintf(copy, sizeof copy, "%s", why); /* the wire's */
    if (l->state == LINK_CONNECTING) {
        wire_free(&l->wire);
        try_address(l, copy);
    } else {
        link_lost(l, copy);
    }
}

static void try_address(struct link *l, const char *why_not)
{
    const struct wire_events events = {.up = on_up,
                                       .readable = on_readable,
                                       .drained = on_drained,
                                       .down = on_down,
                                       .ctx = l};
    const struct component_opts *o = l->set.opts;
    struct wire_setup setup = {.base = l->set.base,
                               .tls = l->tls,
                               .name = o->tls_name ? o->tls_name : o->hosts[l->set.index].host,
                               .queue_max = QUEUE_MAX};
    struct err e;
    err_set(&e, ERR_PEER, "%s", why_not);
    while (l->next_address) {
        setup.addr = l->next_address->ai_addr;
        setup.addr_len = l->next_address->ai_addrlen;
        l->next_address = l->next_address->ai_next;
        if (wire_connect(&setup, &events, &l->wire, &e) == ERR_NONE) {
            link_arm(l->timer, l->timing.connect_ms);
            return;
        }
    }
    link_lost(l, e.text);
}

static void on_addresses(void *ctx, const struct addrinfo *first, const char *why)
{
    struct link *l = ctx;
    l->next_address = first;
    try_address(l, why);
}

static void connect_now(struct link *l)
{
    const struct host_opts *host = &l->set.opts->hosts[l->set.index];
    link_set_state(l, LINK_CONNECTING);
    link_arm(l->timer, l->timing.connect_ms);
    l->resolve = resolve_start(l->set.base, host->host, host->port, on_addresses, l);
}

/* Timers. */

static void connect_unless_full(struct link *l)
{
    if (link_check_level(l) != SPOOL_FULL) {
        connect_now(l);
        return;
    }
    if (l->state != LINK_FULL)
        link_set_state(l, LINK_FULL);
    link_arm(l->timer, LINK_FULL_POLL_MS);
}

static void unpause(struct link *l)
{
    if (link_check_level(l) == SPOOL_FULL) {
        link_arm(l->timer, LINK_FULL_POLL_MS);
        return;
    }
    l->paused = false;
    event_del(l->timer);
    wire_read_on(l->wire, true);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct link *l = ctx;
    struct err e;
    switch (l->state) {
    case LINK_CONNECTING:
        if (l->wire) {
            wire_free(&l->wire);
            try_address(l, "no answer");
        } else {
            link_lost(l, "no answer from the name server");
        }
        break;
    case LINK_HANDSHAKING:
        if (handshake_tick(l->shake, handshake_deadline_ms(l->shake), &e) != ERR_NONE)
            refused(l, &e);
        break;
    case LINK_CLOSING:
        link_lost(l, l->why);
        break;
    case LINK_BACKOFF:
    case LINK_FULL:
        connect_unless_full(l);
        break;
    case LINK_UP:
        if (l->paused)
            unpause(l);
        break;
    case LINK_STOPPED:
        break;
    }
}

/* What the owner calls. */

static struct spool_settings settings_of(const struct spool_opts *o)
{
    return (struct spool_settings){.size_max = o->size_max, .sync_always = o->fsync_ms == 0};
}

static enum err_kind make_tls(const struct component_opts *o, struct wire_tls **out,
                              struct err *e)
{
    *out = NULL;
    return o->tls ? wire_tls_new(o->tls_ca_pem, out, e) : ERR_NONE;
}

enum err_kind link_new(const struct link_setup *setup, const struct link_events *events,
                       struct link **out, struct err *e)
{
    struct wire_tls *tls;
    *out = NULL;
    enum err_kind kind = make_tls(setup->opts, &tls, e);
    if (kind != ERR_NONE)
        return kind;
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->magic = MAGIC;
    l->set = *setup;
    l->timing = setup->timing ? *setup->timing : link_timing_defaults;
    l->ev = *events;
    l->tls = tls;
    l->chunk = malloc(LINK_READ_BYTES);
    l->timer = evtimer_new(setup->base, on_timer, l);
    l->keepalive = evtimer_new(setup->base, link_on_keepalive, l);
    l->sync = evtimer_new(setup->base, link_on_sync, l);
    if (!l->chunk || !l->timer || !l->keepalive || !l->sync)
        abort();
    backoff_init(&l->retry, l->timing.retry_min_ms, l->timing.retry_max_ms);
    backoff_init(&l->slow, l->timing.slow_min_ms, l->timing.slow_max_ms);
    const struct host_opts *host = &setup->opts->hosts[setup->index];
    char where[96];
    snprintf(where, sizeof where, "%.80s:%u", host->host, host->port);
    snprintf(l->prefix, sizeof l->prefix, "link server=%s", where);
    page_text_set(&setup->page->host, where);
    /* Whatever was sent while nobody ran is a gap as well. */
    l->down_since_us = spool_last_us(setup->spool);
    atomic_store(&setup->page->down_since_us,
                 l->down_since_us ? l->down_since_us : clock_real_us());
    atomic_store(&setup->page->state, LINK_STOPPED);
    atomic_store(&setup->page->size_max, setup->spool_opts->size_max);
    link_publish(l);
    *out = l;
    return ERR_NONE;
}

void link_free(struct link **lp)
{
    struct link *l = *lp;
    *lp = NULL;
    if (!l)
        return;
    l->ev.spooled = l->ev.state = l->ev.drained = NULL;
    link_end_stream(l, "stopped");
    drop_connection(l);
    event_free(l->timer);
    event_free(l->keepalive);
    event_free(l->sync);
    wire_tls_free(&l->tls);
    free(l->chunk);
    l->magic = 0;
    free(l);
}

void link_start(struct link *l)
{
    if (l->state != LINK_STOPPED)
        return;
    resume_note_no_frames(l->set.page);
    connect_now(l);
}

/* Takes over the socket and drops from it what the spool has already. */
static bool adopt(struct link *l, int fd, const struct resume_plan *plan)
{
    const struct wire_setup setup = {.base = l->set.base, .queue_max = QUEUE_MAX};
    const struct wire_events events = {
        .readable = on_readable, .drained = on_drained, .down = on_down, .ctx = l};
    struct err e;
    l->wire = wire_adopt(&setup, &events, fd, plan->written);
    err_set(&e, ERR_PEER, "what is spooled cannot be taken from the socket");
    if (wire_consume(l->wire, plan->overlap) &&
        spool_stream_resume(l->set.spool, clock_real_us(), &e) == ERR_NONE)
        return true;
    log_error(l->prefix, "cannot go on with a kept connection: %s", e.text);
    wire_free(&l->wire);
    return false;
}

static void go_on(struct link *l)
{
    resume_note_queued(l->set.page, l->wire);
    resume_note_drained(l->set.page, l->wire);
    log_info(l->prefix, "goes on epoch=%llu", (unsigned long long)l->epoch);
    link_arm(l->keepalive, l->timing.keepalive_ms);
    wire_read_on(l->wire, true);
    if (l->kept)
        l->ev.keep(l->ev.ctx, l->set.index, wire_plain_fd(l->wire), l->epoch);
}

bool link_resume(struct link *l, int fd, const char *why_not)
{
    struct resume_plan plan;
    assert(l->state == LINK_STOPPED);
    if (!resume_find(l->set.spool, l->set.page, fd, &plan)) {
        log_warn(l->prefix,
                 "a kept connection does not fit the spool, or is of no epoch of it");
        close(fd);
        return false;
    }
    why_not = why_not ? why_not : plan.why_not;
    if (!adopt(l, fd, &plan))
        return false;
    if (!why_not)
        resume_take_back_frames(l->set.page, &plan);
    l->epoch = spool_epoch(l->set.spool);
    l->kept = l->ev.keep != NULL;
    l->down_since_us = 0;
    atomic_store(&l->set.page->down_since_us, 0);
    l->up_since_ms = l->sent_ms = clock_mono_ms();
    link_set_state(l, LINK_UP);
    link_publish(l);
    link_sync_later(l);
    if (!why_not) {
        go_on(l);
        return true;
    }
    log_warn(l->prefix, "a kept connection is read to its end why=\"%s\"", why_not);
    link_start_closing(l, THEN_RETRY, why_not);
    wire_end(l->wire);
    return true;
}

void link_stop(struct link *l, const char *why)
{
    switch (l->state) {
    case LINK_UP:
    case LINK_CLOSING:
        link_close_stream(l, THEN_STOP, why);
        break;
    case LINK_CONNECTING:
    case LINK_HANDSHAKING:
    case LINK_BACKOFF:
    case LINK_FULL:
        drop_connection(l);
        link_set_state(l, LINK_STOPPED);
        break;
    case LINK_STOPPED:
        break;
    }
}

void link_reconnect(struct link *l, uint64_t epoch, const char *why)
{
    if (l->state == LINK_UP && epoch == l->epoch) {
        log_warn(l->prefix, "reconnecting why=\"%s\"", why);
        link_close_stream(l, THEN_RETRY, why);
    }
}

enum err_kind link_set_opts(struct link *l, const struct component_opts *opts,
                            const struct spool_opts *spool_opts, struct err *e)
{
    struct wire_tls *tls;
    enum err_kind kind = make_tls(opts, &tls, e);
    if (kind != ERR_NONE)
        return kind;
    wire_tls_free(&l->tls); /* a connection holds its own reference */
    l->tls = tls;
    l->set.opts = opts;
    l->set.spool_opts = spool_opts;
    struct spool_settings settings = settings_of(spool_opts);
    spool_set_settings(l->set.spool, &settings);
    atomic_store(&l->set.page->size_max, spool_opts->size_max);
    /* A person may just have repaired what kept us waiting. */
    backoff_reset(&l->slow);
    if (l->state == LINK_BACKOFF)
        link_arm(l->timer, 0);
    return ERR_NONE;
}

void link_release(struct link *l, uint64_t pos)
{
    spool_delete_below(l->set.spool, pos);
    link_publish(l);
    if (l->state == LINK_FULL)
        connect_unless_full(l);
    else if (l->paused)
        unpause(l);
    else
        link_check_level(l);
}

enum link_state link_state(const struct link *l)
{
    return l->state;
}
