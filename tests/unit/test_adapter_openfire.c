// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#include "base/datetime.h"

#define EVENT_NS "http://jabber.org/protocol/packet#event"
#define COPY_AT(date, stanza)                                                                 \
    "<message from=\"e.test\" to=\"sidecar.e.test\"><copy xmlns=\"" EVENT_NS                  \
    "\" incoming=\"true\" processed=\"true\" date=\"" date "\">" stanza "</copy></message>"
#define OF_COPY(stanza) COPY_AT("2026-11-20T10:29:58.500Z", stanza)
#define OF_CHAT(attributes, payload)                                                          \
    "<message xmlns=\"\" type=\"chat\" id=\"m1\" " attributes "><body>hi</body>" payload      \
    "</message>"

static int openfire_setup(void **state)
{
    return world_setup_on(state, SERVER_OPENFIRE);
}

static const struct world_case cases[] = {
    {"a message between two local users", OF_COPY(OF_CHAT(ALICE_TO_BOB, "")),
     "message alice@e.test/r1* -> bob@e.test* id=m1\n"},
    {"to and from another server",
     OF_COPY(OF_CHAT("from=\"alice@e.test/r1\" to=\"rob@r.test\"", ""))
         OF_COPY(OF_CHAT("from=\"rob@r.test/x\" to=\"alice@e.test\"", "")),
     "message alice@e.test/r1* -> rob@r.test id=m1\n"
     "message rob@r.test/x -> alice@e.test* id=m1\n"},
    {"a marker",
     OF_COPY("<message xmlns=\"\" from=\"bob@e.test/r1\" to=\"alice@e.test\" id=\"k1\">"
             "<displayed xmlns=\"urn:xmpp:chat-markers:0\" id=\"m1\"/></message>"),
     "marker bob@e.test/r1* -> alice@e.test* id=k1 ref=m1\n"},
    {"routed again after a stream broke: the server's delay says so",
     OF_COPY(OF_CHAT(ALICE_TO_BOB, "<delay xmlns=\"urn:xmpp:delay\" from=\"e.test\" "
                                   "stamp=\"2026-11-20T10:20:00.000Z\"/>")),
     "message alice@e.test/r1* -> bob@e.test* id=m1 delayed undelivered\n"},
    {"a refusal by the server",
     OF_COPY("<message xmlns=\"\" type=\"error\" id=\"m1\" from=\"nobody@e.test\" "
             "to=\"alice@e.test/r1\"><error/></message>"),
     "bounce nobody@e.test* -> alice@e.test/r1* id=m1 ref=m1\n"},
    {"turned back by the sender's own block list: the address of the sender is gone",
     OF_COPY("<message xmlns=\"\" type=\"error\" id=\"m1\" to=\"alice@e.test/r1\">"
             "<body>hi</body></message>"),
     ""},
    {"a result of another archive, which has no sender",
     OF_COPY("<message xmlns=\"\" to=\"alice@e.test/r1\">"
             "<result xmlns=\"urn:xmpp:mam:2\" id=\"1\"/></message>"),
     ""},
    {"to us: it came directly as well",
     OF_COPY(OF_CHAT("from=\"alice@e.test/r1\" to=\"sidecar.e.test\"", "")), ""},
    {"from us", OF_COPY(OF_CHAT("from=\"sidecar.e.test\" to=\"alice@e.test/r1\"", "")), ""},
    {"a notification of a contact's own node",
     OF_COPY("<message xmlns=\"\" from=\"bob@e.test\" to=\"alice@e.test/r1\" id=\"n\">"
             "<event xmlns=\"http://jabber.org/protocol/pubsub#event\"/><body>x</body>"
             "</message>"),
     ""},
    {"what an account tells its own devices of what it has displayed",
     OF_COPY("<message xmlns=\"\" from=\"bob@e.test\" to=\"bob@e.test/r1\" id=\"n\"><event "
             "xmlns=\"http://jabber.org/protocol/pubsub#event\"><items "
             "node=\"urn:xmpp:mds:displayed:0\">" MDS_ITEM("alice@e.test", "bob@e.test",
                                                           "a1") "</items></event></message>"),
     "displayed bob@e.test* -> alice@e.test ref=a1\n"},
    {"a notification of the pubsub service",
     OF_COPY("<message xmlns=\"\" from=\"pubsub.e.test\" to=\"alice@e.test\" id=\"n\">"
             "<event xmlns=\"http://jabber.org/protocol/pubsub#event\"/><body>x</body>"
             "</message>"),
     ""},
    {"what a user writes in its likeness stays a message",
     OF_COPY(OF_CHAT("from=\"eve@e.test/x\" to=\"bob@e.test\"",
                     "<event xmlns=\"http://jabber.org/protocol/pubsub#event\"/>"
                     "<result xmlns=\"urn:xmpp:mam:2\"/>"
                     "<received xmlns=\"urn:xmpp:carbons:2\"/>")),
     "message eve@e.test/x* -> bob@e.test* id=m1\n"},
    {"what another server writes in its likeness, too",
     OF_COPY(OF_CHAT("from=\"note.test\" to=\"bob@e.test\"",
                     "<event xmlns=\"http://jabber.org/protocol/pubsub#event\"/>")),
     "message note.test -> bob@e.test* id=m1\n"},
    {"a room's broadcast, of which all copies name the last occupant",
     OF_COPY("<message xmlns=\"\" type=\"groupchat\" from=\"r@conference.e.test/al\" "
             "to=\"bob@e.test/r1\" id=\"g\"><body>x</body></message>"),
     ""},
    {"a room's history at a join",
     OF_COPY("<message xmlns=\"\" type=\"groupchat\" from=\"r@conference.e.test/al\" "
             "to=\"bob@e.test/r1\" id=\"g\"><body>x</body><delay xmlns=\"urn:xmpp:delay\" "
             "from=\"r@conference.e.test\" stamp=\"2026-11-20T10:20:00Z\"/></message>"),
     ""},
    {"what is said in private in a room",
     OF_COPY(OF_CHAT("from=\"r@conference.e.test/al\" to=\"bob@e.test/r1\"", "")),
     "message r@conference.e.test/al -> bob@e.test/r1* id=m1\n"},
    {"without an address it goes to the own account",
     OF_COPY(OF_CHAT("from=\"alice@e.test/r1\"", "")),
     "message alice@e.test/r1* -> alice@e.test* id=m1\n"},
    {"IQs are nothing here",
     OF_COPY("<iq xmlns=\"\" type=\"get\" from=\"alice@e.test/r1\" id=\"1\"/>"), ""},
    {"somebody else's envelope",
     "<message from=\"eve@e.test/x\" to=\"sidecar.e.test\"><copy xmlns=\"" EVENT_NS
     "\" incoming=\"true\" processed=\"true\">" OF_CHAT(ALICE_TO_BOB, "") "</copy></message>",
     ""},
    {"a copy of what went out, which nobody asked for",
     "<message from=\"e.test\" to=\"sidecar.e.test\"><copy xmlns=\"" EVENT_NS
     "\" incoming=\"false\" processed=\"true\">" OF_CHAT(ALICE_TO_BOB, "") "</copy></message>",
     ""},
    {"an empty envelope",
     "<message from=\"e.test\" to=\"sidecar.e.test\"><copy xmlns=\"" EVENT_NS
     "\" incoming=\"true\" processed=\"true\"/></message>",
     ""},
    {"ejabberd's envelope",
     COPY("<message xmlns='jabber:client' from='alice@e.test/r1' "
          "to='bob@e.test'><body>x</body></message>"),
     ""},
};

static void each_copy_is_what_it_means(void **state)
{
    struct world *w = *state;
    world_cases(w, cases, sizeof cases / sizeof *cases);
}

static void an_impossible_address_is_for_quarantine(void **state)
{
    struct world *w = *state;
    assert_int_equal(
        world_feed_link(w, 0, OF_COPY(OF_CHAT("from=\"a b@e.test\" to=\"bob@e.test\"", ""))),
        ERR_REJECT);
}

static void a_message_over_the_limit_is_for_quarantine(void **state)
{
    struct world *w = *state;
    size_t len = (1 << 20) + OPENFIRE_ENVELOPE_BYTES;
    char *text = malloc(len + 1024);
    int n =
        sprintf(text, "<message from=\"e.test\" to=\"sidecar.e.test\"><copy xmlns=\"" EVENT_NS
                      "\" incoming=\"true\"><message xmlns=\"\" " ALICE_TO_BOB "><body>");
    memset(text + n, 'x', len);
    strcpy(text + (size_t)n + len, "</body></message></copy></message>");
    struct err e;
    struct stanza *st = xml_parse_element(text, strlen(text), &e);
    assert_non_null(st);
    const struct place p = {.begin = 0, .end = strlen(text)};
    assert_int_equal(service_stanza(w->service, 1, st, &p, w->real_us, SERVICE_LIVE, &e),
                     ERR_REJECT);
    assert_string_equal(buf_cstr(&w->events), "");
    stanza_free(&st);
    free(text);
}

/* ---- the namespace, and the time ---- */

static char *written;
static int64_t event_us;

static void keep_event(void *ctx, const struct event *e)
{
    struct buf out;
    (void)ctx;
    buf_init(&out, 1 << 16);
    stanza_write(&out, e->stanza, NULL);
    free(written);
    written = strdup(buf_cstr(&out));
    event_us = e->received_us;
    buf_deinit(&out);
}

static void classify(struct world *w, const char *copy)
{
    const struct adapter_sink sink = {.event = keep_event};
    const struct place p = {.begin = 0, .end = strlen(copy)};
    struct err e;
    struct stanza *st = xml_parse_element(copy, strlen(copy), &e);
    assert_non_null(st);
    assert_int_equal(
        adapter_classify(service_adapter(w->service), st, &p, w->real_us, &sink, &e),
        ERR_NONE);
    stanza_free(&st);
}

static void a_message_gets_its_namespace_back(void **state)
{
    struct world *w = *state;
    classify(w, OF_COPY("<message xmlns=\"\" from=\"a@e.test/1\" to=\"bob@e.test\">"
                        "<subject>s</subject><body xml:lang=\"en\">hi</body>"
                        "<own xmlns=\"urn:own\"><none xmlns=\"\"/></own></message>"));
    assert_string_equal(written,
                        "<message xmlns=\"jabber:client\" from=\"a@e.test/1\" "
                        "to=\"bob@e.test\"><subject>s</subject><body xml:lang=\"en\">hi</body>"
                        "<own xmlns=\"urn:own\"><none xmlns=\"\"/></own></message>");
    free(written);
    written = NULL;
}

static int64_t time_of(const char *text)
{
    int64_t us;
    assert_true(datetime_parse(text, &us));
    return us;
}

static void the_servers_date_orders_what_one_batch_brings(void **state)
{
    struct world *w = *state;
    w->real_us = time_of("2026-11-20T10:30:00Z");
    classify(w, COPY_AT("2026-11-20T10:29:57.250Z", OF_CHAT(ALICE_TO_BOB, "")));
    assert_int_equal(event_us, time_of("2026-11-20T10:29:57.25Z"));
    /* A clock ahead of ours, or far behind it, or none. */
    classify(w, COPY_AT("2026-11-20T10:30:01Z", OF_CHAT(ALICE_TO_BOB, "")));
    assert_int_equal(event_us, w->real_us);
    classify(w, COPY_AT("2026-11-20T09:30:00Z", OF_CHAT(ALICE_TO_BOB, "")));
    assert_int_equal(event_us, time_of("2026-11-20T10:29:45Z"));
    classify(w, COPY_AT("yesterday", OF_CHAT(ALICE_TO_BOB, "")));
    assert_int_equal(event_us, w->real_us);
    free(written);
    written = NULL;
}

static void a_head_tells_whether_a_message_is_copied(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *copy;
        bool message;
    } table[] = {
        {OF_COPY(OF_CHAT(ALICE_TO_BOB, "")), true},
        {OF_COPY("<iq xmlns=\"\" type=\"get\"/>"), false},
        {COPY("<message xmlns='jabber:client'/>"), false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err e;
        struct stanza *st = xml_parse_element(table[i].copy, strlen(table[i].copy), &e);
        assert_int_equal(adapter_copies_message(service_adapter(w->service), st),
                         table[i].message);
        stanza_free(&st);
    }
}

/* ---- presence, where it is copied ---- */

static void presence_is_taken_when_it_is_meant_for_all_contacts(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *attributes;
        bool online;
    } table[] = {
        {"", true},
        {"to=\"e.test\"", true},
        {"to=\"alice@e.test\"", true},
        {"to=\"bob@e.test\"", false},             /* directed */
        {"to=\"r@conference.e.test/al\"", false}, /* a room */
        {"to=\"alice@e.test/r2\"", false},
        {"type=\"subscribe\" to=\"alice@e.test\"", false},
        {"type=\"error\"", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char copy[1024];
        print_message("%s\n", table[i].attributes);
        snprintf(copy, sizeof copy,
                 OF_COPY("<presence xmlns=\"\" from=\"alice@e.test/r1\" %s>"
                         "<priority>3</priority></presence>"),
                 table[i].attributes);
        world_feed(w, copy);
        const struct session *is =
            sessions_next(service_sessions(w->service), "alice@e.test", NULL);
        assert_int_equal(is != NULL, table[i].online);
        if (is)
            assert_int_equal(is->priority, 3);
        world_feed(w, OF_COPY("<presence xmlns=\"\" type=\"unavailable\" "
                              "from=\"alice@e.test/r1\" to=\"e.test\"/>"));
        assert_int_equal(sessions_accounts(service_sessions(w->service)), 0);
    }
    world_feed(w, OF_COPY("<presence xmlns=\"\" from=\"rob@r.test/r1\"/>")
                      OF_COPY("<presence xmlns=\"\" from=\"alice@e.test\"/>")
                          OF_COPY("<presence xmlns=\"\"/>"));
    assert_int_equal(sessions_accounts(service_sessions(w->service)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, openfire_setup, world_teardown)
        TEST(each_copy_is_what_it_means),
        TEST(an_impossible_address_is_for_quarantine),
        TEST(a_message_over_the_limit_is_for_quarantine),
        TEST(a_message_gets_its_namespace_back),
        TEST(the_servers_date_orders_what_one_batch_brings),
        TEST(presence_is_taken_when_it_is_meant_for_all_contacts),
        TEST(a_head_tells_whether_a_message_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
