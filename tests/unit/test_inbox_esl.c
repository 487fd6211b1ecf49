// SPDX-License-Identifier: Apache-2.0
/* The list of conversations in MongooseIM's dialect, and their properties. */
#include "archive/inbox_esl.h"

#include "archive_world.h"

#define OWNER "mei@chat.example"
#define START_S INT64_C(1795175400)
#define LIST(inside)                                                                          \
    "<inbox xmlns='erlang-solutions.com:xmpp:inbox:0' queryid='b6'>" inside "</inbox>"
#define FORM(fields) LIST("<x xmlns='jabber:x:data' type='submit'>" fields "</x>")
#define FIELD(name, value) "<field var='" name "'><value>" value "</value></field>"
#define ONE(jid, inside)                                                                      \
    "<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation' jid='" jid                 \
    "@chat.example'>" inside "</query>"
#define COUNTED 1

static void put(const char *peer, int n, int flags)
{
    char stanza[256];
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s\" to=\"" OWNER "\" type=\"chat\">"
             "<body>%d</body></message>",
             peer, n);
    archive_put(OWNER, peer, ident_id_from_us((START_S + n) * 1000000), flags, stanza);
}

static void ask_list(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_esl_ask(lookups, &settings, r, answer);
}

static void ask_one(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_esl_conversation_ask(lookups, ing, &settings, r, answer);
}

static const char *list(const char *xml)
{
    return archive_ask(ask_list, OWNER, true, xml);
}

static const char *set(const char *xml)
{
    return archive_ask(ask_one, OWNER, true, xml);
}

static const char *get(const char *xml)
{
    return archive_ask(ask_one, OWNER, false, xml);
}

/* Whose messages were shown, in order. */
static const char *peers(void)
{
    static char out[TOLD_BYTES];
    out[0] = '\0';
    for (const char *at = told.result; (at = strstr(at, "from=\"")) != NULL; at++) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%s%.*s", n ? " " : "", (int)strcspn(at + 6, "@"),
                 at + 6);
    }
    return out;
}

static int begin(void **state)
{
    (void)state;
    db_fresh();
    settings = (struct archive_opts){.page_max = 250, .page_default = 50};
    archive_begin(START_S);
    put("wang@chat.example", 1, COUNTED);
    put("wang@chat.example", 2, COUNTED);
    put("zhao@chat.example", 60, 0);
    put("sun@chat.example", 120, COUNTED);
    db_do(
        "UPDATE xs.lane SET last_id = (SELECT max(id) FROM xs.message)"); /* as a batch does */
    return 0;
}

static int finish(void **state)
{
    (void)state;
    archive_end();
    return 0;
}

/* --- the list ---------------------------------------------------------------------------- */

static void a_conversation_comes_as_its_last_message_with_its_properties(void **state)
{
    (void)state;
    list(LIST(""));
    static const char fin[] =
        "<fin xmlns=\"erlang-solutions.com:xmpp:inbox:0\"><count>3</count>"
        "<unread-messages>3</unread-messages>"
        "<active-conversations>2</active-conversations>"
        "<set xmlns=\"http://jabber.org/protocol/rsm\">";
    assert_memory_equal(told.answer, fin, sizeof fin - 1);
    assert_string_equal(
        strstr(told.result,
               "<result xmlns=\"erlang-solutions.com:xmpp:inbox:0\" unread=\"2\""),
        "<result xmlns=\"erlang-solutions.com:xmpp:inbox:0\" unread=\"2\" queryid=\"b6\">"
        "<forwarded xmlns=\"urn:xmpp:forward:0\">"
        "<delay xmlns=\"urn:xmpp:delay\" stamp=\"2026-11-20T11:50:02.000000Z\"/>"
        "<message xmlns=\"jabber:client\" from=\"wang@chat.example\" to=\"mei@chat.example\" "
        "type=\"chat\"><body>2</body></message></forwarded>"
        "<box>inbox</box><archive>false</archive><mute>0</mute></result>");
}

static void expect_list(const char *xml, const char *who)
{
    list(xml);
    if (strcmp(peers(), who) != 0)
        fail_msg("%s: '%s' instead of '%s' (%s)", xml, peers(), who, told.answer);
}

static void the_form_orders_and_filters(void **state)
{
    (void)state;
    expect_list(LIST(""), "sun zhao wang");
    expect_list(FORM(FIELD("order", "asc")), "wang zhao sun");
    expect_list(FORM(FIELD("hidden_read", "true")), "sun wang");
    expect_list(FORM(FIELD("start", "2026-11-20T11:51:00Z")), "sun zhao");
    expect_list(FORM(FIELD("end", "2026-11-20T11:51:00Z")), "zhao wang");
    expect_list(FORM(FIELD("box", "archive")), "");
    expect_list(FORM(FIELD("box", "inbox") FIELD("order", "desc")), "sun zhao wang");
    expect_list(FORM(FIELD("archive", "false")), "sun zhao wang");
    expect_list(LIST("<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>"), "sun");
    expect_list(FORM(FIELD("order", "asc") FIELD("hidden_read", "1")), "wang sun");
}

static void bad_forms_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        FORM(FIELD("order", "up")),  FORM(FIELD("start", "yesterday")),
        FORM(FIELD("end", "x")),     FORM(FIELD("hidden_read", "maybe")),
        FORM(FIELD("archive", "x")), FORM(FIELD("box", "bin")),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(list(bad[i]), "modify/bad-request");
    assert_string_equal(archive_ask(ask_list, OWNER, false, LIST("")),
                        "cancel/feature-not-implemented");
}

static void the_form_is_told(void **state)
{
    (void)state;
    const char *form = archive_ask(ask_list, OWNER, false,
                                   "<query xmlns='erlang-solutions.com:xmpp:inbox:0'/>");
    static const char *const fields[] = {"start",       "end", "order",
                                         "hidden_read", "box", "archive"};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char want[64];
        snprintf(want, sizeof want, "var=\"%s\"", fields[i]);
        assert_non_null(strstr(form, want));
    }
}

/* --- one conversation -------------------------------------------------------------------- */

#define PROPERTIES(box, archive, mute, read)                                                  \
    "<box>" box "</box><archive>" archive "</archive><mute>" mute "</mute><read>" read        \
    "</read></query>"

static void expect_end(const char *answer, const char *end)
{
    size_t n = strlen(answer), m = strlen(end);
    if (n < m || strcmp(answer + n - m, end) != 0)
        fail_msg("%s does not end with %s", answer, end);
}

static void properties_are_told(void **state)
{
    (void)state;
    assert_string_equal(
        get(ONE("wang", "")),
        "<query xmlns=\"erlang-solutions.com:xmpp:inbox:0#conversation\" "
        "jid=\"wang@chat.example\">" PROPERTIES("inbox", "false", "0", "false"));
    expect_end(get(ONE("zhao", "")), PROPERTIES("inbox", "false", "0", "true"));
    const char *complete = get("<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation' "
                               "jid='wang@chat.example' complete='true'/>");
    assert_non_null(strstr(complete, "<forwarded xmlns=\"urn:xmpp:forward:0\"><delay "));
    assert_non_null(strstr(complete, "<body>2</body>"));
    assert_string_equal(get(ONE("nobody", "")), "cancel/item-not-found");
}

static void the_archive_is_another_box(void **state)
{
    (void)state;
    expect_end(set(ONE("zhao", "<box>archive</box>")),
               PROPERTIES("archive", "true", "0", "true"));
    expect_list(FORM(FIELD("box", "archive")), "zhao");
    expect_list(FORM(FIELD("box", "inbox")), "sun wang");
    expect_list(LIST(""), "sun zhao wang");
    assert_non_null(strstr(told.answer, "<count>3</count>"));
    expect_end(set(ONE("zhao", "<archive>false</archive>")),
               PROPERTIES("inbox", "false", "0", "true"));
    expect_list(FORM(FIELD("archive", "true")), "");
}

static void a_muted_conversation_says_until_when(void **state)
{
    (void)state;
    const char *answer = set(ONE("wang", "<mute>86400</mute>"));
    assert_null(strstr(answer, "<mute>0</mute>"));
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.mute WHERE"
               " until BETWEEN now() + interval '23 h' AND now() + interval '24 h'"),
        1);
    list(LIST(""));
    assert_non_null(strstr(told.result, "<mute>20")); /* a time */
    expect_end(set(ONE("wang", "<mute>0</mute>")), PROPERTIES("inbox", "false", "0", "false"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.mute"), 0);
}

static void so_many_are_muted_and_no_more(void **state)
{
    (void)state;
    assert_null(strstr(set(ONE("wang", "<mute>60</mute>")), "<error"));
    db_do("INSERT INTO xs.mute SELECT m.owner, 100 + n, now() + interval '1 day', 0"
          " FROM xs.mute m, generate_series(1, 999) n");
    const char *answer = set(ONE("zhao", "<mute>60</mute><box>archive</box>"));
    assert_non_null(strstr(answer, "policy-violation"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.mute"), 1000);
    assert_int_equal(db_int("SELECT count(*) FROM xs.conversation WHERE box > 0"), 0);
    assert_null(strstr(set(ONE("wang", "<mute>90</mute>")), "policy-violation"));
    /* One that is over makes room, and goes. */
    db_do("UPDATE xs.mute SET until = now() - interval '1 s' WHERE peer = 101");
    answer = set(ONE("zhao", "<mute>60</mute><box>archive</box>"));
    assert_null(strstr(answer, "policy-violation"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.mute"), 1000);
    assert_int_equal(db_int("SELECT count(*) FROM xs.mute WHERE peer = 101"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.conversation WHERE box > 0"), 1);
}

static void reading_by_property_and_by_reset(void **state)
{
    (void)state;
    expect_end(set(ONE("wang", "<read>true</read>")),
               PROPERTIES("inbox", "false", "0", "true"));
    assert_int_equal(db_int("SELECT unread FROM xs.account"), 1);
    assert_string_equal(set("<reset xmlns='erlang-solutions.com:xmpp:inbox:0' "
                            "jid='sun@chat.example'/>"),
                        "");
    assert_int_equal(db_int("SELECT unread FROM xs.account"), 0);
    assert_int_equal(db_int("SELECT sum(unread) FROM xs.conversation"), 0);
}

static void ignore(void *ctx, bool done)
{
    (void)ctx, (void)done;
}

/* What waits for PostgreSQL has an end, whoever asks how often. */
static void nothing_is_read_that_there_is_no_room_for(void **state)
{
    (void)state;
    struct ingest_stats stats;
    db_do("BEGIN; LOCK TABLE xs.lane IN ACCESS EXCLUSIVE MODE");
    for (int n = 0; n < 1000; n++) /* queue_rows_max */
        ingest_mark_read(ing, OWNER, "sun@chat.example", 0, ignore, NULL);
    assert_string_equal(set("<reset xmlns='erlang-solutions.com:xmpp:inbox:0' "
                            "jid='sun@chat.example'/>"),
                        "wait/resource-constraint");
    assert_string_equal(set(ONE("wang", "<read>true</read>")), "wait/resource-constraint");
    ingest_get_stats(ing, &stats);
    assert_int_equal(stats.queue_rows, 1000);
    db_do("COMMIT");
}

static void bad_properties_change_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {
        ONE("wang", ""),
        ONE("wang", "<mute>-1</mute>"),
        ONE("wang", "<mute>soon</mute>"),
        ONE("wang", "<mute>99999999999999999999</mute>"),
        ONE("wang", "<box>attic</box>"),
        ONE("wang", "<archive>perhaps</archive>"),
        ONE("wang", "<read>false</read>"),
        ONE("wang", "<colour>red</colour>"),
        ONE("wang", "<box>archive</box><colour>red</colour>"),
        "<query xmlns='erlang-solutions.com:xmpp:inbox:0#conversation'><mute>1</mute></query>",
        "<reset xmlns='erlang-solutions.com:xmpp:inbox:0'/>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (strcmp(set(bad[i]), "modify/bad-request") != 0)
            fail_msg("%s: %s", bad[i], told.answer);
    expect_end(get(ONE("wang", "")), PROPERTIES("inbox", "false", "0", "false"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.mute"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_conversation_comes_as_its_last_message_with_its_properties),
        TEST(the_form_orders_and_filters),
        TEST(bad_forms_are_refused),
        TEST(the_form_is_told),
        TEST(properties_are_told),
        TEST(the_archive_is_another_box),
        TEST(a_muted_conversation_says_until_when),
        TEST(so_many_are_muted_and_no_more),
        TEST(reading_by_property_and_by_reset),
        TEST(nothing_is_read_that_there_is_no_room_for),
        TEST(bad_properties_change_nothing),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
