// SPDX-License-Identifier: Apache-2.0
/* Rooms among the conversations of their members, in both dialects. */
#include "archive/inbox.h"
#include "archive/inbox_esl.h"

#include "archive_world.h"

#define OWNER "mei@chat.example"
#define DEN "den@rooms.example"
#define HALL "hall@rooms.example"
#define START_S INT64_C(1795175400)
#define SAID (16 + 512)
#define REFUSED (16 + 512 + 32 + 1024)
#define COUNTED 1
#define INBOX(attributes, inside)                                                             \
    "<inbox xmlns='urn:xmpp:inbox:1' " attributes ">" inside "</inbox>"
#define RSM(inside) "<set xmlns='http://jabber.org/protocol/rsm'>" inside "</set>"
#define ESL "erlang-solutions.com:xmpp:inbox:0"
#define ONE(jid, inside)                                                                      \
    "<query xmlns='" ESL "#conversation' jid='" jid "' complete='1'>" inside "</query>"
#define CHANGE(jid, inside)                                                                   \
    "<query xmlns='" ESL "#conversation' jid='" jid "'>" inside "</query>"
#define FORM(field, value)                                                                    \
    "<inbox xmlns='" ESL "'><x xmlns='jabber:x:data' type='submit'>"                          \
    "<field var='" field "'><value>" value "</value></field></x></inbox>"

static int64_t id_of(int n)
{
    return ident_id_from_us((START_S + n) * 1000000);
}

static void put(const char *owner, const char *peer, int n, int flags)
{
    char stanza[512];
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s/secret\" to=\"%s\" type=\"%s\">"
             "<body>%d</body><stanza-id xmlns=\"urn:xmpp:sid:0\" by=\"%s\" id=\"s\"/>"
             "<delay xmlns=\"urn:xmpp:delay\" from=\"%s\" stamp=\"2026-11-20T11:50:00Z\"/>"
             "</message>",
             peer, owner, flags & 16 ? "groupchat" : "chat", n, peer, peer);
    archive_put(owner, peer, id_of(n), flags, stanza);
}

static void hex(const uint8_t *raw, char out[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

/* Has read the first n. */
static void join(const char *room, const char *member, int n)
{
    struct ident *ident = ingest_ident(ing);
    uint8_t of_room[OWNER_BYTES], of_member[OWNER_BYTES];
    char room_hex[33], member_hex[33], sql[512];
    ident_owner(ident, room, of_room);
    ident_owner(ident, member, of_member);
    hex(of_room, room_hex);
    hex(of_member, member_hex);
    snprintf(
        sql, sizeof sql,
        "SELECT xs.room_member_add('%s', '%s', %lld, '%s', '%s', %lld, 2, %lld, NULL, NULL)",
        room_hex, room, (long long)ident_peer(ident, of_room, member), member_hex, member,
        (long long)ident_peer(ident, of_member, room), (long long)id_of(n));
    db_do(sql);
}

static void ask_inbox(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_ask(lookups, &settings, r, answer);
}

static void ask_list(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_esl_ask(lookups, &settings, r, answer);
}

static void ask_one(const struct archive_request *r, const struct archive_answer *answer)
{
    inbox_esl_conversation_ask(lookups, ing, &settings, r, answer);
}

static const char *ask(const char *xml)
{
    return archive_ask(ask_inbox, OWNER, false, xml);
}

static const char *set(const char *xml)
{
    return archive_ask(ask_one, OWNER, true, xml);
}

/* Who is listed with what unread, in order. */
static const char *listed(void)
{
    static char out[1024];
    out[0] = '\0';
    for (const char *at = told.result; (at = strstr(at, " jid=\"")) != NULL; at++) {
        size_t n = strlen(out);
        const char *unread = strstr(at, "unread=\"") + 8;
        snprintf(out + n, sizeof out - n, "%s%.*s:%.*s", n ? " " : "",
                 (int)strcspn(at + 6, "@"), at + 6, (int)strcspn(unread, "\""), unread);
    }
    return out;
}

static void expect_totals(int total, int unread, int all_unread)
{
    char want[128];
    snprintf(want, sizeof want, "total=\"%d\" unread=\"%d\" all-unread=\"%d\"", total, unread,
             all_unread);
    if (!strstr(told.answer, want))
        fail_msg("%s instead of %s", told.answer, want);
}

/* den: 2 and 6 of another and 7 refused, read up to 2; hall: all read, its last one hers. */
static int begin(void **state)
{
    (void)state;
    char sql[128];
    settings = (struct archive_opts){.page_max = 250, .page_default = 50, .groupchat = true};
    archive_begin(START_S);
    put(OWNER, "wang@chat.example", 1, COUNTED);
    put(DEN, "li@chat.example", 2, SAID);
    put(HALL, "li@chat.example", 3, SAID);
    put(OWNER, "sun@chat.example", 4, 0);
    put(HALL, OWNER, 5, SAID);
    put(DEN, "li@chat.example", 6, SAID);
    put(DEN, "li@chat.example", 7, REFUSED);
    put("attic@rooms.example", "li@chat.example", 8, SAID); /* where she does not belong */
    join(DEN, OWNER, 2);
    join(HALL, OWNER, 3);
    join("empty@rooms.example", OWNER, 1);
    join(DEN, "li@chat.example", 1);
    /* As if the lanes had written that. */
    snprintf(sql, sizeof sql, "UPDATE xs.lane SET last_id = %lld", (long long)id_of(8));
    db_do(sql);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    archive_end();
    return 0;
}

/* --- the list ---------------------------------------------------------------------------- */

static void rooms_are_among_the_conversations(void **state)
{
    (void)state;
    ask(INBOX("", ""));
    assert_string_equal(listed(), "den:1 hall:0 sun:0 wang:1");
    expect_totals(4, 2, 2);
    ask(INBOX("unread-only='true'", ""));
    assert_string_equal(listed(), "den:1 wang:1");
    archive_ask(ask_inbox, "li@chat.example", false, INBOX("messages='false'", ""));
    assert_string_equal(listed(), "den:0");
    archive_ask(ask_inbox, "nobody@chat.example", false, INBOX("", ""));
    assert_string_equal(listed(), "");
}

/* A room may hide who is who; ours is the address that the archive has. */
static void who_said_it_is_not_told(void **state)
{
    (void)state;
    ask(INBOX("", RSM("<max>1</max>")));
    assert_non_null(strstr(told.result,
                           "<message xmlns=\"jabber:client\" from=\"" DEN "\" to=\"" OWNER
                           "\" type=\"groupchat\"><body>6</body></message>"));
    assert_null(strstr(told.result, "li@"));
    archive_ask(ask_list, OWNER, true, FORM("hidden_read", "true"));
    assert_non_null(strstr(told.result, "from=\"" DEN "\""));
    assert_null(strstr(told.result, "li@"));
    archive_ask(ask_one, OWNER, false, ONE(DEN, ""));
    assert_non_null(strstr(told.answer, "from=\"" DEN "\""));
    assert_non_null(strstr(told.answer, "<body>6</body>"));
    assert_null(strstr(told.answer, "li@"));
}

static void without_rooms_there_are_none(void **state)
{
    (void)state;
    settings.groupchat = false;
    ask(INBOX("", ""));
    assert_string_equal(listed(), "sun:0 wang:1");
    expect_totals(2, 1, 1);
    assert_string_equal(archive_ask(ask_one, OWNER, false, ONE(DEN, "")),
                        "cancel/item-not-found");
}

static void rooms_and_others_page_in_one_order(void **state)
{
    (void)state;
    char xml[512], last[ARCHIVE_ID_BYTES] = "", all[256] = "";
    for (int i = 0; i < 5; i++) {
        snprintf(xml, sizeof xml, INBOX("messages='0'", RSM("<max>1</max>%s%s%s")),
                 i ? "<after>" : "", last, i ? "</after>" : "");
        ask(xml);
        assert_int_equal(told.results, i < 4);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s ", listed());
        const char *at = strstr(told.answer, "<last>");
        if (at)
            snprintf(last, sizeof last, "%.*s", (int)strcspn(at + 6, "<"), at + 6);
    }
    assert_string_equal(all, "den:1 hall:0 sun:0 wang:1  ");
    snprintf(xml, sizeof xml, INBOX("", RSM("<max>2</max><before>%s</before>")), last);
    ask(xml);
    assert_string_equal(listed(), "hall:0 sun:0");
    ask(INBOX("", RSM("<max>3</max><before/>")));
    assert_string_equal(listed(), "hall:0 sun:0 wang:1");
}

/* In two lanes, in the same microsecond. */
static void an_anchor_does_not_part_two_of_the_same_id(void **state)
{
    (void)state;
    put(OWNER, "zhao@chat.example", 5, 0); /* as what was said last in the hall */
    ask(INBOX("", RSM("<max>2</max>")));
    assert_int_equal(told.results, 3);
    assert_non_null(strstr(told.result, HALL));
    assert_non_null(strstr(told.result, "zhao@"));
}

static void what_is_said_in_private_in_a_room_is_of_the_same_conversation(void **state)
{
    (void)state;
    put(OWNER, DEN, 5, COUNTED);
    ask(INBOX("", ""));
    assert_string_equal(listed(), "den:2 hall:0 sun:0 wang:1");
    assert_non_null(strstr(told.result, "<body>6</body>"));
    expect_totals(4, 2, 3);
    put(OWNER, DEN, 9, COUNTED);
    ask(INBOX("", ""));
    assert_string_equal(listed(), "den:3 hall:0 sun:0 wang:1");
    assert_non_null(
        strstr(told.result, "from=\"" DEN "/secret\"")); /* an occupant's address */
    archive_ask(ask_one, OWNER, false, ONE(DEN, ""));
    assert_non_null(strstr(told.answer, "<body>9</body>"));
}

static void what_a_room_has_lost_is_seen_as_a_tombstone(void **state)
{
    (void)state;
    char sql[256];
    snprintf(sql, sizeof sql,
             "UPDATE xs.message SET flags = 20, body = NULL, stanza ="
             " '<message xmlns=\"jabber:client\" from=\"li@chat.example/x\"><retracted/>"
             "</message>' WHERE id = %lld",
             (long long)id_of(6));
    db_do(sql);
    ask(INBOX("", ""));
    assert_string_equal(listed(), "den:0 hall:0 sun:0 wang:1");
    assert_non_null(strstr(told.result, "from=\"" DEN "\" to=\"" OWNER "\"><retracted/>"));
    db_do("UPDATE xs.message SET stanza = '<broken' WHERE flags = 20");
    ask(INBOX("", "")); /* listed all the same */
    assert_string_equal(listed(), "den:0 hall:0 sun:0 wang:1");
    assert_null(strstr(told.result, "broken"));
    archive_ask(ask_list, OWNER, true, FORM("box", "all"));
    assert_int_equal(told.results, 4);
    assert_null(strstr(told.result, "broken"));
}

/* --- properties -------------------------------------------------------------------------- */

static bool is_read(void *ctx)
{
    (void)ctx;
    return db_int(
               "SELECT coalesce(sum(o_unread), 0) FROM xs.account a, xs.rooms_unread(a.owner)"
               " WHERE a.jid = '" OWNER "'") == 0;
}

static void reset_reads_a_room(void **state)
{
    (void)state;
    assert_string_equal(set("<reset xmlns='" ESL "' jid='" DEN "'/>"), "");
    db_loop(loop, is_read, NULL);
    ask(INBOX("", ""));
    assert_string_equal(listed(), "den:0 hall:0 sun:0 wang:1");
    expect_totals(4, 1, 1);
}

static void a_room_is_read_by_property(void **state)
{
    (void)state;
    assert_non_null(
        strstr(archive_ask(ask_one, OWNER, false, ONE(DEN, "")), "<read>false</read>"));
    assert_non_null(strstr(set(CHANGE(DEN, "<read>true</read>")), "<read>true</read>"));
    db_loop(loop, is_read, NULL);
    assert_non_null(
        strstr(archive_ask(ask_one, OWNER, false, ONE(DEN, "")), "<read>true</read>"));
}

static void a_muted_room_says_until_when(void **state)
{
    (void)state;
    assert_non_null(strstr(set(CHANGE(DEN, "<mute>86400</mute>")), "<mute>20"));
    archive_ask(ask_list, OWNER, true, FORM("hidden_read", "true"));
    assert_non_null(strstr(strstr(told.result, DEN), "<mute>20"));
    assert_non_null(strstr(set(CHANGE(DEN, "<mute>0</mute>")), "<mute>0</mute>"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.mute"), 0);
}

static void a_room_put_away_comes_back_with_what_is_said_next(void **state)
{
    (void)state;
    assert_non_null(strstr(set(CHANGE(DEN, "<box>archive</box>")), "<box>archive</box>"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_member WHERE archived_id <> 0"), 1);
    archive_ask(ask_list, OWNER, true, FORM("box", "inbox"));
    assert_int_equal(told.results, 3);
    archive_ask(ask_list, OWNER, true, FORM("archive", "true"));
    assert_int_equal(told.results, 1);
    assert_non_null(strstr(told.result, DEN));
    char sql[128];
    snprintf(sql, sizeof sql,
             "UPDATE xs.room_member SET archived_id = %lld"
             " WHERE archived_id <> 0",
             (long long)id_of(6));
    db_do(sql);
    put(DEN, "li@chat.example", 10, SAID);
    archive_ask(ask_list, OWNER, true, FORM("archive", "true"));
    assert_int_equal(told.results, 0);
    set(CHANGE(DEN, "<archive>true</archive>"));
    assert_non_null(strstr(set(CHANGE(DEN, "<archive>false</archive>")), "<box>inbox</box>"));
}

static void a_room_where_one_does_not_belong_is_not_found(void **state)
{
    (void)state;
    assert_string_equal(set(CHANGE("attic@rooms.example", "<box>archive</box>")),
                        "cancel/item-not-found");
    assert_string_equal(archive_ask(ask_one, OWNER, false, ONE("empty@rooms.example", "")),
                        "cancel/item-not-found");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rooms_are_among_the_conversations),
        TEST(who_said_it_is_not_told),
        TEST(without_rooms_there_are_none),
        TEST(rooms_and_others_page_in_one_order),
        TEST(an_anchor_does_not_part_two_of_the_same_id),
        TEST(what_is_said_in_private_in_a_room_is_of_the_same_conversation),
        TEST(what_a_room_has_lost_is_seen_as_a_tombstone),
        TEST(reset_reads_a_room),
        TEST(a_room_is_read_by_property),
        TEST(a_muted_room_says_until_when),
        TEST(a_room_put_away_comes_back_with_what_is_said_next),
        TEST(a_room_where_one_does_not_belong_is_not_found),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
