// SPDX-License-Identifier: Apache-2.0
#include "apns/subscription.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "apns/opts.h"

/* RFC 8291, appendix A. */
#define P256DH                                                                                \
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
#define AUTH "BTBZMqHH6r4Tts7J_aSIgg"

static const uint16_t only_443[] = {443};
static const struct webpush_opts open_to_all = {.ports = only_443, .ports_n = 1};

static void an_endpoint_is_read_as_it_will_be_called(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint, *host, *origin, *written;
        uint16_t port;
    } cases[] = {
        {"https://push.example.net/a/b?c=d", "push.example.net", "https://push.example.net",
         "https://push.example.net/a/b?c=d", 443},
        {"https://PUSH.Example.NET/A", "push.example.net", "https://push.example.net",
         "https://push.example.net/A", 443},
        {"https://push.example.net:443/", "push.example.net", "https://push.example.net",
         "https://push.example.net/", 443},
        {"https://push.example.net:8443/x", "push.example.net",
         "https://push.example.net:8443", "https://push.example.net:8443/x", 8443},
        {"https://192.0.2.7/x", "192.0.2.7", "https://192.0.2.7", "https://192.0.2.7/x", 443},
        {"https://[2001:db8::7]:65535/x", "[2001:db8::7]", "https://[2001:db8::7]:65535",
         "https://[2001:db8::7]:65535/x", 65535},
        {"https://a_b.c-d.example/%41~!$&'()*+,;=:@[]", "a_b.c-d.example",
         "https://a_b.c-d.example", "https://a_b.c-d.example/%41~!$&'()*+,;=:@[]", 443},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct subscription s, again;
        char token[SUBSCRIPTION_TOKEN_MAX + 1];
        const char *why = subscription_read(cases[i].endpoint, P256DH, AUTH, &s);
        if (why)
            fail_msg("%s: %s", cases[i].endpoint, why);
        assert_string_equal(s.host, cases[i].host);
        assert_string_equal(s.origin, cases[i].origin);
        assert_string_equal(s.endpoint, cases[i].written);
        assert_int_equal(s.port, cases[i].port);
        subscription_write(&s, token);
        assert_true(subscription_parse(token, &again));
        assert_memory_equal(&s, &again, sizeof s);
    }
}

static void an_endpoint_that_is_no_https_address_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "x",
        "http://push.example.net/x",
        "HTTPS://push.example.net/x",
        "ftp://push.example.net/x",
        "https:/push.example.net/x",
        "https:///x",
        "https://push.example.net",
        "https://push.example.net?x",
        "https://push.example.net#x",
        "https://push.example.net/x#y",
        "https://push.example.net\\x/y",
        "https://push.example.net/x\\y",
        "https://push.example.net/ x",
        "https://push.example.net/x\r\nHost: a",
        "https://push.example.net/\x80",
        "https://push.example.net/\x7f",
        "https://push.example.net/\"",
        "https://user@push.example.net/x",
        "https://user:word@push.example.net/x",
        "https://push.example.net:/x",
        "https://push.example.net:0/x",
        "https://push.example.net:65536/x",
        "https://push.example.net:+443/x",
        "https://push.example.net:443:443/x",
        "https://push.example.net:99999999999/x",
        "https://push.example.net./x",
        "https://.push.example.net/x",
        "https://push..example.net/x",
        "https://-push.example.net/x",
        "https://push-.example.net/x",
        "https://p%75sh.example.net/x",
        "https://p\xc3\xbcsh.example.net/x",
        "https://push.example.net,a/x",
        "https://[::1/x",
        "https://::1/x",
        "https://[::1]x/x",
        "https://[::1]x:443/x",
        "https://[]/x",
        "https://[fe80::1%25eth0]/x",
        "https://[push.example.net]/x",
        /* What resolvers take for an address, and we must not take for a name. */
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0x7f.1/x",
        "https://127.1/x",
        "https://127.0.0.01/x",
        "https://0177.0.0.1/x",
        "https://127.0.0.1.1/x",
        "https://256.0.0.1/x",
        "https://push.example.0x1/x",
        "https://push.example.7/x",
        "https://0x/x",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct subscription s;
        if (!subscription_read(cases[i], P256DH, AUTH, &s))
            fail_msg("%s is taken", cases[i]);
    }
    struct subscription s;
    assert_non_null(subscription_read(NULL, P256DH, AUTH, &s));
}

static void lengths_have_their_limits(void **state)
{
    (void)state;
    char url[1100] = "https://a.example/";
    size_t start = strlen(url);
    struct subscription s;
    memset(url + start, 'x', 1000 - start);
    assert_null(subscription_read(url, P256DH, AUTH, &s));
    url[1000] = 'x';
    assert_non_null(subscription_read(url, P256DH, AUTH, &s));
    /* A label of 63, a name of 253. */
    char host[300] = "https://";
    for (size_t i = 0; i < 253; i++)
        host[8 + i] = i % 64 == 63 ? '.' : 'a';
    strcpy(host + 8 + 253, "/");
    assert_null(subscription_read(host, P256DH, AUTH, &s));
    strcpy(host + 8 + 253, "a/");
    assert_non_null(subscription_read(host, P256DH, AUTH, &s));
    memset(host + 8, 'a', 64);
    strcpy(host + 8 + 64, ".example/");
    assert_non_null(subscription_read(host, P256DH, AUTH, &s));
}

static void keys_are_looked_at(void **state)
{
    (void)state;
    static const char url[] = "https://a.example/x";
    static const char *const points[] = {
        NULL,
        "",
        "AAAA",
        P256DH "A",
        P256DH "=",
        /* the last byte is another: not on the curve */
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-"
        "AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw8",
        /* standard base64 */
        "BCVxsr7N/"
        "eNgVRqvHtD0zTZsEc6+VV+JvLexhqUzORcxaOzi6+AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        /* compressed */
        "AiVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcx",
    };
    static const char *const auths[] = {
        NULL, "", "AAAA", AUTH "A", AUTH "AAA", AUTH "==", "BTBZMqHH6r4Tts7J_aSIg"};
    struct subscription s;
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        assert_string_equal(subscription_read(url, points[i], AUTH, &s),
                            "p256dh is not a P-256 public key in base64url");
    for (size_t i = 0; i < sizeof auths / sizeof *auths; i++)
        assert_string_equal(subscription_read(url, P256DH, auths[i], &s),
                            "auth is not 16 bytes in base64url");
}

static const char *refused(const char *url, const struct webpush_opts *o)
{
    struct subscription s;
    assert_null(subscription_read(url, P256DH, AUTH, &s));
    return subscription_refused(&s, o);
}

static void an_address_that_is_not_public_is_refused_at_once(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "https://127.0.0.1/x",
        "https://10.1.2.3/x",
        "https://169.254.169.254/x",
        "https://100.64.0.1/x",
        "https://0.0.0.0/x",
        "https://224.0.0.1/x",
        "https://[::1]/x",
        "https://[::]/x",
        "https://[fe80::1]/x",
        "https://[fc00::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[64:ff9b::10.0.0.1]/x",
        "https://[2002:7f00:1::]/x",
        "https://[ff02::1]/x",
    };
    struct webpush_opts at_home = open_to_all;
    at_home.allow_private = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = refused(cases[i], &open_to_all);
        if (!why)
            fail_msg("%s is taken", cases[i]);
        assert_string_equal(why, "endpoint: that address is not a public one");
        assert_null(refused(cases[i], &at_home));
    }
    assert_null(refused("https://1.1.1.1/x", &open_to_all));
    assert_null(refused("https://[2606:4700::1111]/x", &open_to_all));
    assert_null(refused("https://localhost/x", &open_to_all)); /* looked at when connecting */
}

static void only_ports_and_hosts_of_the_settings_are_served(void **state)
{
    (void)state;
    static const uint16_t ports[] = {443, 8443};
    static const char *const hosts[] = {"push.example.net", "*.push.example.org"};
    const struct webpush_opts o = {
        .ports = ports, .ports_n = 2, .allow_hosts = hosts, .allow_hosts_n = 2};
    assert_string_equal(refused("https://push.example.net:8443/x", &open_to_all),
                        "endpoint: no push service is served at that port");
    assert_null(refused("https://push.example.net:8443/x", &o));
    assert_non_null(refused("https://push.example.net:22/x", &o));
    assert_null(refused("https://a.push.example.org/x", &o));
    assert_null(refused("https://a.b.push.example.org/x", &o));
    static const char *const others[] = {
        "https://push.example.org/x", "https://apush.example.org/x",
        "https://a.push.example.net/x", "https://push.example.net.evil.example/x",
        "https://example.net/x"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_string_equal(refused(others[i], &o),
                            "endpoint: that push service is not served here");
}

static void a_token_that_was_not_written_by_us_is_none(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        " ",
        "https://a.example/x",
        "https://a.example/x " P256DH,
        "https://a.example/x " P256DH " ",
        "https://a.example/x  " AUTH,
        "http://a.example/x " P256DH " " AUTH,
        "https://a.example/x " P256DH " " AUTH " ",
        "https://a.example/x " P256DH " " AUTH "A",
        "https://127.1/x " P256DH " " AUTH,
    };
    struct subscription s;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_false(subscription_parse(cases[i], &s));
    char longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(subscription_parse(longer, &s));
    assert_true(subscription_parse("https://a.example/x " P256DH " " AUTH, &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_is_read_as_it_will_be_called),
        cmocka_unit_test(an_endpoint_that_is_no_https_address_is_refused),
        cmocka_unit_test(lengths_have_their_limits),
        cmocka_unit_test(keys_are_looked_at),
        cmocka_unit_test(an_address_that_is_not_public_is_refused_at_once),
        cmocka_unit_test(only_ports_and_hosts_of_the_settings_are_served),
        cmocka_unit_test(a_token_that_was_not_written_by_us_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
