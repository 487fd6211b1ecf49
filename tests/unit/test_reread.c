// SPDX-License-Identifier: Apache-2.0
#include "sidecar/reread.h"

#include "base/xml_parse.h"
#include "component/adapter.h"
#include "tests/unit/xmpp_world.h"

#define HELLO                                                                                 \
    "<message xmlns='jabber:client' from='a@e.test/x' to='b@e.test' id='m1'>"                 \
    "<body>hello</body></message>"

static struct world w;
static struct adapter adapter;

static void on_event(void *ctx, const struct event *e)
{
    (void)ctx;
    assert_int_equal(e->received_us, START_US);
    event_line(&w.events, e);
}

static int setup(void **state)
{
    (void)state;
    world_init(&w, 1);
    adapter.opts = &w.opts;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_deinit(&w.sent);
    buf_deinit(&w.events);
    buf_deinit(&w.reconnects);
    clock_fake_off();
    return 0;
}

static enum err_kind reread(const char *header, const char *bytes, struct err *e)
{
    const struct xml_parse_opts limits = {
        .stanza_bytes_max = 1000, .depth_max = 8, .attrs_max = 8};
    const struct quarantine_stanza s = {.bytes = (const uint8_t *)bytes,
                                        .bytes_n = strlen(bytes),
                                        .header = (const uint8_t *)header,
                                        .header_n = strlen(header),
                                        .received_us = START_US};
    buf_reset(&w.events);
    return reread_stanza(&adapter, &limits, &s, on_event, NULL, e);
}

static void a_kept_stanza_gives_the_events_that_it_would_have_given(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(reread("", COPY(HELLO), &e), ERR_NONE);
    assert_string_equal(buf_cstr(&w.events), "message a@e.test/x* -> b@e.test* id=m1\n");
    assert_int_equal(reread("<?xml version='1.0'?>" STREAM_START, " \n" COPY(HELLO) "\n", &e),
                     ERR_NONE);
    assert_string_equal(buf_cstr(&w.events), "message a@e.test/x* -> b@e.test* id=m1\n");
    /* The header has the namespaces. */
    assert_int_equal(reread("<s:s xmlns:s='u' xmlns:f='urn:xmpp:forward:0'>",
                            "<message from='e.test' to='sidecar.e.test'><f:forwarded>" HELLO
                            "</f:forwarded></message>",
                            &e),
                     ERR_NONE);
    assert_true(buf_len(&w.events) > 0);
}

static void what_is_not_exactly_one_acceptable_stanza_is_rejected_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *why;
    } cases[] = {
        {"", "it is not exactly one stanza"},
        {"<message><body>half", "it is not exactly one stanza"},
        {COPY(HELLO) COPY(HELLO), "it is not exactly one stanza"},
        {"<message></oops>", "it is not XML that we accept"},
        {"<!-- x --><message/>", "it is not XML that we accept"},
        {"<message><p:x/></message>", "it is not XML that we accept"},
        {"<m><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></m>",
         "it is over a limit: depth"},
        {COPY("<message xmlns='jabber:client' from='@x' "
              "to='b@e.test'><body>x</body></message>"),
         "copy of a message with an address that is none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        assert_int_equal(reread("", cases[i].bytes, &e), ERR_REJECT);
        assert_string_equal(e.text, cases[i].why);
        assert_int_equal(buf_len(&w.events), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_kept_stanza_gives_the_events_that_it_would_have_given),
        TEST(what_is_not_exactly_one_acceptable_stanza_is_rejected_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
