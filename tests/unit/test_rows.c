// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/rows_world.h"

#include <stdlib.h>

/* Rules named M and S: docs/archive.md. */
struct rule {
    const char *name;
    const char *attrs;
    const char *inside;
    bool store;
    bool counts;
};

#define BODY "<body>hello</body>"
#define STORE "<store xmlns='urn:xmpp:hints'/>"
#define NO_STORE "<no-store xmlns='urn:xmpp:hints'/>"
#define NOT_LONG "<no-permanent-store xmlns='urn:xmpp:hints'/>"
#define RETRACT "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>"
#define MODERATED                                                                             \
    "<retract xmlns='urn:xmpp:message-retract:1' id='1'>"                                     \
    "<moderated xmlns='urn:xmpp:message-moderate:1' by='x@y/z'/></retract>"
#define REACTIONS "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>"
#define RECEIPT "<received xmlns='urn:xmpp:receipts' id='1'/>"
#define OMEMO "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>"

static void what_is_archived_and_what_counts(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {"M50", " type='chat'", BODY, true, true},
        {"M50", "", BODY, true, true},
        {"M50", " type='normal'", BODY, true, true},
        {"M50", " type='strange'", BODY, true, true},
        {"M50", " type='headline'", BODY, false, false},
        {"M50", " type='headline'", BODY STORE, true, false},
        {"M50", " type='error'", BODY, false, false},
        {"M50", " type='groupchat'", BODY STORE, false, false},
        {"M50", " type='chat'", "<body/>", true, false},
        {"M50", " type='chat'", "<subject>only</subject>", false, false},
        {"S2", " type='error'", BODY STORE, false, false},
        {"S2", " type='chat'", BODY NO_STORE, false, false},
        {"S2", " type='chat'", BODY NO_STORE STORE, false, false},
        {"S2", " type='chat'", BODY NOT_LONG, false, true},
        {"S2", " type='chat'", BODY NOT_LONG STORE, false, true},
        {"S2", " type='chat'", BODY NOT_LONG NO_STORE, false, false},
        {"S2", " type='headline'", BODY NOT_LONG, false, false},
        {"S2", " type='error'", BODY NOT_LONG, false, false},
        {"S2", " type='chat'", BODY "<no-copy xmlns='urn:xmpp:hints'/>", true, true},
        {"S2", " type='chat'", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>" STORE,
         true, false},
        {"S3", " type='chat'", RETRACT, true, false},
        {"S3", " type='chat'", BODY RETRACT NO_STORE, true, false},
        {"S3", " type='chat'", BODY RETRACT NOT_LONG, true, false},
        {"S3", " type='chat'",
         "<apply-to xmlns='urn:xmpp:fasten:0' id='1'>"
         "<retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
         true, false},
        {"S4", " type='groupchat'", MODERATED, false, false},
        {"S5", " type='chat'", BODY "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>",
         true, false},
        {"S6", " type='chat'", REACTIONS STORE, true, false},
        {"S6", " type='chat'", REACTIONS, false, false},
        {"S6", " type='chat'", BODY REACTIONS, true, false},
        {"S7", " type='chat'", "<active xmlns='http://jabber.org/protocol/chatstates'/>",
         false, false},
        {"S7", " type='chat'", RECEIPT, false, false},
        {"S7", " type='chat'", RECEIPT STORE, true, false},
        {"S7", " type='chat'", BODY RECEIPT, true, true},
        {"S7", " type='chat'", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", false,
         false},
        {"S8", " type='chat'", OMEMO "<payload>x</payload></encrypted>" STORE, true, true},
        {"S8", " type='chat'", OMEMO "<payload>x</payload></encrypted>", true, true},
        {"S8", " type='chat'", OMEMO "<payload>x</payload></encrypted>" BODY NO_STORE, false,
         false},
        {"S8", " type='chat'", OMEMO "</encrypted>" STORE, true, false},
        {"S8", " type='chat'", OMEMO "</encrypted>", false, false},
        {"S8", " type='chat'", "<encrypted xmlns='urn:xmpp:omemo:2'><payload/></encrypted>",
         true, true},
        {"S8", " type='chat'", "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", true, true},
        {"S8", " type='chat'", "<x xmlns='jabber:x:encrypted'>x</x>", true, true},
        {"what a sender can write takes nothing away", " type='chat'",
         BODY "<result xmlns='urn:xmpp:mam:2'/>", true, true},
        {"nor does a delay", " type='chat'", BODY "<delay xmlns='urn:xmpp:delay' stamp='x'/>",
         true, true},
        {"nor a carbon", " type='chat'", BODY "<received xmlns='urn:xmpp:carbons:2'/>", true,
         true},
        {"nor an event", " type='chat'",
         BODY "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", true, true},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct stanza *s = parse(rules[i].inside, rules[i].attrs);
        struct content c;
        rows_classify(s, &c);
        if (c.store != rules[i].store || c.counts != rules[i].counts)
            fail_msg("%s: %s %s: store %d counts %d", rules[i].name, rules[i].attrs,
                     rules[i].inside, c.store, c.counts);
        assert_true(c.counts == !c.uncounted); /* it always says why not */
        stanza_free(&s);
    }
}

static void a_message_between_two_of_us_is_a_row_for_each(void **state)
{
    (void)state;
    struct stanza *s = parse(BODY, " type='chat' id='a1' from='li@chat.example/phone'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    assert_int_equal(rows_from_event(rows, &ev, w), 2);
    assert_string_equal(w[0].owner_jid, "li@chat.example");
    assert_string_equal(w[0].peer_jid, "mei@chat.example");
    assert_int_equal(w[0].flags, ROW_OUTGOING);
    assert_true(w[0].reads);
    assert_true(w[0].own);
    assert_string_equal(w[1].owner_jid, "mei@chat.example");
    assert_int_equal(w[1].flags, ROW_COUNTED);
    assert_false(w[1].reads);
    assert_false(w[1].own);
    assert_true(w[0].content == w[1].content);
    assert_string_equal(w[1].body, "hello");
    assert_int_equal(w[1].low, ident_id_from_us(NOW - 3600000000));
    static const char want[] = "<message xmlns=\"jabber:client\" type=\"chat\" id=\"a1\" "
                               "from=\"li@chat.example/phone\"><body>hello</body></message>";
    assert_int_equal(w[1].stanza_len, sizeof want - 1);
    assert_memory_equal(w[1].stanza, want, sizeof want - 1);
    ev.to_local = false;
    assert_int_equal(rows_from_event(rows, &ev, w), 1);
    ev.from_local = false;
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    ev.to_local = true;
    ev.to = "chat.example"; /* the server itself owns nothing */
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    stanza_free(&s);
}

static void
what_may_not_be_kept_for_long_is_a_row_without_content_where_it_comes_in(void **state)
{
    (void)state;
    struct stanza *s = parse(BODY NOT_LONG, " type='chat' id='a1'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    assert_int_equal(rows_from_event(rows, &ev, w), 1);
    assert_string_equal(w[0].owner_jid, "mei@chat.example");
    assert_int_equal(w[0].flags, ROW_COUNTED | ROW_HIDDEN | ROW_UNKEPT);
    assert_null(w[0].body);
    assert_int_equal(w[0].stanza_len, 0);
    ev.to_local = false;
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    stanza_free(&s);
}

static void a_note_to_self_is_one_row_that_does_not_count(void **state)
{
    (void)state;
    struct stanza *s = parse(BODY, " type='chat' id='a1'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    ev.to = ev.from;
    assert_int_equal(rows_from_event(rows, &ev, w), 1);
    assert_int_equal(w[0].flags, ROW_OUTGOING);
    assert_false(w[0].reads);
    stanza_free(&s);
}

static void content_of(const char *inside, const char *attrs, struct write *out)
{
    struct stanza *s = parse(inside, attrs);
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    assert_int_equal(rows_from_event(rows, &ev, w), 2);
    *out = w[1];
    stanza_free(&s);
}

static void identity_ignores_what_servers_add_and_nothing_else(void **state)
{
    (void)state;
    struct write plain, other;
    content_of(BODY, " type='chat' id='a1'", &plain);
    content_of("<archived xmlns='urn:xmpp:mam:tmp' by='x' id='1'/>" BODY
               "<stanza-id xmlns='urn:xmpp:sid:0' by='x' id='1'/>"
               "<delay xmlns='urn:xmpp:delay' stamp='x'/><x xmlns='jabber:x:delay'/>",
               " type='chat' id='a1' xml:lang='en'", &other);
    assert_true(plain.content == other.content && plain.ref == other.ref);
    content_of("<body>hello </body>", " type='chat' id='a1'", &other);
    assert_true(plain.content != other.content && plain.ref == other.ref);
    content_of(BODY "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", " type='chat' id='a1'",
               &other);
    assert_true(plain.content != other.content);
    content_of(BODY, " id='a1'", &other);
    assert_true(plain.content != other.content);
    content_of(BODY, " type='chat' id='a2'", &other);
    assert_true(plain.content == other.content && plain.ref != other.ref);
}

static void without_an_id_the_content_stands_for_it(void **state)
{
    (void)state;
    struct write a, b;
    content_of(BODY, " type='chat'", &a);
    content_of(BODY, " type='chat'", &b);
    assert_true(a.ref == b.ref);
    assert_int_equal(a.low, ident_id_from_us(NOW - 3000000));
    content_of("<body>other</body>", " type='chat'", &b);
    assert_true(a.ref != b.ref);
    content_of(BODY, " type='chat' id=''", &b);
    assert_true(a.ref == b.ref);
}

static void a_delayed_copy_looks_back_to_its_stamp(void **state)
{
    (void)state;
    struct stanza *s = parse(BODY, " type='chat' id='a1'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    int64_t day = 86400000000;
    ev.delayed_us = NOW - 2 * day;
    assert_int_equal(rows_from_event(rows, &ev, w), 2);
    assert_int_equal(w[1].low, ident_id_from_us(NOW - 2 * day - 600000000));
    assert_int_equal(w[1].high, INT64_MAX);
    assert_true(w[1].flags & ROW_LATE);
    assert_false(w[0].reads);
    ev.delayed_us = NOW - 60 * day;
    rows_from_event(rows, &ev, w);
    assert_int_equal(w[1].low, ident_id_from_us(NOW - 30 * day));
    ev.delayed_us = NOW + day; /* a clock that is ahead of ours */
    rows_from_event(rows, &ev, w);
    assert_int_equal(w[1].low, ident_id_from_us(NOW - 3600000000));
    stanza_free(&s);
    s = parse(BODY, " type='chat'");
    ev = event_of(s);
    ev.delayed_us = NOW - day;
    rows_from_event(rows, &ev, w);
    assert_int_equal(w[1].low, ident_id_from_us(NOW - day - 3000000));
    assert_int_equal(w[1].high, ident_id_from_us(NOW - day + 3000000));
    stanza_free(&s);
}

static void a_forged_stanza_id_of_the_owner_is_gone_and_others_stay(void **state)
{
    (void)state;
    struct stanza *s =
        parse("<stanza-id xmlns='urn:xmpp:sid:0' by='MEI@chat.example/x' id='f1'/>" BODY
              "<stanza-id xmlns='urn:xmpp:sid:0' by='room.example' id='o1'/>"
              "<stanza-id xmlns='urn:xmpp:sid:0' by='li@chat.example' id='f2'/>",
              " type='chat' id='a1'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    assert_int_equal(rows_from_event(rows, &ev, w), 2);
    for (int i = 0; i < 2; i++) {
        char text[2048];
        snprintf(text, sizeof text, "%.*s", (int)w[i].stanza_len, (const char *)w[i].stanza);
        assert_non_null(strstr(text, "o1"));
        assert_true((strstr(text, "f1") != NULL) == (i == 0));
        assert_true((strstr(text, "f2") != NULL) == (i == 1));
        assert_non_null(strstr(text, "<body>hello</body>"));
    }
    stanza_free(&s);
}

static void a_retraction_is_kept_and_means_the_same_senders_row(void **state)
{
    (void)state;
    struct write original;
    content_of(BODY, " type='chat' id='a1'", &original);
    struct stanza *s =
        parse("<retract xmlns='urn:xmpp:message-retract:1' id='a1'/>", " type='chat' id='a2'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    assert_int_equal(rows_from_event(rows, &ev, w), 4);
    assert_int_equal(w[0].kind, WRITE_ROW);
    assert_int_equal(w[1].kind, WRITE_RETRACT);
    assert_int_equal(w[3].kind, WRITE_RETRACT);
    assert_true(w[3].ref == original.ref);
    assert_memory_equal(w[3].owner, original.owner, OWNER_BYTES);
    /* The other side cannot take it back. */
    ev.from = "mei@chat.example";
    ev.to = "li@chat.example";
    assert_int_equal(rows_from_event(rows, &ev, w), 4);
    assert_true(w[1].ref != original.ref);
    stanza_free(&s);
}

static void markers_and_bounces_mean_incoming_rows(void **state)
{
    (void)state;
    struct write original;
    content_of(BODY, " type='chat' id='a1'", &original);
    struct stanza *s = parse("", "");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    ev.kind = EVENT_MARKER;
    ev.ref = "a1";
    ev.from = "mei@chat.example";
    ev.to = "li@chat.example";
    assert_int_equal(rows_from_event(rows, &ev, w), 2);
    assert_int_equal(w[0].kind, WRITE_MARK);
    assert_true(w[0].ref == original.ref && w[0].peer == original.peer);
    assert_int_equal(w[1].kind, WRITE_PEER_MARK);
    ev.kind = EVENT_BOUNCE;
    assert_int_equal(rows_from_event(rows, &ev, w), 1);
    assert_int_equal(w[0].kind, WRITE_BOUNCE);
    assert_true(w[0].ref == original.ref);
    assert_memory_equal(w[0].owner, original.owner, OWNER_BYTES);
    ev.ref = NULL;
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    stanza_free(&s);
}

static void what_was_displayed_means_a_row_of_the_owners_archive(void **state)
{
    (void)state;
    struct stanza *s = parse("", "");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    uint8_t owner[OWNER_BYTES], other[OWNER_BYTES];
    char id[ARCHIVE_ID_BYTES];
    ident_owner(ident, "mei@chat.example", owner);
    ident_owner(ident, "li@chat.example", other);
    ident_archive_id(ident, owner, 4711, id);
    ev.kind = EVENT_DISPLAYED;
    ev.from = "mei@chat.example";
    ev.to = "li@chat.example";
    ev.from_local = true;
    ev.ref = id;
    assert_int_equal(rows_from_event(rows, &ev, w), 1);
    assert_int_equal(w[0].kind, WRITE_READ_TO);
    assert_int_equal(w[0].low, 4711);
    assert_memory_equal(w[0].owner, owner, OWNER_BYTES);
    assert_true(w[0].peer == ident_peer(ident, owner, "li@chat.example"));
    ev.from_local = false;
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    ev.from_local = true;
    ident_archive_id(ident, other, 4711, id); /* of somebody else's */
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    ev.ref = "1577836800000000"; /* of the server's own archive */
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    ev.ref = "";
    assert_int_equal(rows_from_event(rows, &ev, w), 0);
    stanza_free(&s);
}

static void own_messages_read_only_when_the_setting_says_so(void **state)
{
    (void)state;
    struct stanza *s = parse(BODY, " type='chat' id='a1'");
    struct event ev = event_of(s);
    struct write w[WRITES_MAX];
    opts.own_message_reads = false;
    rows_from_event(rows, &ev, w);
    assert_false(w[0].reads);
    opts.own_message_reads = true;
    stanza_free(&s);
}

#define NOTICE(inside)                                                                        \
    "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='orders'>" inside     \
    "</items></event>"

/* What is kept and counted of an event: from, from_resource, its item. */
static void notices_of_configured_services(void **state)
{
    (void)state;
    static struct notice_opts of[] = {{.from = "pubsub.chat.example", .node = "orders"}};
    static const struct {
        const char *from, *resource, *type, *inside;
        bool listed, count, push;
        int flags; /* -1: no row */
    } cases[] = {
        {"pubsub.chat.example", "", "headline", NOTICE("<item/>"), true, true, true,
         ROW_COUNTED},
        {"pubsub.chat.example", "", "normal", NOTICE("<item/>"), true, true, true,
         ROW_COUNTED},
        {"pubsub.chat.example", "", "headline", NOTICE("<item/>"), true, true, false,
         ROW_COUNTED | ROW_SILENT},
        {"pubsub.chat.example", "", "headline", NOTICE("<item/>"), true, false, false, 0},
        {"pubsub.chat.example", "", "headline",
         NOTICE("<item publisher='mei@chat.example/r'/>"), true, true, true, 0},
        {"pubsub.chat.example", "", "headline",
         NOTICE("<item publisher='li@chat.example/r'/>"), true, true, true, ROW_COUNTED},
        {"pubsub.chat.example", "", "headline", NOTICE("<item/>") NO_STORE, true, true, true,
         -1},
        {"pubsub.chat.example", "", "headline", NOTICE("<retract/>"), true, true, true, -1},
        {"pubsub.chat.example", "", "headline", NOTICE("<item/>"), false, true, true, -1},
        {"pubsub.chat.example", "", "normal", NOTICE("<item/>") NOT_LONG, true, true, true,
         -1},
        /* Look-alikes are what such a message is from anybody. */
        {"li@chat.example", "phone", "headline", NOTICE("<item/>"), true, true, true, -1},
        {"pubsub.chat.example", "x", "headline", NOTICE("<item/>"), true, true, true, -1},
        {"other.example", "", "headline", NOTICE("<item/>"), true, true, true, -1},
        {"pubsub.chat.example", "x", "chat",
         BODY NOTICE("<item publisher='mei@chat.example'/>"), true, true, false, ROW_COUNTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char attrs[64];
        struct write out[WRITES_MAX];
        of[0].count = cases[i].count;
        of[0].push = cases[i].push;
        opts.notices = (struct notice_list){of, cases[i].listed};
        snprintf(attrs, sizeof attrs, " type='%s' id='n'", cases[i].type);
        struct stanza *s = parse(cases[i].inside, attrs);
        struct event ev = event_of(s);
        ev.from = cases[i].from;
        ev.from_resource = cases[i].resource;
        ev.from_local = false;
        size_t n = rows_from_event(rows, &ev, out);
        if (n != (cases[i].flags >= 0) || (n && (int)out[0].flags != cases[i].flags))
            fail_msg("case %zu: %zu rows, flags %u", i, n, n ? out[0].flags : 0);
        if (n) {
            assert_string_equal(out[0].owner_jid, "mei@chat.example");
            assert_string_equal(out[0].peer_jid, cases[i].from);
            assert_true(out[0].stanza_len > 0);
        }
        stanza_free(&s);
    }
    opts.notices.n = 0;
}

static void only_what_comes_in_is_marked_for_its_nickname(void **state)
{
    (void)state;
    static const char *const inside[] = {
        "<body>a</body><nick xmlns='http://jabber.org/protocol/nick'>Li</nick>",
        "<body>a</body><nick xmlns='urn:example'>Li</nick>"};
    for (size_t i = 0; i < 2; i++) {
        struct write out[WRITES_MAX];
        struct stanza *s = parse(inside[i], " id='a'");
        struct event ev = event_of(s);
        assert_int_equal(rows_from_event(rows, &ev, out), 2);
        assert_false(out[0].nick);
        assert_int_equal(out[1].nick, i == 0);
        stanza_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_archived_and_what_counts),
        cmocka_unit_test(notices_of_configured_services),
        cmocka_unit_test(a_message_between_two_of_us_is_a_row_for_each),
        cmocka_unit_test(
            what_may_not_be_kept_for_long_is_a_row_without_content_where_it_comes_in),
        cmocka_unit_test(a_note_to_self_is_one_row_that_does_not_count),
        cmocka_unit_test(identity_ignores_what_servers_add_and_nothing_else),
        cmocka_unit_test(without_an_id_the_content_stands_for_it),
        cmocka_unit_test(a_delayed_copy_looks_back_to_its_stamp),
        cmocka_unit_test(a_forged_stanza_id_of_the_owner_is_gone_and_others_stay),
        cmocka_unit_test(a_retraction_is_kept_and_means_the_same_senders_row),
        cmocka_unit_test(markers_and_bounces_mean_incoming_rows),
        cmocka_unit_test(what_was_displayed_means_a_row_of_the_owners_archive),
        cmocka_unit_test(own_messages_read_only_when_the_setting_says_so),
        cmocka_unit_test(only_what_comes_in_is_marked_for_its_nickname),
    };
    return cmocka_run_group_tests(tests, make, destroy);
}
