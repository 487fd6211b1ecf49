// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"

struct heard {
    char line[4096];
    unsigned lines;
    enum log_level level;
};

static void hear(void *ctx, enum log_level level, const char *line)
{
    struct heard *h = ctx;
    snprintf(h->line, sizeof h->line, "%s", line);
    h->level = level;
    h->lines++;
}

static int teardown(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL);
    clock_fake_off();
    return 0;
}

static void test_an_error_returns_its_kind_and_keeps_its_text(void **state)
{
    (void)state;
    struct err e = {.kind = ERR_NONE};
    assert_int_equal(err_set(&e, ERR_RETRY, "try %d", 7), ERR_RETRY);
    assert_int_equal(e.kind, ERR_RETRY);
    assert_string_equal(e.text, "try 7");
    assert_int_equal(err_set(NULL, ERR_PEER, "nobody asks"), ERR_PEER);
}

static void test_a_long_error_text_is_cut(void **state)
{
    (void)state;
    struct err e;
    err_set(&e, ERR_REJECT, "%0500d", 1);
    assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
}

static void test_every_kind_has_a_name(void **state)
{
    (void)state;
    for (int k = ERR_NONE; k <= ERR_CONFIG; k++)
        assert_string_not_equal(err_kind_name((enum err_kind)k), "?");
}

static void test_a_line_has_time_level_process_object_and_text(void **state)
{
    (void)state;
    struct heard h = {.lines = 0};
    clock_fake(0, 1700000000000000);
    log_init(&(struct log_opts){.level = LOG_INFO, .format = LOG_TEXT}, "worker");
    log_set_sink(hear, &h);
    log_warn("gateway app=x", "state=%s", "down");
    assert_string_equal(h.line, "time=2023-11-14T22:13:20.000000Z level=warn process=worker "
                                "gateway app=x state=down");
    assert_int_equal(h.level, LOG_WARN);
    log_info(NULL, "alone");
    assert_non_null(strstr(h.line, "process=worker alone"));
    assert_int_equal(h.lines, 2);
}

static void test_levels_above_the_setting_are_silent(void **state)
{
    (void)state;
    struct heard h = {.lines = 0};
    log_init(&(struct log_opts){.level = LOG_WARN, .format = LOG_TEXT}, "worker");
    log_set_sink(hear, &h);
    log_info("a", "b");
    log_debug("a", "b");
    assert_int_equal(h.lines, 0);
    log_error("a", "b");
    assert_int_equal(h.lines, 1);
    assert_true(log_enabled(LOG_WARN));
    assert_false(log_enabled(LOG_INFO));
}

static void test_one_event_stays_one_line(void **state)
{
    (void)state;
    struct heard h = {.lines = 0};
    log_init(&(struct log_opts){.level = LOG_INFO, .format = LOG_TEXT}, "worker");
    log_set_sink(hear, &h);
    log_info("jid=a\nlevel=error", "x\r\n\x1b[1m\x7f\xff\xc3\xa9");
    assert_null(strchr(h.line, '\n'));
    assert_non_null(strstr(h.line, "jid=a\\x0alevel=error x\\x0d\\x0a\\x1b[1m\\x7f?\xc3\xa9"));
}

static void test_json_is_escaped(void **state)
{
    (void)state;
    struct heard h = {.lines = 0};
    clock_fake(0, 1700000000000000);
    log_init(&(struct log_opts){.level = LOG_INFO, .format = LOG_JSON}, "link");
    log_set_sink(hear, &h);
    log_error("spool", "a \"b\" \\ \n \xfe \xf0\x9f\x90\x99");
    assert_string_equal(h.line,
                        "{\"time\":\"2023-11-14T22:13:20.000000Z\",\"level\":\"error\","
                        "\"process\":\"link\",\"object\":\"spool\","
                        "\"text\":\"a \\\"b\\\" \\\\ \\u000a ? \xf0\x9f\x90\x99\"}");
}

static void test_a_long_line_is_cut_between_characters_and_json_stays_closed(void **state)
{
    (void)state;
    struct heard h = {.lines = 0};
    char text[8001];
    for (size_t i = 0; i < 8000; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[8000] = '\0';
    for (size_t shift = 0; shift < 2; shift++) {
        log_init(&(struct log_opts){.level = LOG_INFO, .format = LOG_JSON}, "link");
        log_set_sink(hear, &h);
        log_info("spool", "%s%s", shift ? "x" : "", text);
        assert_null(strchr(h.line, '?'));
        assert_string_equal(h.line + strlen(h.line) - 2, "\"}");
        memset(text, '\n', sizeof text - 1);
        log_info(text, "%s", text);
        assert_string_equal(h.line + strlen(h.line) - 2, "\"}");
        for (size_t i = 0; i < 8000; i += 2)
            memcpy(text + i, "\xc3\xa9", 2);
    }
}

static void test_without_a_sink_a_line_goes_to_standard_error_in_one_piece(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    dup2(fds[1], STDERR_FILENO);
    log_init(&(struct log_opts){.level = LOG_INFO, .format = LOG_TEXT}, "worker");
    errno = EAGAIN;
    log_info("a", "b");
    assert_int_equal(errno, EAGAIN);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    char got[512];
    ssize_t n = read(fds[0], got, sizeof got - 1);
    close(fds[0]);
    assert_true(n > 0);
    got[n] = '\0';
    assert_non_null(strstr(got, " level=info process=worker a b\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_returns_its_kind_and_keeps_its_text),
        cmocka_unit_test(test_a_long_error_text_is_cut),
        cmocka_unit_test(test_every_kind_has_a_name),
        cmocka_unit_test_teardown(test_a_line_has_time_level_process_object_and_text,
                                  teardown),
        cmocka_unit_test_teardown(test_levels_above_the_setting_are_silent, teardown),
        cmocka_unit_test_teardown(test_one_event_stays_one_line, teardown),
        cmocka_unit_test_teardown(test_json_is_escaped, teardown),
        cmocka_unit_test_teardown(
            test_a_long_line_is_cut_between_characters_and_json_stays_closed, teardown),
        cmocka_unit_test_teardown(
            test_without_a_sink_a_line_goes_to_standard_error_in_one_piece, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
