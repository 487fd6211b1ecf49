// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

/* A handler that keeps what it is given. */
static struct iq_request *held;
static unsigned cancelled;

static void hold(void *ctx, struct iq_request *r)
{
    (void)ctx;
    held = r;
}

static void on_cancel(void *ctx, struct iq_request *r)
{
    assert_ptr_equal(r, held);
    *(struct iq_request **)ctx = NULL;
    cancelled++;
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    world_begin(w);
    service_handle(w->service, "query", NS_MAM, hold, NULL);
    held = NULL;
    cancelled = 0;
    *state = w;
    return 0;
}

static void expect_sent(struct world *w, const char *expected)
{
    assert_string_equal(buf_cstr(&w->sent), expected);
    buf_reset(&w->sent);
}

static struct stanza *fin(struct iq_request *r)
{
    struct stanza *el = stanza_new(r->arena, "fin", NS_MAM);
    stanza_set(el, "complete", "true");
    return el;
}

#define QUERY(attrs)                                                                          \
    "<iq xmlns='jabber:client' type='set' id='q1' " attrs "><query xmlns='urn:xmpp:mam:2' "   \
    "queryid='f'/></iq>"
#define OUTER(inner)                                                                          \
    "<iq type=\"result\" id=\"o1\" from=\"sidecar.e.test\" to=\"e.test\">"                    \
    "<delegation xmlns=\"urn:xmpp:delegation:1\"><forwarded "                                 \
    "xmlns=\"urn:xmpp:forward:0\">" inner "</forwarded></delegation></iq>\n"

static void a_delegated_answer_mirrors_every_byte_of_its_addresses(void **state)
{
    struct world *w = *state;
    world_feed(
        w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/R&apos;1' to='Bob@E.test'")));
    assert_non_null(held);
    assert_string_equal(held->account.bare, "bob@e.test");
    assert_string_equal(held->asker.bare, "bob@e.test");
    assert_true(held->own_account);
    assert_true(held->delegated);
    assert_true(held->is_set);
    assert_true(stanza_is(held->payload, "query", NS_MAM));
    iq_reply(held, fin(held));
    expect_sent(w, OUTER("<iq xmlns=\"jabber:client\" type=\"result\" id=\"q1\" "
                         "from=\"Bob@E.test\" to=\"bob@e.test/R&apos;1\">"
                         "<fin xmlns=\"urn:xmpp:mam:2\" complete=\"true\"/></iq>"));
    assert_int_equal(w->opened, 1);
    assert_int_equal(w->done, 1);
}

static void without_to_the_answer_comes_from_the_owners_bare_jid(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_2, QUERY("from='bob@e.test/r1'")));
    assert_true(held->own_account);
    iq_reply(held, NULL);
    expect_sent(w, "<iq type=\"result\" id=\"o1\" from=\"sidecar.e.test\" to=\"e.test\">"
                   "<delegation xmlns=\"urn:xmpp:delegation:2\"><forwarded "
                   "xmlns=\"urn:xmpp:forward:0\"><iq xmlns=\"jabber:client\" type=\"result\" "
                   "id=\"q1\" from=\"bob@e.test\" to=\"bob@e.test/r1\"/></forwarded>"
                   "</delegation></iq>\n");
}

static void an_inner_error_travels_in_an_outer_result(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    iq_error(held, "cancel", "item-not-found", "no <such> id");
    expect_sent(w,
                OUTER("<iq xmlns=\"jabber:client\" type=\"error\" id=\"q1\" "
                      "from=\"bob@e.test\" to=\"bob@e.test/r1\"><error type=\"cancel\">"
                      "<item-not-found xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/>"
                      "<text xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\">no &lt;such&gt; id"
                      "</text></error></iq>"));
}

/* A server may take an address for one that we do not; it waits for an answer all the same. */
static void an_asker_with_an_odd_address_is_answered(void **state)
{
    struct world *w = *state;
    static const char *const to[] = {"to='Bob@E.test'", ""};
    static const char *const from[] = {"from=\"Bob@E.test\"", "from=\"e.test\""};
    for (int i = 0; i < 2; i++) {
        char xml[1024], want[256];
        snprintf(xml, sizeof xml, DELEGATED(NS_DELEGATION_2, QUERY("from='bob@e.test/' %s")),
                 to[i]);
        world_feed(w, xml);
        assert_null(held);
        snprintf(want, sizeof want,
                 "id=\"q1\" %s to=\"bob@e.test/\"><error type=\"modify\">"
                 "<jid-malformed ",
                 from[i]);
        assert_non_null(strstr(buf_cstr(&w->sent), want));
        assert_non_null(strstr(buf_cstr(&w->sent), "<iq type=\"result\" id=\"o1\""));
        buf_reset(&w->sent);
    }
    assert_int_equal(w->opened, 2);
    assert_int_equal(w->done, 2);
}

static void somebody_elses_account_is_not_ones_own(void **state)
{
    struct world *w = *state;
    static const char *const inner[] = {
        DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='alice@e.test'")),
        DELEGATED(NS_DELEGATION_1, QUERY("from='rob@remote.test/r1' to='bob@e.test'")),
        DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='e.test'")),
        DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test/r2'")),
        DELEGATED(NS_DELEGATION_1, QUERY("from='e.test' to='e.test'")),
    };
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        held = NULL;
        world_feed(w, inner[i]);
        assert_non_null(held);
        assert_false(held->own_account);
        iq_forbid(held);
        assert_non_null(strstr(buf_cstr(&w->sent), "<error type=\"auth\"><forbidden "));
        buf_reset(&w->sent);
    }
    /* A host speaks for its own users only. */
    held = NULL;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='eve@f.test/x' to='eve@f.test'")));
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='eve@f.test/x'")));
    assert_null(held);
    assert_int_equal(w->opened, w->done);
}

static void results_travel_as_the_user_and_come_before_the_answer(void **state)
{
    struct world *w = *state;
    world_feed(w, GRANT(NS_PRIVILEGE_2));
    buf_reset(&w->sent);
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    struct stanza *message = stanza_new(held->arena, "message", NS_CLIENT);
    stanza_set(stanza_add(message, "result", NS_MAM), "id", "7");
    assert_true(iq_send_message(held, message));
    static const char raw[] = "<result xmlns='urn:xmpp:mam:2' id='8'/>";
    assert_true(iq_send_children(held, raw, sizeof raw - 1));
    assert_false(iq_asker_gone(held));
    iq_reply(held, fin(held));

    char sent[8192];
    world_sent(w, sent, sizeof sent);
    static const char begin[] =
        "<message from=\"sidecar.e.test\" to=\"e.test\"><privilege "
        "xmlns=\"urn:xmpp:privilege:2\"><forwarded xmlns=\"urn:xmpp:forward:0\">"
        "<message xmlns=\"jabber:client\" from=\"bob@e.test\" to=\"bob@e.test/r1\" id=\"xs-";
    static const char end[] = "\"><result xmlns=\"urn:xmpp:mam:2\" id=\"7\"/>"
                              "<no-store xmlns=\"urn:xmpp:hints\"/></message></forwarded>"
                              "</privilege></message>\n";
    assert_memory_equal(sent, begin, sizeof begin - 1);
    assert_memory_equal(sent + sizeof begin - 1 + ECHO_ID_BYTES - 4, end, sizeof end - 1);
    const char *second = strstr(sent, raw);
    const char *answer = strstr(sent, "<fin");
    assert_true(second && answer && second < answer);

    /* The server's copy of it is known as our own, whatever it does to the rest. */
    char id[ECHO_ID_BYTES], copy[1024];
    snprintf(id, sizeof id, "%s", strstr(sent, "xs-"));
    snprintf(
        copy, sizeof copy,
        "<message to='sidecar.e.test' from='e.test' id='1'><forwarded "
        "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='bob@e.test' "
        "to='bob@e.test/r1' id='%s'><result xmlns='urn:xmpp:mam:2'/></message></forwarded>"
        "</message>",
        id);
    world_feed(w, copy);
    assert_int_equal(buf_len(&w->events), 0);
}

#define STREAM_ERROR(condition)                                                               \
    "<error xmlns='http://etherx.jabber.org/streams'><" condition                             \
    " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error>"

static void ask_and_send(struct world *w, char *sent, size_t size)
{
    buf_reset(&w->sent);
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    (void)iq_send_children(held, "<x/>", 4);
    iq_reply(held, NULL);
    world_sent(w, sent, size);
}

static void results_travel_without_an_envelope_while_the_server_takes_them(void **state)
{
    struct world *w = *state;
    char sent[4096];
    static const char direct[] = "<message from=\"bob@e.test\" to=\"bob@e.test/r1\" id=\"xs-";
    static const char privileged[] = "<message from=\"sidecar.e.test\" to=\"e.test\">";
    w->opts.speak_directly = true;
    ask_and_send(w, sent, sizeof sent); /* nothing need have been granted */
    assert_memory_equal(sent, direct, sizeof direct - 1);
    assert_non_null(
        strstr(sent, "\"><x/><no-store xmlns=\"urn:xmpp:hints\"/></message>\n<iq "));
    world_feed(w, GRANT(NS_PRIVILEGE_1) STREAM_ERROR("conflict"));
    ask_and_send(w, sent, sizeof sent);
    assert_memory_equal(sent, direct, sizeof direct - 1);
    world_feed(w, STREAM_ERROR("invalid-from"));
    ask_and_send(w, sent, sizeof sent);
    assert_memory_equal(sent, privileged, sizeof privileged - 1);
}

/* Who has written as nobody else has lost a connection for another reason. */
static void a_stream_error_says_nothing_of_privileges(void **state)
{
    struct world *w = *state;
    char sent[4096];
    world_feed(w, GRANT(NS_PRIVILEGE_1) STREAM_ERROR("invalid-from"));
    w->opts.speak_directly = true;
    ask_and_send(w, sent, sizeof sent);
    assert_memory_equal(sent, "<message from=\"bob@", 19);
}

static void results_to_our_own_address_travel_directly(void **state)
{
    struct world *w = *state;
    world_feed(w, "<iq type='set' id='q1' from='bob@e.test/r1' to='sidecar.e.test'>"
                  "<query xmlns='urn:xmpp:mam:2'/></iq>");
    assert_true(held->own_account);
    assert_false(held->delegated);
    assert_string_equal(held->account.bare, "bob@e.test");
    assert_true(iq_send_children(held, "<x/>", 4));
    iq_reply(held, NULL);
    char sent[4096];
    world_sent(w, sent, sizeof sent);
    assert_memory_equal(sent, "<message from=\"sidecar.e.test\" to=\"bob@e.test/r1\" id=\"xs-",
                        55);
    assert_non_null(strstr(sent, "\"><x/><no-store xmlns=\"urn:xmpp:hints\"/></message>\n"
                                 "<iq type=\"result\" id=\"q1\" from=\"sidecar.e.test\" "
                                 "to=\"bob@e.test/r1\"/>\n"));
}

static void without_the_grant_the_asker_is_told_to_wait(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    assert_false(iq_send_children(held, "<x/>", 4));
    assert_true(iq_asker_gone(held));
    iq_reply(held, NULL); /* as if nothing had happened */
    char sent[4096];
    world_sent(w, sent, sizeof sent);
    assert_non_null(strstr(sent, "<error type=\"wait\"><internal-server-error "));
    assert_null(strstr(sent, "<message"));
    assert_int_equal(w->done, 1);
}

static void an_unanswered_request_is_answered_in_time(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    assert_int_equal(service_deadline(w->service), w->mono_ms + IQ_ANSWER_WITHIN_MS);
    world_pass(w, IQ_ANSWER_WITHIN_MS - 1);
    service_tick(w->service, w->mono_ms);
    expect_sent(w, "");
    world_pass(w, 1);
    service_tick(w->service, w->mono_ms);
    assert_non_null(strstr(buf_cstr(&w->sent), "<error type=\"wait\">"));
    buf_reset(&w->sent);
    assert_int_equal(w->done, 1);
    /* The handler still holds it, and its late answer goes nowhere. */
    assert_true(iq_asker_gone(held));
    assert_false(iq_send_children(held, "<x/>", 4));
    iq_reply(held, fin(held));
    expect_sent(w, "");
}

static void a_handler_that_wants_to_know_is_told_of_the_end(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    iq_on_cancel(held, on_cancel, &held);
    world_pass(w, IQ_ANSWER_WITHIN_MS);
    service_tick(w->service, w->mono_ms);
    assert_int_equal(cancelled, 1);
    assert_null(held);
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    iq_on_cancel(held, on_cancel, &held);
    buf_reset(&w->sent);
    service_closed(w->service, 0, 1);
    assert_int_equal(cancelled, 2);
    expect_sent(w, ""); /* nobody is there to hear it */
    assert_int_equal(w->opened, 2);
    assert_int_equal(w->done, 2);
}

/* Who comes next must find it open. */
static void what_is_open_when_the_service_ends_is_not_done(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    assert_int_equal(w->opened, 1);
    service_free(&w->service);
    assert_int_equal(w->done, 0);
    expect_sent(w, "");
}

static void a_request_that_waited_too_long_is_not_begun(void **state)
{
    struct world *w = *state;
    w->real_us -= IQ_ANSWER_WITHIN_MS * 1000; /* when the link read it; the clock stays */
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    assert_null(held);
    assert_non_null(strstr(buf_cstr(&w->sent), "<error type=\"wait\">"));
}

static void results_stop_when_the_session_goes(void **state)
{
    struct world *w = *state;
    world_feed(w, GRANT(NS_PRIVILEGE_1));
    buf_reset(&w->sent);
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    world_feed(w, "<presence from='bob@e.test/r2' to='sidecar.e.test' type='unavailable'/>");
    assert_false(iq_asker_gone(held));
    world_feed(w, "<presence from='bob@e.test/r1' to='sidecar.e.test' type='unavailable'/>");
    assert_true(iq_asker_gone(held));
    assert_false(iq_send_children(held, "<x/>", 4));
    expect_sent(w, "");
    iq_reply(held, NULL); /* the one answer goes all the same */
    assert_int_equal(w->done, 1);
    assert_true(buf_len(&w->sent) > 0);
}

static void a_malformed_request_is_refused_as_rfc_6120_says(void **state)
{
    struct world *w = *state;
    char sent[4096];
    static const char *const bad[] = {
        "<iq type='get' id='1' from='bob@e.test/r' to='sidecar.e.test'/>",
        "<iq type='get' id='1' from='bob@e.test/r' to='sidecar.e.test'><a xmlns='b'/>"
        "<a xmlns='b'/></iq>",
        DELEGATED(NS_DELEGATION_1, "<iq xmlns='jabber:client' type='what' id='1' "
                                   "from='bob@e.test/r' to='bob@e.test'><a xmlns='b'/></iq>"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        world_feed(w, bad[i]);
        world_sent(w, sent, sizeof sent);
        assert_non_null(strstr(sent, "<bad-request "));
    }
    world_feed(w, "<iq type='get' id='1' from='bob@e.test/r' to='sidecar.e.test'>"
                  "<a xmlns='urn:unheard-of'/></iq>");
    world_sent(w, sent, sizeof sent);
    assert_non_null(strstr(sent, "<service-unavailable "));
    world_feed(w, "<iq type='get' id='1' from='bob@e.test/r' to='sidecar.e.test'>"
                  "<unheard-of xmlns='urn:xmpp:mam:2'/></iq>");
    world_sent(w, sent, sizeof sent);
    assert_non_null(strstr(sent, "<feature-not-implemented "));
    /* Never an answer to an answer. */
    world_feed(w, "<iq type='error' id='1' from='bob@e.test/r' to='sidecar.e.test'/>"
                  "<iq type='result' id='1' from='bob@e.test/r' to='sidecar.e.test'/>"
                  "<iq id='1' from='bob@e.test/r' to='sidecar.e.test'/>");
    expect_sent(w, "");
}

static void too_many_open_requests_are_told_to_wait(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < IQ_OPEN_MAX; i++)
        world_feed(w,
                   DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    expect_sent(w, "");
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    assert_non_null(strstr(buf_cstr(&w->sent), "<error type=\"wait\"><resource-constraint "));
}

static void an_answer_too_large_becomes_an_error(void **state)
{
    struct world *w = *state;
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    struct arena *big = arena_new(64 << 20);
    struct stanza *payload = stanza_new(big, "x", NS_MAM);
    char *text = malloc(9 << 20);
    memset(text, 'a', 9 << 20);
    stanza_add_text(payload, text, 9 << 20);
    free(text);
    iq_reply(held, payload);
    arena_free(&big);
    assert_non_null(strstr(buf_cstr(&w->sent), "<internal-server-error "));
    assert_true(buf_len(&w->sent) < 1000);
}

/* Nothing of ours may be longer than the server takes: it would end everybody's connection. */
static void what_is_longer_than_the_server_takes_is_not_sent(void **state)
{
    struct world *w = *state;
    char text[3000];
    memset(text, 'a', sizeof text);
    w->opts.sent_bytes_max = 2000;
    world_feed(w, GRANT(NS_PRIVILEGE_2));
    buf_reset(&w->sent);
    world_feed(w, DELEGATED(NS_DELEGATION_1, QUERY("from='bob@e.test/r1' to='bob@e.test'")));
    assert_true(iq_send_children(held, text, 1900));
    assert_int_equal(buf_len(&w->sent), 0);
    assert_true(iq_send_children(held, text, 1000));
    assert_true(buf_len(&w->sent) > 1000);
    buf_reset(&w->sent);
    struct stanza *payload = fin(held);
    stanza_add_text(payload, text, sizeof text);
    iq_reply(held, payload);
    assert_non_null(strstr(buf_cstr(&w->sent), "<internal-server-error "));
    assert_true(buf_len(&w->sent) < 1000);
}

/* ---- asking ---- */

static char answered[512];

static void on_answer(void *ctx, const struct stanza *iq)
{
    (void)ctx;
    snprintf(answered + strlen(answered), sizeof answered - strlen(answered), "%s ",
             iq ? stanza_get(iq, "type") : "none");
}

static void our_questions_are_answered_once_by_whom_we_asked(void **state)
{
    struct world *w = *state;
    char sent[1024], id[64], xml[512];
    struct arena *arena = arena_new(4096);
    struct stanza *ping = stanza_new(arena, "ping", NS_PING);
    answered[0] = '\0';
    service_ask(w->service, 0, "e.test", "get", ping, 5000, on_answer, NULL);
    world_sent(w, sent, sizeof sent);
    const char *at = strstr(sent, "id=\"") + 4;
    snprintf(id, sizeof id, "%.*s", (int)strcspn(at, "\""), at);
    snprintf(xml, sizeof xml,
             "<iq type='result' id='%s' from='eve@e.test/x' to='sidecar.e.test'/>", id);
    world_feed(w, xml);
    assert_string_equal(answered, "");
    snprintf(xml, sizeof xml, "<iq type='error' id='%s' from='e.test' to='sidecar.e.test'/>",
             id);
    world_feed(w, xml);
    world_feed(w, xml);
    assert_string_equal(answered, "error ");

    service_ask(w->service, 0, "e.test", "get", ping, 5000, on_answer, NULL);
    assert_int_equal(service_deadline(w->service), w->mono_ms + 5000);
    world_pass(w, 5000);
    service_tick(w->service, w->mono_ms);
    assert_string_equal(answered, "error none ");
    service_ask(w->service, 0, "e.test", "get", ping, 5000, on_answer, NULL);
    service_closed(w->service, 0, 1);
    assert_string_equal(answered, "error none none ");
    service_ask(w->service, 0, "e.test", "get", ping, 5000, on_answer, NULL);
    assert_string_equal(answered, "error none none none ");
    arena_free(&arena);
}

#define T(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_delegated_answer_mirrors_every_byte_of_its_addresses),
        T(without_to_the_answer_comes_from_the_owners_bare_jid),
        T(an_inner_error_travels_in_an_outer_result),
        T(an_asker_with_an_odd_address_is_answered),
        T(somebody_elses_account_is_not_ones_own),
        T(results_travel_as_the_user_and_come_before_the_answer),
        T(results_to_our_own_address_travel_directly),
        T(results_travel_without_an_envelope_while_the_server_takes_them),
        T(a_stream_error_says_nothing_of_privileges),
        T(without_the_grant_the_asker_is_told_to_wait),
        T(an_unanswered_request_is_answered_in_time),
        T(a_handler_that_wants_to_know_is_told_of_the_end),
        T(what_is_open_when_the_service_ends_is_not_done),
        T(a_request_that_waited_too_long_is_not_begun),
        T(results_stop_when_the_session_goes),
        T(a_malformed_request_is_refused_as_rfc_6120_says),
        T(too_many_open_requests_are_told_to_wait),
        T(an_answer_too_large_becomes_an_error),
        T(what_is_longer_than_the_server_takes_is_not_sent),
        T(our_questions_are_answered_once_by_whom_we_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
