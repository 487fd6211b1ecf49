// SPDX-License-Identifier: Apache-2.0
/* Whatever is asked of an archive whose rows stand close together, hide and go: the page is
 * what an array says it is, and who pages misses nothing and sees nothing twice. */
#include "archive/mam.h"

#include "archive_world.h"
#include "roll.h"

#include "archive/rows.h"
#include "archive/search.h"
#include "base/datetime.h"

#define MEI "mei@chat.example"
#define BORDER_US INT64_C(1790812800000000) /* 2026-10-01T00:00:00Z: two quarters meet */
#define ROWS_MAX 200
#define PEERS 3
#define RESOURCES 2
#define WORDS 3

struct row {
    int64_t id;
    unsigned peer;
    unsigned resource;
    unsigned words; /* bits */
    bool findable;
    bool shown;
    bool always; /* since the walk began */
};

static struct row rows[ROWS_MAX]; /* by id */
static unsigned rows_n;
static struct mam *mam;
static struct search *search;

/* What the last question was answered with. */
static struct page {
    int64_t ids[ROWS_MAX + 1];
    unsigned n;
} page;

/* --- rows -------------------------------------------------------------------------------- */

static const char *peer_name(unsigned peer)
{
    static const char *const names[PEERS] = {"wang@chat.example",
                                             "d\\27artagnan@other.example", "news.example"};
    return names[peer];
}

/* Names that need escaping, and differ in case alone. */
static const char *resource_name(unsigned resource)
{
    return resource ? "A&B \"x\"" : "a&b \"x\"";
}

static void add_words(const struct row *r)
{
    static const char *const words[WORDS] = {"alpha", "beta", "gamma"};
    char sql[256], body[64] = "of";
    for (unsigned i = 0; i < WORDS; i++)
        if (r->words >> i & 1)
            (void)strcat(strcat(body, " "), words[i]);
    snprintf(sql, sizeof sql,
             "UPDATE xs.message SET body = '%s', flags = flags | %d WHERE id = %lld", body,
             r->findable ? 0 : ROW_ENCRYPTED, (long long)r->id);
    db_do(sql);
}

/* Small ones, and such that a page is read twice for. */
static void put(int64_t id, bool shown)
{
    static char stanza[40000];
    struct row *r = &rows[rows_n++];
    struct buf to;
    *r = (struct row){.id = id,
                      .peer = roll(PEERS),
                      .resource = roll(RESOURCES),
                      .words = roll(1 << WORDS),
                      .findable = roll(8) != 0,
                      .shown = shown};
    bool out = roll(3) == 0;
    int pad = roll(8) == 0 ? 17000 + (int)roll(8000) : (int)roll(40);
    buf_init(&to, 256);
    xml_escape_str(&to, peer_name(r->peer));
    buf_add_char(&to, '/');
    xml_escape_str(&to, resource_name(r->resource));
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s\" to=\"%s\"><body>%0*d</body>"
             "</message>",
             out ? MEI "/pad" : buf_cstr(&to), out ? buf_cstr(&to) : MEI, pad, 0);
    buf_deinit(&to);
    archive_put(MEI, peer_name(r->peer), id,
                (out ? ROW_OUTGOING : 0) | (shown ? 0 : ROW_HIDDEN), stanza);
    add_words(r);
}

static void put_many(unsigned n)
{
    int64_t id = ident_id_from_us(BORDER_US - (int64_t)n * 400);
    for (unsigned i = 0; i < n; i++) {
        static const int64_t steps[] = {1, 1, 2, 255, 256, 512, 256 * 999, 256 * 1000};
        id += steps[roll(8)];
        put(id, roll(5) != 0);
    }
}

/* --- asking ------------------------------------------------------------------------------ */

static bool on_result(void *ctx, const void *xml, size_t len)
{
    uint8_t owner[OWNER_BYTES];
    char text[ARCHIVE_ID_BYTES];
    (void)ctx;
    const char *id = memmem(xml, len, " id=\"", 5);
    assert_non_null(id);
    snprintf(text, sizeof text, "%.36s", id + 5);
    ident_owner(ingest_ident(ing), MEI, owner);
    assert_true(page.n < ROWS_MAX);
    assert_true(ident_archive_id_parse(ingest_ident(ing), owner, text, &page.ids[page.n++]));
    return true;
}

static void begin_ask(const struct archive_request *r, const struct archive_answer *answer)
{
    mam_ask(mam, r, answer);
}

static void ask(const char *xml)
{
    page = (struct page){.n = 0};
    (void)archive_ask_each(begin_ask, MEI, true, xml, on_result);
}

static bool is_refused(void)
{
    return *told.answer != '<';
}

static void add_id(struct buf *out, int64_t id)
{
    uint8_t owner[OWNER_BYTES];
    char text[ARCHIVE_ID_BYTES];
    ident_owner(ingest_ident(ing), MEI, owner);
    ident_archive_id(ingest_ident(ing), owner, id, text);
    buf_add_str(out, text);
}

/* --- what is asked, as numbers ----------------------------------------------------------- */

struct query {
    int peer;     /* -1: any, PEERS: somebody without a message */
    int resource; /* -1: any */
    int64_t low;  /* the filter: strictly between */
    int64_t high;
    int64_t from; /* and the anchors */
    int64_t to;
    bool anchored;
    bool backward;
    bool flipped;
    int max; /* -1: none */
    unsigned words;
    int64_t ids[ROWS_MAX];
    unsigned ids_n;
};

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t some_id(void)
{
    return rows[roll(rows_n)].id;
}

static void field_begin(struct buf *out, const char *name)
{
    buf_addf(out, "<field var='%s'>", name);
}

static void add_value(struct buf *out, const char *value)
{
    buf_add_str(out, "<value>");
    xml_escape_str(out, value);
    buf_add_str(out, "</value>");
}

static void choose_with(struct query *q, struct buf *form)
{
    char jid[256];
    q->peer = q->resource = -1;
    if (roll(2))
        return;
    q->peer = (int)roll(PEERS + 1);
    const char *bare = q->peer == PEERS ? "nobody@chat.example" : peer_name((unsigned)q->peer);
    if (roll(2))
        q->resource = (int)roll(RESOURCES);
    snprintf(jid, sizeof jid, "%s%s%s", bare, q->resource < 0 ? "" : "/",
             q->resource < 0 ? "" : resource_name((unsigned)q->resource));
    field_begin(form, "with");
    add_value(form, jid);
    buf_add_str(form, "</field>");
}

/* A microsecond before a row's, its own, or one later. */
static int64_t choose_time(struct buf *form, const char *name)
{
    char text[DATETIME_BYTES];
    int64_t us = ident_us_from_id(some_id()) + (int64_t)roll(3) - 1;
    datetime_format(us, text);
    field_begin(form, name);
    add_value(form, text);
    buf_add_str(form, "</field>");
    return us;
}

static int64_t choose_neighbour(struct buf *form, const char *name)
{
    int64_t id = some_id();
    buf_addf(form, "<field var='%s'><value>", name);
    add_id(form, id);
    buf_add_str(form, "</value></field>");
    return id;
}

static void choose_ids(struct query *q, struct buf *form)
{
    q->ids_n = 0;
    if (roll(5))
        return;
    field_begin(form, "ids");
    for (unsigned n = 1 + roll(12); n > 0; n--) {
        q->ids[q->ids_n++] = some_id();
        buf_add_str(form, "<value>");
        add_id(form, q->ids[q->ids_n - 1]);
        buf_add_str(form, "</value>");
    }
    buf_add_str(form, "</field>");
}

/* Parts of words, in any case; one of a single character, of which no index helps. */
static void choose_words(struct query *q, struct buf *form)
{
    static const char *const parts[2][WORDS] = {{"LPH", "e", "ga"}, {"alpha", "BETA", "mm"}};
    q->words = roll(3) == 0 ? roll(1 << WORDS) : 0;
    if (q->words == 0)
        return;
    field_begin(form, "{urn:xmpp:fulltext:0}fulltext");
    buf_add_str(form, "<value>");
    for (unsigned i = 0; i < WORDS; i++)
        if (q->words >> i & 1)
            buf_addf(form, " %s", parts[roll(2)][i]);
    buf_add_str(form, "</value></field>");
}

static void choose_form(struct query *q, struct buf *form)
{
    q->low = -1;
    q->high = INT64_MAX;
    choose_with(q, form);
    if (roll(4) == 0)
        q->low = most(q->low, ident_id_from_us(choose_time(form, "start")) - 1);
    if (roll(4) == 0)
        q->high = least(q->high, ident_id_from_us(choose_time(form, "end") + 1));
    if (roll(5) == 0)
        q->low = most(q->low, choose_neighbour(form, "after-id"));
    if (roll(5) == 0)
        q->high = least(q->high, choose_neighbour(form, "before-id"));
    choose_ids(q, form);
    choose_words(q, form);
}

static int64_t choose_anchor(struct buf *set, const char *name)
{
    int64_t id = some_id();
    buf_addf(set, "<%s>", name);
    add_id(set, id);
    buf_addf(set, "</%s>", name);
    return id;
}

static bool passes(const struct query *q, const struct row *r)
{
    bool named = q->ids_n == 0;
    for (unsigned i = 0; i < q->ids_n && !named; i++)
        named = q->ids[i] == r->id;
    if (q->words && (!r->findable || (r->words & q->words) != q->words))
        return false;
    return named && r->shown && r->id > q->low && r->id < q->high &&
           (q->peer < 0 || (unsigned)q->peer == r->peer) &&
           (q->resource < 0 || (unsigned)q->resource == r->resource);
}

static unsigned count_between(const struct query *q, int64_t from, int64_t to)
{
    unsigned n = 0;
    for (unsigned i = 0; i < rows_n; i++)
        n += passes(q, &rows[i]) && rows[i].id > from && rows[i].id < to;
    return n;
}

static void choose_set(struct query *q, struct buf *set)
{
    q->from = q->low;
    q->to = q->high;
    q->anchored = q->backward = false;
    unsigned which = roll(6);
    if (which == 1 || which == 2)
        q->from = most(q->from, choose_anchor(set, "after"));
    if (which == 2 || which == 3)
        q->to = least(q->to, choose_anchor(set, "before"));
    if (which == 4)
        buf_add_str(set, "<before/>");
    q->anchored = which > 0 && which < 4;
    q->backward = which > 1 && which < 5;
    unsigned all = count_between(q, q->from, q->to);
    static const int few[] = {-1, 0, 1, 2, 3};
    unsigned size = roll(8);
    q->max = size < 5 ? few[size] : (int)all + (int)size - 6; /* one less, just so, one more */
    if (q->max >= 0)
        buf_addf(set, "<max>%d</max>", q->max);
    else
        q->max = -1;
}

/* --- what the answer must be ------------------------------------------------------------- */

static void expect(const struct query *q, const char *xml)
{
    int64_t all[ROWS_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < rows_n; i++)
        if (passes(q, &rows[i]) && rows[i].id > q->from && rows[i].id < q->to)
            all[n++] = rows[i].id;
    unsigned want = q->max >= 0 ? (unsigned)q->max : settings.page_default;
    want = want < settings.page_max ? want : settings.page_max;
    bool more = n > want;
    unsigned size = more ? want : n;
    const int64_t *ids = q->backward ? all + n - size : all;
    if (is_refused() || page.n != size)
        fail_msg("%u results instead of %u: %s\n%s", page.n, size, xml, told.answer);
    for (unsigned i = 0; i < size; i++)
        if (page.ids[i] != ids[q->flipped ? size - 1 - i : i])
            fail_msg("the result %u of %u is another: %s", i, size, xml);
    struct buf fin;
    buf_init(&fin, 1024);
    buf_addf(&fin, "<fin xmlns=\"urn:xmpp:mam:2\"%s>", more ? "" : " complete=\"true\"");
    bool has = size > 0;
    bool counts =
        (!more && !q->anchored) || (want == 0 && q->resource < 0 && !(q->words && q->ids_n));
    buf_add_str(&fin, "<set xmlns=\"http://jabber.org/protocol/rsm\"");
    buf_add_str(&fin, has || counts ? ">" : "/>");
    if (has) {
        buf_add_str(&fin, "<first>");
        add_id(&fin, ids[0]);
        buf_add_str(&fin, "</first><last>");
        add_id(&fin, ids[size - 1]);
        buf_add_str(&fin, "</last>");
    }
    if (counts)
        buf_addf(&fin, "<count>%u</count>", count_between(q, q->low, q->high));
    buf_addf(&fin, "%s</fin>", has || counts ? "</set>" : "");
    if (strcmp(told.answer, buf_cstr(&fin)) != 0)
        fail_msg("%s\n%s instead of\n%s", xml, told.answer, buf_cstr(&fin));
    buf_deinit(&fin);
}

static void ask_something(void)
{
    static struct query q;
    struct buf form, set, xml;
    buf_init(&form, 16384);
    buf_init(&set, 1024);
    buf_init(&xml, 32768);
    choose_form(&q, &form);
    choose_set(&q, &set);
    q.flipped = roll(4) == 0;
    buf_addf(&xml,
             "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>%s</x>"
             "<set xmlns='http://jabber.org/protocol/rsm'>%s</set>%s</query>",
             buf_cstr(&form), buf_cstr(&set), q.flipped ? "<flip-page/>" : "");
    ask(buf_cstr(&xml));
    expect(&q, buf_cstr(&xml));
    buf_deinit(&form);
    buf_deinit(&set);
    buf_deinit(&xml);
}

static void any_question_is_answered_as_an_array_says(void **state)
{
    (void)state;
    put_many(120);
    for (unsigned i = 0; i < 1500; i++) {
        static const unsigned sizes[] = {250, 250, 5, 40};
        settings.page_max = sizes[roll(4)];
        ask_something();
    }
}

/* --- walks ------------------------------------------------------------------------------- */

static void hide(unsigned i)
{
    char sql[256];
    if (!rows[i].shown)
        return;
    rows[i].shown = rows[i].always = false;
    snprintf(sql, sizeof sql, "UPDATE xs.message SET flags = flags | 32 WHERE id = %lld",
             (long long)rows[i].id);
    db_do(sql);
}

/* What happens between two pages: something comes, something fails, something is removed. */
static void live_on(void)
{
    int64_t end = rows[rows_n - 1].id;
    if (roll(2) && rows_n < ROWS_MAX)
        put(end + 1 + roll(3) * 256, true);
    if (roll(2))
        hide(roll(rows_n));
    /* The very anchor, perhaps. */
    for (unsigned i = 0; roll(3) == 0 && page.n > 0 && i < rows_n; i++)
        if (rows[i].id == page.ids[0] || rows[i].id == page.ids[page.n - 1])
            hide(i);
}

static unsigned times_seen(const int64_t *seen, unsigned n, int64_t id)
{
    unsigned times = 0;
    for (unsigned i = 0; i < n; i++)
        times += seen[i] == id;
    return times;
}

static void walk(bool backward, unsigned size)
{
    static int64_t seen[4 * ROWS_MAX];
    unsigned n = 0, pages = 0;
    for (unsigned i = 0; i < rows_n; i++)
        rows[i].always = rows[i].shown;
    struct buf xml;
    buf_init(&xml, 1024);
    int64_t at = 0;
    bool complete;
    do {
        buf_reset(&xml);
        buf_addf(&xml,
                 "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>"
                 "<max>%u</max>",
                 size);
        if (pages > 0) {
            buf_add_str(&xml, backward ? "<before>" : "<after>");
            add_id(&xml, at);
            buf_add_str(&xml, backward ? "</before>" : "</after>");
        } else if (backward) {
            buf_add_str(&xml, "<before/>");
        }
        buf_add_str(&xml, "</set></query>");
        ask(buf_cstr(&xml));
        assert_false(is_refused());
        complete = strstr(told.answer, "complete=\"true\"") != NULL;
        assert_true(complete || page.n > 0);
        for (unsigned i = 0; i < page.n; i++)
            seen[n++] = page.ids[i];
        if (page.n > 0)
            at = backward ? page.ids[0] : page.ids[page.n - 1];
        live_on();
        assert_true(++pages < 3 * ROWS_MAX);
    } while (!complete);
    for (unsigned i = 0; i < rows_n; i++) {
        unsigned times = times_seen(seen, n, rows[i].id);
        if (times > 1 || (times == 0 && rows[i].always))
            fail_msg("row %u of %u was seen %u times", i, rows_n, times);
    }
    buf_deinit(&xml);
}

static void who_pages_misses_nothing_while_the_archive_lives_on(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 24; n++) {
        db_do("DELETE FROM xs.message");
        rows_n = 0;
        put_many(20 + roll(40));
        walk(n % 2, 1 + n / 2);
    }
}

/* --- the world --------------------------------------------------------------------------- */

static int begin(void **state)
{
    (void)state;
    settings = (struct archive_opts){.page_max = 250, .page_default = 50};
    archive_begin(BORDER_US / 1000000 - 1);
    db_do("SELECT xs.ensure_partition(to_timestamp(1790812801))");
    search = search_new(scans, SEARCH_LOOKED_MAX);
    mam = mam_new(&settings, lookups, search);
    rows_n = 0;
    rng = 7;
    return 0;
}

static int end(void **state)
{
    (void)state;
    archive_end();
    mam_free(&mam);
    search_free(&search);
    return 0;
}

static int open_database(void **state)
{
    return db_open(state);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(any_question_is_answered_as_an_array_says),
        TEST(who_pages_misses_nothing_while_the_archive_lives_on),
    };
    return cmocka_run_group_tests(tests, open_database, db_close);
}
