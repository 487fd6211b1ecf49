// SPDX-License-Identifier: Apache-2.0
#include "base/stanza.h"

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

#define NS_CLIENT "jabber:client"

static int setup(void **state)
{
    *state = arena_new(1024 * 1024);
    return 0;
}

static int teardown(void **state)
{
    struct arena *a = *state;
    arena_free(&a);
    return 0;
}

static void expect_written(const struct stanza *el, const char *outer_ns, const char *want)
{
    struct buf b;
    buf_init(&b, 1024 * 1024);
    stanza_write(&b, el, outer_ns);
    assert_string_equal(buf_cstr(&b), want);
    buf_deinit(&b);
}

static void test_a_built_stanza_is_written_with_namespaces_where_they_change(void **state)
{
    struct stanza *m = stanza_new(*state, "message", NS_CLIENT);
    stanza_set(m, "to", "bob@e.test");
    stanza_set(m, "xml:lang", "en");
    stanza_add_leaf(m, "body", NULL, "1 < 2 & \"3\" 'x' \n");
    struct stanza *f = stanza_add(m, "forwarded", "urn:xmpp:forward:0");
    stanza_add_leaf(f, "message", NS_CLIENT, NULL);
    stanza_add(f, "delay", "urn:xmpp:delay");
    stanza_add(f, "same", "urn:xmpp:forward:0");
    expect_written(m, NULL,
                   "<message xmlns=\"jabber:client\" to=\"bob@e.test\" xml:lang=\"en\">"
                   "<body>1 &lt; 2 &amp; \"3\" 'x' \n</body>"
                   "<forwarded xmlns=\"urn:xmpp:forward:0\"><message xmlns=\"jabber:client\"/>"
                   "<delay xmlns=\"urn:xmpp:delay\"/><same/></forwarded></message>");
    expect_written(stanza_child(m, "body", NULL), NS_CLIENT,
                   "<body>1 &lt; 2 &amp; \"3\" 'x' \n</body>");
    expect_written(m->first->next, "urn:xmpp:forward:0",
                   "<forwarded><message xmlns=\"jabber:client\"/>"
                   "<delay xmlns=\"urn:xmpp:delay\"/><same/></forwarded>");
}

static void test_no_namespace_is_declared_only_inside_another(void **state)
{
    struct stanza *a = stanza_new(*state, "a", NULL);
    stanza_add(a, "b", NULL);
    assert_string_equal(a->ns, "");
    expect_written(a, NULL, "<a><b/></a>");
    expect_written(a, "u", "<a xmlns=\"\"><b/></a>");
}

static void test_elements_of_the_xml_namespace_keep_their_prefix(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    struct stanza *x = stanza_add(a, "odd", NS_XML);
    stanza_add(x, "b", "u");
    stanza_add(x, "c", "v");
    expect_written(a, "u", "<a><xml:odd><b/><c xmlns=\"v\"/></xml:odd></a>");
    expect_written(x, "u", "<xml:odd><b/><c xmlns=\"v\"/></xml:odd>");
}

static void test_attributes_of_other_namespaces_get_a_prefix_each(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    struct stanza_attr attrs[40];
    char names[40][8], spaces[40][8];
    struct buf want;
    buf_init(&want, 65536);
    buf_add_str(&want, "<a");
    for (unsigned i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "n%u", i);
        snprintf(spaces[i], sizeof spaces[i], "s%u", i / 2);
        attrs[i] = (struct stanza_attr){.name = names[i],
                                        .ns = spaces[i],
                                        .value = "<",
                                        .next = i < 39 ? &attrs[i + 1] : NULL};
        unsigned prefix = i / 2 < 16 ? i / 2 : i - 16;
        if (i % 2 == 0 || i / 2 >= 16)
            buf_addf(&want, " xmlns:ns%u=\"s%u\"", prefix, i / 2);
        buf_addf(&want, " ns%u:n%u=\"&lt;\"", prefix, i);
    }
    buf_add_str(&want, "/>");
    a->attrs = attrs;
    expect_written(a, "u", buf_cstr(&want));
    assert_null(stanza_get(a, "n0"));
    buf_deinit(&want);
}

static void test_what_is_no_xml_character_never_leaves(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    static const char text[] = "\x01|\r|\t|\xEF\xBF\xBE|\xEF\xBF\xBF|\xEF\xBF\xBD|\xFF|\xC3|"
                               "\xED\xA0\x80|\xF0\x9F\x90\x99|\xE2\x82";
    stanza_add_text(a, text, sizeof text - 1);
#define BAD "\xEF\xBF\xBD"
    expect_written(a, "u",
                   "<a>" BAD "|&#13;|\t|" BAD "|" BAD "|" BAD "|" BAD "|" BAD "|" BAD BAD BAD
                   "|\xF0\x9F\x90\x99|" BAD BAD "</a>");
    struct buf b;
    buf_init(&b, 1000);
    xml_escape(&b, "a\0b", 3);
    assert_string_equal(buf_cstr(&b), "a" BAD "b");
    buf_deinit(&b);
}

static void test_the_escape_serves_both_quotes_and_keeps_white_space(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    xml_escape_str(&b, "<>&\"' \t\r\n x");
    assert_string_equal(buf_cstr(&b), "&lt;&gt;&amp;&quot;&apos; &#9;&#13;&#10; x");
    buf_deinit(&b);
}

static void test_attributes_are_set_replaced_and_removed(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    stanza_set(a, "x", "1");
    stanza_set(a, "y", "2");
    stanza_set(a, "z", "3");
    stanza_set(a, "x", "4");
    stanza_set(a, "y", NULL);
    stanza_set(a, "nothing", NULL);
    assert_string_equal(stanza_get(a, "x"), "4");
    assert_null(stanza_get(a, "y"));
    expect_written(a, "u", "<a x=\"4\" z=\"3\"/>");
}

static void test_children_are_found_by_name_and_namespace(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    stanza_add_text(a, "t", 1);
    struct stanza *b1 = stanza_add(a, "b", "u");
    struct stanza *b2 = stanza_add(a, "b", "v");
    stanza_add_text(a, "t", 1);
    struct stanza *c = stanza_add(a, "c", "u");
    assert_ptr_equal(stanza_child(a, NULL, NULL), b1);
    assert_ptr_equal(stanza_child(a, "b", "v"), b2);
    assert_ptr_equal(stanza_child(a, "c", NULL), c);
    assert_null(stanza_child(a, "c", "v"));
    assert_ptr_equal(stanza_sibling(b1, NULL, "u"), c);
    assert_ptr_equal(stanza_sibling(b1, "b", NULL), b2);
    assert_null(stanza_sibling(c, NULL, NULL));
    assert_true(stanza_is(b2, "b", "v"));
    assert_false(stanza_is(b2, "b", "u"));
    assert_false(stanza_is(NULL, "b", "u"));
    assert_false(stanza_is(a->first, NULL, NULL));
}

static void test_text_is_the_direct_text_joined(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    assert_string_equal(stanza_text(a), "");
    stanza_add_text(a, "one", 3);
    assert_string_equal(stanza_text(a), "one");
    stanza_add_leaf(a, "b", NULL, "not this");
    stanza_add_text(a, " two", 4);
    assert_string_equal(stanza_text(a), "one two");
    assert_string_equal(stanza_child_text(a, "b", "u"), "not this");
    assert_null(stanza_child_text(a, "c", "u"));
    assert_string_equal(stanza_text(NULL), "");
}

static void test_children_move_and_go(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    struct stanza *b = stanza_add(a, "b", NULL);
    struct stanza *c = stanza_add(a, "c", NULL);
    struct stanza *d = stanza_add(a, "d", NULL);
    stanza_remove(c);
    expect_written(a, "u", "<a><b/><d/></a>");
    stanza_append(b, c);
    stanza_append(b, d);
    expect_written(a, "u", "<a><b><c/><d/></b></a>");
    stanza_remove(d);
    stanza_append(a, d);
    stanza_remove(b);
    expect_written(a, "u", "<a><d/></a>");
    stanza_remove(d);
    stanza_remove(a);
    expect_written(a, "u", "<a/>");
    stanza_append(a, b);
    expect_written(a, "u", "<a><b><c/></b></a>");
}

static void test_a_copy_is_whole_and_independent(void **state)
{
    struct stanza *a = stanza_new(*state, "a", "u");
    stanza_set(a, "x", "1");
    struct stanza *b = stanza_add(a, "b", "v");
    stanza_add_text(b, "text", 4);
    stanza_add(b, "c", "v");
    stanza_add(a, "d", "u");
    struct arena *other = arena_new(65536);
    struct stanza *copy = stanza_copy(other, b);
    struct stanza *whole = stanza_copy(other, a);
    stanza_set(a, "x", "2");
    stanza_remove(b);
    expect_written(copy, NULL, "<b xmlns=\"v\">text<c/></b>");
    assert_null(copy->parent);
    expect_written(whole, "u", "<a x=\"1\"><b xmlns=\"v\">text<c/></b><d/></a>");
    assert_ptr_equal(whole->first->first->arena, other);
    struct arena *small = arena_new(300);
    assert_null(stanza_copy(small, whole));
    arena_free(&other);
    arena_free(&small);
}

static void test_depth_costs_no_stack(void **state)
{
    (void)state;
    struct arena *a = arena_new(64 * 1024 * 1024);
    struct stanza *root = stanza_new(a, "a", "u");
    struct stanza *at = root;
    for (int i = 0; i < 100000; i++)
        at = stanza_add(at, "a", NULL);
    struct stanza *copy = stanza_copy(a, root);
    assert_non_null(copy);
    struct buf b;
    buf_init(&b, 8 * 1024 * 1024);
    stanza_write(&b, copy, "u");
    assert_int_equal(buf_len(&b), 100000 * 7 + 4);
    buf_deinit(&b);
    arena_free(&a);
}

static void test_a_full_arena_makes_null_and_null_is_taken_everywhere(void **state)
{
    (void)state;
    struct arena *small = arena_new(400);
    struct stanza *a = stanza_new(small, "a", "u");
    struct stanza *last = a;
    for (int i = 0; i < 100 && last; i++)
        last = stanza_add(a, "b", "v");
    assert_null(last);
    stanza_set(last, "x", "y");
    stanza_set(a, "x", "y");
    stanza_add_text(last, "t", 1);
    stanza_add_text(a, "text that does not fit any more", 31);
    stanza_append(a, NULL);
    stanza_append(NULL, a);
    stanza_remove(NULL);
    assert_null(stanza_add(NULL, "x", "y"));
    assert_null(stanza_add_leaf(NULL, "x", "y", "z"));
    assert_null(stanza_get(NULL, "x"));
    assert_null(stanza_child(NULL, "x", "y"));
    assert_null(stanza_copy(small, NULL));
    struct buf b;
    buf_init(&b, 10);
    stanza_write(&b, NULL, NULL);
    assert_int_equal(buf_len(&b), 0);
    buf_deinit(&b);
    arena_free(&small);
}

static void test_booleans_are_the_four_of_xml_schema(void **state)
{
    (void)state;
    bool is = false;
    assert_true(xml_boolean("true", &is) && is);
    assert_true(xml_boolean("0", &is) && !is);
    assert_true(xml_boolean("1", &is) && is);
    assert_true(xml_boolean("false", &is) && !is);
    assert_false(xml_boolean("", &is) || xml_boolean("TRUE", &is) || xml_boolean("yes", &is));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_booleans_are_the_four_of_xml_schema),
        T(test_a_built_stanza_is_written_with_namespaces_where_they_change),
        T(test_no_namespace_is_declared_only_inside_another),
        T(test_elements_of_the_xml_namespace_keep_their_prefix),
        T(test_attributes_of_other_namespaces_get_a_prefix_each),
        T(test_what_is_no_xml_character_never_leaves),
        T(test_the_escape_serves_both_quotes_and_keeps_white_space),
        T(test_attributes_are_set_replaced_and_removed),
        T(test_children_are_found_by_name_and_namespace),
        T(test_text_is_the_direct_text_joined),
        T(test_children_move_and_go),
        T(test_a_copy_is_whole_and_independent),
        T(test_depth_costs_no_stack),
        T(test_a_full_arena_makes_null_and_null_is_taken_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
