// SPDX-License-Identifier: Apache-2.0
#include "apns/provider_token.h"

#include "database.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "apns/jwt.h"
#include "base/clock.h"
#include "store/pg.h"

#define START_S INT64_C(1760000000)
#define MINUTE_S 60

/* A worker, as far as its provider tokens go. */
struct process {
    struct pg_pool *pool;
    struct provider_tokens *tokens;
    struct provider_token *token;
    struct provider_listener listener;
    unsigned told;
};

static struct {
    struct event_base *base;
    int64_t now_s;
    struct process first, second;
    char key_pem[1024], other_pem[1024];
} w;

static void write_key(char out[1024])
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    int n = BIO_read(bio, out, 1023);
    assert_true(n > 0);
    out[n] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static void pass(int64_t seconds)
{
    w.now_s += seconds;
    clock_fake((w.now_s - START_S) * 1000 + 1000000000, w.now_s * 1000000);
}

static bool is_up(void *ctx)
{
    return pg_pool_is_up(ctx);
}

static bool is_down(void *ctx)
{
    return !pg_pool_is_up(ctx);
}

static void on_change(void *ctx)
{
    ((struct process *)ctx)->told++;
}

static void begin_with(struct process *p, const char *url, const char *pem)
{
    struct pg_opts opts = {.url = url, .name = "reader", .statement_timeout_ms = 60000};
    struct err e;
    *p = (struct process){.pool = pg_pool_new(w.base, &opts, 1)};
    p->tokens = provider_tokens_new(p->pool);
    assert_int_equal(
        provider_token_find(p->tokens, pem, "ABC123DEFG", "TEAM123456", &p->token, &e),
        ERR_NONE);
    p->listener = (struct provider_listener){.changed = on_change, .ctx = p};
    provider_token_listen(p->token, &p->listener);
}

static void begin(struct process *p)
{
    begin_with(p, db_url(), w.key_pem);
    db_loop(w.base, is_up, p->pool);
}

static void end(struct process *p)
{
    if (p->token)
        provider_token_unlisten(&p->listener);
    pg_pool_free(&p->pool);
    provider_tokens_free(&p->tokens);
    p->token = NULL;
}

static const char *ask(struct process *p, unsigned *serial_out)
{
    size_t len;
    int64_t mono_ms = (w.now_s - START_S) * 1000 + 1000000000;
    return provider_token_authorization(p->token, w.now_s, mono_ms, &len, serial_out);
}

static bool has_one(void *ctx)
{
    unsigned serial;
    return ask(ctx, &serial) != NULL;
}

/* The text it uses once all that was asked is answered. */
static const char *text_of(struct process *p)
{
    static char text[2][JWT_TEXT_MAX];
    static int at;
    unsigned serial;
    db_loop(w.base, has_one, p);
    struct timeval tick = {0, 50000};
    for (int i = 0; i < 4; i++) { /* an offer may still be under way */
        event_base_loopexit(w.base, &tick);
        event_base_dispatch(w.base);
    }
    at = !at;
    snprintf(text[at], JWT_TEXT_MAX, "%s", ask(p, &serial));
    return text[at];
}

static int set_up(void **state)
{
    (void)state;
    db_fresh();
    w.base = event_base_new();
    w.now_s = START_S;
    pass(0);
    write_key(w.key_pem);
    write_key(w.other_pem);
    begin(&w.first);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    end(&w.first);
    end(&w.second);
    event_base_free(w.base);
    clock_fake_off();
    return 0;
}

static void apps_of_one_key_share_a_token(void **state)
{
    (void)state;
    struct provider_token *same, *other;
    struct err e;
    assert_int_equal(
        provider_token_find(w.first.tokens, w.key_pem, "ABC123DEFG", "TEAM123456", &same, &e),
        ERR_NONE);
    assert_ptr_equal(same, w.first.token);
    assert_int_equal(
        provider_token_find(w.first.tokens, w.key_pem, "ABC123DEFG", "TEAM999999", &other, &e),
        ERR_NONE);
    assert_ptr_not_equal(other, same);
    assert_int_equal(
        provider_token_find(w.first.tokens, "", "ABC123DEFG", "TEAM123456", &other, &e),
        ERR_CONFIG);
}

static void processes_and_their_successors_share_it(void **state)
{
    (void)state;
    unsigned serial;
    assert_null(ask(&w.first, &serial)); /* asked for */
    assert_true(provider_token_waits(w.first.token));
    const char *text = text_of(&w.first);
    assert_int_equal(w.first.told, 1);
    assert_false(provider_token_waits(w.first.token));
    begin(&w.second);
    pass(20 * MINUTE_S);
    assert_string_equal(text_of(&w.second), text);
    end(&w.second);
    end(&w.first);
    pass(20 * MINUTE_S);
    begin(&w.first);
    assert_string_equal(text_of(&w.first), text);
    assert_int_equal(db_int("SELECT count(*) FROM xs.provider_token"), 1);
}

static char old[JWT_TEXT_MAX];

static bool has_another(void *ctx)
{
    unsigned serial;
    const char *text = ask(ctx, &serial);
    return text && strcmp(text, old) != 0;
}

static void it_is_renewed_for_all_by_whoever_comes_first(void **state)
{
    (void)state;
    snprintf(old, sizeof old, "%s", text_of(&w.first));
    begin(&w.second);
    assert_string_equal(text_of(&w.second), old);
    pass(47 * MINUTE_S);
    assert_string_equal(text_of(&w.first), old);
    pass(2 * MINUTE_S);
    unsigned serial;
    assert_string_equal(ask(&w.second, &serial), old); /* until the new one is there */
    char fresh[JWT_TEXT_MAX];
    db_loop(w.base, has_another, &w.second);
    snprintf(fresh, sizeof fresh, "%s", text_of(&w.second));
    db_loop(w.base, has_another, &w.first);
    assert_string_equal(text_of(&w.first), fresh);
}

static void a_refused_one_is_replaced_once_for_all(void **state)
{
    (void)state;
    unsigned serial, serial_b;
    char fresh[JWT_TEXT_MAX];
    snprintf(old, sizeof old, "%s", text_of(&w.first));
    begin(&w.second);
    (void)text_of(&w.second);
    pass(5 * MINUTE_S);
    (void)ask(&w.first, &serial);
    (void)ask(&w.second, &serial_b);
    int64_t mono_ms = clock_mono_ms();
    assert_true(provider_token_renew(w.first.token, serial, w.now_s, mono_ms));
    assert_true(provider_token_renew(w.second.token, serial_b, w.now_s, mono_ms));
    assert_null(ask(&w.first, &serial));
    assert_true(provider_token_renew(w.first.token, serial, w.now_s, mono_ms)); /* the same */
    snprintf(fresh, sizeof fresh, "%s", text_of(&w.first));
    assert_string_not_equal(fresh, old);
    assert_string_equal(text_of(&w.second), fresh);
    /* A second time within 20 minutes is not allowed. */
    pass(5 * MINUTE_S);
    (void)ask(&w.first, &serial);
    assert_false(provider_token_renew(w.first.token, serial, w.now_s, clock_mono_ms()));
    assert_string_equal(text_of(&w.first), fresh);
}

static void without_a_database_the_one_in_memory_is_used(void **state)
{
    (void)state;
    unsigned serial;
    char text[JWT_TEXT_MAX];
    end(&w.first);
    begin_with(&w.first, "postgresql://127.0.0.1:1/none", w.key_pem);
    snprintf(text, sizeof text, "%s", text_of(&w.first));
    pass(30 * MINUTE_S);
    assert_string_equal(text_of(&w.first), text);
    pass(20 * MINUTE_S);
    assert_string_not_equal(text_of(&w.first), text);
    end(&w.first);
    /* One that comes after, with a database: what is in memory is offered later. */
    begin(&w.first);
    db_do("ALTER TABLE xs.provider_token RENAME TO hidden");
    snprintf(text, sizeof text, "%s", text_of(&w.first));
    db_do("ALTER TABLE xs.hidden RENAME TO provider_token");
    assert_int_equal(db_int("SELECT count(*) FROM xs.provider_token"), 0);
    pass(31);
    (void)ask(&w.first, &serial);
    assert_string_equal(text_of(&w.first), text);
    assert_int_equal(db_int("SELECT count(*) FROM xs.provider_token"), 1);
    begin(&w.second);
    assert_string_equal(text_of(&w.second), text);
}

static void a_database_that_goes_away_changes_nothing(void **state)
{
    (void)state;
    char text[JWT_TEXT_MAX];
    snprintf(text, sizeof text, "%s", text_of(&w.first));
    db_end_sessions();
    db_loop(w.base, is_down, w.first.pool);
    assert_string_equal(text_of(&w.first), text);
}

static void the_database_shows_it_to_nobody(void **state)
{
    (void)state;
    char text[JWT_TEXT_MAX], sql[JWT_TEXT_MAX + 128];
    snprintf(text, sizeof text, "%s", text_of(&w.first));
    char *token = strchr(text, ' ') + 1;
    snprintf(sql, sizeof sql,
             "SELECT position('%.40s' in encode(sealed, 'escape')) FROM xs.provider_token",
             token);
    assert_int_equal(db_int(sql), 0);
    /* Another key under the same names: each uses its own, and nothing is overwritten. */
    begin_with(&w.second, db_url(), w.other_pem);
    db_loop(w.base, is_up, w.second.pool);
    assert_string_not_equal(text_of(&w.second), text);
    assert_string_equal(text_of(&w.first), text);
    db_do("UPDATE xs.provider_token SET sealed = '\\x00'");
    end(&w.first);
    begin(&w.first);
    assert_non_null(text_of(&w.first));
}

static void a_clock_that_was_wrong_is_put_right(void **state)
{
    (void)state;
    char text[JWT_TEXT_MAX];
    snprintf(text, sizeof text, "%s", text_of(&w.first)); /* from two hours ahead */
    end(&w.first);
    w.now_s -= 2 * 60 * MINUTE_S;
    clock_fake(2000000000, w.now_s * 1000000);
    begin(&w.first);
    assert_string_not_equal(text_of(&w.first), text);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        CASE(apps_of_one_key_share_a_token),
        CASE(processes_and_their_successors_share_it),
        CASE(it_is_renewed_for_all_by_whoever_comes_first),
        CASE(a_refused_one_is_replaced_once_for_all),
        CASE(without_a_database_the_one_in_memory_is_used),
        CASE(a_database_that_goes_away_changes_nothing),
        CASE(the_database_shows_it_to_nobody),
        CASE(a_clock_that_was_wrong_is_put_right),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
