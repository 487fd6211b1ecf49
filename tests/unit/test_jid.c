// SPDX-License-Identifier: Apache-2.0
#include "base/jid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_good_addresses_are_taken_apart_and_prepared(void **state)
{
    (void)state;
    static const struct {
        const char *text, *bare, *local, *domain, *resource;
    } cases[] = {
        {"e.test", "e.test", "", "e.test", ""},
        {"alice@e.test", "alice@e.test", "alice", "e.test", ""},
        {"ALICE@E.Test/Phone", "alice@e.test", "alice", "e.test", "Phone"},
        {"e.test/a@b/c", "e.test", "", "e.test", "a@b/c"},
        {"a@e.test/ x ", "a@e.test", "a", "e.test", " x "},
        {"a@e.test.", "a@e.test", "a", "e.test", ""},
        {"a@e.test./r", "a@e.test", "a", "e.test", "r"},
        {"a.b+c=d!#$%^*()~`{}|\\;,?[]@e", "a.b+c=d!#$%^*()~`{}|\\;,?[]@e",
         "a.b+c=d!#$%^*()~`{}|\\;,?[]", "e", ""},
        {"a\\40b@e", "a\\40b@e", "a\\40b", "e", ""},
        {"a@192.0.2.1/r", "a@192.0.2.1", "a", "192.0.2.1", "r"},
        {"a@[2001:DB8::0:1]/r", "a@[2001:db8::1]", "a", "[2001:db8::1]", "r"},
        {"room_1@muc_x.e.test", "room_1@muc_x.e.test", "room_1", "muc_x.e.test", ""},
        {"M\xC3\x9CLLER@M\xC3\x9CNCHEN.test/\xC3\x9C", "m\xC3\xBCller@m\xC3\xBCnchen.test",
         "m\xC3\xBCller", "m\xC3\xBCnchen.test", "\xC3\x9C"},
        /* sharp s folds to ss, in names as in nodes */
        {"stra\xC3\x9F"
         "e@e",
         "strasse@e", "strasse", "e", ""},
        /* a soft hyphen maps to nothing; full-width letters to plain ones */
        {"a\xC2\xAD"
         "b@\xEF\xBD\x85.test",
         "ab@e.test", "ab", "e.test", ""},
        /* Cyrillic is not Latin, and stays apart */
        {"\xD0\x90@e", "\xD0\xB0@e", "\xD0\xB0", "e", ""},
        /* an emoji, which Unicode 3.2 does not know */
        {"a@e/\xF0\x9F\x90\x99", "a@e", "a", "e", "\xF0\x9F\x90\x99"},
        /* composed by NFKC: e and a combining acute accent */
        {"e\xCC\x81@e", "\xC3\xA9@e", "\xC3\xA9", "e", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct jid j;
        char local[JID_PART_MAX + 1];
        if (!jid_parse(&j, cases[i].text))
            fail_msg("%s was refused", cases[i].text);
        assert_string_equal(j.bare, cases[i].bare);
        jid_local(&j, local);
        assert_string_equal(local, cases[i].local);
        assert_int_equal(j.local_len, strlen(local));
        assert_string_equal(jid_domain(&j), cases[i].domain);
        assert_string_equal(j.resource, cases[i].resource);
        assert_int_equal(jid_is_bare(&j), cases[i].resource[0] == '\0');
    }
}

static void test_what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "@",
        "/",
        "@e.test",
        "a@",
        "a@/r",
        "e.test/",
        "a@e.test/",
        "/r",
        "a@b@e.test",
        "a b@e.test",
        " a@e.test",
        "a@e.test ",
        "a\"@e.test",
        "a&@e.test",
        "a'@e.test",
        "a:@e.test",
        "a<@e.test",
        "a>@e.test",
        "a\x7f@e.test",
        "a\t@e.test",
        "a@e test",
        "a@.",
        "a@..",
        "a@e..test",
        "a@.e",
        "a@e.test..",
        "a@e:5222",
        "a@e<test",
        "a@[::1",
        "a@[]",
        "a@[::g]",
        "a@[1.2.3.4]",
        "a@[::1].",
        "a@e/\x01",
        "a@e/x\ny",
        "a@e/\x7f",
        "\xC0\xAE@e",
        "a@\xFF",
        "a@e/\xED\xA0\x80",
        "a@e/\xC3",
        "\xC2\xAD@e", /* nothing is left of the node */
        "a\xEF\xBC\xA0"
        "b@e", /* a full-width '@' in the node */
        "a@e\xEF\xBC\xA0"
        "f", /* and in the domain */
        "a@e\xEF\xBC\x8F"
        "f",                /* a full-width '/' */
        "a\xE3\x80\x80@e",  /* an ideographic space */
        "a@e/\xE2\x80\xA8", /* a line separator */
        "a@e/\xEE\x80\x80", /* private use */
        "a@e/\xD7\x90"
        "a", /* right-to-left and left-to-right in one part */
    };
    struct jid j;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (jid_parse(&j, cases[i]))
            fail_msg("case %zu was taken: %s", i, j.bare);
    assert_false(jid_parse(&j, NULL));
}

static void test_each_part_has_its_length_limit(void **state)
{
    (void)state;
    char part[1100];
    char text[4000];
    struct jid j;
    for (size_t len = JID_PART_MAX; len <= JID_PART_MAX + 1; len++) {
        bool good = len == JID_PART_MAX;
        memset(part, 'a', len);
        part[len] = '\0';
        snprintf(text, sizeof text, "%s@e/r", part);
        assert_int_equal(jid_parse(&j, text), good);
        snprintf(text, sizeof text, "a@%s/r", part);
        assert_int_equal(jid_parse(&j, text), good);
        snprintf(text, sizeof text, "a@e/%s", part);
        assert_int_equal(jid_parse(&j, text), good);
    }
    memset(part, 'a', JID_PART_MAX);
    part[JID_PART_MAX] = '\0';
    snprintf(text, sizeof text, "%s@%s/%s", part, part, part);
    assert_true(jid_parse(&j, text));
    char full[3 * JID_PART_MAX + 4];
    jid_full(&j, full);
    assert_string_equal(full, text);
    /* 600 letters that become 1200 bytes when folded. */
    for (size_t i = 0; i < 1000; i += 2)
        memcpy(part + i, "\xC7\xB0", 2); /* j with caron: folds to three bytes */
    part[1000] = '\0';
    snprintf(text, sizeof text, "%s@e", part);
    jid_parse(&j, text);
    char *huge = malloc(70000);
    assert_non_null(huge);
    memset(huge, 'a', 69999);
    huge[69999] = '\0';
    assert_false(jid_parse(&j, huge));
    memcpy(huge + 30000, "@\xC3\xA9", 3);
    assert_false(jid_parse(&j, huge));
    free(huge);
}

static void test_addresses_compare_by_what_they_mean(void **state)
{
    (void)state;
    struct jid a, b, c;
    assert_true(jid_parse(&a, "Alice@E.test/One"));
    assert_true(jid_parse(&b, "alice@e.test./One"));
    assert_true(jid_parse(&c, "alice@e.test/one"));
    assert_true(jid_same(&a, &b));
    assert_true(jid_same_bare(&a, &c));
    assert_false(jid_same(&a, &c));
    char full[3 * JID_PART_MAX + 4];
    jid_full(&a, full);
    assert_string_equal(full, "alice@e.test/One");
    assert_true(jid_parse(&a, "alice@e.test"));
    jid_full(&a, full);
    assert_string_equal(full, "alice@e.test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_addresses_are_taken_apart_and_prepared),
        cmocka_unit_test(test_what_is_no_address_is_refused),
        cmocka_unit_test(test_each_part_has_its_length_limit),
        cmocka_unit_test(test_addresses_compare_by_what_they_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
