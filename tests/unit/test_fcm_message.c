// SPDX-License-Identifier: Apache-2.0
#include "apns/fcm_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/buf.h"

#define TOKEN "cA1_fid-0123456789ABC:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
#define KEY "0123456789abcdef0123456789abcdef"

static struct buf b;
static cJSON *root;

static const struct fcm_message_opts plain = {.token = TOKEN,
                                              .form = FCM_NOTIFICATION,
                                              .collapse_key = KEY,
                                              .ttl_s = 43200,
                                              .expiration_s = 1760043200};
static const struct payload_alert_opts hello = {.content = PUSH_CONTENT_BODY,
                                                .sender = "juliet",
                                                .body = "Hello!",
                                                .badge = 7,
                                                .sound = "default",
                                                .thread = KEY};

static int start(void **state)
{
    (void)state;
    buf_init(&b, 2 * FCM_MESSAGE_MAX);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    cJSON_Delete(root);
    root = NULL;
    buf_deinit(&b);
    return 0;
}

static void parse(void)
{
    assert_false(buf_failed(&b));
    assert_true(buf_len(&b) <= FCM_MESSAGE_MAX);
    cJSON_Delete(root);
    const char *end;
    root = cJSON_ParseWithOpts(buf_cstr(&b), &end, true);
    if (!root)
        fail_msg("no JSON: %s", buf_cstr(&b));
}

static void alert(const struct fcm_message_opts *o, const struct payload_alert_opts *a)
{
    buf_reset(&b);
    fcm_message_alert(&b, o, a);
    parse();
}

static void badge(const struct fcm_message_opts *o, unsigned n)
{
    buf_reset(&b);
    fcm_message_badge(&b, o, &(struct payload_badge_opts){.badge = n});
    parse();
}

static void withdraw(const struct fcm_message_opts *o, size_t n, bool all)
{
    static char names[PAYLOAD_WITHDRAW_MAX][PAYLOAD_NAME_BYTES];
    for (int i = 0; i < PAYLOAD_WITHDRAW_MAX; i++)
        snprintf(names[i], PAYLOAD_NAME_BYTES, "%032d", i);
    buf_reset(&b);
    fcm_message_badge(&b, o,
                      &(struct payload_badge_opts){.badge = all ? 0 : 4294967295u,
                                                   .withdraw = names,
                                                   .withdraw_n = n,
                                                   .withdraw_all = all,
                                                   .as_of_s = 1760000000});
    parse();
}

/* "a.b.c" below message; NULL when it is not there. */
static const cJSON *at(const char *path)
{
    char copy[128], *rest = copy, *name;
    const cJSON *item = cJSON_GetObjectItem(root, "message");
    snprintf(copy, sizeof copy, "%s", path);
    while ((name = strsep(&rest, ".")))
        item = cJSON_GetObjectItemCaseSensitive(item, name);
    return item;
}

static void expect(const char *path, const char *value)
{
    const cJSON *item = at(path);
    if (!cJSON_IsString(item) || strcmp(item->valuestring, value) != 0)
        fail_msg("%s in %s", path, buf_cstr(&b));
}

static void expect_number(const char *path, int value)
{
    const cJSON *item = at(path);
    if (!cJSON_IsNumber(item) || item->valueint != value)
        fail_msg("%s in %s", path, buf_cstr(&b));
}

static void a_notification_is_shown_by_the_system_on_either_platform(void **state)
{
    (void)state;
    alert(&plain, &hello);
    expect("token", TOKEN);
    expect("notification.title", "juliet");
    expect("notification.body", "Hello!");
    expect("data.badge", "7");
    expect("data.conversation", KEY);
    expect("android.collapse_key", KEY);
    expect("android.priority", "high");
    expect("android.ttl", "43200s");
    expect("android.notification.tag", KEY);
    expect("android.notification.sound", "default");
    expect_number("android.notification.notification_count", 7);
    expect("apns.headers.apns-priority", "10");
    expect("apns.headers.apns-collapse-id", KEY);
    expect("apns.headers.apns-expiration", "1760043200");
    expect_number("apns.payload.aps.badge", 7);
    expect_number("apns.payload.aps.mutable-content", 1);
    expect("apns.payload.aps.thread-id", KEY);
    expect("apns.payload.aps.sound", "default");
    assert_null(at("data.title"));
}

static void a_data_message_is_shown_by_the_app(void **state)
{
    (void)state;
    struct fcm_message_opts o = plain;
    o.form = FCM_DATA;
    alert(&o, &hello);
    expect("data.title", "juliet");
    expect("data.body", "Hello!");
    expect("data.badge", "7");
    expect("data.conversation", KEY);
    expect("android.priority", "high");
    assert_null(at("notification"));
    assert_null(at("android.notification"));
    expect("apns.headers.apns-priority", "5");
    expect_number("apns.payload.aps.content-available", 1);
}

static void where_the_app_has_the_words_no_text_stands_in_their_way(void **state)
{
    (void)state;
    static const struct push_loc_keys loc = {"new", "unread", "secret", "rings"};
    static const struct payload_call call = {.session = "s", .media = "audio"};
    struct fcm_message_opts o = plain;
    struct payload_alert_opts a = hello;
    a.loc = &loc;
    a.channel = "messages";
    alert(&plain, &a); /* somebody's own words */
    expect("notification.body", "Hello!");
    assert_null(at("android.notification.body_loc_key"));
    a.encrypted = true;
    alert(&plain, &a);
    assert_null(at("notification"));
    expect("android.notification.title", "juliet");
    expect("android.notification.body_loc_key", "secret");
    expect("android.notification.channel_id", "messages");
    assert_null(at("android.notification.body"));
    assert_null(at("android.notification.body_loc_args"));
    expect("apns.payload.aps.alert.title", "juliet");
    expect("apns.payload.aps.alert.loc-key", "secret");
    assert_null(at("apns.payload.aps.alert.body"));
    a.content = PUSH_CONTENT_COUNT;
    alert(&plain, &a);
    assert_null(at("android.notification.title"));
    expect("android.notification.body_loc_key", "unread");
    assert_string_equal(
        cJSON_GetArrayItem(at("android.notification.body_loc_args"), 0)->valuestring, "7");
    assert_string_equal(
        cJSON_GetArrayItem(at("apns.payload.aps.alert.loc-args"), 0)->valuestring, "7");
    o.form = FCM_DATA;
    alert(&o, &a);
    expect("data.body_loc_key", "unread");
    expect("data.body", "7 unread messages");
    a.call = &call;
    alert(&plain, &a);
    expect("apns.payload.aps.alert.loc-key", "rings");
    assert_null(at("apns.payload.aps.alert.body"));
}

static void an_app_of_p2_is_woken_for_its_account_and_told_no_more(void **state)
{
    (void)state;
    struct fcm_message_opts o = plain;
    o.account = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
    o.collapse_key = "a94a8f";
    alert(&o, &hello);
    expect("data.account", o.account);
    expect("data.badge", "7");
    assert_int_equal(cJSON_GetArraySize(at("data")), 2);
    assert_int_equal(cJSON_GetArraySize(at("android")), 3);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "message")), 3);
    badge(&o, 0);
    expect("data.account", o.account);
    expect("data.badge", "0");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(root, "message")), 3);
}

static void a_count_alone_shows_nothing_and_is_not_urgent(void **state)
{
    (void)state;
    badge(&plain, 3);
    expect("data.badge", "3");
    expect("android.priority", "normal");
    expect("apns.headers.apns-priority", "5");
    expect_number("apns.payload.aps.badge", 3);
    assert_null(at("notification"));
    assert_null(at("android.notification"));
    assert_null(at("apns.payload.aps.alert"));
    assert_null(at("apns.payload.aps.content-available"));
    assert_null(at("data.withdraw"));
}

static void what_is_to_go_is_named_in_one_text(void **state)
{
    (void)state;
    static char token[513];
    withdraw(&plain, 2, false);
    expect("data.withdraw",
           "00000000000000000000000000000000 00000000000000000000000000000001");
    expect("data.as_of", "1760000000");
    expect("android.priority", "normal");
    expect("apns.headers.apns-priority", "5");
    expect_number("apns.payload.aps.content-available", 1);
    withdraw(&plain, 2, true);
    expect("data.withdraw", "all");
    expect("data.badge", "0");
    memset(token, 'a', 512);
    struct fcm_message_opts o = plain;
    o.token = token;
    withdraw(&o, PAYLOAD_WITHDRAW_MAX, false); /* is parsed, so it fits */
    assert_int_equal(strlen(at("data.withdraw")->valuestring), 33 * PAYLOAD_WITHDRAW_MAX - 1);
    o.account = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
    withdraw(&o, 2, false); /* its app has no names for them */
    assert_int_equal(cJSON_GetArraySize(at("data")), 2);
}

static void how_long_it_is_kept_stays_within_what_the_service_takes(void **state)
{
    (void)state;
    static const struct {
        int64_t ttl_s;
        const char *ttl, *expiration;
    } cases[] = {
        {0, "0s", "0"},
        {-5, "0s", "0"},
        {1, "1s", "1760043200"},
        {2419200, "2419200s", "1760043200"},
        {2419201, "2419200s", "1760043200"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fcm_message_opts o = plain;
        o.ttl_s = cases[i].ttl_s;
        badge(&o, 1);
        expect("android.ttl", cases[i].ttl);
        expect("apns.headers.apns-expiration", cases[i].expiration);
    }
}

static void what_may_be_shown_is_the_same_as_through_apns(void **state)
{
    (void)state;
    static const struct {
        enum push_content content;
        bool encrypted;
        const char *title, *body;
    } cases[] = {
        {PUSH_CONTENT_NONE, false, NULL, "New message"},
        {PUSH_CONTENT_COUNT, false, NULL, "7 unread messages"},
        {PUSH_CONTENT_SENDER, false, "juliet", "New message"},
        {PUSH_CONTENT_BODY, false, "juliet", "Hello!"},
        {PUSH_CONTENT_BODY, true, "juliet", "Encrypted message"},
    };
    static const enum fcm_form forms[] = {FCM_NOTIFICATION, FCM_DATA};
    for (size_t f = 0; f < 2; f++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct fcm_message_opts o = plain;
            struct payload_alert_opts a = hello;
            const char *title = f == 0 ? "notification.title" : "data.title";
            o.form = forms[f];
            a.content = cases[i].content;
            a.encrypted = cases[i].encrypted;
            alert(&o, &a);
            if (cases[i].title)
                expect(title, cases[i].title);
            else
                assert_null(at(title));
            expect(f == 0 ? "notification.body" : "data.body", cases[i].body);
        }
}

/* The longest of everything, made of what takes most room in JSON. */
static void any_text_fits_and_stays_whole_characters(void **state)
{
    (void)state;
    static char token[513], sender[5000], body[20000], sound[300];
    static const char *const pieces[] = {"\x01", "\"", "\xE6\x94\xB9", "\xFF", "a"};
    memset(token, 'a', 512);
    memset(sound, 's', 299);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        size_t n = strlen(pieces[p]);
        for (size_t i = 0; i + n < sizeof sender; i += n)
            memcpy(sender + i, pieces[p], n + 1);
        for (size_t i = 0; i + n < sizeof body; i += n)
            memcpy(body + i, pieces[p], n + 1);
        for (int form = 0; form < 2; form++) {
            struct fcm_message_opts o = plain;
            o.token = token;
            o.form = form ? FCM_DATA : FCM_NOTIFICATION;
            const struct payload_alert_opts a = {.content = PUSH_CONTENT_BODY,
                                                 .sender = sender,
                                                 .body = body,
                                                 .badge = 4294967295u,
                                                 .sound = sound,
                                                 .thread = KEY};
            alert(&o, &a);
            assert_true(buf_len(&b) > FCM_MESSAGE_MAX - 16);
            const char *text = at(form ? "data.body" : "notification.body")->valuestring;
            assert_memory_equal(text + strlen(text) - 3, "\xE2\x80\xA6", 3);
        }
    }
}

static void a_channel_is_named_where_there_is_one(void **state)
{
    (void)state;
    struct payload_alert_opts a = hello;
    alert(&plain, &a);
    assert_null(at("android.notification.channel_id"));
    a.channel = "messages";
    alert(&plain, &a);
    expect("android.notification.channel_id", "messages");
}

static void a_call_rings_by_the_app_on_android_and_is_an_alert_elsewhere(void **state)
{
    (void)state;
    const struct payload_call call = {.session = "s1",
                                      .media = "audio,video",
                                      .from = "juliet@example.org",
                                      .account = "romeo@example.org"};
    struct payload_alert_opts a = hello;
    struct fcm_message_opts o = plain;
    a.call = &call;
    o.ttl_s = 45;
    for (int form = FCM_NOTIFICATION; form <= FCM_DATA; form++) {
        o.form = (enum fcm_form)form;
        alert(&o, &a);
        expect("data.call", "s1");
        expect("data.call_media", "audio,video");
        expect("data.call_from", "juliet@example.org");
        expect("data.call_account", "romeo@example.org");
        expect("data.conversation", KEY);
        expect("data.badge", "7");
        expect("android.priority", "high");
        expect("android.ttl", "45s");
        assert_null(at("notification"));
        assert_null(at("android.notification"));
        expect("apns.headers.apns-priority", "10");
        expect("apns.payload.aps.alert.title", "juliet");
        expect("apns.payload.aps.alert.body", "Incoming call");
        expect("apns.payload.aps.sound", "default");
        expect("apns.payload.call.id", "s1");
    }
    o.account = "0123456789012345678901234567890123456789"; /* p2's apps are only woken */
    alert(&o, &a);
    assert_null(at("data.call"));
    expect("android.priority", "high");
    expect("android.ttl", "45s");
}

static void the_longest_call_fits(void **state)
{
    (void)state;
    char session[129], address[PAYLOAD_ADDRESS_MAX + 1], token[1025];
    memset(session, '"', sizeof session - 1);
    memset(address, 'a', sizeof address - 1);
    memset(token, 't', sizeof token - 1);
    session[sizeof session - 1] = address[sizeof address - 1] = token[sizeof token - 1] = 0;
    token[1000] = 0;
    const struct payload_call call = {session, "audio,video", address, address, address};
    struct payload_alert_opts a = hello;
    struct fcm_message_opts o = plain;
    a.call = &call;
    a.sender = address;
    a.sound = address;
    o.token = token;
    alert(&o, &a);
    expect("data.call", session);
    expect("data.call_from", address);
    expect("data.call_account", address);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_notification_is_shown_by_the_system_on_either_platform),
        TEST(a_channel_is_named_where_there_is_one),
        TEST(a_call_rings_by_the_app_on_android_and_is_an_alert_elsewhere),
        TEST(the_longest_call_fits),
        TEST(a_data_message_is_shown_by_the_app),
        TEST(where_the_app_has_the_words_no_text_stands_in_their_way),
        TEST(an_app_of_p2_is_woken_for_its_account_and_told_no_more),
        TEST(a_count_alone_shows_nothing_and_is_not_urgent),
        TEST(what_is_to_go_is_named_in_one_text),
        TEST(how_long_it_is_kept_stays_within_what_the_service_takes),
        TEST(what_may_be_shown_is_the_same_as_through_apns),
        TEST(any_text_fits_and_stays_whole_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
