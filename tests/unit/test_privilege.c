// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#include "component/privilege.h"

static bool read_text(const char *xml, struct privilege *out)
{
    struct err e;
    struct stanza *st = xml_parse_element(xml, strlen(xml), &e);
    assert_non_null(st);
    bool is = privilege_read(st, out);
    stanza_free(&st);
    return is;
}

static void the_namespace_is_the_one_announced(void **state)
{
    (void)state;
    struct privilege p;
    assert_true(read_text("<message><privilege xmlns='urn:xmpp:privilege:1'>"
                          "<perm access='message' type='outgoing'/></privilege></message>",
                          &p));
    assert_string_equal(p.ns, NS_PRIVILEGE_1);
    assert_true(p.messages);
    assert_false(p.presence || p.rosters);
    assert_true(read_text("<message><privilege xmlns='urn:xmpp:privilege:2'>"
                          "<perm access='presence' type='managed_entity'/>"
                          "<perm access='roster' type='both'/>"
                          "<perm access='message' type='none'/></privilege></message>",
                          &p));
    assert_string_equal(p.ns, NS_PRIVILEGE_2);
    assert_false(p.messages);
    assert_true(p.presence && p.rosters);
    assert_false(
        read_text("<message><privilege xmlns='urn:xmpp:privilege:3'/></message>", &p));
}

static void permissions_of_another_namespace_do_not_count(void **state)
{
    (void)state;
    struct privilege p;
    assert_true(read_text("<message><privilege xmlns='urn:xmpp:privilege:2'>"
                          "<perm xmlns='x' access='message' type='outgoing'/></privilege>"
                          "</message>",
                          &p));
    assert_false(p.messages);
}

static void only_the_server_grants(void **state)
{
    (void)state;
    struct world w;
    struct service_link_status status;
    world_begin(&w);
    static const char *const froms[] = {"eve@e.test/x", "e.test/x", "remote.test", "f.test"};
    for (size_t i = 0; i < sizeof froms / sizeof *froms; i++) {
        char xml[512];
        snprintf(xml, sizeof xml,
                 "<message to='sidecar.e.test' from='%s'><privilege "
                 "xmlns='urn:xmpp:privilege:1'><perm type='outgoing' access='message'/>"
                 "</privilege></message>",
                 froms[i]);
        world_feed(&w, xml);
        service_link_status(w.service, 0, &status);
        assert_false(status.messages_granted);
    }
    world_feed(&w, COPY("<message xmlns='jabber:client' from='eve@e.test/x' to='e.test'>"
                        "<privilege xmlns='urn:xmpp:privilege:1'><perm type='outgoing' "
                        "access='message'/></privilege></message>"));
    service_link_status(w.service, 0, &status);
    assert_false(status.messages_granted);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    service_link_status(w.service, 0, &status);
    assert_true(status.messages_granted);
    world_end(&w);
}

static void a_refused_message_takes_no_grant_away(void **state)
{
    (void)state;
    struct world w;
    struct service_link_status status;
    world_begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    world_feed(&w,
               "<message to='sidecar.e.test' from='e.test' type='error' id='pv'>"
               "<privilege xmlns='urn:xmpp:privilege:1'><forwarded "
               "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
               "from='bob@e.test/zz' to='bob@e.test/r1' id='x3'/></forwarded></privilege>"
               "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
               "</error></message>");
    service_link_status(w.service, 0, &status);
    assert_true(status.messages_granted);
    assert_int_equal(buf_len(&w.events), 0);
    world_end(&w);
}

static void a_new_connection_begins_without_grants(void **state)
{
    (void)state;
    struct world w;
    struct service_link_status status;
    world_begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    service_closed(w.service, 0, 1);
    w.epoch = 2;
    service_opened(w.service, 0, 2, w.real_us);
    service_link_status(w.service, 0, &status);
    assert_true(status.up);
    assert_false(status.messages_granted);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_namespace_is_the_one_announced),
        cmocka_unit_test(permissions_of_another_namespace_do_not_count),
        cmocka_unit_test(only_the_server_grants),
        cmocka_unit_test(a_refused_message_takes_no_grant_away),
        cmocka_unit_test(a_new_connection_begins_without_grants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
