// SPDX-License-Identifier: Apache-2.0
#include "base/form.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/xml_parse.h"

static struct stanza *read_xml(const char *text)
{
    struct err e;
    struct stanza *s = xml_parse_element(text, strlen(text), &e);
    assert_non_null(s);
    return s;
}

static void test_fields_are_read_whatever_their_types(void **state)
{
    (void)state;
    struct stanza *q = read_xml(
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='other'/><x xmlns='jabber:x:data' "
        "type='submit'>"
        "<title>t</title><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>"
        "<field var='with' type='bogus'><value>a@e</value><value>b@e</value></field>"
        "<field var='none'/><field var='empty'><value/></field><field><value>z</value></field>"
        "</x></query>");
    struct stanza *x = form_find(q);
    assert_non_null(x);
    assert_string_equal(form_type(x), "submit");
    assert_string_equal(form_value(x, "FORM_TYPE"), "urn:xmpp:mam:2");
    assert_string_equal(form_value(x, "with"), "a@e");
    assert_string_equal(form_value(x, "none"), "");
    assert_string_equal(form_value(x, "empty"), "");
    assert_null(form_value(x, "missing"));
    const struct stanza *v = stanza_child(form_field(x, "with"), "value", NS_DATA_FORMS);
    v = stanza_sibling(v, "value", NS_DATA_FORMS);
    assert_string_equal(stanza_text(v), "b@e");
    stanza_free(&q);
}

static void test_a_form_that_is_not_there_has_no_fields(void **state)
{
    (void)state;
    struct stanza *q = read_xml("<query xmlns='u'><x xmlns='jabber:x:other'/></query>");
    assert_null(form_find(q));
    assert_null(form_find(NULL));
    assert_null(form_field(NULL, "a"));
    assert_null(form_value(NULL, "a"));
    stanza_free(&q);
    q = read_xml("<query xmlns='u'><x xmlns='jabber:x:data'/></query>");
    assert_string_equal(form_type(form_find(q)), "submit");
    stanza_free(&q);
}

static void test_a_form_is_written(void **state)
{
    (void)state;
    struct arena *a = arena_new(65536);
    struct stanza *q = stanza_new(a, "q", "u");
    struct stanza *x = form_add(q, "form", "urn:x");
    struct stanza *f = form_add_field(x, "with", "jid-single", NULL);
    form_add_value(f, "a<b");
    form_add_value(f, "c");
    form_add_field(x, "plain", NULL, "v");
    form_add(q, "result", NULL);
    struct buf b;
    buf_init(&b, 4096);
    stanza_write(&b, q, "u");
    assert_string_equal(
        buf_cstr(&b),
        "<q><x xmlns=\"jabber:x:data\" type=\"form\">"
        "<field var=\"FORM_TYPE\" type=\"hidden\"><value>urn:x</value></field>"
        "<field var=\"with\" type=\"jid-single\"><value>a&lt;b</value><value>c</value></field>"
        "<field var=\"plain\"><value>v</value></field></x>"
        "<x xmlns=\"jabber:x:data\" type=\"result\"/></q>");
    buf_deinit(&b);
    assert_null(form_add(NULL, "form", "urn:x"));
    assert_null(form_add_field(NULL, "a", "b", "c"));
    form_add_value(NULL, "c");
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_are_read_whatever_their_types),
        cmocka_unit_test(test_a_form_that_is_not_there_has_no_fields),
        cmocka_unit_test(test_a_form_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
