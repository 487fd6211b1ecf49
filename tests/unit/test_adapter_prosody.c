// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#define SIDE(side, stanza)                                                                    \
    "<message to='" side "@sidecar.e.test' from='e.test'><forwarded "                         \
    "xmlns='urn:xmpp:forward:0'>" stanza "</forwarded></message>"
#define BOTH(stanza) SIDE("out", stanza) SIDE("in", stanza)

static int prosody_setup(void **state)
{
    return world_setup_on(state, SERVER_PROSODY);
}

static const struct world_case cases[] = {
    {"each side of a message has its own copy", BOTH(CHAT(ALICE_TO_BOB, "")),
     "message alice@e.test/r1* -> bob@e.test id=m1\n"
     "message alice@e.test/r1 -> bob@e.test* id=m1\n"},
    {"one that the recipient's rules refused has one side",
     SIDE("out", CHAT(ALICE_TO_BOB, "")), "message alice@e.test/r1* -> bob@e.test id=m1\n"},
    {"to and from another server",
     SIDE("out", CHAT("from='alice@e.test/r1' to='rob@r.test'", ""))
         SIDE("in", CHAT("from='rob@r.test/x' to='alice@e.test'", "")),
     "message alice@e.test/r1* -> rob@r.test id=m1\n"
     "message rob@r.test/x -> alice@e.test* id=m1\n"},
    {"a note to oneself, without to, is one", BOTH(CHAT("from='alice@e.test/r1'", "")),
     "message alice@e.test/r1* -> alice@e.test id=m1\n"},
    {"a marker is one of each side",
     BOTH("<message xmlns='jabber:client' from='bob@e.test/r1' to='alice@e.test' id='k1'>"
          "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></message>"),
     "marker bob@e.test/r1* -> alice@e.test id=k1 ref=m1\n"
     "marker bob@e.test/r1 -> alice@e.test* id=k1 ref=m1\n"},
    {"what an account tells its own devices of what it has displayed",
     BOTH(MDS_EVENT("from='bob@e.test' to='bob@e.test/r1' type='headline'",
                    MDS_ITEM("alice@e.test", "bob@e.test", "a1"))),
     "message bob@e.test* -> bob@e.test/r1\n"
     "displayed bob@e.test* -> alice@e.test ref=a1\n"},
    {"the same of somebody else is a message and nothing more",
     SIDE("in", MDS_EVENT("from='eve@e.test/x' to='bob@e.test'",
                          MDS_ITEM("alice@e.test", "bob@e.test", "a1")))
         SIDE("in", MDS_EVENT("from='eve@e.test' to='bob@e.test'",
                              MDS_ITEM("alice@e.test", "bob@e.test", "a1"))),
     "message eve@e.test/x -> bob@e.test*\n"
     "message eve@e.test -> bob@e.test*\n"},
    {"what a device publishes of what it has displayed",
     SIDE("out", "<iq xmlns='jabber:client' type='set' id='p1' from='bob@e.test/r1'><pubsub "
                 "xmlns='http://jabber.org/protocol/pubsub'><publish "
                 "node='urn:xmpp:mds:displayed:0'>" MDS_ITEM("alice@e.test", "bob@e.test",
                                                             "a1") "</publish></pubsub></iq>"),
     "displayed bob@e.test* -> alice@e.test ref=a1\n"},
    {"what a sender can write hides nothing",
     SIDE("in", CHAT(ALICE_TO_BOB, "<result xmlns='urn:xmpp:mam:2'/>"
                                   "<privilege xmlns='urn:xmpp:privilege:2'/>")),
     "message alice@e.test/r1 -> bob@e.test* id=m1\n"},
    {"groupchat",
     BOTH("<message xmlns='jabber:client' type='groupchat' from='alice@e.test/r1' "
          "to='room@conference.e.test'><body>x</body></message>"),
     ""},
    {"what a room tells an occupant, without archive.groupchat",
     SIDE("in", "<presence xmlns='jabber:client' from='room@conference.e.test/al' "
                "to='bob@e.test/r1'><x xmlns='http://jabber.org/protocol/muc#user'><item "
                "affiliation='member'/><status code='110'/></x></presence>"),
     ""},
    {"from a user with the same envelope",
     "<message to='in@sidecar.e.test' from='mallory@e.test/x'><forwarded "
     "xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB, "") "</forwarded></message>",
     ""},
    {"from another host",
     "<message to='in@sidecar.e.test' from='r.test'><forwarded "
     "xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB, "") "</forwarded></message>",
     ""},
    {"a copy that came back",
     "<message to='in@sidecar.e.test' from='e.test' type='error'><forwarded "
     "xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB, "") "</forwarded></message>",
     ""},
    {"to another node of ours", SIDE("x", CHAT(ALICE_TO_BOB, "")), ""},
    {"to no node of ours",
     "<message to='sidecar.e.test' from='e.test'><forwarded "
     "xmlns='urn:xmpp:forward:0'>" CHAT(ALICE_TO_BOB, "") "</forwarded></message>",
     ""},
};

static void what_a_copy_says(void **state)
{
    struct world *w = *state;
    world_cases(w, cases, sizeof cases / sizeof *cases);
}

#define ROSTER_SET(side, from)                                                                \
    SIDE(side, "<iq xmlns='jabber:client' type='set' id='r1' from='" from "'>"                \
               "<query xmlns='jabber:iq:roster'><item jid='bob@e.test'/></query></iq>")

static void a_change_of_the_roster_is_told(void **state)
{
    struct world *w = *state;
    world_feed(w, ROSTER_SET("out", "alice@e.test/r1"));
    assert_string_equal(buf_cstr(&w->rosters), "alice@e.test\n");
    world_feed(w, ROSTER_SET("out", "rob@r.test/r1"));
    world_feed(w, ROSTER_SET("elsewhere", "bob@e.test/r1"));
    assert_string_equal(buf_cstr(&w->rosters), "alice@e.test\n");
    assert_string_equal(buf_cstr(&w->events), "");
}

/* As Prosody 0.12 sends it: no "to" where the asker's own account is meant. */
#define ASKED(attrs)                                                                          \
    "<iq to='sidecar.e.test' type='set' id='o1' from='e.test'><delegation "                   \
    "xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>"                    \
    "<iq type='set' xmlns='jabber:client' id='q1' " attrs "><query xmlns='urn:xmpp:mam:2'/>"  \
    "</iq></forwarded></delegation></iq>"

static void answer_nothing(void *ctx, struct iq_request *r)
{
    struct iq_request **open = ctx;
    *open = r;
}

static void g4_g8_results_go_as_the_user_and_the_answer_mirrors_the_question(void **state)
{
    struct world *w = *state;
    struct iq_request *r = NULL;
    static const char result[] = "<result xmlns=\"urn:xmpp:mam:2\"/>";
    service_delegate(w->service, NS_MAM);
    service_handle(w->service, NULL, NS_MAM, answer_nothing, &r);
    world_feed(w, GRANT(NS_PRIVILEGE_2));
    world_feed(w, ASKED("from='bob@e.test/r1'"));
    assert_true(r->own_account);
    assert_true(iq_send_children(r, result, sizeof result - 1));
    assert_non_null(strstr(buf_cstr(&w->sent),
                           "<message from=\"sidecar.e.test\" to=\"e.test\"><privilege "
                           "xmlns=\"urn:xmpp:privilege:2\"><forwarded "
                           "xmlns=\"urn:xmpp:forward:0\"><message xmlns=\"jabber:client\" "
                           "from=\"bob@e.test\" to=\"bob@e.test/r1\""));
    buf_reset(&w->sent);
    iq_reply(r, NULL);
    assert_string_equal(
        buf_cstr(&w->sent),
        "<iq type=\"result\" id=\"o1\" from=\"sidecar.e.test\" to=\"e.test\"><delegation "
        "xmlns=\"urn:xmpp:delegation:2\"><forwarded xmlns=\"urn:xmpp:forward:0\"><iq "
        "xmlns=\"jabber:client\" type=\"result\" id=\"q1\" from=\"bob@e.test\" "
        "to=\"bob@e.test/r1\"/></forwarded></delegation></iq>\n");
    buf_reset(&w->sent);
    /* Somebody else's archive: Prosody forwards that, too. */
    world_feed(w, ASKED("from='bob@e.test/r1' to='alice@e.test'"));
    assert_false(r->own_account);
    iq_forbid(r);
    assert_non_null(strstr(buf_cstr(&w->sent), "<iq type=\"result\" id=\"o1\""));
    assert_non_null(strstr(buf_cstr(&w->sent), "from=\"alice@e.test\""));
    assert_non_null(strstr(buf_cstr(&w->sent), "<forbidden "));
}

static void who_is_online_is_known_from_the_announcement_on(void **state)
{
    struct world *w = *state;
    int64_t seen;
    assert_int_equal(
        service_session_state(w->service, "bob@e.test", w->real_us, 1800 * SECOND_US, &seen),
        SESSION_UNKNOWN);
    world_feed(w, GRANT(NS_PRIVILEGE_2));
    world_feed(w, "<presence to='sidecar.e.test' from='alice@e.test/r1'><delay "
                  "xmlns='urn:xmpp:delay' from='e.test' stamp='2026-11-20T10:00:00Z'/>"
                  "</presence>");
    assert_int_equal(
        service_session_state(w->service, "bob@e.test", w->real_us, 1800 * SECOND_US, &seen),
        SESSION_OFFLINE);
    assert_int_equal(
        service_session_state(w->service, "alice@e.test", w->real_us, 1800 * SECOND_US, &seen),
        SESSION_ONLINE);
}

#define T(test) cmocka_unit_test_setup_teardown(test, prosody_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_a_copy_says),
        T(a_change_of_the_roster_is_told),
        T(g4_g8_results_go_as_the_user_and_the_answer_mirrors_the_question),
        T(who_is_online_is_known_from_the_announcement_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
