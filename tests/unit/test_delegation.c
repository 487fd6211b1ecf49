// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#include "component/delegation.h"

static void begin(struct world *w)
{
    world_begin(w);
    service_delegate(w->service, NS_MAM);
    service_feature(w->service, NS_MAM, NS_MAM);
    service_feature(w->service, NS_MAM, NS_MAM "#extended");
}

static void expect_sent(struct world *w, const char *expected)
{
    assert_string_equal(buf_cstr(&w->sent), expected);
    buf_reset(&w->sent);
}

static void nested_nodes_of_both_versions_are_understood(void **state)
{
    (void)state;
    assert_string_equal(delegation_nested("urn:xmpp:delegation:1::urn:xmpp:mam:2"), NS_MAM);
    assert_string_equal(delegation_nested("urn:xmpp:delegation:1:bare:urn:xmpp:mam:2"),
                        NS_MAM);
    assert_string_equal(delegation_nested("urn:xmpp:delegation:2::urn:xmpp:mam:2"), NS_MAM);
    assert_string_equal(delegation_nested("urn:xmpp:delegation:2:bare:urn:xmpp:mam:2"),
                        NS_MAM);
    assert_null(delegation_nested("urn:xmpp:delegation:3::urn:xmpp:mam:2"));
    assert_null(delegation_nested("urn:xmpp:delegation:1:other:urn:xmpp:mam:2"));
    assert_null(delegation_nested(NULL));
}

static void a_served_namespace_shows_its_features_and_no_others(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    service_feature(w.service, NULL, "urn:xmpp:push:0");
    world_feed(&w, "<iq type='get' id='a1' from='e.test' to='sidecar.e.test'><query "
                   "xmlns='http://jabber.org/protocol/disco#info' "
                   "node='urn:xmpp:delegation:1:bare:urn:xmpp:mam:2'/></iq>");
    expect_sent(&w,
                "<iq type=\"result\" id=\"a1\" from=\"sidecar.e.test\" to=\"e.test\"><query "
                "xmlns=\"http://jabber.org/protocol/disco#info\" "
                "node=\"urn:xmpp:delegation:1:bare:urn:xmpp:mam:2\">"
                "<feature var=\"urn:xmpp:mam:2\"/><feature var=\"urn:xmpp:mam:2#extended\"/>"
                "</query></iq>\n");
    world_end(&w);
}

static void an_unserved_namespace_stays_with_the_server(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(&w, "<iq type='get' id='a1' from='e.test' to='sidecar.e.test'><query "
                   "xmlns='http://jabber.org/protocol/disco#info' "
                   "node='urn:xmpp:delegation:2::urn:xmpp:inbox:1'/></iq>");
    assert_non_null(strstr(buf_cstr(&w.sent), "type=\"error\""));
    assert_non_null(strstr(buf_cstr(&w.sent), "<item-not-found "));
    buf_reset(&w.sent);
    /* A user who asks is told the same. */
    world_feed(&w, "<iq type='get' id='a1' from='bob@e.test/r' to='sidecar.e.test'><query "
                   "xmlns='http://jabber.org/protocol/disco#info' "
                   "node='urn:xmpp:delegation:2::urn:xmpp:mam:2'/></iq>");
    assert_non_null(strstr(buf_cstr(&w.sent), "<item-not-found "));
    world_end(&w);
}

static void the_recorded_connect_is_answered_at_once(void **state)
{
    (void)state;
    struct world w;
    struct service_link_status status;
    char sent[16384];
    begin(&w);
    world_feed_fixture(&w, "ejabberd/01-connect.xml");
    world_sent(&w, sent, sizeof sent);
    unsigned results = 0, errors = 0, asked = 0;
    for (char *line = strtok(sent, "\n"); line; line = strtok(NULL, "\n")) {
        results += strstr(line, "type=\"result\"") && strstr(line, "mam:2\"><feature");
        errors += strstr(line, "type=\"error\"") != NULL;
        asked += strstr(line, "online users") != NULL;
    }
    /* mam:2 for the host and for accounts; mam:1, archive and inbox are refused. */
    assert_int_equal(results, 2);
    assert_int_equal(errors, 6);
    assert_int_equal(asked, 1);
    service_link_status(w.service, 0, &status);
    assert_true(status.up && status.live);
    assert_true(status.messages_granted);
    assert_int_equal(status.namespaces_delegated, 1);
    world_end(&w);
}

static void announcements_of_both_versions_count(void **state)
{
    (void)state;
    static const char *const announced[] = {
        "<message from='e.test' to='sidecar.e.test'><delegation xmlns='urn:xmpp:delegation:1'>"
        "<delegated namespace='urn:xmpp:mam:2'/></delegation></message>",
        "<message from='e.test' to='sidecar.e.test'><delegation xmlns='urn:xmpp:delegation:2'>"
        "<delegated namespace='urn:xmpp:inbox:1'/><delegated namespace='urn:xmpp:mam:2'>"
        "<attribute name='node'/></delegated></delegation></message>",
    };
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        struct service_link_status status;
        begin(&w);
        service_link_status(w.service, 0, &status);
        assert_int_equal(status.namespaces_delegated, 0);
        world_feed(&w, announced[i]);
        service_link_status(w.service, 0, &status);
        assert_int_equal(status.namespaces_delegated, 1);
        world_end(&w);
    }
}

static unsigned handled;

static void count(void *ctx, struct iq_request *r)
{
    (void)ctx;
    handled++;
    iq_reply(r, NULL);
}

#define ENVELOPE(from)                                                                        \
    "<iq to='sidecar.e.test' from='" from "' type='set' id='o1'>"                             \
    "<delegation xmlns='urn:xmpp:delegation:1'><forwarded xmlns='urn:xmpp:forward:0'>"        \
    "<iq xmlns='jabber:client' type='set' id='q' from='alice@e.test/r' to='alice@e.test'>"    \
    "<query xmlns='urn:xmpp:mam:2'/></iq></forwarded></delegation></iq>"

static void an_envelope_counts_only_from_exactly_the_server(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    service_handle(w.service, NULL, NS_MAM, count, NULL);
    handled = 0;
    world_feed(&w, ENVELOPE("eve@e.test/x"));
    world_feed(&w, ENVELOPE("e.test/x"));
    world_feed(&w, ENVELOPE("remote.test"));
    world_feed(&w, ENVELOPE("eve@remote.test/x"));
    world_feed(&w, ENVELOPE("f.test"));
    assert_int_equal(handled, 0);
    /* Each was refused as the nonsense that it is, to its sender. */
    assert_null(strstr(buf_cstr(&w.sent), "type=\"result\""));
    assert_null(strstr(buf_cstr(&w.sent), "alice"));
    world_feed(&w, ENVELOPE("e.test"));
    assert_int_equal(handled, 1);
    /* Nested in the delegated IQ of a user. */
    world_feed(
        &w, DELEGATED("urn:xmpp:delegation:1",
                      "<iq xmlns='jabber:client' type='set' id='q' from='eve@e.test/x' "
                      "to='eve@e.test'><delegation xmlns='urn:xmpp:delegation:1'><forwarded "
                      "xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='set' "
                      "id='q' from='alice@e.test/r'><query xmlns='urn:xmpp:mam:2'/></iq>"
                      "</forwarded></delegation></iq>"));
    assert_int_equal(handled, 1);
    world_end(&w);
}

static void every_recorded_delegated_query_reaches_its_handler(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    service_handle(w.service, NULL, NS_MAM, count, NULL);
    handled = 0;
    world_feed_fixture(&w, "ejabberd/04-delegation.xml");
    assert_int_equal(handled, 10);
    assert_int_equal(w.opened, w.done);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested_nodes_of_both_versions_are_understood),
        cmocka_unit_test(a_served_namespace_shows_its_features_and_no_others),
        cmocka_unit_test(an_unserved_namespace_stays_with_the_server),
        cmocka_unit_test(the_recorded_connect_is_answered_at_once),
        cmocka_unit_test(announcements_of_both_versions_count),
        cmocka_unit_test(an_envelope_counts_only_from_exactly_the_server),
        cmocka_unit_test(every_recorded_delegated_query_reaches_its_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
