// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <event2/event.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/stanza.h"
#include "component/ns.h"
#include "tests/bench/loadgen/committed.h"
#include "tests/bench/loadgen/measure.h"
#include "tests/bench/loadgen/report.h"
#include "tests/bench/loadgen/server.h"

#define TICK_US 1000
#define SEND_BYTES ((size_t)64 * 1024) /* at once */
#define BATCH_MAX ((size_t)16 * 1024 * 1024)
#define JID_BYTES 320
#define NODE_BYTES 96

enum run_state {
    RUN_WAITING,  /* for the component -> GREETING, OVER */
    RUN_GREETING, /* until the namespaces are delegated -> SETTLING, OVER */
    RUN_SETTLING, /* until that is committed -> SENDING, OVER */
    RUN_SENDING,  /* -> DRAINING, OVER */
    RUN_DRAINING, /* -> OVER */
    RUN_OVER,
};

/* What comes at random intervals. */
struct flow {
    double each_us; /* on average, 0: never */
    double next_us; /* after the start */
};

struct run {
    const struct options *o;
    struct event_base *base;
    struct event *tick;
    struct server *server;
    struct committed *committed;
    struct traffic *traffic;
    struct measure measure;
    enum run_state state;
    int64_t deadline_us; /* of the present state */
    int64_t start_us, sent_us, end_us;
    struct flow messages, mam, iqs;
    struct buf batch;    /* stanzas that go out together */
    unsigned delegating; /* questions of ours that wait for an answer */
    uint64_t committed_bytes;
    uint64_t results;
    const char *failure;
    char failure_text[ERR_TEXT_BYTES];
};

/* The two nodes of XEP-0355 for each namespace: the host's and its accounts'. */
static const char *const nodes[] = {NS_DELEGATION_1 "::" NS_MAM,
                                    NS_DELEGATION_1 ":bare:" NS_MAM};
#define NODES_N (sizeof nodes / sizeof *nodes)

static void set_state(struct run *r, enum run_state to)
{
    r->state = to;
    if (to == RUN_OVER)
        event_base_loopbreak(r->base);
}

static void fail(struct run *r, const char *why)
{
    if (r->state == RUN_OVER)
        return;
    snprintf(r->failure_text, sizeof r->failure_text, "%s", why);
    r->failure = r->failure_text;
    set_state(r, RUN_OVER);
}

/* --- the schedule ------------------------------------------------------------------------ */

static void flow_init(struct flow *f, double per_second)
{
    f->each_us = per_second > 0 ? 1e6 / per_second : 0;
    f->next_us = 0;
}

/* True when one is due, and sets the time of the next: intervals of a Poisson process. */
static bool flow_due(struct run *r, struct flow *f, double now_us)
{
    if (f->each_us == 0 || f->next_us > now_us)
        return false;
    f->next_us += -log(1.0 - people_chance(traffic_people(r->traffic))) * f->each_us;
    return true;
}

static void send_batch(struct run *r)
{
    server_send(r->server, buf_data(&r->batch), buf_len(&r->batch));
    buf_reset(&r->batch);
}

/* The place in the stream of a byte of the batch. */
static uint64_t batch_place(const struct run *r, size_t at)
{
    return server_queued(r->server) + at;
}

static void add_question(struct run *r, enum traffic_question what)
{
    char id[MEASURE_ID_BYTES];
    uint64_t number = measure_ask(&r->measure, what, id);
    traffic_question(r->traffic, &r->batch, what, id);
    measure_question(&r->measure, batch_place(r, buf_len(&r->batch)), number);
}

static void send_what_is_due(struct run *r, double now_us)
{
    while (flow_due(r, &r->messages, now_us)) {
        uint32_t from, to;
        size_t end = traffic_message(r->traffic, &r->batch);
        traffic_last(r->traffic, &from, &to);
        measure_message(&r->measure, batch_place(r, end), from, to);
        if (buf_len(&r->batch) >= SEND_BYTES)
            send_batch(r);
        if (traffic_counts(r->traffic)->messages == r->o->count)
            break;
    }
    while (flow_due(r, &r->mam, now_us))
        add_question(r, TRAFFIC_MAM);
    while (flow_due(r, &r->iqs, now_us))
        add_question(r, r->measure.asked % 2 ? TRAFFIC_DISCO : TRAFFIC_PING);
    send_batch(r);
}

static void on_sending(struct run *r, int64_t now_us)
{
    double since_us = (double)(now_us - r->start_us);
    double end_us = r->o->seconds * 1e6;
    int64_t late_us = (int64_t)(since_us - r->messages.next_us);
    if (late_us > r->measure.late_us)
        r->measure.late_us = late_us;
    send_what_is_due(r, since_us < end_us ? since_us : end_us);
    if (r->state == RUN_OVER)
        return;
    r->sent_us = now_us;
    if (since_us < end_us && traffic_counts(r->traffic)->messages < r->o->count)
        return;
    r->deadline_us = now_us + (int64_t)r->o->drain * 1000000;
    set_state(r, RUN_DRAINING);
}

/* --- what is committed ------------------------------------------------------------------- */

static void look_at_committed(struct run *r, int64_t now_us)
{
    struct err e;
    uint64_t bytes;
    if (committed_read(r->committed, &bytes, &e) != ERR_NONE) {
        fail(r, e.text);
        return;
    }
    if (bytes > r->committed_bytes)
        r->committed_bytes = bytes;
    if (r->state < RUN_SENDING)
        return;
    measure_committed(&r->measure, r->committed_bytes, now_us);
    measure_behind(&r->measure, committed_behind(r->committed), now_us);
}

static void begin_sending(struct run *r, int64_t now_us)
{
    r->start_us = r->measure.start_us = now_us;
    flow_init(&r->messages, r->o->rate);
    flow_init(&r->mam, r->o->mam);
    flow_init(&r->iqs, r->o->iqs);
    set_state(r, RUN_SENDING);
}

static void on_settling(struct run *r, int64_t now_us)
{
    struct err e;
    if (!r->committed) {
        enum err_kind kind = committed_open(r->o->spool, &r->committed, &e);
        if (kind == ERR_CONFIG)
            fail(r, e.text);
        if (kind != ERR_NONE)
            return;
    }
    look_at_committed(r, now_us);
    if (r->state == RUN_SETTLING && r->committed_bytes == server_queued(r->server))
        begin_sending(r, now_us);
}

static void on_draining(struct run *r, int64_t now_us)
{
    bool done = measure_uncommitted(&r->measure) == 0 && r->measure.open == 0;
    if (!done && now_us < r->deadline_us)
        return;
    if (!done)
        fail(r, "not everything was committed and answered in the time of --drain");
    set_state(r, RUN_OVER);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct run *r = ctx;
    int64_t now_us = clock_real_us();
    if (r->state >= RUN_SENDING)
        look_at_committed(r, now_us);
    switch (r->state) {
    case RUN_WAITING:
        if (now_us > r->deadline_us)
            fail(r, "no component has connected in the time of --wait");
        break;
    case RUN_GREETING:
        if (now_us > r->deadline_us)
            fail(r, "the component has not answered in the time of --wait");
        break;
    case RUN_SETTLING:
        on_settling(r, now_us);
        if (r->state == RUN_SETTLING && now_us > r->deadline_us)
            fail(r, "the archive has not become ready in the time of --wait");
        break;
    case RUN_SENDING:
        on_sending(r, now_us);
        break;
    case RUN_DRAINING:
        on_draining(r, now_us);
        break;
    case RUN_OVER:
        break;
    }
    r->end_us = now_us;
}

/* --- greeting ---------------------------------------------------------------------------- */

static void on_up(void *ctx)
{
    struct run *r = ctx;
    const struct options *o = r->o;
    set_state(r, RUN_GREETING);
    for (unsigned i = 0; i < NODES_N; i++)
        buf_addf(&r->batch,
                 "<iq to='%s' from='%s' type='get' id='delegation-%u'><query node='%s' "
                 "xmlns='" NS_DISCO_INFO "'/></iq>",
                 o->component, o->domain, i, nodes[i]);
    r->delegating = NODES_N;
    buf_addf(&r->batch,
             "<message to='%s' from='%s'><privilege xmlns='" NS_PRIVILEGE_1
             "'><perm type='outgoing' access='message'/><perm type='get' access='roster'/>"
             "<perm type='managed_entity' access='presence'/></privilege></message>",
             o->component, o->domain);
    send_batch(r);
}

/* An answer to one of the questions above: the namespace is delegated only now. */
static void on_delegation_answer(struct run *r, const struct stanza *iq)
{
    const char *type = stanza_get(iq, "type");
    if (!type || strcmp(type, "result") != 0 || r->delegating == 0) {
        fail(r, "the component does not want archive queries: see archive.serve");
        return;
    }
    buf_addf(&r->batch,
             "<message to='%s' from='%s'><delegation xmlns='" NS_DELEGATION_1
             "'><delegated namespace='" NS_MAM "'/></delegation></message>",
             r->o->component, r->o->domain);
    send_batch(r);
    if (--r->delegating == 0)
        set_state(r, RUN_SETTLING);
}

/* --- what the component says ------------------------------------------------------------- */

static void add_sessions(struct run *r)
{
    char jid[JID_BYTES];
    uint32_t all = r->o->sessions < r->o->accounts ? r->o->sessions : r->o->accounts;
    for (uint32_t i = 0; i < all; i++) {
        if (!people_online(traffic_people(r->traffic), i))
            continue;
        traffic_session(r->traffic, i, jid, sizeof jid);
        buf_addf(&r->batch, "<item name='%.*s' jid='%s'/>", (int)strcspn(jid, "/"), jid, jid);
    }
}

/* It asks who is online; whatever else, the server does not know. */
static void on_request(struct run *r, const struct stanza *iq)
{
    const char *id = stanza_get(iq, "id"), *to = stanza_get(iq, "to");
    const struct stanza *items = stanza_child(iq, "query", NS_DISCO_ITEMS);
    const char *node = stanza_get(items, "node");
    bool listed = node && strcmp(node, "online users") == 0;
    buf_addf(&r->batch, "<iq to='%s' from='", r->o->component);
    xml_escape_str(&r->batch, to ? to : r->o->domain);
    buf_addf(&r->batch, "' type='%s' id='", listed ? "result" : "error");
    xml_escape_str(&r->batch, id ? id : "");
    buf_add_str(&r->batch, "'>");
    if (listed) {
        buf_add_str(&r->batch, "<query node='online users' xmlns='" NS_DISCO_ITEMS "'>");
        add_sessions(r);
        buf_add_str(&r->batch, "</query></iq>");
    } else {
        buf_add_str(&r->batch,
                    "<error type='cancel'><service-unavailable xmlns='" NS_STANZA_ERRORS
                    "'/></error></iq>");
    }
    send_batch(r);
}

static void rename_namespace(struct stanza *st, const char *from, const char *to)
{
    if (!st->name || strcmp(st->ns, from) != 0)
        return;
    st->ns = to;
    for (struct stanza *child = st->first; child; child = child->next)
        rename_namespace(child, from, to);
}

static void on_answer(struct run *r, struct stanza *iq, const char *type, const char *id)
{
    struct stanza *delegation = stanza_child(iq, "delegation", NS_DELEGATION_1);
    struct stanza *inner =
        delegation
            ? stanza_child(stanza_child(delegation, "forwarded", NS_FORWARD), "iq", NS_CLIENT)
            : iq;
    const char *inner_type = stanza_get(inner, "type");
    bool good = strcmp(type, "result") == 0 && inner_type && strcmp(inner_type, "result") == 0;
    if (!measure_answered(&r->measure, id, !good, clock_real_us()) || !good)
        return;
    rename_namespace(inner, NS_COMPONENT, NS_CLIENT);
    traffic_echo(r->traffic, &r->batch, inner);
    send_batch(r);
}

/* As its user, by XEP-0356: the session gets it, and the component a copy. */
static void on_message(struct run *r, struct stanza *message)
{
    struct stanza *privilege = stanza_child(message, "privilege", NS_PRIVILEGE_1);
    struct stanza *inner =
        stanza_child(stanza_child(privilege, "forwarded", NS_FORWARD), "message", NS_CLIENT);
    if (!inner)
        return;
    r->results++;
    traffic_echo(r->traffic, &r->batch, inner);
    if (buf_len(&r->batch) >= SEND_BYTES)
        send_batch(r);
}

static void on_stanza(void *ctx, struct stanza *st)
{
    struct run *r = ctx;
    const char *type = stanza_get(st, "type"), *id = stanza_get(st, "id");
    if (stanza_is(st, "message", NS_COMPONENT)) {
        on_message(r, st);
        return;
    }
    if (!stanza_is(st, "iq", NS_COMPONENT) || !type || !id)
        return;
    if (strcmp(type, "get") == 0 || strcmp(type, "set") == 0)
        on_request(r, st);
    else if (strncmp(id, "delegation-", 11) == 0)
        on_delegation_answer(r, st);
    else
        on_answer(r, st, type, id);
}

static void on_written(void *ctx)
{
    struct run *r = ctx;
    measure_written(&r->measure, server_written(r->server), clock_real_us());
}

static void on_down(void *ctx, const char *why)
{
    fail(ctx, why);
}

/* --- the whole --------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_result(struct run *r)
{
    struct report report = {.measure = &r->measure,
                            .traffic = traffic_counts(r->traffic),
                            .bytes = server_written(r->server),
                            .results = r->results,
                            .seconds = (double)(r->end_us - r->start_us) / 1e6,
                            .sending = (double)(r->sent_us - r->start_us) / 1e6,
                            .cpu_s = cpu_seconds()};
    server_get_blocked(r->server, &report.blocked);
    report_print(&report);
}

static bool set_up(struct run *r)
{
    const struct options *o = r->o;
    static const struct timeval every = {0, TICK_US};
    const struct server_opts server = {
        .port = o->port, .component = o->component, .secret = o->secret};
    const struct server_events events = {
        .up = on_up, .stanza = on_stanza, .written = on_written, .down = on_down, .ctx = r};
    const struct traffic_opts traffic = {.domain = o->domain,
                                         .component = o->component,
                                         .accounts = o->accounts,
                                         .seed = o->seed,
                                         .mix = o->mix};
    struct err e;
    struct event_config *config = event_config_new();
    if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) != 0)
        abort();
    r->base = event_base_new_with_config(config);
    event_config_free(config);
    r->tick = r->base ? event_new(r->base, -1, EV_PERSIST, on_tick, r) : NULL;
    if (!r->tick || event_add(r->tick, &every) != 0)
        abort();
    buf_init(&r->batch, BATCH_MAX);
    measure_init(&r->measure, o->seconds, o->window);
    if (o->written && !(r->measure.log = fopen(o->written, "w"))) {
        fail(r, "the file of --written cannot be opened");
        return false;
    }
    r->traffic = traffic_new(&traffic);
    r->deadline_us = clock_real_us() + (int64_t)o->wait * 1000000;
    if (server_new(r->base, &server, &events, &r->server, &e) == ERR_NONE)
        return true;
    fail(r, e.text);
    return false;
}

int run(const struct options *o)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->o = o;
    if (set_up(r))
        event_base_dispatch(r->base);
    if (r->start_us)
        print_result(r);
    if (r->failure)
        fprintf(stderr, "loadgen: %s\n", r->failure);
    int status = r->failure || r->measure.errors || r->measure.unanswered ? 1 : 0;
    server_free(&r->server);
    committed_close(&r->committed);
    traffic_free(&r->traffic);
    measure_deinit(&r->measure);
    buf_deinit(&r->batch);
    event_free(r->tick);
    event_base_free(r->base);
    free(r);
    return status;
}
