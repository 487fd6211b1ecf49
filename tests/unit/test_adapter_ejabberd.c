// SPDX-License-Identifier: Apache-2.0
#include "component/adapter_int.h"
#include "tests/unit/xmpp_world.h"

#include "base/datetime.h"

static int world_setup(void **state)
{
    return world_setup_on(state, SERVER_EJABBERD);
}

static void expect_events(struct world *w, const char *expected)
{
    assert_string_equal(buf_cstr(&w->events), expected);
    buf_reset(&w->events);
}

/* ---- what real servers send ---- */

static void every_line_of_the_recorded_copies_becomes_its_events(void **state)
{
    struct world *w = *state;
    world_feed_fixture(w, "ejabberd/02-service-log.xml");
    expect_events(w,
                  /* online: the copy sent and the copy received */
                  "message alice@e.test/r1* -> bob@e.test* id=m1\n"
                  "message alice@e.test/r1* -> bob@e.test* id=m1\n"
                  /* a receipt is a message like others here; the archive decides */
                  "message bob@e.test/r1* -> alice@e.test/r1* id=rc1\n"
                  "message bob@e.test/r1* -> alice@e.test/r1* id=rc1\n"
                  "marker bob@e.test/r1* -> alice@e.test* id=mk1 ref=m1\n"
                  "marker bob@e.test/r1* -> alice@e.test* id=mk1 ref=m1\n"
                  /* composing, headline */
                  "message bob@e.test/r1* -> alice@e.test*\n"
                  "message bob@e.test/r1* -> alice@e.test*\n"
                  "message alice@e.test/r1* -> bob@e.test* id=h1\n"
                  "message alice@e.test/r1* -> bob@e.test* id=h1\n"
                  /* to nobody, to herself */
                  "message alice@e.test/r1* -> nobody@e.test* id=ne1\n"
                  "bounce nobody@e.test* -> alice@e.test/r1* id=ne1 ref=ne1\n"
                  "message alice@e.test/r1* -> alice@e.test* id=self1\n"
                  "message alice@e.test/r1* -> alice@e.test* id=self1\n"
                  /* carbons are gone; two resources of equal priority */
                  "message alice@e.test/r1* -> bob@e.test/r1* id=cb1\n"
                  "message alice@e.test/r1* -> bob@e.test/r1* id=cb1\n"
                  "message alice@e.test/r1* -> bob@e.test* id=cb2\n"
                  "message alice@e.test/r1* -> bob@e.test* id=cb2\n"
                  "message alice@e.test/r1* -> bob@e.test* id=cb3\n"
                  "message alice@e.test/r1* -> bob@e.test* id=cb3\n"
                  "message alice@e.test/r1* -> bob@e.test* id=cb3\n"
                  /* from elsewhere: one copy; from ourselves: none; to elsewhere: one */
                  "message rob@remote.test/r1 -> bob@e.test* id=rv1\n"
                  "message x@other.e.test -> bob@e.test* id=oc1\n"
                  "message bob@e.test/r1* -> rob@remote.test id=br1\n"
                  /* offline, then at login */
                  "message alice@e.test/r1* -> bob@e.test* id=of1\n"
                  "message alice@e.test/r1* -> bob@e.test* id=of4\n"
                  "message alice@e.test/r1* -> bob@e.test*\n"
                  "message alice@e.test/r1* -> bob@e.test* id=of1 delayed\n"
                  "message rob@remote.test/r1 -> bob@e.test* id=of2 delayed\n"
                  "message x@other.e.test -> bob@e.test* id=of3 delayed\n"
                  /* a room: only what is private */
                  "message alice@e.test/r1* -> room1@conference.e.test/bo id=pm1\n"
                  "message room1@conference.e.test/al -> bob@e.test/r1* id=pm1\n"
                  "message alice@e.test/r1* -> bob@e.test* id=inv1\n"
                  "message alice@e.test/r1* -> bob@e.test* id=inv1\n"
                  /* a session that was lost and resumed elsewhere */
                  "message alice@e.test/r1* -> dave@e.test* id=sm1\n"
                  "message alice@e.test/r1* -> dave@e.test* id=sm1\n"
                  "message alice@e.test/r1* -> dave@e.test* id=sm1 delayed\n");
}

/* Two occupants are told of it. */
static void what_is_said_in_a_room_and_what_the_room_tells(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
    world_feed_fixture(w, "ejabberd/02-service-log.xml");
    const char *at = strstr(buf_cstr(&w->events), "groupchat ");
    assert_non_null(at);
    static const char want[] =
        "groupchat alice@e.test/r1* -> room1@conference.e.test id=g1\n"
        "reflected room1@conference.e.test/al -> bob@e.test/r1* id=g1\n"
        "reflected room1@conference.e.test/al -> alice@e.test/r1* id=g1\n"
        "message alice@e.test/r1* -> room1@conference.e.test/bo id=pm1\n";
    assert_memory_equal(at, want, sizeof want - 1);
    assert_null(strstr(at + 1, "groupchat "));
    buf_reset(&w->events);
}

static void what_only_looks_as_if_it_were_said_in_a_room_is_nothing(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define SAID(from, to)                                                                        \
    COPY("<message xmlns='jabber:client' type='groupchat' id='g1' from='" from "' to='" to    \
         "'><body>x</body></message>")
    world_feed(w, SAID("alice@e.test/r1", "bob@e.test"));       /* a user */
    world_feed(w, SAID("alice@e.test/r1", "bob@e.test/r1"));    /* his session */
    world_feed(w, SAID("alice@e.test/r1", "r@rooms.e.test/n")); /* one occupant */
    world_feed(w, SAID("alice@e.test/r1", "rooms.e.test"));
    world_feed(w, SAID("alice@e.test/r1", "e.test"));
    world_feed(w, SAID("alice@e.test/r1", "r@sidecar.e.test"));
    world_feed(w, SAID("alice@e.test", "r@rooms.e.test"));  /* no session */
    world_feed(w, SAID("r@rooms.e.test", "bob@e.test/r1")); /* a subject */
    world_feed(w, SAID("mallory@r.test/m", "r@rooms.e.test"));
    expect_events(w, "");
    /* Who calls himself a room speaks for himself. */
    world_feed(w, SAID("mallory@r.test/m", "bob@e.test/r1"));
    expect_events(w, "reflected mallory@r.test/m -> bob@e.test/r1* id=g1\n");
    /* What a sender can write takes nothing away. */
    world_feed(w, COPY("<message xmlns='jabber:client' type='groupchat' "
                       "from='alice@e.test/r1' to='R@rooms.e.test'><body>x</body>"
                       "<delay xmlns='urn:xmpp:delay' from='e.test' "
                       "stamp='2001-01-01T00:00:00Z'/></message>"));
    expect_events(w, "groupchat alice@e.test/r1* -> r@rooms.e.test\n");
    w->opts.groupchat = false;
    world_feed(w, SAID("alice@e.test/r1", "r@rooms.e.test"));
    expect_events(w, "");
}

/* MucSub: from the room's own address, and of that room. */
static void what_a_room_tells_a_subscriber(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define TOLD(from, node, inner)                                                               \
    COPY("<message xmlns='jabber:client' from='" from "' to='bob@e.test' id='e1'><event "     \
         "xmlns='http://jabber.org/protocol/pubsub#event'><items node='" node "'><item>"      \
         "<message xmlns='jabber:client' from='" inner "' to='bob@e.test' id='g1' "           \
         "type='groupchat'><body>x</body></message></item></items></event></message>")
#define NODE_MESSAGES "urn:xmpp:mucsub:nodes:messages"
    static const struct {
        const char *copy;
        bool told;
    } cases[] = {
        {TOLD("r@rooms.e.test", NODE_MESSAGES, "r@rooms.e.test/al"), true},
        {TOLD("r@rooms.e.test", NODE_MESSAGES, "r@rooms.e.test"), false},
        {TOLD("r@rooms.e.test", NODE_MESSAGES, "other@rooms.e.test/al"), false},
        {TOLD("r@rooms.e.test", "urn:xmpp:mucsub:nodes:presence", "r@rooms.e.test/al"), false},
        {TOLD("r@rooms.e.test/al", NODE_MESSAGES, "r@rooms.e.test/al"), false},
        {TOLD("alice@e.test", NODE_MESSAGES, "alice@e.test/al"), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_feed(w, cases[i].copy);
        const char *line = strstr(buf_cstr(&w->events), "reflected ");
        assert_true(!line == !cases[i].told);
        if (line)
            assert_string_equal(line, "reflected r@rooms.e.test/al -> bob@e.test* id=g1\n"
                                      "member r@rooms.e.test -> bob@e.test* bond=2\n");
        buf_reset(&w->events);
    }
#undef TOLD
}

static void who_belongs_to_a_room_is_what_the_room_says(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define PRESENCE(from, attributes, rank, status)                                              \
    COPY("<presence xmlns='jabber:client' from='" from "' to='alice@e.test/r1'" attributes    \
         "><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='" rank           \
         "' role='participant'/><status code='100'/><status code='" status                    \
         "'/></x></presence>")
#define AWAY " type='unavailable'"
#define IQ(from, to, type, inside)                                                            \
    COPY("<iq xmlns='jabber:client' id='1' type='" type "' from='" from "' to='" to           \
         "'>" inside "</iq>")
#define SUBSCRIBE "<subscribe xmlns='urn:xmpp:mucsub:0' nick='al'/>"
#define UNSUBSCRIBE(attributes) "<unsubscribe xmlns='urn:xmpp:mucsub:0'" attributes "/>"
#define ROOM_SAYS(what, bond) what " r@rooms.e.test/al -> alice@e.test/r1* bond=" bond "\n"
    static const struct {
        const char *copy;
        const char *events;
    } cases[] = {
        {PRESENCE("r@rooms.e.test/al", "", "member", "110"), ROOM_SAYS("member", "1")},
        {PRESENCE("r@rooms.e.test/al", AWAY, "owner", "110"), ROOM_SAYS("member", "1")},
        {PRESENCE("r@rooms.e.test/al", "", "none", "110"), ROOM_SAYS("no-member", "1")},
        {PRESENCE("r@rooms.e.test/al", AWAY, "outcast", "110"), ROOM_SAYS("no-member", "1")},
        {PRESENCE("r@rooms.e.test/bo", "", "member", "101"), ""}, /* somebody else */
        {PRESENCE("r@rooms.e.test/al", " type='error'", "member", "110"), ""},
        {PRESENCE("bob@e.test/r1", "", "member", "110"), ""}, /* a user */
        {IQ("r@rooms.e.test", "alice@e.test/r1", "result", SUBSCRIBE),
         ROOM_SAYS("member", "2")},
        {IQ("alice@e.test/r1", "r@rooms.e.test", "set", SUBSCRIBE), ""}, /* only asks */
        {IQ("bob@e.test/r1", "alice@e.test/r1", "result", SUBSCRIBE), ""},
        {IQ("alice@e.test/r1", "r@rooms.e.test", "set", UNSUBSCRIBE("")),
         "no-member r@rooms.e.test -> alice@e.test/r1* bond=2\n"},
        {IQ("alice@e.test/r1", "r@rooms.e.test", "set", UNSUBSCRIBE(" jid='bob@e.test'")), ""},
        {IQ("rob@r.test/r1", "r@rooms.e.test", "set", UNSUBSCRIBE("")), ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_feed(w, cases[i].copy);
        expect_events(w, cases[i].events);
    }
    w->opts.groupchat = false;
    world_feed(w, cases[0].copy);
    world_feed(w, cases[7].copy);
    expect_events(w, "");
}

static void a_nick_that_no_address_could_hold_is_not_told(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
    for (size_t len = JID_PART_MAX; len <= JID_PART_MAX + 1; len++) {
        char copy[2 * JID_PART_MAX], nick[JID_PART_MAX + 2] = "", line[2 * JID_PART_MAX];
        memset(nick, 'n', len);
        snprintf(copy, sizeof copy,
                 COPY("<iq xmlns='jabber:client' id='1' type='result' from='r@rooms.e.test' "
                      "to='alice@e.test/r1'><subscribe xmlns='urn:xmpp:mucsub:0' nick='%s'/>"
                      "</iq>"),
                 nick);
        snprintf(line, sizeof line, "member r@rooms.e.test%s%s -> alice@e.test/r1* bond=2\n",
                 len > JID_PART_MAX ? "" : "/", len > JID_PART_MAX ? "" : nick);
        world_feed(w, copy);
        expect_events(w, line);
    }
}

static void when_a_room_is_heard_is_what_the_own_bookmarks_say(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define PUBSUB(from, to, inside)                                                              \
    COPY("<iq xmlns='jabber:client' id='1' type='set' from='" from "'" to                     \
         "><pubsub xmlns='http://jabber.org/protocol/pubsub'>" inside "</pubsub></iq>")
#define BOOKMARK(id, extensions)                                                              \
    "<publish node='urn:xmpp:bookmarks:1'><item id='" id "'><conference "                     \
    "xmlns='urn:xmpp:bookmarks:1' autojoin='true'><nick>al</nick>" extensions                 \
    "</conference></item></publish>"
#define SETTINGS(inside)                                                                      \
    "<extensions><notify xmlns='urn:xmpp:notification-settings:1'>" inside                    \
    "</notify></extensions>"
#define MINE(extensions) PUBSUB("alice@e.test/r1", "", BOOKMARK("R@rooms.e.test", extensions))
#define SAYS(n) "notify alice@e.test* -> r@rooms.e.test notify=" n "\n"
    static const struct {
        const char *copy;
        const char *events;
    } cases[] = {
        {MINE(SETTINGS("<always/>")), SAYS("1")},
        {MINE(SETTINGS("<on-mention/>")), SAYS("2")},
        {MINE(SETTINGS("<never><advanced><x xmlns='x:y'/></advanced></never>")), SAYS("3")},
        {MINE("<extensions><notify xmlns='urn:xmpp:notification-settings:0'><never/></notify>"
              "</extensions>"),
         SAYS("3")},
        {MINE(""), SAYS("0")},
        {MINE(SETTINGS("<some/>")), SAYS("0")},
        /* What is for phones. */
        {MINE(SETTINGS("<always/><never identity-category='client' identity-type='pc'/>")),
         SAYS("1")},
        {MINE(SETTINGS("<always identity-category='client'/><on-mention "
                       "identity-category='client' identity-type='phone'/><never/>")),
         SAYS("2")},
        {MINE(SETTINGS("<always/><never identity-category='client'/>")), SAYS("3")},
        {MINE(SETTINGS("<always/><never identity-category='gateway'/>")), SAYS("1")},
        {PUBSUB("alice@e.test/r1", " to='alice@e.test'",
                "<retract node='urn:xmpp:bookmarks:1'><item id='r@rooms.e.test'/></retract>"),
         SAYS("0")},
        /* Nobody else's, and no other node. */
        {PUBSUB("alice@e.test/r1", " to='bob@e.test'",
                BOOKMARK("r@rooms.e.test", SETTINGS("<never/>"))),
         ""},
        {PUBSUB("rob@r.test/r1", "", BOOKMARK("r@rooms.e.test", SETTINGS("<never/>"))), ""},
        {PUBSUB("alice@e.test/r1", "",
                "<publish node='urn:xmpp:other'><item id='r@rooms.e.test'/></publish>"),
         ""},
        {PUBSUB("alice@e.test/r1", "", BOOKMARK("rooms.e.test", SETTINGS("<never/>"))), ""},
        {PUBSUB("alice@e.test/r1", "", BOOKMARK("@", SETTINGS("<never/>"))), ""},
        {PUBSUB("alice@e.test/r1", "", "<items node='urn:xmpp:bookmarks:1'/>"), ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_feed(w, cases[i].copy);
        expect_events(w, cases[i].events);
    }
    w->opts.groupchat = false;
    world_feed(w, cases[0].copy);
    expect_events(w, "");
}

static void what_a_moderator_takes_back_is_the_rooms_own_word(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define ROOM_DID(from, inside)                                                                \
    COPY("<message xmlns='jabber:client' type='groupchat' id='x' from='" from                 \
         "' to='alice@e.test/r1'>" inside "</message>")
#define MODERATED_0                                                                           \
    "<apply-to xmlns='urn:xmpp:fasten:0' id='s1'>"                                            \
    "<moderated xmlns='urn:xmpp:message-moderate:0' by='r@rooms.e.test/mod'>"                 \
    "<retract xmlns='urn:xmpp:message-retract:0'/></moderated></apply-to>"
#define MODERATED_1                                                                           \
    "<retract xmlns='urn:xmpp:message-retract:1' id='s1'>"                                    \
    "<moderated xmlns='urn:xmpp:message-moderate:1'/></retract>"
    static const char took_back[] =
        "moderated r@rooms.e.test -> alice@e.test/r1* id=x ref=s1\n";
    world_feed(w, ROOM_DID("r@rooms.e.test", MODERATED_0));
    expect_events(w, took_back);
    world_feed(w, ROOM_DID("r@rooms.e.test", MODERATED_1));
    expect_events(w, took_back);
    world_feed(w, ROOM_DID("r@rooms.e.test", "<subject>x</subject>"));
    expect_events(w, "");
    world_feed(w, ROOM_DID("r@rooms.e.test/al", MODERATED_1)); /* an occupant's */
    expect_events(w, "reflected r@rooms.e.test/al -> alice@e.test/r1* id=x\n");
}

static void who_has_lost_his_rank_while_away_belongs_to_the_room_no_longer(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define RANKED(rank, jid) "<item affiliation='" rank "' role='none' jid='" jid "'/>"
#define TELLS(from, items)                                                                    \
    COPY("<message xmlns='jabber:client' from='" from "' to='bob@e.test/r1'>"                 \
         "<x xmlns='http://jabber.org/protocol/muc#user'>" items "</x></message>")
    static const struct {
        const char *copy;
        int gone;
    } cases[] = {
        {TELLS("r@rooms.e.test", RANKED("none", "alice@e.test")), 1},
        {TELLS("r@rooms.e.test", RANKED("outcast", "alice@e.test/r1")), 1},
        {TELLS("r@rooms.e.test",
               RANKED("none", "alice@e.test") RANKED("none", "carol@e.test")),
         2},
        {TELLS("r@rooms.e.test", RANKED("member", "alice@e.test")), 0},
        {TELLS("r@rooms.e.test", RANKED("none", "rob@r.test")), 0},
        {TELLS("r@rooms.e.test", "<item affiliation='none'/>"), 0},
        {TELLS("r@rooms.e.test/al", RANKED("none", "alice@e.test")), 0}, /* an occupant */
        {TELLS("mallory@e.test", RANKED("none", "alice@e.test")), 0},    /* a user */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_feed(w, cases[i].copy);
        int gone = 0;
        const char *at = buf_cstr(&w->events);
        while ((at = strstr(at, "member "))) {
            assert_int_equal(strncmp(at - 3, "no-member r@rooms.e.test -> ", 28), 0);
            assert_non_null(strstr(at, " bond=1\n"));
            gone++;
            at++;
        }
        assert_int_equal(gone, cases[i].gone);
        buf_reset(&w->events);
    }
}

static void a_marker_in_a_room_is_the_rooms(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
#define MARKED(more)                                                                          \
    COPY("<message xmlns='jabber:client' type='groupchat' from='bob@e.test/r1' "              \
         "to='r@rooms.e.test'><displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>" more      \
         "</message>")
    world_feed(w, MARKED(""));
    expect_events(w, "room-marker bob@e.test/r1* -> r@rooms.e.test ref=m1\n");
    world_feed(w, MARKED("<body>x</body>"));
    expect_events(w, "groupchat bob@e.test/r1* -> r@rooms.e.test\n"
                     "room-marker bob@e.test/r1* -> r@rooms.e.test ref=m1\n");
}

static void messages_without_id_keep_their_number(void **state)
{
    struct world *w = *state;
    world_feed_fixture(w, "ejabberd/11-order-and-ids.xml");
    expect_events(w, "message alice@e.test/r1* -> alice@e.test* id=noto\n"
                     "message alice@e.test/r1* -> alice@e.test* id=noto\n"
                     "message alice@e.test/r1* -> bob@e.test*\n"
                     "message alice@e.test/r1* -> bob@e.test*\n"
                     "message alice@e.test/r1* -> bob@e.test*\n"
                     "message alice@e.test/r1* -> bob@e.test*\n"
                     "message alice@e.test/r1* -> bob@e.test*\n"
                     "message alice@e.test/r1* -> bob@e.test*\n");
}

static void an_offline_delivery_after_an_outage_is_an_event(void **state)
{
    struct world *w = *state;
    world_feed_fixture(w, "ejabberd/12-minimal-config-2.xml");
    /* The two results were sent by another program: without our id they are messages. */
    expect_events(w, "message alice@e.test/r1* -> bob@e.test* id=out1 delayed\n"
                     "message bob@e.test* -> bob@e.test/r1* id=mr0\n"
                     "message bob@e.test* -> bob@e.test/r1* id=mr1\n");
}

static void a_marker_with_a_body_is_a_message_first(void **state)
{
    struct world *w = *state;
    world_feed(w, COPY("<message xmlns='jabber:client' from='bob@e.test/r1' to='alice@e.test' "
                       "id='x'><body>read it</body>"
                       "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/></message>"));
    expect_events(w, "message bob@e.test/r1* -> alice@e.test* id=x\n"
                     "marker bob@e.test/r1* -> alice@e.test* id=x ref=m1\n");
}

static void a_marker_that_asks_to_be_stored_is_a_message_too(void **state)
{
    struct world *w = *state;
    world_feed(w, COPY("<message xmlns='jabber:client' from='bob@e.test/r1' to='alice@e.test'>"
                       "<acknowledged xmlns='urn:xmpp:chat-markers:0' id='m1'/>"
                       "<store xmlns='urn:xmpp:hints'/></message>"));
    expect_events(w, "message bob@e.test/r1* -> alice@e.test*\n"
                     "marker bob@e.test/r1* -> alice@e.test* ref=m1\n");
}

/* XEP-0490: what is not the account's own word, or of no archive of its own, says nothing. */
static void an_account_tells_its_devices_what_it_has_displayed(void **state)
{
#define PUBLISH(attributes, node, items)                                                      \
    COPY("<iq xmlns='jabber:client' type='set' id='p1' " attributes "><pubsub "               \
         "xmlns='http://jabber.org/protocol/pubsub'><publish node='" node "'>" items          \
         "</publish></pubsub></iq>")
#define NODE "urn:xmpp:mds:displayed:0"
#define BOB "from='bob@e.test/r1'"
#define ITEM MDS_ITEM("alice@e.test", "bob@e.test", "a1")
    static const struct {
        const char *copy;
        const char *events;
    } rows[] = {
        {PUBLISH(BOB, NODE, ITEM), "displayed bob@e.test* -> alice@e.test ref=a1\n"},
        {PUBLISH(BOB " to='BOB@e.test'", NODE, ITEM),
         "displayed bob@e.test* -> alice@e.test ref=a1\n"},
        {PUBLISH(BOB, NODE,
                 ITEM MDS_ITEM("r@muc.r.test/nick", "Bob@E.test", "a2")
                     MDS_ITEM("r@muc.r.test", "r@muc.r.test", "a3")),
         "displayed bob@e.test* -> alice@e.test ref=a1\n"
         "displayed bob@e.test* -> r@muc.r.test ref=a2\n"},
        {PUBLISH(BOB " to='alice@e.test'", NODE, ITEM), ""},
        {PUBLISH(BOB " to='bob@e.test/r2'", NODE, ITEM), ""},
        {PUBLISH("from='rob@r.test/r1' to='bob@e.test'", NODE, ITEM), ""},
        {PUBLISH(BOB, "urn:xmpp:bookmarks:1", ITEM), ""},
        {PUBLISH(BOB, NODE, MDS_ITEM("alice@e.test", "alice@e.test", "a1")), ""},
        {PUBLISH(BOB, NODE, MDS_ITEM("alice@e.test", "bob@e.test/r1", "a1")), ""},
        {PUBLISH(BOB, NODE, MDS_ITEM("@", "bob@e.test", "a1")), ""},
        {PUBLISH(BOB, NODE, MDS_ITEM("alice@e.test", "bob@e.test", "")), ""},
        {PUBLISH(BOB, NODE, "<item id='alice@e.test'/>"), ""},
        {PUBLISH(BOB, NODE, ""), ""},
        /* The notification of it is not looked at here: the request has told it already. */
        {COPY(MDS_EVENT("from='bob@e.test' to='bob@e.test/r2' type='headline'", ITEM)),
         "message bob@e.test* -> bob@e.test/r2*\n"},
        {COPY(MDS_EVENT("from='eve@e.test/x' to='bob@e.test'", ITEM)),
         "message eve@e.test/x* -> bob@e.test*\n"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world_feed(w, rows[i].copy);
        expect_events(w, rows[i].events);
    }
    /* Nor is what a user sends us himself. */
    world_feed(w,
               "<message to='sidecar.e.test' from='eve@e.test/x'><forwarded "
               "xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='set' id='p1' " BOB
               "><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='" NODE
               "'>" ITEM "</publish></pubsub></iq></forwarded></message>");
    expect_events(w, "");
}

/* Nobody who means it publishes more, and thousands fit into a stanza. */
static void of_many_items_the_first_are_looked_at(void **state)
{
    struct world *w = *state;
    w->opts.groupchat = true;
    struct buf displayed, bookmarks, copy, events;
    buf_init(&displayed, 1 << 20);
    buf_init(&bookmarks, 1 << 20);
    buf_init(&copy, 1 << 20);
    buf_init(&events, 1 << 20);
    for (int n = 0; n < 300; n++) {
        buf_addf(&displayed, MDS_ITEM("a%d@e.test", "bob@e.test", "a%d"), n, n);
        buf_addf(&bookmarks, "<item id='r%d@rooms.e.test'/>\n", n);
    }
    buf_addf(&copy, PUBLISH(BOB, NODE, "%s"), buf_cstr(&displayed));
    for (int n = 0; n < 256; n++)
        buf_addf(&events, "displayed bob@e.test* -> a%d@e.test ref=a%d\n", n, n);
    world_feed(w, buf_cstr(&copy));
    expect_events(w, buf_cstr(&events));
    buf_reset(&copy);
    buf_reset(&events);
    buf_addf(&copy, PUBLISH(BOB, "urn:xmpp:bookmarks:1", "%s"), buf_cstr(&bookmarks));
    for (int n = 0; n < 256; n++)
        buf_addf(&events, "notify bob@e.test* -> r%d@rooms.e.test notify=0\n", n);
    world_feed(w, buf_cstr(&copy));
    expect_events(w, buf_cstr(&events));
    buf_deinit(&displayed);
    buf_deinit(&bookmarks);
    buf_deinit(&copy);
    buf_deinit(&events);
}

static void a_marker_without_id_is_only_a_message(void **state)
{
    struct world *w = *state;
    world_feed(w, COPY("<message xmlns='jabber:client' from='bob@e.test/r1' to='alice@e.test'>"
                       "<displayed xmlns='urn:xmpp:chat-markers:0'/></message>"));
    expect_events(w, "message bob@e.test/r1* -> alice@e.test*\n");
}

static void addresses_are_prepared_and_no_to_is_the_own_account(void **state)
{
    struct world *w = *state;
    world_feed(
        w, COPY("<message xmlns='jabber:client' from='ALICE@E.test/R1'><body/></message>"));
    expect_events(w, "message alice@e.test/R1* -> alice@e.test*\n");
}

static void a_copy_with_an_impossible_address_is_for_quarantine(void **state)
{
    struct world *w = *state;
    assert_int_equal(
        world_feed_link(w, 0,
                        COPY("<message xmlns='jabber:client' from='alice@e.test/r1' "
                             "to='a b@e.test'><body>x</body></message>")),
        ERR_REJECT);
    expect_events(w, "");
}

static void an_error_of_a_client_is_no_bounce(void **state)
{
    struct world *w = *state;
    world_feed(w,
               COPY("<message xmlns='jabber:client' from='bob@e.test/r1' to='alice@e.test/r1' "
                    "type='error' id='m1'><error/></message>"));
    expect_events(w, "");
    world_feed(w,
               COPY("<message xmlns='jabber:client' from='remote.test' to='alice@e.test/r1' "
                    "type='error' id='m1'><error/></message>"));
    expect_events(w, "bounce remote.test -> alice@e.test/r1* id=m1 ref=m1\n");
}

static void the_server_itself_is_no_local_user(void **state)
{
    struct world *w = *state;
    world_feed(w, COPY("<message xmlns='jabber:client' from='e.test' to='alice@e.test'>"
                       "<body>maintenance</body></message>"));
    expect_events(w, "message e.test -> alice@e.test*\n");
    world_feed(w, COPY("<message xmlns='jabber:client' from='a@x.test/1' to='b@y.test'>"
                       "<body>no business of ours</body></message>"));
    expect_events(w, "");
}

/* ---- what senders can write ---- */

#define FORGED(payload)                                                                       \
    COPY("<message xmlns='jabber:client' from='eve@e.test/x' to='bob@e.test' type='chat' "    \
         "id='f1'><body>look</body>" payload "</message>")

static void a_forged_delay_keeps_the_message(void **state)
{
    struct world *w = *state;
    world_feed(w, FORGED("<delay xmlns='urn:xmpp:delay' from='remote.test' "
                         "stamp='1970-01-02T00:00:00Z'/>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
    /* In the name of the server it cannot be told from a real one: still an event. */
    world_feed(w, FORGED("<delay xmlns='urn:xmpp:delay' from='e.test' "
                         "stamp='1970-01-02T00:00:00Z'/>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1 delayed\n");
    world_feed(w, FORGED("<delay xmlns='urn:xmpp:delay' from='e.test' stamp='yesterday'/>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
}

static void a_forged_mam_result_keeps_the_message(void **state)
{
    struct world *w = *state;
    world_feed(w,
               FORGED("<result xmlns='urn:xmpp:mam:2' id='1'><forwarded "
                      "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
                      "from='alice@e.test' to='bob@e.test'><body>never said</body></message>"
                      "</forwarded></result>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
}

static void a_forged_carbon_keeps_the_message(void **state)
{
    struct world *w = *state;
    world_feed(w,
               FORGED("<received xmlns='urn:xmpp:carbons:2'><forwarded "
                      "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
                      "from='alice@e.test/r' to='bob@e.test'><body>never said</body></message>"
                      "</forwarded></received>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
    /* From a remote bare JID, and from the own account's other session. */
    world_feed(w,
               COPY("<message xmlns='jabber:client' from='eve@remote.test' to='bob@e.test/r1' "
                    "id='f2'><sent xmlns='urn:xmpp:carbons:2'/></message>"));
    world_feed(w,
               COPY("<message xmlns='jabber:client' from='bob@e.test/r2' to='bob@e.test/r1' "
                    "id='f3'><sent xmlns='urn:xmpp:carbons:2'/></message>"));
    expect_events(w, "message eve@remote.test -> bob@e.test/r1* id=f2\n"
                     "message bob@e.test/r2* -> bob@e.test/r1* id=f3\n");
}

static void a_forged_pubsub_event_keeps_the_message(void **state)
{
    struct world *w = *state;
    world_feed(w, FORGED("<event xmlns='http://jabber.org/protocol/pubsub#event'>"
                         "<items node='urn:xmpp:mds:displayed:0'/></event>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
}

/* Whether one counts is decided by who sent it (push.notices). */
static void an_event_of_a_service_is_a_message_of_that_service(void **state)
{
    struct world *w = *state;
    world_feed(w, COPY("<message xmlns='jabber:client' from='pubsub.e.test' to='bob@e.test/r' "
                       "type='headline' id='e1'><event "
                       "xmlns='http://jabber.org/protocol/pubsub#event'><items node='orders'>"
                       "<item id='1'/></items></event></message>"));
    world_feed(w, COPY("<message xmlns='jabber:client' from='e.test' to='bob@e.test' "
                       "type='headline' id='e2'><subject>s</subject></message>"));
    expect_events(w, "message pubsub.e.test -> bob@e.test/r* id=e1\n"
                     "message e.test -> bob@e.test* id=e2\n");
}

static void a_forged_stanza_id_keeps_the_message(void **state)
{
    struct world *w = *state;
    world_feed(w, FORGED("<stanza-id xmlns='urn:xmpp:sid:0' by='bob@e.test' id='1'/>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
}

static void an_envelope_inside_an_envelope_is_the_senders_message(void **state)
{
    struct world *w = *state;
    world_feed(w,
               FORGED("<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
                      "from='alice@e.test/r1' to='bob@e.test'><body>never said</body>"
                      "</message></forwarded>"));
    expect_events(w, "message eve@e.test/x* -> bob@e.test* id=f1\n");
}

#define ENVELOPE_FROM(from, to, more)                                                         \
    "<message to='" to "' from='" from "' " more "><forwarded xmlns='urn:xmpp:forward:0'>"    \
    "<message xmlns='jabber:client' from='alice@e.test/r1' to='bob@e.test' id='f'>"           \
    "<body>never said</body></message></forwarded></message>"

static void an_envelope_counts_only_from_exactly_the_server(void **state)
{
    struct world *w = *state;
    world_feed(w, ENVELOPE_FROM("eve@e.test/x", "sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("eve@e.test", "sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("e.test/x", "sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("remote.test", "sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("sub.e.test", "sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("E.TEST", "sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("f.test", "sidecar.e.test", "")); /* not one of our domains */
    world_feed(w, ENVELOPE_FROM("e.test", "in@sidecar.e.test", ""));
    world_feed(w, ENVELOPE_FROM("e.test", "sidecar.e.test", "type='error'"));
    expect_events(w, "");
    world_feed(w, ENVELOPE_FROM("e.test", "sidecar.e.test", ""));
    expect_events(w, "message alice@e.test/r1* -> bob@e.test* id=f\n");
}

/* ---- our own echo ---- */

/* The same for who asks the adapter alone: of a stanza that is put aside, nothing else is
 * asked. */
static void whom_an_envelope_must_be_from_and_to(void **state)
{
    static const struct {
        const char *attributes, *local;
        bool is;
    } rows[] = {
        {"from='e.test' to='sidecar.e.test'", NULL, true},
        {"from='e.test' to='sidecar.e.test' type='headline'", NULL, true},
        {"from='e.test' to='sidecar.e.test' type='error'", NULL, false},
        {"from='alice@e.test' to='sidecar.e.test'", NULL, false},
        {"from='e.test/r' to='sidecar.e.test'", NULL, false},
        {"from='other.test' to='sidecar.e.test'", NULL, false},
        {"to='sidecar.e.test'", NULL, false},
        {"from='e.test'", NULL, false},
        {"from='e.test' to='out@sidecar.e.test'", NULL, false},
        {"from='e.test' to='out@sidecar.e.test'", "out", true},
        {"from='alice@e.test' to='out@sidecar.e.test'", "out", false},
        {"from='e.test' to='in@sidecar.e.test'", "out", false},
        {"from='e.test' to='out@sidecar.e.test/r'", "out", false},
        {"from='e.test' to='outer@sidecar.e.test'", "out", false},
        {"from='e.test' to='out.sidecar.e.test'", "out", false},
        {"from='e.test' to='sidecar.e.test'", "out", false},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char xml[256];
        struct err e;
        snprintf(xml, sizeof xml, "<message xmlns='jabber:client' %s/>", rows[i].attributes);
        struct stanza *st = xml_parse_element(xml, strlen(xml), &e);
        if (adapter_is_envelope(service_adapter(w->service), st, rows[i].local) != rows[i].is)
            fail_msg("%s, %s", xml, rows[i].local ? rows[i].local : "-");
        stanza_free(&st);
    }
}

static void our_echo_is_known_by_an_id_that_fits_only_its_addresses(void **state)
{
    struct world *w = *state;
    const struct adapter *a = service_adapter(w->service);
    struct jid bob, session, alice;
    char id[ECHO_ID_BYTES], other[ECHO_ID_BYTES];
    assert_true(jid_parse(&bob, "bob@e.test") && jid_parse(&session, "bob@e.test/r1") &&
                jid_parse(&alice, "alice@e.test/r1"));
    adapter_echo_id(a, &bob, &session, id);
    adapter_echo_id(a, &bob, &session, other);
    assert_string_not_equal(id, other);
    assert_int_equal(strlen(id), ECHO_ID_BYTES - 1);
    assert_true(adapter_is_echo(a, id, &bob, &session));
    assert_false(adapter_is_echo(a, id, &alice, &session));
    assert_false(adapter_is_echo(a, id, &session, &bob));
    assert_false(adapter_is_echo(a, id, &bob, &bob));
    assert_false(adapter_is_echo(a, NULL, &bob, &session));
    assert_false(adapter_is_echo(a, "xs-", &bob, &session));
    struct adapter stranger = *a;
    stranger.echo_key[3] ^= 1;
    assert_false(adapter_is_echo(&stranger, id, &bob, &session));
    id[5] = id[5] == '0' ? '1' : '0';
    assert_false(adapter_is_echo(a, id, &bob, &session));
}

static void our_echo_is_no_event_and_a_stolen_id_hides_nothing(void **state)
{
    struct world *w = *state;
    struct jid bob, session;
    char id[ECHO_ID_BYTES], copy[1024];
    assert_true(jid_parse(&bob, "bob@e.test") && jid_parse(&session, "bob@e.test/r1"));
    adapter_echo_id(service_adapter(w->service), &bob, &session, id);
    static const char form[] =
        "<message to='sidecar.e.test' from='e.test' id='1'><forwarded "
        "xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='%s' to='%s' id='%s'>"
        "<body>x</body></message></forwarded></message>";
    snprintf(copy, sizeof copy, form, "bob@e.test", "bob@e.test/r1", id);
    world_feed(w, copy);
    expect_events(w, "");
    snprintf(copy, sizeof copy, form, "bob@e.test/r1", "alice@e.test", id);
    world_feed(w, copy);
    assert_non_null(strstr(buf_cstr(&w->events), "message bob@e.test/r1* -> alice@e.test*"));
    buf_reset(&w->events);
    snprintf(copy, sizeof copy, form, "bob@e.test/r1", "bob@e.test/r1", id);
    world_feed(w, copy);
    assert_non_null(strstr(buf_cstr(&w->events), "message bob@e.test/r1* -> bob@e.test/r1*"));
}

/* ---- time and place ---- */

static struct event last;

#define ROSTER_IQ(type, addresses)                                                            \
    COPY("<iq xmlns='jabber:client' type='" type "' id='1' " addresses                        \
         "><query xmlns='jabber:iq:roster'><item jid='x@r.test'/></query></iq>")

static void a_change_of_the_own_roster_is_told(void **state)
{
    struct world *w = *state;
    world_feed(w, ROSTER_IQ("set", "from='Alice@e.test/r1'")
                      ROSTER_IQ("set", "from='bob@e.test/r1' to='bob@e.test'")
                          ROSTER_IQ("set", "from='eve@e.test' to='eve@e.test/r1'"));
    assert_string_equal(buf_cstr(&w->rosters), "alice@e.test\nbob@e.test\neve@e.test\n");
    buf_reset(&w->rosters);
    /* Somebody else's, one that is only read, and one of another server's user. */
    world_feed(w, ROSTER_IQ("set", "from='eve@e.test/r1' to='bob@e.test'")
                      ROSTER_IQ("get", "from='bob@e.test/r1'")
                          ROSTER_IQ("result", "from='bob@e.test' to='bob@e.test/r1'")
                              ROSTER_IQ("set", "from='rob@r.test/r1'"));
    assert_string_equal(buf_cstr(&w->rosters), "");
}

static void keep_event(void *ctx, const struct event *e)
{
    (void)ctx;
    last = *e;
}

static void classify_once(struct world *w, const char *xml, const struct place *p,
                          struct stanza **keep)
{
    struct err e;
    const struct adapter_sink sink = {.event = keep_event};
    *keep = xml_parse_element(xml, strlen(xml), &e);
    assert_non_null(*keep);
    assert_int_equal(
        adapter_classify(service_adapter(w->service), *keep, p, w->real_us, &sink, &e),
        ERR_NONE);
}

static void an_event_has_its_place_and_the_earliest_delay(void **state)
{
    struct world *w = *state;
    struct place p = {.spool = 3, .begin = 100, .end = 250};
    struct stanza *st;
    int64_t stamp;
    classify_once(
        w,
        COPY("<message xmlns='jabber:client' from='rob@remote.test/x' to='bob@e.test'>"
             "<delay xmlns='urn:xmpp:delay' from='e.test' stamp='2026-11-20T11:00:00Z'/>"
             "<delay xmlns='urn:xmpp:delay' from='e.test' stamp='2026-11-19T11:00:00Z'/>"
             "<delay xmlns='urn:xmpp:delay' stamp='2001-11-19T11:00:00Z'/>"
             "</message>"),
        &p, &st);
    assert_true(datetime_parse("2026-11-19T11:00:00Z", &stamp));
    assert_int_equal(last.delayed_us, stamp);
    assert_int_equal(last.received_us, w->real_us);
    assert_int_equal(last.place.spool, 3);
    assert_int_equal(last.place.begin, 100);
    assert_int_equal(last.place.end, 250);
    assert_string_equal(last.stanza->name, "message");
    stanza_free(&st);
    classify_once(
        w,
        COPY("<message xmlns='jabber:client' from='rob@remote.test/x' to='bob@e.test'>"
             "<delay xmlns='urn:xmpp:delay' from='e.test' stamp='2099-11-20T11:00:00Z'/>"
             "</message>"),
        &p, &st);
    assert_int_equal(last.delayed_us, w->real_us);
    stanza_free(&st);
}

#define T(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_line_of_the_recorded_copies_becomes_its_events),
        T(what_is_said_in_a_room_and_what_the_room_tells),
        T(what_only_looks_as_if_it_were_said_in_a_room_is_nothing),
        T(what_a_room_tells_a_subscriber),
        T(who_belongs_to_a_room_is_what_the_room_says),
        T(a_nick_that_no_address_could_hold_is_not_told),
        T(when_a_room_is_heard_is_what_the_own_bookmarks_say),
        T(what_a_moderator_takes_back_is_the_rooms_own_word),
        T(who_has_lost_his_rank_while_away_belongs_to_the_room_no_longer),
        T(a_marker_in_a_room_is_the_rooms),
        T(messages_without_id_keep_their_number),
        T(an_offline_delivery_after_an_outage_is_an_event),
        T(a_marker_with_a_body_is_a_message_first),
        T(a_marker_that_asks_to_be_stored_is_a_message_too),
        T(a_marker_without_id_is_only_a_message),
        T(an_account_tells_its_devices_what_it_has_displayed),
        T(of_many_items_the_first_are_looked_at),
        T(addresses_are_prepared_and_no_to_is_the_own_account),
        T(a_copy_with_an_impossible_address_is_for_quarantine),
        T(an_error_of_a_client_is_no_bounce),
        T(the_server_itself_is_no_local_user),
        T(a_forged_delay_keeps_the_message),
        T(a_forged_mam_result_keeps_the_message),
        T(a_forged_carbon_keeps_the_message),
        T(a_forged_pubsub_event_keeps_the_message),
        T(an_event_of_a_service_is_a_message_of_that_service),
        T(a_forged_stanza_id_keeps_the_message),
        T(an_envelope_inside_an_envelope_is_the_senders_message),
        T(an_envelope_counts_only_from_exactly_the_server),
        T(whom_an_envelope_must_be_from_and_to),
        T(our_echo_is_known_by_an_id_that_fits_only_its_addresses),
        T(our_echo_is_no_event_and_a_stolen_id_hides_nothing),
        T(a_change_of_the_own_roster_is_told),
        T(an_event_has_its_place_and_the_earliest_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
