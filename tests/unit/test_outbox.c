// SPDX-License-Identifier: Apache-2.0
#include "apns/outbox.h"

#include "database.h"

#include "apns/gateway.h"
#include "apns/opts.h"
#include "apns/outbox_int.h"
#include "apns/token_keys.h"
#include "base/clock.h"
#include "store/pg.h"

#define OWNERS 3
#define PEERS 3
#define DEVICES 4
#define FLYING_MAX 64
#define TOKEN_BYTES 65

/* A gateway that takes what it has room for and answers when it is told to. */
struct flying {
    bool used;
    void *ctx;
    int device;
    bool alert;
    int badge;
    enum push_type type;
    char token;
    int priority;
    int64_t expiration_s;
    uint8_t apns_id[16];
    char collapse_id[65];
    int step;
    char payload[4097];
};

struct gateway {
    size_t room;
    struct flying flying[FLYING_MAX];
    size_t n;
};

struct phone {
    int badge;  /* what its icon shows */
    bool knows; /* what is unread by itself, since then */
    int accepted;
    int alerts;
    uint8_t last_id[16];
    char last_collapse[65];
    char last_payload[4097];
};

struct world {
    struct event_base *base;
    struct pg_pool *pool;
    struct pg_pool *reads;
    struct pg *lane;
    struct outbox *outbox;
    struct token_keys *tokens;
    struct gateway gateway;
    struct phone phones[DEVICES];
    enum outbox_answer answer;
    int64_t again_ms;
    const char *reason; /* NULL: "as told" */
    unsigned asked;
    int64_t asked_newest_us; /* the last time */
    unsigned alarms;
    unsigned names_wanted;
    bool committed;
    bool commit_ok;
    uint8_t owners[OWNERS][16];
    int64_t mono_ms;
    int64_t real_us;
    int64_t last_id;
    int step;
    unsigned crashes;
    unsigned answers_lost; /* of pushes that the phone has */
    /* For the property: steps of the last message, and of the last look at it. */
    int message_at[OWNERS][PEERS];
    int settled_at[OWNERS][PEERS][DEVICES];
};

static struct apns_app_opts apps[] = {
    {.id = "chat", .content = PUSH_CONTENT_BODY, .sound = "default", .topic = "chat"},
    {.id = "chat.sandbox", .content = PUSH_CONTENT_BODY, .sound = "default"}};
static struct push_opts push = {.content = PUSH_CONTENT_BODY,
                                .settle_ms = 500,
                                .confirm_after_ms = 20000,
                                .max_age_ms = 12 * 3600 * 1000,
                                .history_ms = 14 * 24 * 3600 * INT64_C(1000),
                                .devices_per_account = 20,
                                .apps = apps,
                                .apps_n = 1};

static const uint8_t key[32] = {1, 2, 3};

/* The gateway. */

static int device_of_token(const char *token)
{
    return token[0] - '0';
}

static int badge_in(const uint8_t *payload, size_t len)
{
    char text[4097];
    memcpy(text, payload, len);
    text[len] = '\0';
    const char *at = strstr(text, "\"badge\":");
    assert_non_null(at);
    return atoi(at + 8);
}

static size_t gw_room(const struct gateway *g)
{
    return g->room > g->n ? g->room - g->n : 0;
}

static bool gw_submit(struct gateway *g, const struct push_request *r)
{
    if (gw_room(g) == 0)
        return false;
    struct entry *e = r->ctx;
    assert_int_equal(e->state, ENTRY_FETCHING);
    struct flying *slot = NULL;
    for (size_t i = 0; i < FLYING_MAX; i++) {
        if (!g->flying[i].used)
            slot = &g->flying[i];
        else /* never two to one phone: their badges could pass each other */
            assert_int_not_equal(g->flying[i].device, device_of_token(r->token));
    }
    assert_true(r->payload_len <= 4096);
    *slot = (struct flying){
        .used = true,
        .ctx = r->ctx,
        .device = device_of_token(r->token),
        .alert = r->priority == 10,
        .badge = r->type == PUSH_ALERT ? badge_in(r->payload, r->payload_len) : -1,
        .type = r->type,
        .token = r->token[1],
        .priority = r->priority,
        .expiration_s = r->expiration_s};
    memcpy(slot->apns_id, r->apns_id, 16);
    snprintf(slot->collapse_id, sizeof slot->collapse_id, "%s", r->collapse_id);
    memcpy(slot->payload, r->payload, r->payload_len);
    g->n++;
    return true;
}

/* One that counts steps, so that the property knows what the push had seen. */
static struct world *stepping;

static bool gw_submit_step(struct gateway *g, const struct push_request *r)
{
    if (!gw_submit(g, r))
        return false;
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (g->flying[i].used && g->flying[i].ctx == r->ctx)
            g->flying[i].step = stepping->step;
    return true;
}

static int owner_index(const struct world *w, const uint8_t *owner)
{
    for (int i = 0; i < OWNERS; i++)
        if (memcmp(w->owners[i], owner, 16) == 0)
            return i;
    fail();
    return 0;
}

/* The phone has it. */
static void arrive(struct world *w, struct flying *f)
{
    struct phone *p = &w->phones[f->device];
    struct entry *e = f->ctx;
    p->badge = f->badge;
    p->knows = false;
    p->accepted++;
    p->alerts += f->alert;
    if (memcmp(p->last_id, f->apns_id, 16) == 0)
        assert_true(w->crashes > 0 || w->answers_lost > 0);
    memcpy(p->last_id, f->apns_id, 16);
    memcpy(p->last_collapse, f->collapse_id, sizeof p->last_collapse);
    memcpy(p->last_payload, f->payload, sizeof p->last_payload);
    if (f->alert)
        w->settled_at[owner_index(w, e->account->owner)][e->peer - 1][f->device] = f->step;
}

static void answer_with(struct world *w, struct flying *f, const struct push_verdict *v)
{
    if (v->reaction == PUSH_DONE)
        arrive(w, f);
    f->used = false;
    w->gateway.n--;
    outbox_verdict(w->outbox, f->ctx, v);
    outbox_room(w->outbox, &w->gateway);
}

static const struct push_verdict done = {.reaction = PUSH_DONE, .status = 200};

/* The phone has it, and the connection dies before we hear so. */
static void lose_answer(struct world *w, struct flying *f)
{
    static const struct push_verdict lost = {PUSH_RETRY, 0, "connection lost", 0, 0};
    w->answers_lost++;
    arrive(w, f);
    answer_with(w, f, &lost);
}

static struct flying *any_flying(struct world *w)
{
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (w->gateway.flying[i].used)
            return &w->gateway.flying[i];
    return NULL;
}

/* The hooks. */

static struct outbox_decision decide(void *ctx, const struct outbox_candidate *c)
{
    struct world *w = ctx;
    w->asked++;
    w->asked_newest_us = c->newest_us;
    assert_string_equal(c->app, "chat");
    assert_non_null(strchr(c->account, '@'));
    assert_string_equal(c->resource, "phone");
    struct outbox_decision d = {w->answer, w->again_ms, w->reason ? w->reason : "as told"};
    if (d.answer == OUTBOX_SKIP && c->peer && c->newest_us <= c->counted_us)
        w->settled_at[owner_index(w, c->owner)][c->peer - 1][c->device[0]] = w->step;
    if (d.answer == OUTBOX_SKIP)
        w->phones[c->device[0]].knows = true;
    return d;
}

static void alarmed(void *ctx, const char *app, const char *text)
{
    (void)app, (void)text;
    ((struct world *)ctx)->alarms++;
}

/* The world. */

static bool all_up(void *ctx)
{
    struct world *w = ctx;
    return pg_pool_is_up(w->pool) && pg_pool_is_up(w->reads) && pg_is_up(w->lane);
}

static bool all_down(void *ctx)
{
    struct world *w = ctx;
    return !pg_pool_is_up(w->pool) && !pg_pool_is_up(w->reads) && !pg_is_up(w->lane);
}

static void want_names(void *ctx, const char *account)
{
    struct world *w = ctx;
    w->names_wanted += strncmp(account, "user", 4) == 0;
}

static void set_clock(struct world *w)
{
    clock_fake(w->mono_ms, w->real_us);
}

static void open_outbox(struct world *w)
{
    struct outbox_opts opts = {
        .push = &push,
        .pool = w->pool,
        .reads = w->reads,
        .key = key,
        .tokens = w->tokens,
        .hooks = {.decide = decide, .alarm = alarmed, .names = want_names, .ctx = w},
        .gateways = {gw_room, gw_submit_step},
        .memory_max = 100};
    opts.worker[0] = (uint8_t)(w->crashes + 1);
    w->outbox = outbox_new(w->base, &opts);
    outbox_set_gateway(w->outbox, 0, &w->gateway);
    outbox_start(w->outbox);
    outbox_pause(w->outbox, false);
}

static bool busy(struct world *w)
{
    struct outbox *o = w->outbox;
    struct entry *e = outbox_set_next(o->set);
    return !LIST_EMPTY(&o->jobs) || (o->outcomes_n > 0) || !LIST_EMPTY(&o->txns) ||
           (!o->paused && e && e->due_ms <= w->mono_ms) ||
           (!o->paused && gw_room(&w->gateway) > 0 &&
            !TAILQ_EMPTY(&outbox_set_app(o->set, "chat")->ready)) ||
           (o->started && o->upkeep_ms <= w->mono_ms);
}

static bool quiet(void *ctx)
{
    struct world *w = ctx;
    if (w->outbox->sql_again_ms > w->mono_ms && pg_pool_is_up(w->pool)) {
        w->mono_ms = w->outbox->sql_again_ms;
        w->real_us += 1000000;
        set_clock(w);
    }
    if (busy(w))
        outbox_run(w->outbox);
    return !busy(w);
}

/* Time passes, and all that follows from it happens. */
static void pass(struct world *w, int64_t ms)
{
    w->mono_ms += ms;
    w->real_us += ms * 1000;
    set_clock(w);
    outbox_run(w->outbox);
    db_loop(w->base, quiet, w);
}

static int start(void **state)
{
    db_fresh();
    struct world *w = calloc(1, sizeof *w);
    stepping = w;
    w->base = event_base_new();
    w->mono_ms = 1000000;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    w->real_us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
    set_clock(w);
    struct pg_opts opts = {.url = db_url(), .name = "outbox", .statement_timeout_ms = 60000};
    w->pool = pg_pool_new(w->base, &opts, 1);
    opts.name = "pushes";
    w->reads = pg_pool_new(w->base, &opts, 1);
    opts.plans = PG_PLANS_GENERIC;
    opts.name = "lane";
    w->lane = pg_new(w->base, &opts);
    w->gateway.room = 10;
    w->answer = OUTBOX_NOW;
    w->last_id = 1000;
    db_loop(w->base, all_up, w);
    char sql[512];
    for (int i = 0; i < OWNERS; i++) {
        w->owners[i][0] = (uint8_t)(i + 1);
        snprintf(
            sql, sizeof sql,
            "INSERT INTO xs.account (owner, jid) VALUES ('%02x%030d', 'user%d@a.example')",
            i + 1, 0, i);
        db_do(sql);
    }
    w->tokens = token_keys_new(NULL);
    open_outbox(w);
    pass(w, 0);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    outbox_free(&w->outbox);
    token_keys_free(&w->tokens);
    pg_free(&w->lane);
    pg_pool_free(&w->pool);
    pg_pool_free(&w->reads);
    event_base_free(w->base);
    free(w);
    clock_fake_off();
    return 0;
}

static void enroll(int owner, int device)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.device (device, app, token) VALUES ('%02x%030d', 'chat',"
             " '%d%063d') ON CONFLICT DO NOTHING",
             device, 0, device, 0);
    db_do(sql);
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.registration (owner, device, dialect, node, resource,"
             " registered_at) VALUES ('%02x%030d', '%02x%030d', 1, 'n', 'phone',"
             " now() - interval '1 hour')",
             owner + 1, 0, device, 0);
    db_do(sql);
}

/* One batch of one owner, as ingest would commit it. */

static void on_commit(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    (void)e;
    struct world *w = ctx;
    w->committed = true;
    w->commit_ok = r != NULL;
}

static bool is_committed(void *ctx)
{
    return ((struct world *)ctx)->committed;
}

static int unread(int owner, int peer)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT unread FROM xs.conversation WHERE owner = '%02x%030d' AND peer = %d",
             owner + 1, 0, peer + 1);
    return (int)db_int(sql);
}

enum fate { COMMIT, ROLLBACK, ANSWER_LOST };

static void batch(struct world *w, int owner, int peer, int raise, int lower, enum fate fate)
{
    char sql[1024];
    char jid[32];
    snprintf(jid, sizeof jid, "user%d@a.example", owner);
    struct unread_change c = {.owner_jid = jid,
                              .peer = (uint64_t)peer + 1,
                              .counted = (unsigned)raise,
                              .lowered = lower > 0,
                              .emptied = lower > 0 && lower == unread(owner, peer),
                              .received_us = w->real_us};
    memcpy(c.owner, w->owners[owner], 16);
    if (raise > 0)
        c.newest_id = ++w->last_id;
    pg_send_plain(w->lane, "BEGIN", NULL, NULL);
    snprintf(sql, sizeof sql,
             "UPDATE xs.account SET unread = unread + %d WHERE owner = '%02x%030d'",
             raise - lower, owner + 1, 0);
    pg_send_plain(w->lane, sql, NULL, NULL);
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, unread)"
             " VALUES ('%02x%030d', %d, 'peer%d@b.example', 1, 1, %d)"
             " ON CONFLICT (owner, peer) DO UPDATE SET unread = conversation.unread + %d",
             owner + 1, 0, peer + 1, peer, raise, raise - lower);
    pg_send_plain(w->lane, sql, NULL, NULL);
    snprintf(
        sql, sizeof sql,
        "UPDATE xs.account a SET unread_conversations ="
        " (SELECT count(*) FROM xs.conversation c WHERE c.owner = a.owner AND c.unread > 0)"
        " WHERE owner = '%02x%030d'",
        owner + 1, 0);
    pg_send_plain(w->lane, sql, NULL, NULL);
    outbox_batch(w->outbox, w->lane, &c, 1);
    w->committed = false;
    pg_send_plain(w->lane, fate == ROLLBACK ? "ROLLBACK" : "COMMIT", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    if (fate == ANSWER_LOST) { /* the connection died after COMMIT: the rows were not seen */
        struct outbox_txn *t = LIST_FIRST(&w->outbox->txns);
        while (!STAILQ_EMPTY(&t->pending)) {
            struct outbox_pending *p = STAILQ_FIRST(&t->pending);
            STAILQ_REMOVE_HEAD(&t->pending, next);
            free(p);
        }
        w->outbox->pending_n -= t->n;
        t->n = 0;
        t->lost = true;
    }
    outbox_committed(w->outbox, w->lane, w->commit_ok && fate != ROLLBACK);
    if (fate != ROLLBACK && raise > 0)
        w->message_at[owner][peer] = ++w->step;
}

static void message(struct world *w, int owner, int peer)
{
    batch(w, owner, peer, 1, 0, COMMIT);
}

static void read_all(struct world *w, int owner, int peer)
{
    int n = unread(owner, peer);
    if (n > 0)
        batch(w, owner, peer, 0, n, COMMIT);
}

static void accept_all(struct world *w)
{
    for (struct flying *f = any_flying(w); f; f = any_flying(w)) {
        answer_with(w, f, &done);
        pass(w, 0);
    }
}

static long long entries(void)
{
    return db_int("SELECT count(*) FROM xs.outbox");
}

/* Messages whose entries find no room in memory: they wait in the database. */
static void message_that_waits(struct world *w, int owner, int peer)
{
    size_t memory_max = w->outbox->memory_max;
    w->outbox->memory_max = 0;
    message(w, owner, peer);
    w->outbox->memory_max = memory_max;
}

static void crash(struct world *w)
{
    w->crashes++;
    outbox_free(&w->outbox);
    memset(&w->gateway.flying, 0, sizeof w->gateway.flying);
    w->gateway.n = 0;
    open_outbox(w);
}

/* Cases. */

static void a_message_becomes_one_push_with_the_badge_of_that_moment(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    message(w, 0, 0);
    message(w, 0, 0);
    pass(w, 400);
    assert_int_equal(w->gateway.n, 0); /* settle has not passed */
    pass(w, 200);
    assert_int_equal(w->gateway.n, 1);
    struct flying *f = any_flying(w);
    assert_int_equal(f->badge, 3);
    assert_int_equal(f->priority, 10);
    assert_true(f->expiration_s > w->real_us / 1000000);
    assert_int_equal(strlen(f->collapse_id), 32);
    assert_non_null(strstr(f->payload, "peer0"));
    accept_all(w);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), 3);
    assert_int_equal(db_int("SELECT status FROM xs.push_log"), 200);
    assert_string_equal(db_ask("SELECT decision FROM xs.push_log"), "as told");
    assert_int_equal(db_int("SELECT badge FROM xs.push_log"), 3);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
}

static void every_decision_is_kept_for_who_asks_why(void **state)
{
    static const char *const reasons[] = {"online", "online", "active elsewhere"};
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    w->answer = OUTBOX_WAIT;
    w->again_ms = 1000;
    for (size_t i = 0; i < 3; i++) {
        w->reason = reasons[i];
        pass(w, 1000);
    }
    w->answer = OUTBOX_NOW;
    w->reason = "unconfirmed";
    pass(w, 1000);
    accept_all(w);
    assert_string_equal(db_ask("SELECT decision FROM xs.push_log"),
                        "online, active elsewhere, unconfirmed");
    w->reason = "offline"; /* the next push's own */
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    assert_string_equal(db_ask("SELECT decision FROM xs.push_log ORDER BY at DESC LIMIT 1"),
                        "offline");
}

static void the_way_to_the_commit_is_part_of_the_wait(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    w->real_us -= 40000;
    message(w, 0, 0); /* received so long ago */
    w->real_us -= 60000000;
    message(w, 1, 0);
    w->real_us += 60040000;
    pass(w, 399);
    assert_int_equal(w->gateway.n, 0);
    pass(w, 1); /* the other: a fifth of settle is the most */
    assert_int_equal(w->gateway.n, 1);
    pass(w, 59);
    assert_int_equal(w->gateway.n, 1);
    pass(w, 1);
    assert_int_equal(w->gateway.n, 2);
    accept_all(w);
}

static void a_contact_is_called_as_the_account_calls_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    db_do("INSERT INTO xs.contact_name (owner, peer, name) SELECT owner, 1, 'My \"Peer\"'"
          " FROM xs.account WHERE jid = 'user0@a.example'");
    message(w, 0, 0);
    message(w, 0, 1);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 2);
    assert_int_equal(w->names_wanted, 2);
    db_do("UPDATE xs.registration SET names_at = now() - interval '23 hours'");
    message(w, 0, 0);
    pass(w, 600);
    assert_non_null(strstr(any_flying(w)->payload, "\"title\":\"My \\\"Peer\\\"\""));
    accept_all(w);
    message(w, 0, 1);
    pass(w, 600);
    assert_non_null(strstr(any_flying(w)->payload, "\"title\":\"peer1\""));
    accept_all(w);
    assert_int_equal(w->names_wanted, 2);
    apps[0].content = PUSH_CONTENT_COUNT; /* who is not shown is not asked for */
    db_do("UPDATE xs.registration SET names_at = NULL");
    message(w, 0, 0);
    pass(w, 600);
    apps[0].content = PUSH_CONTENT_BODY;
    assert_null(strstr(any_flying(w)->payload, "title"));
    accept_all(w);
    assert_int_equal(w->names_wanted, 2);
}

static void nobody_registered_means_no_entry(void **state)
{
    struct world *w = *state;
    message(w, 0, 0);
    pass(w, 1000);
    assert_int_equal(entries(), 0);
    assert_int_equal(w->asked, 0);
}

static void a_transaction_that_is_rolled_back_pushes_nothing(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    batch(w, 0, 0, 1, 0, ROLLBACK);
    pass(w, 1000);
    assert_int_equal(entries(), 0);
    assert_int_equal(w->asked, 0);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
}

static void what_is_read_within_settle_is_not_pushed(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    read_all(w, 0, 0);
    pass(w, 600);
    pass(w, 3000);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(entries(), 0);
    assert_string_equal(db_ask("SELECT reason FROM xs.push_log"), "nothing unread");
}

/* Quiet hours that began an hour ago, or begin in one, by UTC. */
static void set_quiet_hours(int from_now_min, const char *always_peers)
{
    char sql[512];
    db_do("DELETE FROM xs.push_settings");
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.push_settings (owner, quiet_from, quiet_to, zone, always_peers)"
             " SELECT owner, (m + 1440 + %d) %% 1440, (m + 1440 + %d) %% 1440, 'UTC', '%s'"
             " FROM xs.account, extract(epoch FROM now() AT TIME ZONE 'UTC') e,"
             "   LATERAL (SELECT (e::bigint / 60 %% 1440)::int AS m) x",
             from_now_min, from_now_min + 120, always_peers);
    db_do(sql);
}

static void in_quiet_hours_the_badge_changes_without_an_alert(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    set_quiet_hours(-60, "{}");
    message(w, 0, 0);
    pass(w, 600);
    struct flying *f = any_flying(w);
    assert_false(f->alert);
    assert_int_equal(f->badge, 1);
    assert_null(strstr(f->payload, "alert"));
    accept_all(w);
    assert_string_equal(db_ask("SELECT reason FROM xs.push_log"), "quiet hours");
    assert_int_equal(db_int("SELECT sum(unread) FROM xs.account"), 1);
    /* Who is heard at any time; others are not, though the count tells of them. */
    set_quiet_hours(-60, "{2}");
    message(w, 0, 1);
    pass(w, 600);
    f = any_flying(w);
    assert_true(f->alert);
    assert_int_equal(f->badge, 2);
    accept_all(w);
    /* They are over, or not yet there. */
    set_quiet_hours(60, "{}");
    message(w, 0, 0);
    pass(w, 600);
    assert_true(any_flying(w)->alert);
    assert_int_equal(any_flying(w)->badge, 3);
    accept_all(w);
    /* A zone that an upgrade of PostgreSQL has taken away is none, and stops nobody's pushes.
     */
    set_quiet_hours(-60, "{}");
    db_do("UPDATE xs.push_settings SET zone = 'Atlantis/Poseidonis'");
    message(w, 0, 0);
    pass(w, 600);
    assert_true(any_flying(w)->alert);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 4);
}

static void an_account_lowers_what_is_shown_and_never_raises_it(void **state)
{
    static const struct {
        enum push_content configured;
        int asked;
        const char *shown;
        const char *hidden;
    } rows[] = {
        {PUSH_CONTENT_BODY, PUSH_CONTENT_SENDER, "peer0", "secret"},
        {PUSH_CONTENT_BODY, PUSH_CONTENT_COUNT, "unread message", "peer0"},
        {PUSH_CONTENT_BODY, PUSH_CONTENT_NONE, "New message", "peer0"},
        {PUSH_CONTENT_COUNT, PUSH_CONTENT_BODY, "unread message", "peer0"},
        {PUSH_CONTENT_NONE, PUSH_CONTENT_SENDER, "New message", "peer0"},
    };
    struct world *w = *state;
    enroll(0, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char sql[256];
        push.content = rows[i].configured;
        snprintf(sql, sizeof sql,
                 "INSERT INTO xs.push_settings (owner, content) SELECT owner, %d FROM"
                 " xs.account ON CONFLICT (owner) DO UPDATE SET content = excluded.content",
                 rows[i].asked);
        db_do(sql);
        message(w, 0, 0);
        pass(w, 600);
        struct flying *f = any_flying(w);
        if (!strstr(f->payload, rows[i].shown) || strstr(f->payload, rows[i].hidden))
            fail_msg("%zu: %s", i, f->payload);
        accept_all(w);
    }
    push.content = PUSH_CONTENT_BODY;
}

static void muted_conversations_are_on_the_icon_of_who_wants_them(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 0); /* another account on the phone, which does not */
    db_do("INSERT INTO xs.mute SELECT owner, 1, NULL, 1 FROM xs.account");
    db_do("INSERT INTO xs.push_settings (owner, muted_in_badge) SELECT owner, true"
          " FROM xs.account WHERE jid = 'user0@a.example'");
    message(w, 0, 0);
    pass(w, 600);
    struct flying *f = any_flying(w);
    assert_false(f->alert); /* muted is muted */
    assert_int_equal(f->badge, 1);
    accept_all(w);
    message(w, 0, 1);
    message(w, 1, 0);
    pass(w, 600);
    assert_int_equal(any_flying(w)->badge, 2);
    accept_all(w);
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_int_equal(any_flying(w)->badge, 1);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 1);
}

static void a_test_is_an_alert_about_nothing(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(0, 1);
    enroll(1, 2);
    set_quiet_hours(-60, "{}"); /* who asks for it wants to see it */
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(db_int("SELECT xs.test_push(owner) FROM xs.account"
                            " WHERE jid = 'user0@a.example'"),
                     2);
    outbox_look(w->outbox);
    pass(w, 0);
    pass(w, 0);
    for (int i = 0; i < 2; i++) {
        struct flying *f = any_flying(w);
        assert_non_null(f);
        assert_true(f->alert);
        assert_int_equal(f->badge, 1);
        assert_non_null(strstr(f->payload, "This is a test"));
        f->used = false; /* the world knows alerts only of its own conversations */
        w->gateway.n--;
        outbox_verdict(w->outbox, f->ctx, &done);
        outbox_room(w->outbox, &w->gateway);
        pass(w, 0);
    }
    assert_null(any_flying(w));
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log WHERE peer = -1"), 2);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'user0@a.example'"), 1);
}

static void muted_conversations_are_neither_pushed_nor_counted(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    db_do("INSERT INTO xs.mute SELECT owner, 1, NULL, 1 FROM xs.account");
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 0);
    assert_string_equal(db_ask("SELECT reason FROM xs.push_log"), "muted");
    message(w, 0, 1);
    pass(w, 600);
    assert_int_equal(any_flying(w)->badge, 1);
    accept_all(w);
}

/* What the icon counts is the app's; muted conversations are none of either. */
static void an_icon_may_count_conversations(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    pass(w, 100);
    db_do("UPDATE xs.app SET badge = 1");
    db_do("INSERT INTO xs.mute SELECT owner, 3, NULL, 1 FROM xs.account");
    message(w, 0, 0);
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(any_flying(w)->badge, 1);
    accept_all(w);
    message(w, 0, 2); /* muted */
    pass(w, 600);
    assert_int_equal(w->gateway.n, 0);
    message(w, 0, 1);
    pass(w, 600);
    assert_int_equal(any_flying(w)->badge, 2);
    accept_all(w);
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_int_equal(any_flying(w)->badge, 1);
    accept_all(w);
}

static void a_read_sends_one_silent_badge_two_seconds_later(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    message(w, 0, 1);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 2);
    read_all(w, 0, 0);
    pass(w, 1900);
    assert_int_equal(w->gateway.n, 0);
    pass(w, 200);
    struct flying *f = any_flying(w);
    assert_int_equal(f->badge, 1);
    assert_int_equal(f->priority, 5);
    assert_int_equal(f->expiration_s, 0); /* a stored one would throw an alert away */
    accept_all(w);
    read_all(w, 0, 1);
    pass(w, 2100);
    f = any_flying(w);
    assert_int_equal(f->badge, 0);
    assert_true(f->expiration_s > w->real_us / 1000000);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void a_message_during_the_flight_is_pushed_after_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    message(w, 0, 0);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 1);
    assert_int_equal(entries(), 1);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 2);
    assert_int_equal(w->phones[0].badge, 2);
    assert_int_equal(entries(), 0);
}

/* Deletion of the entry waits for the batch, and then sees that it was added to. */
static bool settling_waits(void *ctx)
{
    (void)ctx;
    return db_int("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                  " AND datname = current_database() AND query LIKE '%outbox_settle%'") > 0;
}

static void a_message_that_is_not_committed_when_the_answer_is_stored_is_pushed(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    message(w, 0, 0);
    message(w, 1, 0);
    pass(w, 600);
    struct unread_change c = {.owner_jid = "user0@a.example",
                              .peer = 1,
                              .newest_id = ++w->last_id,
                              .counted = 1,
                              .received_us = w->real_us};
    memcpy(c.owner, w->owners[0], 16);
    pg_send_plain(w->lane, "BEGIN", NULL, NULL);
    outbox_batch(w->outbox, w->lane, &c, 1);
    w->committed = false;
    pg_send_plain(w->lane, "SELECT 1", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    for (struct flying *f = any_flying(w); f; f = any_flying(w))
        answer_with(w, f, &done);
    outbox_run(w->outbox);
    db_loop(w->base, settling_waits, w);
    w->committed = false;
    pg_send_plain(w->lane, "COMMIT", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    outbox_committed(w->outbox, w->lane, w->commit_ok);
    pass(w, 0);
    assert_int_equal(entries(), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log"), 2);
    db_do("UPDATE xs.conversation SET unread = 2 WHERE get_byte(uuid_send(owner), 0) = 1");
    pass(w, 600);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 2);
    assert_int_equal(w->phones[1].alerts, 1);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log"), 3);
}

/* A batch counts before it looks whose total has fallen; what ends is locked in that order. */
static void a_batch_and_what_ends_wait_for_each_other_one_way(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    read_all(w, 0, 0);
    message(w, 1, 0);
    pass(w, 2100);
    assert_int_equal(w->gateway.n, 2); /* a badge and a message */
    struct unread_change c = {.owner_jid = "user1@a.example",
                              .peer = 1,
                              .newest_id = ++w->last_id,
                              .counted = 1,
                              .received_us = w->real_us};
    memcpy(c.owner, w->owners[1], 16);
    pg_send_plain(w->lane, "BEGIN", NULL, NULL);
    outbox_batch(w->outbox, w->lane, &c, 1);
    w->committed = false;
    pg_send_plain(w->lane, "SELECT 1", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    for (struct flying *f = any_flying(w); f; f = any_flying(w))
        answer_with(w, f, &done);
    outbox_run(w->outbox);
    db_loop(w->base, settling_waits, w);
    w->committed = false;
    pg_send_plain(w->lane,
                  "SELECT xs.badges_add(owner, 2000)::text FROM xs.account"
                  " WHERE jid = 'user0@a.example'",
                  NULL, NULL);
    pg_send_plain(w->lane, "COMMIT", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    assert_true(w->commit_ok);
    outbox_committed(w->outbox, w->lane, true);
    pass(w, 0);
    assert_int_equal(w->outbox->sql_failure, PG_OK);
    pass(w, 600);
    accept_all(w);
}

static bool one_flies(void *ctx)
{
    struct world *w = ctx;
    outbox_run(w->outbox);
    return w->gateway.n == 1;
}

static void an_answer_that_is_long_in_storing_holds_up_no_other_push(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    message(w, 0, 0);
    pass(w, 600);
    message(w, 1, 0);
    pg_send_plain(w->lane, "BEGIN", NULL, NULL);
    w->committed = false;
    pg_send_plain(w->lane,
                  "SELECT FROM xs.outbox WHERE get_byte(uuid_send(owner), 0) = 1 FOR UPDATE",
                  on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    answer_with(w, any_flying(w), &done);
    outbox_run(w->outbox);
    db_loop(w->base, settling_waits, w);
    w->mono_ms += 600;
    w->real_us += 600 * 1000;
    set_clock(w);
    db_loop(w->base, one_flies, w);
    assert_true(settling_waits(w));
    pg_send_plain(w->lane, "COMMIT", NULL, NULL);
    pg_sync(w->lane);
    accept_all(w);
    assert_int_equal(entries(), 0);
    assert_int_equal(w->phones[0].alerts, 1);
    assert_int_equal(w->phones[1].alerts, 1);
}

/* Forty accounts on ten phones with two apps: muted or not, with settings or none, counted
 * here or by their servers. */
static void fill_phones(int n)
{
    char sql[96];
    snprintf(sql, sizeof sql, "SELECT setseed(%d / 100.0)", n);
    db_do("TRUNCATE xs.account, xs.conversation, xs.device, xs.registration, xs.mute,"
          " xs.push_settings, xs.outbox, xs.app");
    char all[4096];
    snprintf(
        all, sizeof all, "%s;%s", sql,
        "INSERT INTO xs.app VALUES ('messages', 0), ('conversations', 1);"
        "CREATE TEMPORARY TABLE o AS SELECT n, md5('o' || n)::uuid AS owner,"
        "  md5('d' || n % 10)::uuid AS device FROM generate_series(1, 40) n;"
        "INSERT INTO xs.device SELECT DISTINCT device, CASE n % 5 WHEN 0 THEN 'messages'"
        "  WHEN 1 THEN 'new' ELSE 'conversations' END, n % 10 FROM o;"
        "INSERT INTO xs.registration (owner, device, dialect, node, resource,"
        "  registered_at, published) SELECT owner, device, 1, n, '', now(),"
        "  CASE WHEN random() < 0.2 THEN n END FROM o;"
        "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, unread)"
        "  SELECT owner, p, p, 1, 1, (random() * 3)::int FROM o, generate_series(1, 5) p;"
        "INSERT INTO xs.account (owner, jid, unread, unread_conversations)"
        "  SELECT o.owner, o.n, sum(c.unread), count(*) FILTER (WHERE c.unread > 0)"
        "  FROM o JOIN xs.conversation c ON c.owner = o.owner GROUP BY o.owner, o.n;"
        "INSERT INTO xs.mute SELECT owner, p, CASE WHEN random() < 0.3 THEN now() -"
        "  interval '1 h' WHEN random() < 0.5 THEN now() + interval '1 h' END, 1"
        "  FROM o, generate_series(1, 7) p WHERE random() < 0.4;"
        "INSERT INTO xs.push_settings (owner, muted_in_badge) SELECT owner, random() < 0.6"
        "  FROM o WHERE random() < 0.6;"
        "INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state,"
        "  due, lease_by) SELECT owner, device, 1, 1, 1, now(), 1, now(), md5('w')::uuid"
        "  FROM o;"
        "DROP TABLE o");
    db_do(all);
}

static void what_is_sent_is_what_an_icon_is_compared_with(void **state)
{
    (void)state;
    for (int n = 1; n <= 20; n++) {
        fill_phones(n);
        assert_int_equal(db_int("SELECT count(*) FROM xs.outbox"), 40);
        assert_int_equal(
            db_int("WITH k AS (SELECT array_agg(owner ORDER BY owner) AS o,"
                   "  array_agg(device ORDER BY owner) AS d,"
                   "  array_agg(peer ORDER BY owner) AS p FROM xs.outbox)"
                   " SELECT count(*) FROM k, xs.outbox_fetch(md5('w')::uuid, true, true, o, d,"
                   "  p) f,"
                   "  xs.device_badge(d[f.o_n]) b, xs.device_muted(d[f.o_n]) m"
                   " WHERE f.o_registered AND f.o_badge = b.badge + m.badge"),
            40);
    }
    assert_true(db_int("SELECT count(*) FROM xs.device d, xs.device_muted(d.device) m"
                       " WHERE m.badge > 0") > 0);
}

static void a_read_during_the_flight_corrects_the_badge_after_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(any_flying(w)->badge, 1);
    /* The total falls back to what the phone showed before: still it must be told again. */
    read_all(w, 0, 0);
    pass(w, 2100);
    accept_all(w);
    pass(w, 2100);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(w->phones[0].alerts, 1);
    assert_int_equal(entries(), 0);
}

static void an_icon_is_told_again_when_the_answer_was_lost(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    lose_answer(w, any_flying(w));
    pass(w, 0);
    assert_int_equal(w->phones[0].badge, 1);
    /* The number is again what the last answer was about. */
    read_all(w, 0, 0);
    pass(w, 2100);
    accept_all(w);
    pass(w, 5000);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(w->phones[0].accepted, 2); /* once is enough */
    assert_int_equal(entries(), 0);
}

/* What an account's server says that it counts. */
static void publish(int owner, int device, int weight, int count)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT xs.publish_push('%02x%030d', '%02x%030d', 1, 'peer0@b.example', NULL,"
             " false, %d, %d, false)",
             owner + 1, 0, device, 0, weight, count);
    db_do(sql);
}

static void a_publish_during_the_flight_corrects_the_badge_after_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    publish(0, 0, 2, 3);
    outbox_look(w->outbox);
    pass(w, 100);
    assert_int_equal(any_flying(w)->badge, 3);
    publish(0, 0, 0, 0);
    outbox_look(w->outbox);
    pass(w, 100);
    accept_all(w);
    pass(w, 2100);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(w->phones[0].alerts, 1);
    assert_int_equal(entries(), 0);
    /* What the phone shows already is not told again. */
    publish(0, 0, 0, 0);
    assert_int_equal(entries(), 0);
}

/* What is due, and what comes of that, badges among it. */
static void let_settle(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        pass(w, 5000);
        accept_all(w);
    }
}

/* The phone has it, and we die before that is stored. */
static void crash_after_arrival(struct world *w)
{
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (w->gateway.flying[i].used)
            arrive(w, &w->gateway.flying[i]);
    crash(w);
}

static void an_icon_is_told_again_when_a_worker_has_died_with_its_push(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    crash_after_arrival(w);
    assert_int_equal(w->phones[0].badge, 1);
    read_all(w, 0, 0);
    let_settle(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(w->phones[0].alerts, 1);
    assert_int_equal(entries(), 0);
    /* The same when more came before the next worker had taken it over. */
    message(w, 0, 1);
    pass(w, 600);
    crash_after_arrival(w);
    message(w, 0, 1);
    read_all(w, 0, 1);
    let_settle(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(entries(), 0);
    /* And of what waited in the database. */
    message_that_waits(w, 0, 2);
    pass(w, 1100);
    pass(w, 600);
    assert_int_equal(any_flying(w)->badge, 1);
    crash_after_arrival(w);
    read_all(w, 0, 2);
    let_settle(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(entries(), 0);
}

/* It was read on the device itself, which is told nothing; but what was on its way there says
 * another number. */
static void a_device_that_has_read_is_told_after_what_was_on_its_way(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    read_all(w, 0, 0);
    w->answer = OUTBOX_SKIP;
    pass(w, 2100);
    accept_all(w);
    pass(w, 100);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 0);
    assert_int_equal(entries(), 0);
}

static void two_accounts_on_one_phone_are_summed_and_never_in_flight_together(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 0);
    message(w, 0, 0);
    message(w, 1, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 1);
    assert_int_equal(any_flying(w)->badge, 2);
    answer_with(w, any_flying(w), &done);
    pass(w, 0);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 2);
    assert_int_equal(w->phones[0].badge, 2);
}

static void a_device_that_was_there_is_skipped_but_not_for_what_came_later(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    w->answer = OUTBOX_WAIT;
    w->again_ms = 5000;
    message(w, 0, 0);
    pass(w, 600);
    pass(w, 3000);
    message(w, 0, 0);
    w->answer = OUTBOX_SKIP;
    pass(w, 2500); /* decided again: skipped for the first, looked at for the second */
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
    assert_int_equal(w->asked, 3);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), -1);
    assert_string_equal(db_ask("SELECT reason FROM xs.push_log"), "as told");
    /* Its icon is its own affair, until somebody else changes it. */
    w->answer = OUTBOX_NOW;
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_int_equal(any_flying(w)->badge, 0);
    accept_all(w);
}

static void a_retry_backs_off_keeps_its_id_and_survives_in_the_database(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    uint8_t id[16];
    memcpy(id, any_flying(w)->apns_id, 16);
    struct push_verdict v = {PUSH_RETRY, 503, "ServiceUnavailable", 0, 30000};
    answer_with(w, any_flying(w), &v);
    pass(w, 0);
    assert_int_equal(db_int("SELECT attempts FROM xs.outbox"), 1);
    assert_string_equal(db_ask("SELECT reason FROM xs.outbox"), "ServiceUnavailable");
    pass(w, 29000);
    assert_int_equal(w->gateway.n, 0);
    pass(w, 2000);
    assert_memory_equal(any_flying(w)->apns_id, id, 16);
    v.retry_after_ms = 0;
    int64_t least_ms = 0;
    for (int i = 0; i < 12; i++) { /* from the fourth on it waits in the database */
        answer_with(w, any_flying(w), &v);
        pass(w, 0);
        db_do("UPDATE xs.outbox SET due = now()");
        while (w->gateway.n == 0) {
            pass(w, 10000);
            least_ms += 10000;
        }
        assert_memory_equal(any_flying(w)->apns_id, id, 16);
    }
    assert_true(least_ms >= 12 * 10000);
    accept_all(w);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log"), 14);
}

static void a_message_that_got_too_old_changes_the_badge_only(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    outbox_pause(w->outbox, true);
    message(w, 0, 0);
    pass(w, 13 * 3600 * 1000);
    assert_int_equal(w->gateway.n, 0);
    outbox_pause(w->outbox, false);
    pass(w, 0);
    assert_int_equal(any_flying(w)->priority, 5);
    assert_int_equal(any_flying(w)->badge, 1);
    accept_all(w);
    assert_string_equal(db_ask("SELECT reason FROM xs.push_log"), "too old");
    assert_int_equal(w->phones[0].alerts, 0);
}

/* What was found of an earlier time does not make the new one old that waits. */
static void an_older_message_that_comes_later_takes_no_alert_away(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    outbox_pause(w->outbox, true);
    message(w, 0, 0);
    w->real_us -= 13 * 3600 * INT64_C(1000000);
    message(w, 0, 0);
    w->real_us += 13 * 3600 * INT64_C(1000000);
    outbox_pause(w->outbox, false);
    pass(w, 1000);
    assert_int_equal(any_flying(w)->priority, 10);
    assert_int_equal(any_flying(w)->badge, 2);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 1);
}

static void a_parked_push_says_why_and_a_new_message_wakes_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    struct push_verdict v = {.reaction = PUSH_PARK, .status = 413};
    memcpy(v.reason, "Payload\x01TooLarge", 17);
    answer_with(w, any_flying(w), &v);
    pass(w, 600000);
    assert_int_equal(w->gateway.n, 0);
    assert_string_equal(db_ask("SELECT reason FROM xs.outbox WHERE state = 3"),
                        "Payload?TooLarge");
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void a_gone_device_goes_and_one_registered_since_stays(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(0, 1);
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 2);
    struct push_verdict v = {PUSH_DROP_DEVICE, 410, "Unregistered", 0, 0};
    v.timestamp_ms = w->real_us / 1000 - 7200 * 1000; /* older than the registrations */
    answer_with(w, any_flying(w), &v);
    v.timestamp_ms = w->real_us / 1000;
    answer_with(w, any_flying(w), &v);
    pass(w, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 1);
    assert_int_equal(entries(), 1);
    pass(w, 21000);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static const struct push_verdict bad_token = {PUSH_SUSPECT, 400, "BadDeviceToken", 0, 0};

/* Forty phones of one account. */
static void enroll_fleet(void)
{
    char sql[512];
    for (int i = 0; i < 40; i++) {
        snprintf(sql, sizeof sql,
                 "INSERT INTO xs.device (device, app, token) VALUES ('%02x%030d', 'chat',"
                 " '%c%063d')",
                 0x40 + i, 0, '0' + i, 0);
        db_do(sql);
        snprintf(sql, sizeof sql,
                 "INSERT INTO xs.registration (owner, device, dialect, node, resource,"
                 " registered_at) VALUES ('01%030d', '%02x%030d', 1, 'n', 'phone',"
                 " now() - interval '1 hour')",
                 0, 0x40 + i, 0);
        db_do(sql);
    }
}

/* Answers everything that is under way, and what comes of it; the first ones are accepted. */
static unsigned answer_fleet(struct world *w, unsigned accepted)
{
    unsigned n = 0;
    for (struct flying *f = any_flying(w); f; f = any_flying(w)) {
        f->used = false;
        w->gateway.n--;
        outbox_verdict(w->outbox, f->ctx, n++ < accepted ? &done : &bad_token);
        outbox_room(w->outbox, &w->gateway);
        pass(w, 0);
    }
    return n;
}

static void a_wave_of_rejections_never_deletes_the_fleet(void **state)
{
    struct world *w = *state;
    enroll_fleet();
    w->gateway.room = 5;
    message(w, 0, 0);
    pass(w, 600);
    (void)answer_fleet(w, 10);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 36);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3"), 26);
    assert_int_equal(w->alarms, 1);
    struct outbox_app_status s;
    outbox_get_app_status(w->outbox, 0, &s);
    assert_true(s.brake);
}

static void what_the_brake_has_parked_comes_back_slowly(void **state)
{
    struct world *w = *state;
    enroll_fleet();
    w->gateway.room = 40;
    message(w, 0, 0);
    pass(w, 600);
    (void)answer_fleet(w, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3 AND braked"), 40);
    pass(w, BRAKE_PROBE_MS - 60000);
    assert_int_equal(w->gateway.n, 0);
    /* One is tried, rejected again, and nothing is lost. */
    for (int i = 0; i < 4 && w->gateway.n == 0; i++)
        pass(w, 30000);
    assert_int_equal(answer_fleet(w, 0), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 40);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3 AND braked"), 40);
    for (int i = 0; i < 22 && w->gateway.n == 0; i++)
        pass(w, 30000);
    /* Then the mistake was mended: one, two, four, ... */
    for (unsigned lot = 1, left = 40; left > 0; left -= lot < left ? lot : left, lot *= 2) {
        assert_int_equal(answer_fleet(w, 40), lot < left ? lot : left);
        pass(w, 1100);
        pass(w, 1100); /* given back, and loaded */
    }
    assert_int_equal(entries(), 0);
    struct outbox_app_status s;
    outbox_get_app_status(w->outbox, 0, &s);
    assert_int_equal(s.accepted, 40);
}

/* The next worker knows nothing of the brake of the last one: it asks with one push. */
static void the_next_worker_tries_one_of_what_was_parked(void **state)
{
    struct world *w = *state;
    enroll_fleet();
    w->gateway.room = 40;
    message(w, 0, 0);
    pass(w, 600);
    (void)answer_fleet(w, 0);
    outbox_free(&w->outbox);
    w->crashes++;
    open_outbox(w);
    pass(w, 0);
    pass(w, 1100);
    assert_int_equal(w->gateway.n, 1);
    (void)answer_fleet(w, 1);
    pass(w, 1100);
    pass(w, 1100);
    assert_int_equal(w->gateway.n, 2);
    (void)answer_fleet(w, 2);
}

/* PostgreSQL then writes no index for each further message (HOT). */
static void no_index_holds_what_a_further_message_changes(void **state)
{
    (void)state;
    assert_int_equal(
        db_int("SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
               " AND a.attnum = ANY (i.indkey) WHERE i.indrelid = 'xs.outbox'::regclass"
               " AND a.attname IN ('gen', 'newest_id', 'counted_at', 'attempts', 'reason')"),
        0);
}

/* Parked for what the push itself is: no acceptance of others mends that. */
static void what_is_parked_for_another_reason_stays(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    message(w, 0, 0);
    pass(w, 600);
    const struct push_verdict v = {PUSH_PARK, 413, "PayloadTooLarge", 0, 0};
    answer_with(w, any_flying(w), &v);
    message(w, 1, 0);
    pass(w, 600);
    accept_all(w);
    for (int i = 0; i < 3; i++)
        pass(w, 31000);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3"), 1);
}

static void a_rejected_device_goes_only_while_others_are_accepted(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    struct push_verdict v = {PUSH_SUSPECT, 400, "BadDeviceToken", 0, 0};
    message(w, 0, 0);
    pass(w, 600);
    answer_with(w, any_flying(w), &v);
    pass(w, 0);
    /* The first push ever: the mistake may be ours. */
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3"), 1);
    message(w, 1, 0);
    pass(w, 600);
    accept_all(w);
    message(w, 0, 0);
    pass(w, 600);
    answer_with(w, any_flying(w), &v);
    pass(w, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 1);
    assert_int_equal(entries(), 0);
    assert_int_equal(w->alarms, 0);
}

/* The app of the sandbox beside that of production, and its gateway. */
static void open_sandbox(struct world *w, struct gateway *sandbox, const char *topic)
{
    *sandbox = (struct gateway){.room = 10};
    apps[1].topic = topic;
    apps[1].sandbox = true;
    push.apps_n = 2;
    outbox_reload(w->outbox, &push);
    outbox_set_gateway(w->outbox, 0, &w->gateway);
    outbox_set_gateway(w->outbox, 1, sandbox);
    pass(w, 0);
}

static int close_sandbox(void **state)
{
    push.apps_n = 1;
    apps[1].domains_n = 0;
    return stop(state);
}

static struct flying *only_flying(struct gateway *g)
{
    assert_int_equal(g->n, 1);
    struct flying *f = g->flying;
    while (!f->used)
        f++;
    return f;
}

/* Answers the only push that the gateway has. */
static void answer_at(struct world *w, struct gateway *g, const struct push_verdict *v)
{
    struct flying *f = only_flying(g);
    f->used = false;
    g->n--;
    outbox_verdict(w->outbox, f->ctx, v);
    if (v->reaction != PUSH_APP_STOPPED)
        outbox_room(w->outbox, g);
    pass(w, 0);
}

static void write_and_wait(struct world *w, int owner)
{
    message(w, owner, 0);
    pass(w, 600);
}

static void a_token_of_the_other_environment_is_found_once(void **state)
{
    struct world *w = *state;
    struct gateway sandbox;
    open_sandbox(w, &sandbox, "chat");
    enroll(0, 0);
    write_and_wait(w, 0);
    assert_int_equal(sandbox.n, 0);
    uint8_t first[16];
    memcpy(first, any_flying(w)->apns_id, 16);
    answer_at(w, &w->gateway, &bad_token);
    assert_int_equal(w->gateway.n, 0);
    assert_memory_equal(only_flying(&sandbox)->apns_id, first, 16);
    assert_int_equal(only_flying(&sandbox)->badge, 1);
    answer_at(w, &sandbox, &done);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device WHERE sandbox AND app = 'chat'"),
                     1);
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), 1);
    assert_string_equal(db_ask("SELECT status || ' ' || reason FROM xs.push_log"),
                        "200 to the other environment");
    /* From then on it goes there at once, also for the next worker. */
    for (int i = 0; i < 2; i++) {
        write_and_wait(w, 0);
        assert_int_equal(w->gateway.n, 0);
        answer_at(w, &sandbox, &done);
        crash(w);
        open_sandbox(w, &sandbox, "chat");
    }
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log WHERE status = 200"), 3);
    assert_int_equal(entries(), 0);
    assert_int_equal(w->alarms, 0);
}

static void a_token_that_no_environment_knows_is_handled_as_with_one(void **state)
{
    struct world *w = *state;
    struct gateway sandbox;
    open_sandbox(w, &sandbox, "chat");
    enroll(0, 0);
    enroll(1, 1);
    write_and_wait(w, 0);
    answer_at(w, &w->gateway, &bad_token);
    answer_at(w, &sandbox, &bad_token);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3 AND braked"), 1);
    write_and_wait(w, 1);
    answer_at(w, &w->gateway, &done); /* the settings are right */
    write_and_wait(w, 0);
    answer_at(w, &w->gateway, &bad_token);
    answer_at(w, &sandbox, &bad_token);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 1);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device WHERE sandbox IS NOT NULL"), 0);
}

static void a_token_that_was_found_elsewhere_is_not_taken_back(void **state)
{
    struct world *w = *state;
    struct gateway sandbox;
    open_sandbox(w, &sandbox, "chat");
    enroll(0, 0);
    db_do("UPDATE xs.device SET sandbox = true");
    write_and_wait(w, 0);
    answer_at(w, &sandbox, &bad_token);
    pass(w, 60000);
    assert_int_equal(w->gateway.n + sandbox.n, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3 AND braked"), 1);
    /* Without an app for it, its own is all there is. */
    open_sandbox(w, &sandbox, "another");
    write_and_wait(w, 0);
    assert_int_equal(sandbox.n, 0);
    answer_at(w, &w->gateway, &done);
}

static void trouble_of_the_other_environment_is_not_the_apps(void **state)
{
    struct world *w = *state;
    static const struct push_verdict forbidden = {PUSH_APP_STOPPED, 403, "Forbidden", 0, 0};
    static const struct push_verdict busy_now = {PUSH_RETRY, 503, "Shutdown", 0, 1000};
    struct gateway sandbox;
    open_sandbox(w, &sandbox, "chat");
    enroll(0, 0);
    enroll(1, 1);
    sandbox.room = 0;
    write_and_wait(w, 0);
    answer_at(w, &w->gateway, &bad_token);
    assert_int_equal(w->gateway.n, 0);
    pass(w, 4000);
    sandbox.room = 10;
    assert_int_equal(entries(), 1);
    pass(w, 6000);
    answer_at(w, &sandbox, &busy_now);
    pass(w, 20000);
    assert_int_equal(w->gateway.n, 0);
    answer_at(w, &sandbox, &forbidden);
    assert_int_equal(entries(), 1);
    write_and_wait(w, 1); /* the app itself goes on */
    answer_at(w, &w->gateway, &done);
    db_do("UPDATE xs.outbox SET due = now()");
    outbox_look(w->outbox);
    pass(w, 0);
    /* Nobody else is there to be asked now. */
    answer_at(w, &w->gateway, &bad_token);
    assert_int_equal(sandbox.n, 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 1);
}

static void only_the_same_topic_for_the_same_users_is_another_environment(void **state)
{
    struct world *w = *state;
    static const char *const others[] = {"b.example"};
    struct gateway sandbox;
    open_sandbox(w, &sandbox, "another");
    enroll(0, 0);
    for (int i = 0; i < 3; i++) {
        write_and_wait(w, 0);
        answer_at(
            w, &w->gateway,
            i < 2 ? &bad_token
                  : &(struct push_verdict){PUSH_SUSPECT, 400, "DeviceTokenNotForTopic", 0, 0});
        assert_int_equal(w->gateway.n + sandbox.n, 0);
        assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 3"), 1);
        apps[1].domains = others;
        apps[1].domains_n = i == 0;
        open_sandbox(w, &sandbox, "chat");
    }
}

static void devices_that_are_gone_are_no_rejections(void **state)
{
    struct world *w = *state;
    struct push_verdict v = {PUSH_DROP_DEVICE, 410, "Unregistered", 0, 0};
    for (int i = 0; i < 30; i++) {
        enroll(0, 0);
        v.timestamp_ms = w->real_us / 1000;
        message(w, 0, 0);
        pass(w, 600);
        answer_with(w, any_flying(w), &v);
        pass(w, 0);
        assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 0);
    }
    assert_int_equal(w->alarms, 0);
}

static void a_held_device_gets_nothing_until_its_time(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    struct push_verdict v = {PUSH_HOLD_DEVICE, 429, "TooManyRequests", 0, 60000};
    answer_with(w, any_flying(w), &v);
    message(w, 0, 1);
    pass(w, 55000);
    assert_int_equal(w->gateway.n, 0);
    pass(w, 6000);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 2);
    assert_int_equal(entries(), 0);
}

static void a_stopped_app_waits_and_goes_on_when_there_is_room_again(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    struct push_verdict v = {PUSH_APP_STOPPED, 403, "InvalidProviderToken", 0, 0};
    struct flying *f = any_flying(w);
    f->used = false;
    w->gateway.n = 0;
    w->gateway.room = 0;
    outbox_verdict(w->outbox, f->ctx, &v);
    pass(w, 5000);
    assert_int_equal(db_int("SELECT state FROM xs.outbox"), 2);
    w->gateway.room = 10;
    outbox_room(w->outbox, &w->gateway);
    db_loop(w->base, quiet, w);
    pass(w, 1000);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void a_worker_that_died_is_succeeded_at_once_with_the_same_ids(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(0, 1);
    message(w, 0, 0);
    pass(w, 600);
    uint8_t ids[DEVICES][16];
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (w->gateway.flying[i].used)
            memcpy(ids[w->gateway.flying[i].device], w->gateway.flying[i].apns_id, 16);
    message(w, 1, 0);
    w->crashes++;
    outbox_free(&w->outbox);
    memset(&w->gateway.flying, 0, sizeof w->gateway.flying);
    w->gateway.n = 0;
    open_outbox(w);
    pass(w, 0);
    pass(w, 1000);
    assert_int_equal(w->gateway.n, 2);
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (w->gateway.flying[i].used)
            assert_memory_equal(ids[w->gateway.flying[i].device], w->gateway.flying[i].apns_id,
                                16);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

/* PostgreSQL goes on with what it was asked after the asker is gone: what it holds by that is
 * pushed once more, as after any crash, and is not left. */
static void take_up_at_the_last_moment(struct world *w, bool claim_unheard)
{
    enroll(0, 0);
    message(w, 0, 0);
    w->crashes++;
    outbox_free(&w->outbox);
    db_do("UPDATE xs.outbox SET state = 2, lease_by = NULL, due = now()");
    PGconn *dead = PQconnectdb(db_url());
    PQclear(PQexec(dead, "BEGIN"));
    PQclear(PQexec(dead, "SELECT xs.outbox_hold(l.worker, array_agg(o.owner),"
                         " array_agg(o.device), array_agg(o.peer))"
                         " FROM xs.outbox o, xs.loader l GROUP BY l.worker"));
    if (claim_unheard) {
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT xs.loader_claim('%02x%030d', true)", w->crashes + 1,
                 0);
        db_do(sql);
    }
    open_outbox(w);
    pass(w, 0);
    assert_int_equal(w->gateway.n, 1);
    PQclear(PQexec(dead, "COMMIT"));
    PQfinish(dead);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 1"), 1);
    accept_all(w);
    assert_int_equal(entries(), 1);
    for (int i = 0; i < 4; i++)
        pass(w, 30000);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w); /* with the same id, see answer_with */
    assert_int_equal(w->phones[0].accepted, 2);
    assert_int_equal(entries(), 0);
}

static void what_a_dead_worker_takes_up_at_the_last_moment_is_not_left(void **state)
{
    take_up_at_the_last_moment(*state, false);
}

static void nor_when_the_answer_to_our_claim_was_lost(void **state)
{
    take_up_at_the_last_moment(*state, true);
}

static void an_orderly_end_waits_for_answers_and_begins_nothing(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    message(w, 0, 0);
    pass(w, 600);
    message(w, 1, 0);
    assert_false(outbox_drain(w->outbox)); /* one is on its way */
    answer_with(w, any_flying(w), &done);
    assert_false(outbox_drain(w->outbox)); /* answered, not stored */
    pass(w, 0);
    assert_false(outbox_drain(w->outbox)); /* stored, and said so */
    pass(w, 0);
    assert_true(outbox_drain(w->outbox));
    w->mono_ms += 1000; /* the other one is due, and the next worker's */
    set_clock(w);
    outbox_run(w->outbox);
    assert_true(outbox_drain(w->outbox));
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(entries(), 1);
}

/* What it left had not been sent, so the phone shows what is stored. */
static void after_an_orderly_end_no_icon_is_told_for_nothing(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    message_that_waits(w, 0, 1);
    pass(w, 100);
    while (!outbox_drain(w->outbox))
        pass(w, 0);
    crash(w);
    pass(w, 0); /* has claimed and loaded */
    message(w, 0, 1);
    read_all(w, 0, 0);
    read_all(w, 0, 1);
    pass(w, 1100);
    pass(w, 5000);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(entries(), 0);
}

static void an_entry_whose_answer_was_lost_is_found_again(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    batch(w, 0, 0, 1, 0, ANSWER_LOST);
    pass(w, 600);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
    pass(w, 1000);
    pass(w, 1000);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void an_outcome_that_comes_before_its_answers_is_heard(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    struct unread_change c = {.owner_jid = "user0@a.example",
                              .peer = 1,
                              .newest_id = 1,
                              .counted = 1,
                              .lowered = true};
    memcpy(c.owner, w->owners[0], 16);
    pg_send_plain(w->lane, "BEGIN", NULL, NULL);
    outbox_batch(w->outbox, w->lane, &c, 1);
    outbox_committed(w->outbox, w->lane, false);
    w->committed = false;
    pg_send_plain(w->lane, "ROLLBACK", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    pass(w, 1000);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
}

static void lost_connections_delay_pushes_but_lose_none(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 1);
    db_end_sessions();
    answer_with(w, any_flying(w), &done); /* its settling meets a dead connection */
    db_loop(w->base, all_down, w);
    db_loop(w->base, all_up, w);
    pass(w, 2000);
    assert_int_equal(entries(), 0);
    assert_int_equal(w->phones[0].accepted, 1);
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(w->phones[0].badge, 2);
}

static void a_push_that_cannot_be_read_stops_no_other(void **state)
{
    struct world *w = *state;
    enroll(0, 1);
    enroll(1, 1);
    enroll(2, 0);
    enroll(2, 2);
    for (int owner = 0; owner < OWNERS; owner++)
        message(w, owner, 0);
    /* The sum of these is more than a number holds. */
    db_do("UPDATE xs.registration SET published = 2147483647 WHERE device IN"
          " (SELECT device FROM xs.device WHERE token LIKE '1%')");
    pass(w, 600);
    pass(w, 1000);
    assert_int_equal(w->gateway.n, 2);
    accept_all(w);
    assert_int_equal(w->phones[0].alerts, 1);
    assert_int_equal(w->phones[2].alerts, 1);
    assert_int_equal(entries(), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log WHERE reason = 'cannot be read'"
                            " AND status = 0"),
                     2);
    db_do("UPDATE xs.registration SET published = NULL");
    db_do("UPDATE xs.outbox SET due = now()"); /* its clock is not ours */
    message(w, 2, 0);
    pass(w, 60000);
    accept_all(w);
    assert_int_equal(w->phones[1].alerts, 2);
    assert_int_equal(w->phones[2].alerts, 2);
    assert_int_equal(entries(), 0);
}

static void a_lost_connection_for_reading_is_replaced_by_the_other(void **state)
{
    struct world *w = *state;
    struct pg_opts nowhere = {.url = "postgresql:///?host=/nowhere", .name = "pushes"};
    outbox_free(&w->outbox);
    pg_pool_free(&w->reads);
    w->reads = pg_pool_new(w->base, &nowhere, 1);
    open_outbox(w);
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void more_entries_than_memory_wait_in_the_database(void **state)
{
    struct world *w = *state;
    char sql[512];
    enroll(0, 0);
    w->outbox->memory_max = 8;
    snprintf(sql, sizeof sql, "UPDATE xs.account SET unread = 30 WHERE owner = '01%030d'", 0);
    db_do(sql);
    outbox_pause(w->outbox, true);
    for (int i = 0; i < 30; i++)
        batch(w, 0, i % PEERS, 1, 0, COMMIT);
    for (int i = 3; i < 30; i++) {
        struct unread_change c = {.owner_jid = "user0@a.example",
                                  .peer = (uint64_t)i + 1,
                                  .counted = 1,
                                  .newest_id = 5,
                                  .received_us = w->real_us};
        memcpy(c.owner, w->owners[0], 16);
        snprintf(sql, sizeof sql,
                 "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, unread)"
                 " VALUES ('01%030d', %d, 'x@y', 1, 1, 1)",
                 0, i + 1);
        db_do(sql);
        pg_send_plain(w->lane, "BEGIN", NULL, NULL);
        outbox_batch(w->outbox, w->lane, &c, 1);
        w->committed = false;
        pg_send_plain(w->lane, "COMMIT", on_commit, w);
        pg_sync(w->lane);
        db_loop(w->base, is_committed, w);
        outbox_committed(w->outbox, w->lane, true);
    }
    assert_int_equal(outbox_set_count(w->outbox->set), 8);
    assert_int_equal(entries(), 30);
    /* Pages end between those that are due at the same time. */
    db_do("UPDATE xs.outbox SET due = date_trunc('day', now()) WHERE state = 2");
    outbox_pause(w->outbox, false);
    for (int i = 0; i < 60 && entries() > 0; i++) {
        pass(w, 1000);
        for (struct flying *f = any_flying(w); f; f = any_flying(w)) {
            f->used = false;
            w->gateway.n--;
            w->phones[0].accepted++;
            outbox_verdict(w->outbox, f->ctx, &done);
            pass(w, 0);
        }
    }
    assert_int_equal(entries(), 0);
    assert_int_equal(w->phones[0].accepted, 30);
}

static bool waits_in_the_database(void)
{
    return db_int("SELECT count(*) FROM xs.outbox WHERE state = 2 AND lease_by IS NULL") == 1;
}

static void what_is_loaded_is_written_once_to_end_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message_that_waits(w, 0, 0);
    db_do("UPDATE xs.outbox SET due = now()");
    char *row = strdup(db_ask("SELECT xmin || ' ' || ctid FROM xs.outbox"));
    pass(w, 1000);
    assert_int_equal(w->gateway.n, 1);
    assert_string_equal(db_ask("SELECT xmin || ' ' || ctid FROM xs.outbox"), row);
    assert_true(waits_in_the_database());
    free(row);
    accept_all(w);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log WHERE status = 200"), 1);
}

/* What asks for a round soon asks for no other pass over what is due. */
static void a_round_that_comes_soon_reads_nothing_twice(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    w->gateway.room = 0;
    message_that_waits(w, 0, 0);
    db_do("UPDATE xs.outbox SET due = now()");
    pass(w, 1000);
    assert_int_equal(outbox_set_count(w->outbox->set), 1);
    outbox_pause(w->outbox, true);
    outbox_pause(w->outbox, false);
    pass(w, 1000);
    pass(w, 1000);
    assert_true(waits_in_the_database());
    w->gateway.room = 10;
    pass(w, 0);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void what_found_no_room_is_loaded_soon_after_a_pass(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    pass(w, 1000);
    pass(w, 1000);
    assert_true(w->outbox->upkeep_ms > w->mono_ms + 10000);
    message_that_waits(w, 0, 0);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
    pass(w, 1000);
    assert_int_equal(outbox_set_count(w->outbox->set), 1);
    pass(w, 500);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void what_is_loaded_and_stays_gets_its_workers_name(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    w->gateway.room = 0;
    message_that_waits(w, 0, 0);
    db_do("UPDATE xs.outbox SET due = now()");
    pass(w, 1000);
    assert_int_equal(outbox_set_count(w->outbox->set), 1);
    assert_true(waits_in_the_database());
    pass(w, 31000);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 1"
                            " AND lease_by = '01000000000000000000000000000000'"),
                     1);
    assert_int_equal(outbox_set_count(w->outbox->set), 1);
    w->gateway.room = 10;
    pass(w, 0);
    accept_all(w);
    assert_int_equal(w->phones[0].accepted, 1);
    assert_int_equal(entries(), 0);
}

/* Who adds to an entry that waits does not tell the worker: it learns it when it wants to end
 * what it knows of. */
static void what_is_added_to_a_loaded_entry_is_decided_by_itself(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    w->answer = OUTBOX_WAIT;
    w->again_ms = 5000;
    message_that_waits(w, 0, 0);
    pass(w, 1000);
    pass(w, 1000);
    assert_int_equal(w->asked, 1);
    w->real_us += 1000000;
    message(w, 0, 0);
    const int64_t newest_us = w->real_us;
    assert_true(waits_in_the_database());
    w->answer = OUTBOX_SKIP;
    pass(w, 5000); /* of what it knew */
    assert_true(w->asked_newest_us < newest_us);
    assert_int_equal(w->asked, 2);
    assert_int_equal(entries(), 1);
    w->answer = OUTBOX_NOW;
    pass(w, 600);
    assert_int_equal(w->asked, 3);
    assert_int_equal(w->asked_newest_us, newest_us);
    assert_int_equal(any_flying(w)->badge, 2);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

static void what_is_dropped_after_it_was_loaded_is_not_pushed(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    w->gateway.room = 0;
    message_that_waits(w, 0, 0);
    db_do("UPDATE xs.outbox SET due = now()");
    pass(w, 1000);
    db_do("DELETE FROM xs.outbox");
    w->gateway.room = 10;
    pass(w, 0);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
}

static void what_a_round_is_asked_for_too_late_comes_soon_after_it(void **state)
{
    struct world *w = *state;
    pass(w, 0);
    pass(w, 31000);
    w->mono_ms += 31000;
    set_clock(w);
    outbox_run(w->outbox);
    assert_true(w->outbox->upkeep_running);
    outbox_upkeep_soon(w->outbox);
    db_loop(w->base, quiet, w);
    assert_false(w->outbox->upkeep_running);
    assert_true(w->outbox->upkeep_ms <= w->mono_ms + OUTBOX_ROUND_SOON_MS);
    pass(w, 1000);
    assert_true(w->outbox->upkeep_ms > w->mono_ms + OUTBOX_ROUND_SOON_MS);
}

#define CLAIMED_BY(worker)                                                                    \
    "SELECT xs.loader_claim('" worker "000000000000000000000000000000', "

static void only_one_worker_loads(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 1);
    w->gateway.room = 0;
    message_that_waits(w, 0, 0);
    db_do("UPDATE xs.outbox SET due = now()");
    pass(w, 1000);
    assert_int_equal(outbox_set_count(w->outbox->set), 1);
    assert_int_equal(db_int(CLAIMED_BY("02") "false)"), 0); /* this one is alive */
    assert_int_equal(db_int(CLAIMED_BY("02") "true)"), 2);
    assert_int_equal(db_int(CLAIMED_BY("02") "false)"), 1);
    w->gateway.room = 10;
    pass(w, 0); /* it is in another's hands now, and what waits is loaded there */
    assert_int_equal(w->gateway.n, 0);
    message_that_waits(w, 1, 0);
    pass(w, 31000);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(outbox_set_count(w->outbox->set), 0);
    db_do("UPDATE xs.outbox SET state = 1, lease_by = '02000000000000000000000000000000'"
          " WHERE peer = 1 AND get_byte(uuid_send(owner), 0) = 1");
    db_do("UPDATE xs.loader SET seen_at = now() - interval '3 minutes'");
    pass(w, 31000); /* that worker is gone: what it held and what waits is loaded here */
    pass(w, 1000);
    accept_all(w);
    assert_int_equal(w->phones[0].accepted, 1);
    assert_int_equal(w->phones[1].accepted, 1);
    assert_int_equal(entries(), 0);
}

/* The next worker has this key, or none. */
static void change_key(struct world *w, const uint8_t secret[TOKEN_KEY_BYTES])
{
    uint8_t keys[1][TOKEN_KEY_BYTES] = {{0}};
    const struct token_key_opts opts = {.keys = (const uint8_t(*)[TOKEN_KEY_BYTES])keys,
                                        .n = 1};
    if (secret)
        memcpy(keys[0], secret, TOKEN_KEY_BYTES);
    struct token_keys *before = w->tokens;
    w->tokens = token_keys_new(secret ? &opts : NULL);
    crash(w);
    token_keys_free(&before);
}

static const uint8_t token_key[TOKEN_KEY_BYTES] = {1, 2, 3};

/* As registered with that key; the worker that runs now has it. */
static void enroll_sealed(struct world *w, int owner, int device)
{
    uint8_t id[16] = {(uint8_t)device}, sealed[TOKEN_SEALED_MAX];
    char token[TOKEN_BYTES], sql[512];
    enroll(owner, device);
    change_key(w, token_key);
    snprintf(token, sizeof token, "%d%063d", device, 0);
    size_t n = token_keys_seal(w->tokens, id, token, sealed);
    int at = snprintf(sql, sizeof sql,
                      "UPDATE xs.device SET token = NULL, sealed_by = %d, sealed = '\\x",
                      token_keys_current(w->tokens));
    for (size_t i = 0; i < n; i++)
        at += snprintf(sql + at, sizeof sql - (size_t)at, "%02x", sealed[i]);
    snprintf(sql + at, sizeof sql - (size_t)at, "' WHERE device = '%02x%030d'", device, 0);
    db_do(sql);
}

static void a_sealed_token_is_opened_for_its_push(void **state)
{
    struct world *w = *state;
    enroll_sealed(w, 0, 3);
    enroll(0, 2); /* not sealed yet */
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 2);
    accept_all(w);
    assert_int_equal(w->phones[3].accepted, 1);
    assert_int_equal(w->phones[2].accepted, 1);
    assert_int_equal(entries(), 0);
}

static void without_its_key_a_push_waits_and_with_it_goes_on(void **state)
{
    static const uint8_t another[TOKEN_KEY_BYTES] = {9};
    struct world *w = *state;
    enroll_sealed(w, 0, 3);
    enroll(0, 2);
    change_key(w, NULL);
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->gateway.n, 1); /* who needs no key does not wait */
    accept_all(w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(entries(), 1);
        assert_string_equal(db_ask("SELECT state || ' ' || reason FROM xs.outbox"),
                            "2 no key for the token");
        assert_string_equal(db_ask("SELECT due BETWEEN now() + interval '4 min'"
                                   " AND now() + interval '11 min' FROM xs.outbox"),
                            "t");
        if (i == 1)
            change_key(w, another);
        db_do("UPDATE xs.outbox SET due = now()");
        pass(w, 31000);
    }
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 2);
    assert_int_equal(w->gateway.n, 0);
    change_key(w, token_key);
    db_do("UPDATE xs.outbox SET due = now()");
    pass(w, 31000);
    accept_all(w);
    assert_int_equal(w->phones[3].accepted, 1);
    assert_int_equal(entries(), 0);
}

static void without_its_key_a_push_is_parked_at_last(void **state)
{
    struct world *w = *state;
    enroll_sealed(w, 0, 3);
    change_key(w, NULL);
    message(w, 0, 0);
    pass(w, 600);
    db_do("UPDATE xs.outbox SET due = now(), counted_at = counted_at - interval '13 hours'");
    pass(w, 31000);
    assert_string_equal(db_ask("SELECT state || ' ' || reason FROM xs.outbox"),
                        "3 no key for the token");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 1);
}

static void a_damaged_token_parks_its_push(void **state)
{
    struct world *w = *state;
    enroll_sealed(w, 0, 3);
    enroll(0, 2);
    db_do("UPDATE xs.device SET sealed = set_byte(sealed, 5, get_byte(sealed, 5) # 1)"
          " WHERE sealed_by <> 0");
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    assert_int_equal(w->phones[2].accepted, 1);
    assert_string_equal(db_ask("SELECT state || ' ' || reason FROM xs.outbox"),
                        "3 the token is damaged");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 2);
}

static void old_lines_of_the_log_are_forgotten(void **state)
{
    struct world *w = *state;
    db_do("INSERT INTO xs.push_log SELECT owner, owner, 1, 1, 1, now() - interval '15 days',"
          " NULL, 200, NULL FROM xs.account");
    db_do("INSERT INTO xs.push_log SELECT owner, owner, 1, 1, 1, now() - interval '13 days',"
          " NULL, 200, NULL FROM xs.account");
    pass(w, 31000);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log"), OWNERS);
}

static void a_sign_of_trouble_asks_again_at_once(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    w->answer = OUTBOX_WAIT;
    w->again_ms = 20000;
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(w->asked, 1);
    w->answer = OUTBOX_NOW;
    outbox_reconsider(w->outbox, w->owners[1]);
    pass(w, 0);
    assert_int_equal(w->asked, 1);
    outbox_reconsider(w->outbox, w->owners[0]);
    pass(w, 0);
    assert_int_equal(w->gateway.n, 1);
    accept_all(w);
}

/* Everything at once, at random: in the end nothing is left, every icon shows the truth, and
 * every message was pushed after it came, or read, or skipped. */

static unsigned rnd(uint64_t *seed, unsigned n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*seed >> 33) % n;
}

/* Calls. */

static const struct call_change ringing = {.begins = true,
                                           .peer = 77,
                                           .hash = 1234567,
                                           .message = 88,
                                           .jid = "romeo@b.example",
                                           .session = "s1",
                                           .media = "audio"};
static const struct push_verdict gone = {PUSH_DROP_DEVICE, 410, "Unregistered", 0, 0};

static int start_calls(void **state)
{
    apps[0].calls = true;
    int r = start(state);
    enroll(0, 0);
    return r;
}

static int stop_calls(void **state)
{
    apps[0].calls = apps[0].voip = apps[0].background = false;
    apps[0].content = PUSH_CONTENT_BODY;
    return stop(state);
}

static int stop_sandbox_calls(void **state)
{
    push.apps_n = 1;
    apps[1].domains_n = 0;
    return stop_calls(state);
}

static void tell_call(struct world *w, const struct call_change *k)
{
    struct unread_change c = {
        .owner_jid = "user0@a.example", .received_us = w->real_us, .call = k};
    memcpy(c.owner, w->owners[0], 16);
    pg_send_plain(w->lane, "BEGIN", NULL, NULL);
    outbox_batch(w->outbox, w->lane, &c, 1);
    w->committed = false;
    pg_send_plain(w->lane, "COMMIT", on_commit, w);
    pg_sync(w->lane);
    db_loop(w->base, is_committed, w);
    assert_true(w->commit_ok);
    outbox_committed(w->outbox, w->lane, true);
}

static const char *last_log(void)
{
    return db_ask("SELECT status || ' ' || coalesce(reason, '-') FROM xs.push_log"
                  " ORDER BY at DESC LIMIT 1");
}

static void a_call_is_pushed_at_once_and_lives_for_seconds(void **state)
{
    struct world *w = *state;
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    tell_call(w, &ringing);
    pass(w, 249);
    assert_null(any_flying(w));
    pass(w, 1);
    struct flying *f = any_flying(w);
    assert_non_null(f);
    assert_int_equal(f->type, PUSH_ALERT);
    assert_int_equal(f->priority, 10);
    assert_int_equal(f->badge, 1); /* as it is: a call is nothing unread */
    int64_t left_s = f->expiration_s - w->real_us / 1000000;
    assert_true(left_s > 40 && left_s <= 45);
    assert_non_null(strstr(f->payload, "\"call\":{\"id\":\"s1\",\"media\":[\"audio\"],"
                                       "\"from\":\"romeo@b.example\","
                                       "\"account\":\"user0@a.example\"}"));
    assert_non_null(strstr(f->payload, "\"title\":\"romeo\",\"body\":\"Incoming call\""));
    answer_at(w, &w->gateway, &done);
    assert_int_equal(entries(), 0);
    assert_string_equal(db_ask("SELECT decision FROM xs.push_log WHERE peer < -1"), "as told");
    /* Another copy of its message, of the recipient's own session. */
    tell_call(w, &ringing);
    pass(w, 300);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT unread FROM xs.account WHERE jid = 'user0@a.example'"), 1);
}

static void an_app_that_does_not_ask_for_calls_is_told_of_none(void **state)
{
    struct world *w = *state;
    apps[0].calls = false;
    tell_call(w, &ringing);
    assert_int_equal(entries(), 0);
    /* One that asks, on the phone of somebody else. */
    apps[0].calls = true;
    db_do("UPDATE xs.registration SET app = 'another'");
    tell_call(w, &ringing);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.call"), 0);
}

static void a_call_that_is_over_before_it_was_pushed_is_not(void **state)
{
    struct world *w = *state;
    const struct call_change words[] = {
        {.peer = 77, .session = "s1", .over = "the caller took it back"},
        {.session = "s1", .over = "the account has answered it"},
        {.message = 88, .over = "the server refused its message"},
    };
    const struct call_change again = {.peer = 77, .session = "s1", .over = "another end"};
    for (size_t i = 0; i < 3; i++) {
        db_do("DELETE FROM xs.call");
        tell_call(w, &ringing);
        tell_call(w, &words[i]);
        tell_call(w, &again); /* how it ended first is what counts */
        pass(w, 300);
        assert_null(any_flying(w));
        assert_int_equal(entries(), 0);
        char log[64];
        snprintf(log, sizeof log, "0 %s", words[i].over);
        assert_string_equal(last_log(), log);
    }
    /* A word about another call, or of somebody else, ends nothing. */
    const struct call_change others[] = {{.peer = 77, .session = "s2", .over = "x"},
                                         {.peer = 78, .session = "s1", .over = "x"},
                                         {.message = 89, .over = "x"}};
    db_do("DELETE FROM xs.call");
    tell_call(w, &ringing);
    for (size_t i = 0; i < 3; i++)
        tell_call(w, &others[i]);
    pass(w, 300);
    answer_at(w, &w->gateway, &done);
}

static void a_call_never_rings_late(void **state)
{
    struct world *w = *state;
    static const struct push_verdict later = {PUSH_RETRY, 503, "ServiceUnavailable", 0,
                                              900000};
    static const struct push_verdict lost = {PUSH_RETRY, 0, "connection lost", 0, 0};
    tell_call(w, &ringing);
    pass(w, 300);
    uint8_t first[16];
    memcpy(first, any_flying(w)->apns_id, 16);
    answer_at(w, &w->gateway, &lost);
    pass(w, 2000);
    assert_memory_equal(any_flying(w)->apns_id, first, 16);
    answer_at(w, &w->gateway, &later); /* until then nobody waits any more */
    assert_int_equal(entries(), 0);
    assert_string_equal(last_log(), "503 ServiceUnavailable");
    /* What was not sent in time for another reason. */
    struct call_change k = ringing;
    k.session = "s2";
    tell_call(w, &k);
    outbox_pause(w->outbox, true);
    pass(w, CALL_LIFE_MS + 1000);
    outbox_pause(w->outbox, false);
    pass(w, 0);
    assert_null(any_flying(w));
    assert_int_equal(entries(), 0);
    assert_string_equal(last_log(), "0 too old");
}

static void a_call_goes_to_the_token_for_calls(void **state)
{
    struct world *w = *state;
    apps[0].voip = true;
    db_do("UPDATE xs.registration SET voip_token = '0v', voip_at = now()");
    db_do("UPDATE xs.device SET badge_sent = 5");
    tell_call(w, &ringing);
    pass(w, 300);
    struct flying *f = any_flying(w);
    assert_int_equal(f->type, PUSH_VOIP);
    assert_int_equal(f->token, 'v');
    assert_int_equal(f->priority, 10);
    assert_null(strstr(f->payload, "alert"));
    assert_non_null(strstr(f->payload, "\"call\":{\"id\":\"s1\""));
    answer_at(w, &w->gateway, &done);
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), 5); /* it told of none */
    /* A message goes where messages go. */
    message(w, 0, 0);
    pass(w, 600);
    assert_int_equal(any_flying(w)->token, '0');
    accept_all(w);
}

/* It is one account's, and the device may be others' as well. */
static void a_token_for_calls_says_nothing_of_the_devices_environment(void **state)
{
    struct world *w = *state;
    struct gateway sandbox;
    apps[0].voip = true;
    open_sandbox(w, &sandbox, "chat");
    db_do("UPDATE xs.registration SET voip_token = '0v', voip_at = now()");
    tell_call(w, &ringing);
    pass(w, 300);
    answer_at(w, &w->gateway, &bad_token);
    assert_int_equal(only_flying(&sandbox)->type, PUSH_VOIP);
    answer_at(w, &sandbox, &done);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device WHERE sandbox IS NULL"), 1);
    write_and_wait(w, 0);
    assert_int_equal(sandbox.n, 0);
    answer_at(w, &w->gateway, &done);
}

static void where_the_token_for_calls_is_refused_an_alert_tells_of_it(void **state)
{
    struct world *w = *state;
    struct call_change k = ringing;
    const struct push_verdict *const refusals[] = {&bad_token, &gone};
    apps[0].voip = true;
    enroll(1, 0); /* another account on the same phone, whose token stays */
    db_do("UPDATE xs.registration SET voip_token = '0v', voip_at = now() - interval '1 hour'");
    for (size_t i = 0; i < 2; i++) {
        k.session = i ? "s2" : "s1";
        tell_call(w, &k);
        pass(w, 300);
        assert_int_equal(any_flying(w)->type, PUSH_VOIP);
        answer_at(w, &w->gateway, refusals[i]);
        struct flying *f = only_flying(&w->gateway);
        assert_int_equal(f->type, PUSH_ALERT);
        assert_int_equal(f->token, '0');
        answer_at(w, &w->gateway, &done);
        assert_string_equal(last_log(), "200 its token for calls was refused");
        /* Only the service's own word that it is gone takes it away. */
        assert_int_equal(db_int("SELECT count(*) FROM xs.registration WHERE owner::text LIKE"
                                " '01%' AND voip_token IS NULL"),
                         i);
        assert_int_equal(db_int("SELECT count(*) FROM xs.registration WHERE owner::text LIKE"
                                " '02%' AND voip_token = '0v'"),
                         1);
    }
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 2);
    assert_int_equal(entries(), 0);
    k.session = "s3";
    tell_call(w, &k);
    pass(w, 300);
    assert_int_equal(only_flying(&w->gateway)->type, PUSH_ALERT);
    answer_at(w, &w->gateway, &done);
    assert_string_equal(last_log(), "200 it has no token for calls");
}

static void a_token_for_calls_that_was_renewed_since_stays(void **state)
{
    struct world *w = *state;
    struct push_verdict long_ago = gone;
    long_ago.timestamp_ms = w->real_us / 1000 - 60000;
    apps[0].voip = true;
    db_do("UPDATE xs.registration SET voip_token = '0v', voip_at = now()");
    tell_call(w, &ringing);
    pass(w, 300);
    answer_at(w, &w->gateway, &long_ago);
    answer_at(w, &w->gateway, &done);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration WHERE voip_token = '0v'"),
                     1);
}

static void nobody_rings_who_is_muted_and_nothing_rings_in_quiet_hours(void **state)
{
    struct world *w = *state;
    struct call_change k = ringing;
    db_do("INSERT INTO xs.mute SELECT owner, 77, NULL, 1 FROM xs.account");
    tell_call(w, &k);
    pass(w, 300);
    assert_null(any_flying(w));
    assert_string_equal(last_log(), "0 muted");
    db_do("DELETE FROM xs.mute");
    set_quiet_hours(-60, "{}");
    k.session = "s2";
    tell_call(w, &k);
    pass(w, 300);
    assert_null(any_flying(w));
    assert_string_equal(last_log(), "0 quiet hours");
    set_quiet_hours(-60, "{77}"); /* who is always heard */
    k.session = "s3";
    tell_call(w, &k);
    pass(w, 300);
    answer_at(w, &w->gateway, &done);
    assert_int_equal(entries(), 0);
}

static void a_call_shows_no_more_than_a_message(void **state)
{
    struct world *w = *state;
    struct call_change k = ringing;
    for (int content = PUSH_CONTENT_NONE; content <= PUSH_CONTENT_SENDER; content++) {
        char session[16];
        snprintf(session, sizeof session, "c%d", content);
        apps[0].content = (enum push_content)content;
        k.session = session;
        tell_call(w, &k);
        pass(w, 300);
        bool shown = strstr(any_flying(w)->payload, "romeo") != NULL;
        assert_int_equal(shown, content == PUSH_CONTENT_SENDER);
        assert_int_equal(strstr(any_flying(w)->payload, "user0@") != NULL, shown);
        assert_non_null(strstr(any_flying(w)->payload, session));
        answer_at(w, &w->gateway, &done);
    }
}

static void who_calls_without_end_is_not_heard_without_end(void **state)
{
    struct world *w = *state;
    struct call_change k = ringing;
    for (int i = 0; i < 20; i++) {
        char session[16];
        snprintf(session, sizeof session, "n%d", i);
        k.session = session;
        k.hash = (uint64_t)i;
        tell_call(w, &k);
    }
    assert_int_equal(entries(), 4);
    for (int i = 20; i < 40; i++) { /* nor who has many addresses */
        char session[16];
        snprintf(session, sizeof session, "n%d", i);
        k.session = session;
        k.hash = k.peer = (uint64_t)i;
        tell_call(w, &k);
        if (i == 20)
            assert_int_equal(entries(), 5); /* another one is heard beside him */
    }
    assert_int_equal(entries(), 16);
    db_do("UPDATE xs.call SET at = at - interval '2 minutes'");
    k.session = "later";
    k.hash = 100;
    tell_call(w, &k);
    assert_int_equal(entries(), 17);
}

static void calls_are_forgotten_after_an_hour(void **state)
{
    struct world *w = *state;
    tell_call(w, &ringing);
    pass(w, 300);
    answer_at(w, &w->gateway, &done);
    pass(w, 2 * OUTBOX_ROUND_MS);
    assert_int_equal(db_int("SELECT count(*) FROM xs.call"), 1);
    db_do("UPDATE xs.call SET at = at - interval '61 minutes'");
    pass(w, 2 * OUTBOX_ROUND_MS);
    assert_int_equal(db_int("SELECT count(*) FROM xs.call"), 0);
}

static void the_next_worker_goes_on_with_a_call(void **state)
{
    struct world *w = *state;
    tell_call(w, &ringing);
    pass(w, 300);
    uint8_t first[16];
    memcpy(first, any_flying(w)->apns_id, 16);
    crash(w);
    pass(w, 0);
    pass(w, 1000);
    assert_memory_equal(only_flying(&w->gateway)->apns_id, first, 16);
    assert_non_null(strstr(any_flying(w)->payload, "\"id\":\"s1\""));
    answer_at(w, &w->gateway, &done);
    assert_int_equal(entries(), 0);
}

static void a_call_is_a_number_that_is_no_conversation(void **state)
{
    (void)state;
    assert_false(outbox_is_call(0));
    assert_false(outbox_is_call(7));
    assert_false(outbox_is_call(OUTBOX_TEST_PEER));
    assert_true(outbox_is_call((uint64_t)-2));
    assert_true(outbox_is_call((uint64_t)-65537));
    assert_false(outbox_is_call((uint64_t)-65538));
    for (uint64_t hash = 0; hash < 3 * OUTBOX_CALLS; hash += 1001)
        assert_true(outbox_is_call(outbox_call_peer(hash)));
}

static void an_app_that_is_woken_in_the_background_makes_its_own_badge(void **state)
{
    struct world *w = *state;
    apps[0].background = true;
    message(w, 0, 0);
    pass(w, 600);
    struct flying *f = any_flying(w);
    assert_int_equal(f->type, PUSH_BACKGROUND);
    assert_int_equal(f->priority, 5);
    assert_non_null(strstr(f->payload, "\"unread\":1,\"aps\":{\"content-available\":1}}"));
    answer_at(w, &w->gateway, &done);
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), -1);
    /* What its icon shows is not known, so a read is always told. */
    read_all(w, 0, 0);
    pass(w, 2100);
    f = any_flying(w);
    assert_int_equal(f->type, PUSH_ALERT);
    assert_int_equal(f->badge, 0);
    answer_at(w, &w->gateway, &done);
    /* A call is no message, and a test is to be seen. */
    tell_call(w, &ringing);
    pass(w, 300);
    assert_int_equal(any_flying(w)->type, PUSH_ALERT);
    answer_at(w, &w->gateway, &done);
}

static struct flying *random_flying(struct world *w, uint64_t *seed)
{
    size_t nth = w->gateway.n > 0 ? rnd(seed, (unsigned)w->gateway.n) : 0;
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (w->gateway.flying[i].used && nth-- == 0)
            return &w->gateway.flying[i];
    return NULL;
}

static void random_verdict(struct world *w, uint64_t *seed)
{
    struct flying *f = random_flying(w, seed);
    if (!f)
        return;
    static const struct push_verdict verdicts[] = {
        {PUSH_DONE, 200, "", 0, 0},
        {PUSH_DONE, 200, "", 0, 0},
        {PUSH_DONE, 200, "", 0, 0},
        {PUSH_RETRY, 0, "connection lost", 0, 0},
        {PUSH_RETRY, 503, "ServiceUnavailable", 0, 1000},
        {PUSH_HOLD_DEVICE, 429, "TooManyRequests", 0, 5000},
        {PUSH_APP_STOPPED, 403, "InvalidProviderToken", 0, 0},
        {PUSH_DROP_DEVICE, 410, "Unregistered", 1, 0}, /* long ago: it is registered anew */
    };
    unsigned n = rnd(seed, 12);
    if (n < 8)
        answer_with(w, f, &verdicts[n]);
    else
        lose_answer(w, f);
}

static void the_worker_writes_down_what_its_apps_count(void **state)
{
    struct world *w = *state;
    pass(w, 100);
    assert_int_equal(db_int("SELECT badge FROM xs.app WHERE app = 'chat'"), 0);
    apps[0].badge = PUSH_BADGE_CONVERSATIONS;
    crash(w);
    pass(w, 100);
    apps[0].badge = PUSH_BADGE_MESSAGES;
    assert_int_equal(db_int("SELECT badge FROM xs.app WHERE app = 'chat'"), 1);
}

/* Notifications that are to go. */

static char shown_as[PEERS][65]; /* what the last alert of each conversation was called */

static void show(struct world *w, int owner, int peer)
{
    message(w, owner, peer);
    pass(w, 600);
    assert_true(any_flying(w)->alert);
    strcpy(shown_as[peer], any_flying(w)->collapse_id);
    accept_all(w);
}

static struct flying *flying_to(struct world *w, int device)
{
    for (size_t i = 0; i < FLYING_MAX; i++)
        if (w->gateway.flying[i].used && w->gateway.flying[i].device == device)
            return &w->gateway.flying[i];
    fail_msg("nothing is on its way to %d", device);
    return NULL;
}

/* The one badge on its way: does it say that this one is to go? */
static bool withdraws(struct world *w, const char *name)
{
    const struct flying *f = any_flying(w);
    assert_non_null(f);
    assert_false(f->alert);
    const char *list = strstr(f->payload, "\"withdraw\":[");
    return list && strstr(list, name);
}

static bool is_refused(void *ctx)
{
    return !((struct world *)ctx)->outbox->sql_up;
}

static int shown_in_all(void)
{
    return (int)db_int("SELECT count(*) FROM xs.shown");
}

static int start_withdrawing(void **state)
{
    apps[0].withdraws = true;
    return start(state);
}

static int stop_withdrawing(void **state)
{
    apps[0].withdraws = false;
    return stop(state);
}

static void what_was_read_elsewhere_is_named_to_who_was_shown_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    show(w, 0, 2);
    enroll(0, 1); /* a phone that was shown none of them */
    read_all(w, 0, 0);
    pass(w, 500);
    read_all(w, 0, 1); /* one update for both */
    pass(w, 1600);
    assert_int_equal(w->gateway.n, 2);
    const struct flying *f = flying_to(w, 0);
    assert_int_equal(f->priority, 5);
    assert_int_equal(f->expiration_s, 0);
    assert_int_equal(f->badge, 1);
    assert_non_null(strstr(f->payload, shown_as[0]));
    assert_non_null(strstr(f->payload, shown_as[1]));
    assert_null(strstr(f->payload, shown_as[2]));
    assert_non_null(strstr(f->payload, "\"as_of\":"));
    assert_string_equal(flying_to(w, 1)->payload, "{\"aps\":{\"badge\":1}}");
    accept_all(w);
    assert_int_equal(shown_in_all(), 1);
    read_all(w, 0, 2);
    pass(w, 2100);
    for (int i = 0; i < 2; i++) {
        f = flying_to(w, i);
        assert_int_equal(f->badge, 0);
        assert_true(f->expiration_s > 0); /* stored */
        assert_non_null(strstr(f->payload, "\"withdraw\":[\"all\"]"));
    }
    accept_all(w);
    assert_int_equal(shown_in_all(), 0);
    assert_int_equal(entries(), 0);
}

static void what_is_named_is_read_to_its_end(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    batch(w, 0, 0, 0, 1, COMMIT); /* one of two */
    pass(w, 2100);
    assert_int_equal(any_flying(w)->badge, 2);
    assert_false(withdraws(w, shown_as[0]));
    accept_all(w);
    /* Read, and written to again before the update: its new notification takes the place. */
    read_all(w, 0, 0);
    message(w, 0, 0);
    pass(w, 600);
    assert_true(any_flying(w)->alert);
    accept_all(w);
    pass(w, 2100);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(shown_in_all(), 2);
    assert_int_equal(entries(), 0);
}

static void a_list_is_told_again_until_the_service_has_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_true(withdraws(w, shown_as[0]));
    static const struct push_verdict busy_now = {
        .reaction = PUSH_RETRY, .status = 503, .retry_after_ms = 1000};
    answer_with(w, any_flying(w), &busy_now);
    pass(w, 5000);
    assert_true(withdraws(w, shown_as[0]));
    crash(w); /* before the answer was heard */
    pass(w, 0);
    pass(w, 5000);
    assert_true(withdraws(w, shown_as[0]));
    assert_false(withdraws(w, shown_as[1]));
    accept_all(w);
    assert_int_equal(shown_in_all(), 1);
}

static void what_may_have_been_shown_is_named_too(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    strcpy(shown_as[0], any_flying(w)->collapse_id);
    lose_answer(w, any_flying(w));
    pass(w, 0);
    message(w, 0, 1);
    pass(w, 600);
    accept_all(w);
    read_all(w, 0, 0);
    pass(w, 2100);
    while (!withdraws(w, shown_as[0])) { /* fails when there is none */
        answer_with(w, any_flying(w), &done);
        pass(w, 0);
    }
    accept_all(w);
    assert_int_equal(shown_in_all(), 1);
    read_all(w, 0, 1);
    pass(w, 2100);
    accept_all(w);
    assert_int_equal(entries(), 0);
}

/* The worker died with the answer unheard, and its reader was quicker than the next one. */
static void what_a_dead_worker_may_have_shown_is_named_too(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    strcpy(shown_as[0], any_flying(w)->collapse_id);
    crash(w);
    read_all(w, 0, 0);
    bool named = false;
    for (int i = 0; i < 10; i++) {
        pass(w, 1000);
        while (any_flying(w)) {
            named |= withdraws(w, shown_as[0]);
            answer_with(w, any_flying(w), &done);
            pass(w, 0);
        }
    }
    assert_true(named);
    assert_int_equal(entries(), 0);
}

static void nor_is_it_forgotten_where_it_is_muted_by_now(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    crash(w);
    db_do("INSERT INTO xs.mute SELECT owner, 1, NULL, 1 FROM xs.account"
          " WHERE jid = 'user0@a.example'");
    let_settle(w);
    assert_int_equal(entries(), 0);
    assert_int_equal(shown_in_all(), 1);
}

static void an_entry_stays_until_what_it_has_shown_is_stored(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    message(w, 0, 0);
    pass(w, 600);
    db_do("ALTER TABLE xs.shown ADD CONSTRAINT full_disk CHECK (false) NOT VALID");
    answer_with(w, any_flying(w), &done);
    outbox_run(w->outbox);
    db_loop(w->base, is_refused, w);
    assert_int_equal(entries(), 1);
    assert_int_equal(shown_in_all(), 0);
    db_do("ALTER TABLE xs.shown DROP CONSTRAINT full_disk");
    pass(w, 2000);
    assert_int_equal(shown_in_all(), 1);
    assert_int_equal(entries(), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log WHERE status = 200"), 1);
}

static void the_icon_need_not_change_for_it(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    /* Muted after it was shown, so it has left the icon before it is read. */
    db_do("INSERT INTO xs.mute SELECT owner, 1, NULL, 1 FROM xs.account"
          " WHERE jid = 'user0@a.example'");
    db_do("UPDATE xs.device SET badge_sent = 1");
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_int_equal(any_flying(w)->badge, 1);
    assert_true(withdraws(w, shown_as[0]));
    accept_all(w);
    /* One that is muted and still unread is no reason to keep the others, nor to go. */
    db_do("DELETE FROM xs.mute");
    show(w, 0, 0);
    db_do("INSERT INTO xs.mute SELECT owner, 1, NULL, 1 FROM xs.account"
          " WHERE jid = 'user0@a.example'");
    read_all(w, 0, 1);
    pass(w, 2100);
    assert_int_equal(any_flying(w)->badge, 0);
    assert_true(withdraws(w, shown_as[1]));
    assert_false(withdraws(w, shown_as[0]));
    assert_false(withdraws(w, "all"));
    accept_all(w);
    assert_int_equal(shown_in_all(), 1);
}

static void who_has_read_knows_by_itself(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    w->answer = OUTBOX_SKIP;
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_int_equal(w->gateway.n, 0);
    assert_int_equal(shown_in_all(), 1);
    w->answer = OUTBOX_NOW;
    read_all(w, 0, 1);
    pass(w, 2100);
    assert_true(withdraws(w, "all"));
    accept_all(w);
}

static void an_account_beside_it_keeps_its_notifications(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    enroll(1, 0);
    show(w, 1, 1);
    show(w, 0, 0);
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_true(withdraws(w, shown_as[0]));
    assert_false(withdraws(w, shown_as[1]));
    accept_all(w);
    show(w, 0, 0);
    read_all(w, 1, 1);
    pass(w, 2100);
    assert_true(withdraws(w, shown_as[1]));
    accept_all(w);
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_true(withdraws(w, "all"));
    accept_all(w);
    /* What leaves with the account is nobody's any more. */
    show(w, 1, 1);
    db_do("DELETE FROM xs.registration");
    assert_int_equal(shown_in_all(), 0);
}

static void as_many_as_fit_are_named_and_the_rest_with_the_next(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    db_do("INSERT INTO xs.shown SELECT owner, device, 1000 + n FROM xs.registration,"
          " generate_series(1, 99) n");
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_true(withdraws(w, shown_as[0]));
    accept_all(w);
    assert_int_equal(shown_in_all(), 101 - 64);
    message(w, 0, 0);
    pass(w, 600);
    accept_all(w);
    read_all(w, 0, 0);
    pass(w, 2100);
    accept_all(w);
    assert_int_equal(shown_in_all(), 1);
}

static void an_app_that_takes_nothing_back_is_told_nothing(void **state)
{
    struct world *w = *state;
    enroll(0, 0);
    show(w, 0, 0);
    show(w, 0, 1);
    assert_int_equal(shown_in_all(), 0);
    read_all(w, 0, 0);
    pass(w, 2100);
    assert_string_equal(any_flying(w)->payload, "{\"aps\":{\"badge\":1}}");
    accept_all(w);
}

static void read_everything(struct world *w)
{
    for (int owner = 0; owner < OWNERS; owner++)
        for (int peer = 0; peer < PEERS; peer++)
            read_all(w, owner, peer);
}

static void random_step(struct world *w, uint64_t *seed)
{
    int owner = (int)rnd(seed, OWNERS);
    int peer = (int)rnd(seed, PEERS);
    w->step++;
    switch (rnd(seed, 21)) {
    case 18: /* the clock is set, here and not in the database */
        if (rnd(seed, 3) == 0)
            w->real_us += (rnd(seed, 2) ? 1 : -1) * (int64_t)rnd(seed, 3600) * 1000000;
        break;
    case 19:
        outbox_pause(w->outbox, rnd(seed, 3) == 0);
        break;
    case 20:
        w->gateway.room = w->gateway.n + rnd(seed, 4);
        outbox_room(w->outbox, &w->gateway);
        break;
    case 16: /* what comes now waits in the database; or there is room for it again */
    case 17:
        w->outbox->memory_max = rnd(seed, 3) == 0 ? 0 : 100;
        break;
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        batch(w, owner, peer, 1 + (int)rnd(seed, 3), 0,
              (enum fate)(rnd(seed, 8) == 0 ? 1 + rnd(seed, 2) : 0));
        break;
    case 5: /* everything, which brings the count back to what it was before */
        read_everything(w);
        break;
    case 6:
        read_all(w, owner, peer);
        break;
    case 7:
        if (unread(owner, peer) > 0)
            batch(w, owner, peer, 0, 1, COMMIT);
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        random_verdict(w, seed);
        break;
    case 12:
        w->answer = (enum outbox_answer[]){OUTBOX_NOW, OUTBOX_WAIT, OUTBOX_SKIP}[rnd(seed, 3)];
        w->again_ms = 1000;
        break;
    case 13:
        if (rnd(seed, 4) == 0) {
            if (rnd(seed, 2))
                crash(w);
            else
                crash_after_arrival(w);
        } else if (rnd(seed, 8) == 0) {
            db_end_sessions();
            db_loop(w->base, all_down, w);
            db_loop(w->base, all_up, w);
        }
        break;
    default:
        pass(w, rnd(seed, 3000));
        break;
    }
    if (rnd(seed, 3) != 0)
        pass(w, 0);
}

static void check_end(struct world *w, uint64_t seed)
{
    char sql[256];
    if (entries() != 0)
        fail_msg("seed %llu: %lld entries left", (unsigned long long)seed, entries());
    for (int d = 0; d < DEVICES; d++) {
        snprintf(sql, sizeof sql, "SELECT badge FROM xs.device_badge('%02x%030d')", d, 0);
        int total = (int)db_int(sql);
        snprintf(sql, sizeof sql,
                 "SELECT badge_sent FROM xs.device WHERE device = '%02x%030d'", d, 0);
        int sent = (int)db_int(sql);
        if ((sent != -1 && sent != total) ||
            (!w->phones[d].knows && w->phones[d].badge != total))
            fail_msg("seed %llu device %d: unread %d, badge %d, phone %d",
                     (unsigned long long)seed, d, total, sent, w->phones[d].badge);
    }
    for (int o = 0; o < OWNERS; o++)
        for (int p = 0; p < PEERS; p++)
            for (int d = 0; d < DEVICES; d++) {
                snprintf(sql, sizeof sql,
                         "SELECT count(*) FROM xs.registration WHERE owner = '%02x%030d'"
                         " AND device = '%02x%030d'",
                         o + 1, 0, d, 0);
                if (db_int(sql) && unread(o, p) > 0 &&
                    w->settled_at[o][p][d] < w->message_at[o][p])
                    fail_msg("seed %llu: a message of owner %d, peer %d never reached %d",
                             (unsigned long long)seed, o, p, d);
            }
}

/* A story ends here and there: what went wrong in it is seldom mended by what comes next. */
static void come_to_rest(struct world *w, uint64_t seed)
{
    w->answer = OUTBOX_NOW;
    w->outbox->memory_max = 100;
    w->gateway.room = 10;
    outbox_pause(w->outbox, false);
    for (int i = 0; i < 100 && (entries() > 0 || w->gateway.n > 0); i++) {
        pass(w, 31000);
        accept_all(w);
        db_do("UPDATE xs.outbox SET due = now() WHERE state = 2");
    }
    check_end(w, seed);
}

static void run_property(struct world *w, uint64_t seed)
{
    uint64_t state = seed;
    enroll(0, 0);
    enroll(0, 1);
    enroll(1, 1);
    enroll(1, 2);
    enroll(2, 3);
    enroll(2, 1);
    for (int chapter = 0; chapter < 10; chapter++) {
        for (unsigned steps = 1 + rnd(&state, 30); steps > 0; steps--)
            random_step(w, &state);
        if (rnd(&state, 2))
            read_everything(w);
        come_to_rest(w, seed);
    }
}

static void whatever_happens_every_due_push_is_answered_and_every_icon_is_right(void **state)
{
    const char *from = getenv("SIDECAR_TEST_SEED");
    uint64_t seed = from ? strtoull(from, NULL, 10) : 1;
    const char *many = getenv("SIDECAR_TEST_ROUNDS");
    for (int n = many ? atoi(many) : 3; n > 0; n--, seed++) {
        run_property(*state, seed);
        if (n > 1) {
            stop(state);
            start(state);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define WITHDRAWING(name)                                                                     \
    cmocka_unit_test_setup_teardown(name, start_withdrawing, stop_withdrawing)

#define CALL_CASE(name) cmocka_unit_test_setup_teardown(name, start_calls, stop_calls)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CALL_CASE(a_call_is_pushed_at_once_and_lives_for_seconds),
        CALL_CASE(an_app_that_does_not_ask_for_calls_is_told_of_none),
        CALL_CASE(a_call_that_is_over_before_it_was_pushed_is_not),
        CALL_CASE(a_call_never_rings_late),
        CALL_CASE(a_call_goes_to_the_token_for_calls),
        cmocka_unit_test_setup_teardown(
            a_token_for_calls_says_nothing_of_the_devices_environment, start_calls,
            stop_sandbox_calls),
        CALL_CASE(where_the_token_for_calls_is_refused_an_alert_tells_of_it),
        CALL_CASE(a_token_for_calls_that_was_renewed_since_stays),
        CALL_CASE(nobody_rings_who_is_muted_and_nothing_rings_in_quiet_hours),
        CALL_CASE(a_call_shows_no_more_than_a_message),
        CALL_CASE(who_calls_without_end_is_not_heard_without_end),
        CALL_CASE(calls_are_forgotten_after_an_hour),
        CALL_CASE(the_next_worker_goes_on_with_a_call),
        CALL_CASE(an_app_that_is_woken_in_the_background_makes_its_own_badge),
        cmocka_unit_test(a_call_is_a_number_that_is_no_conversation),
        CASE(a_message_becomes_one_push_with_the_badge_of_that_moment),
        CASE(every_decision_is_kept_for_who_asks_why),
        CASE(the_way_to_the_commit_is_part_of_the_wait),
        CASE(a_contact_is_called_as_the_account_calls_it),
        CASE(nobody_registered_means_no_entry),
        CASE(a_transaction_that_is_rolled_back_pushes_nothing),
        CASE(what_is_read_within_settle_is_not_pushed),
        CASE(muted_conversations_are_neither_pushed_nor_counted),
        CASE(in_quiet_hours_the_badge_changes_without_an_alert),
        CASE(an_account_lowers_what_is_shown_and_never_raises_it),
        CASE(muted_conversations_are_on_the_icon_of_who_wants_them),
        CASE(a_test_is_an_alert_about_nothing),
        CASE(an_icon_may_count_conversations),
        CASE(the_worker_writes_down_what_its_apps_count),
        CASE(a_read_sends_one_silent_badge_two_seconds_later),
        CASE(a_message_during_the_flight_is_pushed_after_it),
        CASE(a_message_that_is_not_committed_when_the_answer_is_stored_is_pushed),
        CASE(a_batch_and_what_ends_wait_for_each_other_one_way),
        CASE(an_answer_that_is_long_in_storing_holds_up_no_other_push),
        CASE(what_is_sent_is_what_an_icon_is_compared_with),
        CASE(a_read_during_the_flight_corrects_the_badge_after_it),
        CASE(an_icon_is_told_again_when_the_answer_was_lost),
        CASE(an_icon_is_told_again_when_a_worker_has_died_with_its_push),
        CASE(a_device_that_has_read_is_told_after_what_was_on_its_way),
        CASE(a_publish_during_the_flight_corrects_the_badge_after_it),
        CASE(two_accounts_on_one_phone_are_summed_and_never_in_flight_together),
        CASE(a_device_that_was_there_is_skipped_but_not_for_what_came_later),
        CASE(a_retry_backs_off_keeps_its_id_and_survives_in_the_database),
        CASE(a_message_that_got_too_old_changes_the_badge_only),
        CASE(an_older_message_that_comes_later_takes_no_alert_away),
        CASE(a_parked_push_says_why_and_a_new_message_wakes_it),
        CASE(a_gone_device_goes_and_one_registered_since_stays),
        CASE(a_wave_of_rejections_never_deletes_the_fleet),
        CASE(what_the_brake_has_parked_comes_back_slowly),
        cmocka_unit_test_setup_teardown(a_token_of_the_other_environment_is_found_once, start,
                                        close_sandbox),
        cmocka_unit_test_setup_teardown(
            a_token_that_no_environment_knows_is_handled_as_with_one, start, close_sandbox),
        cmocka_unit_test_setup_teardown(a_token_that_was_found_elsewhere_is_not_taken_back,
                                        start, close_sandbox),
        cmocka_unit_test_setup_teardown(trouble_of_the_other_environment_is_not_the_apps,
                                        start, close_sandbox),
        cmocka_unit_test_setup_teardown(
            only_the_same_topic_for_the_same_users_is_another_environment, start,
            close_sandbox),
        CASE(a_sealed_token_is_opened_for_its_push),
        CASE(without_its_key_a_push_waits_and_with_it_goes_on),
        CASE(without_its_key_a_push_is_parked_at_last),
        CASE(a_damaged_token_parks_its_push),
        CASE(the_next_worker_tries_one_of_what_was_parked),
        CASE(what_is_parked_for_another_reason_stays),
        CASE(no_index_holds_what_a_further_message_changes),
        CASE(a_rejected_device_goes_only_while_others_are_accepted),
        CASE(devices_that_are_gone_are_no_rejections),
        CASE(a_held_device_gets_nothing_until_its_time),
        CASE(a_stopped_app_waits_and_goes_on_when_there_is_room_again),
        CASE(a_worker_that_died_is_succeeded_at_once_with_the_same_ids),
        CASE(what_a_dead_worker_takes_up_at_the_last_moment_is_not_left),
        CASE(nor_when_the_answer_to_our_claim_was_lost),
        CASE(an_orderly_end_waits_for_answers_and_begins_nothing),
        CASE(after_an_orderly_end_no_icon_is_told_for_nothing),
        CASE(an_entry_whose_answer_was_lost_is_found_again),
        CASE(an_outcome_that_comes_before_its_answers_is_heard),
        CASE(lost_connections_delay_pushes_but_lose_none),
        CASE(a_push_that_cannot_be_read_stops_no_other),
        CASE(a_lost_connection_for_reading_is_replaced_by_the_other),
        CASE(more_entries_than_memory_wait_in_the_database),
        CASE(what_is_loaded_is_written_once_to_end_it),
        CASE(a_round_that_comes_soon_reads_nothing_twice),
        CASE(what_found_no_room_is_loaded_soon_after_a_pass),
        CASE(what_is_loaded_and_stays_gets_its_workers_name),
        CASE(what_is_added_to_a_loaded_entry_is_decided_by_itself),
        CASE(what_is_dropped_after_it_was_loaded_is_not_pushed),
        CASE(only_one_worker_loads),
        CASE(what_a_round_is_asked_for_too_late_comes_soon_after_it),
        CASE(old_lines_of_the_log_are_forgotten),
        CASE(a_sign_of_trouble_asks_again_at_once),
        WITHDRAWING(what_was_read_elsewhere_is_named_to_who_was_shown_it),
        WITHDRAWING(what_is_named_is_read_to_its_end),
        WITHDRAWING(a_list_is_told_again_until_the_service_has_it),
        WITHDRAWING(what_may_have_been_shown_is_named_too),
        WITHDRAWING(what_a_dead_worker_may_have_shown_is_named_too),
        WITHDRAWING(nor_is_it_forgotten_where_it_is_muted_by_now),
        WITHDRAWING(an_entry_stays_until_what_it_has_shown_is_stored),
        WITHDRAWING(the_icon_need_not_change_for_it),
        WITHDRAWING(who_has_read_knows_by_itself),
        WITHDRAWING(an_account_beside_it_keeps_its_notifications),
        WITHDRAWING(as_many_as_fit_are_named_and_the_rest_with_the_next),
        CASE(an_app_that_takes_nothing_back_is_told_nothing),
        CASE(whatever_happens_every_due_push_is_answered_and_every_icon_is_right),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
