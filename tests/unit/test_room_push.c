// SPDX-License-Identifier: Apache-2.0
/* From what a room has told of to entries in the outbox, over a real database. */
#include "tests/unit/ingest_world.h"

#include "archive/room_push.h"

#define ROOM "den@rooms.here"

struct rooms {
    struct world w;
    struct pg_pool *pool;
    struct room_push *push;
    unsigned entries; /* so often it said that there may be some */
};

static void on_entries(void *ctx)
{
    ((struct rooms *)ctx)->entries++;
}

static bool pool_is_up(void *ctx)
{
    return pg_pool_is_up(((struct rooms *)ctx)->pool);
}

static void begin_rooms(struct rooms *r)
{
    memset(r, 0, sizeof *r);
    settings.groupchat = true;
    begin(&r->w);
    r->w.now_us += 20 * DAY - MINUTE; /* what is said is of now */
    struct pg_opts opts = {.url = db_url(), .name = "rooms", .statement_timeout_ms = 60000};
    r->pool = pg_pool_new(r->w.base, &opts, 1);
    db_loop(r->w.base, pool_is_up, r);
}

static void open_push(struct rooms *r, enum event_notify notify, unsigned page)
{
    const struct room_push_opts opts = {.pool = r->pool,
                                        .ident = ingest_ident(r->w.ing),
                                        .notify = notify,
                                        .settle_ms = 500,
                                        .page = page,
                                        .entries = on_entries,
                                        .ctx = r};
    r->push = room_push_new(r->w.base, &opts);
}

static void end_rooms(struct rooms *r)
{
    pg_pool_free(&r->pool);
    room_push_free(&r->push);
    end(&r->w);
    settings.groupchat = false;
}

static bool nothing_is_due(void *ctx)
{
    (void)ctx;
    return db_int("SELECT count(*) FROM xs.room_due") == 0 &&
           db_int("SELECT count(*) FROM xs.badge_due") == 0;
}

static void settle_push(struct rooms *r)
{
    settle(&r->w);
    room_push_look(r->push);
    db_loop(r->w.base, nothing_is_due, r);
}

/* --- people ------------------------------------------------------------------------------ */

static void comes(struct rooms *r, const char *member, const char *nick)
{
    struct event *ev = add(&r->w, EVENT_MEMBER, ROOM, member, "", "");
    ev->bond = BOND_SUBSCRIPTION;
    ev->from_resource = nick;
}

static void says(struct rooms *r, const char *from, const char *id, const char *inside)
{
    char attrs[64];
    snprintf(attrs, sizeof attrs, " id='%s'", id);
    add(&r->w, EVENT_GROUPCHAT, from, ROOM, attrs, inside)->to_local = false;
}

static void told(struct rooms *r, const char *member, const char *nick, const char *id,
                 const char *inside)
{
    char attrs[64];
    snprintf(attrs, sizeof attrs, " id='%s'", id);
    add(&r->w, EVENT_REFLECTED, ROOM, member, attrs, inside)->from_resource = nick;
}

static void passes(struct rooms *r, const char *from, const char *id, const char *text)
{
    char inside[1024];
    snprintf(inside, sizeof inside, "<body>%s</body>", text);
    says(r, from, id, inside);
    told(r, from, "speaker", id, inside);
}

static void enroll(const char *member, int device)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.device (device, app, token) VALUES ('%032x', 'chat', '%d')"
             " ON CONFLICT DO NOTHING",
             device, device);
    db_do(sql);
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.registration (owner, device, dialect, node, resource,"
             " registered_at, app) SELECT owner, '%032x', 1, 'n', 'phone', now(), 'chat'"
             " FROM xs.account WHERE jid = '%s'",
             device, member);
    db_do(sql);
}

/* Of the member's device, how many entries about rooms; the newest message of them is id. */
static int due(const char *member, const char *body)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.outbox o JOIN xs.account a USING (owner)"
             " JOIN xs.room_member r ON r.member = o.owner AND r.peer = o.peer"
             " JOIN xs.message m ON m.owner = r.owner AND m.id = o.newest_id"
             " WHERE a.jid = '%s' AND m.body = '%s' AND o.state = 2",
             member, body);
    return (int)db_int(sql);
}

static int entries(void)
{
    return (int)db_int("SELECT count(*) FROM xs.outbox WHERE peer <> 0");
}

static int badge(int device)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT badge FROM xs.device_badge('%032x')", device);
    return (int)db_int(sql);
}

static void level(const char *member, int level)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT xs.notify_set(r.member, r.conversation, %d) FROM xs.room_member r"
             " JOIN xs.account a ON a.owner = r.member WHERE a.jid = '%s'",
             level, member);
    db_do(sql);
}

/* Mei and Bo have phones, Li has none. */
static void begin_three(struct rooms *r, enum event_notify notify)
{
    begin_rooms(r);
    comes(r, "mei@here", "Mei");
    comes(r, "bo@here", "Bo");
    comes(r, "li@here", "Li");
    settle(&r->w);
    enroll("mei@here", 1);
    enroll("mei@here", 2);
    enroll("bo@here", 3);
    open_push(r, notify, 0);
}

/* --- tests ------------------------------------------------------------------------------- */

static void who_is_named_is_told_and_nobody_else(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int mei, bo;
    } cases[] = {
        {"hello all", 0, 0}, {"mei: look", 1, 0}, {"MEI and bo!", 1, 1}, {"meine Boxen", 0, 0},
        {"ask Li", 0, 0},    {"(Bo)", 0, 1},      {"bo.", 0, 1},         {"", 0, 0},
    };
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%zu", i);
        passes(&r, "far@here", id, cases[i].text);
        settle_push(&r);
        if (due("mei@here", cases[i].text) != 2 * cases[i].mei ||
            due("bo@here", cases[i].text) != cases[i].bo)
            fail_msg("%s", cases[i].text);
        db_do("DELETE FROM xs.outbox");
    }
    assert_true(r.entries > 0);
    end_rooms(&r);
}

static void a_reference_names_an_account_or_an_occupant(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    static const char *const inside[] = {
        "<body>x1</body><reference xmlns='urn:xmpp:reference:0' type='mention'"
        " uri='xmpp:mei@here'/>",
        "<body>x2</body><reference xmlns='urn:xmpp:reference:0' type='mention'"
        " uri='xmpp:" ROOM "/bo'/>",
        "<body>x3</body><reply xmlns='urn:xmpp:reply:0' to='" ROOM "/Mei' id='1'/>",
        "<body>x4</body><reference xmlns='urn:xmpp:reference:0' type='mention'"
        " uri='xmpp:" ROOM "'/><reference xmlns='urn:xmpp:reference:0' type='mention'"
        " uri='xmpp:" ROOM "/Meier'/>",
    };
    static const int mei[] = {2, 0, 2, 0}, bo[] = {0, 1, 0, 0};
    for (int i = 0; i < 4; i++) {
        char id[16], text[16];
        snprintf(id, sizeof id, "r%d", i);
        snprintf(text, sizeof text, "x%d", i + 1);
        says(&r, "far@here", id, inside[i]);
        told(&r, "li@here", "far", id, inside[i]);
        settle_push(&r);
        assert_int_equal(due("mei@here", text), mei[i]);
        assert_int_equal(due("bo@here", text), bo[i]);
        db_do("DELETE FROM xs.outbox");
    }
    end_rooms(&r);
}

static void where_all_is_wanted_everybody_is_told_but_who_said_it(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct rooms r;
        begin_three(&r, NOTIFY_ALWAYS);
        passes(&r, "bo@here", "1", "hello");
        if (way)
            settle_one_by_one(&r.w);
        settle_push(&r);
        assert_int_equal(due("mei@here", "hello"), 2);
        assert_int_equal(entries(), 2); /* nothing for who has no phone */
        passes(&r, "li@here", "2", "again");
        settle_push(&r);
        assert_int_equal(due("mei@here", "again"), 2); /* the same entries */
        assert_int_equal(due("bo@here", "again"), 1);
        assert_int_equal(entries(), 3);
        assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE due < now()"
                                " AND counted_at > now() - interval '5 min'"),
                         3);
        end_rooms(&r);
    }
}

static void what_the_room_has_not_told_of_tells_nobody(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct rooms r;
        begin_three(&r, NOTIFY_ALWAYS);
        says(&r, "far@here", "1", "<body>refused</body>");
        says(&r, "bo@here", "2", "<body>taken back</body>");
        says(&r, "bo@here", "r2", "<retract xmlns='urn:xmpp:message-retract:1' id='2'/>");
        says(&r, "bo@here", "3",
             "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>"
             "<store xmlns='urn:xmpp:hints'/>");
        told(&r, "li@here", "Bo", "2", "<body>taken back</body>");
        told(&r, "li@here", "Bo", "3",
             "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>"
             "<store xmlns='urn:xmpp:hints'/>");
        if (way)
            settle_one_by_one(&r.w);
        settle_push(&r);
        assert_int_equal(entries(), 0);
        /* Said twice by the room, or read again: once. */
        passes(&r, "bo@here", "4", "let through");
        settle_push(&r);
        db_do("DELETE FROM xs.outbox");
        told(&r, "mei@here", "Bo", "4", "<body>let through</body>");
        settle_push(&r);
        assert_int_equal(entries(), 0);
        end_rooms(&r);
    }
}

static void each_decides_for_each_room_and_for_all(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    level("mei@here", NOTIFY_ALWAYS);
    level("bo@here", NOTIFY_NEVER);
    passes(&r, "li@here", "1", "bo, come");
    settle_push(&r);
    assert_int_equal(due("mei@here", "bo, come"), 2);
    assert_int_equal(due("bo@here", "bo, come"), 0);
    assert_int_equal(badge(1), 1);
    assert_int_equal(badge(3), 0);
    /* For all rooms; what is said of this one wins. */
    db_do("INSERT INTO xs.push_settings (owner, rooms) SELECT owner, 1 FROM xs.account"
          " WHERE jid LIKE '%@here'");
    level("mei@here", NOTIFY_AS_SET);
    level("bo@here", NOTIFY_MENTION);
    passes(&r, "li@here", "2", "hello");
    settle_push(&r);
    assert_int_equal(due("mei@here", "hello"), 2);
    assert_int_equal(due("bo@here", "hello"), 0);
    assert_int_equal(badge(1), 2);
    assert_int_equal(badge(3), 1); /* the mention of before */
    end_rooms(&r);
}

static void the_icon_counts_what_was_pushed_until_it_is_read(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    passes(&r, "li@here", "1", "mei!");
    passes(&r, "li@here", "2", "anybody?");
    passes(&r, "li@here", "3", "mei? bo?");
    settle_push(&r);
    assert_int_equal(badge(1), 2);
    assert_int_equal(badge(3), 1);
    db_do("INSERT INTO xs.app (app, badge) VALUES ('chat', 1)");
    assert_int_equal(badge(1), 1); /* by conversation */
    db_do("DELETE FROM xs.app");
    db_do("UPDATE xs.device SET badge_sent = 2; DELETE FROM xs.outbox");
    meaning(&r.w, EVENT_ROOM_MARKER, "mei@here", ROOM, "2");
    settle_push(&r);
    assert_int_equal(badge(1), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 0"), 2);
    says(&r, "li@here", "r3", "<retract xmlns='urn:xmpp:message-retract:1' id='3'/>");
    settle_push(&r);
    assert_int_equal(badge(1), 0);
    passes(&r, "li@here", "4", "mei!");
    settle_push(&r);
    assert_int_equal(badge(1), 1);
    db_do("INSERT INTO xs.mute (owner, peer, level) SELECT member, conversation, 0"
          " FROM xs.room_member r JOIN xs.account a ON a.owner = r.member"
          " WHERE a.jid = 'mei@here'");
    assert_int_equal(badge(1), 0);
    db_do("INSERT INTO xs.push_settings (owner, muted_in_badge) SELECT owner, true"
          " FROM xs.account WHERE jid = 'mei@here'");
    assert_int_equal(badge(1), 1);
    db_do("DELETE FROM xs.outbox");
    passes(&r, "mei@here", "5", "I am here"); /* and have read */
    settle_push(&r);
    assert_int_equal(badge(1), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 0"), 2);
    end_rooms(&r);
}

/* Of mei's first phone, 8 bytes for each notification that is to go, and for that nothing else
 * waits. */
static int withdrawable(void)
{
    return (int)db_int("SELECT length(xs.withdrawable(s.owner, s.device)) FROM xs.shown s"
                       " WHERE s.device = '00000000000000000000000000000001'");
}

static void a_notification_goes_when_what_names_its_member_is_read(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    passes(&r, "li@here", "1", "mei!");
    passes(&r, "li@here", "2", "anybody?");
    settle_push(&r);
    db_do("INSERT INTO xs.shown SELECT owner, device, peer FROM xs.outbox WHERE peer <> 0");
    assert_int_equal(withdrawable(), 0);
    level("mei@here", NOTIFY_ALWAYS);
    assert_int_equal(withdrawable(), 0);
    meaning(&r.w, EVENT_ROOM_MARKER, "mei@here", ROOM, "1");
    settle_push(&r);
    assert_int_equal(withdrawable(), 0); /* the other is wanted, too */
    level("mei@here", NOTIFY_MENTION);
    assert_int_equal(withdrawable(), 16);
    end_rooms(&r);
}

static int since_opened(void)
{
    return (int)db_int("SELECT xs.opened_badge('00000000000000000000000000000001')");
}

static void what_a_room_said_before_the_app_was_opened_is_not_on_its_icon(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    passes(&r, "li@here", "1", "mei!");
    passes(&r, "li@here", "2", "mei?");
    settle_push(&r);
    assert_int_equal(since_opened(), 2);
    db_do("UPDATE xs.registration SET opened_at = timestamptz '2020-01-01 00:00:00+00'"
          " + ((SELECT max(id) FROM xs.message) >> 8) * interval '1 us'"
          " + interval '1 ms'");
    assert_int_equal(since_opened(), 0);
    assert_int_equal(badge(2), 2); /* of an app that counts all */
    r.w.now_us += MINUTE;
    passes(&r, "li@here", "3", "mei! mei!");
    passes(&r, "li@here", "4", "not for her");
    settle_push(&r);
    assert_int_equal(since_opened(), 1);
    level("mei@here", NOTIFY_ALWAYS);
    assert_int_equal(since_opened(), 2);
    end_rooms(&r);
}

static void who_leaves_is_told_nothing_more(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_ALWAYS);
    passes(&r, "li@here", "1", "mei!");
    settle_push(&r);
    assert_int_equal(badge(1), 1);
    db_do("DELETE FROM xs.outbox; UPDATE xs.device SET badge_sent = 1");
    add(&r.w, EVENT_NO_MEMBER, ROOM, "mei@here", "", "")->bond = BOND_SUBSCRIPTION;
    passes(&r, "li@here", "2", "mei?");
    settle_push(&r);
    assert_int_equal(badge(1), 0);
    assert_int_equal(due("mei@here", "mei?"), 0);
    assert_int_equal(due("bo@here", "mei?"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 0"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_mention k JOIN xs.account a"
                            " ON a.owner = k.member WHERE a.jid = 'mei@here'"),
                     0);
    end_rooms(&r);
}

static void a_nick_may_change(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    comes(&r, "mei@here", "Mei Lin");
    comes(&r, "mei@here", ""); /* it is not told */
    passes(&r, "li@here", "1", "mei");
    passes(&r, "li@here", "2", "hi Mei  Lin");
    passes(&r, "li@here", "3", "hi mei lin");
    settle_push(&r);
    assert_int_equal(due("mei@here", "hi mei lin"), 2);
    assert_int_equal(badge(1), 1);
    told(&r, "li@here", "Bo 2", "b", "<body>said</body>"); /* by who says it */
    says(&r, "bo@here", "b2", "<body>said 2</body>");
    told(&r, "li@here", "Bo 2", "b2", "<body>said 2</body>");
    passes(&r, "li@here", "4", "bo 2: hi");
    settle_push(&r);
    assert_int_equal(due("bo@here", "bo 2: hi"), 1);
    end_rooms(&r);
}

static bool some_are_in(void *ctx)
{
    (void)ctx;
    return entries() > 0;
}

static void a_crash_leaves_out_nobody_and_tells_nobody_twice(void **state)
{
    (void)state;
    enum { MEMBERS = 23 };
    struct rooms r;
    begin_rooms(&r);
    char name[32];
    static char names[MEMBERS][32];
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(names[i], sizeof names[i], "m%d@here", i);
        comes(&r, names[i], "x");
    }
    settle(&r.w);
    for (int i = 0; i < MEMBERS; i += 2) {
        snprintf(name, sizeof name, "m%d@here", i);
        enroll(name, i + 1);
    }
    passes(&r, "far@here", "1", "hello");
    passes(&r, "far@here", "2", "again");
    settle(&r.w);
    int crashes = 0;
    while (db_int("SELECT count(*) FROM xs.room_due") > 0) {
        int before = entries();
        open_push(&r, NOTIFY_ALWAYS, 2);
        if (before == 0) {
            db_loop(r.w.base, some_are_in, &r);
        } else {
            for (int i = 0; i < 3; i++)
                event_base_loop(r.w.base, EVLOOP_ONCE);
        }
        crashes++;
        pg_pool_free(&r.pool);
        room_push_free(&r.push);
        struct pg_opts opts = {
            .url = db_url(), .name = "rooms", .statement_timeout_ms = 60000};
        r.pool = pg_pool_new(r.w.base, &opts, 1);
        db_loop(r.w.base, pool_is_up, &r);
        if (crashes == 3) { /* said while the others are on their way */
            passes(&r, "far@here", "3", "third");
            settle(&r.w);
        }
    }
    assert_true(crashes > 3);
    assert_int_equal(entries(), 12);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox o JOIN xs.message m"
                            " ON m.id = o.newest_id WHERE m.body = 'third'"),
                     12);
    /* One entry was touched once for the first two, and once for the third. */
    open_push(&r, NOTIFY_ALWAYS, 2);
    settle_push(&r);
    assert_int_equal(entries(), 12);
    end_rooms(&r);
}

static bool only_the_bad_one_is_due(void *ctx)
{
    (void)ctx;
    return db_int("SELECT count(*) FROM xs.room_due") == 1;
}

static void what_postgresql_will_not_take_stops_nothing_else(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_ALWAYS);
    db_do("CREATE FUNCTION xs.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
          " IF (SELECT body FROM xs.message WHERE id = NEW.newest_id) = 'bad' THEN"
          "  RAISE EXCEPTION 'no' USING ERRCODE = '22000'; END IF;"
          " RETURN NEW; END $$;"
          "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON xs.outbox"
          " FOR EACH ROW EXECUTE FUNCTION xs.refuse()");
    passes(&r, "li@here", "1", "good");
    passes(&r, "li@here", "2", "bad");
    settle(&r.w);
    room_push_look(r.push);
    db_loop(r.w.base, only_the_bad_one_is_due, &r);
    assert_int_equal(due("mei@here", "good"), 2);
    passes(&r, "li@here", "3", "later");
    settle(&r.w);
    room_push_look(r.push);
    db_loop(r.w.base, only_the_bad_one_is_due, &r);
    assert_int_equal(due("mei@here", "later"), 2);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_due d JOIN xs.message m"
                            " ON m.id = d.id WHERE m.body = 'bad'"),
                     1);
    /* The next worker tries it again. */
    db_do("DROP TRIGGER refuse ON xs.outbox; DELETE FROM xs.outbox");
    pg_pool_free(&r.pool);
    room_push_free(&r.push);
    struct pg_opts opts = {.url = db_url(), .name = "rooms", .statement_timeout_ms = 60000};
    r.pool = pg_pool_new(r.w.base, &opts, 1);
    db_loop(r.w.base, pool_is_up, &r);
    open_push(&r, NOTIFY_ALWAYS, 0);
    settle_push(&r);
    assert_int_equal(due("mei@here", "bad"), 2);
    end_rooms(&r);
}

/* A statement that takes too long is one that may pass, but this one does so each time. */
static void what_takes_too_long_each_time_stops_nothing_else(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_ALWAYS);
    db_do("CREATE FUNCTION xs.delay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
          " IF (SELECT body FROM xs.message WHERE id = NEW.newest_id) = 'slow' THEN"
          "  RAISE EXCEPTION 'too long' USING ERRCODE = '57014'; END IF;"
          " RETURN NEW; END $$;"
          "CREATE TRIGGER delay BEFORE INSERT OR UPDATE ON xs.outbox"
          " FOR EACH ROW EXECUTE FUNCTION xs.delay()");
    passes(&r, "li@here", "1", "good");
    passes(&r, "li@here", "2", "slow");
    settle(&r.w);
    room_push_look(r.push);
    db_loop(r.w.base, only_the_bad_one_is_due, &r);
    assert_int_equal(due("mei@here", "good"), 2);
    passes(&r, "li@here", "3", "later");
    settle(&r.w);
    room_push_look(r.push);
    db_loop(r.w.base, only_the_bad_one_is_due, &r);
    assert_int_equal(due("mei@here", "later"), 2);
    db_do("DROP TRIGGER delay ON xs.outbox");
    end_rooms(&r);
}

static bool was_tried(void *ctx)
{
    (void)ctx;
    return strcmp(db_ask("SELECT is_called FROM xs.tried"), "t") == 0;
}

static void what_is_pushed_of_rooms_is_written_down_though_it_fails_at_first(void **state)
{
    (void)state;
    struct rooms r;
    begin_rooms(&r);
    comes(&r, "mei@here", "Mei");
    settle(&r.w);
    enroll("mei@here", 1);
    db_do("CREATE SEQUENCE xs.tried;"
          "CREATE FUNCTION xs.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
          " PERFORM nextval('xs.tried');"
          " RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$;"
          "CREATE TRIGGER refuse BEFORE UPDATE ON xs.setting"
          " FOR EACH ROW EXECUTE FUNCTION xs.refuse()");
    open_push(&r, NOTIFY_ALWAYS, 0);
    db_loop(r.w.base, was_tried, &r);
    db_do("DROP TRIGGER refuse ON xs.setting");
    passes(&r, "far@here", "1", "hello");
    settle_push(&r);
    assert_int_equal(due("mei@here", "hello"), 1);
    end_rooms(&r);
}

/* Its members are other lanes' owners, and who waits for these while he has locks of his own
 * may be waited for. */
static void a_room_waits_for_no_entry_of_its_members(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_ALWAYS);
    passes(&r, "li@here", "1", "hello");
    settle_push(&r);
    db_do("INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, due)"
          " SELECT owner, device, 0, 1, 0, now(), 2, now() FROM xs.registration");
    PGconn *other = PQconnectdb(db_url());
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "SELECT FROM xs.outbox FOR UPDATE"));
    meaning(&r.w, EVENT_ROOM_MARKER, "mei@here", ROOM, "1");
    add(&r.w, EVENT_NO_MEMBER, ROOM, "bo@here", "", "")->bond = BOND_SUBSCRIPTION;
    add(&r.w, EVENT_NOTIFY, "mei@here", ROOM, "", "")->notify = NOTIFY_NEVER;
    settle(&r.w);
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    settle_push(&r);
    assert_int_equal(db_int("SELECT count(*) FROM xs.outbox WHERE peer = 0 AND gen > 1"), 3);
    end_rooms(&r);
}

static int lane_of(const char *jid)
{
    char sql[128];
    snprintf(sql, sizeof sql, "SELECT xs.lane_of(owner) FROM xs.account WHERE jid = '%s'",
             jid);
    return (int)db_int(sql);
}

static void on_marked(void *ctx, bool done)
{
    *(bool *)ctx = done;
}

static bool is_true(void *ctx)
{
    return *(bool *)ctx;
}

/* Of all rooms each lane moves its own. */
static void reading_everything_waits_for_no_room_of_another_lane(void **state)
{
    (void)state;
    struct rooms r;
    static const char *const rooms[] = {"a@rooms.here", "b@rooms.here", "c@rooms.here",
                                        "d@rooms.here", "e@rooms.here", "f@rooms.here"};
    bool marked = false;
    begin_three(&r, NOTIFY_ALWAYS);
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        add(&r.w, EVENT_MEMBER, rooms[i], "mei@here", "", "")->bond = BOND_SUBSCRIPTION;
    settle(&r.w);
    db_do("UPDATE xs.room_member SET read_id = 1");
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT FROM xs.room_member WHERE xs.lane_of(owner) <> %d FOR UPDATE",
             lane_of("mei@here"));
    PGconn *other = PQconnectdb(db_url());
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, sql));
    ingest_mark_read(r.w.ing, "mei@here", NULL, db_now_ms() + 10000, on_marked, &marked);
    db_loop(r.w.base, is_true, &marked);
    PQclear(PQexec(other, "COMMIT"));
    PQfinish(other);
    passes(&r, "li@here", "1", "hello");
    settle_push(&r);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_member r JOIN xs.account a"
                            " ON a.owner = r.member WHERE a.jid = 'mei@here'"
                            " AND r.read_id = 1"),
                     0);
    end_rooms(&r);
}

/* Anybody's server can say that somebody belongs to its rooms. */
static void an_account_belongs_to_so_many_rooms_and_no_more(void **state)
{
    (void)state;
    struct rooms r;
    begin_rooms(&r);
    comes(&r, "mei@here", "Mei");
    settle(&r.w);
    db_do("INSERT INTO xs.room_member (owner, peer, member, conversation, bonds, read_id)"
          " SELECT gen_random_uuid(), n, member, n, 1, 0 FROM xs.room_member,"
          " generate_series(1, 999) n");
    struct event *ev = add(&r.w, EVENT_MEMBER, "x@far", "mei@here", "", "");
    ev->bond = BOND_SUBSCRIPTION;
    ev->from_resource = "Mei";
    comes(&r, "mei@here", "May"); /* where she is already she may be called otherwise */
    comes(&r, "bo@here", "Bo");
    settle(&r.w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_member"), 1001);
    assert_int_equal(db_int("SELECT count(*) FROM xs.account WHERE jid = 'x@far'"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_nick WHERE nick = 'Mei'"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_nick WHERE nick = 'May'"), 1);
    open_push(&r, NOTIFY_ALWAYS, 0);
    end_rooms(&r);
}

/* What the outbox is told when it sends. */
static void a_push_says_the_room_and_who_speaks_and_no_address(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    passes(&r, "far@here", "1", "mei!");
    passes(&r, "far@here", "2", "unimportant");
    settle_push(&r);
    db_do("SELECT xs.loader_claim('00000000-0000-0000-0000-000000000009', true)");
    static const char fetch[] =
        "SELECT o_peer_jid || '|' || coalesce(o_body, '') || '|' || coalesce(o_nick, '')"
        "   || '|' || o_unread || '|' || o_muted || '|' || o_badge || '|' || o_registered"
        " FROM (SELECT array_agg(owner) AS w, array_agg(device) AS d, array_agg(peer) AS p"
        "   FROM xs.outbox WHERE device = '00000000000000000000000000000001') x,"
        " xs.outbox_fetch('00000000-0000-0000-0000-000000000009', true, false, x.w, x.d, x.p)";
    assert_string_equal(db_ask(fetch), ROOM "|mei!|speaker|1|false|1|true");
    passes(&r, "far@here", "3", "mei again");
    settle_push(&r);
    says(&r, "far@here", "r3", "<retract xmlns='urn:xmpp:message-retract:1' id='3'/>");
    settle_push(&r);
    assert_string_equal(db_ask(fetch), ROOM "|mei!|speaker|1|false|1|true");
    meaning(&r.w, EVENT_ROOM_MARKER, "mei@here", ROOM, "1");
    settle_push(&r);
    assert_string_equal(db_ask(fetch), ROOM "|||0|false|0|true");
    end_rooms(&r);
}

/* Pushes are many, and those of rooms few: what is of two never asks for a room. */
static void what_is_of_two_costs_no_look_into_a_room(void **state)
{
    (void)state;
    static const char calls[] = "SELECT coalesce(sum(calls), 0) FROM"
                                " pg_stat_xact_user_functions WHERE funcname LIKE '%room%'";
    struct rooms r;
    begin_three(&r, NOTIFY_ALWAYS);
    passes(&r, "far@here", "1", "hello");
    message(&r.w, "far@there", "so@here", "2");
    message(&r.w, "far@there", "so@here", "3");
    settle_push(&r);
    enroll("so@here", 4);
    db_do(
        "INSERT INTO xs.outbox (owner, device, peer, gen, newest_id, counted_at, state, due)"
        " SELECT owner, '00000000000000000000000000000004', peer, 1, last_id, now(), 2, now()"
        " FROM xs.conversation c WHERE c.jid = 'far@there'");
    db_do("SELECT xs.loader_claim('00000000-0000-0000-0000-000000000009', true)");
    for (int rooms = 0; rooms < 2; rooms++) {
        char fetch[512];
        snprintf(
            fetch, sizeof fetch,
            "SELECT o_unread || '|' || o_badge"
            " FROM (SELECT array_agg(owner) AS w, array_agg(device) AS d,"
            "   array_agg(peer) AS p FROM xs.outbox WHERE device = '%032x') x,"
            " xs.outbox_fetch('00000000-0000-0000-0000-000000000009', true, false, x.w, x.d,"
            "   x.p)",
            rooms ? 3 : 4);
        db_do("BEGIN; SET LOCAL track_functions = 'all'");
        assert_string_equal(db_ask(fetch), rooms ? "1|1" : "2|2");
        assert_int_equal(db_int(calls) > 0, rooms);
        db_do("COMMIT");
    }
    end_rooms(&r);
}

/* As unit/groupchat has it. */
static void plans_of_an_empty_room_hold_for_a_full_one(void **state)
{
    (void)state;
    enum { MEMBERS = 3000, SAID = 20 };
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    passes(&r, "far@here", "0", "mei");
    settle_push(&r);
    db_do("INSERT INTO xs.room_member (owner, peer, member, conversation, bonds, read_id)"
          " SELECT a.owner, n, md5(n::text)::uuid, n, 2, 0 FROM xs.account a,"
          " generate_series(1, 3000) n WHERE a.jid = '" ROOM "'");
    db_do("SELECT pg_stat_reset()");
    for (int i = 0; i < SAID; i++) {
        char id[16];
        snprintf(id, sizeof id, "p%d", i);
        passes(&r, "far@here", id, "bo and mei");
        settle_push(&r);
    }
    assert_int_equal(due("mei@here", "bo and mei"), 2);
    pg_pool_free(&r.pool);
    room_push_free(&r.push);
    ingest_free(&r.w.ing);
    db_wait_sessions_gone();
    assert_int_equal(db_int("SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables"
                            " WHERE relname IN ('room_member', 'room_nick', 'room_mention',"
                            "   'outbox', 'registration') OR relname LIKE 'message%'"),
                     0);
    /* Each member is read about twice for each message. */
    assert_in_range(db_int("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
                           " WHERE relname = 'room_member'"),
                    MEMBERS * SAID, 3 * MEMBERS * SAID);
    start(&r.w);
    db_loop(r.w.base, is_ready, &r.w);
    end_rooms(&r);
}

static void a_bookmark_says_when_and_is_undone(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    add(&r.w, EVENT_NOTIFY, "mei@here", ROOM, "", "")->notify = NOTIFY_ALWAYS;
    settle(&r.w); /* her lane is another one than the room's */
    passes(&r, "li@here", "1", "one");
    settle_push(&r);
    assert_int_equal(due("mei@here", "one"), 2);
    add(&r.w, EVENT_NOTIFY, "mei@here", ROOM, "", "")->notify = NOTIFY_AS_SET;
    settle(&r.w);
    passes(&r, "li@here", "2", "two");
    settle_push(&r);
    assert_int_equal(due("mei@here", "two"), 0);
    level("mei@here", NOTIFY_ALWAYS); /* said herself: a bookmark without it undoes nothing */
    add(&r.w, EVENT_NOTIFY, "mei@here", ROOM, "", "")->notify = NOTIFY_AS_SET;
    settle(&r.w);
    passes(&r, "li@here", "3", "three");
    settle_push(&r);
    assert_int_equal(due("mei@here", "three"), 2);
    end_rooms(&r);
}

/* A room says it to each occupant at each of his presences. */
static void a_nick_that_was_told_is_not_written_again(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    static const struct {
        const char *nick;
        bool leaves;
        int written;
    } then[] = {{"Mei", false, 0}, {"", false, 0},   {"Lin", false, 1}, {"Lin", false, 0},
                {"Mei", false, 1}, {"Mei", true, 1}, {"Mei", false, 0}};
    for (size_t i = 0; i < sizeof then / sizeof *then; i++) {
        db_do("DELETE FROM xs.room_nick");
        if (then[i].leaves)
            add(&r.w, EVENT_NO_MEMBER, ROOM, "mei@here", "", "")->bond = BOND_SUBSCRIPTION;
        comes(&r, "mei@here", then[i].nick);
        settle(&r.w);
        assert_int_equal(db_int("SELECT count(*) FROM xs.room_nick"), then[i].written);
        assert_int_equal(db_int("SELECT count(*) FROM xs.room_member"), 3);
    }
    end_rooms(&r);
}

/* Room for many messages of one. */
static void say_often(const char *body, int times)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.message SELECT (jsonb_populate_record(m, jsonb_build_object("
             "'id', m.id + n, 'ref_id', gen_random_uuid()))).*"
             " FROM xs.message m, generate_series(1, %d) n WHERE m.body = '%s'",
             times - 1, body);
    db_do(sql);
}

static void what_rooms_add_to_an_icon_has_an_end(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_ALWAYS);
    passes(&r, "li@here", "1", "mei, look");
    struct event *other = add(&r.w, EVENT_MEMBER, "attic@rooms.here", "mei@here", "", "");
    other->bond = BOND_SUBSCRIPTION;
    add(&r.w, EVENT_GROUPCHAT, "li@here", "attic@rooms.here", " id='2'",
        "<body>up here</body>")
        ->to_local = false;
    add(&r.w, EVENT_REFLECTED, "attic@rooms.here", "mei@here", " id='2'",
        "<body>up here</body>")
        ->from_resource = "speaker";
    settle_push(&r);
    say_often("mei, look", 1500);
    say_often("up here", 1500);
    assert_int_equal(badge(1), 1000);
    assert_int_equal(db_int("SELECT conversations FROM xs.account a, xs.rooms_badge(a.owner)"
                            " WHERE jid = 'mei@here'"),
                     2);
    db_do("INSERT INTO xs.room_mention SELECT r.member, r.peer, m.id FROM xs.room_member r"
          " JOIN xs.account a ON a.owner = r.member AND a.jid = 'mei@here'"
          " JOIN xs.message m ON m.owner = r.owner ON CONFLICT DO NOTHING");
    level("mei@here", 2);
    assert_int_equal(badge(1), 1000);
    passes(&r, "li@here", "3", "mei!");
    settle_push(&r);
    assert_int_equal(db_int("SELECT count(*) FROM xs.room_mention k JOIN xs.room_member r"
                            " ON r.member = k.member AND r.peer = k.peer JOIN xs.account a"
                            " ON a.owner = r.owner WHERE a.jid = '" ROOM "'"),
                     1000);
    assert_int_equal(badge(1), 1000);
    end_rooms(&r);
}

static int waits(const char *member)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.room_member r JOIN xs.account a ON a.owner = r.member"
             " WHERE a.jid = '%s' AND xs.is_unread(r.member, r.peer)",
             member);
    return (int)db_int(sql);
}

/* What is said there meanwhile was not shown. */
static void a_notification_waits_no_longer_than_what_it_is_about(void **state)
{
    (void)state;
    struct rooms r;
    begin_three(&r, NOTIFY_MENTION);
    passes(&r, "li@here", "1", "mei!");
    passes(&r, "li@here", "2", "anybody?");
    settle_push(&r);
    assert_int_equal(waits("mei@here"), 1);
    meaning(&r.w, EVENT_ROOM_MARKER, "mei@here", ROOM, "1");
    passes(&r, "li@here", "3", "nobody?");
    settle_push(&r);
    assert_int_equal(waits("mei@here"), 0);
    passes(&r, "li@here", "4", "mei?");
    settle_push(&r);
    assert_int_equal(waits("mei@here"), 1);
    level("mei@here", 3);
    assert_int_equal(waits("mei@here"), 0);
    level("mei@here", 1);
    assert_int_equal(waits("mei@here"), 1);
    meaning(&r.w, EVENT_ROOM_MARKER, "mei@here", ROOM, "4");
    settle_push(&r);
    assert_int_equal(waits("mei@here"), 0);
    end_rooms(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_named_is_told_and_nobody_else),
        cmocka_unit_test(a_reference_names_an_account_or_an_occupant),
        cmocka_unit_test(where_all_is_wanted_everybody_is_told_but_who_said_it),
        cmocka_unit_test(what_the_room_has_not_told_of_tells_nobody),
        cmocka_unit_test(each_decides_for_each_room_and_for_all),
        cmocka_unit_test(the_icon_counts_what_was_pushed_until_it_is_read),
        cmocka_unit_test(who_leaves_is_told_nothing_more),
        cmocka_unit_test(a_nick_may_change),
        cmocka_unit_test(a_nick_that_was_told_is_not_written_again),
        cmocka_unit_test(a_crash_leaves_out_nobody_and_tells_nobody_twice),
        cmocka_unit_test(what_postgresql_will_not_take_stops_nothing_else),
        cmocka_unit_test(what_takes_too_long_each_time_stops_nothing_else),
        cmocka_unit_test(what_is_pushed_of_rooms_is_written_down_though_it_fails_at_first),
        cmocka_unit_test(a_room_waits_for_no_entry_of_its_members),
        cmocka_unit_test(reading_everything_waits_for_no_room_of_another_lane),
        cmocka_unit_test(an_account_belongs_to_so_many_rooms_and_no_more),
        cmocka_unit_test(a_push_says_the_room_and_who_speaks_and_no_address),
        cmocka_unit_test(a_notification_goes_when_what_names_its_member_is_read),
        cmocka_unit_test(what_a_room_said_before_the_app_was_opened_is_not_on_its_icon),
        cmocka_unit_test(what_is_of_two_costs_no_look_into_a_room),
        cmocka_unit_test(plans_of_an_empty_room_hold_for_a_full_one),
        cmocka_unit_test(a_bookmark_says_when_and_is_undone),
        cmocka_unit_test(what_rooms_add_to_an_icon_has_an_end),
        cmocka_unit_test(a_notification_waits_no_longer_than_what_it_is_about),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
