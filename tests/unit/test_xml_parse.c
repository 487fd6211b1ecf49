// SPDX-License-Identifier: Apache-2.0
#include "base/xml_parse.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc installs no header for it */
#endif

#define HEAD                                                                                  \
    "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "                    \
    "xmlns:stream='http://etherx.jabber.org/streams' id='17' xml:lang='en'>"
#define SMALL                                                                                 \
    (struct xml_parse_opts)                                                                   \
    {                                                                                         \
        .stanza_bytes_max = 4096, .depth_max = 4, .attrs_max = 5                              \
    }

/* What the parser told, as text, one line per event. */
struct told {
    struct buf text;
    struct xml_parse *parser;
    unsigned stop_after; /* events; 0: never */
    unsigned events;
    unsigned stanzas;
    uint64_t origin; /* offsets are told from here, so that a reader can count them */
};

static void one_more(struct told *t)
{
    t->events++;
    if (t->stop_after && t->events % t->stop_after == 0)
        xml_parse_stop(t->parser);
}

static void on_root(void *ctx, const struct stanza *root)
{
    struct told *t = ctx;
    buf_add_str(&t->text, "root ");
    stanza_write(&t->text, root, NULL);
    buf_add_char(&t->text, '\n');
    one_more(t);
}

static void on_stanza(void *ctx, struct stanza *s, uint64_t end)
{
    struct told *t = ctx;
    buf_addf(&t->text, "%llu ", (unsigned long long)(end - t->origin));
    stanza_write(&t->text, s, "jabber:component:accept");
    buf_add_char(&t->text, '\n');
    stanza_free(&s);
    t->stanzas++;
    one_more(t);
}

static void on_skipped(void *ctx, const char *name, const char *why, uint64_t begin,
                       uint64_t end)
{
    struct told *t = ctx;
    buf_addf(&t->text, "skipped %s %s %llu-%llu\n", name, why,
             (unsigned long long)(begin - t->origin), (unsigned long long)(end - t->origin));
    one_more(t);
}

static void on_root_end(void *ctx)
{
    struct told *t = ctx;
    buf_add_str(&t->text, "end\n");
    one_more(t);
}

static void told_init(struct told *t, const struct xml_parse_opts *opts)
{
    *t = (struct told){.stop_after = 0};
    buf_init(&t->text, 64 * 1024 * 1024);
    struct xml_parse_events events = {.root = on_root,
                                      .stanza = on_stanza,
                                      .skipped = on_skipped,
                                      .root_end = on_root_end,
                                      .ctx = t};
    t->parser = xml_parse_new(opts, &events);
}

static void told_deinit(struct told *t)
{
    xml_parse_free(&t->parser);
    buf_deinit(&t->text);
}

/* Each piece is fed from memory of exactly its size, so that reading past it is seen. */
static enum err_kind feed(struct told *t, const char *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    struct err e = {.kind = ERR_NONE};
    size_t at = 0;
    enum err_kind kind = ERR_NONE;
    while (at < len && kind == ERR_NONE) {
        kind = xml_parse_input(t->parser, copy + at, len - at, &e);
        at += xml_parse_consumed(t->parser);
    }
    free(copy);
    if (kind != ERR_NONE) {
        /* The place in the text depends on how far the frame had read; the reason does not. */
        char *at_byte = strstr(e.text, " at byte");
        if (at_byte)
            *at_byte = '\0';
        buf_addf(&t->text, "%s: %s\n", err_kind_name(kind), e.text);
    }
    return kind;
}

static unsigned seed;

static int print_seed(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("SEED=%u\n", seed);
    return 0;
}

enum cut { WHOLE, BYTES, RANDOM };

/* Returns what was told; free it. */
static char *parse(const struct xml_parse_opts *opts, const char *data, size_t len,
                   enum cut cut, unsigned stop_after)
{
    struct told t;
    told_init(&t, opts);
    t.stop_after = stop_after;
    t.origin = strncmp(data, HEAD, strlen(HEAD)) == 0 ? strlen(HEAD) : 0;
    size_t at = 0;
    while (at < len) {
        size_t n = cut == WHOLE ? len : cut == BYTES ? 1 : 1 + (size_t)rand_r(&seed) % 97;
        if (n > len - at)
            n = len - at;
        if (feed(&t, data + at, n) != ERR_NONE)
            break;
        at += n;
    }
    char *copy = strdup(buf_cstr(&t.text));
    assert_non_null(copy);
    told_deinit(&t);
    return copy;
}

/* The same in every way of cutting and stopping; returns it. */
static char *parse_all_ways(const struct xml_parse_opts *opts, const char *data, size_t len)
{
    char *whole = parse(opts, data, len, WHOLE, 0);
    for (unsigned way = 0; way < 12; way++) {
        enum cut cut = way == 0 ? BYTES : way < 3 ? WHOLE : RANDOM;
        char *other = parse(opts, data, len, cut, way % 4);
        assert_string_equal(whole, other);
        free(other);
    }
    return whole;
}

static void expect(const struct xml_parse_opts *opts, const char *data, const char *want)
{
    char *got = parse_all_ways(opts, data, strlen(data));
    assert_string_equal(got, want);
    free(got);
}

#define ROOT_LINE                                                                             \
    "root <stream xmlns=\"http://etherx.jabber.org/streams\" id=\"17\" xml:lang=\"en\"/>\n"

static void test_a_stream_becomes_root_stanzas_and_end(void **state)
{
    (void)state;
    expect(NULL,
           HEAD " \n<message to='a@e.test'><body>hi &amp; &lt;bye&gt;</body></message>  "
                "<presence/>\n<iq type=\"get\"><ping xmlns='urn:xmpp:ping'/></iq>"
                "</stream:stream> \n",
           ROOT_LINE
           "68 <message to=\"a@e.test\"><body>hi &amp; &lt;bye&gt;</body></message>\n"
           "81 <presence/>\n"
           "131 <iq type=\"get\"><ping xmlns=\"urn:xmpp:ping\"/></iq>\n"
           "end\n");
}

static void test_an_empty_root_begins_and_ends(void **state)
{
    (void)state;
    expect(NULL, "<x a='1'/>", "root <x a=\"1\"/>\nend\n");
}

static void test_prefixes_become_namespaces(void **state)
{
    (void)state;
    expect(NULL,
           "<s:s xmlns:s='u:s' xmlns='jabber:component:accept'><m xmlns:p='u:p' p:a='1' a='2' "
           "q:a='3' xmlns:q='u:q'><p:x><y/></p:x><z xmlns=''/></m>",
           "root <s xmlns=\"u:s\"/>\n"
           "136 <m xmlns:ns0=\"u:p\" ns0:a=\"1\" a=\"2\" xmlns:ns1=\"u:q\" ns1:a=\"3\">"
           "<x xmlns=\"u:p\"><y xmlns=\"jabber:component:accept\"/></x><z xmlns=\"\"/></m>\n");
}

static void test_the_xml_prefix_keeps_its_prefix(void **state)
{
    (void)state;
    expect(NULL, HEAD "<m xml:lang='de' xml:id='z'><xml:odd><b/></xml:odd></m>",
           ROOT_LINE "55 <m xml:lang=\"de\" xml:id=\"z\"><xml:odd><b/></xml:odd></m>\n");
}

static void test_text_is_exactly_the_text(void **state)
{
    (void)state;
    expect(NULL,
           HEAD "<m a='x>y\"&#10;/>'>a<![CDATA[<b>]]]]><![CDATA[>&amp;]]>\r\n&#13;"
                "\xF0\x9F\x90\x99 &apos;&quot;</m>",
           ROOT_LINE "83 <m a=\"x&gt;y&quot;&#10;/&gt;\">a&lt;b&gt;]]&gt;&amp;amp;\n&#13;"
                     "\xF0\x9F\x90\x99 '\"</m>\n");
}

static void test_forbidden_xml_ends_the_stream(void **state)
{
    (void)state;
    static const struct {
        const char *data, *want;
    } cases[] = {
        {HEAD "<a/><!-- x --><b/>", ROOT_LINE "4 <a/>\npeer: restricted-xml: comment\n"},
        {HEAD "<a><!-- x --></a>", ROOT_LINE "peer: restricted-xml: comment\n"},
        {HEAD "<a><?php x?></a>", ROOT_LINE "peer: restricted-xml: processing instruction\n"},
        {HEAD "<?xml version='1.0'?><a/>",
         ROOT_LINE "peer: restricted-xml: processing instruction\n"},
        {"<?php x?><a/>", "peer: restricted-xml: processing instruction\n"},
        {"<!DOCTYPE a [<!ENTITY b 'c'>]><a>", "peer: restricted-xml: document type\n"},
        {"<?xml version='1.0'?><!DOCTYPE a><a>", "peer: restricted-xml: document type\n"},
        {HEAD "<a><!DOCTYPE a></a>", ROOT_LINE "peer: restricted-xml: document type\n"},
        {HEAD "<a>&nbsp;</a>", ROOT_LINE "peer: restricted-xml: entity\n"},
        {HEAD "<a b='&nbsp;'/>", ROOT_LINE "peer: restricted-xml: entity\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(NULL, cases[i].data, cases[i].want);
}

static void test_broken_xml_ends_the_stream(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "junk",
        "</a>",
        HEAD "<a></b>",
        HEAD "<a b=c/>",
        HEAD "<a b='1' b='2'/>",
        HEAD "<a <b/>>",
        HEAD "< a/>",
        HEAD "<a/ >",
        HEAD "<></>",
        HEAD "text<a/>",
        HEAD "<![CDATA[x]]><a/>",
        HEAD "<a>\x01</a>",
        HEAD "<a>&#0;</a>",
        HEAD "<a>&#1;</a>",
        HEAD "<a>&#xFFFF;</a>",
        /* T5: overlong, surrogates, beyond the last, cut, alone, no characters. */
        HEAD "<a>\xC0\x80</a>",
        HEAD "<a>\xC1\xBF</a>",
        HEAD "<a>\xE0\x80\xBC</a>",
        HEAD "<a>\xF0\x80\x80\xBC</a>",
        HEAD "<a>\xED\xA0\x80</a>",
        HEAD "<a>\xED\xA0\xBD\xED\xB8\x80</a>",
        HEAD "<a>\xED\xBF\xBF</a>",
        HEAD "<a>\xF4\x90\x80\x80</a>",
        HEAD "<a>\xF8\x88\x80\x80\x80</a>",
        HEAD "<a>\xE2\x82</a>",
        HEAD "<a>\x80</a>",
        HEAD "<a>\xFF</a>",
        HEAD "<a>\xEF\xBF\xBE</a>",
        HEAD "<a>&#xD800;</a>",
        HEAD "<a>&#x110000;</a>",
        HEAD "<a\xC0\xBCx/>",
        HEAD "<a b\xED\xA0\x80='1'/>",
        HEAD "<a xmlns:p='u\xFFx'/>", /* the byte that joins namespace and name inside */
        HEAD "<p\xFF:a xmlns:p='u'/>",
        HEAD "<a xmlns:p\xFF='u'/>",
        HEAD "<a b='\xE2\x82'/>",
        HEAD "<a>]]></a>",
        HEAD "<p:a/>",
        HEAD "<a xmlns:p=''/>",
        HEAD "<a xmlns:xml='u'/>",
        HEAD "<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>",
        HEAD "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        HEAD "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        HEAD "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>",
        HEAD "<a xmlns:xmlns='u'/>",
        HEAD "<a:b:c xmlns:a='u'/>",
        HEAD "<:a/>",
        HEAD "<a:/>",
        HEAD "<a><b></a></b>",
        HEAD "<a></a ></b>",
        HEAD "<a/></stream:stream><b/>",
        "<?xml version='1.0'?><?xml version='1.0'?><a>",
        HEAD "</stream:other>",
        HEAD "</stream:stream><a/>",
        "<a/><b/>",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *told = parse_all_ways(NULL, cases[i], strlen(cases[i]));
        if (!strstr(told, "peer: not well-formed"))
            fail_msg("case %zu: %s", i, told);
        assert_null(strstr(told, "> <a"));
        free(told);
    }
}

static void test_a_dead_parser_stays_dead(void **state)
{
    (void)state;
    struct told t;
    struct err e;
    told_init(&t, NULL);
    assert_int_equal(feed(&t, "junk", 4), ERR_PEER);
    assert_int_equal(xml_parse_input(t.parser, (const uint8_t *)"<a>", 3, &e), ERR_PEER);
    assert_non_null(strstr(e.text, "text outside of a stanza"));
    told_deinit(&t);
}

static void test_a_stanza_over_a_limit_is_skipped_to_its_end(void **state)
{
    (void)state;
    expect(&SMALL, HEAD "<a/><b a='' b='' c='' d='' e='' f=''><i/></b><c/>",
           ROOT_LINE "4 <a/>\nskipped b attributes 4-45\n49 <c/>\n");
    expect(&SMALL,
           HEAD "<s:b x='' xmlns:s='u'><c a='' b='' c='' d='/>' e='' f=''>]]></c></s:b><c/>",
           ROOT_LINE "skipped b attributes 0-70\n74 <c/>\n");
    expect(&SMALL, HEAD "<b><i><i><i/></i></i></b><c/>",
           ROOT_LINE "25 <b><i><i><i/></i></i></b>\n29 <c/>\n");
    expect(&SMALL, HEAD "<b><i><i><i><j/></i></i></i></b><c/>",
           ROOT_LINE "skipped b depth 0-32\n36 <c/>\n");
    expect(&SMALL, HEAD "<b><i><i><i><j x='>'><![CDATA[</b>]]></j></i></i></i></b><c/>",
           ROOT_LINE "skipped b depth 0-57\n61 <c/>\n");
    expect(&SMALL, HEAD "<b><i><i><i><j><!-- --></j></i></i></i></b><c/>",
           ROOT_LINE "peer: restricted-xml: comment\n");
}

static char *repeat(const char *head, char c, size_t count, const char *tail)
{
    size_t a = strlen(head), b = strlen(tail);
    char *s = malloc(a + count + b + 1);
    assert_non_null(s);
    memcpy(s, head, a);
    memset(s + a, c, count);
    memcpy(s + a + count, tail, b + 1);
    return s;
}

static void test_the_size_limit_is_exact(void **state)
{
    (void)state;
    /* <b>...</b> of exactly 4096 bytes passes, one more does not. */
    for (size_t extra = 0; extra < 2; extra++) {
        char *data = repeat(HEAD "<b>", 'x', 4096 - 7 + extra, "</b><c/>");
        char *told = parse_all_ways(&SMALL, data, strlen(data));
        assert_int_equal(strstr(told, "skipped b size 0-4097\n") != NULL, extra == 1);
        assert_non_null(strstr(told, extra ? "4101 <c/>" : "4100 <c/>"));
        free(told);
        free(data);
    }
    static const struct {
        const char *head, *tail, *want;
    } cases[] = {
        {HEAD "<b a='", "'/><c/>", "skipped b size "},
        {HEAD "<b a=\"'", "\"/><c/>", "skipped b size "},
        {HEAD "<b><", "/></b><c/>", "skipped b size "},
        {HEAD "<", "/><c/>", "skipped zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"},
        {HEAD "<b><![CDATA[", "]]></b><c/>", "skipped b size "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *data = repeat(cases[i].head, 'z', 9000, cases[i].tail);
        char *told = parse_all_ways(&SMALL, data, strlen(data));
        assert_non_null(strstr(told, cases[i].want));
        assert_non_null(strstr(told, " <c/>\n"));
        free(told);
        free(data);
    }
}

static void test_a_stream_header_over_the_limit_ends_the_stream(void **state)
{
    (void)state;
    char *data = repeat("<s a='", 'x', 5000, "'>");
    expect(&SMALL, data, "peer: stream header too big\n");
    free(data);
    expect(&SMALL, "<s a='' b='' c='' d='' e='' f=''>", "peer: stream header too big\n");
}

static void test_a_tree_far_bigger_than_its_text_is_skipped(void **state)
{
    (void)state;
    struct xml_parse_opts opts = {
        .stanza_bytes_max = 64 * 1024, .depth_max = 8, .attrs_max = 8};
    struct buf data;
    buf_init(&data, 1024 * 1024);
    buf_add_str(&data, HEAD "<b>");
    for (int i = 0; i < 16000; i++)
        buf_add_str(&data, "<i/>");
    buf_add_str(&data, "</b><c/>");
    char *told = parse_all_ways(&opts, buf_cstr(&data), buf_len(&data));
    assert_string_equal(told, ROOT_LINE "skipped b memory 0-64007\n64011 <c/>\n");
    free(told);
    buf_deinit(&data);
}

static void test_a_skipped_stanza_costs_no_memory_and_little_time(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, NULL);
    feed(&t, HEAD "<b>", strlen(HEAD) + 3);
    char *block = repeat("<i j='", 'x', 65536, "'>");
    for (int i = 0; i < 2000; i++)
        assert_int_equal(feed(&t, block, strlen(block)), ERR_NONE);
    free(block);
    for (int i = 0; i < 2000; i++)
        feed(&t, "</i>", 4);
    feed(&t, "</b><c/>", 8);
    assert_int_equal(t.stanzas, 1);
    assert_non_null(strstr(buf_cstr(&t.text), "skipped b "));
    told_deinit(&t);
}

/* Seconds of CPU to feed one stanza with a long piece of n bytes, byte by byte. */
static double seconds_for(const char *head, size_t n, const char *tail)
{
    struct told t;
    struct xml_parse_opts opts = xml_parse_defaults;
    opts.stanza_bytes_max = 5 << 20;
    told_init(&t, &opts);
    char *data = repeat(head, 'x', n, tail);
    size_t len = strlen(data);
    clock_t begin = clock();
    for (size_t i = 0; i < len; i++) {
        struct err e;
        assert_int_equal(xml_parse_input(t.parser, (const uint8_t *)data + i, 1, &e),
                         ERR_NONE);
    }
    clock_t end = clock();
    assert_int_equal(t.stanzas, 1);
    free(data);
    told_deinit(&t);
    return (double)(end - begin) / CLOCKS_PER_SEC;
}

/* T2: whatever is long, a byte of it costs the same.  One that reads again from the start for
 * every byte is 8 times as dear in the larger one. */
static void test_a_long_token_byte_by_byte_is_linear(void **state)
{
    (void)state;
    static const struct {
        const char *head, *tail;
    } cases[] = {
        {HEAD "<b a='", "'/>"},           {HEAD "<b>", "</b>"},
        {HEAD "<b><![CDATA[", "]]></b>"}, {HEAD "<b><", "/></b>"},
        {HEAD "<b>&lt;<i ", "=''/></b>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double small = seconds_for(cases[i].head, 1 << 19, cases[i].tail);
        double large = seconds_for(cases[i].head, 8 << 19, cases[i].tail);
        double ratio = large / 8 / small;
        print_message("cost of a byte in 4 MiB by that in 512 KiB: %.2f\n", ratio);
        assert_true(ratio < 3);
    }
}

/* What is allocated now, as far as this build can tell. */
static size_t allocated(void)
{
#ifdef __SANITIZE_ADDRESS__
    return __sanitizer_get_current_allocated_bytes();
#else
    return 0;
#endif
}

/* T3: n times the same within one stanza (# is the count), and how much memory was held
 * meanwhile at most. */
static char *flood(const char *open, const char *each, size_t n, const char *close,
                   size_t *peak_out)
{
    struct told t;
    told_init(&t, NULL);
    t.origin = strlen(HEAD);
    size_t before = allocated();
    *peak_out = 0;
    feed(&t, HEAD, strlen(HEAD));
    feed(&t, open, strlen(open));
    for (size_t i = 0; i < n; i++) {
        struct buf piece;
        buf_init(&piece, 1024);
        for (const char *c = each; *c; c++) {
            if (*c == '#')
                buf_addf(&piece, "%zu", i);
            else
                buf_add_char(&piece, *c);
        }
        enum err_kind kind = feed(&t, (const char *)buf_data(&piece), buf_len(&piece));
        buf_deinit(&piece);
        if (kind != ERR_NONE)
            break;
        size_t now = allocated();
        if (i % 64 == 0 && now > before + *peak_out)
            *peak_out = now - before;
    }
    feed(&t, close, strlen(close));
    char *told = strdup(buf_cstr(&t.text));
    assert_non_null(told);
    told_deinit(&t);
    return told;
}

static void test_a_flood_of_anything_is_passed_over_and_costs_a_stanza_at_most(void **state)
{
    (void)state;
    static const struct {
        const char *open, *each;
        size_t n;
        const char *close, *want;
    } cases[] = {
        {"<m><b>", "<a/>", 100000, "</b></m><c/>", "skipped m memory"},
        {"<m><b ", "a#='#' ", 100000, "/></m><c/>", "skipped m attributes"},
        {"<m><b ", "xmlns:a#='u:#' ", 100000, "/></m><c/>", "skipped m attributes"},
        {"<m>", "<a xmlns='u:#'/>", 100000, "</m><c/>", "skipped m "},
        {"<m>", "text # ", 1000000, "</m><c/>", "skipped m size"},
        {"<m>", "&lt;", 1000000, "</m><c/>", "skipped m size"},
        {"<m>", "<![CDATA[]]>", 100000, "</m><c/>", "skipped m size"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t peak;
        char *told = flood(cases[i].open, cases[i].each, cases[i].n, cases[i].close, &peak);
        if (!strstr(told, cases[i].want))
            fail_msg("case %zu: %.200s", i, told);
        if (strstr(cases[i].close, "<c/>"))
            assert_non_null(strstr(told, " <c/>\n"));
        assert_true(peak < (3 << 20));
        free(told);
    }
}

static void test_a_million_elements_inside_each_other_need_no_stack_and_no_memory(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    struct told t;
    told_init(&t, NULL);
    t.origin = strlen(HEAD);
    feed(&t, HEAD, strlen(HEAD));
    size_t before = allocated();
    for (int i = 0; i < DEEP; i++)
        feed(&t, "<a>", 3);
    assert_true(allocated() < before + (64 << 10));
    for (int i = 0; i < DEEP; i++)
        feed(&t, "</a>", 4);
    feed(&t, "<c/>", 4);
    assert_string_equal(buf_cstr(&t.text),
                        ROOT_LINE "skipped a depth 0-7000000\n7000004 <c/>\n");
    told_deinit(&t);
}

/* T1: it is refused where it begins, whatever it would grow to. */
static void test_a_bomb_of_entities_is_refused_at_its_first_letters(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, NULL);
    size_t before = allocated();
    static const char bomb[] = "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'>"
                               "<!ENTITY l1 '&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;'>"
                               "<!ENTITY %% p SYSTEM 'file:///etc/passwd'>]><s>&l1;";
    assert_int_equal(feed(&t, bomb, strlen("<?xml version='1.0'?><!D")), ERR_PEER);
    assert_string_equal(buf_cstr(&t.text), "peer: restricted-xml: document type\n");
    assert_int_equal(feed(&t, bomb, strlen(bomb)), ERR_PEER);
    assert_true(allocated() < before + (1 << 20));
    told_deinit(&t);
}

static void test_white_space_between_stanzas_costs_nothing(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, &SMALL);
    t.origin = strlen(HEAD);
    feed(&t, HEAD, strlen(HEAD));
    char *blanks = repeat("", ' ', 1024 * 1024, "\n");
    for (int i = 0; i < 4; i++)
        assert_int_equal(feed(&t, blanks, strlen(blanks)), ERR_NONE);
    free(blanks);
    feed(&t, "<c/>", 4);
    assert_string_equal(buf_cstr(&t.text), ROOT_LINE "4194312 <c/>\n");
    told_deinit(&t);
}

static void test_a_long_stream_with_ever_new_names_goes_on(void **state)
{
    (void)state;
    struct told t;
    told_init(&t, NULL);
    feed(&t, HEAD, strlen(HEAD));
    uint64_t end = strlen(HEAD);
    for (unsigned i = 0; i < 60000; i++) {
        char s[128];
        int n = snprintf(s, sizeof s, "<n%u a%u='1' xmlns:p%u='u'><p%u:b/>text</n%u>", i, i, i,
                         i, i);
        buf_reset(&t.text);
        assert_int_equal(feed(&t, s, (size_t)n), ERR_NONE);
        end += (uint64_t)n;
        char want[160];
        snprintf(want, sizeof want, "%llu <n%u a%u=\"1\"><b xmlns=\"u\"/>text</n%u>\n",
                 (unsigned long long)end, i, i, i);
        assert_string_equal(buf_cstr(&t.text), want);
    }
    assert_int_equal(feed(&t, "</stream:stream>", 16), ERR_NONE);
    told_deinit(&t);
}

static void test_stop_leaves_the_rest_unread(void **state)
{
    (void)state;
    struct told t;
    struct err e;
    told_init(&t, NULL);
    feed(&t, HEAD "<a", strlen(HEAD) + 2);
    t.stop_after = 1;
    const char *rest = "/> <b/><c/>";
    const uint8_t *data = (const uint8_t *)rest;
    assert_int_equal(xml_parse_input(t.parser, data, strlen(rest), &e), ERR_NONE);
    assert_int_equal(xml_parse_consumed(t.parser), 2);
    assert_int_equal(t.stanzas, 1);
    /* The caller may come back with less than it had. */
    assert_int_equal(xml_parse_input(t.parser, data + 2, 2, &e), ERR_NONE);
    assert_int_equal(xml_parse_consumed(t.parser), 2);
    assert_int_equal(xml_parse_input(t.parser, data + 4, strlen(rest) - 4, &e), ERR_NONE);
    assert_int_equal(xml_parse_consumed(t.parser), 3);
    assert_int_equal(t.stanzas, 2);
    told_deinit(&t);
}

static void test_captures_of_ejabberd_read_the_same_however_cut(void **state)
{
    (void)state;
    const char *top = getenv("SIDECAR_ROOT");
    char dir_name[1024];
    snprintf(dir_name, sizeof dir_name, "%s/tests/fixtures/ejabberd", top ? top : ".");
    DIR *dir = opendir(dir_name);
    assert_non_null(dir);
    unsigned files = 0, stanzas = 0;
    for (struct dirent *d; (d = readdir(dir));) {
        size_t len = strlen(d->d_name);
        if (len < 4 || strcmp(d->d_name + len - 4, ".xml") != 0)
            continue;
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", dir_name, d->d_name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        static char data[1 << 20];
        size_t n = fread(data, 1, sizeof data - 1, f);
        fclose(f);
        data[n] = '\0';
        char *told = parse_all_ways(NULL, data, n);
        assert_null(strstr(told, "skipped "));
        assert_null(strstr(told, "peer: "));
        /* The captures have a stanza per line. */
        unsigned lines = 0, got = 0;
        for (const char *s = data; (s = strchr(s, '\n')); s++)
            lines++;
        for (const char *s = told; (s = strchr(s, '\n')); s++)
            got++;
        if (strstr(told, "\nend\n") == NULL)
            assert_true(got >= lines);
        stanzas += got - 1;
        files++;
        free(told);
    }
    closedir(dir);
    assert_true(files >= 10 && stanzas >= 500);
}

static void test_one_element_is_read_from_memory(void **state)
{
    (void)state;
    struct err e = {.kind = ERR_NONE};
    const char *text = "<message xmlns='jabber:client' to='a'><body>x</body></message>";
    struct stanza *s = xml_parse_element(text, strlen(text), &e);
    assert_non_null(s);
    assert_true(stanza_is(s, "message", "jabber:client"));
    assert_string_equal(stanza_child_text(s, "body", "jabber:client"), "x");
    assert_null(s->parent);
    stanza_free(&s);
    assert_null(s);
    static const char *const bad[] = {
        "",     " ", "<a>",   "<a/><b/>",   "<a/></x><x>",
        "</x>", "a", "<a/>b", "<a><b></a>", "<?xml version='1.0'?><a/>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        e.kind = ERR_NONE;
        assert_null(xml_parse_element(bad[i], strlen(bad[i]), &e));
        assert_int_equal(e.kind, ERR_REJECT);
        assert_true(e.text[0] != '\0');
        assert_null(xml_parse_element(bad[i], strlen(bad[i]), NULL));
    }
}

static void test_what_is_written_reads_back_as_the_same(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "<a/>",
        "<a xmlns='u'><b xmlns=''/><c/></a>",
        "<p:a xmlns:p='u' p:b='1' xml:lang='x'> <xml:c xmlns='v'><d/></xml:c>&#13;\n</p:a>",
        "<a b='&#9;&#10;&#13;&lt;&gt;&amp;&quot;&apos;'>&lt;]]&gt;</a>",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e;
        struct buf one, two;
        buf_init(&one, 65536);
        buf_init(&two, 65536);
        struct stanza *s = xml_parse_element(cases[i], strlen(cases[i]), &e);
        assert_non_null(s);
        stanza_write(&one, s, NULL);
        struct stanza *again = xml_parse_element(buf_cstr(&one), buf_len(&one), &e);
        assert_non_null(again);
        stanza_write(&two, again, NULL);
        assert_string_equal(buf_cstr(&one), buf_cstr(&two));
        stanza_free(&s);
        stanza_free(&again);
        buf_deinit(&one);
        buf_deinit(&two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_becomes_root_stanzas_and_end),
        cmocka_unit_test(test_an_empty_root_begins_and_ends),
        cmocka_unit_test(test_prefixes_become_namespaces),
        cmocka_unit_test(test_the_xml_prefix_keeps_its_prefix),
        cmocka_unit_test(test_text_is_exactly_the_text),
        cmocka_unit_test(test_forbidden_xml_ends_the_stream),
        cmocka_unit_test(test_broken_xml_ends_the_stream),
        cmocka_unit_test(test_a_dead_parser_stays_dead),
        cmocka_unit_test(test_a_stanza_over_a_limit_is_skipped_to_its_end),
        cmocka_unit_test(test_the_size_limit_is_exact),
        cmocka_unit_test(test_a_stream_header_over_the_limit_ends_the_stream),
        cmocka_unit_test(test_a_tree_far_bigger_than_its_text_is_skipped),
        cmocka_unit_test(test_a_skipped_stanza_costs_no_memory_and_little_time),
        cmocka_unit_test(test_a_long_token_byte_by_byte_is_linear),
        cmocka_unit_test(test_a_flood_of_anything_is_passed_over_and_costs_a_stanza_at_most),
        cmocka_unit_test(
            test_a_million_elements_inside_each_other_need_no_stack_and_no_memory),
        cmocka_unit_test(test_a_bomb_of_entities_is_refused_at_its_first_letters),
        cmocka_unit_test(test_white_space_between_stanzas_costs_nothing),
        cmocka_unit_test(test_a_long_stream_with_ever_new_names_goes_on),
        cmocka_unit_test(test_stop_leaves_the_rest_unread),
        cmocka_unit_test(test_captures_of_ejabberd_read_the_same_however_cut),
        cmocka_unit_test(test_one_element_is_read_from_memory),
        cmocka_unit_test(test_what_is_written_reads_back_as_the_same),
    };
    return cmocka_run_group_tests(tests, print_seed, NULL);
}
