// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#define STALE_US (1800 * SECOND_US)

static struct jid jid_of(const char *text)
{
    struct jid j;
    assert_true(jid_parse(&j, text));
    return j;
}

static void an_account_is_online_while_a_session_is_fresh(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid r1 = jid_of("bob@e.test/r1"), r2 = jid_of("bob@e.test/r2");
    int64_t seen;
    assert_int_equal(sessions_state(s, "bob@e.test", START_US, STALE_US, &seen),
                     SESSION_OFFLINE);
    assert_int_equal(seen, 0);
    sessions_available(s, &r1, 0, 5, SHOW_AWAY, START_US);
    sessions_seen(s, &r2, 0, START_US + SECOND_US);
    assert_int_equal(sessions_state(s, "bob@e.test", START_US, STALE_US, &seen),
                     SESSION_ONLINE);
    assert_int_equal(seen, START_US + SECOND_US);
    assert_int_equal(sessions_seen_at(s, "bob@e.test", "r1"), START_US);
    assert_int_equal(sessions_others_seen_at(s, "bob@e.test", "r2"), START_US);
    assert_int_equal(sessions_others_seen_at(s, "bob@e.test", NULL), START_US + SECOND_US);
    /* Time passes: stale, though nobody said goodbye. */
    assert_int_equal(
        sessions_state(s, "bob@e.test", START_US + SECOND_US + STALE_US, STALE_US, NULL),
        SESSION_ONLINE);
    assert_int_equal(
        sessions_state(s, "bob@e.test", START_US + 2 * SECOND_US + STALE_US, STALE_US, NULL),
        SESSION_OFFLINE);
    int64_t at = START_US + 2 * SECOND_US;
    assert_true(sessions_gone(s, &r1, at));
    assert_true(sessions_gone(s, &r2, at));
    assert_true(sessions_gone(s, &r2, at));
    assert_int_equal(sessions_accounts(s), 0);
    assert_int_equal(sessions_seen_at(s, "bob@e.test", "r1"), 0);
    sessions_free(&s);
}

static void a_stuck_session_is_stuck_until_it_is_seen(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid r1 = jid_of("bob@e.test/r1"), r2 = jid_of("bob@e.test/r2");
    int64_t at = START_US + 10 * SECOND_US;
    sessions_stuck(s, "bob@e.test", "r1", at);
    assert_int_equal(sessions_accounts(s), 0);
    sessions_seen(s, &r1, 0, START_US);
    assert_int_equal(sessions_stuck_at(s, "bob@e.test", "r1"), 0);
    sessions_stuck(s, "bob@e.test", "r1", at);
    assert_int_equal(sessions_stuck_at(s, "bob@e.test", "r1"), at);
    /* A phone that is away says nothing of the laptop that is there. */
    sessions_seen(s, &r2, 0, START_US);
    sessions_stuck(s, "bob@e.test", "away", at + 1);
    assert_int_equal(sessions_stuck_at(s, "bob@e.test", "away"), 0);
    assert_int_equal(sessions_stuck_at(s, "bob@e.test", "r2"), 0);
    sessions_stuck(s, "bob@e.test", "r1", at - 1);
    assert_int_equal(sessions_stuck_at(s, "bob@e.test", "r1"), at);
    sessions_seen(s, &r1, 0, at + 2);
    assert_int_equal(sessions_stuck_at(s, "bob@e.test", "r1"), 0);
    sessions_free(&s);
}

static void a_negative_priority_is_not_online(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid r1 = jid_of("bob@e.test/r1");
    sessions_available(s, &r1, 0, -1, SHOW_AVAILABLE, START_US);
    assert_int_equal(sessions_state(s, "bob@e.test", START_US, STALE_US, NULL),
                     SESSION_OFFLINE);
    /* What the list of the server says has no priority and changes none. */
    sessions_listed(s, &r1, 0, START_US);
    assert_int_equal(sessions_state(s, "bob@e.test", START_US, STALE_US, NULL),
                     SESSION_OFFLINE);
    sessions_available(s, &r1, 0, 0, SHOW_AVAILABLE, START_US);
    assert_int_equal(sessions_state(s, "bob@e.test", START_US, STALE_US, NULL),
                     SESSION_ONLINE);
    sessions_free(&s);
}

static void a_lost_link_takes_its_sessions_along(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid a = jid_of("a@e.test/1"), b1 = jid_of("b@e.test/1"), b2 = jid_of("b@e.test/2");
    sessions_seen(s, &a, 0, START_US);
    sessions_seen(s, &b1, 0, START_US);
    sessions_seen(s, &b2, 1, START_US);
    sessions_link_lost(s, 0);
    assert_int_equal(sessions_accounts(s), 1);
    assert_int_equal(sessions_seen_at(s, "b@e.test", "2"), START_US);
    assert_int_equal(sessions_seen_at(s, "b@e.test", "1"), 0);
    sessions_free(&s);
}

/* A copy of what a session sent may come by the node of the recipient. */
static void a_session_is_of_the_node_that_shows_its_presence(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid a = jid_of("a@e.test/1");
    sessions_seen(s, &a, SESSION_LINK_UNKNOWN, START_US);
    sessions_link_lost(s, 0);
    sessions_link_lost(s, 1);
    assert_int_equal(sessions_accounts(s), 1);
    sessions_available(s, &a, 1, 0, SHOW_AVAILABLE, START_US);
    sessions_seen(s, &a, SESSION_LINK_UNKNOWN, START_US);
    sessions_seen(s, &a, 0, START_US);
    sessions_listed(s, &a, 0, START_US);
    sessions_link_lost(s, 0);
    assert_int_equal(sessions_accounts(s), 1);
    /* It came back on the other node before the first one was lost. */
    sessions_available(s, &a, 0, 0, SHOW_AVAILABLE, START_US);
    sessions_link_lost(s, 1);
    assert_int_equal(sessions_accounts(s), 1);
    sessions_link_lost(s, 0);
    assert_int_equal(sessions_accounts(s), 0);
    sessions_free(&s);
}

static void a_goodbye_ends_no_session_that_was_seen_later(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid a = jid_of("a@e.test/1");
    sessions_available(s, &a, 1, 0, SHOW_AVAILABLE, START_US + 2);
    assert_false(sessions_gone(s, &a, START_US + 1)); /* the old node's, read late */
    assert_int_equal(sessions_accounts(s), 1);
    assert_true(sessions_gone(s, &a, START_US + 2));
    assert_int_equal(sessions_accounts(s), 0);
    sessions_free(&s);
}

static void a_stanza_that_comes_after_the_goodbye_is_no_session(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid a = jid_of("a@e.test/1"), other = jid_of("a@e.test/2");
    sessions_available(s, &a, 0, 0, SHOW_AVAILABLE, START_US);
    sessions_gone(s, &a, START_US);
    sessions_seen(s, &a, 1, START_US + SESSIONS_ECHO_US);
    assert_int_equal(sessions_accounts(s), 0);
    sessions_seen(s, &other, 1, START_US);
    assert_int_equal(sessions_accounts(s), 1);
    sessions_gone(s, &other, START_US);
    /* A new session says that it is there, or is seen when no echo can be left. */
    sessions_available(s, &a, 1, 0, SHOW_AVAILABLE, START_US + 1);
    assert_int_equal(sessions_accounts(s), 1);
    sessions_gone(s, &a, START_US + 1);
    sessions_seen(s, &a, 1, START_US + SESSIONS_ECHO_US + 2);
    assert_int_equal(sessions_accounts(s), 1);
    sessions_free(&s);
}

static void a_complete_list_ends_the_sessions_that_it_does_not_name(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid old = jid_of("a@e.test/old"), listed = jid_of("a@e.test/listed"),
               fresh = jid_of("b@e.test/1"), elsewhere = jid_of("c@other.test/1"),
               cut_off = jid_of("d@e.test/1");
    sessions_available(s, &old, 0, 0, SHOW_AVAILABLE, START_US);
    sessions_available(s, &listed, 0, 0, SHOW_AVAILABLE, START_US);
    sessions_available(s, &elsewhere, 0, 0, SHOW_AVAILABLE, START_US);
    int64_t later = START_US + 60 * SECOND_US;
    sessions_available(s, &fresh, 0, 0, SHOW_AVAILABLE, later - 1);
    sessions_available(s, &cut_off, 1, 0, SHOW_AVAILABLE, START_US);
    sessions_listed(s, &listed, 1, later);
    sessions_unlisted(s, "e.test", 0, later - 1, NULL, NULL);
    assert_int_equal(sessions_accounts(s), 4);
    assert_int_equal(sessions_seen_at(s, "d@e.test", "1"), START_US);
    assert_null(sessions_next(s, "a@e.test", sessions_next(s, "a@e.test", NULL)));
    /* On the list is no sign of life. */
    assert_int_equal(sessions_seen_at(s, "a@e.test", "listed"), START_US);
    assert_int_equal(sessions_state(s, "a@e.test", later + STALE_US, STALE_US, NULL),
                     SESSION_ONLINE);
    sessions_free(&s);
}

static void what_is_silent_for_a_day_is_forgotten(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    struct jid a = jid_of("a@e.test/1"), b = jid_of("b@e.test/1"), b2 = jid_of("b@e.test/2");
    sessions_seen(s, &a, 0, START_US);
    sessions_seen(s, &b, 0, START_US);
    int64_t later = START_US + SESSIONS_FORGET_US;
    sessions_seen(s, &b2, 0, later + 1);
    sessions_sweep(s, later);
    assert_int_equal(sessions_accounts(s), 2);
    assert_int_equal(sessions_seen_at(s, "b@e.test", "1"), 0); /* made room */
    sessions_sweep(s, later + 1);
    assert_int_equal(sessions_accounts(s), 1);
    sessions_free(&s);
}

static void one_account_holds_so_many_sessions_and_no_more(void **state)
{
    (void)state;
    struct sessions *s = sessions_new();
    char text[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "a@e.test/%d", i);
        struct jid j = jid_of(text);
        sessions_seen(s, &j, 0, START_US + i);
    }
    unsigned n = 0;
    for (const struct session *at = NULL; (at = sessions_next(s, "a@e.test", at));)
        n++;
    assert_int_equal(n, SESSIONS_PER_ACCOUNT_MAX);
    assert_int_equal(sessions_seen_at(s, "a@e.test", "999"), START_US + 999);
    assert_int_equal(sessions_seen_at(s, "a@e.test", "0"), 0);
    /* The one that goes is not always the one that came first. */
    struct jid first = jid_of("a@e.test/968"), another = jid_of("a@e.test/another");
    sessions_seen(s, &first, 0, START_US + 2000);
    sessions_seen(s, &another, 0, START_US + 2001);
    assert_int_equal(sessions_seen_at(s, "a@e.test", "968"), START_US + 2000);
    assert_int_equal(sessions_seen_at(s, "a@e.test", "969"), 0);
    assert_int_equal(sessions_seen_at(s, "a@e.test", "970"), START_US + 970);
    sessions_free(&s);
}

static void sessions_survive_saving(void **state)
{
    (void)state;
    struct sessions *s = sessions_new(), *again = sessions_new();
    struct jid a = jid_of("a@e.test/1"), b = jid_of("b@e.test/\xC3\xBC"),
               c = jid_of("c@e.test/9"), d = jid_of("d@e.test/1");
    struct buf out;
    buf_init(&out, 1 << 20);
    sessions_available(s, &a, 0, -7, SHOW_DND, START_US);
    sessions_seen(s, &b, 1, START_US + 5);
    sessions_seen(s, &c, 2, START_US + 5);
    sessions_listed(s, &d, SESSION_LINK_UNKNOWN, START_US + 6);
    sessions_save(s, &out);

    const uint8_t *data = buf_data(&out);
    size_t len = buf_len(&out);
    assert_true(sessions_load(again, &data, &len, 2)); /* link 2 is no more */
    assert_int_equal(len, 0);
    assert_int_equal(sessions_accounts(again), 3);
    const struct session *is = sessions_next(again, "a@e.test", NULL);
    assert_int_equal(is->priority, -7);
    assert_int_equal(is->show, SHOW_DND);
    assert_int_equal(is->seen_us, START_US);
    is = sessions_next(again, "b@e.test", NULL);
    assert_string_equal(is->resource, "\xC3\xBC");
    assert_int_equal(is->priority, SESSION_PRIORITY_UNKNOWN);
    assert_int_equal(is->link, 1);
    is = sessions_next(again, "d@e.test", NULL);
    assert_int_equal(is->link, SESSION_LINK_UNKNOWN);
    assert_int_equal(is->seen_us, 0);
    assert_int_equal(is->listed_us, START_US + 6);

    for (size_t cut = 0; cut < buf_len(&out); cut++) {
        struct sessions *bad = sessions_new();
        data = buf_data(&out);
        len = cut;
        assert_false(sessions_load(bad, &data, &len, 2));
        sessions_free(&bad);
    }
    buf_deinit(&out);
    sessions_free(&s);
    sessions_free(&again);
}

/* ---- through the service ---- */

static void presence_of_managed_entities_is_followed(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    const struct sessions *s = service_sessions(w.service);
    world_feed(&w, "<presence from='bob@e.test/r1' to='sidecar.e.test'><show>xa</show>"
                   "<priority>7</priority><status>s</status></presence>");
    const struct session *is = sessions_next(s, "bob@e.test", NULL);
    assert_int_equal(is->priority, 7);
    assert_int_equal(is->show, SHOW_XA);
    world_feed(&w, "<presence from='bob@e.test/r1' to='sidecar.e.test'/>");
    assert_int_equal(is->priority, 0);
    assert_int_equal(is->show, SHOW_AVAILABLE);
    /* Nobody but a session of ours, nothing but its presence. */
    world_feed(&w, "<presence from='rob@remote.test/x' to='sidecar.e.test'/>"
                   "<presence from='carol@e.test' to='sidecar.e.test'/>"
                   "<presence from='carol@e.test/r' to='room@sidecar.e.test'/>"
                   "<presence from='carol@e.test/r' to='sidecar.e.test' type='subscribe'/>");
    assert_int_equal(sessions_accounts(s), 1);
    world_feed(&w, "<presence from='bob@e.test/r1' to='sidecar.e.test' type='unavailable'/>");
    assert_int_equal(sessions_accounts(s), 0);
    world_end(&w);
}

static void every_stanza_that_passes_is_a_sign_of_life(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    const struct sessions *s = service_sessions(w.service);
    world_feed(&w,
               COPY("<iq xmlns='jabber:client' type='set' id='1' from='alice@e.test/r1'/>"));
    assert_int_equal(sessions_seen_at(s, "alice@e.test", "r1"), w.real_us);
    world_pass(&w, 1000);
    world_feed(&w,
               COPY("<message xmlns='jabber:client' from='alice@e.test/r1' to='room@c.test' "
                    "type='groupchat'/>"));
    assert_int_equal(sessions_seen_at(s, "alice@e.test", "r1"), w.real_us);
    world_pass(&w, 1000);
    world_feed(&w, DELEGATED(NS_DELEGATION_1, "<iq xmlns='jabber:client' type='get' id='1' "
                                              "from='alice@e.test/r1'><x xmlns='y'/></iq>"));
    assert_int_equal(sessions_seen_at(s, "alice@e.test", "r1"), w.real_us);
    int64_t then = w.real_us;
    /* Not: late deliveries, errors that servers make, bare JIDs. */
    world_pass(&w, 1000);
    world_feed(
        &w, COPY("<message xmlns='jabber:client' from='alice@e.test/r1' to='bob@e.test'>"
                 "<delay xmlns='urn:xmpp:delay' from='e.test' stamp='2026-11-20T11:00:00Z'/>"
                 "</message>"));
    world_feed(&w,
               COPY("<iq xmlns='jabber:client' type='error' id='1' from='alice@e.test/gone' "
                    "to='bob@e.test/r1'/>"));
    world_feed(&w, COPY("<iq xmlns='jabber:client' type='result' id='1' from='alice@e.test' "
                        "to='bob@e.test/r1'/>"));
    assert_int_equal(sessions_seen_at(s, "alice@e.test", "r1"), then);
    assert_int_equal(sessions_seen_at(s, "alice@e.test", "gone"), 0);
    assert_int_equal(sessions_accounts(s), 1);
    world_end(&w);
}

static void an_unavailable_that_another_session_received_is_believed(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    const struct sessions *s = service_sessions(w.service);
    world_feed(&w, "<presence from='alice@e.test/r2' to='sidecar.e.test'/>");
    /* Leaving a room is not leaving. */
    world_feed(&w, COPY("<presence xmlns='jabber:client' from='alice@e.test/r2' "
                        "to='room@conference.e.test/al' type='unavailable'/>"));
    assert_int_equal(sessions_accounts(s), 1);
    world_feed(&w, COPY("<presence xmlns='jabber:client' from='alice@e.test/r2' "
                        "to='bob@e.test/r1' type='unavailable'/>"));
    assert_int_equal(sessions_accounts(s), 0);
    world_end(&w);
}

static void the_recorded_presence_ends_with_nobody_unexplained(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    world_feed_fixture(&w, "ejabberd/03-privilege.xml");
    const struct sessions *s = service_sessions(w.service);
    assert_true(sessions_seen_at(s, "bob@e.test", "r1") > 0);
    struct service_link_status status;
    service_link_status(w.service, 0, &status);
    assert_true(status.presence_granted);
    assert_true(status.messages_granted);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_is_online_while_a_session_is_fresh),
        cmocka_unit_test(a_stuck_session_is_stuck_until_it_is_seen),
        cmocka_unit_test(a_negative_priority_is_not_online),
        cmocka_unit_test(a_lost_link_takes_its_sessions_along),
        cmocka_unit_test(a_session_is_of_the_node_that_shows_its_presence),
        cmocka_unit_test(a_goodbye_ends_no_session_that_was_seen_later),
        cmocka_unit_test(a_stanza_that_comes_after_the_goodbye_is_no_session),
        cmocka_unit_test(a_complete_list_ends_the_sessions_that_it_does_not_name),
        cmocka_unit_test(what_is_silent_for_a_day_is_forgotten),
        cmocka_unit_test(one_account_holds_so_many_sessions_and_no_more),
        cmocka_unit_test(sessions_survive_saving),
        cmocka_unit_test(presence_of_managed_entities_is_followed),
        cmocka_unit_test(every_stanza_that_passes_is_a_sign_of_life),
        cmocka_unit_test(an_unavailable_that_another_session_received_is_believed),
        cmocka_unit_test(the_recorded_presence_ends_with_nobody_unexplained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
