// SPDX-License-Identifier: Apache-2.0
/*
 * Stories of what the two links of a cluster show, by chance: each message on one of them or
 * on both, in any order, once more later; what was read, taken back, refused and corrected;
 * rooms and what they tell of.  Meanwhile lanes fail each for itself, commits are refused,
 * connections end, workers die, the queue has room for a few rows, and PostgreSQL takes some
 * rows never.  In the end everything is there once, is what was made of it, and counts as the
 * rows say; and who was told of what was committed, and of nothing else.  Nor does it matter
 * what of a story is in one batch.
 * SIDECAR_TEST_SEEDS tells more stories, SIDECAR_TEST_SEED begins elsewhere.
 */
#include "ingest_world.h"

#include <unistd.h>

#define LINKS 2
#define LOCALS 4
#define USERS 6
#define ROOMS 2
#define MESSAGES 150
#define STORIES 4

static const char *const users[USERS] = {"a@here", "b@here",  "c@here",
                                         "d@here", "e@there", "f@there"};
static const char *const rooms_of_it[ROOMS] = {"den@rooms.here", "hall@rooms.here"};
static const uint8_t two_spools[LINKS][16] = {{1, 1, 1}, {2, 2, 2}};

/* --- the story ----------------------------------------------------------------------------
 */

struct said {
    int from;
    int to; /* USERS and more: a room */
    char id[8];
    char text[16];
    unsigned link; /* that has shown it, whatever else has */
    bool has_id;   /* else id is for us alone */
    bool late;     /* its server had kept it */
    bool poison;   /* the archive will not take it */
    bool retracted;
    bool refused;
    bool read;
};

static struct said said[MESSAGES];
static int said_n;
static int poison_lines;
static struct world links[LINKS]; /* what each shows; the hooks tell the first */
static bool may_foretell;
static int64_t begin_us, now_us;
static uint32_t seed;

static unsigned dice(unsigned n)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % n;
}

/* Everything in the order in which it happened: a line of a link, or what comes from no spool.
 */
struct step {
    unsigned link; /* LINKS: of none */
    int owner;
    int peer;          /* -1: all */
    uint8_t published; /* 0: it is read */
};

static struct step steps[8 * MESSAGES];
static size_t steps_n;

static struct step *add_step(unsigned link)
{
    assert_true(steps_n < sizeof steps / sizeof *steps);
    steps[steps_n] = (struct step){.link = link};
    return &steps[steps_n++];
}

static struct event *show(unsigned link, enum event_kind kind, const char *from,
                          const char *to, const char *attrs, const char *inside)
{
    struct world *w = &links[link];
    w->now_us = now_us + (int64_t)dice(1000) * 1000;
    struct event *ev = add(w, kind, from, to, attrs, inside);
    ev->place.spool = link;
    now_us += SECOND;
    (void)add_step(link);
    return ev;
}

static bool is_room(const struct said *s)
{
    return s->to >= USERS;
}

static const char *address(int who)
{
    return who < USERS ? users[who] : rooms_of_it[who - USERS];
}

static struct event *show_said(const struct said *s, unsigned link, int64_t said_us)
{
    char attrs[32] = "", inside[64];
    if (s->has_id)
        snprintf(attrs, sizeof attrs, " id='%s'", s->id);
    snprintf(inside, sizeof inside, "<body>%s</body>", s->text);
    poison_lines += s->poison;
    struct event *ev = show(link, is_room(s) ? EVENT_GROUPCHAT : EVENT_MESSAGE,
                            address(s->from), address(s->to), attrs, inside);
    if (s->late)
        ev->delayed_us = said_us - MINUTE;
    return ev;
}

/* A room tells some of those in it, of whom one is where the message was shown. */
static void show_reflections(const struct said *s)
{
    char attrs[32], inside[160];
    snprintf(attrs, sizeof attrs, " id='%s'", s->id);
    snprintf(inside, sizeof inside,
             "<body>%s</body><stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='of %s'/>"
             "<x xmlns='http://jabber.org/protocol/muc#user'/>",
             s->text, address(s->to), s->text);
    for (unsigned n = dice(3) + 1; n > 0; n--) {
        unsigned link = n == 1 ? s->link : dice(LINKS);
        show(link, EVENT_REFLECTED, address(s->to), users[dice(LOCALS)], attrs, inside)
            ->from_resource = users[s->from];
    }
}

static void show_one_retraction(const struct said *s, unsigned link)
{
    char attrs[32], inside[96];
    snprintf(attrs, sizeof attrs, " id='r%s'", s->id);
    snprintf(inside, sizeof inside, "<retract xmlns='urn:xmpp:message-retract:1' id='%s'/>",
             s->id);
    show(link, is_room(s) ? EVENT_GROUPCHAT : EVENT_MESSAGE, address(s->from), address(s->to),
         attrs, inside);
}

/* What means a message may come before it, where nobody dies who remembers that; and before
 * one that comes late its retraction. */
static void foretell(const struct said *s)
{
    static const enum event_kind kinds[] = {EVENT_BOUNCE, EVENT_MARKER};
    enum event_kind kind = kinds[s->from >= LOCALS && dice(2)];
    if (!may_foretell || !s->has_id || s->to >= LOCALS || s->to == s->from || dice(3) > 0)
        return;
    if (s->late && dice(2))
        show_one_retraction(s, dice(LINKS));
    else
        show(dice(LINKS), kind, address(s->to), address(s->from), "", "")->ref = s->id;
}

static void say(void)
{
    struct said *s = &said[said_n++];
    *s = (struct said){.from = (int)dice(USERS), .link = dice(LINKS)};
    bool in_room = dice(5) == 0;
    s->to = in_room ? USERS + (int)dice(ROOMS) : (int)dice(USERS);
    if (in_room || (s->from >= LOCALS && s->to >= LOCALS))
        s->from = (int)dice(LOCALS);
    /* Everybody counts for himself: the same ids come from many, for other messages. */
    int number = 0;
    for (int i = 0; i < said_n; i++)
        number += said[i].from == s->from;
    s->has_id = in_room || dice(8) > 0;
    s->poison = dice(12) == 0;
    snprintf(s->id, sizeof s->id, "%d", number);
    snprintf(s->text, sizeof s->text, s->poison ? "%d poison" : "text %d", said_n);
    s->late = s->from >= LOCALS && dice(2) == 0;
    foretell(s);
    bool on_both = dice(2) == 0, other_first = dice(2) == 0;
    int64_t said_us = now_us;
    if (on_both && other_first)
        show_said(s, !s->link, said_us);
    show_said(s, s->link, said_us);
    if (on_both && !other_first)
        show_said(s, !s->link, said_us);
    if (in_room)
        show_reflections(s);
}

static void show_copy(const struct said *s)
{
    int64_t sent_us = now_us;
    if (!s->has_id)
        return;
    struct event *ev = show_said(s, dice(LINKS), sent_us);
    if (!is_room(s) && dice(2) == 0)
        ev->delayed_us = sent_us - MINUTE;
    if (is_room(s))
        show_reflections(s);
}

/* Where it was shown, and maybe on the other link as well, which may be read before. */
static void show_meaning(struct said *s, enum event_kind kind, const char *from,
                         const char *to)
{
    if (dice(2) == 0)
        show(!s->link, kind, from, to, "", "")->ref = s->id;
    show(s->link, kind, from, to, "", "")->ref = s->id;
}

static void show_retraction(struct said *s)
{
    if (dice(2) == 0)
        show_one_retraction(s, !s->link);
    show_one_retraction(s, s->link);
    s->retracted = true;
}

static void show_more(const struct said *s)
{
    char inside[160];
    if (dice(2))
        snprintf(inside, sizeof inside,
                 "<body>text %d.%u</body><replace xmlns='urn:xmpp:message-correct:0' "
                 "id='%s'/>",
                 said_n, dice(1000000), s->id);
    else
        snprintf(inside, sizeof inside,
                 "<reactions xmlns='urn:xmpp:reactions:0' id='%s'><reaction>%u</reaction>"
                 "</reactions><store xmlns='urn:xmpp:hints'/>",
                 s->id, dice(1000000));
    show(dice(LINKS), EVENT_MESSAGE, address(s->from), address(s->to), "", inside);
}

static void say_something_of(struct said *s)
{
    bool to_local = s->to < LOCALS && s->to != s->from;
    switch (dice(6)) {
    case 0:
    case 1:
        show_copy(s);
        break;
    case 2:
        if (s->has_id && to_local) {
            show_meaning(s, EVENT_MARKER, address(s->to), address(s->from));
            s->read = true;
        } else if (is_room(s)) {
            show_meaning(s, EVENT_ROOM_MARKER, users[dice(LOCALS)], address(s->to));
        }
        break;
    case 3:
        if (s->has_id && !s->poison) /* which is none when it comes without its text */
            show_retraction(s);
        break;
    case 4:
        if (s->has_id && to_local) {
            show_meaning(s, EVENT_BOUNCE, address(s->to), address(s->from));
            s->refused = true;
        }
        break;
    case 5:
        if (!is_room(s))
            show_more(s);
        break;
    }
}

static struct step something_else(void)
{
    bool published = dice(2) == 0;
    int peer = published ? LOCALS + (int)dice(USERS - LOCALS) : (int)dice(USERS + 1) - 1;
    return (struct step){.link = LINKS,
                         .owner = (int)dice(LOCALS),
                         .peer = peer,
                         .published = published ? (uint8_t)(1 + dice(200)) : 0};
}

static void write_the_story(void)
{
    for (int room = 0; room < ROOMS; room++)
        for (int user = 0; user < LOCALS; user++) {
            struct event *ev =
                show(dice(LINKS), EVENT_MEMBER, rooms_of_it[room], users[user], "", "");
            ev->bond = BOND_AFFILIATION;
            ev->from_resource = "";
        }
    while (said_n < MESSAGES)
        if (dice(10) == 0)
            *add_step(LINKS) = something_else();
        else if (said_n == 0 || dice(2) == 0)
            say();
        else
            say_something_of(&said[said_n - 1 - (int)dice(said_n < 8 ? (unsigned)said_n : 8)]);
}

/* --- a worker over both spools -------------------------------------------------------------
 */

static void offer(unsigned link, size_t lines)
{
    struct world *w = &links[link];
    for (; lines > 0 && w->cursor < w->n; lines--) {
        const struct event *ev = &w->lines[w->cursor].ev;
        if (ingest_event(w->ing, ev) == INGEST_FULL)
            return;
        ingest_passed(w->ing, link, ev->place.end);
        w->cursor++;
    }
}

static bool is_all_committed(void)
{
    struct ingest_stats st;
    bool all = true;
    for (unsigned l = 0; l < LINKS; l++)
        all = all && ingest_committed(links[l].ing, l) == 100 * links[l].n;
    ingest_get_stats(links[0].ing, &st);
    return all && st.queue_rows == 0;
}

/* As an outbox does it: what it adds is there when the batch is. */
static struct {
    struct pg *conn;
    int open;
} told[2]; /* for each connection of this worker */
static int told_n;

static int *told_on(struct pg *conn)
{
    int i = told[0].conn == conn || !told[0].conn ? 0 : 1;
    told[i].conn = conn;
    return &told[i].open;
}

static void on_story_batch(void *ctx, struct pg *conn, const struct unread_change *changes,
                           size_t n)
{
    static const struct pg_statement st = {"story_told",
                                           "INSERT INTO public.told VALUES ($1::int)"};
    struct pg_params p;
    on_batch(ctx, conn, changes, n);
    *told_on(conn) = ((struct world *)ctx)->open_counted;
    pg_params_init(&p);
    pg_add_i32(&p, *told_on(conn));
    pg_send(conn, &st, &p, NULL, NULL);
}

static void on_story_committed(void *ctx, struct pg *conn, bool ok)
{
    on_committed(ctx, conn, ok);
    told_n += ok ? *told_on(conn) : 0;
}

static bool is_worker_ready(void *ctx)
{
    (void)ctx;
    return ingest_ready(links[0].ing);
}

static void open_worker(void)
{
    struct ingest_opts opts = {
        .url = db_url(),
        .archive = &settings,
        .spools = LINKS,
        .spool_ids = two_spools,
        .queue_bytes_max = 64 << 20,
        .queue_rows_max = links[0].rows_max,
        .hooks = {.batch = on_story_batch, .committed = on_story_committed, .ctx = &links[0]}};
    memset(told, 0, sizeof told);
    links[0].ing = links[1].ing = ingest_new(links[0].base, &opts);
    db_loop(links[0].base, is_worker_ready, NULL);
    for (unsigned l = 0; l < LINKS; l++)
        links[l].cursor = ingest_start_position(links[l].ing, l) / 100;
}

/* --- troubles -----------------------------------------------------------------------------
 */

static unsigned lanes;
static int trouble_turns; /* until it is over; 0: there is none */
static bool locking;
static int deaths;

static void prepare_troubles(void)
{
    db_do("CREATE TABLE public.trouble (lane int, state text, at_commit boolean)");
    db_do("CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql AS $$"
          " DECLARE s text := (SELECT t.state FROM public.trouble t"
          "   WHERE t.lane = NEW.lane AND t.at_commit = (TG_WHEN = 'AFTER') LIMIT 1);"
          " BEGIN"
          "  IF s = 'end' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
          "  IF s IS NOT NULL THEN RAISE EXCEPTION 'trouble' USING ERRCODE = s; END IF;"
          "  RETURN NEW; END $$");
    db_do("CREATE TRIGGER trouble BEFORE UPDATE ON xs.lane FOR EACH ROW"
          " EXECUTE FUNCTION public.trouble()");
    db_do("CREATE CONSTRAINT TRIGGER trouble_later AFTER UPDATE ON xs.lane"
          " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.trouble()");
    db_do("ALTER TABLE xs.message ADD CONSTRAINT poison CHECK (body NOT LIKE '%poison')");
}

static void fail_lane(const char *state, bool at_commit)
{
    char sql[128];
    snprintf(sql, sizeof sql, "INSERT INTO public.trouble VALUES (%u, '%s', %s)", dice(lanes),
             state, at_commit ? "true" : "false");
    db_do(sql);
    trouble_turns = 20 + (int)dice(200);
}

static void begin_trouble(void)
{
    static const char *const states[] = {"40001", "40P01", "53200", "57014", "end"};
    char sql[160];
    switch (dice(7)) {
    case 0:
        db_end_sessions();
        break;
    case 1:
        snprintf(sql, sizeof sql,
                 "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                 " current_database() AND application_name = 'xmpp-sidecar lane-%u'",
                 1 + dice(2));
        db_do(sql);
        break;
    case 2:
        ingest_free(&links[0].ing);
        open_worker();
        deaths++;
        break;
    case 3:
        snprintf(sql, sizeof sql, "SELECT FROM xs.lane WHERE lane = %u FOR UPDATE SKIP LOCKED",
                 dice(lanes));
        db_do("BEGIN");
        db_do(sql);
        locking = true;
        trouble_turns = 20 + (int)dice(100);
        break;
    case 4:
    case 5:
        fail_lane(states[dice(5)], false);
        break;
    case 6:
        fail_lane(states[dice(5)], true);
        break;
    }
}

static void end_trouble(void)
{
    if (locking)
        db_do("COMMIT");
    locking = false;
    db_do("DELETE FROM public.trouble");
}

static void on_done(void *ctx, bool done)
{
    (void)ctx, (void)done;
}

static void do_step(const struct step *step)
{
    int64_t deadline = db_now_ms() + 60000;
    struct ingest_provisional p = {.owner_jid = users[step->owner],
                                   .id = (const uint8_t[16]){step->published},
                                   .at_us = now_us - HOUR};
    if (step->published) {
        p.peer_jid = users[step->peer];
        ingest_provisional(links[0].ing, &p, deadline, on_done, NULL);
    } else {
        ingest_mark_read(links[0].ing, users[step->owner],
                         step->peer < 0 ? NULL : users[step->peer], deadline, on_done, NULL);
    }
}

static void play(unsigned troubles)
{
    int64_t end = db_now_ms() + 90000;
    while (!is_all_committed() || trouble_turns > 0) {
        assert_true(db_now_ms() < end);
        for (unsigned l = 0; l < LINKS; l++)
            if (dice(4) == 0)
                offer(l, 1 + dice(dice(4) ? 8 : 60));
        if (dice(50) == 0) {
            struct step step = something_else();
            do_step(&step);
        }
        if (trouble_turns > 0 && --trouble_turns == 0)
            end_trouble();
        if (trouble_turns == 0 && troubles > 0 && dice(30) == 0) {
            troubles--;
            begin_trouble();
        }
        event_base_loop(links[0].base, EVLOOP_NONBLOCK);
        usleep(200);
    }
}

/* --- what must be there -------------------------------------------------------------------
 */

#define OF_PUBLISH "m.flags & 256 = 256"

/* Rows of that text, of which more holds. */
static int with_text(const struct said *s, const char *owner, const char *more)
{
    char sql[640];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.message m JOIN xs.account a USING (owner)"
             " WHERE a.jid = '%s' AND NOT " OF_PUBLISH " AND m.body = '%s' %s",
             owner, s->text, more);
    return (int)db_int(sql);
}

static void expect(int got, int want, const struct said *s, const char *owner,
                   const char *what)
{
    if (got != want)
        fail_msg("\"%s\" of %s to %s, %s at %s: %d, should be %d", s->text, address(s->from),
                 address(s->to), what, owner, got, want);
}

/* What it became where it came in, or in the sender's own archive, or in the room. */
static void expect_said(const struct said *s, const char *owner, bool incoming)
{
    int want = !s->poison && !s->retracted;
    expect(with_text(s, owner, ""), want, s, owner, "rows");
    if (!want)
        return;
    if (incoming && s->refused)
        expect(with_text(s, owner, "AND m.flags & 33 = 32"), 1, s, owner, "refused");
    if (incoming && s->read)
        expect(with_text(s, owner,
                         "AND m.id <= (SELECT c.read_id FROM xs.conversation c"
                         " WHERE c.owner = m.owner AND c.peer = m.peer)"),
               1, s, owner, "read");
    if (!is_room(s))
        return;
    expect(with_text(s, owner, "AND m.flags & 1568 = 512"), 1, s, owner, "shown");
    expect(with_text(s, owner, "AND (m.owner, m.id) IN (SELECT owner, id FROM xs.room_due)"),
           1, s, owner, "to be pushed");
    expect(with_text(s, owner,
                     "AND EXISTS (SELECT FROM xs.room_nick n WHERE n.owner = m.owner"
                     " AND n.peer = m.peer)"),
           1, s, owner, "named");
}

static void expect_the_story(void)
{
    int retracted = 0, rows_n = 0;
    for (int i = 0; i < said_n; i++) {
        const struct said *s = &said[i];
        int sides = is_room(s) ? 1 : (s->from < LOCALS) + (s->to < LOCALS && s->to != s->from);
        rows_n += s->poison ? 0 : sides;
        retracted += s->retracted && !s->poison ? sides : 0;
        if (is_room(s))
            expect_said(s, address(s->to), false);
        if (!is_room(s) && s->from < LOCALS)
            expect_said(s, address(s->from), false);
        if (!is_room(s) && s->to < LOCALS && s->to != s->from)
            expect_said(s, address(s->to), true);
    }
    assert_int_equal(db_int("SELECT count(*) FROM xs.message m WHERE m.body IS NULL AND"
                            " m.flags & (256 + 4 + 512 + 1) = 4"
                            " AND convert_from(m.stanza, 'UTF8') LIKE '%<retracted %'"),
                     retracted);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message m WHERE NOT " OF_PUBLISH " AND"
                            " (m.body ~ '^text [0-9]+$' OR m.flags & 4 = 4)"),
                     rows_n);
    assert_int_equal(db_int("SELECT count(*) FROM (SELECT FROM xs.message"
                            " GROUP BY owner, ref_id, ref_body, peer HAVING count(*) > 1) d"),
                     0);
}

static void begin_story(unsigned number)
{
    memset(links, 0, sizeof links);
    memset(said, 0, sizeof said);
    said_n = poison_lines = deaths = told_n = 0;
    steps_n = 0;
    seed = 7919 * number;
    db_fresh();
    db_do("CREATE TABLE public.told (n int)");
    now_us = begin_us;
    links[0].base = event_base_new();
    links[0].rows_max = 100000;
}

static void end_story(void)
{
    ingest_free(&links[0].ing);
    assert_int_equal(links[0].batches, links[0].ended);
    event_base_free(links[0].base);
    for (unsigned l = 0; l < LINKS; l++) {
        for (size_t i = 0; i < links[l].n; i++)
            stanza_free(&links[l].lines[i].stanza);
        free(links[l].lines);
    }
}

static void tell_story(unsigned number)
{
    may_foretell = false;
    begin_story(number);
    prepare_troubles();
    lanes = number % 2 ? 2 : 8;
    if (lanes == 8) {
        db_do("INSERT INTO xs.lane SELECT n, 0 FROM generate_series(2, 7) n");
        db_do("UPDATE xs.setting SET value = '8' WHERE name = 'lanes'");
    }
    if (number % 3 == 0)
        links[0].rows_max = 6;
    write_the_story();
    open_worker();
    play(number % 4 ? 20 : 0);
    ingest_free(&links[0].ing);
    db_wait_sessions_gone();
    assert_counts_are_right();
    expect_the_story();
    assert_int_equal(db_int("SELECT count(*) FROM xs.quarantine WHERE reason NOT LIKE '23514%'"
                            " OR bytes NOT LIKE '%poison%'::bytea"),
                     0);
    assert_true(db_int("SELECT count(*) FROM xs.quarantine") <= poison_lines);
    if (deaths == 0)
        assert_int_equal(db_int("SELECT coalesce(sum(n), 0) FROM public.told"), told_n);
    end_story();
}

/* --- one batch or many --------------------------------------------------------------------
 */

/* Messages, what was made of them, and how far each conversation is read and counted. */
static const char everything[] =
    "SELECT concat_ws(' ', 'message', m.owner, m.peer, m.ref_id, m.ref_body, m.flags, m.body,"
    "   convert_from(m.stanza, 'UTF8'), m.sent_at) AS line, m.owner, m.id FROM xs.message m"
    " UNION ALL "
    "SELECT concat_ws(' ', 'conversation', c.owner, c.jid, c.unread, c.pending_ref,"
    "   (SELECT count(*) FROM xs.message m WHERE m.owner = c.owner AND m.peer = c.peer"
    "      AND m.id <= c.read_id AND m.flags & 1 = 1),"
    "   (SELECT count(*) FROM xs.message m WHERE m.owner = c.owner AND m.peer = c.peer"
    "      AND m.id <= c.peer_read_id)), c.owner, c.peer FROM xs.conversation c"
    " UNION ALL "
    "SELECT concat_ws(' ', 'account', a.owner, a.jid, a.unread, a.unread_conversations,"
    "   a.proven), a.owner, 0 FROM xs.account a"
    " UNION ALL "
    "SELECT concat_ws(' ', 'due', d.owner, m.body), d.owner, d.id FROM xs.room_due d"
    " JOIN xs.message m ON m.owner = d.owner AND m.id = d.id AND m.flags & 4 = 0"
    " UNION ALL "
    "SELECT concat_ws(' ', 'nick', n.owner, n.peer, n.nick), n.owner, n.peer"
    " FROM xs.room_nick n"
    " UNION ALL "
    "SELECT concat_ws(' ', 'member', r.owner, r.peer, r.bonds, (SELECT count(*)"
    "   FROM xs.message m WHERE m.owner = r.owner AND m.id <= r.read_id)), r.owner, r.peer"
    " FROM xs.room_member r ORDER BY 2, 3, 1";

static void settle_steps(void)
{
    struct ingest_stats st;
    int64_t end = db_now_ms() + 20000;
    do {
        assert_true(db_now_ms() < end);
        event_base_loop(links[0].base, EVLOOP_NONBLOCK);
        usleep(100);
        ingest_get_stats(links[0].ing, &st);
    } while (st.queue_rows > 0);
}

/* So many steps at once, at most; what is everything then? */
static PGresult *live_through(unsigned number, unsigned at_once)
{
    begin_story(number);
    write_the_story();
    open_worker();
    for (size_t i = 0; i < steps_n;) {
        for (size_t n = 1 + dice(at_once); n > 0 && i < steps_n; n--, i++)
            if (steps[i].link == LINKS)
                do_step(&steps[i]);
            else
                offer(steps[i].link, 1);
        settle_steps();
    }
    assert_counts_are_right();
    PGresult *all = PQexec(db, everything);
    assert_int_equal(PQresultStatus(all), PGRES_TUPLES_OK);
    end_story();
    return all;
}

static unsigned number_of(const char *name, unsigned standard)
{
    const char *value = getenv(name);
    return value && *value ? (unsigned)strtoul(value, NULL, 10) : standard;
}

static void what_two_links_show_is_there_once_whatever_happens(void **state)
{
    (void)state;
    unsigned first = number_of("SIDECAR_TEST_SEED", 1),
             n = number_of("SIDECAR_TEST_SEEDS", STORIES);
    for (unsigned i = first; i < first + n; i++) {
        print_message("story %u\n", i);
        tell_story(i);
    }
}

static void assert_same(const PGresult *one, PGresult *other)
{
    int n = PQntuples(one);
    for (int i = 0; i < n && i < PQntuples(other); i++)
        assert_string_equal(PQgetvalue(one, i, 0), PQgetvalue(other, i, 0));
    assert_int_equal(PQntuples(other), n);
    PQclear(other);
}

static void it_is_the_same_in_one_batch_and_in_many(void **state)
{
    (void)state;
    unsigned first = number_of("SIDECAR_TEST_SEED", 1),
             n = number_of("SIDECAR_TEST_SEEDS", STORIES / 2);
    for (unsigned i = first; i < first + n; i++) {
        print_message("story %u\n", i);
        may_foretell = true;
        PGresult *one = live_through(i, 1);
        assert_same(one, live_through(i, 20));
        assert_same(one, live_through(i, 100000));
        PQclear(one);
    }
}

int main(void)
{
    settings.groupchat = true;
    begin_us = (int64_t)time(NULL) * SECOND - 20 * DAY;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_two_links_show_is_there_once_whatever_happens),
        cmocka_unit_test(it_is_the_same_in_one_batch_and_in_many),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
