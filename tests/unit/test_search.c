// SPDX-License-Identifier: Apache-2.0
/* Searching against PostgreSQL, with the index and without, compared with what LIKE finds. */
#include "archive/search.h"

#include "archive/search_block.h"
#include "archive/search_index.h"
#include "database.h"
#include "store/pg.h"

#define OWNER "11111111-2222-3333-4444-555555555555"
#define OTHER "11111111-2222-3333-4444-666666666666"
#define IDS_MAX 20000
#define LOOKED_MAX 6000

static const uint8_t owner[16] = {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33,
                                  0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55};

struct world {
    struct event_base *base;
    struct pg_pool *pool;
    struct search *search;
    struct search_index *index;
    bool found;
    enum search_end end;
    int64_t reached;
    int64_t ids[IDS_MAX];
    size_t n;
};

static bool pool_is_up(void *ctx)
{
    return pg_pool_is_up(((struct world *)ctx)->pool);
}

static struct world *open_world(void)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    db_fresh();
    db_do("SELECT xs.ensure_partitions(0)");
    db_do("INSERT INTO xs.account (owner, jid) VALUES ('" OWNER "', 'me'), ('" OTHER
          "', 'u')");
    w->base = event_base_new();
    struct pg_opts opts = {.url = db_url(),
                           .name = "test",
                           .statement_timeout_ms = 60000,
                           .plans = PG_PLANS_IN_INDEX_ORDER};
    w->pool = pg_pool_new(w->base, &opts, 2);
    w->search = search_new(w->pool, LOOKED_MAX);
    db_loop(w->base, pool_is_up, w);
    return w;
}

static void close_world(struct world *w)
{
    pg_pool_free(&w->pool);
    search_free(&w->search);
    search_index_free(&w->index);
    event_base_free(w->base);
    free(w);
}

static bool index_is_idle(void *ctx)
{
    struct search_index_stats st;
    search_index_get_stats(((struct world *)ctx)->index, &st);
    return st.idle;
}

/* Everything that is enough for a block is in one. */
static void make_index(struct world *w)
{
    if (!w->index)
        w->index = search_index_new(w->base, w->pool, 1);
    search_index_look(w->index, owner);
    db_loop(w->base, index_is_idle, w);
}

static void on_found(void *ctx, const struct search_found *f)
{
    struct world *w = ctx;
    assert_false(w->found);
    w->found = true;
    w->end = f->end;
    w->n = f->n;
    w->reached = f->reached;
    assert_true(f->n <= IDS_MAX);
    memcpy(w->ids, f->ids, f->n * sizeof *f->ids);
}

static bool is_found(void *ctx)
{
    return ((struct world *)ctx)->found;
}

static void find(struct world *w, const char *text, uint64_t peer, int64_t low, int64_t high,
                 bool backward, size_t want)
{
    struct search_text t;
    struct search_request r = {
        .peer = peer, .low = low, .high = high, .backward = backward, .want = want};
    memcpy(r.owner, owner, sizeof owner);
    assert_int_equal(search_read(w->search, text, &t), SEARCH_TEXT_GOOD);
    w->found = false;
    search_find(w->search, &r, &t, on_found, w);
    assert_false(w->found);
    db_loop(w->base, is_found, w);
}

/* n messages, ids 1000 apart; the body is an SQL expression over i, which goes on from the
 * owner's last one. */
static void add(const char *who, int n, const char *body)
{
    char sql[2048];
    snprintf(
        sql, sizeof sql,
        "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, body, stanza)"
        " SELECT '%s', xs.id_from_time(date_trunc('quarter', now())) + i * 1000, i %% 5 + 1,"
        "   gen_random_uuid(), 0, 0, %s, 'x'"
        " FROM (SELECT count(*) AS n FROM xs.message WHERE owner = '%s') c,"
        "   generate_series(c.n + 1, c.n + %d) i",
        who, body, who, n);
    db_do(sql);
}

/* What LIKE finds, in lower case (the bodies of these tests need no more folding). */
static size_t like(const char *pattern, uint64_t peer, int64_t low, int64_t high,
                   bool backward, size_t want, int64_t *out)
{
    char sql[2048];
    snprintf(sql, sizeof sql,
             "SELECT m.id FROM xs.message m WHERE owner = '" OWNER
             "' AND lower(body) LIKE '%s'"
             " AND (%llu = 0 OR peer = %llu) AND id > %lld AND id < %lld AND flags & 44 = 0"
             " ORDER BY id %s LIMIT %zu",
             pattern, (unsigned long long)peer, (unsigned long long)peer, (long long)low,
             (long long)high, backward ? "DESC" : "", want);
    PGresult *r = PQexec(db, sql);
    assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
    size_t n = (size_t)PQntuples(r);
    for (size_t i = 0; i < n; i++)
        out[i] = strtoll(PQgetvalue(r, (int)i, 0), NULL, 10);
    PQclear(r);
    return n;
}

static void expect_like(struct world *w, const char *text, const char *pattern, uint64_t peer,
                        int64_t low, int64_t high, bool backward, size_t want)
{
    static int64_t ids[IDS_MAX];
    size_t n = like(pattern, peer, low, high, backward, want, ids);
    find(w, text, peer, low, high, backward, want);
    if (w->n != n || memcmp(w->ids, ids, n * sizeof *ids) != 0)
        fail_msg("\"%s\" peer=%d low=%lld high=%lld backward=%d want=%zu: %zu instead of %zu",
                 text, (int)peer, (long long)low, (long long)high, backward, want, w->n, n);
    assert_int_equal(w->end, n == want ? SEARCH_ENOUGH : SEARCH_ALL);
}

/* Words of every frequency: one in 2, 7, 100 and 900 messages, and one that never is. */
#define BODY                                                                                  \
    "'Number ' || i || CASE WHEN i % 2 = 0 THEN ' Meeting' ELSE ' 会议改到三点' END"    \
    " || CASE WHEN i % 7 = 0 THEN ' 明天去北京出差' ELSE '' END"                       \
    " || CASE WHEN i % 100 = 0 THEN ' KUBERNETES 100%' ELSE '' END"                           \
    " || CASE WHEN i % 900 = 0 THEN ' a_b needle' ELSE '' END"

/* Every step-th of the words, in all directions, from all sides. */
static void check_words(struct world *w, size_t step)
{
    static const struct {
        const char *text;
        const char *pattern;
    } words[] = {
        {"会议", "%会议%"},
        {"北京", "%北京%"},
        {"京北", "%京北%"},
        {"kubernetes", "%kubernetes%"},
        {"NEEDLE", "%needle%"},
        {"meeting", "%meeting%"},
        {"ｍｅｅｔｉｎｇ", "%meeting%"},
        {"a_b", "%a\\_b%"},
        {"100%", "%100\\%%"},
        {"需要", "%需要%"},
        {"出差 会议", "%会议%出差%"},
        {"er 7", "%er%7%"},
        {"三", "%三%"},
    };
    int64_t first = db_int("SELECT min(id) FROM xs.message WHERE owner = '" OWNER "'");
    int64_t last = db_int("SELECT max(id) FROM xs.message WHERE owner = '" OWNER "'");
    for (size_t i = 1; i < sizeof words / sizeof *words; i += step)
        for (int backward = 0; backward < 2; backward++) {
            const char *text = words[i].text, *like_it = words[i].pattern;
            expect_like(w, text, like_it, 0, -1, INT64_MAX, backward, 3);
            expect_like(w, text, like_it, 0, -1, INT64_MAX, backward, 5000);
            expect_like(w, text, like_it, 3, -1, INT64_MAX, backward, 40);
            expect_like(w, text, like_it, 0, first + 999000, last - 1500000, backward, 5000);
            expect_like(w, text, like_it, 0, last - 3000, last + 1, backward, 50);
        }
}

/* --- tests ------------------------------------------------------------------------------- */

static void without_an_index_messages_are_read(void **state)
{
    (void)state;
    struct world *w = open_world();
    find(w, "会议", 0, -1, INT64_MAX, true, 10);
    assert_int_equal(w->end, SEARCH_ALL);
    add(OWNER, 1500, BODY);
    check_words(w, 5);
    close_world(w);
}

static void with_an_index_the_same_is_found(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 5000, BODY);
    add(OTHER, 2000, "'会议 needle'");
    make_index(w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block WHERE owner = '" OWNER "'"),
                     4);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block WHERE owner = '" OTHER "'"),
                     1); /* found by looking at all accounts */
    check_words(w, 1);
    /* The tail is read, however long it becomes before the next block. */
    add(OWNER, 700, BODY);
    check_words(w, 5);
    close_world(w);
}

/* A rare word is found without reading the messages, which are too many for one answer. */
static void a_rare_word_is_found_by_the_index(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 12000, BODY "|| CASE i WHEN 17 THEN ' 长城' ELSE '' END");
    make_index(w);
    expect_like(w, "长城", "%长城%", 0, -1, INT64_MAX, true, 50);
    assert_int_equal(w->n, 1);
    expect_like(w, "城长", "%城长%", 0, -1, INT64_MAX, true, 50);
    /* A word of one character is looked for in so many messages, then the search ends and
     * says where. */
    find(w, "城", 0, -1, INT64_MAX, true, 50);
    assert_int_equal(w->end, SEARCH_WEARY);
    assert_int_equal(w->n, 0);
    int64_t low = db_int("SELECT min(id) FROM xs.message WHERE owner = '" OWNER "'");
    assert_true(w->reached > low &&
                w->reached < low + (12000 - LOOKED_MAX + 1) * INT64_C(1000));
    find(w, "城", 0, -1, w->reached, true, 50);
    assert_int_equal(w->end, SEARCH_ALL);
    assert_int_equal(w->n, 1);
    close_world(w);
}

static void what_is_gone_is_not_found(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 1500, BODY);
    /* Before the block is made, and after. */
    for (int pass = 0; pass < 2; pass++) {
        char sql[512];
        for (int flag = 4; flag <= 32; flag *= flag == 8 ? 4 : 2) {
            snprintf(sql, sizeof sql,
                     "UPDATE xs.message SET flags = flags | %d WHERE owner = '" OWNER
                     "' AND id IN (SELECT id FROM xs.message WHERE %s AND owner = '" OWNER
                     "' AND flags = 0 AND body LIKE '%%北京%%' LIMIT 20)",
                     flag, pass ? "id % 2 = 0" : "1 = 1");
            db_do(sql);
        }
        db_do("DELETE FROM xs.message WHERE owner = '" OWNER "' AND id IN (SELECT id FROM"
              " xs.message WHERE owner = '" OWNER "' AND flags = 0 AND body LIKE '%北京%'"
              " LIMIT 20)");
        check_words(w, 5);
        make_index(w);
        check_words(w, 5);
    }
    close_world(w);
}

static void nothing_of_what_is_forgotten_stays_in_the_index(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 4096, BODY);
    make_index(w);
    /* The second block and the third are hit. */
    db_do("BEGIN; DELETE FROM xs.message WHERE owner = '" OWNER "' AND id IN (SELECT id FROM"
          " xs.message WHERE owner = '" OWNER "' ORDER BY id OFFSET 2000 LIMIT 100);"
          "SELECT xs.search_forget('" OWNER "', m.low + 2000000, m.low + 2099000)"
          " FROM (SELECT min(id) AS low FROM xs.message WHERE owner = '" OWNER "') m; COMMIT");
    assert_int_equal(db_int("SELECT count(DISTINCT above) FROM xs.search_bucket"), 2);
    check_words(w, 5);
    make_index(w);
    assert_int_equal(db_int("SELECT count(DISTINCT above) FROM xs.search_bucket"), 4);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block WHERE ids IS NULL"), 0);
    check_words(w, 5);
    db_do("BEGIN; DELETE FROM xs.account WHERE owner = '" OWNER "';"
          "DELETE FROM xs.message WHERE owner = '" OWNER "';"
          "SELECT xs.search_forget('" OWNER "', 0, 9223372036854775807); COMMIT");
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_bucket"), 0);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block"), 0);
    close_world(w);
}

static bool index_waits_to_write(void *ctx)
{
    (void)ctx;
    return db_int("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                  " WHERE c.relname = 'search_bucket' AND NOT l.granted") > 0;
}

/* The block's messages have been read, and it is not written yet. */
static void what_is_forgotten_while_a_block_is_made_does_not_come_back(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 1024, BODY);
    db_do("BEGIN; LOCK TABLE xs.search_bucket IN SHARE MODE");
    w->index = search_index_new(w->base, w->pool, 1);
    search_index_look(w->index, owner);
    db_loop(w->base, index_waits_to_write, w);
    db_do("UPDATE xs.message SET body = NULL, flags = flags | 4 WHERE owner = '" OWNER "' AND"
          " id = (SELECT id FROM xs.message WHERE owner = '" OWNER "' ORDER BY id OFFSET 500"
          " LIMIT 1)");
    db_do("SELECT xs.search_forget(owner, id, id) FROM xs.message WHERE body IS NULL");
    db_do("COMMIT");
    db_loop(w->base, index_is_idle, w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block WHERE ids IS NOT NULL"), 1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block b, xs.message m"
                            " WHERE m.id = ANY (b.ids) AND m.body IS NULL"),
                     0);
    check_words(w, 5);
    close_world(w);
}

/* As an account removes what it said with one peer (XEP-0136). */
static void what_is_removed_leaves_nothing_in_the_index(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 2048, BODY);
    make_index(w);
    assert_int_equal(db_int("SELECT count(DISTINCT above) FROM xs.search_bucket"), 2);
    db_do("INSERT INTO xs.account (owner, jid) VALUES ('" OWNER "', 'mei@here')"
          " ON CONFLICT DO NOTHING;"
          "INSERT INTO xs.conversation (owner, peer, jid, first_id, last_id)"
          " VALUES ('" OWNER "', 1, 'li@here', 1, 1) ON CONFLICT DO NOTHING;"
          "INSERT INTO xs.collected VALUES ('" OWNER "', 0, 1);"
          "INSERT INTO xs.collection (owner, peer, start_us, jid, first_id, last_id, version,"
          "   changed) SELECT '" OWNER "', 1, 1, 'li@here', min(id), max(id), 0, 1"
          " FROM (SELECT id FROM xs.message WHERE owner = '" OWNER "' AND peer = 1"
          "   ORDER BY id LIMIT 50) m");
    assert_int_equal(db_int("SELECT gone FROM xs.collections_remove('" OWNER
                            "', 0, 1, NULL, 0,"
                            " 9223372036854775807, 0, 0, 2, 1000)"),
                     1);
    assert_int_equal(db_int("SELECT count(*) FROM xs.message WHERE body IS NULL"), 50);
    assert_int_equal(db_int("SELECT count(DISTINCT above) FROM xs.search_bucket"), 1);
    check_words(w, 5);
    close_world(w);
}

/* Page by page, while messages come and blocks are made: what was there when it began comes
 * exactly once, in order. */
static void paging_while_messages_arrive(void **state)
{
    (void)state;
    struct world *w = open_world();
    static int64_t want[IDS_MAX];
    for (int backward = 0; backward < 2; backward++) {
        add(OWNER, 1200, BODY);
        make_index(w);
        size_t n = like("%北京%", 0, -1, INT64_MAX, backward, IDS_MAX, want), seen = 0;
        int64_t low = -1, high = INT64_MAX;
        for (bool more = true; more; more = w->end == SEARCH_ENOUGH) {
            find(w, "北京", 0, low, high, backward, 29);
            for (size_t i = 0; i < w->n; i++, seen++)
                assert_true(seen >= n ? !backward : w->ids[i] == want[seen]);
            if (w->n > 0)
                *(backward ? &high : &low) = w->ids[w->n - 1];
            if (seen < n) { /* for ever, it would never come to an end */
                add(OWNER, 90, BODY);
                make_index(w);
            }
        }
        assert_true(seen >= n);
    }
    close_world(w);
}

static void large_bodies_end_a_block_sooner(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 1100,
        "CASE WHEN i % 10 = 3 THEN repeat('lorem ipsum ' || i || ' ', 4000)"
        " ELSE 'short ' || i END");
    make_index(w);
    assert_true(db_int("SELECT max(cardinality(ids)) FROM xs.search_block") < 500);
    expect_like(w, "lorem", "%lorem%", 0, -1, INT64_MAX, true, 500);
    expect_like(w, "lorem", "%lorem%", 0, -1, INT64_MAX, false, 500);
    expect_like(w, "1093", "%1093%", 0, -1, INT64_MAX, false, 500);
    close_world(w);
}

/* Of two workers one makes the block, the other does nothing. */
static void two_that_make_an_index_make_one(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 6000, BODY);
    struct search_index *other = search_index_new(w->base, w->pool, 1);
    make_index(w);
    struct search_index *mine = w->index;
    w->index = other;
    db_loop(w->base, index_is_idle, w);
    w->index = mine;
    struct search_index_stats a, b;
    search_index_get_stats(mine, &a);
    search_index_get_stats(other, &b);
    assert_int_equal(a.blocks + b.blocks, 5);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block"), 5);
    check_words(w, 5);
    pg_pool_free(&w->pool);
    search_index_free(&other);
    close_world(w);
}

static void a_paused_index_goes_on_later(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 1100, BODY);
    w->index = search_index_new(w->base, w->pool, 1);
    search_index_pause(w->index, true);
    search_index_look(w->index, owner);
    find(w, "北京", 0, -1, INT64_MAX, true, 5);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block"), 0);
    search_index_pause(w->index, false);
    db_loop(w->base, index_is_idle, w);
    assert_int_equal(db_int("SELECT count(*) FROM xs.search_block"), 1);
    close_world(w);
}

static void without_postgresql_the_search_says_so(void **state)
{
    (void)state;
    struct world *w = open_world();
    add(OWNER, 100, BODY);
    struct search_text t;
    struct search_request r = {.low = -1, .high = INT64_MAX, .want = 5};
    assert_int_equal(search_read(w->search, "北京", &t), SEARCH_TEXT_GOOD);
    search_find(w->search, &r, &t, on_found, w);
    pg_pool_free(&w->pool);
    assert_true(w->found);
    assert_int_equal(w->end, SEARCH_AWAY);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_an_index_messages_are_read),
        cmocka_unit_test(with_an_index_the_same_is_found),
        cmocka_unit_test(a_rare_word_is_found_by_the_index),
        cmocka_unit_test(what_is_gone_is_not_found),
        cmocka_unit_test(nothing_of_what_is_forgotten_stays_in_the_index),
        cmocka_unit_test(what_is_removed_leaves_nothing_in_the_index),
        cmocka_unit_test(what_is_forgotten_while_a_block_is_made_does_not_come_back),
        cmocka_unit_test(paging_while_messages_arrive),
        cmocka_unit_test(large_bodies_end_a_block_sooner),
        cmocka_unit_test(two_that_make_an_index_make_one),
        cmocka_unit_test(a_paused_index_goes_on_later),
        cmocka_unit_test(without_postgresql_the_search_says_so),
    };
    return cmocka_run_group_tests(tests, db_open, db_close);
}
