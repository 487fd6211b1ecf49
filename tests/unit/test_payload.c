// SPDX-License-Identifier: Apache-2.0
#include "apns/payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/utf8.h"

static cJSON *built;

/* Builds, checks what holds for every payload, and parses it back. */
static const cJSON *build(const struct payload_alert_opts *o, size_t *len_out)
{
    struct buf b;
    buf_init(&b, PAYLOAD_MAX);
    payload_alert(&b, o);
    assert_false(buf_failed(&b));
    assert_true(buf_len(&b) <= PAYLOAD_MAX);
    assert_false(payload_is_badge(buf_data(&b), buf_len(&b)));
    for (size_t i = 0; i < buf_len(&b);) {
        size_t n = utf8_char((const char *)buf_data(&b) + i, buf_len(&b) - i);
        assert_true(n > 0);
        assert_true(buf_data(&b)[i] >= 0x20);
        i += n;
    }
    cJSON_Delete(built);
    built = cJSON_ParseWithLength((const char *)buf_data(&b), buf_len(&b));
    assert_non_null(built);
    if (len_out)
        *len_out = buf_len(&b);
    buf_deinit(&b);
    return cJSON_GetObjectItem(built, "aps");
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static int forget(void **state)
{
    (void)state;
    cJSON_Delete(built);
    built = NULL;
    return 0;
}

static const struct payload_alert_opts full = {
    .content = PUSH_CONTENT_BODY,
    .sender = "romeo@example.org",
    .body = "Art thou not Romeo?",
    .badge = 7,
    .sound = "default",
    .thread = "9f86d081884c7d65",
};

static void an_alert_has_all_its_keys(void **state)
{
    (void)state;
    const cJSON *aps = build(&full, NULL);
    const cJSON *alert = cJSON_GetObjectItem(aps, "alert");
    assert_string_equal(text_of(alert, "title"), "romeo@example.org");
    assert_string_equal(text_of(alert, "body"), "Art thou not Romeo?");
    assert_int_equal(cJSON_GetObjectItem(aps, "badge")->valueint, 7);
    assert_string_equal(text_of(aps, "sound"), "default");
    assert_string_equal(text_of(aps, "thread-id"), "9f86d081884c7d65");
    assert_int_equal(cJSON_GetObjectItem(aps, "mutable-content")->valueint, 1);
    assert_string_equal(text_of(built, "conversation"), "9f86d081884c7d65");
    assert_int_equal(cJSON_GetArraySize(aps), 5);
    assert_int_equal(cJSON_GetArraySize(built), 2);
}

static void an_app_has_a_look_of_its_own(void **state)
{
    (void)state;
    struct payload_alert_opts o = full;
    o.encrypted = true;
    o.encrypted_text = "verschl\xC3\xBCsselt";
    o.category = "ME\"SSAGE";
    o.interruption = "time-sensitive";
    const cJSON *aps = build(&o, NULL);
    assert_string_equal(text_of(cJSON_GetObjectItem(aps, "alert"), "body"), o.encrypted_text);
    assert_string_equal(text_of(aps, "category"), o.category);
    assert_string_equal(text_of(aps, "interruption-level"), "time-sensitive");
}

static void content_decides_what_is_shown(void **state)
{
    (void)state;
    static const struct {
        enum push_content content;
        bool encrypted;
        const char *body;
        unsigned badge;
        const char *title, *shown;
    } cases[] = {
        {PUSH_CONTENT_NONE, false, "secret", 3, NULL, "New message"},
        {PUSH_CONTENT_NONE, true, "secret", 3, NULL, "New message"},
        {PUSH_CONTENT_COUNT, false, "secret", 3, NULL, "3 unread messages"},
        {PUSH_CONTENT_COUNT, false, "secret", 1, NULL, "1 unread message"},
        {PUSH_CONTENT_SENDER, false, "secret", 3, "romeo@example.org", "New message"},
        {PUSH_CONTENT_BODY, false, "hello", 3, "romeo@example.org", "hello"},
        {PUSH_CONTENT_BODY, true, "hello", 3, "romeo@example.org", "Encrypted message"},
        {PUSH_CONTENT_BODY, false, NULL, 3, "romeo@example.org", "New message"},
        {PUSH_CONTENT_BODY, false, "", 3, "romeo@example.org", "New message"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct payload_alert_opts o = full;
        o.content = cases[i].content;
        o.encrypted = cases[i].encrypted;
        o.body = cases[i].body;
        o.badge = cases[i].badge;
        const cJSON *alert = cJSON_GetObjectItem(build(&o, NULL), "alert");
        assert_string_equal(text_of(alert, "body"), cases[i].shown);
        if (cases[i].title)
            assert_string_equal(text_of(alert, "title"), cases[i].title);
        else
            assert_null(cJSON_GetObjectItem(alert, "title"));
    }
}

static const struct payload_call calling = {.session = "s\"1",
                                            .media = "audio,video",
                                            .from = "romeo@example.org",
                                            .account = "juliet@example.org",
                                            .text = "ruft an"};

static void a_call_is_told_as_one(void **state)
{
    (void)state;
    struct payload_alert_opts o = full;
    o.call = &calling;
    const cJSON *aps = build(&o, NULL);
    const cJSON *alert = cJSON_GetObjectItem(aps, "alert");
    assert_string_equal(text_of(alert, "title"), "romeo@example.org");
    assert_string_equal(text_of(alert, "body"), "ruft an");
    const cJSON *call = cJSON_GetObjectItem(built, "call");
    assert_string_equal(text_of(call, "id"), "s\"1");
    assert_string_equal(text_of(call, "from"), "romeo@example.org");
    assert_string_equal(text_of(call, "account"), "juliet@example.org");
    const cJSON *media = cJSON_GetObjectItem(call, "media");
    assert_int_equal(cJSON_GetArraySize(media), 2);
    assert_string_equal(cJSON_GetArrayItem(media, 0)->valuestring, "audio");
    assert_string_equal(cJSON_GetArrayItem(media, 1)->valuestring, "video");
    const struct payload_call unnamed = {.session = "s1", .media = "audio"};
    o.call = &unnamed;
    alert = cJSON_GetObjectItem(build(&o, NULL), "alert");
    assert_string_equal(text_of(alert, "body"), "Incoming call");
    call = cJSON_GetObjectItem(built, "call");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(call, "media")), 1);
    assert_null(text_of(call, "from"));
    assert_null(text_of(call, "account"));
}

static const cJSON *parse(struct buf *b)
{
    cJSON_Delete(built);
    built = cJSON_ParseWithLength((const char *)buf_data(b), buf_len(b));
    assert_non_null(built);
    return cJSON_GetObjectItem(built, "aps");
}

static void where_the_app_has_the_words_it_is_told_their_name(void **state)
{
    (void)state;
    static const struct push_loc_keys all = {"new", "count", "secret", "call"}, none = {0};
    static const struct payload_call call = {.session = "s", .media = "audio"};
    static const struct {
        enum push_content content;
        const char *body;
        bool encrypted, call;
        const char *key;
    } cases[] = {
        {PUSH_CONTENT_NONE, "hi", false, false, "new"},
        {PUSH_CONTENT_SENDER, "hi", true, false, "new"},
        {PUSH_CONTENT_COUNT, "hi", false, false, "count"},
        {PUSH_CONTENT_BODY, "hi", false, false, NULL},
        {PUSH_CONTENT_BODY, "", false, false, "new"},
        {PUSH_CONTENT_BODY, "hi", true, false, "secret"},
        {PUSH_CONTENT_SENDER, NULL, false, true, "call"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct payload_alert_opts o = {.content = cases[i].content,
                                       .sender = "juliet",
                                       .body = cases[i].body,
                                       .encrypted = cases[i].encrypted,
                                       .badge = 3,
                                       .call = cases[i].call ? &call : NULL,
                                       .loc = &all};
        const cJSON *alert = cJSON_GetObjectItem(build(&o, NULL), "alert");
        const cJSON *args = cJSON_GetObjectItem(alert, "loc-args");
        if (!cases[i].key) {
            assert_string_equal(text_of(alert, "body"), "hi");
            assert_null(cJSON_GetObjectItem(alert, "loc-key"));
            continue;
        }
        assert_string_equal(text_of(alert, "loc-key"), cases[i].key);
        assert_null(cJSON_GetObjectItem(alert, "body"));
        assert_int_equal(args != NULL, cases[i].content == PUSH_CONTENT_COUNT);
        if (args)
            assert_string_equal(cJSON_GetArrayItem(args, 0)->valuestring, "3");
        o.loc = &none; /* what has no name is said by us */
        alert = cJSON_GetObjectItem(build(&o, NULL), "alert");
        assert_non_null(text_of(alert, "body"));
        assert_null(cJSON_GetObjectItem(alert, "loc-key"));
    }
}

static void what_only_wakes_an_app_shows_nothing(void **state)
{
    (void)state;
    struct buf b;
    struct payload_alert_opts o = full;
    buf_init(&b, PAYLOAD_MAX);
    payload_background(&b, &o);
    const cJSON *aps = parse(&b);
    assert_int_equal(cJSON_GetArraySize(aps), 1);
    assert_int_equal(cJSON_GetObjectItem(aps, "content-available")->valueint, 1);
    assert_int_equal(cJSON_GetObjectItem(built, "unread")->valueint, 7);
    assert_string_equal(text_of(built, "conversation"), full.thread);
    assert_false(payload_is_badge(buf_data(&b), buf_len(&b)));
    buf_reset(&b);
    o.call = &calling;
    payload_voip(&b, &o);
    assert_int_equal(cJSON_GetArraySize(parse(&b)), 0);
    assert_string_equal(text_of(cJSON_GetObjectItem(built, "call"), "id"), "s\"1");
    assert_string_equal(text_of(built, "conversation"), full.thread);
    assert_int_equal(cJSON_GetArraySize(built), 3);
    buf_deinit(&b);
}

static void what_is_missing_is_left_out(void **state)
{
    (void)state;
    struct payload_alert_opts o = {.content = PUSH_CONTENT_BODY, .body = "x", .sound = ""};
    const cJSON *aps = build(&o, NULL);
    assert_null(cJSON_GetObjectItem(aps, "sound"));
    assert_null(cJSON_GetObjectItem(aps, "thread-id"));
    assert_null(cJSON_GetObjectItem(built, "conversation"));
    assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(aps, "alert"), "title"));
    assert_int_equal(cJSON_GetObjectItem(aps, "badge")->valueint, 0);
}

static void every_byte_below_128_comes_back_as_it_was(void **state)
{
    (void)state;
    char all[128];
    for (int i = 1; i < 128; i++)
        all[i - 1] = (char)i;
    all[127] = '\0';
    struct payload_alert_opts o = full;
    o.body = o.sender = o.sound = o.thread = all;
    const cJSON *aps = build(&o, NULL);
    const cJSON *alert = cJSON_GetObjectItem(aps, "alert");
    assert_string_equal(text_of(alert, "body"), all);
    assert_string_equal(text_of(alert, "title"), all);
}

/* Others are taken as they are, plain ones several at a time. */
static void every_byte_comes_back_wherever_it_stands(void **state)
{
    (void)state;
    static const char around[] = "~~~~~~~~~~~~~~~~~"
                                 "\xD0\xB4\xE8\xAA\x9E~\xF0\x9F\x98\x80~~~~~~~~\xC3\xA9";
    const size_t len = strlen(around);
    for (int c = 1; c < 256; c++) {
        for (size_t at = 0; at <= len; at++) {
            char text[64], wanted[64];
            if (utf8_cut(around, len, at) != at)
                continue;
            snprintf(text, sizeof text, "%.*s%c%s", (int)at, around, c, around + at);
            snprintf(wanted, sizeof wanted, "%.*s%.*s%s", (int)at, around, c < 128 ? 1 : 3,
                     c < 128 ? text + at : "\xEF\xBF\xBD", around + at);
            struct buf b;
            buf_init(&b, 256);
            payload_add_text(&b, text, 256);
            cJSON *back = cJSON_ParseWithLength((const char *)buf_data(&b), buf_len(&b));
            assert_non_null(back);
            assert_string_equal(cJSON_GetStringValue(back), wanted);
            cJSON_Delete(back);
            buf_deinit(&b);
        }
    }
}

static void broken_utf8_becomes_a_replacement_character(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a\xFFz", "a\xEF\xBF\xBDz"},
        {"\xC3", "\xEF\xBF\xBD"},
        {"\xE2\x82", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80", "gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct payload_alert_opts o = full;
        o.body = cases[i].in;
        const cJSON *aps = build(&o, NULL);
        assert_string_equal(text_of(cJSON_GetObjectItem(aps, "alert"), "body"), cases[i].out);
    }
}

/* Texts of one repeated piece around the limit: each must fit, use the room it has, and end
 * with the ellipsis after whole pieces when it was cut. */
static void check_truncation(const char *piece)
{
    size_t piece_len = strlen(piece);
    char *text = calloc(6000 + piece_len, 1);
    assert_non_null(text);
    for (size_t n = 0; n * piece_len < 6000; n++) {
        memcpy(text + n * piece_len, piece, piece_len);
        if (n * piece_len < 300 ||
            (n * piece_len > 900 && n * piece_len < 3700 && n % 97 != 0))
            continue;
        struct payload_alert_opts o = full;
        size_t len;
        o.body = text;
        const char *body = text_of(cJSON_GetObjectItem(build(&o, &len), "alert"), "body");
        size_t body_len = strlen(body);
        if (strcmp(body, text) == 0)
            continue;
        assert_true(len > PAYLOAD_MAX - 12);
        assert_true(body_len > 3);
        assert_string_equal(body + body_len - 3, "\xE2\x80\xA6");
        assert_int_equal((body_len - 3) % piece_len, 0);
        assert_memory_equal(body, text, body_len - 3);
    }
    free(text);
}

static void a_long_text_is_cut_between_characters(void **state)
{
    (void)state;
    check_truncation("x");
    check_truncation("\xC3\xBC");
    check_truncation("\xE2\x82\xAC");
    check_truncation("\xF0\x9F\x98\x80");
    check_truncation("\"");
    check_truncation("\x01");
}

static void a_text_that_just_fits_is_not_cut(void **state)
{
    (void)state;
    char *text = calloc(PAYLOAD_MAX + 1, 1);
    assert_non_null(text);
    struct payload_alert_opts o = full;
    o.body = text;
    text[0] = 'x';
    size_t len;
    (void)build(&o, &len);
    size_t room = PAYLOAD_MAX - len + 1;
    memset(text, 'x', room);
    const char *body = text_of(cJSON_GetObjectItem(build(&o, &len), "alert"), "body");
    assert_int_equal(len, PAYLOAD_MAX);
    assert_string_equal(body, text);
    text[room] = 'x';
    body = text_of(cJSON_GetObjectItem(build(&o, &len), "alert"), "body");
    assert_int_equal(strlen(body), room);
    assert_string_equal(body + room - 3, "\xE2\x80\xA6");
    free(text);
}

static void everything_too_long_at_once_still_fits(void **state)
{
    (void)state;
    char *text = malloc(20001);
    assert_non_null(text);
    memset(text, 1, 20000);
    text[20000] = '\0';
    struct payload_alert_opts o = {.content = PUSH_CONTENT_BODY,
                                   .sender = text,
                                   .body = text,
                                   .badge = 4294967295u,
                                   .sound = text,
                                   .thread = text};
    size_t len;
    const cJSON *aps = build(&o, &len);
    assert_true(strlen(text_of(cJSON_GetObjectItem(aps, "alert"), "body")) > 400);
    free(text);
}

static void a_badge_is_all_there_is(void **state)
{
    (void)state;
    static const unsigned badges[] = {0, 1, 99, 4294967295u};
    static const char *const texts[] = {"{\"aps\":{\"badge\":0}}", "{\"aps\":{\"badge\":1}}",
                                        "{\"aps\":{\"badge\":99}}",
                                        "{\"aps\":{\"badge\":4294967295}}"};
    for (size_t i = 0; i < 4; i++) {
        struct buf b;
        buf_init(&b, PAYLOAD_MAX);
        payload_badge(&b, &(struct payload_badge_opts){.badge = badges[i]});
        assert_string_equal(buf_cstr(&b), texts[i]);
        assert_true(payload_is_badge(buf_data(&b), buf_len(&b)));
        buf_deinit(&b);
    }
}

static void an_app_is_woken_for_what_it_is_to_take_back(void **state)
{
    (void)state;
    static char names[PAYLOAD_WITHDRAW_MAX][PAYLOAD_NAME_BYTES];
    struct payload_badge_opts o = {.badge = 3, .withdraw = names, .as_of_s = 1760000000};
    struct buf b;
    buf_init(&b, PAYLOAD_MAX);
    for (int i = 0; i < PAYLOAD_WITHDRAW_MAX; i++)
        snprintf(names[i], PAYLOAD_NAME_BYTES, "%032d", i);
    o.withdraw_n = 2;
    payload_badge(&b, &o);
    assert_string_equal(buf_cstr(&b),
                        "{\"aps\":{\"badge\":3,\"content-available\":1},\"withdraw\":["
                        "\"00000000000000000000000000000000\","
                        "\"00000000000000000000000000000001\"],\"as_of\":1760000000}");
    assert_false(payload_is_badge(buf_data(&b), buf_len(&b)));
    buf_reset(&b);
    o.withdraw_all = true;
    o.badge = 0;
    payload_badge(&b, &o);
    assert_string_equal(buf_cstr(&b), "{\"aps\":{\"badge\":0,\"content-available\":1},"
                                      "\"withdraw\":[\"all\"],\"as_of\":1760000000}");
    buf_reset(&b);
    o = (struct payload_badge_opts){.badge = 4294967295u,
                                    .withdraw = names,
                                    .withdraw_n = PAYLOAD_WITHDRAW_MAX,
                                    .as_of_s = 99999999999};
    payload_badge(&b, &o);
    assert_false(buf_failed(&b)); /* it has room for no more than a push */
    buf_deinit(&b);
}

static void only_a_badge_is_taken_for_one(void **state)
{
    (void)state;
    static const char *const others[] = {"",
                                         "{}",
                                         "{\"aps\":{\"badge\":",
                                         "{\"aps\":{\"badge\":}",
                                         "{\"aps\":{\"badge\":1}",
                                         "{\"aps\":{\"badge\":1,\"sound\":\"x\"}}",
                                         "{\"aps\":{\"badge\":1}} "};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(payload_is_badge((const uint8_t *)others[i], strlen(others[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_alert_has_all_its_keys, forget),
        cmocka_unit_test_teardown(an_app_has_a_look_of_its_own, forget),
        cmocka_unit_test_teardown(content_decides_what_is_shown, forget),
        cmocka_unit_test_teardown(a_call_is_told_as_one, forget),
        cmocka_unit_test_teardown(where_the_app_has_the_words_it_is_told_their_name, forget),
        cmocka_unit_test_teardown(what_only_wakes_an_app_shows_nothing, forget),
        cmocka_unit_test_teardown(what_is_missing_is_left_out, forget),
        cmocka_unit_test_teardown(every_byte_below_128_comes_back_as_it_was, forget),
        cmocka_unit_test(every_byte_comes_back_wherever_it_stands),
        cmocka_unit_test_teardown(broken_utf8_becomes_a_replacement_character, forget),
        cmocka_unit_test_teardown(a_long_text_is_cut_between_characters, forget),
        cmocka_unit_test_teardown(a_text_that_just_fits_is_not_cut, forget),
        cmocka_unit_test_teardown(everything_too_long_at_once_still_fits, forget),
        cmocka_unit_test(a_badge_is_all_there_is),
        cmocka_unit_test(an_app_is_woken_for_what_it_is_to_take_back),
        cmocka_unit_test(only_a_badge_is_taken_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
