// SPDX-License-Identifier: Apache-2.0
#include "apns/devices.h"

#include "database.h"

#include "apns/opts.h"
#include "apns/token_keys.h"
#include "store/pg.h"

#define TOKEN_A "aa112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TOKEN_B "bb112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const uint8_t juliet[16] = {0x10, 0, 0, 0, 0, 0, 0x80, 0, 0x80};
static const uint8_t romeo[16] = {0x21, 0, 0, 0, 0, 0, 0x80, 0, 0x80};

struct world {
    struct event_base *base;
    struct pg_pool *pool;
    struct token_keys *tokens;
    struct devices *devices;
    unsigned answers;
    unsigned want;
    enum pg_failure failure;
    struct device_registered registered;
    unsigned removed;
    struct device_row rows[32];
    size_t rows_n;
    char found[64]; /* "account/resource", "" for none */
};

static bool pool_up(void *ctx)
{
    return pg_pool_is_up(((struct world *)ctx)->pool);
}

static bool answered(void *ctx)
{
    struct world *w = ctx;
    return w->answers >= w->want;
}

static int start(void **state)
{
    static const uint8_t key[DEVICES_KEY_BYTES] = {7};
    db_fresh();
    struct world *w = calloc(1, sizeof *w);
    w->base = event_base_new();
    struct pg_opts opts = {.url = db_url(), .name = "devices", .statement_timeout_ms = 60000};
    w->pool = pg_pool_new(w->base, &opts, 2);
    w->tokens = token_keys_new(NULL);
    w->devices = devices_new(w->pool, key, w->tokens, 3);
    db_loop(w->base, pool_up, w);
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    devices_free(&w->devices);
    token_keys_free(&w->tokens);
    pg_pool_free(&w->pool);
    event_base_free(w->base);
    free(w);
    return 0;
}

static void wait_answer(struct world *w)
{
    w->want = w->answers + 1;
    db_loop(w->base, answered, w);
}

static void on_registered(void *ctx, const struct device_registered *r,
                          const struct pg_error *e)
{
    struct world *w = ctx;
    w->answers++;
    w->failure = e->failure;
    if (r)
        w->registered = *r;
}

static struct device_registered enroll(struct world *w, const uint8_t *owner,
                                       const char *account, enum device_dialect dialect,
                                       const char *token, const char *client)
{
    struct device_registration r = {
        {owner, "chat", token, client}, account, "phone", dialect, NULL, false, NULL};
    devices_register(w->devices, &r, on_registered, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
    return w->registered;
}

static void on_removed(void *ctx, unsigned removed, const struct pg_error *e)
{
    struct world *w = ctx;
    w->answers++;
    w->failure = e->failure;
    w->removed = removed;
}

static unsigned leave(struct world *w, const uint8_t *owner, const char *token,
                      const char *client)
{
    struct device_key key = {owner, "chat", token, client};
    devices_unregister(w->devices, &key, on_removed, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
    return w->removed;
}

static void on_list(void *ctx, const struct device_row *rows, size_t n,
                    const struct pg_error *e)
{
    struct world *w = ctx;
    w->answers++;
    w->failure = e->failure;
    w->rows_n = n;
    if (n > 0)
        memcpy(w->rows, rows, n * sizeof *rows);
}

static size_t list(struct world *w, const uint8_t *owner)
{
    devices_list(w->devices, owner, on_list, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
    return w->rows_n;
}

static void a_registration_makes_account_device_and_an_unguessable_node(void **state)
{
    struct world *w = *state;
    struct device_registered r =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_true(r.fresh);
    assert_int_equal(strlen(r.node), 24); /* 18 random bytes */
    assert_string_equal(r.secret, "");
    assert_int_equal(db_int("SELECT count(*) FROM xs.account WHERE proven"), 1);
    assert_string_equal(db_ask("SELECT jid FROM xs.account"), "juliet@a.example");
    assert_string_equal(db_ask("SELECT token FROM xs.device"), TOKEN_A);

    struct device_registered again =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_false(again.fresh);
    assert_string_equal(again.node, r.node);
    assert_int_equal(list(w, juliet), 1);
    assert_int_equal(list(w, romeo), 0);
}

static void on_opened(void *ctx, unsigned opened, const struct pg_error *e)
{
    on_removed(ctx, opened, e);
}

static unsigned open_app(struct world *w, const uint8_t *owner, const char *node)
{
    devices_opened(w->devices, owner, node, on_opened, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
    return w->removed;
}

static void let_all_lanes_stand_at(int id)
{
    char sql[64];
    snprintf(sql, sizeof sql, "UPDATE xs.lane SET last_id = %d", id);
    db_do(sql);
}

static void an_app_is_opened_when_it_registers_and_when_it_says_so(void **state)
{
    struct world *w = *state;
    let_all_lanes_stand_at(1000);
    struct device_registered r =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    enroll(w, romeo, "romeo@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_int_equal(db_int("SELECT min(opened_id) FROM xs.registration"), 1000);
    let_all_lanes_stand_at(2000);
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_int_equal(db_int("SELECT max(opened_id) FROM xs.registration"), 2000);
    assert_int_equal(db_int("SELECT min(opened_id) FROM xs.registration"), 1000);
    let_all_lanes_stand_at(3000);
    assert_int_equal(open_app(w, romeo, r.node), 0);
    assert_int_equal(open_app(w, juliet, "another"), 0);
    assert_int_equal(db_int("SELECT max(opened_id) FROM xs.registration"), 2000);
    assert_int_equal(open_app(w, juliet, r.node), 1);
    assert_int_equal(db_int("SELECT max(opened_id) FROM xs.registration"), 3000);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox"), 0); /* nobody counts so */
    /* A publish that names a token is no app that was opened. */
    enroll(w, juliet, "juliet@a.example", DEVICE_STATELESS, TOKEN_B, NULL);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration WHERE opened_id = 0"), 1);
}

#define OPENED_BADGE "SELECT xs.opened_badge(device) FROM xs.device"

/* Three conversations: read before the place, after it, and not at all. */
static void what_came_since_is_counted_by_positions_and_up_to_a_thousand(void **state)
{
    struct world *w = *state;
    let_all_lanes_stand_at(100);
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    db_do("SELECT xs.ensure_partition(timestamptz '2020-01-15 00:00:00+00')");
    db_do(
        "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, read_id, unread)"
        " SELECT a.owner, c.peer, 'p' || c.peer || '@b.example', 1, 2000, c.read_id, c.unread"
        " FROM xs.account a, (VALUES (1, 50, 60), (2, 105, 5), (3, 0, 9)) c"
        " (peer, read_id, unread)");
    db_do("UPDATE xs.conversation SET last_id = 90 WHERE peer = 3");
    db_do("INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
          " SELECT a.owner, n, 1, a.owner, 1, n % 2, '' FROM xs.account a,"
          " generate_series(51, 170) n");
    db_do("UPDATE xs.account SET unread = 74, unread_conversations = 3");
    assert_int_equal(db_int(OPENED_BADGE), 35 + 5);
    /* Muted is muted, unless the account wants it on the icon. */
    db_do("INSERT INTO xs.mute SELECT owner, 2, NULL, 1 FROM xs.account");
    assert_int_equal(db_int(OPENED_BADGE), 35);
    db_do("INSERT INTO xs.push_settings (owner, muted_in_badge) SELECT owner, true"
          " FROM xs.account");
    assert_int_equal(db_int(OPENED_BADGE), 40);
    db_do("INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
          " SELECT a.owner, n, 1, a.owner, 1, 1, '' FROM xs.account a,"
          " generate_series(200, 1400) n");
    assert_int_equal(db_int(OPENED_BADGE), 1000);
    db_do("UPDATE xs.account SET unread = 0, unread_conversations = 0");
    assert_int_equal(db_int(OPENED_BADGE), 0);
    /* The icon of an app that counts so is this, whoever asks. */
    db_do("UPDATE xs.account SET unread = 74, unread_conversations = 3");
    db_do("INSERT INTO xs.app (app, badge) VALUES ('chat', 2)");
    assert_int_equal(db_int("SELECT b.badge + m.badge FROM xs.device d,"
                            " xs.device_badge(d.device) b, xs.device_muted(d.device) m"),
                     1000);
    let_all_lanes_stand_at(5000);
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_int_equal(db_int(OPENED_BADGE), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 0"), 0);
    db_do("UPDATE xs.device SET badge_sent = 7");
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 0"), 1);
}

/* As the worker starts with a key file. */
static void use_token_key(struct world *w)
{
    static const uint8_t key[DEVICES_KEY_BYTES] = {7};
    static const uint8_t secret[1][TOKEN_KEY_BYTES] = {{9}};
    const struct token_key_opts opts = {.keys = secret, .n = 1};
    devices_free(&w->devices);
    token_keys_free(&w->tokens);
    w->tokens = token_keys_new(&opts);
    w->devices = devices_new(w->pool, key, w->tokens, 3);
}

static void with_a_key_a_token_is_found_again_but_nowhere_to_be_read(void **state)
{
    struct world *w = *state;
    struct device_registered before =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    use_token_key(w);
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_B, NULL);
    struct device_registered after =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_string_equal(after.node, before.node);
    assert_int_equal(list(w, juliet), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device WHERE token IS NULL"), 2);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.device d WHERE strpos(d::text, 'ccddeeff')"
               " > 0 OR position('ccddeeff' IN encode(sealed, 'escape')) > 0"),
        0);
    PGresult *r = PQexecParams(db, "SELECT sealed_by::text, device, sealed FROM xs.device", 0,
                               NULL, NULL, NULL, NULL, 1);
    for (int i = 0; i < 2; i++) {
        char token[DEVICE_TOKEN_MAX + 1];
        uint8_t id[16];
        assert_true(token_keys_open(
            w->tokens, atoi(PQgetvalue(r, i, 0)), (const uint8_t *)PQgetvalue(r, i, 1),
            (const uint8_t *)PQgetvalue(r, i, 2), (size_t)PQgetlength(r, i, 2), token));
        devices_id(w->devices, "chat", token, id);
        assert_memory_equal(id, PQgetvalue(r, i, 1), 16);
    }
    PQclear(r);
    assert_int_equal(leave(w, juliet, TOKEN_B, NULL), 1);
    assert_int_equal(list(w, juliet), 1);
}

static void a_client_with_a_new_token_keeps_node_secret_and_what_is_queued(void **state)
{
    struct world *w = *state;
    struct device_registered r =
        enroll(w, juliet, "juliet@a.example", DEVICE_P2, TOKEN_A, "phone-1");
    assert_int_equal(strlen(r.node), 12);
    assert_int_equal(strlen(r.secret), 24);
    db_do("INSERT INTO xs.outbox SELECT owner, device, 5, 1, 1, now(), 1, now(),"
          " '00000000-0000-0000-0000-000000000001' FROM xs.registration");

    struct device_registered again =
        enroll(w, juliet, "juliet@a.example", DEVICE_P2, TOKEN_B, "phone-1");
    assert_false(again.fresh);
    assert_string_equal(again.node, r.node);
    assert_string_equal(again.secret, r.secret);
    assert_int_equal(list(w, juliet), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 1);
    assert_string_equal(db_ask("SELECT token FROM xs.device"), TOKEN_B);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox JOIN xs.registration"
                            " USING (owner, device) WHERE peer = 5 AND state = 2"),
                     1);
    /* Somebody else's phone with the same name for itself is another one. */
    struct device_registered other =
        enroll(w, romeo, "romeo@a.example", DEVICE_P2, TOKEN_A, "phone-1");
    assert_true(other.fresh);
    assert_string_not_equal(other.node, r.node);
    assert_int_equal(leave(w, juliet, NULL, "phone-1"), 1);
    assert_int_equal(leave(w, juliet, NULL, "phone-1"), 0);
    assert_int_equal(list(w, romeo), 1);
}

/* It is the same phone: its icon, its notifications, and what its account's server has told.
 */
static void a_client_with_a_new_token_shows_what_it_has_shown(void **state)
{
    struct world *w = *state;
    enroll(w, juliet, "juliet@a.example", DEVICE_P2, TOKEN_A, "phone-1");
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), 0);
    db_do("UPDATE xs.device SET badge_sent = 5");
    db_do("UPDATE xs.registration SET published = 5, published_text = true");
    db_do("INSERT INTO xs.published SELECT owner, device, 5, 'x@y', 'hi', false, 5, now()"
          " FROM xs.registration");
    db_do("INSERT INTO xs.shown SELECT owner, device, 5 FROM xs.registration");
    /* Parked: one because the token was rejected, one for its own sake. */
    db_do("INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, due,"
          "   attempts, reason, braked)"
          " SELECT owner, device, n, 1, 1, now(), 3, now() + interval '1 day', 4, 'why', n = 6"
          " FROM xs.registration, generate_series(5, 6) n");
    enroll(w, juliet, "juliet@a.example", DEVICE_P2, TOKEN_B, "phone-1");
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device"), -1);
    assert_int_equal(db_int("SELECT badge FROM xs.device d, xs.device_badge(d.device)"), 5);
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration r JOIN xs.published p"
                            " USING (owner, device) WHERE r.published_text"),
                     1);
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.registration JOIN xs.shown USING (owner, device)"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox JOIN xs.registration"
                            " USING (owner, device) WHERE peer = 5 AND state = 3"
                            " AND due > now() + interval '23 hours' AND reason = 'why'"),
                     1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox JOIN xs.registration"
                            " USING (owner, device) WHERE peer = 6 AND state = 2"
                            " AND due <= now() AND attempts = 0"),
                     1);
    /* Another phone has shown nothing. */
    enroll(w, romeo, "romeo@a.example", DEVICE_P2, TOKEN_A, "phone-2");
    assert_int_equal(db_int("SELECT badge_sent FROM xs.device WHERE token = '" TOKEN_A "'"),
                     0);
}

static void two_accounts_on_one_phone_share_the_device_and_leave_it_one_by_one(void **state)
{
    struct world *w = *state;
    struct device_registered a =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    struct device_registered b =
        enroll(w, romeo, "romeo@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_true(b.fresh);
    assert_string_not_equal(a.node, b.node);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 1);
    db_do("UPDATE xs.account SET unread = 3 WHERE jid LIKE 'juliet%'");
    db_do("UPDATE xs.account SET unread = 4 WHERE jid LIKE 'romeo%'");
    assert_int_equal(db_int("SELECT badge FROM xs.device d, xs.device_badge(d.device)"), 7);
    db_do("INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id, unread)"
          " SELECT owner, 9, 'x@y', 1, 1, 2 FROM xs.account WHERE jid LIKE 'romeo%'");
    db_do("INSERT INTO xs.mute SELECT owner, 9, now() + interval '1 hour', 1 FROM xs.account");
    assert_int_equal(db_int("SELECT badge FROM xs.device d, xs.device_badge(d.device)"), 5);
    db_do("UPDATE xs.mute SET until = now() - interval '1 hour'");
    assert_int_equal(db_int("SELECT badge FROM xs.device d, xs.device_badge(d.device)"), 7);

    assert_int_equal(leave(w, romeo, TOKEN_A, NULL), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 1);
    assert_int_equal(db_int("SELECT badge FROM xs.device d, xs.device_badge(d.device)"), 3);
    /* The one that stays hears of the smaller sum. */
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox JOIN xs.account USING (owner)"
                            " WHERE peer = 0 AND jid LIKE 'juliet%'"),
                     1);
    assert_int_equal(leave(w, romeo, TOKEN_A, NULL), 0);
    assert_int_equal(leave(w, juliet, TOKEN_A, NULL), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox"), 0);
}

static void who_stays_on_a_phone_is_told_whatever_waits_for_it(void **state)
{
    struct world *w = *state;
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    enroll(w, romeo, "romeo@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    /* One is on its way with the sum of before. */
    db_do("INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, due,"
          " lease_by) SELECT owner, device, 0, 5, 0, now(), 1, now(), gen_random_uuid()"
          " FROM xs.registration JOIN xs.account USING (owner) WHERE jid LIKE 'juliet%'");
    assert_int_equal(leave(w, romeo, TOKEN_A, NULL), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE gen > 5 AND state = 1"), 1);
    /* One was given up. */
    db_do("UPDATE xs.outbox SET state = 3, due = now() + interval '1 day', reason = 'x'");
    enroll(w, romeo, "romeo@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    assert_int_equal(leave(w, romeo, TOKEN_A, NULL), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE state = 2"
                            " AND due <= now() AND reason IS NULL"),
                     1);
}

static struct device_registered enroll_alone(struct world *w, const uint8_t *owner,
                                             const char *account, const char *token)
{
    struct device_registration r = {
        {owner, "chat", token, NULL}, account, "phone", DEVICE_TIGASE, NULL, true, NULL};
    devices_register(w->devices, &r, on_registered, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
    return w->registered;
}

static void an_account_that_is_alone_on_its_phone_ends_the_one_before(void **state)
{
    struct world *w = *state;
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_B, NULL);
    db_do("UPDATE xs.account SET unread = 3 WHERE jid LIKE 'juliet%'");
    db_do("INSERT INTO xs.outbox SELECT owner, device, 5, 1, 1, now(), 1, now(),"
          " gen_random_uuid(), 0, NULL FROM xs.registration");

    struct device_registered r = enroll_alone(w, romeo, "romeo@a.example", TOKEN_A);
    assert_true(r.fresh);
    assert_int_equal(r.ended, 1);
    assert_int_equal(list(w, romeo), 1);
    assert_int_equal(db_int("SELECT badge FROM xs.device d, xs.device_badge(d.device)"
                            " WHERE token LIKE 'aa%'"),
                     0);
    /* Her other phone and what is queued for it stay, of this one nothing. */
    assert_int_equal(list(w, juliet), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox JOIN xs.device USING (device)"
                            " WHERE peer = 5 AND token LIKE 'bb%'"),
                     1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 5"), 1);
    /* The icon is to be his. */
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox o JOIN xs.account USING (owner)"
                            " WHERE peer = 0 AND state = 2 AND jid LIKE 'romeo%'"),
                     1);

    struct device_registered again = enroll_alone(w, romeo, "romeo@a.example", TOKEN_A);
    assert_false(again.fresh);
    assert_int_equal(again.ended, 0);
    assert_string_equal(again.node, r.node);
}

static void what_a_publish_has_registered_is_nobodys_login(void **state)
{
    struct world *w = *state;
    enroll(w, juliet, "juliet@a.example", DEVICE_STATELESS, TOKEN_A, NULL);
    assert_int_equal(enroll_alone(w, romeo, "romeo@a.example", TOKEN_A).ended, 0);
    assert_int_equal(list(w, juliet), 1);
    assert_int_equal(list(w, romeo), 1);
}

static void the_oldest_devices_make_room_for_the_newest(void **state)
{
    struct world *w = *state;
    char token[65];
    for (int i = 0; i < 10; i++) {
        snprintf(token, sizeof token, "%064d", i);
        struct device_registered r =
            enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, token, NULL);
        assert_int_equal(r.evicted, i >= 3);
    }
    assert_int_equal(list(w, juliet), 3);
    assert_int_equal(db_int("SELECT count(*) FROM xs.device"), 3);
    assert_int_equal(db_int("SELECT min(token::numeric) FROM xs.device"), 7);
}

static void changing_the_dialect_changes_the_names(void **state)
{
    struct world *w = *state;
    struct device_registered a =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    struct device_registered b =
        enroll(w, juliet, "juliet@a.example", DEVICE_P2, TOKEN_A, "phone");
    assert_false(b.fresh);
    assert_string_not_equal(a.node, b.node);
    assert_int_equal(strlen(b.secret), 24);
    assert_int_equal(list(w, juliet), 1);
    assert_int_equal(w->rows[0].dialect, DEVICE_P2);
}

static const char *calls_of(const char *who)
{
    char sql[160];
    snprintf(sql, sizeof sql,
             "SELECT coalesce(voip_token, 'none') FROM xs.registration"
             " JOIN xs.account USING (owner) WHERE jid LIKE '%s@%%'",
             who);
    return db_ask(sql);
}

static void register_calls(struct world *w, const uint8_t *owner, const char *account,
                           const char *voip_token)
{
    struct device_registration r = {.key = {owner, "chat", TOKEN_A, NULL},
                                    .account = account,
                                    .resource = "phone",
                                    .dialect = DEVICE_TIGASE,
                                    .voip_token = voip_token};
    devices_register(w->devices, &r, on_registered, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
}

static void the_token_for_calls_is_the_one_said_last(void **state)
{
    struct world *w = *state;
    const char *const said[] = {NULL, TOKEN_B, "cafe", NULL};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        register_calls(w, juliet, "juliet@a.example", said[i]);
        assert_string_equal(calls_of("juliet"), said[i] ? said[i] : "none");
    }
}

static void nobody_says_where_another_accounts_calls_go(void **state)
{
    struct world *w = *state;
    register_calls(w, juliet, "juliet@a.example", "cafe");
    register_calls(w, romeo, "romeo@a.example", TOKEN_B);
    assert_string_equal(calls_of("juliet"), "cafe");
    assert_string_equal(calls_of("romeo"), TOKEN_B);
    register_calls(w, romeo, "romeo@a.example", NULL);
    assert_string_equal(calls_of("juliet"), "cafe");
    assert_string_equal(calls_of("romeo"), "none");
    register_calls(w, romeo, "romeo@a.example", TOKEN_B);
    assert_int_equal(leave(w, juliet, TOKEN_A, NULL), 1);
    assert_string_equal(calls_of("romeo"), TOKEN_B);
    register_calls(w, juliet, "juliet@a.example", NULL);
    assert_string_equal(calls_of("juliet"), "none");
}

static void a_gone_device_loses_only_registrations_of_before(void **state)
{
    struct world *w = *state;
    enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    enroll(w, romeo, "romeo@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    db_do("UPDATE xs.registration SET registered_at = now() - interval '1 day'"
          " WHERE owner = (SELECT owner FROM xs.account WHERE jid LIKE 'juliet%')");
    db_do("SELECT xs.device_drop(owner, device, 1, 1, 1, now() - interval '2 days', NULL, 410,"
          " 'Unregistered') FROM xs.registration LIMIT 1");
    assert_int_equal(db_int("SELECT count(*) FROM xs.registration"), 2);
    db_do("SELECT xs.device_drop(owner, device, 1, 1, 1, now() - interval '1 hour', NULL, 410,"
          " 'Unregistered') FROM xs.registration LIMIT 1");
    assert_string_equal(
        db_ask("SELECT jid FROM xs.registration JOIN xs.account USING (owner)"),
        "romeo@a.example");
    assert_int_equal(db_int("SELECT count(*) FROM xs.push_log WHERE status = 410"), 2);
}

static void on_found(void *ctx, const struct device_owner *o, const struct pg_error *e)
{
    struct world *w = ctx;
    w->answers++;
    w->failure = e->failure;
    w->found[0] = '\0';
    if (o)
        snprintf(w->found, sizeof w->found, "%s/%s", o->account, o->resource);
}

static const char *find(struct world *w, const char *node, const char *secret)
{
    devices_find(w->devices, node, secret, on_found, w);
    wait_answer(w);
    assert_int_equal(w->failure, PG_OK);
    return w->found;
}

static void a_publish_finds_its_registration_by_node_and_secret(void **state)
{
    struct world *w = *state;
    struct device_registered a =
        enroll(w, juliet, "juliet@a.example", DEVICE_TIGASE, TOKEN_A, NULL);
    struct device_registered b =
        enroll(w, romeo, "romeo@a.example", DEVICE_P2, TOKEN_B, "device-1");
    assert_string_equal(find(w, a.node, ""), "juliet@a.example/phone");
    assert_string_equal(find(w, a.node, "any"), "juliet@a.example/phone");
    assert_string_equal(find(w, b.node, b.secret), "romeo@a.example/phone");
    assert_string_equal(find(w, b.node, ""), "");
    assert_string_equal(find(w, b.node, a.node), "");
    assert_string_equal(find(w, "no such node", ""), "");
}

static void without_a_database_the_answer_is_lost_at_once(void **state)
{
    struct world *w = *state;
    struct device_registration r = {{juliet, "chat", TOKEN_A, NULL},
                                    "juliet@a.example",
                                    "phone",
                                    DEVICE_TIGASE,
                                    NULL,
                                    false,
                                    NULL};
    devices_register(w->devices, &r, on_registered, w);
    devices_list(w->devices, juliet, on_list, w);
    devices_find(w->devices, "node", "", on_found, w);
    devices_free(&w->devices);
    assert_int_equal(w->answers, 3);
    assert_int_equal(w->failure, PG_LOST);
}

static void accounts_with_the_same_node_are_told_apart_by_secret(void **state)
{
    struct world *w = *state;
    struct device_registered j =
        enroll(w, juliet, "juliet@a.example", DEVICE_APPSERVER, TOKEN_A, "id");
    struct device_registered r =
        enroll(w, romeo, "romeo@a.example", DEVICE_APPSERVER, TOKEN_A, "id");
    assert_string_equal(j.node, "id");
    assert_string_equal(r.node, "id");
    assert_string_not_equal(j.secret, r.secret);
    assert_string_equal(find(w, "id", j.secret), "juliet@a.example/phone");
    assert_string_equal(find(w, "id", r.secret), "romeo@a.example/phone");
    assert_string_equal(find(w, "id", ""), "");
    assert_string_equal(find(w, "id", "wrong"), "");
    /* An installation with another id has another node. */
    struct device_registered again =
        enroll(w, romeo, "romeo@a.example", DEVICE_APPSERVER, TOKEN_A, "id2");
    assert_string_equal(again.node, "id2");
    assert_string_equal(find(w, "id", r.secret), "");
    assert_string_equal(find(w, "id2", again.secret), "romeo@a.example/phone");
}

static void ids_are_keyed_and_apps_do_not_run_into_tokens(void **state)
{
    struct world *w = *state;
    uint8_t a[16], b[16];
    devices_id(w->devices, "chat", "12", a);
    devices_id(w->devices, "chat1", "2", b);
    assert_memory_not_equal(a, b, 16);
    devices_id(w->devices, "chat", "12", b);
    assert_memory_equal(a, b, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_app_is_opened_when_it_registers_and_when_it_says_so,
                                        start, stop),
        cmocka_unit_test_setup_teardown(
            what_came_since_is_counted_by_positions_and_up_to_a_thousand, start, stop),
        cmocka_unit_test_setup_teardown(
            a_registration_makes_account_device_and_an_unguessable_node, start, stop),
        cmocka_unit_test_setup_teardown(
            with_a_key_a_token_is_found_again_but_nowhere_to_be_read, start, stop),
        cmocka_unit_test_setup_teardown(
            a_client_with_a_new_token_keeps_node_secret_and_what_is_queued, start, stop),
        cmocka_unit_test_setup_teardown(a_client_with_a_new_token_shows_what_it_has_shown,
                                        start, stop),
        cmocka_unit_test_setup_teardown(
            two_accounts_on_one_phone_share_the_device_and_leave_it_one_by_one, start, stop),
        cmocka_unit_test_setup_teardown(who_stays_on_a_phone_is_told_whatever_waits_for_it,
                                        start, stop),
        cmocka_unit_test_setup_teardown(
            an_account_that_is_alone_on_its_phone_ends_the_one_before, start, stop),
        cmocka_unit_test_setup_teardown(what_a_publish_has_registered_is_nobodys_login, start,
                                        stop),
        cmocka_unit_test_setup_teardown(the_oldest_devices_make_room_for_the_newest, start,
                                        stop),
        cmocka_unit_test_setup_teardown(changing_the_dialect_changes_the_names, start, stop),
        cmocka_unit_test_setup_teardown(the_token_for_calls_is_the_one_said_last, start, stop),
        cmocka_unit_test_setup_teardown(nobody_says_where_another_accounts_calls_go, start,
                                        stop),
        cmocka_unit_test_setup_teardown(a_gone_device_loses_only_registrations_of_before,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_publish_finds_its_registration_by_node_and_secret,
                                        start, stop),
        cmocka_unit_test_setup_teardown(accounts_with_the_same_node_are_told_apart_by_secret,
                                        start, stop),
        cmocka_unit_test_setup_teardown(without_a_database_the_answer_is_lost_at_once, start,
                                        stop),
        cmocka_unit_test_setup_teardown(ids_are_keyed_and_apps_do_not_run_into_tokens, start,
                                        stop),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
