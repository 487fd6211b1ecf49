// SPDX-License-Identifier: Apache-2.0
#include "apns/stateless.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "apns/notification.h"
#include "apns/opts.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define FCM_TOKEN "cA1_fid-0123456789ABC:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
#define OURS "n3Zk1nWmPq0b5l8xYtUv9QeR"
#define FIELD(var, value) "<field var='" var "'><value>" value "</value></field>"

static const char *const monal[] = {"monalProdiOS", "default"};
static const char *const only[] = {"a.example"};
static const struct fcm_opts fcm = {0};
static const struct apns_app_opts apps[] = {
    {.id = "org.monal", .topic = "org.monal", .names = monal, .names_n = 2},
    {.id = "org.monal.dev", .topic = "org.monal", .sandbox = true},
    {.id = "org.android", .fcm = &fcm},
    {.id = "org.private", .topic = "org.private", .domains = only, .domains_n = 1},
};
static const struct apns_app_opts single[] = {{.id = "org.single", .topic = "org.single"}};

struct attempt {
    unsigned allowed;
    const char *node;
    const char *fields;
    enum stateless_result result;
    const char *app;
    const char *token;
};

#define ALL 7

static const struct attempt attempts[] = {
    {ALL, HEX, FIELD("pushModule", "monalProdiOS"), STATELESS_DEVICE, "org.monal", HEX},
    {ALL, HEX, FIELD("FORM_TYPE", "x") FIELD("pushModule", "org.monal.dev"), STATELESS_DEVICE,
     "org.monal.dev", HEX},
    {ALL, FCM_TOKEN, FIELD("pushModule", "org.android"), STATELESS_DEVICE, "org.android",
     FCM_TOKEN},
    {ALL, HEX, FIELD("pushModule", "quicksyProdiOS"), STATELESS_NO_APP, NULL, NULL},
    {ALL, "no token", FIELD("pushModule", "monalProdiOS"), STATELESS_NO_TOKEN, NULL, NULL},
    {ALL, HEX, "", STATELESS_DEVICE, "org.monal", HEX}, /* "default" */
    {ALL, OURS, "", STATELESS_NONE, NULL, NULL},
    {ALL, HEX, FIELD("pushModule", "fcm") FIELD("secret", "s"), STATELESS_NONE, NULL, NULL},
    {ALL, HEX, FIELD("pushModule", "org.private"), STATELESS_NO_APP, NULL, NULL},
    {ALL & ~1u, HEX, FIELD("pushModule", "monalProdiOS"), STATELESS_NONE, NULL, NULL},
    {0, HEX, "", STATELESS_NONE, NULL, NULL},

    {ALL, "n",
     FIELD("service", "apns") FIELD("device_id", HEX) FIELD("topic", "org.monal")
         FIELD("mode", "prod"),
     STATELESS_DEVICE, "org.monal", HEX},
    {ALL, "n",
     FIELD("service", "apns") FIELD("device_id", HEX) FIELD("topic", "org.monal")
         FIELD("mode", "dev"),
     STATELESS_DEVICE, "org.monal.dev", HEX},
    {ALL, "n", FIELD("service", "fcm") FIELD("device_id", FCM_TOKEN) FIELD("silent", "true"),
     STATELESS_DEVICE, "org.android", FCM_TOKEN},
    {ALL, "n", FIELD("service", "fcm") FIELD("device_id", HEX "="), STATELESS_NO_TOKEN, NULL,
     NULL},
    /* A topic is one of the configured, or it is none; two apps may be meant. */
    {ALL, "n", FIELD("service", "apns") FIELD("device_id", HEX) FIELD("topic", "org.stolen"),
     STATELESS_NO_APP, NULL, NULL},
    {ALL, "n", FIELD("service", "apns") FIELD("device_id", HEX) FIELD("topic", "org.monal"),
     STATELESS_NO_APP, NULL, NULL},
    {ALL, "n", FIELD("service", "wns") FIELD("device_id", HEX), STATELESS_NO_APP, NULL, NULL},
    {ALL & ~2u, "n", FIELD("service", "apns") FIELD("device_id", HEX), STATELESS_NONE, NULL,
     NULL},

    {ALL, "n", FIELD("token", HEX) FIELD("endpoint", "org.monal"), STATELESS_DEVICE,
     "org.monal", HEX},
    {ALL, "n", FIELD("token", HEX) FIELD("endpoint", "https://push.chatsecure.org/api/v1/"),
     STATELESS_NO_APP, NULL, NULL}, /* of three apps, which? */
    {ALL & ~4u, "n", FIELD("token", HEX) FIELD("endpoint", "org.monal"), STATELESS_NONE, NULL,
     NULL},
};

static struct stanza *make(const char *node, const char *fields)
{
    char xml[2048];
    struct err e = {0};
    snprintf(xml, sizeof xml,
             "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='%s'/>"
             "%s%s%s</pubsub>",
             node, *fields ? "<publish-options><x xmlns='jabber:x:data' type='submit'>" : "",
             fields, *fields ? "</x></publish-options>" : "");
    struct stanza *st = xml_parse_element(xml, strlen(xml), &e);
    if (!st)
        fail_msg("%s: %s", xml, e.text);
    return st;
}

static void apps_and_tokens_are_found_as_each_dialect_names_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        const struct attempt *a = &attempts[i];
        const struct push_opts opts = {.stateless = a->allowed, .apps = apps, .apps_n = 4};
        struct stanza *st = make(a->node, a->fields);
        struct notification n;
        struct stateless_device d;
        assert_true(notification_read(st, &n));
        enum stateless_result r = stateless_read(&opts, "b.example", &n, &d);
        if (r != a->result)
            fail_msg("case %zu: %d", i, (int)r);
        if (r == STATELESS_DEVICE) {
            assert_string_equal(apps[d.app].id, a->app);
            assert_string_equal(d.token, a->token);
        }
        stanza_free(&st);
    }
}

static void the_only_app_needs_no_name(void **state)
{
    (void)state;
    const struct push_opts opts = {.stateless = ALL, .apps = single, .apps_n = 1};
    static const char *const fields[] = {
        "", FIELD("token", HEX) FIELD("endpoint", "https://push.example/"),
        FIELD("service", "apns") FIELD("device_id", HEX)};
    for (size_t i = 0; i < 3; i++) {
        struct stanza *st = make(HEX, fields[i]);
        struct notification n;
        struct stateless_device d;
        assert_true(notification_read(st, &n));
        assert_int_equal(stateless_read(&opts, "b.example", &n, &d), STATELESS_DEVICE);
        assert_string_equal(d.token, HEX);
        stanza_free(&st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apps_and_tokens_are_found_as_each_dialect_names_them),
        cmocka_unit_test(the_only_app_needs_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
