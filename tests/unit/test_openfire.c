// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#define STALE_US (1800 * SECOND_US)
#define ADMIN "http://jabber.org/protocol/admin"
#define COPIES ADMIN "#packets_notification"
#define LIST ADMIN "#get-active-presences"
#define COMMAND(node, attributes, inner)                                                      \
    "<command xmlns=\"http://jabber.org/protocol/commands\" node=\"" node "\" " attributes    \
    ">" inner "</command>"

static const char *const form =
    "<x xmlns=\"jabber:x:data\" type=\"form\"><title/><field var=\"FORM_TYPE\" "
    "type=\"hidden\"><value>http://jabber.org/protocol/admin</value></field></x>"
    "<actions execute=\"complete\"><complete/></actions>";

static void begin(struct world *w)
{
    world_begin_on(w, SERVER_OPENFIRE);
}

static void tick(struct world *w, int64_t ms)
{
    world_pass(w, ms);
    service_tick(w->service, w->mono_ms);
}

/* The one question that was sent since the last time; NULL when there was none. */
static const char *question(struct world *w)
{
    static char sent[8192];
    world_sent(w, sent, sizeof sent);
    assert_true(!strchr(sent, '\n') || strchr(sent, '\n')[1] == '\0');
    return sent[0] ? sent : NULL;
}

static void id_of(const char *sent, char out[64])
{
    const char *at = strstr(sent, "id=\"xs-ask-");
    assert_non_null(at);
    snprintf(out, 64, "%.*s", (int)strcspn(at + 4, "\""), at + 4);
}

static void answer(struct world *w, const char *sent, const char *type, const char *inner)
{
    static char xml[16384];
    char id[64];
    id_of(sent, id);
    snprintf(xml, sizeof xml,
             "<iq type=\"%s\" id=\"%s\" from=\"e.test\" to=\"sidecar.e.test\">%s</iq>", type,
             id, inner);
    world_feed(w, xml);
}

static void refuse(struct world *w, const char *sent, const char *condition)
{
    char error[256];
    snprintf(
        error, sizeof error,
        "<error type=\"auth\"><%s xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/></error>",
        condition);
    answer(w, sent, "error", error);
}

static void give_form(struct world *w, const char *node, const char *session)
{
    char inner[2048];
    const char *sent = question(w);
    assert_non_null(sent);
    assert_non_null(strstr(sent, node));
    assert_non_null(strstr(sent, "action=\"execute\""));
    assert_null(strstr(sent, "sessionid"));
    snprintf(inner, sizeof inner, COMMAND("%s", "sessionid=\"%s\" status=\"executing\"", "%s"),
             node, session, form);
    answer(w, sent, "result", inner);
}

static void subscribe(struct world *w)
{
    give_form(w, COPIES, "q2Wl0Zk3aPb7xYc");
    answer(w, question(w), "result",
           COMMAND(COPIES, "sessionid=\"q2Wl0Zk3aPb7xYc\" status=\"completed\"",
                   "<note type=\"info\">done</note>"));
}

#define PRESENCE(jid, inner)                                                                  \
    "<value>&lt;presence from=\"" jid "\" to=\"e.test\"&gt;" inner "&lt;/presence&gt;</"      \
    "value>"

static void give_list(struct world *w, const char *values)
{
    static char inner[8192];
    give_form(w, LIST, "s2");
    const char *sent = question(w);
    assert_non_null(strstr(sent, "sessionid=\"s2\" action=\"complete\""));
    snprintf(inner, sizeof inner,
             COMMAND(LIST, "sessionid=\"s2\" status=\"completed\"",
                     "<x xmlns=\"jabber:x:data\" type=\"result\">"
                     "<field var=\"activeuserpresences\" type=\"text-multi\">%s</field></x>"),
             values);
    answer(w, sent, "result", inner);
}

static struct service_link_status status_of(struct world *w)
{
    struct service_link_status status;
    service_link_status(w->service, 0, &status);
    return status;
}

static enum session_state state_of(struct world *w, const char *bare)
{
    return service_session_state(w->service, bare, w->real_us, STALE_US, NULL);
}

static void copies_are_asked_for_in_two_steps(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_ASKED);
    give_form(&w, COPIES, "abc");
    const char *sent = question(&w);
    char id[64];
    id_of(sent, id);
    assert_int_equal(strlen(id), strlen("xs-ask-") + 32);
    assert_non_null(strstr(
        sent,
        "from=\"sidecar.e.test\" to=\"e.test\">"
        "<command xmlns=\"http://jabber.org/protocol/commands\" node=\"" COPIES
        "\" sessionid=\"abc\" action=\"complete\"><x xmlns=\"jabber:x:data\" type=\"submit\">"
        "<field var=\"FORM_TYPE\" type=\"hidden\"><value>" ADMIN "</value></field>"
        "<field var=\"packet_type\"><value>message</value></field>"
        "<field var=\"direction\"><value>incoming</value></field>"
        "<field var=\"processed\"><value>true</value></field></x></command></iq>"));
    answer(&w, sent, "result",
           COMMAND(COPIES, "sessionid=\"abc\" status=\"completed\"",
                   "<note type=\"info\">x</note>"));
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_SENT);
    assert_int_equal(status_of(&w).copies_since_us, w.real_us);
    world_end(&w);
}

static void presence_is_copied_where_that_is_wanted(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.opts.server = SERVER_OPENFIRE;
    w.opts.presence_every_ms = 60000;
    w.opts.presence_copies = true;
    w.service = world_service(&w);
    service_opened(w.service, 0, 1, w.real_us);
    service_live(w.service, 0);
    give_form(&w, COPIES, "abc");
    assert_non_null(strstr(question(&w), "<field var=\"packet_type\"><value>message</value>"
                                         "<value>presence</value></field>"));
    world_end(&w);
}

static void who_is_online_is_asked_every_minute(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    subscribe(&w);
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_UNKNOWN);
    tick(&w, 0);
    give_list(&w,
              PRESENCE("alice@e.test/r1", "&lt;priority&gt;5&lt;/priority&gt;")
                  PRESENCE("bob@e.test/r1", "&lt;priority&gt;-1&lt;/priority&gt;")
                      PRESENCE("rob@r.test/r1", "")
                          PRESENCE("carol@e.test", "") "<value>&lt;presence</value><value/>");
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_OFFLINE); /* wants no messages */
    assert_int_equal(state_of(&w, "carol@e.test"), SESSION_OFFLINE);
    assert_int_equal(status_of(&w).accounts_online, 2);
    assert_true(status_of(&w).sessions_listed);
    tick(&w, 59999);
    assert_null(question(&w));
    tick(&w, 1);
    give_list(&w, PRESENCE("bob@e.test/r1", ""));
    assert_int_equal(state_of(&w, "alice@e.test"), SESSION_OFFLINE);
    assert_int_equal(state_of(&w, "bob@e.test"), SESSION_ONLINE);
    world_end(&w);
}

#define COPY_AT(date, from)                                                                   \
    "<message from=\"e.test\" to=\"sidecar.e.test\"><copy "                                   \
    "xmlns=\"http://jabber.org/protocol/packet#event\" incoming=\"true\" processed=\"true\" " \
    "date=\"" date "\"><message xmlns=\"\" from=\"" from                                      \
    "\" to=\"x@e.test\"><body>x</body></message></copy></message>"

static void a_copy_that_is_older_than_the_list_brings_nobody_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    subscribe(&w);
    tick(&w, 0);
    w.real_us = 1795175460 * SECOND_US;
    clock_fake(w.mono_ms, w.real_us);
    give_list(&w, PRESENCE("bob@e.test/r1", ""));
    world_pass(&w, 3000);
    world_feed(&w, COPY_AT("2026-11-20T11:50:59Z", "gone@e.test/r1")
                       COPY_AT("2026-11-20T11:50:59Z", "bob@e.test/r1")
                           COPY_AT("2026-11-20T11:51:01Z", "new@e.test/r1"));
    assert_int_equal(state_of(&w, "gone@e.test"), SESSION_OFFLINE);
    assert_int_equal(state_of(&w, "new@e.test"), SESSION_ONLINE);
    assert_int_equal(sessions_seen_at(service_sessions(w.service), "bob@e.test", "r1"),
                     w.real_us - 4 * SECOND_US);
    world_end(&w);
}

#define REROUTED(to)                                                                          \
    "<message from=\"e.test\" to=\"sidecar.e.test\"><copy "                                   \
    "xmlns=\"http://jabber.org/protocol/packet#event\" incoming=\"true\" processed=\"true\" " \
    "date=\"2026-11-20T11:51:02Z\"><message xmlns=\"\" from=\"alice@e.test/r1\" to=\"" to     \
    "\" id=\"m1\"><body>x</body><delay xmlns=\"urn:xmpp:delay\" from=\"e.test\" "             \
    "stamp=\"2026-11-20T11:50:30Z\"/></message></copy></message>"

static int64_t stuck(struct world *w, const char *resource)
{
    return sessions_stuck_at(service_sessions(w->service), "bob@e.test", resource);
}

static void what_is_routed_again_was_not_acknowledged(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    subscribe(&w);
    tick(&w, 0);
    w.real_us = 1795175463 * SECOND_US;
    clock_fake(w.mono_ms, w.real_us);
    give_list(&w, PRESENCE("bob@e.test/laptop", "") PRESENCE("bob@e.test/phone", ""));
    world_feed(&w, COPY_AT("2026-11-20T11:51:03Z", "bob@e.test/laptop"));
    buf_reset(&w.events);
    world_feed(&w, REROUTED("bob@e.test/laptop"));
    assert_string_equal(buf_cstr(&w.events), "message alice@e.test/r1* -> bob@e.test/laptop* "
                                             "id=m1 delayed undelivered\n");
    assert_int_equal(stuck(&w, "laptop"), 0); /* something was heard of it since */
    assert_int_equal(stuck(&w, "phone"), 0);
    /* To the account: whoever has been silent since. */
    world_feed(&w, REROUTED("bob@e.test"));
    assert_int_equal(stuck(&w, "laptop"), 0);
    assert_int_equal(stuck(&w, "phone"), w.real_us - SECOND_US);
    world_end(&w);
}

static void a_refusal_says_what_to_do_and_is_tried_again_later(void **state)
{
    (void)state;
    static const struct {
        const char *condition;
        const char *remedy;
    } table[] = {{"forbidden", "a subdomain of xmpp.domains"},
                 {"item-not-found", "is it Openfire?"},
                 {"not-allowed", "restart Openfire"},
                 {"internal-server-error", "error log"}};
    struct world w;
    begin(&w);
    int64_t wait = 15000;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++, wait *= 2) {
        refuse(&w, question(&w), table[i].condition);
        assert_int_equal(status_of(&w).copies, SERVICE_COPIES_REFUSED);
        assert_non_null(strstr(status_of(&w).copies_trouble, table[i].remedy));
        tick(&w, wait - 1);
        assert_null(question(&w));
        tick(&w, 1);
    }
    subscribe(&w);
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_SENT);
    assert_null(status_of(&w).copies_trouble);
    world_end(&w);
}

static void a_command_without_an_answer_is_cancelled_and_tried_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    assert_non_null(question(&w));
    tick(&w, 15000); /* nothing to cancel: there was no session */
    assert_null(question(&w));
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_REFUSED);
    assert_non_null(strstr(status_of(&w).copies_trouble, "did not answer"));
    tick(&w, 15000);
    give_form(&w, COPIES, "lost");
    assert_non_null(strstr(question(&w), "action=\"complete\""));
    tick(&w, 15000);
    const char *sent = question(&w);
    assert_non_null(strstr(sent, "sessionid=\"lost\" action=\"cancel\""));
    refuse(&w, sent, "bad-request"); /* the way Openfire says that it has been cancelled */
    tick(&w, 30000);
    subscribe(&w);
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_SENT);
    world_end(&w);
}

static void an_odd_answer_is_no_subscription(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "", COMMAND(COPIES, "status=\"executing\"", ""),
        COMMAND(COPIES, "status=\"completed\" sessionid=\"a\"", ""),
        COMMAND(LIST, "status=\"executing\" sessionid=\"a\"", "")};
    struct world w;
    begin(&w);
    int64_t wait = 15000;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++, wait *= 2) {
        answer(&w, question(&w), "result", odd[i]);
        assert_non_null(strstr(status_of(&w).copies_trouble, "not the one expected"));
        tick(&w, wait);
    }
    give_form(&w, COPIES, "a");
    answer(&w, question(&w), "result",
           COMMAND(COPIES, "status=\"completed\" sessionid=\"a\"",
                   "<note type=\"error\">no</note>"));
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_REFUSED);
    assert_non_null(strstr(question(&w), "action=\"cancel\""));
    world_end(&w);
}

static void the_list_fails_without_harm_to_the_copies(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    subscribe(&w);
    tick(&w, 0);
    refuse(&w, question(&w), "forbidden");
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_SENT);
    assert_false(status_of(&w).sessions_listed);
    tick(&w, 60000);
    give_list(&w, PRESENCE("bob@e.test/r1", ""));
    assert_true(status_of(&w).sessions_listed);
    world_end(&w);
}

static void every_connection_begins_anew(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    subscribe(&w);
    tick(&w, 0);
    give_list(&w, PRESENCE("bob@e.test/r1", ""));
    service_closed(w.service, 0, 1);
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_ASKED);
    assert_int_equal(status_of(&w).accounts_online, 0);
    w.epoch = 2;
    service_opened(w.service, 0, 2, w.real_us);
    subscribe(&w);
    assert_int_equal(status_of(&w).copies, SERVICE_COPIES_SENT);
    /* The link goes in the middle of a command. */
    tick(&w, 0);
    give_form(&w, LIST, "s");
    assert_non_null(question(&w));
    service_closed(w.service, 0, 2);
    assert_null(question(&w));
    w.epoch = 3;
    service_opened(w.service, 0, 3, w.real_us);
    subscribe(&w);
    world_end(&w);
}

static void the_next_worker_asks_again_and_knows_who_is_online(void **state)
{
    (void)state;
    struct world w, next;
    struct buf blob;
    buf_init(&blob, 1 << 20);
    begin(&w);
    subscribe(&w);
    tick(&w, 0);
    give_list(&w, PRESENCE("bob@e.test/r1", ""));
    service_save(w.service, &blob);
    world_end(&w);

    world_init(&next, 1);
    next.opts.server = SERVER_OPENFIRE;
    next.opts.presence_every_ms = 60000;
    next.service = world_service(&next);
    assert_true(service_load(next.service, buf_data(&blob), buf_len(&blob)));
    service_opened(next.service, 0, 1, next.real_us);
    assert_null(question(&next));
    service_live(next.service, 0);
    assert_int_equal(state_of(&next, "bob@e.test"), SESSION_ONLINE);
    assert_int_equal(state_of(&next, "alice@e.test"), SESSION_OFFLINE);
    subscribe(&next);
    world_end(&next);
    buf_deinit(&blob);
}

/* Openfire lists a component among its services only when that is told. */
static void the_servers_prober_is_answered(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    assert_non_null(question(&w));
    world_feed(&w, "<iq type=\"get\" id=\"1\" from=\"component.e.test\" to=\"sidecar.e.test\">"
                   "<query xmlns=\"http://jabber.org/protocol/disco#info\"/></iq>");
    const char *sent = question(&w);
    assert_non_null(strstr(sent, "type=\"result\" id=\"1\" from=\"sidecar.e.test\" "
                                 "to=\"component.e.test\""));
    assert_non_null(strstr(sent, "<identity category=\"component\""));
    world_feed(&w, "<iq type=\"get\" id=\"2\" from=\"component.e.test\" to=\"sidecar.e.test\">"
                   "<query xmlns=\"jabber:iq:version\"/></iq>");
    assert_non_null(strstr(question(&w), "<name>xmpp-sidecar</name>"));
    world_feed(&w, "<iq type=\"get\" id=\"3\" from=\"component.r.test\" to=\"sidecar.e.test\">"
                   "<query xmlns=\"jabber:iq:version\"/></iq>");
    assert_non_null(strstr(question(&w), "forbidden"));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_asked_for_in_two_steps),
        cmocka_unit_test(presence_is_copied_where_that_is_wanted),
        cmocka_unit_test(who_is_online_is_asked_every_minute),
        cmocka_unit_test(a_copy_that_is_older_than_the_list_brings_nobody_back),
        cmocka_unit_test(what_is_routed_again_was_not_acknowledged),
        cmocka_unit_test(a_refusal_says_what_to_do_and_is_tried_again_later),
        cmocka_unit_test(a_command_without_an_answer_is_cancelled_and_tried_again),
        cmocka_unit_test(an_odd_answer_is_no_subscription),
        cmocka_unit_test(the_list_fails_without_harm_to_the_copies),
        cmocka_unit_test(every_connection_begins_anew),
        cmocka_unit_test(the_next_worker_asks_again_and_knows_who_is_online),
        cmocka_unit_test(the_servers_prober_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
