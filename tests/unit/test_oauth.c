// SPDX-License-Identifier: Apache-2.0
/* Access tokens from an https server in the same loop: real sockets, short periods. */
#include "apns/oauth.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/datetime.h"
#include "base/log.h"
#include "tests/unit/tls_server.h"

#define GOOD "{\"access_token\":\"ya29.one\",\"expires_in\":3599,\"token_type\":\"Bearer\"}"
#define SECRET "ya29.one"

static struct {
    struct event_base *base;
    struct evhttp *http;
    SSL_CTX *tls;
    struct oauth *oauth;
    struct oauth_tuning tuning;
    char cert_pem[2048];
    uint16_t port;
    unsigned requests, changes, errors_logged;
    bool secret_logged, clock_named;
    struct {
        int status;
        const char *body, *date, *retry_after;
    } answer;
    bool silent;
    struct evhttp_request *held;
    char last_form[8192];
    int64_t asked_ms[64];
    int64_t fake_ms; /* 0: the clocks are the machine's */
} w;

static char account[4096];

/* --- the server --- */

static void reply(struct evhttp_request *r)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(r);
    struct evbuffer *body = evbuffer_new();
    evbuffer_add(body, w.answer.body, strlen(w.answer.body));
    if (w.answer.date)
        evhttp_add_header(headers, "Date", w.answer.date);
    if (w.answer.retry_after)
        evhttp_add_header(headers, "Retry-After", w.answer.retry_after);
    evhttp_send_reply(r, w.answer.status, "x", body);
    evbuffer_free(body);
}

static void on_request(struct evhttp_request *r, void *ctx)
{
    (void)ctx;
    struct evbuffer *in = evhttp_request_get_input_buffer(r);
    size_t len = evbuffer_get_length(in);
    assert_true(len < sizeof w.last_form && w.requests < 64);
    memcpy(w.last_form, evbuffer_pullup(in, -1), len);
    w.last_form[len] = '\0';
    assert_int_equal(evhttp_request_get_command(r), EVHTTP_REQ_POST);
    assert_string_equal(evhttp_request_get_uri(r), "/token");
    assert_string_equal(
        evhttp_find_header(evhttp_request_get_input_headers(r), "Content-Type"),
        "application/x-www-form-urlencoded");
    w.asked_ms[w.requests++] = clock_mono_ms();
    if (w.silent)
        w.held = r;
    else
        reply(r);
}

static struct bufferevent *make_bufferevent(struct event_base *base, void *ctx)
{
    (void)ctx;
    return bufferevent_openssl_socket_new(base, -1, SSL_new(w.tls), BUFFEREVENT_SSL_ACCEPTING,
                                          BEV_OPT_CLOSE_ON_FREE);
}

static void make_certificate(void)
{
    w.tls = tls_server_new("IP:127.0.0.1", w.cert_pem, sizeof w.cert_pem);
}

/* As the console makes it; an RSA key takes long to make. */
static int make_account(void **state)
{
    (void)state;
    char key_pem[2048];
    EVP_PKEY *key = EVP_RSA_gen(2048);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    key_pem[BIO_read(bio, key_pem, sizeof key_pem - 1)] = '\0';
    BIO_free(bio);
    EVP_PKEY_free(key);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "type", "service_account");
    cJSON_AddStringToObject(root, "project_id", "example-chat");
    cJSON_AddStringToObject(root, "private_key_id", "abc");
    cJSON_AddStringToObject(root, "private_key", key_pem);
    cJSON_AddStringToObject(root, "client_email", "push@example.org");
    cJSON_AddStringToObject(root, "token_uri", "https://oauth2.googleapis.com/token");
    assert_true(cJSON_PrintPreallocated(root, account, sizeof account, false));
    cJSON_Delete(root);
    return 0;
}

/* --- the client --- */

static void on_changed(void *ctx)
{
    assert_ptr_equal(ctx, &w);
    w.changes++;
}

static void on_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    w.errors_logged += level == LOG_ERROR;
    w.secret_logged |= strstr(line, SECRET) != NULL || strstr(line, "eyJ") != NULL;
    w.clock_named |= strstr(line, "clock") != NULL;
}

static const struct oauth_tuning quick = {.renew_before_ms = 300000,
                                          .spacing_ms = 100,
                                          .backoff_min_ms = 20,
                                          .backoff_max_ms = 40,
                                          .refused_ms = 60,
                                          .timeout_ms = 300};

static int start(void **state)
{
    (void)state;
    static const struct log_opts log = {LOG_DEBUG, LOG_TEXT};
    memset(&w, 0, sizeof w);
    signal(SIGPIPE, SIG_IGN);
    log_init(&log, "test");
    log_set_sink(on_log, NULL);
    w.tuning = quick;
    w.base = event_base_new();
    make_certificate();
    w.http = evhttp_new(w.base);
    evhttp_set_bevcb(w.http, make_bufferevent, NULL);
    evhttp_set_gencb(w.http, on_request, NULL);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(w.http, "127.0.0.1", 0);
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&a, &len);
    w.port = ntohs(a.sin_port);
    w.answer.status = 200;
    w.answer.body = GOOD;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    oauth_free(&w.oauth);
    evhttp_free(w.http);
    event_base_free(w.base);
    SSL_CTX_free(w.tls);
    log_set_sink(NULL, NULL);
    clock_fake_off();
    assert_false(w.secret_logged);
    return 0;
}

static void make(void)
{
    char url[64];
    struct err e;
    snprintf(url, sizeof url, "https://127.0.0.1:%u/token", w.port);
    const struct oauth_opts o = {w.base, account, url,        w.cert_pem,
                                 NULL,   "test",  on_changed, &w};
    assert_int_equal(oauth_new(&o, &w.tuning, &w.oauth, &e), ERR_NONE);
}

/* From now on our clocks are that much further; they go on with run_until. */
static void pass_time(int64_t ms)
{
    w.fake_ms = clock_mono_ms() + ms;
    clock_fake(w.fake_ms, clock_real_us() + ms * 1000);
}

static bool run_until(bool (*condition)(void), int64_t ms)
{
    while (!condition() && (ms -= 2) > 0) {
        struct timeval tv = {0, 2000};
        if (w.fake_ms)
            pass_time(2);
        event_base_loopexit(w.base, &tv);
        event_base_dispatch(w.base);
    }
    return condition();
}

static bool changed(void)
{
    return w.changes > 0;
}

static void wait_change(void)
{
    w.changes = 0;
    assert_true(run_until(changed, 5000));
}

static const char *token(unsigned *serial_out)
{
    size_t len;
    const char *text = oauth_authorization(w.oauth, clock_mono_ms(), &len, serial_out);
    if (text)
        assert_int_equal(len, strlen(text));
    return text;
}

static void expect_state(enum oauth_state state, const char *reason)
{
    const char *text;
    assert_int_equal(oauth_get_state(w.oauth, clock_mono_ms(), &text), state);
    if (!strstr(text, reason))
        fail_msg("%s", text);
}

/* --- tests --- */

static void a_token_is_fetched_at_once_and_kept(void **state)
{
    (void)state;
    unsigned serial;
    make();
    expect_state(OAUTH_WAITING, "");
    assert_null(token(&serial));
    wait_change();
    assert_string_equal(token(&serial), "Bearer ya29.one");
    assert_int_equal(serial, 1);
    expect_state(OAUTH_GOOD, "");
    assert_string_equal(oauth_project(w.oauth), "example-chat");
    assert_memory_equal(w.last_form,
                        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
                        "&assertion=eyJ",
                        78);
    assert_int_equal(w.requests, 1);
}

static void nobody_asks_twice_at_a_time(void **state)
{
    (void)state;
    unsigned serial;
    make();
    for (int i = 0; i < 50; i++)
        assert_null(token(&serial));
    wait_change();
    for (int i = 0; i < 50; i++)
        assert_non_null(token(&serial));
    assert_int_equal(w.requests, 1);
}

static void it_is_renewed_before_its_end_and_used_until_then(void **state)
{
    (void)state;
    unsigned serial;
    make();
    wait_change();
    const char *old = token(&serial);
    pass_time(3599000 - 310000);
    assert_ptr_equal(token(&serial), old);
    assert_int_equal(w.requests, 1);
    w.answer.body = "{\"access_token\":\"two\",\"expires_in\":3599,\"token_type\":\"bearer\"}";
    pass_time(20000);
    assert_ptr_equal(token(&serial), old);
    wait_change();
    assert_string_equal(token(&serial), "Bearer two");
    assert_string_equal(old, "Bearer ya29.one"); /* requests on their way still point to it */
    assert_int_equal(serial, 2);
    assert_int_equal(w.requests, 2);
    pass_time(3600000);
    assert_null(token(&serial));
    expect_state(OAUTH_WAITING, "");
}

static void a_short_life_is_renewed_at_its_half(void **state)
{
    (void)state;
    unsigned serial;
    w.answer.body = "{\"access_token\":\"one\",\"expires_in\":60,\"token_type\":\"Bearer\"}";
    make();
    wait_change();
    pass_time(28000);
    assert_non_null(token(&serial));
    assert_int_equal(w.requests, 1);
    pass_time(3000);
    assert_non_null(token(&serial));
    wait_change();
    assert_non_null(token(&serial));
    assert_int_equal(serial, 2);
}

static void a_renewal_that_fails_leaves_the_old_token_in_use(void **state)
{
    (void)state;
    unsigned serial;
    make();
    wait_change();
    pass_time(3400000);
    w.answer.status = 503;
    assert_non_null(token(&serial));
    wait_change();
    expect_state(OAUTH_GOOD, "");
    w.answer.status = 400;
    wait_change(); /* it is tried again by itself */
    expect_state(OAUTH_GOOD, "");
    assert_string_equal(token(&serial), "Bearer ya29.one");
    assert_int_equal(serial, 1);
    pass_time(200000);
    assert_null(token(&serial));
    expect_state(OAUTH_REFUSED, "400");
}

static void a_token_that_is_refused_is_replaced_but_not_faster_than_allowed(void **state)
{
    (void)state;
    unsigned serial;
    int64_t begin_ms = clock_mono_ms();
    make();
    wait_change();
    token(&serial);
    oauth_reject(w.oauth, serial + 1, clock_mono_ms()); /* another one than the present */
    assert_non_null(token(&serial));
    oauth_reject(w.oauth, serial, clock_mono_ms());
    oauth_reject(w.oauth, serial, clock_mono_ms());
    assert_null(token(&serial));
    expect_state(OAUTH_WAITING, "");
    wait_change();
    assert_non_null(token(&serial));
    assert_int_equal(serial, 2);
    assert_int_equal(w.requests, 2);
    assert_true(w.asked_ms[1] >= begin_ms + w.tuning.spacing_ms);
}

static const struct {
    int status;
    const char *body;
    enum oauth_state state;
    const char *reason;
} answers[] = {
    {500, "", OAUTH_FAILING, "no access token: 500"},
    {503, "<html>", OAUTH_FAILING, "no access token: 503"},
    {429, "{}", OAUTH_FAILING, "no access token: 429"},
    {302, "", OAUTH_FAILING, "no access token: 302"},
    {200, "", OAUTH_FAILING, "an answer that is none"},
    {200, "no json", OAUTH_FAILING, "an answer that is none"},
    {200, "{\"expires_in\":3599,\"token_type\":\"Bearer\"}", OAUTH_FAILING, "none, 200"},
    {200, "{\"access_token\":\"a\\nb\",\"expires_in\":3599,\"token_type\":\"Bearer\"}",
     OAUTH_FAILING, "none, 200"},
    {200, "{\"access_token\":\"\",\"expires_in\":3599,\"token_type\":\"Bearer\"}",
     OAUTH_FAILING, "none, 200"},
    {200, "{\"access_token\":\"a\",\"expires_in\":3599,\"token_type\":\"MAC\"}", OAUTH_FAILING,
     "none, 200"},
    {200, "{\"access_token\":\"a\",\"expires_in\":\"x\",\"token_type\":\"Bearer\"}",
     OAUTH_FAILING, "none, 200"},
    {400, "{\"error\":\"invalid_grant\",\"error_description\":\"x\"}", OAUTH_REFUSED,
     "access token refused: 400 invalid_grant"},
    {401, "{\"error\":\"invalid_client\"}", OAUTH_REFUSED, "401 invalid_client"},
    {404, "<html>", OAUTH_REFUSED, "access token refused: 404"},
};

static void each_answer_that_is_no_token_is_tried_again_when_it_makes_sense(void **state)
{
    (void)state;
    make();
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        w.answer.status = answers[i].status;
        w.answer.body = answers[i].body;
        wait_change();
        expect_state(answers[i].state, answers[i].reason);
    }
    assert_int_equal(w.errors_logged, 1); /* once, not for each time */
    w.answer.status = 200;
    w.answer.body = GOOD;
    wait_change();
    expect_state(OAUTH_GOOD, "");
}

static void it_waits_as_long_as_it_is_told(void **state)
{
    (void)state;
    make();
    w.answer.status = 503;
    w.answer.retry_after = "1";
    wait_change();
    w.answer.status = 200;
    w.answer.retry_after = NULL;
    wait_change();
    expect_state(OAUTH_GOOD, "");
    assert_true(w.asked_ms[1] - w.asked_ms[0] >= 990);
}

static void silence_ends_in_time(void **state)
{
    (void)state;
    make();
    w.silent = true;
    wait_change();
    expect_state(OAUTH_FAILING, "no access token: ");
    w.silent = false;
    wait_change();
    expect_state(OAUTH_GOOD, "");
}

static void a_server_that_is_not_trusted_gets_no_assertion(void **state)
{
    (void)state;
    char other[2048];
    memcpy(other, w.cert_pem, sizeof other);
    SSL_CTX *tls = w.tls;
    make_certificate(); /* the server's now, and not whom the client trusts */
    SSL_CTX_free(tls);
    memcpy(w.cert_pem, other, sizeof other);
    make();
    wait_change();
    expect_state(OAUTH_FAILING, "no access token: SSL");
    assert_int_equal(w.requests, 0);
}

static void a_body_without_end_is_none(void **state)
{
    (void)state;
    static char endless[40000];
    memset(endless, ' ', sizeof endless - 1);
    make();
    w.answer.body = endless;
    wait_change();
    expect_state(OAUTH_FAILING, "no access token: ");
}

static bool asked(void)
{
    return w.requests > 0;
}

static bool asked_twice(void)
{
    return w.requests >= 2;
}

static void a_wrong_clock_is_corrected_by_the_services_own(void **state)
{
    (void)state;
    w.answer.status = 400;
    w.answer.body = "{\"error\":\"invalid_grant\"}";
    w.answer.date = "Fri, 31 Dec 2100 23:59:59 GMT";
    make();
    assert_true(run_until(asked_twice, 5000));
    assert_true(w.clock_named);
    wait_change();
    expect_state(OAUTH_REFUSED, "invalid_grant");
    assert_int_equal(w.requests, 2); /* the correction is tried once */
    assert_true(w.asked_ms[1] - w.asked_ms[0] < 1000);
}

static void a_right_clock_is_not_to_blame(void **state)
{
    (void)state;
    w.answer.status = 400;
    w.answer.body = "{\"error\":\"invalid_grant\"}";
    make();
    wait_change();
    assert_int_equal(w.requests, 1);
    assert_false(w.clock_named);
}

static void a_fetch_under_way_ends_with_its_owner(void **state)
{
    (void)state;
    w.silent = true;
    make();
    assert_true(run_until(asked, 5000));
    oauth_free(&w.oauth);
    assert_null(w.oauth);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_token_is_fetched_at_once_and_kept),
        TEST(nobody_asks_twice_at_a_time),
        TEST(it_is_renewed_before_its_end_and_used_until_then),
        TEST(a_short_life_is_renewed_at_its_half),
        TEST(a_renewal_that_fails_leaves_the_old_token_in_use),
        TEST(a_token_that_is_refused_is_replaced_but_not_faster_than_allowed),
        TEST(each_answer_that_is_no_token_is_tried_again_when_it_makes_sense),
        TEST(it_waits_as_long_as_it_is_told),
        TEST(silence_ends_in_time),
        TEST(a_server_that_is_not_trusted_gets_no_assertion),
        TEST(a_body_without_end_is_none),
        TEST(a_wrong_clock_is_corrected_by_the_services_own),
        TEST(a_right_clock_is_not_to_blame),
        TEST(a_fetch_under_way_ends_with_its_owner),
    };
    return cmocka_run_group_tests(tests, make_account, NULL);
}
