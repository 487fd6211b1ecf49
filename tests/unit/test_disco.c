// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

static void nothing(void *ctx, struct adhoc_call *call)
{
    (void)ctx;
    adhoc_completed(call, ADHOC_INFO, NULL);
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    world_begin(w);
    service_feature(w->service, NULL, NS_PUSH);
    service_delegate(w->service, NS_MAM);
    service_feature(w->service, NS_MAM, NS_MAM);
    service_feature(w->service, NS_MAM, NS_MAM); /* listed once all the same */
    adhoc_add(w->service, "register-device", "Register a device", nothing, NULL);
    *state = w;
    return 0;
}

#define ASK(payload)                                                                          \
    "<iq type='get' id='d1' from='bob@e.test/r1' to='sidecar.e.test'>" payload "</iq>"
#define RESULT(payload)                                                                       \
    "<iq type=\"result\" id=\"d1\" from=\"sidecar.e.test\" to=\"bob@e.test/r1\">" payload     \
    "</iq>\n"
#define INFO "http://jabber.org/protocol/disco#info"
#define ITEMS "http://jabber.org/protocol/disco#items"
#define COMMANDS "http://jabber.org/protocol/commands"

static void expect(struct world *w, const char *asked, const char *answer)
{
    world_feed(w, asked);
    assert_string_equal(buf_cstr(&w->sent), answer);
    buf_reset(&w->sent);
}

static void the_component_says_what_it_is(void **state)
{
    expect(*state, ASK("<query xmlns='" INFO "'/>"),
           RESULT("<query xmlns=\"" INFO "\">"
                  "<identity category=\"component\" type=\"generic\" name=\"xmpp-sidecar\"/>"
                  "<identity category=\"pubsub\" type=\"push\" name=\"xmpp-sidecar\"/>"
                  "<feature var=\"" INFO "\"/><feature var=\"" ITEMS "\"/>"
                  "<feature var=\"" COMMANDS "\"/><feature var=\"urn:xmpp:ping\"/>"
                  "<feature var=\"jabber:iq:version\"/><feature var=\"urn:xmpp:push:0\"/>"
                  "<feature var=\"urn:xmpp:mam:2\"/>"
                  "</query>"));
}

static void what_users_find_on_their_own_address_is_not_shown_on_ours(void **state)
{
    struct world *w = *state;
    world_feed(w, "<message from='e.test' to='sidecar.e.test'><delegation "
                  "xmlns='urn:xmpp:delegation:2'><delegated namespace='urn:xmpp:mam:2'/>"
                  "</delegation></message>");
    world_feed(w, ASK("<query xmlns='" INFO "'/>"));
    assert_null(strstr(buf_cstr(&w->sent), "urn:xmpp:mam:2"));
    assert_non_null(strstr(buf_cstr(&w->sent), "urn:xmpp:push:0"));
    buf_reset(&w->sent);
    /* A connection that has not delegated it. */
    service_closed(w->service, 0, 1);
    service_opened(w->service, 0, 1, w->real_us);
    world_feed(w, ASK("<query xmlns='" INFO "'/>"));
    assert_non_null(strstr(buf_cstr(&w->sent), "urn:xmpp:mam:2"));
}

static void commands_are_listed_and_described(void **state)
{
    expect(*state, ASK("<query xmlns='" ITEMS "'/>"), RESULT("<query xmlns=\"" ITEMS "\"/>"));
    expect(*state, ASK("<query xmlns='" ITEMS "' node='" COMMANDS "'/>"),
           RESULT("<query xmlns=\"" ITEMS "\" node=\"" COMMANDS "\">"
                  "<item jid=\"sidecar.e.test\" node=\"register-device\" "
                  "name=\"Register a device\"/></query>"));
    expect(
        *state, ASK("<query xmlns='" INFO "' node='" COMMANDS "'/>"),
        RESULT("<query xmlns=\"" INFO "\" node=\"" COMMANDS "\"><identity "
               "category=\"automation\" type=\"command-list\" name=\"Commands\"/></query>"));
    expect(*state, ASK("<query xmlns='" INFO "' node='register-device'/>"),
           RESULT("<query xmlns=\"" INFO "\" node=\"register-device\"><identity "
                  "category=\"automation\" type=\"command-node\" name=\"Register a device\"/>"
                  "<feature var=\"" COMMANDS "\"/><feature var=\"jabber:x:data\"/></query>"));
}

static void an_unknown_node_is_not_found(void **state)
{
    struct world *w = *state;
    world_feed(w, ASK("<query xmlns='" INFO "' node='x'/>"));
    assert_non_null(strstr(buf_cstr(&w->sent), "<item-not-found "));
    buf_reset(&w->sent);
    world_feed(w, ASK("<query xmlns='" ITEMS "' node='x'/>"));
    assert_non_null(strstr(buf_cstr(&w->sent), "<item-not-found "));
}

static void ping_and_version_are_answered(void **state)
{
    expect(*state, ASK("<ping xmlns='urn:xmpp:ping'/>"),
           "<iq type=\"result\" id=\"d1\" from=\"sidecar.e.test\" to=\"bob@e.test/r1\"/>\n");
    expect(
        *state, ASK("<query xmlns='jabber:iq:version'/>"),
        RESULT("<query "
               "xmlns=\"jabber:iq:version\"><name>xmpp-sidecar</name><version>" SIDECAR_VERSION
               "</version></query>"));
}

static void a_set_of_what_is_only_read_is_a_bad_request(void **state)
{
    struct world *w = *state;
    static const char *const payloads[] = {
        "<query xmlns='" INFO "'/>", "<query xmlns='" ITEMS "'/>",
        "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'/>"};
    for (size_t i = 0; i < 4; i++) {
        char xml[512];
        snprintf(xml, sizeof xml,
                 "<iq type='set' id='d1' from='bob@e.test/r1' to='sidecar.e.test'>%s</iq>",
                 payloads[i]);
        world_feed(w, xml);
        assert_non_null(strstr(buf_cstr(&w->sent), "<bad-request "));
        buf_reset(&w->sent);
    }
}

static void other_addresses_of_ours_have_nothing(void **state)
{
    struct world *w = *state;
    world_feed(w, "<iq type='get' id='d1' from='bob@e.test/r1' to='x@sidecar.e.test'>"
                  "<query xmlns='" INFO "'/></iq>");
    assert_non_null(strstr(buf_cstr(&w->sent), "from=\"x@sidecar.e.test\""));
    assert_non_null(strstr(buf_cstr(&w->sent), "<service-unavailable "));
}

static void what_is_ours_is_not_answered_for_users(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, "<iq xmlns='jabber:client' type='get' id='1' "
                                             "from='bob@e.test/r' to='bob@e.test'>"
                                             "<query xmlns='" INFO "'/></iq>"));
    assert_non_null(strstr(buf_cstr(&w->sent), "<service-unavailable "));
}

#define T(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_component_says_what_it_is),
        T(what_users_find_on_their_own_address_is_not_shown_on_ours),
        T(commands_are_listed_and_described),
        T(an_unknown_node_is_not_found),
        T(ping_and_version_are_answered),
        T(a_set_of_what_is_only_read_is_a_bad_request),
        T(other_addresses_of_ours_have_nothing),
        T(what_is_ours_is_not_answered_for_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
