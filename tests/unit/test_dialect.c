// SPDX-License-Identifier: Apache-2.0
#include "apns/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "apns/opts.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEX64_UPPER "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF"

static const char *const only_a[] = {"a.example"};
static const char *const only_b[] = {"b.example"};
static const struct apns_app_opts one[] = {{.id = "org.example.chat"}};
static const struct apns_app_opts two[] = {{.id = "org.example.chat"},
                                           {.id = "org.example.other"}};
static const struct apns_app_opts per_domain[] = {
    {.id = "org.a.chat", .domains = only_a, .domains_n = 1},
    {.id = "org.b.chat", .domains = only_b, .domains_n = 1},
};
static const struct push_opts with_one = {.apps = one, .apps_n = 1};
static const struct push_opts with_two = {.apps = two, .apps_n = 2};
static const struct push_opts with_domains = {.apps = per_domain, .apps_n = 2};
static const struct push_opts with_none = {.apps_n = 0};
static const struct fcm_opts fcm = {0};
static const struct apns_app_opts both[] = {{.id = "org.example.chat"},
                                            {.id = "org.example.chat.android", .fcm = &fcm}};
static const struct push_opts with_both = {.apps = both, .apps_n = 2};
static const struct push_opts with_fcm = {.apps = both + 1, .apps_n = 1};

static const uint16_t ports[] = {443};
static const struct webpush_opts webpush = {.ports = ports, .ports_n = 1};
static const struct apns_app_opts all_three[] = {
    {.id = "org.example.chat"},
    {.id = "org.example.chat.android", .fcm = &fcm},
    {.id = "org.example.chat.web", .webpush = &webpush},
};
static const struct push_opts with_webpush = {.apps = all_three, .apps_n = 3};

/* RFC 8291, appendix A. */
#define P256DH                                                                                \
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
#define AUTH "BTBZMqHH6r4Tts7J_aSIgg"
#define ENDPOINT "https://push.example.net/x"
#define FCM_TOKEN "cA1_fid-0123456789ABC:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"

struct field {
    const char *var;
    const char *value;
};

static const char *get(void *ctx, const char *var)
{
    for (const struct field *f = ctx; f->var; f++)
        if (strcmp(f->var, var) == 0)
            return f->value;
    return NULL;
}

struct attempt {
    const struct push_opts *opts;
    const char *node;
    const char *domain;
    struct field fields[5];
    const char *condition; /* NULL: it works */
    size_t app;
};

static void try_all(const struct attempt *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct attempt c = cases[i];
        struct dialect_request r;
        struct dialect_error e = {0};
        bool ok = dialect_read(c.opts, dialect_find(c.node), c.domain, get, c.fields, &r, &e);
        if (c.condition) {
            if (ok)
                fail_msg("case %zu is accepted", i);
            assert_string_equal(e.condition, c.condition);
            assert_non_null(e.type);
            assert_null(strstr(e.text, HEX64));
        } else {
            if (!ok)
                fail_msg("case %zu: %s %s", i, e.condition, e.text);
            assert_int_equal(r.app, c.app);
        }
    }
}

static void the_app_is_found_by_name_by_provider_or_by_being_the_only_one(void **state)
{
    (void)state;
    static const struct attempt cases[] = {
        {&with_one,
         "register-device",
         "a.example",
         {{"provider", "tigase:messenger:apns:1"}, {"device-token", HEX64}},
         NULL,
         0},
        {&with_one,
         "register-device",
         "a.example",
         {{"provider", "whatever"}, {"device-token", HEX64}},
         NULL,
         0},
        {&with_one, "register-device", "a.example", {{"device-token", HEX64}}, NULL, 0},
        {&with_one,
         "register-device",
         "a.example",
         {{"provider", "fcm-xmpp-api"}, {"device-token", HEX64}},
         "item-not-found",
         0},
        {&with_two,
         "register-device",
         "a.example",
         {{"provider", "org.example.other"}, {"device-token", HEX64}},
         NULL,
         1},
        {&with_two,
         "register-device",
         "a.example",
         {{"provider", "tigase:messenger:apns:1"}, {"device-token", HEX64}},
         "item-not-found",
         0},
        {&with_two,
         "register-device",
         "a.example",
         {{"provider", "org.example.other"},
          {"app", "org.example.chat"},
          {"device-token", HEX64}},
         NULL,
         0},
        {&with_two,
         "register-device",
         "a.example",
         {{"app", "org.example.nothing"}, {"device-token", HEX64}},
         "item-not-found",
         0},
        {&with_two,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}, {"app", "org.example.other"}},
         NULL,
         1},
        {&with_two,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}},
         "item-not-found",
         0},
        {&with_domains, "register-device", "b.example", {{"device-token", HEX64}}, NULL, 1},
        {&with_domains,
         "register-device",
         "b.example",
         {{"app", "org.a.chat"}, {"device-token", HEX64}},
         "item-not-found",
         0},
        {&with_domains,
         "register-device",
         "c.example",
         {{"device-token", HEX64}},
         "item-not-found",
         0},
        {&with_none,
         "register-device",
         "a.example",
         {{"device-token", HEX64}},
         "item-not-found",
         0},
    };
    try_all(cases, sizeof cases / sizeof *cases);
}

static void tokens_and_ids_that_cannot_be_right_are_bad_requests(void **state)
{
    (void)state;
    static const struct attempt cases[] = {
        {&with_one, "register-device", "a.example", {{NULL, NULL}}, "bad-request", 0},
        {&with_one, "register-device", "a.example", {{"device-token", ""}}, "bad-request", 0},
        {&with_one,
         "register-device",
         "a.example",
         {{"device-token", "abc"}},
         "bad-request",
         0},
        {&with_one,
         "register-device",
         "a.example",
         {{"device-token", HEX64 "0"}},
         "bad-request",
         0},
        {&with_one,
         "register-device",
         "a.example",
         {{"device-token", HEX64 "zz"}},
         "bad-request",
         0},
        {&with_one,
         "register-device",
         "a.example",
         {{"device-token", HEX64 HEX64 HEX64 "0011223344"}},
         "bad-request",
         0},
        {&with_one,
         "register-device",
         "a.example",
         {{"device-token", HEX64 HEX64 HEX64 "00112233"}},
         NULL,
         0},
        {&with_one, "register-push-apns", "a.example", {{"token", HEX64}}, "bad-request", 0},
        {&with_one, "register-push-apns", "a.example", {{"device-id", "x"}}, "bad-request", 0},
        {&with_one,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", ""}},
         "bad-request",
         0},
        {&with_one,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"android-id", "x"}},
         NULL,
         0},
        {&with_one,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}, {"muc", "room@muc.example"}},
         "feature-not-implemented",
         0},
        {&with_one, "unregister-push-apns", "a.example", {{"device-id", "x"}}, NULL, 0},
        {&with_one, "unregister-push-apns", "a.example", {{NULL, NULL}}, "bad-request", 0},
        {&with_one, "unregister-device", "a.example", {{"device-token", HEX64}}, NULL, 0},
        {&with_one, "unregister-device", "a.example", {{"provider", "x"}}, "bad-request", 0},
    };
    try_all(cases, sizeof cases / sizeof *cases);
}

static void a_token_in_capitals_is_the_same_token(void **state)
{
    (void)state;
    struct field fields[] = {{"device-token", HEX64_UPPER}, {NULL, NULL}};
    struct dialect_request r;
    struct dialect_error e;
    assert_true(dialect_read(&with_one, dialect_find("register-device"), "a.example", get,
                             fields, &r, &e));
    assert_string_equal(r.token, HEX64);
    assert_string_equal(r.client_id, "");
}

static void a_registration_finds_the_apps_of_its_service(void **state)
{
    (void)state;
    static const struct attempt cases[] = {
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", FCM_TOKEN}, {"device-id", "x"}},
         NULL,
         1},
        {&with_both,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}},
         NULL,
         0},
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", FCM_TOKEN}, {"device-id", "x"}, {"app", "org.example.chat"}},
         "item-not-found",
         0},
        {&with_both,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}, {"app", "org.example.chat.android"}},
         "item-not-found",
         0},
        {&with_one,
         "register-push-fcm",
         "a.example",
         {{"token", FCM_TOKEN}, {"device-id", "x"}},
         "item-not-found",
         0},
        {&with_fcm,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}},
         "item-not-found",
         0},
        {&with_both, "unregister-push-fcm", "a.example", {{"device-id", "x"}}, NULL, 1},
        {&with_both,
         "register-device",
         "a.example",
         {{"provider", "fcm-xmpp-api"}, {"device-token", FCM_TOKEN}},
         NULL,
         1},
        {&with_both,
         "register-device",
         "a.example",
         {{"provider", "tigase:messenger:fcm:1"}, {"device-token", FCM_TOKEN}},
         NULL,
         1},
        {&with_both,
         "register-device",
         "a.example",
         {{"provider", "tigase:messenger:apns:1"}, {"device-token", HEX64}},
         NULL,
         0},
        {&with_both,
         "register-device",
         "a.example",
         {{"provider", "org.example.chat.android"}, {"device-token", FCM_TOKEN}},
         NULL,
         1},
        {&with_both,
         "register-device",
         "a.example",
         {{"device-token", FCM_TOKEN}},
         "item-not-found",
         0},
    };
    try_all(cases, sizeof cases / sizeof *cases);
}

static void the_type_of_mod_push_appserver_is_the_service(void **state)
{
    (void)state;
    static const struct attempt cases[] = {
        {&with_both,
         "v1-register-push",
         "a.example",
         {{"type", "fcm"}, {"node", "x"}, {"token", FCM_TOKEN}},
         NULL,
         1},
        {&with_both,
         "v1-register-push",
         "a.example",
         {{"type", "apns"}, {"node", "x"}, {"token", HEX64}},
         NULL,
         0},
        {&with_both,
         "v1-register-push",
         "a.example",
         {{"type", "apns"}, {"node", "x"}, {"token", FCM_TOKEN}},
         "bad-request",
         0},
        {&with_one,
         "v1-register-push",
         "a.example",
         {{"type", "fcm"}, {"node", "x"}, {"token", FCM_TOKEN}},
         "item-not-found",
         0},
        {&with_both,
         "v1-register-push",
         "a.example",
         {{"type", "wns"}, {"node", "x"}, {"token", FCM_TOKEN}},
         "item-not-found",
         0},
        {&with_both,
         "v1-register-push",
         "a.example",
         {{"type", "fcm"}, {"node", ""}, {"token", FCM_TOKEN}},
         "bad-request",
         0},
        {&with_both,
         "v1-unregister-push",
         "a.example",
         {{"type", "fcm"}, {"node", "x"}},
         NULL,
         1},
        {&with_both, "v1-unregister-push", "a.example", {{"node", "x"}}, "item-not-found", 0},
    };
    try_all(cases, sizeof cases / sizeof *cases);
}

static void a_token_has_the_form_its_service_gives(void **state)
{
    (void)state;
    static char longest[514], too_long[515];
    memset(longest, 'a', 512);
    memset(too_long, 'a', 513);
    const struct attempt cases[] = {
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", "short"}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", FCM_TOKEN "\""}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", FCM_TOKEN " "}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_both, "register-push-fcm", "a.example", {{"device-id", "x"}}, "bad-request", 0},
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", FCM_TOKEN}},
         "bad-request",
         0},
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", longest}, {"device-id", "x"}},
         NULL,
         1},
        {&with_both,
         "register-push-fcm",
         "a.example",
         {{"token", too_long}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_both,
         "register-push-apns",
         "a.example",
         {{"token", FCM_TOKEN}, {"device-id", "x"}},
         "bad-request",
         0},
    };
    try_all(cases, sizeof cases / sizeof *cases);
    struct field fields[] = {{"token", FCM_TOKEN}, {"device-id", "x"}, {NULL, NULL}};
    struct dialect_request r;
    struct dialect_error e;
    assert_true(dialect_read(&with_both, dialect_find("register-push-fcm"), "a.example", get,
                             fields, &r, &e));
    assert_string_equal(r.token, FCM_TOKEN); /* upper and lower case are two things here */
}

static void a_subscription_is_registered_whole(void **state)
{
    (void)state;
    static const struct attempt cases[] = {
        {&with_webpush,
         "register-push-webpush",
         "a.example",
         {{"endpoint", ENDPOINT}, {"p256dh", P256DH}, {"auth", AUTH}, {"device-id", "x"}},
         NULL,
         2},
        {&with_webpush,
         "register-push-webpush",
         "a.example",
         {{"p256dh", P256DH}, {"auth", AUTH}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_webpush,
         "register-push-webpush",
         "a.example",
         {{"endpoint", ENDPOINT}, {"auth", AUTH}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_webpush,
         "register-push-webpush",
         "a.example",
         {{"endpoint", ENDPOINT}, {"p256dh", P256DH}, {"device-id", "x"}},
         "bad-request",
         0},
        {&with_webpush,
         "register-push-webpush",
         "a.example",
         {{"endpoint", ENDPOINT}, {"p256dh", P256DH}, {"auth", AUTH}},
         "bad-request",
         0},
        {&with_webpush,
         "register-push-webpush",
         "a.example",
         {{"endpoint", "https://127.0.0.1/"},
          {"p256dh", P256DH},
          {"auth", AUTH},
          {"device-id", "x"}},
         "not-acceptable",
         0},
        {&with_webpush, "unregister-push-webpush", "a.example", {{"device-id", "x"}}, NULL, 2},
        {&with_both,
         "register-push-webpush",
         "a.example",
         {{"endpoint", ENDPOINT}, {"p256dh", P256DH}, {"auth", AUTH}, {"device-id", "x"}},
         "item-not-found",
         0},
        /* It is no device-token, and the others stay as they were. */
        {&with_webpush,
         "register-device",
         "a.example",
         {{"provider", "org.example.chat.web"}, {"device-token", HEX64}},
         "item-not-found",
         0},
        {&with_webpush,
         "register-push-apns",
         "a.example",
         {{"token", HEX64}, {"device-id", "x"}},
         NULL,
         0},
    };
    try_all(cases, sizeof cases / sizeof *cases);
    struct field fields[] = {{"endpoint", "https://PUSH.example.net:443/x"},
                             {"p256dh", P256DH},
                             {"auth", AUTH},
                             {"device-id", "x"},
                             {NULL, NULL}};
    struct dialect_request r;
    struct dialect_error e;
    assert_true(dialect_read(&with_webpush, dialect_find("register-push-webpush"), "a.example",
                             get, fields, &r, &e));
    assert_string_equal(r.token, ENDPOINT " " P256DH " " AUTH);
    assert_string_equal(r.client_id, "x");
}

/* Its public half was written by: openssl ec -pubout -outform DER | tail -c 65 */
static const char private_key[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEINog1Pe+NvcBEkhjWxdWm6G1BX9y5oYz67a6mgi4ohNQoAoGCCqGSM49\n"
    "AwEHoUQDQgAEJgH/TUxeuEnpb0ilPmkQSRzOojMqDoaLCKfE8H/MAcc+mJaaXHEp\n"
    "SGRt0FFcYG/gu427DDE+UnJxtH0+xLqc1g==\n"
    "-----END EC PRIVATE KEY-----\n";

static void a_client_learns_what_to_subscribe_with(void **state)
{
    (void)state;
    static const char *const only[] = {"a.example"};
    const struct webpush_opts with_key = {.private_key = private_key,
                                          .subject = "mailto:a@example.org"};
    const struct apns_app_opts apps[] = {
        {.id = "chat"},
        {.id = "one", .webpush = &with_key},
        {.id = "two", .webpush = &with_key, .domains = only, .domains_n = 1}};
    const struct push_opts opts = {.apps = apps, .apps_n = 3};
    const struct dialect_command *c = dialect_find("register-push-webpush");
    char offer[DIALECT_OFFER_BYTES];
    assert_true(dialect_offer(&opts, c, "a.example", 0, offer));
    assert_string_equal(offer, "BCYB_01MXrhJ6W9IpT5pEEkczqIzKg6GiwinxPB_"
                               "zAHHPpiWmlxxKUhkbdBRXGBv4LuNuwwxPlJycbR9PsS6nNY"
                               " one");
    assert_true(dialect_offer(&opts, c, "a.example", 1, offer));
    assert_string_equal(offer + 87, " two");
    assert_false(dialect_offer(&opts, c, "a.example", 2, offer));
    assert_true(dialect_offer(&opts, c, "b.example", 0, offer));
    assert_false(dialect_offer(&opts, c, "b.example", 1, offer));
    assert_false(dialect_offer(&opts, dialect_find("register-device"), "a.example", 0, offer));
    assert_false(
        dialect_offer(&opts, dialect_find("unregister-push-webpush"), "a.example", 0, offer));
}

static void a_device_may_have_a_second_token_for_calls(void **state)
{
    (void)state;
    static const struct apns_app_opts calls[] = {{.id = "org.example.chat", .voip = true}};
    static const struct push_opts with_calls = {.apps = calls, .apps_n = 1};
    static const struct {
        const struct push_opts *opts;
        const char *node, *token_field, *voip_field, *value;
        const char *read; /* NULL: refused */
    } cases[] = {
        {&with_calls, "register-push-apns", "token", "voip-token", HEX64_UPPER, HEX64},
        {&with_calls, "register-device", "device-token", "device-second-token", HEX64, HEX64},
        {&with_calls, "register-push-apns", "token", "voip-token", "", ""},
        {&with_calls, "register-push-apns", "token", "voip-token", "abc", NULL},
        {&with_calls, "register-device", "device-token", "voip-token", HEX64, ""},
        {&with_one, "register-push-apns", "token", "voip-token", HEX64, ""},
        {&with_one, "register-push-apns", "token", "voip-token", "abc", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct field fields[] = {{"device-id", "1"},
                                 {cases[i].token_field, HEX64},
                                 {cases[i].voip_field, cases[i].value},
                                 {NULL, NULL}};
        struct dialect_request r;
        struct dialect_error e = {0};
        bool ok = dialect_read(cases[i].opts, dialect_find(cases[i].node), "a.example", get,
                               fields, &r, &e);
        if (ok != (cases[i].read != NULL))
            fail_msg("case %zu: %s", i, ok ? "taken" : e.text);
        if (ok)
            assert_string_equal(r.voip_token, cases[i].read);
        else
            assert_string_equal(e.condition, "bad-request");
    }
}

static void an_app_of_p2_knows_the_account_by_a_hash(void **state)
{
    (void)state;
    char name[DIALECT_NAME_BYTES];
    struct dialect_request r = {.command = dialect_find("register-push-fcm"),
                                .app = 1,
                                .client_id = "92afd7a91cdba9a0"};
    assert_true(dialect_account_name(&with_both, &r, "juliet@example.org", name));
    /* printf 'juliet@example.org\0' and the id, through sha1sum. */
    assert_string_equal(name, "4a84e443d241769232d17de3ba55945faac05df5");
    r.app = 0;
    assert_false(dialect_account_name(&with_both, &r, "juliet@example.org", name));
    r.app = 1;
    r.command = dialect_find("register-device");
    assert_false(dialect_account_name(&with_both, &r, "juliet@example.org", name));
}

static void each_dialect_is_answered_in_its_own_shape(void **state)
{
    (void)state;
    struct device_registered d = {.node = "the-node", .secret = "the-secret"};
    struct dialect_result r;
    dialect_result(dialect_find("register-device"), &d, "push.example", &r);
    assert_string_equal(r.form_type, "result");
    assert_int_equal(r.n, 3);
    assert_string_equal(r.fields[0].var, "node");
    assert_string_equal(r.fields[0].value, "the-node");
    assert_string_equal(r.fields[1].var, "features");
    assert_string_equal(r.fields[1].type, "text-multi");
    assert_string_equal(r.fields[2].var, "max-payload-size");

    dialect_result(dialect_find("register-push-apns"), &d, "push.example", &r);
    assert_string_equal(r.form_type, "form");
    assert_int_equal(r.n, 3);
    assert_string_equal(r.fields[0].var, "jid");
    assert_string_equal(r.fields[0].type, "jid-single");
    assert_string_equal(r.fields[0].value, "push.example");
    assert_string_equal(r.fields[1].value, "the-node");
    assert_string_equal(r.fields[2].value, "the-secret");

    dialect_result(dialect_find("unregister-device"), &d, "push.example", &r);
    assert_null(r.form_type);
    dialect_result(dialect_find("unregister-push-apns"), &d, "push.example", &r);
    assert_null(r.form_type);
}

static void every_command_can_be_found_and_asks_for_something(void **state)
{
    (void)state;
    size_t n;
    const struct dialect_command *all = dialect_commands(&n);
    assert_int_equal(n, 10);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(dialect_find(all[i].node), &all[i]);
        assert_non_null(dialect_asks(&all[i])[0]);
    }
    assert_null(dialect_find("register-push-wns"));
}

static void the_providers_that_are_served_are_shown(void **state)
{
    (void)state;
    assert_string_equal(dialect_feature(&with_one, 0), "tigase:messenger:apns:1");
    assert_string_equal(dialect_feature(&with_one, 1), "snikket:apns:1");
    assert_null(dialect_feature(&with_one, 2));
    assert_string_equal(dialect_feature(&with_fcm, 0), "fcm-xmpp-api");
    assert_null(dialect_feature(&with_fcm, 2));
    assert_non_null(dialect_feature(&with_both, 3));
    assert_null(dialect_feature(&with_both, 4));
    assert_null(dialect_feature(&with_none, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_app_is_found_by_name_by_provider_or_by_being_the_only_one),
        cmocka_unit_test(tokens_and_ids_that_cannot_be_right_are_bad_requests),
        cmocka_unit_test(a_token_in_capitals_is_the_same_token),
        cmocka_unit_test(a_registration_finds_the_apps_of_its_service),
        cmocka_unit_test(the_type_of_mod_push_appserver_is_the_service),
        cmocka_unit_test(a_token_has_the_form_its_service_gives),
        cmocka_unit_test(a_subscription_is_registered_whole),
        cmocka_unit_test(a_client_learns_what_to_subscribe_with),
        cmocka_unit_test(a_device_may_have_a_second_token_for_calls),
        cmocka_unit_test(an_app_of_p2_knows_the_account_by_a_hash),
        cmocka_unit_test(each_dialect_is_answered_in_its_own_shape),
        cmocka_unit_test(every_command_can_be_found_and_asks_for_something),
        cmocka_unit_test(the_providers_that_are_served_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
