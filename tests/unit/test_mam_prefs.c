// SPDX-License-Identifier: Apache-2.0
/* Preferences over a real database: asked for and set as clients do, and honoured. */
#include "archive/mam_prefs.h"

#include "ingest_world.h"

#include "archive/lookup.h"
#include "archive/prefs_store.h"
#include "archive/request.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/stanza.h"

#define PREFS(attrs, inside) "<prefs xmlns='urn:xmpp:mam:2'" attrs ">" inside "</prefs>"
#define ANSWER(mode, always, never)                                                           \
    "<prefs xmlns=\"urn:xmpp:mam:2\" default=\"" mode "\">" always never "</prefs>"

struct prefs_world {
    struct world w;
    struct pg_pool *pool;
    struct lookups *lookups;
    struct prefs_store *store;
    struct stanza *asked;
    bool rosters;
    bool answered;
    struct buf answer; /* what came: XML, or "type condition" */
    char roster_of[64];
};

static void on_roster(void *ctx, const char *owner_jid)
{
    struct prefs_world *p = ctx;
    snprintf(p->roster_of, sizeof p->roster_of, "%s", owner_jid);
}

static bool pool_is_up(void *ctx)
{
    return pg_pool_is_up(((struct prefs_world *)ctx)->pool);
}

static struct lookups *new_lookups(struct prefs_world *p)
{
    struct lookups_opts opts = {.pages = p->pool,
                                .scans = p->pool,
                                .probe = p->pool,
                                .ingest = p->w.ing,
                                .within_ms = LOOKUP_WITHIN_MS};
    return lookups_new(p->w.base, &opts);
}

static void prefs_begin(struct prefs_world *p, enum prefs_mode standard)
{
    memset(p, 0, sizeof *p);
    settings.prefs_default = standard;
    begin(&p->w);
    settings.prefs_default = PREFS_ALWAYS;
    struct pg_opts opts = {.url = p->w.url, .name = "reader", .statement_timeout_ms = 60000};
    p->pool = pg_pool_new(p->w.base, &opts, 1);
    db_loop(p->w.base, pool_is_up, p);
    p->lookups = new_lookups(p);
    p->store = prefs_store_new(&settings, p->lookups, p->w.ing);
    p->rosters = true;
    buf_init(&p->answer, 1 << 20);
}

static void prefs_end(struct prefs_world *p)
{
    lookups_stop(p->lookups);
    ingest_free(&p->w.ing);
    pg_pool_free(&p->pool);
    prefs_store_free(&p->store);
    lookups_free(&p->lookups);
    stanza_free(&p->asked);
    buf_deinit(&p->answer);
    end(&p->w);
}

static void on_done(void *ctx, struct stanza *payload)
{
    struct prefs_world *p = ctx;
    stanza_write(&p->answer, payload, NULL);
    p->answered = true;
}

static void on_error(void *ctx, const char *type, const char *condition, const char *text)
{
    struct prefs_world *p = ctx;
    (void)text;
    buf_addf(&p->answer, "%s %s", type, condition);
    p->answered = true;
}

static bool is_answered(void *ctx)
{
    return ((struct prefs_world *)ctx)->answered;
}

static void ask(struct prefs_world *p, bool is_set, const char *xml)
{
    struct err e;
    stanza_free(&p->asked);
    p->asked = xml_parse_element(xml, strlen(xml), &e);
    assert_non_null(p->asked);
    buf_reset(&p->answer);
    p->answered = false;
    struct archive_request r = {.payload = p->asked, .is_set = is_set, .account = "mei@here"};
    struct archive_answer answer = {.done = on_done, .error = on_error, .ctx = p};
    mam_prefs_ask(p->store, &r, p->rosters, &answer);
}

static void expect(struct prefs_world *p, bool is_set, const char *xml, const char *answer)
{
    ask(p, is_set, xml);
    db_loop(p->w.base, is_answered, p);
    assert_string_equal(buf_cstr(&p->answer), answer);
}

static void p1_p2_p8_what_is_in_force_is_told(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    expect(&p, false, PREFS("", ""), ANSWER("always", "<always/>", "<never/>"));
    expect(&p, true,
           PREFS(" default='never'",
                 "<always><jid>Lao.Wang@THERE</jid></always>"
                 "<never><jid>li@here/Pad</jid><jid>x@there</jid></never>"),
           ANSWER("never", "<always><jid>lao.wang@there</jid></always>",
                  "<never><jid>li@here/Pad</jid><jid>x@there</jid></never>"));
    expect(&p, false, PREFS("", ""),
           ANSWER("never", "<always><jid>lao.wang@there</jid></always>",
                  "<never><jid>li@here/Pad</jid><jid>x@there</jid></never>"));
    /* Only the mode, as Monal sends it: the lists are empty now. */
    expect(&p, true, PREFS(" default='roster'", ""),
           ANSWER("roster", "<always/>", "<never/>"));
    expect(&p, false, PREFS("", ""), ANSWER("roster", "<always/>", "<never/>"));
    /* The same list twice, as Martin sends it. */
    expect(
        &p, true,
        PREFS(" default='always'",
              "<always><jid>a@there</jid></always><always><jid>b@there</jid></always>"),
        ANSWER("always", "<always><jid>a@there</jid><jid>b@there</jid></always>", "<never/>"));
    /* In the version of the protocol that was asked. */
    expect(&p, false, "<prefs xmlns='urn:xmpp:mam:1'/>",
           "<prefs xmlns=\"urn:xmpp:mam:1\" default=\"always\"><always>"
           "<jid>a@there</jid><jid>b@there</jid></always><never/></prefs>");
    prefs_end(&p);
}

static void p3_what_cannot_be_set_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    p.rosters = false;
    expect(&p, true, PREFS("", ""), "modify bad-request");
    expect(&p, true, PREFS(" default='sometimes'", ""), "modify bad-request");
    expect(&p, true, PREFS(" default='roster'", ""), "cancel feature-not-implemented");
    expect(&p, true, PREFS(" default='never'", "<never><jid>@</jid></never>"),
           "modify jid-malformed");
    struct buf many;
    buf_init(&many, 1 << 20);
    buf_add_str(&many, "<prefs xmlns='urn:xmpp:mam:2' default='never'><never>");
    for (int i = 0; i < 5000; i++)
        buf_addf(&many, "<jid>somebody%d@there</jid>", i);
    buf_add_str(&many, "</never></prefs>");
    expect(&p, true, buf_cstr(&many), "modify policy-violation");
    buf_deinit(&many);
    assert_int_equal(db_int("SELECT count(*) FROM xs.prefs"), 0);
    prefs_end(&p);
}

static int kept(const char *owner)
{
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM xs.message m JOIN xs.account a USING (owner)"
             " WHERE a.jid = '%s' AND m.stanza <> '' AND m.flags & 32 = 0",
             owner);
    return (int)db_int(sql);
}

static void
what_came_before_goes_by_the_old_rules_and_what_comes_after_by_the_new(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    message(&p.w, "li@here", "mei@here", "1");
    offer_up_to(&p.w, p.w.n);
    ask(&p, true, PREFS(" default='never'", "<always><jid>wang@there/pc</jid></always>"));
    message(&p.w, "li@here", "mei@here", "2");
    message(&p.w, "mei@here", "li@here", "3");
    message(&p.w, "wang@there", "mei@here", "4"); /* from another resource */
    message(&p.w, "wang@there", "mei@here", "5")->from_resource = "pc";
    settle(&p.w);
    assert_counts_are_right();
    assert_int_equal(kept("mei@here"), 2); /* 1 and 5 */
    assert_int_equal(kept("li@here"), 3);  /* his archive is his own business */
    assert_int_equal(
        db_int("SELECT count(*) FROM xs.message WHERE stanza = '' AND body IS NULL"), 2);
    /* What is not archived waits to be read all the same: 3 read what came from li. */
    assert_int_equal(unread_of("mei@here", "li@here"), 0);
    assert_int_equal(unread_of("mei@here", "wang@there"), 2);
    prefs_end(&p);
}

static void another_worker_that_has_changed_preferences_is_noticed(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    message(&p.w, "far@there", "mei@here", "1");
    settle(&p.w);
    db_do("INSERT INTO xs.prefs SELECT owner, 1, '{}', '{}' FROM xs.account");
    db_do("UPDATE xs.lane SET last_id = last_id + 1");
    message(&p.w, "far@there", "mei@here", "2");
    settle(&p.w);
    assert_int_equal(kept("mei@here"), 1);
    assert_int_equal(unread_of("mei@here", "far@there"), 2);
    prefs_end(&p);
}

static void what_cannot_be_written_now_is_written_later_in_its_place(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    message(&p.w, "far@there", "mei@here", "1");
    settle(&p.w);
    db_do("ALTER TABLE xs.prefs RENAME TO away");
    ask(&p, true, PREFS(" default='never'", ""));
    db_loop(p.w.base, is_answered, &p);
    assert_string_equal(buf_cstr(&p.answer), "wait internal-server-error");
    message(&p.w, "far@there", "mei@here", "2");
    offer_up_to(&p.w, p.w.n);
    db_do("ALTER TABLE xs.away RENAME TO prefs");
    settle(&p.w);
    assert_int_equal(kept("mei@here"), 1);
    assert_int_equal(db_int("SELECT mode FROM xs.prefs"), PREFS_NEVER);
    prefs_end(&p);
}

static void the_operators_rule_holds_for_who_has_none(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_NEVER);
    message(&p.w, "li@here", "mei@here", "1");
    settle(&p.w);
    assert_int_equal(kept("mei@here") + kept("li@here"), 0);
    assert_int_equal(unread_of("mei@here", "li@here"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.account"), 1); /* li has nothing */
    prefs_end(&p);
}

/* The world's ingest with other settings. */
static void reopen(struct prefs_world *p)
{
    prefs_store_free(&p->store);
    lookups_free(&p->lookups);
    restart(&p->w);
    p->lookups = new_lookups(p);
    p->store = prefs_store_new(&settings, p->lookups, p->w.ing);
}

static bool prefs_are_written(void *ctx)
{
    (void)ctx;
    return db_int("SELECT count(*) FROM xs.prefs") == 1;
}

static void what_finds_the_queue_full_is_refused(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    p.w.rows_max = 1;
    reopen(&p);
    db_do("ALTER TABLE xs.prefs RENAME TO away");
    for (int i = 0; i < 2; i++) {
        ask(&p, true, i ? PREFS(" default='roster'", "") : PREFS(" default='never'", ""));
        db_loop(p.w.base, is_answered, &p);
        assert_string_equal(buf_cstr(&p.answer), "wait internal-server-error");
    }
    ingest_set_roster(p.w.ing, "mei@here", "a@there");
    db_do("ALTER TABLE xs.away RENAME TO prefs");
    db_loop(p.w.base, prefs_are_written, NULL);
    expect(&p, false, PREFS("", ""), ANSWER("never", "<always/>", "<never/>"));
    assert_int_equal(db_int("SELECT count(*) FROM xs.roster"), 0);
    prefs_end(&p);
}

static void a_roster_is_wanted_then_decides_and_is_there_for_the_next_worker(void **state)
{
    (void)state;
    struct prefs_world p;
    prefs_begin(&p, PREFS_ALWAYS);
    p.w.roster = on_roster;
    p.w.roster_ctx = &p;
    reopen(&p);
    p.w.now_us = p.w.now_us + 20 * DAY; /* a roster is as old as our clock says */
    expect(&p, true, PREFS(" default='roster'", ""),
           ANSWER("roster", "<always/>", "<never/>"));
    message(&p.w, "friend@there", "mei@here", "1");
    settle(&p.w);
    assert_string_equal(p.roster_of, "mei@here");
    assert_int_equal(kept("mei@here"), 1);
    ingest_set_roster(p.w.ing, "mei@here", "friend@there\nother@there\n");
    message(&p.w, "friend@there", "mei@here", "2");
    message(&p.w, "stranger@there", "mei@here", "3");
    message(&p.w, "mei@here", "mei@here", "4"); /* a note to oneself */
    settle(&p.w);
    assert_int_equal(kept("mei@here"), 3);
    /* It changes: asked for again, and everything is kept until it is known. */
    p.roster_of[0] = '\0';
    ingest_roster_changed(p.w.ing, "mei@here");
    ingest_roster_changed(p.w.ing, "li@here"); /* his decides nothing */
    message(&p.w, "stranger@there", "mei@here", "4a");
    settle(&p.w);
    assert_string_equal(p.roster_of, "mei@here");
    assert_int_equal(kept("mei@here"), 4);
    assert_int_equal(db_int("SELECT count(*) FROM xs.roster"), 0);
    ingest_set_roster(p.w.ing, "mei@here", "friend@there\nother@there\n");
    message(&p.w, "stranger@there", "mei@here", "4b");
    settle(&p.w);
    assert_int_equal(kept("mei@here"), 4);
    p.roster_of[0] = '\0';
    restart(&p.w);
    message(&p.w, "stranger@there", "mei@here", "5");
    message(&p.w, "other@there", "mei@here", "6");
    settle(&p.w);
    assert_int_equal(kept("mei@here"), 5);
    assert_string_equal(p.roster_of, "");
    prefs_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p1_p2_p8_what_is_in_force_is_told),
        cmocka_unit_test(p3_what_cannot_be_set_is_refused_and_changes_nothing),
        cmocka_unit_test(
            what_came_before_goes_by_the_old_rules_and_what_comes_after_by_the_new),
        cmocka_unit_test(another_worker_that_has_changed_preferences_is_noticed),
        cmocka_unit_test(what_cannot_be_written_now_is_written_later_in_its_place),
        cmocka_unit_test(what_finds_the_queue_full_is_refused),
        cmocka_unit_test(the_operators_rule_holds_for_who_has_none),
        cmocka_unit_test(a_roster_is_wanted_then_decides_and_is_there_for_the_next_worker),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
