// SPDX-License-Identifier: Apache-2.0
/* Rules named M and R: docs/archive.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "archive/mam_query.h"
#include "base/buf.h"
#include "base/stanza.h"
#include "base/xml_parse.h"

#define FORM(inside)                                                                          \
    "<query xmlns='urn:xmpp:mam:2' queryid='q\"1'><x xmlns='jabber:x:data' type='submit'>"    \
    "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>" inside       \
    "</x></query>"
#define FIELD(name, value) "<field var='" name "'><value>" value "</value></field>"

static struct stanza *query_tree;

/* "" when the query was accepted, else the condition of the refusal. */
static const char *read_query(const char *xml, struct mam_query *q)
{
    struct err e;
    struct mam_refusal why;
    stanza_free(&query_tree);
    query_tree = xml_parse_element(xml, strlen(xml), &e);
    assert_non_null(query_tree);
    return mam_query_read(q, query_tree, &why) ? "" : why.condition;
}

static int forget(void **state)
{
    (void)state;
    stanza_free(&query_tree);
    return 0;
}

static void a_query_without_form_asks_for_everything(void **state)
{
    (void)state;
    struct mam_query q;
    assert_string_equal(read_query("<query xmlns='urn:xmpp:mam:2'/>", &q), "");
    assert_null(q.queryid);
    assert_false(q.has_with);
    assert_int_equal(q.start_us, 0);
    assert_true(q.end_us == INT64_MAX);
    assert_false(q.rsm.present);
}

static void fields_become_numbers_and_addresses(void **state)
{
    (void)state;
    struct mam_query q;
    assert_string_equal(read_query(FORM(FIELD("with", "Lao.Wang@CHAT.example/Pad")
                                            FIELD("start", "2026-03-04T01:02:03.5Z")
                                                FIELD("end", "2026-03-04T09:02:03+08:00")),
                                   &q),
                        "");
    assert_string_equal(q.queryid, "q\"1");
    assert_true(q.has_with);
    assert_string_equal(q.with.bare, "lao.wang@chat.example");
    assert_string_equal(q.with.resource, "Pad");
    assert_true(q.start_us == INT64_C(1772586123500000));
    assert_true(q.end_us == INT64_C(1772586123000000));
}

static void empty_fields_are_as_good_as_none(void **state)
{
    (void)state;
    struct mam_query q;
    assert_string_equal(
        read_query(FORM(FIELD("with", "") "<field var='start'/>" FIELD("end", "")), &q), "");
    assert_false(q.has_with);
    assert_int_equal(q.start_us, 0);
}

static void what_cannot_be_served_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *condition;
    } cases[] = {
        {FORM(FIELD("start", "yesterday")), "bad-request"},
        {FORM(FIELD("end", "2026-13-01T00:00:00Z")), "bad-request"},
        {FORM(FIELD("with", "@@")), "jid-malformed"},
        {FORM(FIELD("colour", "red")), "feature-not-implemented"}, /* M4 */
        {FORM("<field><value>x</value></field>"), "bad-request"},
        {"<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>" FIELD(
             "FORM_TYPE", "urn:xmpp:mam:1") "</x></query>",
         "bad-request"},
        {"<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='cancel'/></query>",
         "bad-request"},
        {"<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>"
         "<index>3</index></set></query>",
         "feature-not-implemented"}, /* R8 */
    };
    struct mam_query q;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(read_query(cases[i].xml, &q), cases[i].condition);
}

static void form_type_needs_neither_presence_nor_the_hidden_type(void **state)
{
    (void)state;
    struct mam_query q;
    assert_string_equal(
        read_query("<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data'>" FIELD(
                       "FORM_TYPE", "urn:xmpp:mam:2") "</x></query>",
                   &q),
        "");
    assert_string_equal(
        read_query("<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data'>" FIELD(
                       "with", "a@b") "</x></query>",
                   &q),
        "");
    assert_true(q.has_with);
}

static void the_form_names_the_supported_fields(void **state)
{
    (void)state;
    struct err e;
    stanza_free(&query_tree);
    query_tree = xml_parse_element("<query xmlns='urn:xmpp:mam:2'/>", 31, &e);
    mam_query_form(query_tree, true);
    struct buf b;
    buf_init(&b, 4096);
    stanza_write(&b, query_tree, "urn:xmpp:mam:2");
    assert_non_null(strstr(buf_cstr(&b), "type=\"form\""));
    assert_non_null(strstr(buf_cstr(&b), "var=\"with\""));
    assert_non_null(strstr(buf_cstr(&b), "var=\"start\""));
    assert_non_null(strstr(buf_cstr(&b), "var=\"end\""));
    assert_non_null(strstr(buf_cstr(&b), "var=\"before-id\" type=\"text-single\""));
    assert_non_null(strstr(buf_cstr(&b), "var=\"after-id\" type=\"text-single\""));
    assert_non_null(strstr(
        buf_cstr(&b), "var=\"ids\" type=\"list-multi\"><validate xmlns=\"http://jabber.org/"
                      "protocol/xdata-validate\" datatype=\"xs:string\"><open/>"
                      "</validate></field>"));
    assert_null(strstr(buf_cstr(&b), "required"));
    buf_deinit(&b);
}

static void neighbours_and_ids_are_kept_as_they_came(void **state)
{
    (void)state;
    struct mam_query q;
    const struct stanza *at = NULL;
    assert_string_equal(read_query(FORM(FIELD("after-id", "a") FIELD("before-id", "b")), &q),
                        "");
    assert_string_equal(q.after_id, "a");
    assert_string_equal(q.before_id, "b");
    assert_null(q.ids);
    assert_false(q.flip_page);
    assert_string_equal(
        read_query(FORM("<field var='ids'><value>x</value><value/><value>y</value></field>"),
                   &q),
        "");
    assert_string_equal(mam_query_next_id(&q, &at), "x");
    assert_string_equal(mam_query_next_id(&q, &at), "y");
    assert_null(mam_query_next_id(&q, &at));
    assert_string_equal(read_query("<query xmlns='urn:xmpp:mam:2'><flip-page/></query>", &q),
                        "");
    assert_true(q.flip_page);
    assert_string_equal(
        read_query("<query xmlns='urn:xmpp:mam:2'><flip-page xmlns='other'/></query>", &q),
        "");
    assert_false(q.flip_page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_query_without_form_asks_for_everything, forget),
        cmocka_unit_test_teardown(fields_become_numbers_and_addresses, forget),
        cmocka_unit_test_teardown(empty_fields_are_as_good_as_none, forget),
        cmocka_unit_test_teardown(what_cannot_be_served_is_refused, forget),
        cmocka_unit_test_teardown(form_type_needs_neither_presence_nor_the_hidden_type,
                                  forget),
        cmocka_unit_test_teardown(the_form_names_the_supported_fields, forget),
        cmocka_unit_test_teardown(neighbours_and_ids_are_kept_as_they_came, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
