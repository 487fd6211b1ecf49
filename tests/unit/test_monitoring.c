// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#include "base/datetime.h"
#include "component/monitoring.h"

#define MAM "urn:xmpp:mam:2"

struct heard {
    unsigned calls;
    struct monitoring_page page;
    char condition[64];
};

static void on_page(void *ctx, const struct monitoring_page *page)
{
    struct heard *h = ctx;
    h->calls++;
    h->page = *page;
    snprintf(h->condition, sizeof h->condition, "%s", page->condition ? page->condition : "");
}

static int64_t time_of(const char *text)
{
    int64_t us;
    assert_true(datetime_parse(text, &us));
    return us;
}

/* A world without the questions that begin a connection. */
static void begin(struct world *w)
{
    char sent[8192];
    world_begin_on(w, SERVER_OPENFIRE);
    w->real_us = time_of("2026-11-20T12:00:00Z");
    world_sent(w, sent, sizeof sent);
}

static void value_of(const char *sent, const char *before, char out[64])
{
    const char *at = strstr(sent, before);
    assert_non_null(at);
    at += strlen(before);
    snprintf(out, 64, "%.*s", (int)strcspn(at, "\""), at);
}

struct question {
    const char *to;
    char id[64];
    char queryid[64];
};

static struct question ask(struct world *w, struct heard *h)
{
    static char sent[8192];
    struct question q = {.to = "bob@e.test"};
    const struct monitoring_range range = {.account = "bob@e.test",
                                           .from_us = time_of("2026-11-20T11:00:00Z"),
                                           .to_us = time_of("2026-11-20T11:30:00.5Z"),
                                           .max = 50};
    *h = (struct heard){.calls = 0};
    monitoring_ask(w->service, 0, &range, on_page, h);
    world_sent(w, sent, sizeof sent);
    value_of(sent, " id=\"", q.id);
    value_of(sent, " queryid=\"", q.queryid);
    char expected[2048];
    snprintf(expected, sizeof expected,
             "from=\"sidecar.e.test\" to=\"bob@e.test\"><query xmlns=\"" MAM
             "\" queryid=\"%s\"><x xmlns=\"jabber:x:data\" type=\"submit\">"
             "<field var=\"FORM_TYPE\" type=\"hidden\"><value>" MAM "</value></field>"
             "<field var=\"start\"><value>2026-11-20T11:00:00.000000Z</value></field>"
             "<field var=\"end\"><value>2026-11-20T11:30:00.500000Z</value></field></x>"
             "<set xmlns=\"http://jabber.org/protocol/rsm\"><max>50</max></set></query></iq>",
             q.queryid);
    assert_non_null(strstr(sent, expected));
    return q;
}

static void answer(struct world *w, const struct question *q, const char *type,
                   const char *inner)
{
    char xml[1024];
    snprintf(xml, sizeof xml,
             "<iq type=\"%s\" id=\"%s\" from=\"%s\" to=\"sidecar.e.test\">%s</iq>", type,
             q->id, q->to, inner);
    world_feed(w, xml);
}

#define RESULT                                                                                \
    "<message %s to=\"sidecar.e.test\"><result xmlns=\"" MAM "\" queryid=\"%s\" id=\"7\">"    \
    "<forwarded xmlns=\"urn:xmpp:forward:0\"><delay xmlns=\"urn:xmpp:delay\" stamp=\"%s\"/>"  \
    "<message xmlns=\"jabber:client\" type=\"%s\" id=\"m1\" from=\"alice@e.test/r1\" "        \
    "to=\"bob@e.test\"><body>hi</body>%s</message></forwarded></result></message>"

static void tell(struct world *w, const char *queryid, const char *stamp, const char *extra)
{
    char xml[2048];
    snprintf(xml, sizeof xml, RESULT, "", queryid, stamp, "chat", extra);
    world_feed(w, xml);
}

static void expect_events(struct world *w, const char *events)
{
    assert_string_equal(buf_cstr(&w->events), events);
    buf_reset(&w->events);
}

static void a_result_is_a_late_delivery_and_is_counted(void **state)
{
    (void)state;
    struct world w;
    struct heard h;
    begin(&w);
    struct question q = ask(&w, &h);
    tell(&w, q.queryid, "2026-11-20T11:10:00.250Z", "");
    expect_events(&w, "message alice@e.test/r1* -> bob@e.test* id=m1 delayed -2999\n");
    /* What a session had not acknowledged was pushed when it was routed again. */
    tell(&w, q.queryid, "2026-11-20T11:05:00Z",
         "<delay xmlns=\"urn:xmpp:delay\" from=\"e.test\" stamp=\"2026-11-20T11:01:00Z\"/>");
    expect_events(&w, "message alice@e.test/r1* -> bob@e.test* id=m1 delayed -3300\n");
    assert_int_equal(h.calls, 0);
    answer(&w, &q, "result", "<fin xmlns=\"" MAM "\" complete=\"true\"/>");
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.page.end, MONITORING_ANSWERED);
    assert_int_equal(h.page.results, 2);
    assert_true(h.page.complete);
    assert_int_equal(h.page.last_us, time_of("2026-11-20T11:10:00.250Z"));
    /* One that comes later is archived all the same: its question was ours. */
    tell(&w, q.queryid, "2026-11-20T11:11:00Z", "");
    expect_events(&w, "message alice@e.test/r1* -> bob@e.test* id=m1 delayed -2940\n");
    world_end(&w);
}

static void what_nobody_asked_for_is_nothing(void **state)
{
    (void)state;
    struct world w;
    struct heard h;
    char xml[2048], forged[64];
    begin(&w);
    struct question q = ask(&w, &h);
    snprintf(forged, sizeof forged, "%s", q.queryid);
    forged[strlen(forged) - 1] ^= 1;
    tell(&w, forged, "2026-11-20T11:10:00Z", "");
    tell(&w, "", "2026-11-20T11:10:00Z", "");
    snprintf(xml, sizeof xml, RESULT, "", q.queryid, "2026-11-20T11:10:00Z", "groupchat", "");
    world_feed(&w, xml);
    tell(&w, q.queryid, "2026-11-20T11:10:00Z",
         "<x xmlns=\"http://jabber.org/protocol/muc#user\"/>");
    expect_events(&w, "");
    snprintf(xml, sizeof xml, RESULT, "", q.queryid, "yesterday", "chat", "");
    assert_int_equal(world_feed_link(&w, 0, xml), ERR_REJECT);
    answer(&w, &q, "result", "<fin xmlns=\"" MAM "\"/>");
    assert_int_equal(h.page.results, 2); /* those of rooms were told of, too */
    world_end(&w);
}

static void each_end_is_told_once(void **state)
{
    (void)state;
    struct world w;
    struct heard h;
    begin(&w);
    struct question q = ask(&w, &h);
    answer(&w, &q, "error",
           "<error type=\"auth\"><forbidden xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/>"
           "</error>");
    assert_int_equal(h.page.end, MONITORING_REFUSED);
    assert_string_equal(h.condition, "forbidden");
    q = ask(&w, &h);
    answer(&w, &q, "result", "");
    assert_int_equal(h.page.end, MONITORING_ODD);
    q = ask(&w, &h);
    world_pass(&w, MONITORING_WITHIN_MS);
    service_tick(w.service, w.mono_ms);
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.page.end, MONITORING_SILENT);
    q = ask(&w, &h);
    service_closed(w.service, 0, w.epoch);
    assert_int_equal(h.calls, 1);
    assert_int_equal(h.page.end, MONITORING_LOST);
    world_end(&w);
}

static void it_is_there_when_the_server_says_so(void **state)
{
    (void)state;
    static const struct {
        const char *features;
        enum monitoring_end end;
    } table[] = {
        {"<feature var=\"urn:xmpp:mam:1\"/><feature var=\"" MAM "\"/>", MONITORING_ANSWERED},
        {"<feature var=\"urn:xmpp:mam:1\"/>", MONITORING_REFUSED},
        {"", MONITORING_REFUSED},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct world w;
        struct heard h = {0};
        struct question q = {.to = "e.test"};
        char sent[2048], inner[512];
        begin(&w);
        monitoring_probe(w.service, 0, "e.test", on_page, &h);
        world_sent(&w, sent, sizeof sent);
        value_of(sent, " id=\"", q.id);
        snprintf(inner, sizeof inner,
                 "<query xmlns=\"http://jabber.org/protocol/disco#info\">%s</query>",
                 table[i].features);
        answer(&w, &q, "result", inner);
        assert_int_equal(h.calls, 1);
        assert_int_equal(h.page.end, table[i].end);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_is_a_late_delivery_and_is_counted),
        cmocka_unit_test(what_nobody_asked_for_is_nothing),
        cmocka_unit_test(each_end_is_told_once),
        cmocka_unit_test(it_is_there_when_the_server_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
