// SPDX-License-Identifier: Apache-2.0
/* The list of conversations (XEP-0430) out of the real database. */
#include "archive/inbox.h"

#include "archive_world.h"

#define OWNER "mei@chat.example"
#define OTHER "li@chat.example"
#define START_S INT64_C(1795175400)
#define MANY 1000
#define INBOX(attributes, inside)                                                             \
    "<inbox xmlns='urn:xmpp:inbox:1' " attributes ">" inside "</inbox>"
#define RSM(inside) "<set xmlns='http://jabber.org/protocol/rsm'>" inside "</set>"
#define COUNTED 1
#define FAILED 32

static int64_t id_of(int n)
{
    return ident_id_from_us((START_S + n) * 1000000);
}

static void put(const char *owner, const char *peer, int n, int flags)
{
    char stanza[256];
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s\" to=\"%s\" type=\"chat\">"
             "<body>%d</body></message>",
             peer, owner, n);
    archive_put(owner, peer, id_of(n), flags, stanza);
}

/* The archive id of message n, in its owner's own words. */
static const char *archive_id(const char *owner, int n)
{
    static char text[4][ARCHIVE_ID_BYTES];
    static int next;
    uint8_t raw[OWNER_BYTES];
    char *out = text[next++ % 4];
    ident_owner(ingest_ident(ing), owner, raw);
    ident_archive_id(ingest_ident(ing), raw, id_of(n), out);
    return out;
}

static void ask_inbox(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_ask(lookups, &settings, r, answer);
}

static const char *ask(const char *xml)
{
    return archive_ask(ask_inbox, OWNER, false, xml);
}

/* Who is listed, in order. */
static const char *peers(void)
{
    static char out[TOLD_BYTES];
    out[0] = '\0';
    for (const char *at = told.result; (at = strstr(at, "jid=\"")) != NULL; at++) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%s%.*s", n ? " " : "", (int)strcspn(at + 5, "@"),
                 at + 5);
    }
    return out;
}

static void expect_fin(const char *total, const char *unread, const char *all_unread,
                       const char *count)
{
    char want[256];
    snprintf(want, sizeof want,
             "<fin xmlns=\"urn:xmpp:inbox:1\" total=\"%s\" unread=\"%s\" all-unread=\"%s\">",
             total, unread, all_unread);
    if (strncmp(told.answer, want, strlen(want)) != 0)
        fail_msg("%s instead of %s", told.answer, want);
    snprintf(want, sizeof want, "<count>%s</count>", count);
    assert_non_null(strstr(told.answer, want));
}

static int begin(void **state)
{
    if (db_open(state))
        return -1;
    settings = (struct archive_opts){.page_max = 250, .page_default = 50};
    archive_begin(START_S);
    put(OWNER, "wang@chat.example", 1, 0);
    put(OWNER, "wang@chat.example", 2, COUNTED);
    put(OWNER, "wang@chat.example", 3, COUNTED);
    put(OWNER, "zhao@chat.example", 4, 0);
    put(OWNER, "sun@chat.example", 5, COUNTED);
    put(OWNER, "qian@chat.example", 6, 0);
    put(OWNER, "qian@chat.example", 7, FAILED);
    put(OWNER, "wu@chat.example", 8, FAILED);
    put(OTHER, "wang@chat.example", 9, COUNTED);
    return 0;
}

static int finish(void **state)
{
    archive_end();
    return db_close(state);
}

/* --- what is listed ---------------------------------------------------------------------- */

static void newest_first_with_unread_and_last_message(void **state)
{
    (void)state;
    char want[1024];
    ask(INBOX("", ""));
    assert_string_equal(peers(), "qian sun zhao wang");
    expect_fin("5", "2", "3", "5");
    snprintf(
        want, sizeof want,
        "<entry xmlns=\"urn:xmpp:inbox:1\" jid=\"wang@chat.example\" unread=\"2\" id=\"%s\"/>"
        "<result xmlns=\"urn:xmpp:mam:2\" id=\"%s\" queryid=\"q1\">"
        "<forwarded xmlns=\"urn:xmpp:forward:0\">"
        "<delay xmlns=\"urn:xmpp:delay\" stamp=\"2026-11-20T11:50:03.000000Z\"/>"
        "<message xmlns=\"jabber:client\" from=\"wang@chat.example\" "
        "to=\"mei@chat.example\" type=\"chat\"><body>3</body></message>"
        "</forwarded></result>",
        archive_id(OWNER, 3), archive_id(OWNER, 3));
    assert_string_equal(strstr(told.result, "<entry xmlns=\"urn:xmpp:inbox:1\" jid=\"wang"),
                        want);
}

/* What the recipient's server refused is not shown, so the message before it is the last. */
static void a_failed_message_is_nobodys_last(void **state)
{
    (void)state;
    char want[128];
    ask(INBOX("messages='false'", ""));
    snprintf(want, sizeof want, "jid=\"qian@chat.example\" unread=\"0\" id=\"%s\"",
             archive_id(OWNER, 6));
    assert_non_null(strstr(told.result, want));
    assert_null(strstr(told.result, "wu@chat.example"));
}

static void only_what_is_unread_when_so_asked(void **state)
{
    (void)state;
    ask(INBOX("unread-only='true'", ""));
    assert_string_equal(peers(), "sun wang");
    expect_fin("5", "2", "3", "2");
    ask(INBOX("unread-only='0'", ""));
    assert_string_equal(peers(), "qian sun zhao wang");
}

static void without_messages_when_so_asked(void **state)
{
    (void)state;
    ask(INBOX("messages='false'", ""));
    assert_string_equal(peers(), "qian sun zhao wang");
    assert_null(strstr(told.result, "<result"));
}

static void somebody_without_messages_has_an_empty_inbox(void **state)
{
    (void)state;
    archive_ask(ask_inbox, "nobody@chat.example", false, INBOX("", ""));
    assert_int_equal(told.results, 0);
    assert_string_equal(told.answer,
                        "<fin xmlns=\"urn:xmpp:inbox:1\" total=\"0\" unread=\"0\" "
                        "all-unread=\"0\"><set xmlns=\"http://jabber.org/protocol/rsm\">"
                        "<count>0</count></set></fin>");
}

/* --- pages ------------------------------------------------------------------------------- */

static const char *ask_beside(const char *where, int n, const char *max)
{
    char xml[512];
    snprintf(xml, sizeof xml, INBOX("messages='0'", RSM("<max>%s</max><%s>%s</%s>")), max,
             where, n ? archive_id(OWNER, n) : "", where);
    return ask(xml);
}

static void pages_in_both_directions(void **state)
{
    (void)state;
    char want[256];
    ask(INBOX("", RSM("<max>2</max>")));
    assert_string_equal(peers(), "qian sun");
    snprintf(want, sizeof want, "<first>%s</first><last>%s</last><count>5</count>",
             archive_id(OWNER, 7), archive_id(OWNER, 5));
    assert_non_null(strstr(told.answer, want));
    ask_beside("after", 5, "2");
    assert_string_equal(peers(), "zhao wang");
    ask_beside("after", 3, "2");
    assert_string_equal(peers(), "");
    ask_beside("before", 3, "2");
    assert_string_equal(peers(), "sun zhao");
    ask_beside("before", 5, "2");
    assert_string_equal(peers(), "qian");
    ask_beside("before", 0, "3"); /* the last page */
    assert_string_equal(peers(), "sun zhao wang");
    ask(INBOX("", RSM("<max>0</max>")));
    assert_int_equal(told.results, 0);
    expect_fin("5", "2", "3", "5");
}

/* A list of thousands is walked without missing one, and none comes twice. */
static void a_long_list_is_walked_to_its_end(void **state)
{
    (void)state;
    const char *long_owner = "long@chat.example";
    char xml[256] = INBOX("messages='false'", RSM("<max>100</max>"));
    for (int n = 0; n < MANY; n++) {
        char peer[32];
        snprintf(peer, sizeof peer, "p%d@chat.example", n);
        put(long_owner, peer, n, n % 10 == 0 ? COUNTED : 0);
    }
    for (int page = 0; page < MANY / 100; page++) {
        char want[32];
        archive_ask(ask_inbox, long_owner, false, xml);
        assert_int_equal(told.results, 100);
        snprintf(want, sizeof want, "p%d ", MANY - 1 - 100 * page);
        assert_memory_equal(peers(), want, strlen(want));
        expect_fin("1000", "100", "100", "1000");
        snprintf(xml, sizeof xml,
                 INBOX("messages='false'", RSM("<max>100</max><after>%s</after>")),
                 archive_id(long_owner, MANY - 100 * (page + 1)));
    }
    archive_ask(ask_inbox, long_owner, false, xml);
    assert_int_equal(told.results, 0);
}

/* --- what is refused --------------------------------------------------------------------- */

static void bad_questions_are_refused(void **state)
{
    (void)state;
    char xml[256];
    assert_string_equal(ask(INBOX("unread-only='perhaps'", "")), "modify/bad-request");
    assert_string_equal(ask(INBOX("messages=''", "")), "modify/bad-request");
    assert_string_equal(ask(INBOX("", RSM("<index>3</index>"))),
                        "cancel/feature-not-implemented");
    assert_string_equal(ask("<outbox xmlns='urn:xmpp:inbox:1'/>"),
                        "cancel/feature-not-implemented");
    assert_string_equal(archive_ask(ask_inbox, OWNER, true, INBOX("", "")),
                        "cancel/feature-not-implemented");
    snprintf(xml, sizeof xml, INBOX("", RSM("<after>%s</after>")), archive_id(OTHER, 9));
    assert_string_equal(ask(xml), "cancel/item-not-found");
    assert_string_equal(ask(INBOX("", RSM("<before>x</before>"))), "cancel/item-not-found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_first_with_unread_and_last_message),
        cmocka_unit_test(a_failed_message_is_nobodys_last),
        cmocka_unit_test(only_what_is_unread_when_so_asked),
        cmocka_unit_test(without_messages_when_so_asked),
        cmocka_unit_test(somebody_without_messages_has_an_empty_inbox),
        cmocka_unit_test(pages_in_both_directions),
        cmocka_unit_test(a_long_list_is_walked_to_its_end),
        cmocka_unit_test(bad_questions_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
