// SPDX-License-Identifier: Apache-2.0
/*
 * A service with everything it says written down, for the unit tests of the component layer.
 * Domain e.test, component sidecar.e.test, one link, as in the recordings of real servers.
 */
#ifndef TESTS_UNIT_XMPP_WORLD_H
#define TESTS_UNIT_XMPP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/ns.h"
#include "component/service.h"

#define SECOND_US INT64_C(1000000)
#define START_MS 5000000
#define START_US (1795175400 * SECOND_US) /* 2026-11-20, as the recordings */
#define STREAM_START                                                                          \
    "<stream:stream xmlns='jabber:component:accept' "                                         \
    "xmlns:stream='http://etherx.jabber.org/streams' id='1'>"

static const char *const world_domains[] = {"e.test", "f.test"};
static const struct host_opts world_hosts[] = {{"127.0.0.1", 5347}, {"127.0.0.2", 5347}};
static const uint8_t world_key[ADAPTER_KEY_BYTES] = "0123456789abcdef";

struct world {
    struct component_opts opts;
    struct service *service;
    struct buf sent;   /* one stanza per line */
    struct buf events; /* one event per line */
    struct buf reconnects;
    struct buf rosters; /* one account per line */
    unsigned opened;
    unsigned done;
    bool was_open; /* what request_is_open says */
    uint64_t at;   /* bytes of the stream so far */
    uint64_t epoch;
    enum service_pass pass;
    int64_t mono_ms;
    int64_t real_us;
};

__attribute__((unused)) static void world_pass(struct world *w, int64_t ms)
{
    w->mono_ms += ms;
    w->real_us += ms * 1000;
    clock_fake(w->mono_ms, w->real_us);
}

static void world_on_send(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data,
                          size_t len)
{
    struct world *w = ctx;
    (void)link;
    assert_int_equal(epoch, w->epoch);
    buf_add(&w->sent, data, len);
    buf_add_char(&w->sent, '\n');
}

static void event_line(struct buf *out, const struct event *e)
{
    static const char *const kinds[] = {"message",   "bounce",    "marker",      "displayed",
                                        "groupchat", "reflected", "room-marker", "moderated",
                                        "member",    "no-member", "notify"};
    buf_addf(out, "%s %s%s%s%s -> %s%s%s%s", kinds[e->kind], e->from,
             *e->from_resource ? "/" : "", e->from_resource, e->from_local ? "*" : "", e->to,
             *e->to_resource ? "/" : "", e->to_resource, e->to_local ? "*" : "");
    if (e->id)
        buf_addf(out, " id=%s", e->id);
    if (e->ref)
        buf_addf(out, " ref=%s", e->ref);
    if (e->bond)
        buf_addf(out, " bond=%d", (int)e->bond);
    if (e->kind == EVENT_NOTIFY)
        buf_addf(out, " notify=%d", (int)e->notify);
    if (e->delayed_us)
        buf_addf(out, " delayed");
    if (e->passed_us)
        buf_addf(out, " -%lld", (long long)((e->received_us - e->passed_us) / 1000000));
    if (e->undelivered)
        buf_addf(out, " undelivered");
    buf_add_char(out, '\n');
}

static void world_on_event(void *ctx, const struct event *e)
{
    struct world *w = ctx;
    bool of_message = e->kind != EVENT_DISPLAYED && e->kind < EVENT_ROOM_MARKER;
    if (of_message) {
        assert_string_equal(e->stanza->name, "message");
        assert_string_equal(e->stanza->ns, NS_CLIENT);
    }
    event_line(&w->events, e);
}

static void world_on_roster(void *ctx, const char *account)
{
    struct world *w = ctx;
    buf_addf(&w->rosters, "%s\n", account);
}

static void world_on_opened(void *ctx, const struct place *p)
{
    (void)p;
    ((struct world *)ctx)->opened++;
}

static void world_on_done(void *ctx, const struct place *p)
{
    (void)p;
    ((struct world *)ctx)->done++;
}

static bool world_is_open(void *ctx, const struct place *p)
{
    (void)p;
    return ((struct world *)ctx)->was_open;
}

static void world_on_reconnect(void *ctx, unsigned link, uint64_t epoch, const char *why)
{
    struct world *w = ctx;
    buf_addf(&w->reconnects, "%u %u %s\n", link, (unsigned)epoch, why);
}

static void world_init(struct world *w, size_t links)
{
    *w = (struct world){
        .opts = {.server = SERVER_EJABBERD,
                 .hosts = world_hosts,
                 .hosts_n = links,
                 .component = "sidecar.e.test",
                 .domains = world_domains,
                 .domains_n = 1,
                 .stanza_bytes_max = 1 << 20,
                 .commands_per_minute = 20},
        .epoch = 1,
        .mono_ms = START_MS,
        .real_us = START_US,
    };
    clock_fake(w->mono_ms, w->real_us);
    buf_init(&w->sent, 16 << 20);
    buf_init(&w->events, 16 << 20);
    buf_init(&w->reconnects, 1 << 16);
    buf_init(&w->rosters, 1 << 16);
}

static struct service *world_service(struct world *w)
{
    const struct service_events events = {
        .send = world_on_send,
        .event = world_on_event,
        .roster_changed = world_on_roster,
        .request_opened = world_on_opened,
        .request_done = world_on_done,
        .request_is_open = world_is_open,
        .reconnect = world_on_reconnect,
        .ctx = w,
    };
    return service_new(&w->opts, world_key, &events);
}

/* A service whose one link, to that kind of server, is up and live. */
__attribute__((unused)) static void world_begin_on(struct world *w, enum server_kind server)
{
    world_init(w, 1);
    w->opts.server = server;
    w->opts.presence_every_ms = 60000;
    w->service = world_service(w);
    service_opened(w->service, 0, 1, w->real_us);
    service_live(w->service, 0);
}

__attribute__((unused)) static void world_begin(struct world *w)
{
    world_begin_on(w, SERVER_EJABBERD);
}

__attribute__((unused)) static void world_end(struct world *w)
{
    service_free(&w->service);
    buf_deinit(&w->sent);
    buf_deinit(&w->events);
    buf_deinit(&w->reconnects);
    buf_deinit(&w->rosters);
    clock_fake_off();
}

/* Of tests whose state is a world. */
__attribute__((unused)) static int world_setup_on(void **state, enum server_kind server)
{
    struct world *w = calloc(1, sizeof *w);
    world_begin_on(w, server);
    *state = w;
    return 0;
}
__attribute__((unused)) static int world_teardown(void **state)
{
    struct world *w = *state;
    world_end(w);
    free(w);
    return 0;
}

/* What was sent since the last time; so with the events. */
__attribute__((unused)) static const char *world_sent(struct world *w, char out[], size_t size)
{
    snprintf(out, size, "%s", buf_cstr(&w->sent));
    buf_reset(&w->sent);
    return out;
}

struct world_feed {
    struct world *w;
    unsigned link;
    enum err_kind kind;
};

static void world_on_stanza(void *ctx, struct stanza *st, uint64_t end)
{
    struct world_feed *f = ctx;
    struct world *w = f->w;
    struct place p = {.spool = f->link, .begin = w->at, .end = w->at + end};
    struct err e = {.kind = ERR_NONE};
    if (strcmp(st->name, "handshake") != 0) {
        enum err_kind kind =
            service_stanza(w->service, w->epoch, st, &p, w->real_us, w->pass, &e);
        if (kind != ERR_NONE)
            f->kind = kind;
    }
    stanza_free(&st);
}

static enum err_kind world_feed_link(struct world *w, unsigned link, const char *xml)
{
    struct world_feed f = {.w = w, .link = link};
    const struct xml_parse_events events = {.stanza = world_on_stanza, .ctx = &f};
    struct xml_parse *p = xml_parse_new(&xml_parse_defaults, &events);
    struct err e;
    if (strncmp(xml, "<stream", 7) != 0)
        assert_int_equal(
            xml_parse_input(p, (const uint8_t *)STREAM_START, strlen(STREAM_START), &e),
            ERR_NONE);
    assert_int_equal(xml_parse_input(p, (const uint8_t *)xml, strlen(xml), &e), ERR_NONE);
    xml_parse_free(&p);
    w->at += strlen(xml);
    return f.kind;
}

__attribute__((unused)) static void world_feed(struct world *w, const char *xml)
{
    assert_int_equal(world_feed_link(w, 0, xml), ERR_NONE);
}

/* The events of what is fed, case by case. */
struct world_case {
    const char *what;
    const char *feed;
    const char *events;
};

__attribute__((unused)) static void world_cases(struct world *w,
                                                const struct world_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_reset(&w->events);
        world_feed(w, cases[i].feed);
        if (strcmp(buf_cstr(&w->events), cases[i].events) != 0)
            fail_msg("%s: %s", cases[i].what, buf_cstr(&w->events));
    }
    buf_reset(&w->events);
}

/* A file of tests/fixtures, NUL-terminated, to be freed. */
__attribute__((unused)) static char *world_fixture(const char *name)
{
    char path[1024];
    const char *root = getenv("SIDECAR_ROOT");
    snprintf(path, sizeof path, "%s/tests/fixtures/%s", root ? root : ".", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long size = ftell(f);
    rewind(f);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, f), size);
    text[size] = '\0';
    fclose(f);
    return text;
}

__attribute__((unused)) static void world_feed_fixture(struct world *w, const char *name)
{
    char *text = world_fixture(name);
    world_feed(w, text);
    free(text);
}

/* The envelope of mod_service_log. */
#define COPY(stanza)                                                                          \
    "<message to='sidecar.e.test' from='e.test' id='1'><forwarded "                           \
    "xmlns='urn:xmpp:forward:0'>" stanza "</forwarded></message>"
#define CHAT(addresses, payload)                                                              \
    "<message xmlns='jabber:client' type='chat' id='m1' " addresses                           \
    "><body>hi</body>" payload "</message>"
#define ALICE_TO_BOB "from='alice@e.test/r1' to='bob@e.test'"
/* What XEP-0490 keeps of one chat, as an <item/> of the pubsub element around it. */
#define MDS_ITEM(chat, by, id)                                                                \
    "<item id='" chat "'><displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id "             \
    "xmlns='urn:xmpp:sid:0' by='" by "' id='" id "'/></displayed></item>"
#define MDS_EVENT(attributes, items)                                                          \
    "<message xmlns='jabber:client' " attributes "><event "                                   \
    "xmlns='http://jabber.org/protocol/pubsub#event'><items "                                 \
    "node='urn:xmpp:mds:displayed:0'>" items "</items></event></message>"
#define GRANT(ns)                                                                             \
    "<message to='sidecar.e.test' from='e.test'><privilege xmlns='" ns "'>"                   \
    "<perm type='outgoing' access='message'/><perm type='managed_entity' access='presence'/>" \
    "</privilege></message>"
#define DELEGATED(ns, inner)                                                                  \
    "<iq to='sidecar.e.test' from='e.test' type='set' id='o1'><delegation xmlns='" ns "'>"    \
    "<forwarded xmlns='urn:xmpp:forward:0'>" inner "</forwarded></delegation></iq>"

#endif
