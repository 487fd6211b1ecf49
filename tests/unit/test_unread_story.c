// SPDX-License-Identifier: Apache-2.0
/*
 * Stories of several accounts and phones, by chance: messages, copies, late deliveries,
 * markers, resets, bounces, retractions, removals, muting, crashes and lost connections. After
 * each step everything that can be asked (counts, inbox, what stands on each phone's icon and
 * which notifications it shows) is
 * compared with a model that knows nothing but the definition: unread is what counts and lies
 * behind the furthest position.  SIDECAR_TEST_SEEDS tells more stories, SIDECAR_TEST_SEED
 * begins elsewhere.
 */
#include "ingest_world.h"

#include <limits.h>
#include <unistd.h>

#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "archive/inbox.h"
#include "archive/inbox_esl.h"
#include "archive/lookup.h"
#include "archive/xep0136.h"
#include "base/buf.h"
#include "base/clock.h"

#define LOCALS 4
#define USERS 6
#define PHONES 5
#define ROWS_MAX 1024
#define STEPS 40
#define EVENTS_MAX 9 /* of a step */
#define SEEDS 3
#define ID_BYTES 12

static const char *const users[USERS] = {"ann@here",  "ben@here",  "cleo@here",
                                         "dora@here", "far@there", "off@there"};
/* Which accounts are on which phone. */
static const bool on_phone[PHONES][LOCALS] = {{true, false, false, false},
                                              {true, true, false, false},
                                              {false, true, true, false},
                                              {false, false, false, true},
                                              {true, false, true, true}};
static const enum push_badge kind_of[PHONES] = {
    PUSH_BADGE_MESSAGES, PUSH_BADGE_MESSAGES, PUSH_BADGE_CONVERSATIONS,
    PUSH_BADGE_SINCE_OPENED, PUSH_BADGE_SINCE_OPENED};

/* --- the model
 * -------------------------------------------------------------------------------
 */

struct row {
    char id[ID_BYTES];
    long order;
    bool incoming;
    bool counted;
    bool shown;
};

struct chat {
    struct row rows[ROWS_MAX];
    int n;
    long read; /* order of the furthest position */
    char pending[ID_BYTES];
    bool muted;
    bool was_muted; /* at some time: not all that is unread in it was shown */
};

static struct model {
    struct chat chats[LOCALS][USERS];
    bool muted_in_badge[LOCALS];
    long opened[PHONES][LOCALS]; /* what was there when the app said so */
    long order;
    int ids;
} model;

static void move(struct chat *c, long order)
{
    if (order > c->read)
        c->read = order;
}

static void add_row(int owner, int peer, const char *id, bool incoming, bool counted,
                    bool shown)
{
    struct chat *c = &model.chats[owner][peer];
    assert_true(c->n < ROWS_MAX);
    struct row *r = &c->rows[c->n++];
    *r = (struct row){
        .order = ++model.order, .incoming = incoming, .counted = counted, .shown = shown};
    snprintf(r->id, sizeof r->id, "%s", id);
    if (incoming && c->pending[0] && strcmp(c->pending, id) == 0) {
        move(c, r->order);
        c->pending[0] = '\0';
    }
}

static int unread_since(const struct chat *c, long order)
{
    int n = 0;
    for (int i = 0; i < c->n; i++)
        n += c->rows[i].counted && c->rows[i].order > c->read && c->rows[i].order > order;
    return n;
}

static int unread_in(const struct chat *c)
{
    return unread_since(c, 0);
}

static int counted_on(int phone, int owner, const struct chat *c)
{
    switch (kind_of[phone]) {
    case PUSH_BADGE_MESSAGES:
        break;
    case PUSH_BADGE_CONVERSATIONS:
        return unread_in(c) > 0;
    case PUSH_BADGE_SINCE_OPENED:
        return unread_since(c, model.opened[phone][owner]);
    }
    return unread_in(c);
}

static int badge_of(int phone)
{
    int sum = 0;
    for (int owner = 0; owner < LOCALS; owner++)
        for (int peer = 0; on_phone[phone][owner] && peer < USERS; peer++) {
            const struct chat *c = &model.chats[owner][peer];
            if (!c->muted || model.muted_in_badge[owner])
                sum += counted_on(phone, owner, c);
        }
    return sum;
}

/* --- chance
 * ----------------------------------------------------------------------------------
 */

static uint32_t seed;

static int dice(int n)
{
    seed = seed * 1103515245u + 12345u;
    return (int)((seed >> 16) % (uint32_t)n);
}

/* --- the phones' gateway
 * ---------------------------------------------------------------------
 */

struct flying {
    void *ctx;
    int badge;
    int phone;
    bool alert;
    char name[65]; /* of the notification */
    char payload[4097];
};

struct gateway {
    struct flying flying[64];
    int n;
};

static struct gateway gateway;
static int shown_on[PHONES];
/* The notifications on each phone, "" where there is none. */
static char notified[PHONES][LOCALS][USERS][65];

static size_t gw_room(const struct gateway *g)
{
    return 64 - (size_t)g->n;
}

static bool gw_submit(struct gateway *g, const struct push_request *r)
{
    struct flying *f = &g->flying[g->n++];
    *f =
        (struct flying){.ctx = r->ctx, .phone = r->token[0] - '0', .alert = r->priority == 10};
    memcpy(f->payload, r->payload, r->payload_len);
    snprintf(f->name, sizeof f->name, "%s", r->collapse_id);
    const char *at = strstr(f->payload, "\"badge\":");
    assert_non_null(at);
    f->badge = atoi(at + 8);
    return true;
}

/* The title says who has written; to whom, only the entry knows. */
static void show_notification(const struct flying *f)
{
    const struct entry *e = f->ctx;
    int owner = 0, peer = 0;
    char name[32];
    while (strcmp(users[owner], e->account->jid) != 0)
        owner++;
    for (; peer < USERS; peer++) {
        snprintf(name, sizeof name, "\"title\":\"%.*s\"", (int)strcspn(users[peer], "@"),
                 users[peer]);
        if (strstr(f->payload, name))
            break;
    }
    assert_true(owner < LOCALS && peer < USERS);
    strcpy(notified[f->phone][owner][peer], f->name);
}

/* What the app does when it is woken. */
static void withdraw_notifications(const struct flying *f)
{
    const char *list = strstr(f->payload, "\"withdraw\":[");
    bool all = list && strstr(list, "\"all\"");
    for (int owner = 0; list && owner < LOCALS; owner++)
        for (int peer = 0; peer < USERS; peer++) {
            char *name = notified[f->phone][owner][peer];
            if (all || (*name && strstr(list, name)))
                *name = '\0';
        }
}

static void reach_phone(const struct flying *f)
{
    shown_on[f->phone] = f->badge;
    if (f->alert)
        show_notification(f);
    else
        withdraw_notifications(f);
}

/* --- the story's world
 * -----------------------------------------------------------------------
 */

static struct world w;
static struct pg_pool *pool;
static struct pg_pool *reading; /* the worker's */
static struct pg *hand;         /* for what others do to the database */
static struct outbox *outbox;
static struct lookups *lookups;
static struct xep0136 *chats;
static uint8_t worker;
static int64_t mono_ms;

static struct apns_app_opts apps[] = {
    {.id = "messages", .content = PUSH_CONTENT_SENDER, .sound = "default", .withdraws = true},
    {.id = "chats",
     .content = PUSH_CONTENT_SENDER,
     .badge = PUSH_BADGE_CONVERSATIONS,
     .withdraws = true},
    {.id = "news",
     .content = PUSH_CONTENT_SENDER,
     .badge = PUSH_BADGE_SINCE_OPENED,
     .withdraws = true}};
static const struct push_opts push = {.content = PUSH_CONTENT_SENDER,
                                      .settle_ms = 500,
                                      .max_age_ms = INT64_C(365) * 24 * 3600 * 1000,
                                      .history_ms = INT64_C(14) * 24 * 3600 * 1000,
                                      .apps = apps,
                                      .apps_n = 3};

static struct outbox_decision decide(void *ctx, const struct outbox_candidate *c)
{
    (void)ctx, (void)c;
    return (struct outbox_decision){OUTBOX_NOW, 0, "always"};
}

static void in_batch(struct world *world, struct pg *conn)
{
    outbox_batch(outbox, conn, world->changes, world->changes_n);
}

static void after_batch(struct world *world, struct pg *conn, bool ok)
{
    (void)world;
    outbox_committed(outbox, conn, ok);
}

/* Time goes on a little whenever the loop turns. */
static void turn(void)
{
    mono_ms += 20;
    clock_fake(mono_ms, w.now_us + 20 * DAY + mono_ms * 1000);
    event_base_loop(w.base, EVLOOP_NONBLOCK);
    usleep(200);
}

static void wait_until(bool (*done)(void), const char *what)
{
    int64_t end = db_now_ms() + 30000;
    while (!done()) {
        if (db_now_ms() > end)
            fail_msg("it did not happen in time: %s", what);
        turn();
    }
}

static bool is_pool_up(void)
{
    return pg_pool_is_up(pool) && pg_is_up(hand) && (!reading || pg_pool_is_up(reading));
}

static bool is_ingest_ready(void)
{
    return ingest_ready(w.ing);
}

static bool hand_lost;

static void on_hand_down(void *ctx, const struct pg_error *why)
{
    (void)ctx, (void)why;
    hand_lost = true;
}

static bool is_hand_lost(void)
{
    return hand_lost;
}

/* Noticed before anything else is asked. */
static void end_sessions(void)
{
    hand_lost = false;
    db_end_sessions();
    wait_until(is_hand_lost, "the connections are lost");
}

static void open_worker(void)
{
    static const uint8_t key[32] = {3};
    struct outbox_opts opts = {.push = &push,
                               .pool = pool,
                               .key = key,
                               .hooks = {.decide = decide},
                               .gateways = {gw_room, gw_submit},
                               .worker = {++worker}};
    struct pg_opts reader = {.url = db_url(),
                             .name = "reading",
                             .statement_timeout_ms = 20000,
                             .plans = PG_PLANS_IN_INDEX_ORDER};
    reading = pg_pool_new(w.base, &reader, 2);
    outbox = outbox_new(w.base, &opts);
    outbox_set_gateway(outbox, 0, &gateway);
    outbox_set_gateway(outbox, 1, &gateway);
    outbox_set_gateway(outbox, 2, &gateway);
    start(&w);
    wait_until(is_ingest_ready, "the keys are read");
    outbox_start(outbox);
    outbox_pause(outbox, false);
    w.cursor = ingest_start_position(w.ing, 0) / 100;
    struct lookups_opts all = {.pages = reading,
                               .scans = reading,
                               .probe = reading,
                               .ingest = w.ing,
                               .within_ms = INT64_C(3600) * 1000};
    lookups = lookups_new(w.base, &all);
    chats = xep0136_new(&settings, lookups);
}

/* As a crash leaves it: what was in memory is gone, whatever it was. */
static void close_worker(void)
{
    lookups_stop(lookups);
    ingest_free(&w.ing);
    pg_pool_free(&reading);
    outbox_free(&outbox);
    xep0136_free(&chats);
    lookups_free(&lookups);
    gateway.n = 0;
}

static void register_phones(void)
{
    char sql[512];
    uint8_t raw[OWNER_BYTES];
    char uuid[33];
    for (int owner = 0; owner < LOCALS; owner++) {
        ident_owner(ingest_ident(w.ing), users[owner], raw);
        for (int i = 0; i < 16; i++)
            snprintf(uuid + 2 * i, 3, "%02x", raw[i]);
        for (int phone = 0; phone < PHONES; phone++) {
            if (!on_phone[phone][owner])
                continue;
            snprintf(sql, sizeof sql,
                     "SELECT xs.device_register('%s', '%s', '%02x%030d', '%s', '%d%063d', "
                     "NULL, 0, NULL,"
                     " 1, 'n%d%d', NULL, 'phone', NULL, 20)",
                     uuid, users[owner], phone + 1, 0, apps[kind_of[phone]].id, phone, 0,
                     owner, phone);
            db_do(sql);
        }
    }
}

static void begin_story(void)
{
    memset(&model, 0, sizeof model);
    memset(&w, 0, sizeof w);
    memset(shown_on, 0, sizeof shown_on);
    memset(notified, 0, sizeof notified);
    db_fresh();
    w.base = event_base_new();
    w.url = db_url();
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    w.now_us = ts.tv_sec * SECOND - 20 * DAY;
    w.in_batch = in_batch;
    w.after_batch = after_batch;
    mono_ms = 1000000;
    struct pg_opts opts = {
        .url = db_url(), .name = "story", .statement_timeout_ms = 20000, .down = on_hand_down};
    hand = pg_new(w.base, &opts);
    opts.down = NULL;
    pool = pg_pool_new(w.base, &opts, 2);
    wait_until(is_pool_up, "connected");
    open_worker();
    register_phones();
}

static void end_story(void)
{
    close_worker();
    pg_pool_free(&pool);
    pg_free(&hand);
    assert_int_equal(w.batches, w.ended);
    event_base_free(w.base);
    for (size_t i = 0; i < w.n; i++)
        stanza_free(&w.lines[i].stanza);
    free(w.lines);
    clock_fake_off();
}

/* --- what others do to the database, while the worker runs ----------------------------------
 */

static int hands; /* statements without an answer, -1: one has failed */

static void on_hand(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)ctx;
    if (!r)
        fail_msg("%s", e->text);
    hands--;
}

static bool is_hand_done(void)
{
    return hands == 0;
}

static void by_hand(const char *sql)
{
    hands++;
    pg_send_plain(hand, sql, on_hand, NULL);
    pg_sync(hand);
    wait_until(is_hand_done, sql);
}

#define OF_ACCOUNT "(SELECT owner FROM xs.account WHERE jid = '%s')"

static void mark_all_by_hand(int owner)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT xs.mark_all_read(owner) FROM xs.account WHERE jid = '%s'", users[owner]);
    by_hand(sql);
    for (int peer = 0; peer < USERS; peer++)
        move(&model.chats[owner][peer], model.order);
}

static void recount_by_hand(int owner)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.account a, xs.recount(a.owner, true) WHERE a.jid = '%s'",
             users[owner]);
    assert_int_equal(db_int(sql), 0);
}

static void count_muted_by_hand(int owner)
{
    char sql[512];
    model.muted_in_badge[owner] = !model.muted_in_badge[owner];
    snprintf(sql, sizeof sql,
             "SELECT xs.push_settings_set(owner, NULL, NULL, NULL, NULL, '', '{}', %s, 0)"
             " FROM xs.account WHERE jid = '%s'",
             model.muted_in_badge[owner] ? "true" : "false", users[owner]);
    by_hand(sql);
}

static void open_app(int phone, int owner)
{
    char sql[256];
    if (!on_phone[phone][owner])
        return;
    snprintf(sql, sizeof sql,
             "SELECT xs.app_opened(owner, '%02x%030d', NULL) FROM xs.account"
             " WHERE jid = '%s'",
             phone + 1, 0, users[owner]);
    by_hand(sql);
    model.opened[phone][owner] = model.order;
}

/* --- questions, as the owner asks them ------------------------------------------------------
 */

#define TOLD_BYTES 65536

static struct told {
    bool open;
    char results[TOLD_BYTES];
    char answer[TOLD_BYTES];
} told;

static bool told_result(void *ctx, const void *xml, size_t len)
{
    (void)ctx;
    size_t at = strlen(told.results);
    snprintf(told.results + at, sizeof told.results - at, "%.*s\n", (int)len,
             (const char *)xml);
    return true;
}

static void told_done(void *ctx, struct stanza *payload)
{
    (void)ctx;
    struct buf b;
    buf_init(&b, TOLD_BYTES - 1);
    if (payload)
        stanza_write(&b, payload, NULL);
    snprintf(told.answer, sizeof told.answer, "%s", buf_cstr(&b));
    buf_deinit(&b);
    told.open = false;
}

static void told_error(void *ctx, const char *type, const char *condition, const char *text)
{
    (void)ctx, (void)text;
    snprintf(told.answer, sizeof told.answer, "%s/%s", type, condition);
    told.open = false;
}

static bool is_told(void)
{
    return !told.open;
}

enum question { INBOX, MUTE, REMOVE };

static void ask_once(enum question what, const struct archive_request *r)
{
    const struct archive_answer answer = {
        .result = told_result, .done = told_done, .error = told_error};
    told = (struct told){.open = true};
    if (what == INBOX)
        inbox_ask(lookups, &settings, r, &answer);
    else if (what == REMOVE)
        xep0136_ask(chats, r, &answer);
    else
        inbox_esl_conversation_ask(lookups, w.ing, &settings, r, &answer);
    wait_until(is_told, "the answer");
}

/* Who is told to wait, after a connection was lost, asks again. */
static void ask(enum question what, int owner, const char *xml)
{
    struct err e = {0};
    struct stanza *payload = xml_parse_element(xml, strlen(xml), &e);
    assert_non_null(payload);
    const struct archive_request r = {
        .payload = payload, .is_set = what != INBOX, .account = users[owner], .id = "q"};
    ask_once(what, &r);
    for (int tries = 0; strncmp(told.answer, "wait/", 5) == 0 && tries < 20; tries++) {
        for (int i = 0; i < 50; i++)
            turn();
        wait_until(is_pool_up, "connected again");
        ask_once(what, &r);
    }
    stanza_free(&payload);
}

static void mute(int owner, int peer)
{
    char xml[256];
    struct chat *c = &model.chats[owner][peer];
    if (c->n == 0)
        return;
    c->muted = !c->muted;
    c->was_muted = true;
    snprintf(xml, sizeof xml,
             "<query xmlns='" NS_INBOX_ESL_CONVERSATION "' jid='%s'><mute>%d</mute></query>",
             users[peer], c->muted ? 86400 : 0);
    ask(MUTE, owner, xml);
    assert_non_null(strstr(told.answer, "<mute>"));
}

/* The collection with the peer goes, from the first message in it to the last, and nothing of
 * it is unread any more. */
static void remove_chat(int owner, int peer)
{
    char xml[256];
    struct chat *c = &model.chats[owner][peer];
    snprintf(xml, sizeof xml, "<remove xmlns='" NS_ARCHIVE "' with='%s'/>", users[peer]);
    ask(REMOVE, owner, xml);
    if (strcmp(told.answer, "cancel/item-not-found") == 0)
        return; /* nothing in it that a collection has */
    assert_string_equal(told.answer, "");
    long first = LONG_MAX, last = 0;
    for (int i = 0; i < c->n; i++)
        if (c->rows[i].shown) {
            first = c->rows[i].order < first ? c->rows[i].order : first;
            last = c->rows[i].order;
        }
    for (int i = 0; i < c->n; i++)
        if (c->rows[i].order >= first && c->rows[i].order <= last)
            c->rows[i].counted = c->rows[i].shown = false;
}

static void on_wait(void *ctx, bool done)
{
    (void)ctx;
    assert_true(done);
    hands--;
}

/* Peer below 0: everything. */
static void reset(int owner, int peer)
{
    hands++;
    ingest_mark_read(w.ing, users[owner], peer < 0 ? NULL : users[peer], INT64_MAX / 2,
                     on_wait, NULL);
    wait_until(is_hand_done, "the reset");
    for (int p = 0; p < USERS; p++)
        if (peer < 0 || p == peer)
            move(&model.chats[owner][p], model.order);
}

/* --- events in the stream
 * --------------------------------------------------------------------
 */

/* The story's ids live as long as the story. */
static char ids[8192][ID_BYTES];

static const char *new_id(void)
{
    assert_true(model.ids < 8192);
    snprintf(ids[model.ids], ID_BYTES, "m%d", model.ids);
    return ids[model.ids++];
}

enum sort { PLAIN, CORRECTION, NOT_KEPT, SORTS };

static void send_as(int from, int to, const char *id, enum sort sort, bool late)
{
    static const char *const extra[SORTS] = {
        "", "<replace xmlns='urn:xmpp:message-correct:0' id='m0'/>",
        "<no-permanent-store xmlns='urn:xmpp:hints'/>"};
    char attrs[64], inside[256];
    snprintf(attrs, sizeof attrs, " id='%s'", id);
    snprintf(inside, sizeof inside, "<body>text %s</body>%s", id, extra[sort]);
    struct event *ev = add(&w, EVENT_MESSAGE, users[from], users[to], attrs, inside);
    if (late)
        ev->delayed_us = ev->received_us - MINUTE;
    bool counts = sort != CORRECTION;
    if (from < LOCALS && sort != NOT_KEPT) {
        add_row(from, to, id, false, false, true);
        if (counts && !late && from != to)
            move(&model.chats[from][to], model.order);
    }
    if (to < LOCALS && from != to)
        add_row(to, from, id, true, counts, sort != NOT_KEPT);
}

static void send_new(void)
{
    int from = dice(USERS), to = dice(USERS);
    if (from >= LOCALS && to >= LOCALS)
        to = dice(LOCALS);
    send_as(from, to, new_id(), dice(8) ? PLAIN : (enum sort)(1 + dice(2)), dice(8) == 0);
}

/* A row of a random chat of the owner, of late; NULL: none. */
static struct row *any_row(int owner, int peer)
{
    struct chat *c = &model.chats[owner][peer];
    return c->n ? &c->rows[c->n - 1 - dice(c->n < 8 ? c->n : 8)] : NULL;
}

static void mark(int owner, int peer)
{
    struct chat *c = &model.chats[owner][peer];
    struct row *r = any_row(owner, peer);
    if (owner == peer)
        return;
    if (r && r->incoming) {
        meaning(&w, EVENT_MARKER, users[owner], users[peer], ids[atoi(r->id + 1)]);
        move(c, r->order);
    } else if (!c->pending[0]) { /* it overtakes its message, which may never come */
        const char *id = new_id();
        snprintf(c->pending, sizeof c->pending, "%s", id);
        meaning(&w, EVENT_MARKER, users[owner], users[peer], id);
        if (dice(2))
            send_as(peer, owner, id, PLAIN, false);
    }
}

static void bounce(int owner, int peer)
{
    struct row *r = any_row(owner, peer);
    if (!r || !r->incoming)
        return;
    meaning(&w, EVENT_BOUNCE, users[owner], users[peer], ids[atoi(r->id + 1)]);
    r->counted = r->shown = false;
}

static void take_back(int owner, int peer)
{
    struct row *r = any_row(owner, peer);
    const char *id = new_id();
    if (!r || !r->incoming)
        return;
    retraction(&w, users[peer], users[owner], id, r->id);
    r->counted = false;
    if (peer < LOCALS)
        add_row(peer, owner, id, false, false, true);
    add_row(owner, peer, id, true, false, true);
}

/* One more copy: of what is there already, nothing changes. */
static void copy(int owner, int peer)
{
    const struct row *r = any_row(owner, peer);
    if (!r)
        return;
    for (size_t i = w.n; i-- > 0;) {
        struct event ev = w.lines[i].ev;
        if (ev.kind != EVENT_MESSAGE || !ev.id || strcmp(ev.id, r->id) != 0)
            continue;
        struct buf xml;
        struct err e;
        buf_init(&xml, 4096);
        stanza_write(&xml, w.lines[i].stanza, NULL);
        struct event *again = add(&w, EVENT_MESSAGE, ev.from, ev.to, "", "");
        struct line *line = &w.lines[w.n - 1];
        stanza_free(&line->stanza);
        line->stanza = xml_parse_element(buf_cstr(&xml), buf_len(&xml), &e);
        again->stanza = line->stanza;
        again->id = stanza_get(line->stanza, "id");
        if (dice(3) == 0)
            again->delayed_us = ev.received_us;
        buf_deinit(&xml);
        return;
    }
}

/* Only once it is stored has a client seen its archive's id. */
static void displayed(int owner, int peer)
{
    static char archive_ids[4096][ARCHIVE_ID_BYTES];
    static unsigned n;
    struct row *r = any_row(owner, peer);
    char sql[512];
    uint8_t raw[OWNER_BYTES];
    if (!r)
        return;
    snprintf(sql, sizeof sql,
             "SELECT m.id FROM xs.message m JOIN xs.conversation c USING (owner, peer)"
             " JOIN xs.account a USING (owner) WHERE a.jid = '%s' AND c.jid = '%s'"
             " ORDER BY m.id OFFSET %d LIMIT 1",
             users[owner], users[peer], (int)(r - model.chats[owner][peer].rows));
    char *id = archive_ids[n++ % 4096];
    ident_owner(ingest_ident(w.ing), users[owner], raw);
    ident_archive_id(ingest_ident(w.ing), raw, db_int(sql), id);
    meaning(&w, EVENT_DISPLAYED, users[owner], users[peer], id);
    move(&model.chats[owner][peer], r->order);
}

static void one_event(void)
{
    int owner = dice(LOCALS), peer = dice(USERS);
    switch (dice(12)) {
    case 0:
    case 1:
        mark(owner, peer);
        break;
    case 2:
        bounce(owner, peer);
        break;
    case 3:
        take_back(owner, peer);
        break;
    case 4:
    case 5:
        copy(owner, peer);
        break;
    case 6: /* of the other side: says nothing of what the owner has read */
        meaning(&w, EVENT_MARKER, users[4], users[owner],
                ids[model.ids ? dice(model.ids) : 0]);
        break;
    default:
        send_new();
    }
}

/* --- a step
 * ----------------------------------------------------------------------------------
 */

static bool is_committed(void)
{
    return all_committed(&w);
}

/* Some of what was on its way has been taken, which nobody has heard.  No dice decides about
 * it: how much is on its way is another each time, and the story must stay the same. */
static void crash(void)
{
    while (gateway.n > 0) {
        const struct flying *f = &gateway.flying[--gateway.n];
        if (f->phone % 2 == model.order % 2)
            reach_phone(f);
    }
    close_worker();
    open_worker();
}

static void play(bool troubled)
{
    while (w.cursor < w.n) {
        size_t end = w.cursor + 1 + (size_t)dice(4);
        offer_up_to(&w, end < w.n ? end : w.n);
        for (int i = dice(4); i > 0; i--)
            turn();
        if (troubled && dice(3) == 0) {
            troubled = false;
            if (dice(2))
                end_sessions();
            else
                crash();
        }
    }
    wait_until(is_committed, "the stream is committed");
    wait_until(is_pool_up, "connected again");
}

static void by_others(void)
{
    int owner = dice(LOCALS), peer = dice(USERS);
    switch (dice(15)) {
    case 12:
    case 13:
    case 14:
        open_app(dice(PHONES), owner);
        break;
    case 0:
        reset(owner, -1);
        break;
    case 1:
    case 2:
        reset(owner, peer);
        break;
    case 3:
        mark_all_by_hand(owner);
        break;
    case 4:
    case 5:
        mute(owner, peer);
        break;
    case 6:
        count_muted_by_hand(owner);
        break;
    case 7:
        remove_chat(owner, peer);
        break;
    case 8:
    case 9:
        displayed(owner, peer);
        play(false);
        break;
    default:
        recount_by_hand(owner);
    }
}

/* --- comparing
 * -------------------------------------------------------------------------------
 */

static void compare_counts(void)
{
    assert_counts_are_right();
    for (int owner = 0; owner < LOCALS; owner++) {
        int total = 0;
        for (int peer = 0; peer < USERS; peer++) {
            int want = unread_in(&model.chats[owner][peer]);
            int got = unread_of(users[owner], users[peer]);
            if (want != got)
                fail_msg("%s of %s: %d unread, should be %d", users[owner], users[peer], got,
                         want);
            total += want;
        }
        assert_int_equal(total_of(users[owner]), total);
    }
}

static bool in_inbox(const struct chat *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->rows[i].shown)
            return true;
    return false;
}

/* The chats whose newest row comes next, newest first. */
static int next_chat(int owner, long below)
{
    int found = -1;
    long newest = 0;
    for (int peer = 0; peer < USERS; peer++) {
        const struct chat *c = &model.chats[owner][peer];
        long last = c->n ? c->rows[c->n - 1].order : 0;
        if (last > newest && last < below) {
            newest = last;
            found = peer;
        }
    }
    return found;
}

static void compare_inbox(int owner)
{
    char want[4096] = "", got[4096] = "", fin[256];
    int total = 0, with = 0, all = 0;
    ask(INBOX, owner, "<inbox xmlns='" NS_INBOX "' messages='false'/>");
    for (int peer = next_chat(owner, LONG_MAX); peer >= 0;) {
        const struct chat *c = &model.chats[owner][peer];
        int n = unread_in(c);
        total++;
        with += n > 0;
        all += n;
        if (in_inbox(c))
            snprintf(want + strlen(want), sizeof want - strlen(want), "%s %d\n", users[peer],
                     n);
        peer = next_chat(owner, c->rows[c->n - 1].order);
    }
    for (const char *at = told.results; (at = strstr(at, " jid=\"")); at++) {
        const char *count = strstr(at, " unread=\"");
        snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s %d\n",
                 (int)strcspn(at + 6, "\""), at + 6, atoi(count + 9));
    }
    if (strcmp(want, got) != 0)
        fail_msg("the inbox of %s is\n%s(%s)\nshould be\n%s", users[owner], got, told.answer,
                 want);
    snprintf(fin, sizeof fin, "total=\"%d\" unread=\"%d\" all-unread=\"%d\"", total, with,
             all);
    if (!strstr(told.answer, fin))
        fail_msg("the inbox of %s: %s, should be %s", users[owner], told.answer, fin);
}

/* Nothing is to be pushed, of what the outbox sees now. */
static bool is_idle(void)
{
    outbox_room(outbox, &gateway);
    outbox_look(outbox);
    struct outbox_status s;
    outbox_get_status(outbox, &s);
    return s.held == 0 && db_int("SELECT count(*) FROM xs.outbox") == 0;
}

/* Everything that is to be pushed has been, and the gateway has taken it. */
static bool is_pushed(void)
{
    static const struct push_verdict taken = {.reaction = PUSH_DONE, .status = 200};
    mono_ms += 500;
    while (gateway.n > 0) {
        const struct flying f = gateway.flying[--gateway.n];
        reach_phone(&f);
        outbox_verdict(outbox, f.ctx, &taken);
    }
    return is_idle();
}

static bool is_on_its_way(void)
{
    mono_ms += 500;
    bool idle = is_idle();
    return gateway.n > 0 || idle;
}

/* And what it was about is read before the next worker comes to it. */
static void die_while_pushing(void)
{
    wait_until(is_on_its_way, "a push is on its way");
    crash();
    mark_all_by_hand(dice(LOCALS));
}

static void compare_icons(void)
{
    wait_until(is_pushed, "everything is pushed");
    for (int phone = 0; phone < PHONES; phone++)
        if (shown_on[phone] != badge_of(phone))
            fail_msg("phone %d shows %d, should be %d", phone, shown_on[phone],
                     badge_of(phone));
}

/* What has been read is shown on no phone, and what has not been is on all of them, unless it
 * was silent. */
static void compare_notifications(void)
{
    for (int phone = 0; phone < PHONES; phone++)
        for (int owner = 0; owner < LOCALS; owner++)
            for (int peer = 0; on_phone[phone][owner] && peer < USERS; peer++) {
                const struct chat *c = &model.chats[owner][peer];
                bool shown = notified[phone][owner][peer][0], unread = unread_in(c) > 0;
                if (shown != unread && !(unread && c->was_muted))
                    fail_msg("phone %d %s %s of %s, of whom there is %s", phone,
                             shown ? "shows" : "does not show", users[peer], users[owner],
                             unread ? "something to read" : "nothing to read");
            }
}

static void tell_story(unsigned number)
{
    seed = number;
    settings = (struct archive_opts){.own_message_reads = true,
                                     .page_max = 250,
                                     .page_default = 50,
                                     .conversation_gap_ms = 900000};
    begin_story();
    for (int step = 0; step < STEPS; step++) {
        for (int i = 1 + dice(EVENTS_MAX); i > 0; i--)
            one_event();
        play(dice(5) == 0);
        if (dice(2))
            by_others();
        if (dice(5) == 0)
            die_while_pushing();
        compare_counts();
        compare_inbox(dice(LOCALS));
        compare_icons();
        compare_notifications();
    }
    end_story();
}

static unsigned number_of(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void what_is_told_is_what_is_unread_whatever_happens(void **state)
{
    (void)state;
    unsigned first = number_of("SIDECAR_TEST_SEED", 1),
             n = number_of("SIDECAR_TEST_SEEDS", SEEDS);
    for (unsigned i = first; i < first + n; i++) {
        print_message("story %u\n", i);
        tell_story(i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_is_what_is_unread_whatever_happens),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
