// SPDX-License-Identifier: Apache-2.0
#include "base/datetime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <time.h>

static void test_good_dates_become_microseconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:00.000001Z", 1},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:00:00-01:00", -1}, /* year 1969: refused */
        {"2002-09-10T23:08:25Z", 1031699305000000},
        {"2026-03-04T01:02:03.456789Z", 1772586123456789},
        {"2026-03-04T01:02:03.4567899999999999999999Z", 1772586123456789},
        {"2026-03-04T01:02:03.4Z", 1772586123400000},
        {"2026-03-04T01:02:03+05:30", 1772566323000000},
        {"2026-03-03T20:02:03-05:00", 1772586123000000},
        {"2000-02-29T00:00:00Z", 951782400000000},
        {"2016-12-31T23:59:60Z", 1483228800000000},
        {"9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = -7;
        bool good = datetime_parse(cases[i].text, &us);
        if (good != (cases[i].us >= 0) || (good && us != cases[i].us))
            fail_msg("%s gave %d %lld", cases[i].text, good, (long long)us);
    }
}

static void test_bad_dates_are_refused_and_leave_the_output_alone(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "2026-03-04",
        "20260304T01:02:03",
        "2026-03-04T01:02:03",
        "2026-03-04 01:02:03Z",
        "2026-03-04T01:02:03z",
        "2026-03-04T01:02:03.Z",
        "2026-03-04T01:02:03,5Z",
        "2026-03-04T01:02:03+0100",
        "2026-03-04T01:02:03+24:00",
        "2026-03-04T01:02:03+01:60",
        "2026-03-04T01:02:03ZZ",
        "2026-03-04T01:02:03Z ",
        " 2026-03-04T01:02:03Z",
        "2026-3-04T01:02:03Z",
        "2026-00-04T01:02:03Z",
        "2026-13-04T01:02:03Z",
        "2026-02-29T01:02:03Z",
        "1900-02-29T01:02:03Z",
        "2100-02-29T01:02:03Z",
        "2026-04-31T01:02:03Z",
        "2026-03-00T01:02:03Z",
        "2026-03-04T24:00:00Z",
        "2026-03-04T01:60:03Z",
        "2026-03-04T01:02:61Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-00:01",
        "+026-03-04T01:02:03Z",
        "-026-03-04T01:02:03Z",
        "99999-03-04T01:02:03Z",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = -7;
        if (datetime_parse(cases[i], &us) || us != -7)
            fail_msg("%s was taken", cases[i]);
    }
    int64_t us;
    assert_false(datetime_parse(NULL, &us));
}

static void test_every_day_agrees_with_the_c_library_and_reads_back(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 2932897; day += 13) {
        int64_t us = (day * 86400 + day % 86400) * 1000000 + day % 1000000;
        char got[DATETIME_BYTES], want[DATETIME_BYTES];
        datetime_format(us, got);
        time_t seconds = (time_t)(us / 1000000);
        struct tm tm;
        gmtime_r(&seconds, &tm);
        size_t n = strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S.", &tm);
        snprintf(want + n, sizeof want - n, "%06uZ", (unsigned)(us % 1000000) % 1000000);
        assert_string_equal(got, want);
        int64_t back;
        assert_true(datetime_parse(got, &back));
        assert_true(back == us);
    }
}

static void test_what_has_no_date_is_written_as_the_nearest_that_has(void **state)
{
    (void)state;
    char got[DATETIME_BYTES];
    datetime_format(-1, got);
    assert_string_equal(got, "1970-01-01T00:00:00.000000Z");
    datetime_format(INT64_MIN, got);
    assert_string_equal(got, "1970-01-01T00:00:00.000000Z");
    datetime_format(INT64_MAX, got);
    assert_string_equal(got, "9999-12-31T23:59:59.999999Z");
}

static void test_dates_of_http_become_seconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t s;
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Thu, 29 Feb 2024 23:59:60 GMT", 1709251200},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Mon, 06 Nov 1994 08:49:37 GMT", -1}, /* it was a Sunday */
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 06 Nov 1994 08:49:37 GM", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
        {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
        {"Sunday, 06-Nov-94 08:49:37 GMT", -1},
        {"Sun Nov  6 08:49:37 1994", -1},
        {"Sun, 06 nov 1994 08:49:37 GMT", -1},
        {"Sun, 31 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 24:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 08-49-37 GMT", -1},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t s = -1;
        bool ok = datetime_parse_http(cases[i].text, strlen(cases[i].text), &s);
        if (ok != (cases[i].s >= 0) || s != cases[i].s)
            fail_msg("%s: %lld", cases[i].text, (long long)s);
    }
}

static void test_any_year_and_the_short_form_are_each_other_s_way_back(void **state)
{
    (void)state;
    static const struct {
        const char *text, *written;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", NULL, 0},
        {"1969-12-31T23:59:59Z", NULL, -1000000},
        {"1969-12-31T23:59:59.999999Z", NULL, -1},
        {"1469-07-21T02:56:15Z", NULL, INT64_C(-15792613425000000)},
        {"0001-01-01T00:00:00Z", NULL, INT64_C(-62135596800000000)},
        {"2026-03-04T01:02:03.500Z", "2026-03-04T01:02:03.5Z", 1772586123500000},
        {"2026-03-04T01:02:03.000010Z", "2026-03-04T01:02:03.00001Z", 1772586123000010},
        {"2026-03-04T01:02:03.456789Z", NULL, 1772586123456789},
        {"2026-03-04T02:02:03+01:00", "2026-03-04T01:02:03Z", 1772586123000000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t us = -7;
        char written[DATETIME_BYTES];
        assert_true(datetime_parse_any(cases[i].text, &us));
        assert_int_equal(us, cases[i].us);
        datetime_format_short(us, written);
        assert_string_equal(written, cases[i].written ? cases[i].written : cases[i].text);
    }
    int64_t us;
    assert_true(datetime_parse_any("0000-01-01T00:00:00Z", &us)); /* XEP-0136's "ever" */
    assert_true(us < INT64_C(-62135596800000000));
    assert_false(datetime_parse_any("-001-01-01T00:00:00Z", &us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_dates_become_microseconds),
        cmocka_unit_test(test_bad_dates_are_refused_and_leave_the_output_alone),
        cmocka_unit_test(test_any_year_and_the_short_form_are_each_other_s_way_back),
        cmocka_unit_test(test_every_day_agrees_with_the_c_library_and_reads_back),
        cmocka_unit_test(test_what_has_no_date_is_written_as_the_nearest_that_has),
        cmocka_unit_test(test_dates_of_http_become_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
