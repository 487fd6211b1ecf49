// SPDX-License-Identifier: Apache-2.0
#include "apns/sender.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static char shown[SENDER_NAME_BYTES];

/* text may have any bytes of UTF-8, and "&#10;" and the like. */
static const char *with_nick(const char *text, const char *contacts)
{
    char xml[4096];
    snprintf(xml, sizeof xml,
             "<message from='mallory@evil.example/x'><body>hi</body>"
             "<nick xmlns='http://jabber.org/protocol/nick'>%s</nick></message>",
             text);
    const struct sender s = {.jid = "mallory@evil.example",
                             .message = xml,
                             .message_len = strlen(xml),
                             .contacts = contacts};
    return sender_name(&s, shown);
}

static void the_accounts_own_name_comes_first_then_the_senders_then_the_address(void **state)
{
    (void)state;
    static const char xml[] =
        "<message><nick xmlns='http://jabber.org/protocol/nick'>Mal</nick></message>";
    struct sender s = {.jid = "mallory@evil.example",
                       .contact = "That one",
                       .message = xml,
                       .message_len = sizeof xml - 1};
    assert_string_equal(sender_name(&s, shown), "That one");
    s.contact = " \t";
    assert_string_equal(sender_name(&s, shown), "Mal");
    s.contact = NULL;
    assert_string_equal(sender_name(&s, shown), "Mal");
    s.message = NULL;
    assert_string_equal(sender_name(&s, shown), "mallory");
    s.jid = "evil.example";
    assert_string_equal(sender_name(&s, shown), "evil.example");
}

static void a_stanza_without_a_good_nick_is_as_none(void **state)
{
    (void)state;
    static const char *const stanzas[] = {
        "", "<message/>", "<message", "<message><nick>Mal</nick></message>",
        "<message><nick xmlns='http://jabber.org/protocol/nick'/></message>"};
    for (size_t i = 0; i < sizeof stanzas / sizeof *stanzas; i++) {
        const struct sender s = {.jid = "mallory@evil.example",
                                 .message = stanzas[i],
                                 .message_len = strlen(stanzas[i])};
        assert_string_equal(sender_name(&s, shown), "mallory");
    }
}

static void a_nick_is_no_address_and_nobody_who_is_known(void **state)
{
    (void)state;
    static const char contacts[] = "Juliet\nMum & Dad\nÉmile";
    static const char *const refused[] = {
        "juliet@capulet.example",
        "x@y",
        "a\xEF\xBC\xA0"
        "b", /* U+FF20 */
        "a\xEF\xB9\xAB"
        "b", /* U+FE6B */
        "Juliet",
        "jULIET",
        " Juliet ",
        "Ju\xE2\x80\x8Bliet", /* U+200B */
        "\xEF\xBC\xAAuliet",  /* U+FF2A */
        "Mum &amp; Dad",
        "E\xCC\x81mile",
        "\xE2\x80\x8D",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_string_equal(with_nick(refused[i], contacts), "mallory");
    assert_string_equal(with_nick("Juliette", contacts), "Juliette");
    assert_string_equal(with_nick("Juliet", NULL), "Juliet");
    assert_string_equal(with_nick("Mum", contacts), "Mum");
}

static void a_name_is_one_line_that_is_seen_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"a&#10;b&#13;&#9; c", "a b c"},
        {"\xE2\x80\xAE"
         "evil\xE2\x80\xAC\xE2\x81\xA6x\xE2\x81\xA9",
         "evilx"}, /* bidi */
        {"\xD8\x9C\xE2\x80\x8E\xE2\x80\x8F"
         "a",
         "a"},
        {"a\xE2\x80\xA8"
         "b\xE2\x80\xA9"
         "c\xC2\x85"
         "d",
         "a b c d"}, /* line separators */
        {"\xEF\xBB\xBF\xC2\xAD"
         "a\xE2\x81\xA0",
         "a"},
        {"\xF3\xA0\x81\xA1"
         "a",
         "a"}, /* a tag */
        {"\xC2\xA0\xE3\x80\x80 a \xE3\x80\x80 b\xC2\xA0", "a b"},
        {"\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80", /* joined: a woman astronaut */
         "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80"},
        {"\xE5\xBC\xA0\xE4\xBC\x9F", "\xE5\xBC\xA0\xE4\xBC\x9F"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(with_nick(cases[i].text, NULL), cases[i].shown);
    assert_false(sender_clean("", shown));
    assert_false(sender_clean("\x01\x7f\t", shown));
    assert_true(sender_clean("a\xff"
                             "b\xc3",
                             shown)); /* no UTF-8 */
    assert_string_equal(shown, "ab");
}

static size_t characters(const char *text)
{
    size_t n = 0, len = strlen(text);
    for (size_t i = 0; i < len; n++)
        i += utf8_char(text + i, len - i);
    return n;
}

static void a_long_name_is_cut_between_two_characters(void **state)
{
    (void)state;
    static const char *const letters[] = {"a", "\xC3\xA9", "\xE5\xBC\xA0", "\xF0\x9F\x9A\x80"};
    for (size_t i = 0; i < 4; i++) {
        char text[4 * 100 + 1] = "";
        for (int n = 1; n < 100; n++) {
            strcat(text, letters[i]);
            assert_true(sender_clean(text, shown));
            if (n <= SENDER_CHARS_MAX)
                assert_string_equal(shown, text);
            else
                assert_int_equal(characters(shown), SENDER_CHARS_MAX + 1);
        }
        assert_string_equal(shown + strlen(shown) - 3, "\xE2\x80\xA6");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_accounts_own_name_comes_first_then_the_senders_then_the_address),
        cmocka_unit_test(a_stanza_without_a_good_nick_is_as_none),
        cmocka_unit_test(a_nick_is_no_address_and_nobody_who_is_known),
        cmocka_unit_test(a_name_is_one_line_that_is_seen_as_it_is),
        cmocka_unit_test(a_long_name_is_cut_between_two_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
