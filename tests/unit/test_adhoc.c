// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/xmpp_world.h"

#include "base/form.h"

#define COMMANDS "http://jabber.org/protocol/commands"

static struct adhoc_call *held;
static unsigned calls;
static char token[64], account[64], resource[sizeof(struct jid)];

/* Asks for a token, then says what it was. */
static void on_register(void *ctx, struct adhoc_call *call)
{
    (void)ctx;
    calls++;
    snprintf(account, sizeof account, "%s", call->account);
    snprintf(resource, sizeof resource, "%s", call->from->resource);
    if (!call->form) {
        struct stanza *form = form_add(call->answer, "form", NULL);
        form_add_field(form, "token", "text-single", NULL);
        adhoc_executing(call);
        return;
    }
    const char *value = form_value(call->form, "token");
    if (!value || !*value) {
        adhoc_error(call, "modify", "bad-request", "token is missing");
        return;
    }
    snprintf(token, sizeof token, "%s", value);
    form_add_field(form_add(call->answer, "result", NULL), "node", NULL, "n1");
    adhoc_completed(call, ADHOC_INFO, NULL);
}

static void on_hold(void *ctx, struct adhoc_call *call)
{
    (void)ctx;
    held = call;
}

static int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    world_begin(w);
    adhoc_add(w->service, "register", "Register", on_register, NULL);
    adhoc_add(w->service, "slow", "Slow", on_hold, NULL);
    calls = 0;
    held = NULL;
    token[0] = '\0';
    *state = w;
    return 0;
}

static const char *run_from(struct world *w, const char *from, const char *attrs,
                            const char *inside)
{
    static char sent[8192];
    char xml[2048];
    snprintf(xml, sizeof xml,
             "<iq type='set' id='c1' from='%s' to='sidecar.e.test'><command xmlns='" COMMANDS
             "' %s>%s</command></iq>",
             from, attrs, inside);
    world_feed(w, xml);
    return world_sent(w, sent, sizeof sent);
}

static const char *run(struct world *w, const char *attrs, const char *inside)
{
    return run_from(w, "bob@e.test/r1", attrs, inside);
}

/* The session id of an answer, as an attribute for the next call. */
static const char *session_of(const char *answer)
{
    static char attr[64];
    const char *at = strstr(answer, "sessionid=\"");
    assert_non_null(at);
    snprintf(attr, sizeof attr, "node='register' sessionid='%.16s'", at + 11);
    return attr;
}

#define SUBMIT(value)                                                                         \
    "<x xmlns='jabber:x:data' type='submit'><field var='token'><value>" value                 \
    "</value></field></x>"

static void a_command_in_one_step_needs_no_session(void **state)
{
    const char *answer = run(*state, "node='register'", SUBMIT("abc"));
    assert_string_equal(token, "abc");
    assert_string_equal(account, "bob@e.test");
    assert_string_equal(resource, "r1");
    assert_memory_equal(answer,
                        "<iq type=\"result\" id=\"c1\" from=\"sidecar.e.test\" "
                        "to=\"bob@e.test/r1\"><command xmlns=\"" COMMANDS
                        "\" node=\"register\" sessionid=\"",
                        140);
    assert_non_null(strstr(answer, "status=\"completed\"><x xmlns=\"jabber:x:data\" "
                                   "type=\"result\"><field var=\"node\"><value>n1</value>"
                                   "</field></x></command></iq>\n"));
}

static void a_command_without_form_asks_for_it(void **state)
{
    struct world *w = *state;
    const char *answer = run(w, "node='register' action='execute'", "");
    assert_non_null(strstr(answer, "status=\"executing\"><actions execute=\"complete\">"
                                   "<complete/></actions><x xmlns=\"jabber:x:data\" "
                                   "type=\"form\"><field var=\"token\" type=\"text-single\"/>"
                                   "</x></command>"));
    char session[64];
    snprintf(session, sizeof session, "%s", session_of(answer));
    answer = run(w, session, SUBMIT("xyz"));
    assert_string_equal(token, "xyz");
    assert_non_null(strstr(answer, "status=\"completed\""));
    /* It is over: the same again is refused. */
    answer = run(w, session, SUBMIT("again"));
    assert_non_null(strstr(answer, "<not-allowed "));
    assert_non_null(strstr(answer, "<session-expired xmlns=\"" COMMANDS "\"/>"));
    assert_string_equal(token, "xyz");
}

static void nobody_else_goes_on_with_a_session(void **state)
{
    struct world *w = *state;
    char session[64];
    snprintf(session, sizeof session, "%s", session_of(run(w, "node='register'", "")));
    assert_non_null(
        strstr(run_from(w, "eve@e.test/x", session, SUBMIT("evil")), "<not-allowed "));
    assert_non_null(
        strstr(run_from(w, "bob@e.test/r2", session, SUBMIT("evil")), "<not-allowed "));
    assert_string_equal(token, "");
    assert_non_null(strstr(run(w, session, SUBMIT("mine")), "completed"));
}

/* Of push.accept_from: only what is open to them, and not too often however many they are. */
static void guests_have_a_limit_together(void **state)
{
    static const char *const domains[] = {"guest.test"};
    struct world *w = *state;
    w->opts.accept_from = domains;
    w->opts.accept_from_n = 1;
    assert_non_null(
        strstr(run_from(w, "u@guest.test/x", "node='register'", SUBMIT("a")), "<forbidden "));
    adhoc_welcome(w->service, "register");
    assert_non_null(
        strstr(run_from(w, "guest.test", "node='register'", SUBMIT("a")), "<forbidden "));
    assert_non_null(strstr(run_from(w, "u@guest.test/x", "node='slow'", ""), "<forbidden "));
    unsigned done = 0;
    for (int i = 0; i < 300; i++) {
        char from[64];
        snprintf(from, sizeof from, "u%d@guest.test/x", i);
        const char *answer = run_from(w, from, "node='register'", SUBMIT("a"));
        done += strstr(answer, "completed") != NULL;
    }
    assert_int_equal(done, 200); /* ten times an account's 20 */
    assert_non_null(strstr(run(w, "node='register'", SUBMIT("mine")), "completed"));
}

static void a_session_can_be_cancelled_and_runs_out(void **state)
{
    struct world *w = *state;
    char session[128];
    snprintf(session, sizeof session, "%s action='cancel'",
             session_of(run(w, "node='register'", "")));
    assert_non_null(strstr(run(w, session, ""), "status=\"canceled\""));
    assert_non_null(strstr(run(w, session, ""), "<session-expired "));
    assert_non_null(strstr(run(w, "node='register' action='cancel'", ""), "<bad-sessionid "));

    snprintf(session, sizeof session, "%s", session_of(run(w, "node='register'", "")));
    world_pass(w, ADHOC_SESSION_MS);
    assert_non_null(strstr(run(w, session, SUBMIT("late")), "<session-expired "));
}

static void a_form_of_type_cancel_cancels(void **state)
{
    struct world *w = *state;
    char session[128];
    snprintf(session, sizeof session, "%s", session_of(run(w, "node='register'", "")));
    assert_non_null(strstr(run(w, session, "<x xmlns='jabber:x:data' type='cancel'/>"),
                           "status=\"canceled\""));
    assert_int_equal(calls, 1);
}

static void what_is_wrong_with_a_command_is_said(void **state)
{
    struct world *w = *state;
    assert_non_null(strstr(run(w, "node='unknown'", ""), "<item-not-found "));
    assert_non_null(strstr(run(w, "", ""), "<item-not-found "));
    assert_non_null(strstr(run(w, "node='register' action='prev'", ""), "<bad-action "));
    assert_non_null(
        strstr(run(w, "node='register' action='dance'", ""), "<malformed-action "));
    assert_non_null(strstr(run(w, "node='register'", SUBMIT("")), "token is missing"));
    char sent[2048];
    world_feed(w, "<iq type='get' id='c1' from='bob@e.test/r' to='sidecar.e.test'>"
                  "<command xmlns='" COMMANDS "' node='register'/></iq>");
    world_sent(w, sent, sizeof sent);
    assert_non_null(strstr(sent, "<bad-request "));
}

static void commands_are_for_users_of_our_domains(void **state)
{
    struct world *w = *state;
    assert_non_null(
        strstr(run_from(w, "rob@remote.test/x", "node='register'", ""), "<forbidden "));
    assert_non_null(strstr(run_from(w, "e.test", "node='register'", ""), "<forbidden "));
    assert_non_null(strstr(run_from(w, "bob@e.test", "node='register'", ""), "<forbidden "));
    assert_int_equal(calls, 0);
}

static void commands_per_minute_are_limited_for_each_account(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < w->opts.commands_per_minute; i++)
        assert_non_null(strstr(run(w, "node='register'", SUBMIT("abc")), "completed"));
    const char *answer = run(w, "node='register'", SUBMIT("abc"));
    assert_non_null(strstr(answer, "<error type=\"wait\"><resource-constraint "));
    answer = run_from(w, "carol@e.test/r", "node='register'", SUBMIT("abc"));
    assert_non_null(strstr(answer, "completed"));
    world_pass(w, 60000);
    assert_non_null(strstr(run(w, "node='register'", SUBMIT("abc")), "completed"));
}

static void an_answer_may_come_later_or_too_late(void **state)
{
    struct world *w = *state;
    char sent[4096];
    assert_string_equal(run(w, "node='slow'", ""), "");
    adhoc_completed(held, ADHOC_WARN, "done, in a way");
    world_sent(w, sent, sizeof sent);
    assert_non_null(strstr(sent, "<note type=\"warn\">done, in a way</note></command>"));

    run(w, "node='slow'", "");
    world_pass(w, IQ_ANSWER_WITHIN_MS);
    service_tick(w->service, w->mono_ms);
    world_sent(w, sent, sizeof sent);
    assert_non_null(strstr(sent, "<error type=\"wait\">"));
    adhoc_completed(held, ADHOC_INFO, NULL);
    assert_string_equal(world_sent(w, sent, sizeof sent), "");
}

static void sessions_are_bounded_and_the_oldest_goes(void **state)
{
    struct world *w = *state;
    w->opts.commands_per_minute = 0;
    char first[64] = "", last[64] = "";
    struct world fresh;
    world_init(&fresh, 1);
    fresh.opts.commands_per_minute = 0;
    fresh.service = world_service(&fresh);
    service_opened(fresh.service, 0, 1, fresh.real_us);
    adhoc_add(fresh.service, "register", "Register", on_register, NULL);
    for (int i = 0; i <= ADHOC_SESSIONS_MAX; i++) {
        snprintf(last, sizeof last, "%s", session_of(run(&fresh, "node='register'", "")));
        if (i == 0)
            memcpy(first, last, sizeof first);
    }
    assert_non_null(strstr(run(&fresh, first, SUBMIT("x")), "<session-expired "));
    assert_non_null(strstr(run(&fresh, last, SUBMIT("x")), "completed"));
    world_end(&fresh);
}

#define T(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_command_in_one_step_needs_no_session),
        T(a_command_without_form_asks_for_it),
        T(nobody_else_goes_on_with_a_session),
        T(guests_have_a_limit_together),
        T(a_session_can_be_cancelled_and_runs_out),
        T(a_form_of_type_cancel_cancels),
        T(what_is_wrong_with_a_command_is_said),
        T(commands_are_for_users_of_our_domains),
        T(commands_per_minute_are_limited_for_each_account),
        T(an_answer_may_come_later_or_too_late),
        T(sessions_are_bounded_and_the_oldest_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
