// SPDX-License-Identifier: Apache-2.0
#include "apns/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apns/opts.h"
#include "base/buf.h"

static void expect_request(const struct proxy_opts *p, const char *host, uint16_t port,
                           const char *expected)
{
    struct buf b;
    buf_init(&b, 4096);
    proxy_request(p, host, port, &b);
    assert_string_equal(buf_cstr(&b), expected);
    buf_deinit(&b);
}

static void the_way_is_asked_for(void **state)
{
    (void)state;
    const struct proxy_opts plain = {"proxy", 3128, NULL, NULL};
    const struct proxy_opts known = {"proxy", 3128, "Aladdin", "open sesame"};
    expect_request(&plain, "api.push.apple.com", 443,
                   "CONNECT api.push.apple.com:443 HTTP/1.1\r\n"
                   "Host: api.push.apple.com:443\r\n\r\n");
    expect_request(&plain, "::1", 2197,
                   "CONNECT [::1]:2197 HTTP/1.1\r\nHost: [::1]:2197\r\n\r\n");
    expect_request(&known, "a", 1, /* RFC 7617 section 2 */
                   "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n"
                   "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
}

static void each_answer_has_a_meaning(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum proxy_answer answer;
        const char *why;
    } cases[] = {
        {"HTTP/1.1 200 Connection established\r\n\r\n", PROXY_OPEN, ""},
        {"HTTP/1.0 200 OK\r\nVia: x\r\nA: b\r\n\r\n", PROXY_OPEN, ""},
        {"HTTP/1.1 204 \r\n\r\n", PROXY_OPEN, ""},
        {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: "
         "Basic\r\n\r\nsorry",
         PROXY_REFUSED, "proxy: it wants other credentials (status 407)"},
        {"HTTP/1.1 403 Forbidden\r\n\r\n", PROXY_REFUSED,
         "proxy: it does not let us through (status 403)"},
        {"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc", PROXY_REFUSED,
         "proxy: it does not let us through (status 502)"},
        {"HTTP/1.1 100 Continue\r\n\r\n", PROXY_REFUSED,
         "proxy: it does not let us through (status 100)"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", PROXY_REFUSED,
         "proxy: what it answers is not HTTP/1.1"},
        {"HTTP/2 200\r\n\r\n", PROXY_REFUSED, "proxy: what it answers is not HTTP/1.1"},
        {"HTTP/1.1 2x0 OK\r\n\r\n", PROXY_REFUSED, "proxy: what it answers is not HTTP/1.1"},
        {"\r\n\r\n", PROXY_REFUSED, "proxy: what it answers is not HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\n\r\nmore", PROXY_REFUSED, "proxy: it says more than its answer"},
    };
    char why[128];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint8_t *data = (const uint8_t *)cases[i].text;
        size_t len = strlen(cases[i].text);
        const char *end = strstr(cases[i].text, "\r\n\r\n");
        size_t head = (size_t)(end - cases[i].text) + 4;
        why[0] = '\0';
        assert_int_equal(proxy_read(data, len, why, sizeof why), cases[i].answer);
        assert_string_equal(why, cases[i].why);
        for (size_t n = 0; n < head; n++)
            assert_int_equal(proxy_read(data, n, why, sizeof why), PROXY_MORE);
    }
}

static void an_answer_without_end_is_none(void **state)
{
    (void)state;
    static uint8_t data[PROXY_ANSWER_MAX];
    char why[128];
    memset(data, 'x', sizeof data);
    assert_int_equal(proxy_read(data, sizeof data - 1, why, sizeof why), PROXY_MORE);
    assert_int_equal(proxy_read(data, sizeof data, why, sizeof why), PROXY_REFUSED);
}

static void its_address_is_a_url_for_others(void **state)
{
    (void)state;
    char url[PROXY_URL_BYTES];
    proxy_url(&(struct proxy_opts){"proxy.example.org", 8080, NULL, NULL}, url);
    assert_string_equal(url, "http://proxy.example.org:8080");
    proxy_url(&(struct proxy_opts){"::1", 8080, NULL, NULL}, url);
    assert_string_equal(url, "http://[::1]:8080");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_is_asked_for),
        cmocka_unit_test(each_answer_has_a_meaning),
        cmocka_unit_test(an_answer_without_end_is_none),
        cmocka_unit_test(its_address_is_a_url_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
