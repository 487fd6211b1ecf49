// SPDX-License-Identifier: Apache-2.0
/* The list of conversations (XEP-0430) out of the real database. */
#include "archive/inbox.h"

#include "archive_world.h"
#include "memory_peak.h"

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

/* --- large messages ---------------------------------------------------------------------- */

#define LARGE 2000000
#define LARGE_N 24

/* Conversations p0 to p23 of an owner, the newest last, two and two of one moment: as only
 * rooms' are, which have their ids of other lanes. */
static void put_large(const char *owner, int first_pair)
{
    uint8_t raw[OWNER_BYTES];
    char uuid[33], sql[1024];
    ident_owner(ingest_ident(ing), owner, raw);
    for (int i = 0; i < 16; i++)
        snprintf(uuid + 2 * i, 3, "%02x", raw[i]);
    snprintf(
        sql, sizeof sql,
        "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id)"
        " SELECT '%s', n, 'p' || n || '@chat.example', 1, %lld + (n + %d) / 2"
        " FROM generate_series(0, %d) n;"
        "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
        " SELECT owner, last_id - 1000 + peer, peer, owner, 0, 0, convert_to('<message xmlns"
        "=\"jabber:client\"><body>' || repeat('x', %d) || '</body></message>', 'UTF8')"
        " FROM xs.conversation WHERE owner = '%s'",
        uuid, (long long)id_of(500), first_pair, LARGE_N - 1, LARGE, uuid);
    db_do(sql);
}

static char listed[TOLD_BYTES];

static bool list_peer(void *ctx, const void *xml, size_t len)
{
    (void)ctx;
    const char *jid = memmem(xml, len, "jid=\"", 5);
    assert_non_null(jid);
    size_t n = strlen(listed);
    snprintf(listed + n, sizeof listed - n, "%.*s ", (int)strcspn(jid + 5, "@"), jid + 5);
    told.results++;
    return true;
}

static void ask_page(const char *owner, const char *xml)
{
    struct err e;
    struct stanza *payload = xml_parse_element(xml, strlen(xml), &e);
    assert_non_null(payload);
    const struct archive_request request = {.payload = payload, .account = owner, .id = "q1"};
    const struct archive_answer answer = {
        .result = list_peer, .done = told_done, .error = told_error};
    told = (struct told){.open = true};
    inbox_ask(lookups, &settings, &request, &answer);
    db_loop(loop, told_is_over, NULL);
    stanza_free(&payload);
}

static void walk_large(const char *owner)
{
    char xml[256] = INBOX("", ""), want[16];
    listed[0] = '\0';
    for (int pages = 0; pages == 0 || told.results > 0; pages++) {
        assert_true(pages < LARGE_N);
        ask_page(owner, xml);
        const char *last = strstr(told.answer, "<last>");
        if (last)
            snprintf(xml, sizeof xml, INBOX("", RSM("<after>%.36s</after>")), last + 6);
    }
    for (int n = 0; n < LARGE_N; n++) {
        snprintf(want, sizeof want, "p%d ", n);
        const char *at = strstr(listed, want);
        if (!at || strstr(at + 1, want))
            fail_msg("%s is not listed once: %s", want, listed);
    }
}

/* A page ends before it is too much, and never between two of one moment. */
static void large_messages_cut_a_page_where_no_place_is_parted(void **state)
{
    (void)state;
    put_large("large@chat.example", 0);
    put_large("larger@chat.example", 1);
    settings.groupchat = true;
    walk_large("large@chat.example");
    walk_large("larger@chat.example");
    settings.groupchat = false;
    peak_begin();
    walk_large("large@chat.example");
    assert_true(peak_grown() < 2 * (16 << 20) + 4 * LARGE);
}

/* So does what no stanza holds, but for its text. */
static void a_message_that_no_stanza_holds_is_listed_without_its_text(void **state)
{
    (void)state;
    settings.message_bytes_max = 100;
    ask(INBOX("", RSM("<max>1</max>")));
    assert_string_equal(peers(), "qian");
    assert_null(strstr(told.result, "<body>6</body>"));
    assert_non_null(strstr(told.result, "<message xmlns=\"jabber:client\" from=\"qian"
                                        "@chat.example\" to=\"mei@chat.example\" type="
                                        "\"chat\"><body>(This message is too long "));
    settings.message_bytes_max = 0;
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
        cmocka_unit_test(large_messages_cut_a_page_where_no_place_is_parted),
        cmocka_unit_test(a_message_that_no_stanza_holds_is_listed_without_its_text),
        cmocka_unit_test(bad_questions_are_refused),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
