// SPDX-License-Identifier: Apache-2.0
#include "base/xml_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/xml_parse.h"

/* From memory of exactly that size, so that reading past it is seen. */
static void expect_n(const char *text, size_t len, unsigned depth, const char *want)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    struct stanza *s = xml_head(copy, len, depth);
    free(copy);
    if (!want || !s) {
        assert_null(want);
        assert_null(s);
        return;
    }
    struct buf out;
    buf_init(&out, 1 << 20);
    stanza_write(&out, s, NULL);
    assert_string_equal(buf_cstr(&out), want);
    stanza_free(&s);
    buf_deinit(&out);
}

static void expect(const char *text, unsigned depth, const char *want)
{
    expect_n(text, strlen(text), depth, want);
}

static void the_first_tags_become_a_tree_without_text(void **state)
{
    (void)state;
    const char *text = "\n <a x='1'>text<b xmlns='u'>more<c y=\"&gt;>\"><d/></c><e/></b></a>";
    expect(text, 1, "<a x=\"1\"/>");
    expect(text, 2, "<a x=\"1\"><b xmlns=\"u\"/></a>");
    expect(text, 8, "<a x=\"1\"><b xmlns=\"u\"><c y=\"&gt;&gt;\"><d/></c></b></a>");
    expect("<a/>", 5, "<a/>");
    expect("<a></a>", 5, "<a/>");
    expect("<a><![CDATA[<b>]]></a>", 5, "<a/>");
    expect("<p:a xmlns:p='u'><p:b/></p:a>", 5, "<a xmlns=\"u\"><b/></a>");
}

static void what_is_cut_off_ends_the_tree(void **state)
{
    (void)state;
    const char *text = "<a x='1'><b y='2'><c z='3'>";
    expect_n(text, 9, 5, "<a x=\"1\"/>");
    expect_n(text, 17, 5, "<a x=\"1\"/>");
    expect_n(text, 18, 5, "<a x=\"1\"><b y=\"2\"/></a>");
    for (size_t len = 0; len < 9; len++)
        expect_n(text, len, 5, NULL);
}

static void a_tag_that_is_not_accepted_ends_the_tree(void **state)
{
    (void)state;
    struct buf wide;
    buf_init(&wide, 1 << 20);
    buf_add_str(&wide, "<a><b ");
    for (int i = 0; i < 1000; i++)
        buf_addf(&wide, "a%d='' ", i);
    buf_add_str(&wide, "><c/></b></a>");
    expect_n((const char *)buf_data(&wide), buf_len(&wide), 5, "<a/>");
    buf_reset(&wide);
    buf_add_str(&wide, "<a><b x='");
    for (int i = 0; i < 5000; i++)
        buf_add_str(&wide, "xxxxxxxxxx");
    buf_add_str(&wide, "'/></a>");
    expect_n((const char *)buf_data(&wide), buf_len(&wide), 5, "<a/>");
    buf_deinit(&wide);
    expect("<a><p:b/></a>", 5, "<a/>");
    expect("<a><b x='1' x='2'/></a>", 5, "<a/>");
}

static void what_is_no_element_has_no_head(void **state)
{
    (void)state;
    static const char *const cases[] = {"",     "text",  "<!-- x --><a/>", "<?x?><a/>",
                                        "</a>", "<a b>", "<!DOCTYPE a>",   "< a/>",
                                        "<>",   "<p:a/>"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i], 5, NULL);
    expect_n("<\0a>", 4, 5, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_tags_become_a_tree_without_text),
        cmocka_unit_test(what_is_cut_off_ends_the_tree),
        cmocka_unit_test(a_tag_that_is_not_accepted_ends_the_tree),
        cmocka_unit_test(what_is_no_element_has_no_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
