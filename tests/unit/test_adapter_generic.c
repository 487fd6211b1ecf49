// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#define FROM(who, inside)                                                                     \
    "<message to='sidecar.e.test' from='" who                                                 \
    "'><forwarded xmlns='urn:xmpp:forward:0'>" inside "</forwarded></message>"
#define BOTH "message alice@e.test/r1* -> bob@e.test* id=m1\n"

static const char *const sources[] = {"e.test", "copier.e.test", "bot@e.test",
                                      "bot@f.test/home"};

static void begin(struct world *w)
{
    world_init(w, 1);
    w->opts.server = SERVER_GENERIC;
    w->opts.copies_from = sources;
    w->opts.copies_from_n = sizeof sources / sizeof *sources;
    w->service = world_service(w);
    service_opened(w->service, 0, 1, w->real_us);
    service_live(w->service, 0);
}

static int generic_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    begin(w);
    *state = w;
    return 0;
}

static const struct world_case cases[] = {
    {"the server itself", FROM("e.test", CHAT(ALICE_TO_BOB, "")), BOTH},
    {"another component", FROM("copier.e.test", CHAT(ALICE_TO_BOB, "")), BOTH},
    {"any session of an account", FROM("bot@e.test/x", CHAT(ALICE_TO_BOB, "")), BOTH},
    {"one session of an account", FROM("bot@f.test/home", CHAT(ALICE_TO_BOB, "")), BOTH},
    {"another session of it", FROM("bot@f.test/work", CHAT(ALICE_TO_BOB, "")), ""},
    {"an account of a component that is named",
     FROM("x@copier.e.test", CHAT(ALICE_TO_BOB, "")), ""},
    {"a name that begins like one", FROM("bot@e.test.org", CHAT(ALICE_TO_BOB, "")), ""},
    {"anybody else", FROM("mallory@e.test/x", CHAT(ALICE_TO_BOB, "")), ""},
    {"another host", FROM("r.test", CHAT(ALICE_TO_BOB, "")), ""},
    {"what XEP-0297 puts beside it",
     FROM("e.test", "<delay xmlns='urn:xmpp:delay' stamp='2026-11-20T10:00:00Z'/>" CHAT(
                        ALICE_TO_BOB, "")),
     BOTH},
    {"a copy that came back",
     "<message to='sidecar.e.test' from='e.test' type='error'><forwarded "
     "xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB, "") "</forwarded></message>",
     ""},
    {"to a node of ours",
     "<message to='x@sidecar.e.test' from='e.test'><forwarded "
     "xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB, "") "</forwarded></message>",
     ""},
    {"a stanza in no namespace",
     FROM("e.test", "<message xmlns='' " ALICE_TO_BOB "><body>hi</body></message>"), ""},
    {"nothing in it", FROM("e.test", ""), ""},
    {"what it forwards itself is its own business",
     FROM("e.test", CHAT("from='alice@e.test/r1' to='rob@r.test'",
                         "<forwarded xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB,
                                                                       "") "</forwarded>")),
     "message alice@e.test/r1* -> rob@r.test id=m1\n"},
    {"what a device publishes of what it has displayed",
     FROM("e.test",
          "<iq xmlns='jabber:client' type='set' id='p1' from='bob@e.test/r1'><pubsub "
          "xmlns='http://jabber.org/protocol/pubsub'><publish "
          "node='urn:xmpp:mds:displayed:0'>" MDS_ITEM("alice@e.test", "bob@e.test",
                                                      "a1") "</publish></pubsub></iq>"),
     "displayed bob@e.test* -> alice@e.test ref=a1\n"},
    {"a refusal",
     FROM("e.test", "<message xmlns='jabber:client' type='error' id='m1' from='bob@e.test' "
                    "to='alice@e.test/r1'><error type='cancel'/></message>"),
     "bounce bob@e.test* -> alice@e.test/r1* id=m1 ref=m1\n"},
};

static void what_a_copy_says_depends_on_who_sends_it(void **state)
{
    struct world *w = *state;
    world_cases(w, cases, sizeof cases / sizeof *cases);
}

static enum session_state state_of(const struct world *w, const char *bare)
{
    return service_session_state(w->service, bare, w->real_us, 1800 * SECOND_US, NULL);
}

static void who_is_online_is_what_is_forwarded_or_told_to_us(void **state)
{
    struct world *w = *state;
    assert_int_equal(state_of(w, "bob@e.test"), SESSION_UNKNOWN);
    world_pass(w, 121000); /* nothing will tell */
    assert_int_equal(state_of(w, "bob@e.test"), SESSION_OFFLINE);
    world_feed(w, FROM("e.test", "<presence xmlns='jabber:client' from='bob@e.test/r1'/>"));
    assert_int_equal(state_of(w, "bob@e.test"), SESSION_ONLINE);
    world_feed(w, FROM("e.test", "<presence xmlns='jabber:client' from='bob@e.test/r1' "
                                 "type='unavailable'/>"));
    assert_int_equal(state_of(w, "bob@e.test"), SESSION_OFFLINE);
    world_feed(w, "<presence from='alice@e.test/r1' to='sidecar.e.test'/>");
    assert_int_equal(state_of(w, "alice@e.test"), SESSION_ONLINE);
    world_feed(w, FROM("e.test", CHAT("from='carol@e.test/r1' to='bob@e.test'", "")));
    assert_int_equal(state_of(w, "carol@e.test"), SESSION_ONLINE);
    /* Mallory has nothing to tell of others. */
    world_feed(w, FROM("mallory@e.test/x",
                       "<presence xmlns='jabber:client' from='dave@e.test/r1'/>"));
    assert_int_equal(state_of(w, "dave@e.test"), SESSION_OFFLINE);
}

static void nothing_is_awaited_and_nothing_is_asked(void **state)
{
    struct world *w = *state;
    world_pass(w, 3600 * 1000);
    service_tick(w->service, w->mono_ms);
    assert_string_equal(buf_cstr(&w->reconnects), "");
    assert_string_equal(buf_cstr(&w->sent), "");
}

#define ASKED "<iq type='get' id='q1' from='bob@e.test/r1' to='sidecar.e.test'>"
#define REFUSED                                                                               \
    "<iq type=\"error\" id=\"q1\" from=\"sidecar.e.test\" to=\"bob@e.test/r1\"><error%s "     \
    "type=\"cancel\"><service-unavailable "                                                   \
    "xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/></error></iq>\n"

/* DJabberd writes what names no namespace as <nsp0:error
 * xmlns:nsp0='jabber:component:accept'>, which no client knows. */
static void a_server_that_loses_the_namespace_is_told_it(void **state)
{
    struct world *w = *state;
    char expected[512];
    snprintf(expected, sizeof expected, REFUSED, "");
    world_feed(w, ASKED "<x xmlns='urn:example'/></iq>");
    assert_string_equal(buf_cstr(&w->sent), expected);
    buf_reset(&w->sent);
    w->opts.client_namespace = true;
    snprintf(expected, sizeof expected, REFUSED, " xmlns=\"jabber:client\"");
    world_feed(w, ASKED "<x xmlns='urn:example'/></iq>");
    assert_string_equal(buf_cstr(&w->sent), expected);
    buf_reset(&w->sent);
    world_feed(w, ASKED "<ping xmlns='urn:xmpp:ping'/></iq>");
    assert_non_null(strstr(buf_cstr(&w->sent), "<iq type=\"result\" id=\"q1\""));
}

#define T(test) cmocka_unit_test_setup_teardown(test, generic_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_a_copy_says_depends_on_who_sends_it),
        T(who_is_online_is_what_is_forwarded_or_told_to_us),
        T(nothing_is_awaited_and_nothing_is_asked),
        T(a_server_that_loses_the_namespace_is_told_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
