// SPDX-License-Identifier: Apache-2.0
#include "archive/call.h"

#include "tests/unit/rows_world.h"

#define JMI "urn:xmpp:jingle-message:0"
#define AUDIO "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>"
#define VIDEO "<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'/>"
#define PROPOSE "<propose xmlns='" JMI "' id='s1'>" AUDIO "</propose>"
#define STORE "<store xmlns='urn:xmpp:hints'/>"

static struct stanza *stanza;

static int make_with_calls(void **state)
{
    make(state);
    opts.calls = true;
    return 0;
}

static int destroy_with_stanza(void **state)
{
    if (stanza)
        stanza_free(&stanza);
    return destroy(state);
}

static struct event call_of(const char *inside, const char *type)
{
    char attrs[64];
    snprintf(attrs, sizeof attrs, " id='m1' type='%s'", type);
    if (stanza)
        stanza_free(&stanza);
    stanza = parse(inside, attrs);
    return event_of(stanza);
}

/* The words of calls among what an event writes. */
static size_t calls_of(const struct event *ev, struct write out[WRITES_MAX])
{
    struct write all[WRITES_MAX];
    size_t n = rows_from_event(rows, ev, all), found = 0;
    assert_true(n <= WRITES_MAX);
    for (size_t i = 0; i < n; i++)
        if (all[i].kind == WRITE_CALL)
            out[found++] = all[i];
    return found;
}

static void a_call_is_told_to_who_is_called(void **state)
{
    (void)state;
    struct write w[WRITES_MAX];
    uint8_t owner[OWNER_BYTES];
    struct event ev = call_of(PROPOSE, "chat");
    assert_int_equal(calls_of(&ev, w), 1);
    ident_owner(ident, "mei@chat.example", owner);
    assert_memory_equal(w[0].owner, owner, OWNER_BYTES);
    assert_string_equal(w[0].owner_jid, "mei@chat.example");
    assert_true(w[0].call.begins);
    assert_string_equal(w[0].call.jid, "li@chat.example");
    assert_string_equal(w[0].call.session, "s1");
    assert_string_equal(w[0].call.media, "audio");
    assert_true(w[0].call.peer == ident_peer(ident, owner, "li@chat.example"));
    assert_true(w[0].call.message == ident_ref(ident, w[0].call.peer, false, "m1"));
    assert_true(w[0].peer == 0); /* it makes no conversation */
    /* One from elsewhere is, too; one to elsewhere is not ours to tell. */
    ev.from_local = false;
    assert_int_equal(calls_of(&ev, w), 1);
    ev.from_local = true;
    ev.to_local = false;
    assert_int_equal(calls_of(&ev, w), 0);
}

static void it_is_archived_only_when_it_says_so_and_never_counted(void **state)
{
    (void)state;
    struct write w[WRITES_MAX];
    struct event ev = call_of(PROPOSE, "chat");
    assert_int_equal(rows_from_event(rows, &ev, w), 1);
    assert_int_equal(w[0].kind, WRITE_CALL);
    ev = call_of(PROPOSE STORE, "chat");
    assert_int_equal(rows_from_event(rows, &ev, w), 3);
    assert_int_equal(w[0].kind, WRITE_ROW);
    assert_int_equal(w[1].kind, WRITE_ROW);
    assert_false(w[1].flags & ROW_COUNTED);
    assert_int_equal(w[2].kind, WRITE_CALL);
}

struct said {
    const char *inside;
    const char *type;
    const char *media; /* of a call that begins; NULL: none does */
};

static void what_is_a_call(void **state)
{
    (void)state;
    char long_id[600];
    snprintf(long_id, sizeof long_id,
             "<propose xmlns='" JMI "' id='%0129d'>" AUDIO "</propose>", 1);
    const struct said cases[] = {
        {PROPOSE, "chat", "audio"},
        {PROPOSE, "normal", "audio"},
        {PROPOSE, "headline", "audio"},
        {PROPOSE, "error", NULL},
        {PROPOSE, "groupchat", NULL},
        {"<propose xmlns='" JMI "' id='s1'>" VIDEO "</propose>", "chat", "video"},
        {"<propose xmlns='" JMI "' id='s1'>" VIDEO AUDIO "</propose>", "chat", "audio,video"},
        {"<propose xmlns='urn:xmpp:jingle-message:1' id='s1'>" AUDIO "</propose>", "chat",
         "audio"},
        {"<propose xmlns='urn:xmpp:jingle-message:2' id='s1'>" AUDIO "</propose>", "chat",
         NULL},
        {"<propose xmlns='" JMI "'>" AUDIO "</propose>", "chat", NULL},
        {"<propose xmlns='" JMI "' id=''>" AUDIO "</propose>", "chat", NULL},
        {long_id, "chat", NULL},
        {"<propose xmlns='" JMI "' id='s1'/>", "chat", NULL},
        {"<propose xmlns='" JMI "' id='s1'><description "
         "xmlns='urn:xmpp:jingle:apps:rtp:1' media='smell'/></propose>",
         "chat", NULL},
        {"<propose xmlns='" JMI "' id='s1'>"
         "<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/></propose>",
         "chat", NULL},
        {"<ringing xmlns='" JMI "' id='s1'/>", "chat", NULL},
        {"<body>propose</body>", "chat", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct write w[WRITES_MAX];
        struct event ev = call_of(cases[i].inside, cases[i].type);
        size_t n = calls_of(&ev, w);
        if (n != (cases[i].media != NULL))
            fail_msg("%s %s: %zu calls", cases[i].type, cases[i].inside, n);
        if (n)
            assert_string_equal(w[0].call.media, cases[i].media);
    }
}

static void one_that_is_delivered_late_is_none(void **state)
{
    (void)state;
    struct write w[WRITES_MAX];
    struct event ev = call_of(PROPOSE, "chat");
    ev.delayed_us = NOW - (CALL_LIFE_MS + 1) * INT64_C(1000);
    assert_int_equal(calls_of(&ev, w), 0);
    ev.delayed_us = NOW - CALL_LIFE_MS * INT64_C(1000);
    assert_int_equal(calls_of(&ev, w), 1);
}

static void nobody_calls_himself(void **state)
{
    (void)state;
    struct write w[WRITES_MAX];
    struct event ev = call_of(PROPOSE, "chat");
    ev.to = ev.from;
    assert_int_equal(calls_of(&ev, w), 0);
}

static void it_is_over_for_both_when_one_of_them_says_so(void **state)
{
    (void)state;
    static const char *const words[] = {"retract", "accept", "proceed", "reject", "finish"};
    static const char *const own[] = {"the account ended it", "the account has answered it",
                                      "the account has answered it",
                                      "the account has rejected it", "the account ended it"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct write w[WRITES_MAX];
        char inside[200];
        uint8_t mei[OWNER_BYTES];
        snprintf(inside, sizeof inside, "<%s xmlns='" JMI "' id='s1'/>", words[i]);
        struct event ev = call_of(inside, "chat");
        assert_int_equal(calls_of(&ev, w), 2);
        /* Of his own account somebody's word counts whoever called; of another's, his calls.
         */
        assert_string_equal(w[0].owner_jid, "li@chat.example");
        assert_true(w[0].call.peer == 0);
        assert_string_equal(w[1].owner_jid, "mei@chat.example");
        ident_owner(ident, "mei@chat.example", mei);
        assert_true(w[1].call.peer == ident_peer(ident, mei, "li@chat.example"));
        for (int k = 0; k < 2; k++) {
            assert_false(w[k].call.begins);
            assert_string_equal(w[k].call.session, "s1");
        }
        assert_string_equal(w[0].call.over, own[i]);
        assert_string_equal(w[1].call.over,
                            i == 0 ? "the caller took it back" : "the caller ended it");
        /* To his own other devices. */
        ev.to = ev.from;
        assert_int_equal(calls_of(&ev, w), 1);
        assert_true(w[0].call.peer == 0);
    }
}

static void a_call_whose_message_is_refused_is_over(void **state)
{
    (void)state;
    struct write begun[WRITES_MAX], w[WRITES_MAX];
    struct event ev = call_of(PROPOSE, "chat");
    assert_int_equal(calls_of(&ev, begun), 1);
    struct event bounce = {.kind = EVENT_BOUNCE,
                           .from = "mei@chat.example",
                           .to = "li@chat.example",
                           .from_local = true,
                           .to_local = true,
                           .ref = "m1",
                           .received_us = NOW,
                           .stanza = stanza};
    assert_int_equal(calls_of(&bounce, w), 1);
    assert_memory_equal(w[0].owner, begun[0].owner, OWNER_BYTES);
    assert_false(w[0].call.begins);
    assert_null(w[0].call.session);
    assert_string_equal(w[0].call.over, "the server refused its message");
    assert_true(w[0].call.message == begun[0].call.message);
}

static void where_no_app_asks_for_calls_there_are_none(void **state)
{
    (void)state;
    struct write w[WRITES_MAX];
    opts.calls = false;
    struct event ev = call_of(PROPOSE STORE, "chat");
    assert_int_equal(calls_of(&ev, w), 0);
    assert_int_equal(rows_from_event(rows, &ev, w), 2);
    ev = call_of("<retract xmlns='" JMI "' id='s1'/>", "chat");
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_with_calls, destroy_with_stanza)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_call_is_told_to_who_is_called),
        CASE(it_is_archived_only_when_it_says_so_and_never_counted),
        CASE(what_is_a_call),
        CASE(one_that_is_delivered_late_is_none),
        CASE(nobody_calls_himself),
        CASE(it_is_over_for_both_when_one_of_them_says_so),
        CASE(a_call_whose_message_is_refused_is_over),
        CASE(where_no_app_asks_for_calls_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
