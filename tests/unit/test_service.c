// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#define STALE_US (1800 * SECOND_US)

static unsigned handled;

static void count(void *ctx, struct iq_request *r)
{
    (void)ctx;
    handled++;
    iq_reply(r, NULL);
}

/* A service that is not open yet, as a new worker has it. */
static void new_worker(struct world *w, size_t links)
{
    world_init(w, links);
    w->service = world_service(w);
    service_handle(w->service, NULL, NS_MAM, count, NULL);
    service_handle(w->service, NULL, "urn:write", count, NULL);
    service_handle(w->service, NULL, NS_INBOX_ESL, count, NULL);
    service_delegate(w->service, NS_MAM);
    service_feature(w->service, NS_MAM, NS_MAM);
    handled = 0;
}

static void begin(struct world *w)
{
    new_worker(w, 1);
    service_opened(w->service, 0, 1, w->real_us);
    service_live(w->service, 0);
}

static enum session_state state_of(struct world *w, const char *bare)
{
    return service_session_state(w->service, bare, w->real_us, STALE_US, NULL);
}

/* The id under which the list of who is online was asked. */
static void answer_list(struct world *w, const char *items)
{
    char id[64], xml[1024];
    const char *at = strstr(buf_cstr(&w->sent), "id=\"xs-ask-");
    assert_non_null(at);
    snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 4, "\""), at + 4);
    buf_reset(&w->sent);
    snprintf(
        xml, sizeof xml,
        "<iq to='sidecar.e.test' from='e.test' type='result' id='%s'><query "
        "node='online users' xmlns='http://jabber.org/protocol/disco#items'>%s</query></iq>",
        id, items);
    world_feed(w, xml);
}

/* ---- announcements ---- */

static void a_connection_that_announces_nothing_is_made_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    assert_int_equal(service_deadline(w.service), w.mono_ms + 30000);
    world_pass(&w, 29999);
    service_tick(w.service, w.mono_ms);
    assert_string_equal(buf_cstr(&w.reconnects), "");
    world_pass(&w, 1);
    service_tick(w.service, w.mono_ms);
    assert_string_equal(buf_cstr(&w.reconnects), "0 1 nothing announced by the server\n");
    buf_reset(&w.reconnects);
    service_tick(w.service, w.mono_ms);
    assert_string_equal(buf_cstr(&w.reconnects), ""); /* said once */
    /* The next one is given more time. */
    service_closed(w.service, 0, 1);
    w.epoch = 2;
    service_opened(w.service, 0, 2, w.real_us);
    world_pass(&w, 30000);
    service_tick(w.service, w.mono_ms);
    assert_string_equal(buf_cstr(&w.reconnects), "");
    world_pass(&w, 30000);
    service_tick(w.service, w.mono_ms);
    assert_string_equal(buf_cstr(&w.reconnects), "0 2 nothing announced by the server\n");
    world_end(&w);
}

static void an_announced_connection_stays(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    world_pass(&w, 3600000);
    service_tick(w.service, w.mono_ms);
    assert_string_equal(buf_cstr(&w.reconnects), "");
    world_end(&w);
}

static void a_look_alike_announcement_does_not_count(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(&w, "<message from='eve@e.test/x' to='sidecar.e.test'><privilege "
                   "xmlns='urn:xmpp:privilege:1'/></message>");
    world_pass(&w, 30000);
    service_tick(w.service, w.mono_ms);
    assert_true(buf_len(&w.reconnects) > 0);
    world_end(&w);
}

/* ---- who is online ---- */

static void after_the_grant_the_server_is_asked_who_is_online(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    assert_non_null(strstr(buf_cstr(&w.sent),
                           "from=\"sidecar.e.test\" to=\"e.test\"><query "
                           "xmlns=\"http://jabber.org/protocol/disco#items\" "
                           "node=\"online users\"/></iq>\n"));
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_UNKNOWN);
    answer_list(&w, "<item name='alice@e.test' jid='alice@e.test/r1'/>"
                    "<item name='x' jid='rob@remote.test/r1'/><item jid='bad@@'/>");
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_OFFLINE); /* the list was complete */
    assert_int_equal(sessions_accounts(service_sessions(w.service)), 1);
    /* Announced again (as ejabberd does on reload): not asked again. */
    buf_reset(&w.sent);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    assert_int_equal(buf_len(&w.sent), 0);
    world_end(&w);
}

static void without_a_list_accounts_count_as_online_for_two_minutes(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_UNKNOWN);
    world_pass(&w, 30000); /* no answer */
    service_tick(w.service, w.mono_ms);
    world_pass(&w, 89999);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_UNKNOWN);
    world_pass(&w, 1);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_OFFLINE);
    world_feed(&w, "<presence from='bob@e.test/r' to='sidecar.e.test'/>");
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_ONLINE);
    /* A lost connection takes the knowledge along, and after two minutes it is void. */
    service_closed(w.service, 0, 1);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_UNKNOWN);
    world_pass(&w, 120000);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_OFFLINE);
    world_end(&w);
}

static void somebody_elses_list_is_no_list(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(&w, "<iq to='sidecar.e.test' from='eve@e.test/x' type='result' id='1'><query "
                   "node='online users' xmlns='http://jabber.org/protocol/disco#items'>"
                   "<item jid='alice@e.test/r1'/></query></iq>");
    assert_int_equal(sessions_seen_at(service_sessions(w.service), "alice@e.test", "r1"), 0);
    world_end(&w);
}

static void the_recorded_discovery_lists_who_is_online(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.pass = SERVICE_REPLAY; /* the question was another program's */
    world_feed_fixture(&w, "ejabberd/06-online-discovery.xml");
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_ONLINE);
    assert_int_equal(sessions_seen_at(service_sessions(w.service), "bob@e.test", "gone"), 0);
    world_end(&w);
}

/* ---- strangers ---- */

static void on_publish(void *ctx, struct iq_request *r)
{
    (void)ctx;
    assert_true(r->guest);
    assert_false(r->own_account);
    iq_reply(r, NULL);
}

static const char *guest_asks(struct world *w, const char *from, const char *payload)
{
    static char sent[4096];
    char xml[1024];
    snprintf(xml, sizeof xml, "<iq type='set' id='1' from='%s' to='sidecar.e.test'>%s</iq>",
             from, payload);
    world_feed(w, xml);
    return world_sent(w, sent, sizeof sent);
}

/* Of push.accept_from: what is open to them, and nothing else. */
static void guests_do_what_is_open_to_them(void **state)
{
    (void)state;
    static const char *const from[] = {"guest.test"};
    static const char publish[] = "<pubsub xmlns='urn:test:pubsub'/>";
    static const char archive[] = "<query xmlns='urn:test:archive'/>";
    struct world w;
    world_init(&w, 1);
    w.opts.accept_from = from;
    w.opts.accept_from_n = 1;
    w.service = world_service(&w);
    service_opened(w.service, 0, 1, w.real_us);
    service_live(w.service, 0);
    service_handle(w.service, "pubsub", "urn:test:pubsub", on_publish, NULL);
    service_handle(w.service, "query", "urn:test:archive", on_publish, NULL);
    service_welcome(w.service, "urn:test:pubsub");
    assert_non_null(strstr(guest_asks(&w, "guest.test", publish), "type=\"result\""));
    assert_non_null(strstr(guest_asks(&w, "u@guest.test", publish), "type=\"result\""));
    assert_non_null(strstr(guest_asks(&w, "guest.test", archive), "<forbidden "));
    assert_non_null(strstr(guest_asks(&w, "guest.test", "<x xmlns='y'/>"), "<forbidden "));
    assert_non_null(strstr(guest_asks(&w, "sub.guest.test", publish), "<forbidden "));
    assert_non_null(strstr(guest_asks(&w, "other.test", publish), "<forbidden "));
    world_end(&w);
}

static void strangers_are_refused_and_not_often(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    unsigned answers = 0;
    for (int i = 0; i < 100; i++) {
        world_feed(&w, "<iq type='get' id='1' from='rob@remote.test/x' to='sidecar.e.test'>"
                       "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>");
        answers += strstr(buf_cstr(&w.sent), "<forbidden ") != NULL;
        buf_reset(&w.sent);
    }
    assert_int_equal(answers, 5);
    world_pass(&w, 10000);
    world_feed(&w, "<iq type='get' id='1' from='rob@remote.test/x' to='sidecar.e.test'>"
                   "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>");
    assert_non_null(strstr(buf_cstr(&w.sent), "<forbidden "));
    buf_reset(&w.sent);
    /* A hundred domains together are bounded too. */
    answers = 0;
    for (int i = 0; i < 100; i++) {
        char xml[256];
        snprintf(
            xml, sizeof xml,
            "<iq type='get' id='1' from='d%d.test' to='sidecar.e.test'><a xmlns='b'/></iq>",
            i);
        world_feed(&w, xml);
        answers += buf_len(&w.sent) > 0;
        buf_reset(&w.sent);
    }
    assert_true(answers > 20 && answers < 50);
    assert_int_equal(w.opened, w.done);
    world_end(&w);
}

static void messages_and_presence_of_others_change_nothing(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    world_feed(
        &w, "<message from='eve@e.test/x' to='sidecar.e.test'><body>hi</body></message>"
            "<message from='rob@remote.test/x' to='sidecar.e.test'><body>hi</body></message>"
            "<message from='e.test' to='sidecar.e.test'><body>hi</body></message>"
            "<presence from='rob@remote.test/x' to='sidecar.e.test' type='subscribe'/>"
            "<unknown xmlns='x'/>");
    assert_int_equal(buf_len(&w.sent), 0);
    assert_int_equal(buf_len(&w.events), 0);
    assert_int_equal(sessions_accounts(service_sessions(w.service)), 0);
    world_end(&w);
}

/* ---- a new worker ---- */

#define MAM(kind)                                                                             \
    DELEGATED(NS_DELEGATION_1, "<iq xmlns='jabber:client' type='" kind "' id='q' "            \
                               "from='bob@e.test/r1' to='bob@e.test'>"                        \
                               "<query xmlns='urn:xmpp:mam:2'/></iq>")
#define INBOX                                                                                 \
    "<iq type='set' id='i' from='bob@e.test/r1' to='sidecar.e.test'><inbox "                  \
    "xmlns='erlang-solutions.com:xmpp:inbox:0'/></iq>"
#define WRITE                                                                                 \
    "<iq type='set' id='w' from='bob@e.test/r1' to='sidecar.e.test'><x "                      \
    "xmlns='urn:write'/></iq>"

static void in_replay_only_what_is_still_open_is_answered(void **state)
{
    (void)state;
    struct world w;
    new_worker(&w, 1);
    service_opened(w.service, 0, 1, w.real_us);
    w.pass = SERVICE_REPLAY;
    world_feed(&w, GRANT(NS_PRIVILEGE_1) MAM("set") WRITE
               "<presence from='alice@e.test/r1' to='sidecar.e.test'/>");
    assert_int_equal(buf_len(&w.sent), 0); /* not even the list is asked */
    assert_int_equal(handled, 0);
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_ONLINE);

    w.was_open = true;
    world_feed(&w, MAM("set"));
    world_feed(&w, MAM("get"));
    assert_int_equal(handled, 2);
    world_feed(&w, INBOX); /* a list, though its type is set */
    assert_int_equal(handled, 3);
    buf_reset(&w.sent);
    world_feed(&w, WRITE); /* may have been done already */
    assert_int_equal(handled, 3);
    assert_non_null(strstr(buf_cstr(&w.sent), "<error type=\"wait\">"));
    buf_reset(&w.sent);

    w.real_us -= IQ_REPEAT_WITHIN_MS * 1000;
    world_feed(&w, MAM("set")); /* too old to begin again */
    assert_int_equal(handled, 3);
    assert_non_null(strstr(buf_cstr(&w.sent), "<error type=\"wait\">"));
    assert_int_equal(w.opened, w.done);
    w.real_us += IQ_REPEAT_WITHIN_MS * 1000;
    buf_reset(&w.sent);

    service_live(w.service, 0);
    assert_non_null(strstr(buf_cstr(&w.sent), "node=\"online users\""));
    world_end(&w);
}

static void the_state_goes_over_to_the_next_worker(void **state)
{
    (void)state;
    struct world w, next;
    struct buf blob;
    struct service_link_status status;
    buf_init(&blob, 1 << 20);
    begin(&w);
    world_feed(&w,
               GRANT(NS_PRIVILEGE_2) "<message from='e.test' to='sidecar.e.test'><delegation "
                                     "xmlns='urn:xmpp:delegation:1'><delegated "
                                     "namespace='urn:xmpp:mam:2'/></delegation>"
                                     "</message><presence from='alice@e.test/r1' "
                                     "to='sidecar.e.test'/>");
    answer_list(&w, "<item jid='carol@e.test/x'/>");
    service_save(w.service, &blob);
    world_end(&w);

    new_worker(&next, 1);
    assert_true(service_load(next.service, buf_data(&blob), buf_len(&blob)));
    service_opened(next.service, 0, 1, next.real_us); /* the head of the segment, once more */
    service_live(next.service, 0);
    service_link_status(next.service, 0, &status);
    assert_true(status.up && status.messages_granted && status.presence_granted);
    assert_true(status.sessions_listed);
    assert_int_equal(status.namespaces_delegated, 1);
    assert_int_equal(state_of(&next, "alice@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&next, "carol@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&next, "bob@e.test"), SESSION_OFFLINE);
    assert_int_equal(buf_len(&next.sent), 0);
    world_pass(&next, 30000);
    service_tick(next.service, next.mono_ms);
    assert_int_equal(buf_len(&next.reconnects), 0);
    /* And the version of the privilege with it. */
    world_feed(&next, "<iq type='get' id='1' from='e.test' to='sidecar.e.test'>"
                      "<ping xmlns='urn:xmpp:ping'/></iq>");
    world_end(&next);

    /* Another connection: nothing of it holds. */
    new_worker(&next, 1);
    assert_true(service_load(next.service, buf_data(&blob), buf_len(&blob)));
    next.epoch = 2;
    service_opened(next.service, 0, 2, next.real_us);
    service_link_status(next.service, 0, &status);
    assert_false(status.messages_granted || status.sessions_listed);
    assert_int_equal(status.accounts_online, 0);
    world_end(&next);
    buf_deinit(&blob);
}

static void a_damaged_state_is_refused(void **state)
{
    (void)state;
    struct world w, next;
    struct buf blob;
    buf_init(&blob, 1 << 20);
    begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_2));
    service_save(w.service, &blob);
    world_end(&w);
    new_worker(&next, 1);
    size_t len = buf_len(&blob);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(service_load(next.service, buf_data(&blob), cut));
    for (size_t i = 0; i < len; i++) {
        blob.data[blob.head + i] ^= 0x40;
        assert_false(service_load(next.service, buf_data(&blob), len));
        blob.data[blob.head + i] ^= 0x40;
    }
    assert_true(service_load(next.service, buf_data(&blob), len));
    world_end(&next);
    buf_deinit(&blob);
}

/* ---- two nodes ---- */

static void a_query_is_answered_with_the_grant_of_its_own_link(void **state)
{
    (void)state;
    struct world w;
    struct service_link_status status;
    new_worker(&w, 2);
    for (unsigned link = 0; link < 2; link++) {
        service_opened(w.service, link, 1, w.real_us);
        service_live(w.service, link);
    }
    assert_int_equal(world_feed_link(&w, 1, GRANT(NS_PRIVILEGE_1)), ERR_NONE);
    service_link_status(w.service, 0, &status);
    assert_false(status.messages_granted);
    service_link_status(w.service, 1, &status);
    assert_true(status.messages_granted);
    /* Sessions are of the link that told of them. */
    assert_int_equal(
        world_feed_link(&w, 1, "<presence from='a@e.test/1' to='sidecar.e.test'/>"), ERR_NONE);
    service_closed(w.service, 0, 1);
    assert_int_equal(state_of(&w, "a@e.test"), SESSION_ONLINE);
    service_closed(w.service, 1, 1);
    assert_int_equal(state_of(&w, "a@e.test"), SESSION_UNKNOWN);
    world_end(&w);
}

/* The id of the question for that node; nothing was asked: "". */
static void id_of_question(struct world *w, const char *node, char id[64])
{
    const char *at = strstr(buf_cstr(&w->sent), node);
    id[0] = '\0';
    if (!at)
        return;
    const char *begin = buf_cstr(&w->sent);
    for (const char *line = begin; line && line < at; line = strstr(line + 1, "id=\"xs-ask-"))
        if (strncmp(line, "id=\"", 4) == 0)
            snprintf(id, 64, "%.*s", (int)strcspn(line + 4, "\""), line + 4);
}

static void answer_nodes(struct world *w, unsigned link, const char *type, const char *inner)
{
    char id[64], xml[1024];
    id_of_question(w, "node=\"running nodes\"", id);
    assert_string_not_equal(id, "");
    buf_reset(&w->sent);
    snprintf(xml, sizeof xml,
             "<iq to='sidecar.e.test' from='e.test' type='%s' id='%s'>%s</iq>", type, id,
             inner);
    assert_int_equal(world_feed_link(w, link, xml), ERR_NONE);
}

static bool asks_for_nodes(struct world *w)
{
    service_tick(w->service, w->mono_ms);
    return strstr(buf_cstr(&w->sent), "node=\"running nodes\"") != NULL;
}

#define NODES(items)                                                                          \
    "<query xmlns='http://jabber.org/protocol/disco#items' node='running nodes'>" items       \
    "</query>"

static void the_server_tells_how_many_nodes_it_has(void **state)
{
    (void)state;
    struct world w;
    struct service_nodes nodes;
    begin(&w);
    world_pass(&w, 5000);
    assert_false(asks_for_nodes(&w)); /* nothing was granted yet */
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    answer_list(&w, "");
    assert_false(asks_for_nodes(&w));
    world_pass(&w, 1000);
    assert_true(asks_for_nodes(&w));
    answer_nodes(&w, 0, "result",
                 NODES("<item jid='e.test' name='n1@x'/><item jid='e.test' name='n2@x'/>"));
    service_nodes(w.service, &nodes);
    assert_int_equal(nodes.running, 2);
    assert_int_equal(nodes.links, 1);
    assert_int_equal(nodes.links_up, 1);
    assert_string_equal(nodes.names, "n1@x n2@x");
    world_pass(&w, 59999);
    assert_false(asks_for_nodes(&w));
    world_pass(&w, 1);
    assert_true(asks_for_nodes(&w)); /* one may have joined */
    answer_nodes(&w, 0, "result", NODES("<item jid='e.test' name='n1@x'/>"));
    service_nodes(w.service, &nodes);
    assert_int_equal(nodes.running, 1);
    service_closed(w.service, 0, 1);
    service_nodes(w.service, &nodes);
    assert_int_equal(nodes.running, 0);
    assert_int_equal(nodes.links_up, 0);
    world_end(&w);
}

static void a_server_that_does_not_tell_its_nodes_is_not_asked_again(void **state)
{
    (void)state;
    struct world w;
    struct service_nodes nodes;
    begin(&w);
    world_feed(&w, GRANT(NS_PRIVILEGE_1));
    answer_list(&w, "");
    world_pass(&w, 1000);
    assert_true(asks_for_nodes(&w));
    answer_nodes(&w, 0, "error",
                 "<error type='auth'><forbidden "
                 "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>");
    world_pass(&w, 3600000);
    assert_false(asks_for_nodes(&w));
    service_nodes(w.service, &nodes);
    assert_int_equal(nodes.running, 0);
    world_end(&w);
}

/* The server's list is of all its nodes, whichever link it comes by. */
static void the_link_that_is_left_tells_who_is_still_there(void **state)
{
    (void)state;
    struct world w;
    new_worker(&w, 2);
    for (unsigned link = 0; link < 2; link++) {
        service_opened(w.service, link, 1, w.real_us);
        service_live(w.service, link);
        world_feed_link(&w, link, GRANT(NS_PRIVILEGE_1));
        answer_list(&w, "<item jid='listed@e.test/1'/>");
    }
    world_feed_link(&w, 0, "<presence from='near@e.test/1' to='sidecar.e.test'/>");
    world_feed_link(&w, 1,
                    "<presence from='lost@e.test/1' to='sidecar.e.test'/>"
                    "<presence from='kept@e.test/1' to='sidecar.e.test'/>");
    /* A copy by the other node does not move a session. */
    world_feed_link(&w, 1,
                    COPY("<message xmlns='jabber:client' from='near@e.test/1' "
                         "to='kept@e.test'/>"));
    world_pass(&w, 10000);
    buf_reset(&w.sent);
    service_closed(w.service, 1, 1);
    assert_int_equal(state_of(&w, "near@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "listed@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "lost@e.test"), SESSION_UNKNOWN);
    answer_list(&w, "<item jid='near@e.test/1'/><item jid='kept@e.test/1'/>");
    assert_int_equal(state_of(&w, "near@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "kept@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "listed@e.test"), SESSION_UNKNOWN);
    world_pass(&w, 120000);
    assert_int_equal(state_of(&w, "lost@e.test"), SESSION_OFFLINE);
    assert_int_equal(state_of(&w, "listed@e.test"), SESSION_OFFLINE);
    assert_int_equal(state_of(&w, "kept@e.test"), SESSION_ONLINE);
    service_closed(w.service, 0, 1); /* nobody is left to ask */
    assert_int_equal(sessions_accounts(service_sessions(w.service)), 0);
    world_end(&w);
}

static void every_recording_is_read_without_harm(void **state)
{
    (void)state;
    static const char *const names[] = {
        "01-connect",       "02-service-log",         "03-privilege",
        "04-delegation",    "04-delegation-2",        "05-push",
        "05-push-2",        "06-online-discovery",    "07-conflict-mod_mam-mod_push",
        "09-mucsub",        "10-push-component-down", "11-order-and-ids",
        "12-minimal-config"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct world w;
        char path[128];
        begin(&w);
        snprintf(path, sizeof path, "ejabberd/%s.xml", names[i]);
        world_feed_fixture(&w, path);
        assert_int_equal(w.opened, w.done);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_that_announces_nothing_is_made_again),
        cmocka_unit_test(an_announced_connection_stays),
        cmocka_unit_test(a_look_alike_announcement_does_not_count),
        cmocka_unit_test(after_the_grant_the_server_is_asked_who_is_online),
        cmocka_unit_test(without_a_list_accounts_count_as_online_for_two_minutes),
        cmocka_unit_test(somebody_elses_list_is_no_list),
        cmocka_unit_test(the_recorded_discovery_lists_who_is_online),
        cmocka_unit_test(guests_do_what_is_open_to_them),
        cmocka_unit_test(strangers_are_refused_and_not_often),
        cmocka_unit_test(messages_and_presence_of_others_change_nothing),
        cmocka_unit_test(in_replay_only_what_is_still_open_is_answered),
        cmocka_unit_test(the_state_goes_over_to_the_next_worker),
        cmocka_unit_test(a_damaged_state_is_refused),
        cmocka_unit_test(a_query_is_answered_with_the_grant_of_its_own_link),
        cmocka_unit_test(the_server_tells_how_many_nodes_it_has),
        cmocka_unit_test(a_server_that_does_not_tell_its_nodes_is_not_asked_again),
        cmocka_unit_test(the_link_that_is_left_tells_who_is_still_there),
        cmocka_unit_test(every_recording_is_read_without_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
