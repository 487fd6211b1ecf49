// SPDX-License-Identifier: Apache-2.0
/*
 * The bytes are stanzas of a server (lines.h), and what happens between them: the service must
 * take them all, what it sends must be XML, its events must be whole and the same each time,
 * and all that reads an event or a request must read it.  The first byte's bits say of what
 * kind the server is and what is switched on.
 *
 *   ~seconds  time passes                   !  the connection is lost and made again
 *   ?         what may be asked is asked    =  another worker takes the state over
 *   .         requests that wait are answered
 */
#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apns/dialect.h"
#include "apns/names.h"
#include "apns/notification.h"
#include "apns/opts.h"
#include "apns/stateless.h"
#include "archive/ident.h"
#include "archive/mam_query.h"
#include "archive/opts.h"
#include "archive/room_named.h"
#include "archive/rows.h"
#include "archive/xep0136_query.h"
#include "base/clock.h"
#include "base/form.h"
#include "base/log.h"
#include "base/xml_head.h"
#include "base/xml_parse.h"
#include "component/cursor.h"
#include "component/monitoring.h"
#include "component/ns.h"
#include "component/service.h"
#include "sidecar/rosters.h"
#include "tests/fuzz/lines.h"

#define NS_XEP0136 "urn:xmpp:archive"
#define NS_WAITS "urn:xmpp:inbox:1" /* requests that are not answered at once */
#define WAITING_MAX 4
#define START_MS 5000000
#define START_US INT64_C(1795175400000000)
#define STALE_US INT64_C(1800000000)

enum switches {
    ON_SERVER = 3, /* enum server_kind */
    ON_GROUPCHAT = 4,
    ON_DIRECTLY = 8,
    ON_COPIES = 16,
    ON_HEADS = 32, /* of a stanza only its first start tags are known */
};

static const char *const domains[] = {"e.test"};
static const char *const guests[] = {"f.test"};
static const char *const copiers[] = {"e.test", "copies.e.test", "eve@e.test"};
static const struct host_opts hosts[] = {{"127.0.0.1", 5347}};
static const uint8_t echo_key[ADAPTER_KEY_BYTES] = "0123456789abcdef";

static const uint16_t ports[] = {443};
static const struct fcm_opts fcm = {0};
static const struct webpush_opts webpush = {.ports = ports, .ports_n = 1};
static const struct apns_app_opts apps[] = {
    {.id = "org.chat", .topic = "org.chat", .voip = true},
    {.id = "org.chat.android", .fcm = &fcm},
    {.id = "org.chat.web", .webpush = &webpush},
};
static const struct notice_opts notices[] = {
    {.from = "news.e.test", .node = "n", .body = "{summary} {id}", .push = true}};
static const struct push_opts push = {
    .stateless = PUSH_STATELESS_FPUSH | PUSH_STATELESS_MONGOOSEIM | PUSH_STATELESS_CHATSECURE,
    .apps = apps,
    .apps_n = sizeof apps / sizeof *apps,
};

struct world {
    struct component_opts opts;
    struct archive_opts archive;
    struct service *service;
    struct ident *ident;
    struct rows *rows;
    struct iq_request *waiting[WAITING_MAX];
    char asked[64]; /* the id of our last question: $ */
    char query[64]; /* and of the last one to the server's archive: % */
    uint64_t epoch;
    uint64_t at;
    int64_t mono_ms;
    int64_t real_us;
    long open; /* requests */
    bool heads;
};

/* ---- what the service tells ---- */

static void on_send(void *ctx, unsigned link, uint64_t epoch, const uint8_t *data, size_t len)
{
    struct world *w = ctx;
    struct err e;
    assert(link == 0 && epoch == w->epoch);
    struct stanza *sent = xml_parse_element((const char *)data, len, &e);
    assert(sent);
    const char *id = stanza_get(sent, "id");
    const char *query = stanza_get(stanza_child(sent, "query", NS_MAM), "queryid");
    if (id && strncmp(id, "xs-ask-", 7) == 0)
        snprintf(w->asked, sizeof w->asked, "%s", id);
    if (query)
        snprintf(w->query, sizeof w->query, "%s", query);
    stanza_free(&sent);
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level;
    assert(line && *line);
}

static void check_address(const char *bare, const char *resource)
{
    struct jid j;
    bool good = jid_parse(&j, bare);
    assert(good && jid_is_bare(&j) && strcmp(j.bare, bare) == 0 && resource);
}

/* Whatever it is, the archive must know what to do with it. */
static void on_event(void *ctx, const struct event *ev)
{
    struct world *w = ctx;
    struct write writes[WRITES_MAX];
    struct room_named named;
    struct jid who;
    check_address(ev->from, ev->from_resource);
    check_address(ev->to, ev->to_resource);
    assert(ev->stanza && ev->received_us > 0 && ev->delayed_us <= ev->received_us);
    assert(ev->place.end == w->at && (ev->kind != EVENT_BOUNCE || ev->ref));
    size_t n = rows_from_event(w->rows, ev, writes);
    assert(n <= WRITES_MAX);
    for (size_t i = 0; i < n; i++)
        assert(writes[i].kind != WRITE_ROW || writes[i].stanza_len > 0);
    room_named_begin(&named, ev->stanza);
    for (n = 0; room_named_next(&named, &who); n++)
        assert(n < ROOM_NAMED_MAX);
    const struct notice_opts *notice =
        notice_find(&w->archive.notices, ev->from, ev->from_resource, ev->stanza);
    char text[NOTICE_TEXT_MAX];
    if (notice) {
        notice_render(notice->body, ev->stanza, text);
        assert(memchr(text, '\0', sizeof text));
    }
}

static void on_opened(void *ctx, const struct place *p)
{
    (void)p;
    ((struct world *)ctx)->open++;
}

static void on_done(void *ctx, const struct place *p)
{
    (void)p;
    ((struct world *)ctx)->open--;
}

static bool is_open(void *ctx, const struct place *p)
{
    (void)ctx, (void)p;
    return true;
}

static void on_reconnect(void *ctx, unsigned link, uint64_t epoch, const char *why)
{
    (void)ctx, (void)link, (void)epoch;
    assert(why);
}

/* ---- what is asked of us ---- */

static void read_mam(const struct stanza *query)
{
    struct mam_query q;
    struct mam_refusal why = {0};
    const struct stanza *at = NULL;
    if (!mam_query_read(&q, query, &why)) {
        assert(why.type && why.condition);
        return;
    }
    while (q.ids && mam_query_next_id(&q, &at))
        ;
}

static void read_xep0136(const struct stanza *payload)
{
    static bool (*const read[])(struct xep0136_query *, const struct stanza *,
                                struct xep0136_refusal *) = {
        xep0136_read_list, xep0136_read_retrieve, xep0136_read_modified, xep0136_read_remove,
        xep0136_read_save};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++) {
        struct xep0136_query q;
        struct xep0136_refusal why = {0};
        if (!read[i](&q, payload, &why))
            assert(why.type && why.condition);
    }
}

static void on_query(void *ctx, struct iq_request *r)
{
    (void)ctx;
    if (strcmp(r->payload->ns, NS_XEP0136) == 0)
        read_xep0136(r->payload);
    else
        read_mam(r->payload);
    static const char result[] = "<result xmlns='urn:xmpp:mam:2' id='1'/>";
    (void)iq_send_children(r, result, sizeof result - 1);
    iq_reply(r, stanza_new(r->arena, "fin", NS_MAM));
}

static void on_cancelled(void *ctx, struct iq_request *r)
{
    struct world *w = ctx;
    for (size_t i = 0; i < WAITING_MAX; i++)
        if (w->waiting[i] == r)
            w->waiting[i] = NULL;
}

static void on_waiting(void *ctx, struct iq_request *r)
{
    struct world *w = ctx;
    for (size_t i = 0; i < WAITING_MAX; i++)
        if (!w->waiting[i]) {
            w->waiting[i] = r;
            if (r->is_set) /* else it learns that it is late when it answers */
                iq_on_cancel(r, on_cancelled, w);
            return;
        }
    iq_later(r, NULL);
}

static void answer_waiting(struct world *w)
{
    for (size_t i = 0; i < WAITING_MAX; i++) {
        if (w->waiting[i])
            iq_error_app(w->waiting[i], "cancel", "conflict", "x", "urn:x");
        w->waiting[i] = NULL;
    }
}

static void on_publish(void *ctx, struct iq_request *r)
{
    (void)ctx;
    struct notification n;
    struct stateless_device device;
    if (notification_read(r->payload, &n) &&
        stateless_read(&push, jid_domain(&r->asker), &n, &device) == STATELESS_DEVICE)
        assert(device.app < push.apps_n && *device.token);
    iq_reply(r, NULL);
}

static const char *field_of(void *ctx, const char *var)
{
    return form_value(ctx, var);
}

static void on_command(void *ctx, struct adhoc_call *call)
{
    (void)ctx;
    struct dialect_request request;
    struct dialect_error err;
    struct jid account;
    const struct stanza *form = call->form;
    const struct dialect_command *command = dialect_find(call->node);
    assert(command && jid_parse(&account, call->account));
    if (!form) {
        form_add(call->answer, "form", NULL);
        adhoc_executing(call);
    } else if (dialect_read(&push, command, jid_domain(&account), field_of,
                            stanza_copy(call->arena, form), &request, &err)) {
        char name[DIALECT_NAME_BYTES];
        assert(request.app < push.apps_n);
        (void)dialect_account_name(&push, &request, call->account, name);
        adhoc_completed(call, ADHOC_INFO, NULL);
    } else
        adhoc_error(call, err.type, err.condition, err.text);
}

/* ---- what we ask ---- */

static void on_page(void *ctx, const struct monitoring_page *page)
{
    (void)ctx;
    assert(page->last_us >= 0);
}

static void on_roster(void *ctx, const char *account, const struct stanza *query)
{
    (void)account;
    struct world *w = ctx;
    struct jid j;
    static const uint8_t owner[OWNER_BYTES];
    struct names *names = names_new();
    const struct stanza *item = stanza_child(query, "item", NS_ROSTER);
    for (; item; item = stanza_sibling(item, "item", NS_ROSTER))
        if (stanza_get(item, "name") && jid_parse(&j, stanza_get(item, "jid")))
            (void)names_add(names, ident_peer(w->ident, owner, j.bare),
                            stanza_get(item, "name"));
    names_free(&names);
}

static void ask(struct world *w)
{
    const struct monitoring_range range = {
        .account = "bob@e.test", .from_us = START_US, .to_us = w->real_us, .max = 10};
    int64_t seen_us;
    struct service_link_status status;
    if (w->opts.server == SERVER_OPENFIRE)
        monitoring_ask(w->service, 0, &range, on_page, w);
    else
        monitoring_probe(w->service, 0, "e.test", on_page, w);
    (void)rosters_read(w->service, "bob@e.test", on_roster, w);
    (void)service_session_state(w->service, "bob@e.test", w->real_us, STALE_US, &seen_us);
    service_link_status(w->service, 0, &status);
    assert(status.up && status.live);
}

/* ---- the worker ---- */

static void begin(struct world *w)
{
    const struct service_events events = {.send = on_send,
                                          .event = on_event,
                                          .request_opened = on_opened,
                                          .request_done = on_done,
                                          .request_is_open = is_open,
                                          .reconnect = on_reconnect,
                                          .ctx = w};
    size_t n;
    w->service = service_new(&w->opts, echo_key, &events);
    const struct dialect_command *commands = dialect_commands(&n);
    for (size_t i = 0; i < n; i++)
        adhoc_add(w->service, commands[i].node, commands[i].title, on_command, w);
    static const char *const queries[] = {NS_MAM, NS_XEP0136};
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        service_handle(w->service, NULL, queries[i], on_query, w);
        service_delegate(w->service, queries[i]);
        service_feature(w->service, queries[i], queries[i]);
    }
    service_handle(w->service, NULL, NS_WAITS, on_waiting, w);
    service_delegate(w->service, NS_WAITS);
    service_handle(w->service, "pubsub", NS_PUBSUB, on_publish, w);
    service_welcome(w->service, NS_PUBSUB);
}

static void open_link(struct world *w)
{
    service_opened(w->service, 0, w->epoch, w->real_us);
    service_live(w->service, 0);
}

static void end(struct world *w)
{
    answer_waiting(w);
    service_closed(w->service, 0, w->epoch);
    assert(w->open == 0);
    service_free(&w->service);
}

static void take_over(struct world *w)
{
    struct buf state, again;
    buf_init(&state, 1 << 24);
    buf_init(&again, 1 << 24);
    service_save(w->service, &state);
    end(w);
    begin(w);
    bool good = service_load(w->service, buf_data(&state), buf_len(&state));
    assert(good);
    service_save(w->service, &again);
    assert(buf_len(&state) == buf_len(&again) &&
           memcmp(buf_data(&state), buf_data(&again), buf_len(&state)) == 0);
    open_link(w);
    buf_deinit(&state);
    buf_deinit(&again);
}

static void pass(struct world *w, unsigned seconds)
{
    w->mono_ms += INT64_C(1000) * seconds;
    w->real_us += INT64_C(1000000) * seconds;
    clock_fake(w->mono_ms, w->real_us);
    service_tick(w->service, w->mono_ms);
    assert(service_deadline(w->service) > w->mono_ms);
}

static void happen(struct world *w, const char *line, size_t len)
{
    unsigned seconds = 0;
    for (size_t i = 1; i < len && i < 5 && line[i] >= '0' && line[i] <= '9'; i++)
        seconds = seconds * 10 + (unsigned)(line[i] - '0');
    if (len == 0)
        return;
    if (*line == '~')
        pass(w, seconds);
    else if (*line == '?')
        ask(w);
    else if (*line == '.')
        answer_waiting(w);
    else if (*line == '=')
        take_over(w);
    else if (*line == '!') {
        service_closed(w->service, 0, w->epoch++);
        open_link(w);
    }
}

/* ---- a stanza ---- */

static void write_event(void *ctx, const struct event *e)
{
    buf_addf(ctx, "%d %s/%s %s/%s %s %s %d %d %" PRId64 " %d\n", (int)e->kind, e->from,
             e->from_resource, e->to, e->to_resource, e->id ? e->id : "", e->ref ? e->ref : "",
             (int)e->bond, (int)e->notify, e->delayed_us, e->undelivered);
}

static struct stanza *parse(const struct buf *xml)
{
    struct err e;
    return xml_parse_element((const char *)buf_data(xml), buf_len(xml), &e);
}

/* Read from the spool a second time it means the same. */
static void check_pure(struct world *w, const struct buf *xml, const struct place *p)
{
    struct buf told[2];
    enum err_kind kind[2];
    struct err e;
    for (int i = 0; i < 2; i++) {
        struct stanza *st = parse(xml);
        buf_init(&told[i], 1 << 24);
        const struct adapter_sink sink = {.event = write_event, .ctx = &told[i]};
        kind[i] = adapter_classify(service_adapter(w->service), st, p, w->real_us, &sink, &e);
        stanza_free(&st);
    }
    assert(kind[0] == kind[1] && strcmp(buf_cstr(&told[0]), buf_cstr(&told[1])) == 0);
    buf_deinit(&told[0]);
    buf_deinit(&told[1]);
}

static void take(struct world *w, const struct buf *xml)
{
    struct err e;
    struct place p = {.begin = w->at, .end = w->at + buf_len(xml)};
    struct stanza *head = xml_head(buf_data(xml), buf_len(xml), SERVICE_HEAD_DEPTH);
    if (head)
        (void)adapter_copies_message(service_adapter(w->service), head);
    stanza_free(&head);
    struct stanza *st =
        w->heads ? xml_head(buf_data(xml), buf_len(xml), SERVICE_HEAD_DEPTH) : parse(xml);
    w->at = p.end;
    if (st && w->heads) {
        struct cursor_piece piece = {
            .epoch = w->epoch, .place = p, .received_us = w->real_us, .name = st->name};
        service_refuse(w->service, st, &piece, SERVICE_LIVE, buf_len(xml) % 2 == 0);
    } else if (st) {
        check_pure(w, xml, &p);
        enum err_kind k =
            service_stanza(w->service, w->epoch, st, &p, w->real_us, SERVICE_LIVE, &e);
        assert(k == ERR_NONE || k == ERR_REJECT);
    }
    stanza_free(&st);
}

static void init(struct world *w, unsigned on)
{
    const struct ident_keys keys = {.owner = {1}, .hash = {2}, .archive = {3}, .lanes = 8};
    *w = (struct world){
        .opts = {.server = (enum server_kind)(on & ON_SERVER),
                 .hosts = hosts,
                 .hosts_n = 1,
                 .component = "sidecar.e.test",
                 .domains = domains,
                 .domains_n = 1,
                 .accept_from = guests,
                 .accept_from_n = 1,
                 .copies_from = copiers,
                 .copies_from_n = on & ON_COPIES ? sizeof copiers / sizeof *copiers : 0,
                 .presence_copies = on & ON_COPIES,
                 .groupchat = on & ON_GROUPCHAT,
                 .speak_directly = on & ON_DIRECTLY,
                 .stanza_bytes_max = 1 << 20,
                 .commands_per_minute = 20,
                 .presence_every_ms = 60000},
        .archive = {.own_message_reads = true,
                    .calls = true,
                    .groupchat = on & ON_GROUPCHAT,
                    .notices = {notices, 1}},
        .heads = on & ON_HEADS,
        .epoch = 1,
        .mono_ms = START_MS,
        .real_us = START_US,
    };
    clock_fake(w->mono_ms, w->real_us);
    log_set_sink(on_log, NULL);
    w->ident = ident_new(&keys);
    w->rows = rows_new(w->ident, &w->archive);
    begin(w);
    open_link(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct lines l;
    enum lines_kind kind;
    const char *line = NULL;
    size_t len = 0;
    if (size == 0)
        return 0;
    init(&w, data[0]);
    lines_begin(&l, (const char *)data + 1, size - 1, NS_COMPONENT);
    l.dollar = w.asked;
    l.percent = w.query;
    while ((kind = lines_next(&l, &line, &len)) != LINES_END) {
        if (kind == LINES_STANZA)
            take(&w, &l.xml);
        else
            happen(&w, line, len);
    }
    lines_done(&l);
    end(&w);
    rows_free(&w.rows);
    ident_free(&w.ident);
    return 0;
}
