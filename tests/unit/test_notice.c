// SPDX-License-Identifier: Apache-2.0
#include "base/notice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/xml_parse.h"

#define EVENT(node, item)                                                                     \
    "<message xmlns='jabber:client' from='pubsub.e.test' to='bob@e.test'>"                    \
    "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='" node "'>" item     \
    "</items></event></message>"
#define ORDER(inside) "<item id='i1' publisher='Li@e.test/r'>" inside "</item>"
#define PLAIN "<message xmlns='jabber:client'><subject>s</subject><body>b</body></message>"

static struct stanza *parse(const char *text)
{
    struct err e = {0};
    struct stanza *s = xml_parse_element(text, strlen(text), &e);
    if (!s)
        fail_msg("%s: %s", text, e.text);
    return s;
}

static void which_one_is_meant(void **state)
{
    (void)state;
    static const struct notice_opts of[] = {
        {.from = "pubsub.e.test", .node = "orders", .title = "exact"},
        {.from = "pubsub.e.test", .node = "orders/", .below = true, .title = "below"},
        {.from = "e.test", .title = "server"},
    };
    static const struct notice_list list = {of, 3};
    static const struct {
        const char *from, *resource, *message, *found;
    } cases[] = {
        {"pubsub.e.test", "", EVENT("orders", ORDER("")), "exact"},
        {"pubsub.e.test", "", EVENT("orders/7", ORDER("")), "below"},
        {"pubsub.e.test", "", EVENT("orders/7/a", ORDER("")), "below"},
        {"pubsub.e.test", "", EVENT("orders2", ORDER("")), NULL},
        {"pubsub.e.test", "", EVENT("order", ORDER("")), NULL},
        {"pubsub.e.test", "", EVENT("orders", "<retract id='1'/>"), NULL},
        {"pubsub.e.test", "", PLAIN, NULL},
        {"pubsub.e.test", "x", EVENT("orders", ORDER("")), NULL},
        {"eve@pubsub.e.test", "", EVENT("orders", ORDER("")), NULL},
        {"ubsub.e.test", "", EVENT("orders", ORDER("")), NULL},
        {"eve@e.test", "", EVENT("orders", ORDER("")), NULL},
        {"e.test", "", PLAIN, "server"},
        {"e.test", "", EVENT("orders", ORDER("")), NULL},
        {"e.test", "r", PLAIN, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stanza *s = parse(cases[i].message);
        const struct notice_opts *o = notice_find(&list, cases[i].from, cases[i].resource, s);
        if (!o != !cases[i].found || (o && strcmp(o->title, cases[i].found) != 0))
            fail_msg("case %zu: %s", i, o ? o->title : "none");
        assert_null(notice_find(&(struct notice_list){0}, cases[i].from, "", s));
        stanza_free(&s);
    }
}

static void the_publisher_is_the_items(void **state)
{
    (void)state;
    struct stanza *s = parse(EVENT("n", ORDER("")));
    assert_true(notice_is_by(s, "li@e.test"));
    assert_false(notice_is_by(s, "i@e.test"));
    stanza_free(&s);
    s = parse(EVENT("n", "<item publisher='@'/>"));
    assert_false(notice_is_by(s, "li@e.test"));
    stanza_free(&s);
    s = parse(PLAIN);
    assert_false(notice_is_by(s, "li@e.test"));
    stanza_free(&s);
}

static void what_a_template_may_be(void **state)
{
    (void)state;
    char name[NOTICE_NAME_MAX + 4];
    static const char *const good[] = {"", "plain", "{a}", "Order {number}: {state}",
                                       "{a}{b}"};
    static const char *const bad[] = {"{", "}", "{}", "{a", "a}", "{{a}}", "{a b}", "{a}}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(notice_template_is_good(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(notice_template_is_good(bad[i]));
    memset(name, 'x', sizeof name);
    memcpy(name, "{", 1);
    memcpy(name + NOTICE_NAME_MAX + 1, "}", 2);
    assert_true(notice_template_is_good(name));
    memcpy(name + NOTICE_NAME_MAX + 1, "x}", 3);
    assert_false(notice_template_is_good(name));
}

static void expect(const char *template, const char *message, const char *text)
{
    char out[NOTICE_TEXT_MAX];
    struct stanza *s = parse(message);
    notice_render(template, s, out);
    assert_string_equal(out, text);
    stanza_free(&s);
}

static void fields_are_filled_in(void **state)
{
    (void)state;
    static const char order[] = EVENT(
        "orders", ORDER("<o:order xmlns:o='urn:o' number='17' state='no'><x><state>sent &amp; "
                        "paid</state></x><empty/><state>second</state></o:order>"));
    expect("Order {number}", order, "Order 17");
    expect("{number}/{empty}/{none}.", order, "17//.");
    expect("{id} {publisher}", order, "i1 Li@e.test/r");
    /* The first in the order of the document, an element before its attributes. */
    expect("{state}", order, "no");
    expect("{state}", EVENT("n", ORDER("<state state='a'>e</state>")), "e");
    expect("{node}{from}{to}", order, ""); /* of the item, not of what is around it */
    expect("{subject}: {body}", PLAIN, "s: b");
    expect("{body}", EVENT("n", ORDER("<a><body>&#xE9;{state}</body></a>")),
           "\xC3\xA9{state}"); /* a field is no template */
}

static void texts_are_cut_between_characters(void **state)
{
    (void)state;
    static char message[16384];
    char out[NOTICE_TEXT_MAX], field[2000] = "a";
    for (size_t i = 0; i < 800; i++)
        memcpy(field + 1 + 2 * i, "\xC3\xA9", 3);
    snprintf(message, sizeof message,
             "<message xmlns='jabber:client'><body>%s</body></message>", field);
    struct stanza *s = parse(message);
    notice_render("{body}", s, out);
    assert_int_equal(strlen(out), NOTICE_FIELD_MAX - 1);
    assert_memory_equal(out, field, NOTICE_FIELD_MAX - 1);
    notice_render("{body}{body}{body}{body}{body}", s, out);
    assert_int_equal(strlen(out), NOTICE_TEXT_MAX - 1);
    notice_render("ab{body}{body}{body}{body}{body}", s, out);
    assert_in_range(strlen(out), NOTICE_TEXT_MAX - 2, NOTICE_TEXT_MAX - 1);
    assert_true((unsigned char)out[strlen(out) - 1] != 0xC3);
    stanza_free(&s);
}

static void a_long_payload_is_not_looked_through(void **state)
{
    (void)state;
    static char message[16384] = "<message xmlns='jabber:client'>";
    for (unsigned i = 0; i < NOTICE_ELEMENTS_MAX - 2; i++)
        strcat(message, "<a/>");
    char *end = message + strlen(message);
    strcpy(end, "<in>1</in><out>2</out></message>");
    expect("{in}{out}", message, "1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_one_is_meant),
        cmocka_unit_test(the_publisher_is_the_items),
        cmocka_unit_test(what_a_template_may_be),
        cmocka_unit_test(fields_are_filled_in),
        cmocka_unit_test(texts_are_cut_between_characters),
        cmocka_unit_test(a_long_payload_is_not_looked_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
