// SPDX-License-Identifier: Apache-2.0
#include "sidecar/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>

#include "archive/ingest.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "component/cursor.h"
#include "component/frame.h"
#include "component/page.h"
#include "component/service.h"
#include "component/spool.h"
#include "config/config.h"
#include "sidecar/feed.h"
#include "sidecar/hand.h"
#include "sidecar/http.h"
#include "sidecar/open_iqs.h"
#include "sidecar/relay.h"
#include "sidecar/report.h"
#include "sidecar/report_page.h"
#include "sidecar/snapshot.h"

#define TICK_MS 100
#define SNAPSHOT_EVERY_MS 5000
#define HTTP_AGAIN_MS 2000
#define BEHIND_US (5 * INT64_C(1000000)) /* then pushes are only collected */
#define CHANNEL_QUEUE_MAX ((size_t)64 << 20)
#define LAST_WORDS_MS 2500 /* less than the link process grants */
#define PATH_BYTES 1024
#define RAW_SPACE_BYTES 4096 /* white space before a stanza, and a stream's header */

struct worker {
    const struct config *config;
    struct event_base *base;
    struct page *page;
    struct open_iqs *iqs;
    struct hand *hand;
    struct buf raw; /* of the stanza that is being put aside */
    struct buf raw_header;
    uint64_t frames[SNAPSHOT_LINKS_MAX]; /* with stanzas, that a link was given since ever */
    struct frame_channel *channel;
    struct relay *relay;
    struct http *http;
    int64_t http_again_ms;
    struct event *pump;
    struct event *tick;
    struct event *terminate;
    unsigned links_n;
    struct feed *feeds[SNAPSHOT_LINKS_MAX];
    bool replayed[SNAPSHOT_LINKS_MAX];
    uint64_t replay_until[SNAPSHOT_LINKS_MAX];
    uint64_t released[SNAPSHOT_LINKS_MAX];
    struct snapshot snapshot; /* the last one written */
    char snapshot_path[PATH_BYTES];
    int64_t snapshot_ms;
    bool behind;
};

static void wake_pump(struct worker *w)
{
    static const struct timeval at_once = {0, 0};
    (void)event_add(w->pump, &at_once);
}

/* What the XMPP service does through us. */

static void on_send(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data, size_t len)
{
    struct worker *w = ctx;
    struct frame f = {
        .kind = FRAME_STANZA, .link = link, .epoch = epoch, .data = data, .len = len};
    if (!frame_channel_send(w->channel, &f))
        log_warn("worker", "an answer was dropped link=%u bytes=%zu: the queue is full", link,
                 len);
    else
        w->frames[link]++;
}

static size_t on_unsent(void *ctx)
{
    const struct worker *w = ctx;
    return frame_channel_queued(w->channel);
}

static void on_event(void *ctx, const struct event *e)
{
    struct worker *w = ctx;
    feed_event(w->feeds[e->place.spool], e);
}

static void on_roster_changed(void *ctx, const char *account)
{
    struct worker *w = ctx;
    relay_roster_changed(w->relay, account);
}

static void on_request_opened(void *ctx, const struct place *p)
{
    struct worker *w = ctx;
    open_iqs_opened(w->iqs, p);
}

static void forget_written(struct worker *w, unsigned link)
{
    open_iqs_written(w->iqs, link, atomic_load(&w->page->links[link].frames_done));
}

static void on_request_done(void *ctx, const struct place *p)
{
    struct worker *w = ctx;
    if (hand_is_held(w->hand))
        wake_pump(w);
    forget_written(w, p->spool);
    open_iqs_answered(w->iqs, p, w->frames[p->spool]);
}

static bool on_request_is_open(void *ctx, const struct place *p)
{
    struct worker *w = ctx;
    return open_iqs_has(w->iqs, p);
}

static void on_gone(void *ctx, const char *bare)
{
    struct worker *w = ctx;
    relay_gone(w->relay, bare);
}

static void on_copies_lost(void *ctx, int64_t from_us, int64_t to_us)
{
    struct worker *w = ctx;
    relay_copies_lost(w->relay, from_us, to_us);
}

static void on_reconnect(void *ctx, unsigned link, uint64_t epoch, const char *why)
{
    struct worker *w = ctx;
    log_warn("worker", "asking for a new connection link=%u: %s", link, why);
    struct frame f = {.kind = FRAME_RECONNECT,
                      .link = link,
                      .epoch = epoch,
                      .data = (const uint8_t *)why,
                      .len = strlen(why)};
    if (!frame_channel_send(w->channel, &f))
        log_error("worker", "the link cannot be asked link=%u: the queue is full", link);
}

/* Reading. */

static void on_pump(evutil_socket_t fd, short what, void *ctx)
{
    struct worker *w = ctx;
    (void)fd;
    (void)what;
    if (relay_is_starting(w->relay))
        return; /* the tick wakes us */
    bool more = false;
    for (unsigned i = 0; i < w->links_n; i++) {
        struct page_link *l = &w->page->links[i];
        more |= feed_pump(w->feeds[i], atomic_load(&l->spool_end));
        if (!w->replayed[i] && feed_live_position(w->feeds[i]) >= w->replay_until[i]) {
            w->replayed[i] = true;
            open_iqs_replayed(w->iqs, i);
        }
    }
    if (more)
        wake_pump(w);
}

static void on_passed(void *ctx, unsigned link, const struct place *p)
{
    struct worker *w = ctx;
    _Atomic uint64_t *live = &w->page->links[link].live_pos;
    if (p->end > atomic_load(live)) /* it is not while we replay */
        atomic_store(live, p->end);
}

static bool link_directory(const struct worker *w, unsigned link, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%u", w->config->spool.directory, link);
    return n > 0 && n < PATH_BYTES;
}

/* White space before it kept the stream alive and is not of the stanza. */
static bool on_raw(void *ctx, const struct place *p, struct ingest_raw *out)
{
    struct worker *w = ctx;
    char dir[PATH_BYTES];
    struct err e;
    buf_reset(&w->raw);
    buf_reset(&w->raw_header);
    if (!link_directory(w, p->spool, dir) ||
        cursor_bytes(dir, p, &w->raw, &w->raw_header, &e) != ERR_NONE)
        return false;
    bool cut = buf_len(&w->raw) == w->raw.max;
    while (buf_len(&w->raw) > 0 && *buf_data(&w->raw) <= ' ')
        buf_consume(&w->raw, 1);
    *out = (struct ingest_raw){.bytes = buf_data(&w->raw),
                               .bytes_n = buf_len(&w->raw),
                               .cut = cut,
                               .header = buf_data(&w->raw_header),
                               .header_n = buf_len(&w->raw_header)};
    return true;
}

/* How far the archive has committed everything, for whoever looks at the page. */
static uint64_t publish_committed(struct worker *w, struct ingest *ingest, unsigned link)
{
    uint64_t committed = ingest_committed(ingest, link);
    atomic_store(&w->page->links[link].archive_pos, committed);
    return committed;
}

static void on_archive_progress(void *ctx)
{
    struct worker *w = ctx;
    struct ingest *ingest = relay_ingest(w->relay);
    if (!ingest)
        return;
    for (unsigned i = 0; i < w->links_n; i++) {
        feed_archive_open(w->feeds[i], ingest);
        (void)publish_committed(w, ingest, i);
    }
    wake_pump(w);
}

/* The next worker begins at the places that are stored. */
static void on_archive_lost(void *ctx)
{
    struct worker *w = ctx;
    (void)event_base_loopbreak(w->base);
}

static void on_frame(void *ctx, const struct frame *f)
{
    struct worker *w = ctx;
    switch (f->kind) {
    case FRAME_SPOOLED:
        event_active(w->pump, EV_TIMEOUT, 0); /* in this turn of the loop */
        break;
    case FRAME_LINK_STATE:
        break;
    case FRAME_RELOAD: /* the next worker reads the settings again */
    case FRAME_SHUTDOWN:
        (void)event_base_loopbreak(w->base);
        break;
    case FRAME_STANZA:
    case FRAME_RELEASE:
    case FRAME_RECONNECT:
    case FRAME_STOP:
    case FRAME_READY:
        log_error("worker", "a frame of kind %d from the link", (int)f->kind);
        break;
    }
}

/* A worker dies with its link. */
static void on_channel_closed(void *ctx, const char *why)
{
    (void)ctx;
    log_info("worker", "the link process is gone: %s", why);
    _exit(EX_OK);
}

/* What is done from time to time. */

/* The archive's lag, in the worst of the links. */
static int64_t behind_us(const struct worker *w)
{
    int64_t now_us = clock_real_us(), worst = 0;
    for (unsigned i = 0; i < w->links_n; i++) {
        int64_t behind = feed_behind_us(w->feeds[i], now_us);
        worst = behind > worst ? behind : worst;
    }
    struct ingest *ingest = relay_ingest(w->relay);
    if (!ingest)
        return INT64_MAX;
    struct ingest_stats stats;
    ingest_get_stats(ingest, &stats);
    if (stats.oldest_queued_us && now_us - stats.oldest_queued_us > worst)
        worst = now_us - stats.oldest_queued_us;
    return worst;
}

/* On disk, where the next worker finds it. */
static void have_snapshot(struct worker *w, const struct snapshot *s)
{
    w->snapshot = *s;
    for (unsigned i = 0; i < w->links_n; i++)
        atomic_store(&w->page->links[i].snapshot_pos, s->live[i]);
}

static bool moved_since_snapshot(const struct worker *w)
{
    bool moved = false;
    for (unsigned i = 0; i < w->links_n; i++)
        moved |= feed_live_position(w->feeds[i]) != w->snapshot.live[i];
    return moved;
}

static void write_snapshot(struct worker *w)
{
    if (!moved_since_snapshot(w))
        return;
    struct buf state;
    struct snapshot now = w->snapshot;
    buf_init(&state, SNAPSHOT_BYTES_MAX);
    service_save(relay_service(w->relay), &state);
    for (unsigned i = 0; i < w->links_n; i++)
        now.live[i] = feed_live_position(w->feeds[i]);
    struct err e;
    if (buf_failed(&state))
        log_error("worker", "the state is too large for a snapshot");
    else if (snapshot_write(w->snapshot_path, &now, &state, &e))
        log_warn("worker", "%s", e.text);
    else
        have_snapshot(w, &now);
    FAILPOINT("worker-snapshot");
    buf_deinit(&state);
}

/* Below this place nobody will read that spool again. */
static uint64_t releasable(struct worker *w, unsigned link)
{
    struct ingest *ingest = relay_ingest(w->relay);
    if (ingest)
        (void)publish_committed(w, ingest, link);
    uint64_t pos = feed_keeps_from(w->feeds[link]);
    uint64_t snapshot = atomic_load(&w->page->links[link].snapshot_pos);
    uint64_t oldest_iq = open_iqs_oldest(w->iqs, link);
    pos = snapshot < pos ? snapshot : pos;
    pos = oldest_iq < pos ? oldest_iq : pos;
    /* Who starts here looks at the record before, to see when the last stream was read. */
    return pos > 0 ? pos - 1 : 0;
}

static void release(struct worker *w)
{
    for (unsigned i = 0; i < w->links_n; i++) {
        uint64_t pos = releasable(w, i);
        hand_released(w->hand, i, pos);
        if (pos <= w->released[i])
            continue;
        struct frame f = {.kind = FRAME_RELEASE, .link = i, .position = pos};
        FAILPOINT("worker-release");
        if (frame_channel_send(w->channel, &f))
            w->released[i] = pos;
    }
}

/* What the dead worker may have had in hand was read and committed. */
static void end_careful(struct worker *w)
{
    struct ingest *ingest = relay_ingest(w->relay);
    for (unsigned i = 0; ingest && i < w->links_n; i++)
        hand_passed(w->hand, i, feed_live_position(w->feeds[i]), ingest_committed(ingest, i));
}

static void fill_report(void *ctx, struct report *r)
{
    struct worker *w = ctx;
    report_from_page(r, w->page, w->config);
    r->worker_answers = true;
    r->behind_us = behind_us(w);
    relay_get_status(w->relay, &r->relay);
    service_nodes(relay_service(w->relay), &r->nodes);
    for (size_t i = 0; i < r->links_n; i++) {
        struct service_link_status s;
        service_link_status(relay_service(w->relay), (unsigned)i, &s);
        struct report_link *l = &r->links[i];
        l->known = true;
        l->messages_granted = s.messages_granted;
        l->presence_granted = s.presence_granted;
        l->namespaces_delegated = s.namespaces_delegated;
        l->accounts_online = s.accounts_online;
        l->requests_open = s.requests_open;
        l->copies = s.copies;
        l->copies_since_us = s.copies_since_us;
        l->copies_trouble = s.copies_trouble;
        l->copies_busiest = s.copies_busiest;
        l->copies_losses = s.copies_losses;
        l->copies_lost_from_us = s.copies_lost_from_us;
        l->copies_lost_to_us = s.copies_lost_to_us;
    }
    while (r->apps_n < REPORT_APPS_MAX &&
           relay_get_app_status(w->relay, r->apps_n, &r->apps[r->apps_n].id,
                                &r->apps[r->apps_n].gateway, &r->apps[r->apps_n].outbox))
        r->apps_n++;
}

/* The port may still be another's for a moment, or for ever: the service goes on without. */
static void try_http(struct worker *w, int64_t now_ms)
{
    const struct http_opts *o = &w->config->http;
    if (w->http || !o->host || now_ms < w->http_again_ms)
        return;
    struct err e;
    if (http_new(w->base, o->host, o->port, fill_report, w, &w->http, &e)) {
        log_warn("http", "%s", e.text);
        w->http_again_ms = now_ms + HTTP_AGAIN_MS;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct worker *w = ctx;
    (void)fd;
    (void)what;
    int64_t now_ms = clock_mono_ms();
    FAILPOINT("worker-tick");
    atomic_store(&w->page->worker_heartbeat_ms, now_ms);
    service_tick(relay_service(w->relay), now_ms);
    bool behind = behind_us(w) > BEHIND_US;
    if (behind != w->behind)
        log_info("worker", behind ? "the archive is behind: pushes are only collected"
                                  : "the archive has caught up");
    w->behind = behind;
    relay_set_behind(w->relay, behind);
    if (now_ms - w->snapshot_ms >= SNAPSHOT_EVERY_MS) {
        write_snapshot(w);
        w->snapshot_ms = now_ms;
    }
    for (unsigned i = 0; i < w->links_n; i++)
        forget_written(w, i);
    release(w);
    end_careful(w);
    try_http(w, now_ms);
    wake_pump(w);
}

static void on_terminate(evutil_socket_t sig, short what, void *ctx)
{
    struct worker *w = ctx;
    (void)sig;
    (void)what;
    (void)event_base_loopbreak(w->base);
}

/* Start and end. */

static enum err_kind open_page(struct worker *w, struct err *e)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/page", w->config->spool.directory);
    snprintf(w->snapshot_path, sizeof w->snapshot_path, "%s/state",
             w->config->spool.directory);
    enum err_kind k = page_open(path, true, &w->page, e);
    if (k)
        return k;
    w->links_n = w->page->links_n;
    w->snapshot.links_n = w->links_n;
    for (unsigned i = 0; i < w->links_n; i++) {
        char dir[PATH_BYTES];
        if (!link_directory(w, i, dir) || !spool_read_id(dir, w->snapshot.spool_ids[i]))
            return err_set(e, ERR_CONFIG, "there is no spool for link %u", i);
    }
    w->iqs = open_iqs_new(w->page);
    w->hand = hand_new(w->page);
    for (unsigned i = 0; i < w->links_n; i++)
        w->frames[i] = atomic_load(&w->page->links[i].frames_taken);
    return ERR_NONE;
}

static enum err_kind start_relay(struct worker *w, const char *config_file, struct err *e)
{
    struct relay_opts opts = {
        .config = w->config,
        .config_file = config_file,
        .spools = w->links_n,
        .spool_ids = (const uint8_t(*)[16])w->snapshot.spool_ids,
        .events = {.send = on_send,
                   .event = on_event,
                   .roster_changed = on_roster_changed,
                   .request_opened = on_request_opened,
                   .request_done = on_request_done,
                   .request_is_open = on_request_is_open,
                   .gone = on_gone,
                   .copies_lost = on_copies_lost,
                   .reconnect = on_reconnect,
                   .ctx = w},
        .archive_progress = on_archive_progress,
        .archive_lost = on_archive_lost,
        .raw = on_raw,
        .unsent = on_unsent,
        .ctx = w,
    };
    return relay_new(w->base, &opts, &w->relay, e);
}

/* What the last worker left; one that cannot be used is none. */
static void load_snapshot(struct worker *w)
{
    struct buf state;
    struct snapshot last = w->snapshot;
    buf_init(&state, SNAPSHOT_BYTES_MAX);
    bool known = snapshot_read(w->snapshot_path, &last, &state) &&
                 service_load(relay_service(w->relay), buf_data(&state), buf_len(&state));
    have_snapshot(w, known ? &last : &w->snapshot);
    buf_deinit(&state);
}

/* The live cursors start where the snapshot was made, or at the oldest request that is still
 * to be answered; without a snapshot at the beginning of what is left. */
static void start_feeds(struct worker *w)
{
    load_snapshot(w);
    for (unsigned i = 0; i < w->links_n; i++) {
        char dir[PATH_BYTES], server[PAGE_TEXT_BYTES];
        (void)link_directory(w, i, dir);
        page_text_get(&w->page->links[i].host, server);
        uint64_t oldest = open_iqs_oldest(w->iqs, i);
        uint64_t from = w->snapshot.live[i];
        w->replay_until[i] = atomic_load(&w->page->links[i].live_pos);
        struct feed_opts opts = {
            .link = i,
            .directory = dir,
            .server = server,
            .live_from = oldest < from ? oldest : from,
            .replay_until = w->replay_until[i],
            .stanza_bytes_max = w->config->component.parse_bytes_max,
            .service = relay_service(w->relay),
            .hand = w->hand,
            .passed = on_passed,
            .is_open = on_request_is_open,
            .reconnect = on_reconnect,
            .ctx = w,
        };
        w->feeds[i] = feed_new(&opts);
    }
}

static void start_events(struct worker *w, int channel_fd)
{
    static const struct timeval every = {0, TICK_MS * 1000};
    struct frame_events events = {.frame = on_frame, .closed = on_channel_closed, .ctx = w};
    w->channel = frame_channel_new(w->base, channel_fd, CHANNEL_QUEUE_MAX, &events);
    w->pump = evtimer_new(w->base, on_pump, w);
    w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, w);
    w->terminate = evsignal_new(w->base, SIGTERM, on_terminate, w);
    if (!w->pump || !w->tick || !w->terminate || event_add(w->tick, &every) != 0 ||
        event_add(w->terminate, NULL) != 0)
        abort();
    w->snapshot_ms = clock_mono_ms();
    try_http(w, w->snapshot_ms);
    wake_pump(w);
    (void)frame_channel_tell(w->channel, FRAME_READY, 0);
}

/* What is under way at the gateways is answered and stored, or the next worker would send it
 * again; what is queued for the link still goes out: answers, and the last release. */
static void finish_work(struct worker *w)
{
    int64_t until = clock_mono_ms() + LAST_WORDS_MS;
    while ((!relay_drain(w->relay) || frame_channel_queued(w->channel) > 0) &&
           clock_mono_ms() < until)
        (void)event_base_loop(w->base, EVLOOP_ONCE);
}

static void event_done(struct event **e)
{
    if (*e)
        event_free(*e);
    *e = NULL;
}

static void stop(struct worker *w)
{
    if (w->relay && w->channel) {
        write_snapshot(w);
        release(w);
        finish_work(w);
    }
    http_free(&w->http);
    for (unsigned i = 0; i < w->links_n; i++)
        feed_free(&w->feeds[i]);
    relay_free(&w->relay);
    frame_channel_free(&w->channel);
    event_done(&w->pump);
    event_done(&w->tick);
    event_done(&w->terminate);
    open_iqs_free(&w->iqs);
    hand_free(&w->hand);
    buf_deinit(&w->raw);
    buf_deinit(&w->raw_header);
    page_close(&w->page);
    event_base_free(w->base);
}

int worker_run(const struct config *config, const char *config_file, int channel_fd)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w || !(w->base = event_base_new()))
        abort();
    w->config = config;
    w->behind = true;
    buf_init(&w->raw, INGEST_RAW_BYTES + RAW_SPACE_BYTES);
    buf_init(&w->raw_header, RAW_SPACE_BYTES);
    struct err e;
    enum err_kind k = open_page(w, &e);
    if (!k)
        k = start_relay(w, config_file, &e);
    if (k) {
        log_error("worker", "%s", e.text);
        (void)close(channel_fd);
    } else {
        start_feeds(w);
        start_events(w, channel_fd);
        log_info("worker", "started pid=%d", (int)getpid());
        (void)event_base_dispatch(w->base);
        log_info("worker", "stopping");
    }
    stop(w);
    free(w);
    return k ? EX_CONFIG : EX_OK;
}
