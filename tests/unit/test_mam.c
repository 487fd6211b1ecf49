// SPDX-License-Identifier: Apache-2.0
/* Pages out of the real database.  Rules named M and R: docs/archive.md. */
#include "archive/mam.h"

#include <signal.h>

#include "database.h"

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/lookup.h"
#include "archive/mam_sql.h"
#include "archive/opts.h"
#include "archive/search.h"
#include "base/buf.h"
#include "base/datetime.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define OWNER "mei@chat.example"
#define WANG "wang@chat.example"
#define LI "li@chat.example"
#define MESSAGES 20 /* every fourth is with li, the others with wang */
#define FIRST_US (1795175400 * INT64_C(1000000))
#define STEP_US INT64_C(1000000)
#define TEXT_BYTES 65536

static struct archive_opts settings = {.page_max = 250, .page_default = 50};
static const uint8_t spools[1][16] = {{7, 7, 7}};

static struct world {
    struct event_base *base;
    struct ingest *ing;
    struct pg_pool *pool;
    struct pg_pool *scans;
    struct pg_pool *probe;
    struct lookups *lookups;
    struct search *search;
    struct mam *mam;
    size_t unsent;
    unsigned ended; /* questions */
} w;

/* What one question was answered with. */
static struct told {
    unsigned open;
    unsigned results;
    unsigned results_max; /* then the asker is gone; 0: never */
    bool gone;            /* already */
    char bodies[TEXT_BYTES];
    char last_result[TEXT_BYTES];
    char answer[TEXT_BYTES]; /* the payload, "" after an error */
    char error[256];         /* "type/condition" */
    struct stanza *payload;
    unsigned order; /* of ending */
} told;

/* --- the world --------------------------------------------------------------------------- */

static bool is_ready(void *ctx)
{
    (void)ctx;
    return ingest_ready(w.ing) && pg_pool_is_up(w.pool) && pg_pool_is_up(w.scans);
}

static int64_t id_of(unsigned n)
{
    return ident_id_from_us(FIRST_US + n * STEP_US);
}

static void uuid_text(const uint8_t raw[16], char out[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

static void put_row(const char *owner, const char *peer, int64_t id, int flags,
                    const char *stanza)
{
    struct ident *ident = ingest_ident(w.ing);
    uint8_t raw[OWNER_BYTES];
    char uuid[33];
    ident_owner(ident, owner, raw);
    uuid_text(raw, uuid);
    char *sql = NULL;
    if (asprintf(
            &sql,
            "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, body, stanza)"
            " VALUES ('%s', %lld, %lld, '%s', 0, %d,"
            " substring($$%s$$ FROM '<body>(.*)</body>'), convert_to($$%s$$, 'UTF8'))",
            uuid, (long long)id, (long long)ident_peer(ident, raw, peer), uuid, flags, stanza,
            stanza) < 0)
        abort();
    db_do(sql);
    free(sql);
}

static void put(const char *owner, const char *peer, int64_t id, int flags, unsigned n)
{
    char stanza[512];
    snprintf(stanza, sizeof stanza,
             "<message xmlns=\"jabber:client\" from=\"%s/%s\" to=\"%s\" type=\"chat\">"
             "<body>%u</body></message>",
             peer, n % 2 ? "phone" : "pad", owner, n);
    put_row(owner, peer, id, flags, stanza);
}

static size_t unsent(void *ctx)
{
    (void)ctx;
    return w.unsent;
}

/* What is asked whether PostgreSQL is there; NULL: where pages are read. */
static const char *probe_url;

static void start(int64_t within_ms)
{
    struct ingest_opts opts = {.url = db_url(),
                               .archive = &settings,
                               .spools = 1,
                               .spool_ids = spools,
                               .queue_bytes_max = 1 << 20,
                               .queue_rows_max = 1000};
    struct pg_opts reader = {.url = db_url(), .name = "reader", .statement_timeout_ms = 60000};
    w.base = event_base_new();
    w.ing = ingest_new(w.base, &opts);
    reader.plans = PG_PLANS_IN_INDEX_ORDER;
    w.pool = pg_pool_new(w.base, &reader, 2);
    reader.name = "scanner";
    w.scans = pg_pool_new(w.base, &reader, 1);
    reader.url = probe_url;
    reader.name = "probe";
    w.probe = probe_url ? pg_pool_new(w.base, &reader, 1) : NULL;
    db_loop(w.base, is_ready, NULL);
    struct lookups_opts lookups = {.pages = w.pool,
                                   .scans = w.scans,
                                   .probe = w.probe ? w.probe : w.pool,
                                   .ingest = w.ing,
                                   .within_ms = within_ms,
                                   .unsent = unsent};
    w.lookups = lookups_new(w.base, &lookups);
    w.search = search_new(w.scans, SEARCH_LOOKED_MAX);
    w.mam = mam_new(&settings, w.lookups, w.search);
}

static bool is_over(void *ctx)
{
    const struct told *t = ctx;
    return t->open == 0;
}

static void stop(void)
{
    lookups_stop(w.lookups);
    ingest_free(&w.ing);
    pg_pool_free(&w.pool);
    pg_pool_free(&w.scans);
    pg_pool_free(&w.probe);
    mam_free(&w.mam);
    search_free(&w.search);
    lookups_free(&w.lookups);
    event_base_free(w.base);
}

/* One archive for all tests that only read. */
static int begin(void **state)
{
    if (db_open(state))
        return -1;
    db_fresh();
    db_do("SELECT xs.ensure_partition(to_timestamp(1795175400))");
    start(LOOKUP_WITHIN_MS);
    for (unsigned n = 1; n <= MESSAGES; n++)
        put(OWNER, n % 4 == 0 ? LI : WANG, id_of(n), 0, n);
    /* What the recipient's server refused is there and not shown. */
    put(OWNER, WANG, id_of(10) + 1, 32, 99);
    put("other@chat.example", LI, id_of(5), 0, 5);
    return 0;
}

static int finish(void **state)
{
    stop();
    return db_close(state);
}

static int reset(void **state)
{
    (void)state;
    settings = (struct archive_opts){.page_max = 250, .page_default = 50};
    told = (struct told){.open = 0};
    return 0;
}

/* --- asking ------------------------------------------------------------------------------ */

static bool is_wanted(void *ctx)
{
    const struct told *t = ctx;
    return !t->gone;
}

static bool on_result(void *ctx, const void *xml, size_t len)
{
    struct told *t = ctx;
    const char *text = xml;
    const char *body = memmem(text, len, "<body>", 6);
    assert_non_null(body);
    size_t at = strlen(t->bodies);
    snprintf(t->bodies + at, sizeof t->bodies - at, "%s%.*s", at ? " " : "",
             (int)strcspn(body + 6, "<"), body + 6);
    snprintf(t->last_result, sizeof t->last_result, "%.*s", (int)len, text);
    return ++t->results != t->results_max;
}

static void on_end(struct told *t)
{
    assert_int_equal(t->open, 1);
    t->open = 0;
    t->order = ++w.ended;
    stanza_free(&t->payload);
}

static void on_done(void *ctx, struct stanza *payload)
{
    struct told *t = ctx;
    struct buf b;
    buf_init(&b, TEXT_BYTES - 1);
    stanza_write(&b, payload, NULL);
    snprintf(t->answer, sizeof t->answer, "%s", buf_cstr(&b));
    buf_deinit(&b);
    on_end(t);
}

static void on_error(void *ctx, const char *type, const char *condition, const char *text)
{
    struct told *t = ctx;
    (void)text;
    snprintf(t->error, sizeof t->error, "%s/%s", type, condition);
    on_end(t);
}

/* {5} is the id of message 5, {t5} its time, {x} an id of another archive. */
static void fill_in(const char *text, char *out, size_t size)
{
    struct ident *ident = ingest_ident(w.ing);
    size_t at = 0;
    for (; *text && at + 40 < size; text++) {
        uint8_t owner[OWNER_BYTES];
        char word[64];
        if (*text != '{' || text[1] == 'u') { /* a field's name */
            out[at++] = *text;
            continue;
        }
        bool time = text[1] == 't', other = text[1] == 'x';
        unsigned n = other ? 5 : (unsigned)strtoul(text + 1 + time, NULL, 10);
        ident_owner(ident, other ? "other@chat.example" : OWNER, owner);
        if (time)
            datetime_format(FIRST_US + n * STEP_US, word);
        else
            ident_archive_id(ident, owner, id_of(n), word);
        at += (size_t)snprintf(out + at, size - at, "%s", word);
        text = strchr(text, '}');
    }
    out[at] = '\0';
}

static struct place asked_at; /* where questions stand */

/* Which of t are not results stays as it is. */
static void start_asking(struct told *t, const char *account, bool is_set, const char *xml)
{
    char text[TEXT_BYTES];
    struct err e;
    fill_in(xml, text, sizeof text);
    *t = (struct told){.open = 1, .results_max = t->results_max, .gone = t->gone};
    t->payload = xml_parse_element(text, strlen(text), &e);
    assert_non_null(t->payload);
    const struct archive_request request = {t->payload, is_set, account, "q1", asked_at};
    const struct archive_answer answer = {.result = on_result,
                                          .done = on_done,
                                          .error = on_error,
                                          .wanted = is_wanted,
                                          .ctx = t};
    mam_ask(w.mam, &request, &answer);
}

static void ask_of(const char *account, bool is_set, const char *xml)
{
    start_asking(&told, account, is_set, xml);
    db_loop(w.base, is_over, &told);
}

static void ask(const char *xml)
{
    ask_of(OWNER, true, xml);
}

/* form and rsm are what stands inside them, NULL: there is none. */
static void ask_page(const char *form, const char *rsm)
{
    char xml[TEXT_BYTES];
    snprintf(xml, sizeof xml,
             "<query xmlns='urn:xmpp:mam:2' queryid='q'>%s%s%s"
             "<set xmlns='http://jabber.org/protocol/rsm'>%s</set></query>",
             form ? "<x xmlns='jabber:x:data' type='submit'>" : "", form ? form : "",
             form ? "</x>" : "", rsm);
    ask(xml);
}

#define QUERY "<query xmlns='urn:xmpp:mam:2'/>"
#define FIELD(name, value) "<field var='" name "'><value>" value "</value></field>"
#define WITH_WANG FIELD("with", "wang@chat.example")
#define WITH_LI FIELD("with", "li@chat.example")

/* --- pages ------------------------------------------------------------------------------- */

struct page_case {
    const char *form;
    const char *rsm;
    const char *bodies;
    bool complete;
    int count; /* -1: none */
};

static void check_page(const struct page_case *c, size_t i)
{
    char expected[32], first[64] = "", last[64] = "", ends[256];
    ask_page(c->form, c->rsm);
    if (told.error[0])
        fail_msg("case %zu: %s", i, told.error);
    if (strcmp(told.bodies, c->bodies) != 0)
        fail_msg("case %zu: '%s' instead of '%s'", i, told.bodies, c->bodies);
    if (c->complete != (strstr(told.answer, "complete=\"true\"") != NULL))
        fail_msg("case %zu: %s", i, told.answer);
    snprintf(expected, sizeof expected, "<count>%d</count>", c->count);
    if (c->count < 0 ? strstr(told.answer, "<count>") != NULL
                     : strstr(told.answer, expected) == NULL)
        fail_msg("case %zu: %s", i, told.answer);
    assert_null(strstr(told.answer, "index="));
    if (!*c->bodies) {
        assert_null(strstr(told.answer, "<first>")); /* R2 */
        /* Clients go on for ever after a page that is neither complete nor has a last id. */
        assert_true(c->complete || strstr(c->rsm, "<max>0</max>"));
        return;
    }
    const char *end = strrchr(c->bodies, ' ');
    unsigned a = (unsigned)strtoul(c->bodies, NULL, 10);
    unsigned z = (unsigned)strtoul(end ? end : c->bodies, NULL, 10);
    char text[16];
    snprintf(text, sizeof text, "{%u}", a < z ? a : z); /* chronological, also flipped */
    fill_in(text, first, sizeof first);
    snprintf(text, sizeof text, "{%u}", a < z ? z : a);
    fill_in(text, last, sizeof last);
    snprintf(ends, sizeof ends, "<first>%s</first><last>%s</last>", first, last);
    if (!strstr(told.answer, ends))
        fail_msg("case %zu: not %s: %s", i, ends, told.answer);
}

static void check_pages(const struct page_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_page(&cases[i], i);
}

#define CHECK_PAGES(cases) check_pages(cases, sizeof(cases) / sizeof *(cases))
#define ALL "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"
#define ALL_WANG "1 2 3 5 6 7 9 10 11 13 14 15 17 18 19"

static void pages_by_size_are_complete_only_when_nothing_was_cut(void **state)
{
    (void)state;
    static const struct page_case cases[] = {
        {NULL, "", ALL, true, 20},
        {NULL, "<max>1</max>", "1", false, -1},
        {NULL, "<max>19</max>", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19", false, -1},
        {NULL, "<max>20</max>", ALL, true, 20}, /* M27: not one later empty page */
        {NULL, "<max>21</max>", ALL, true, 20},
        {NULL, "<max>-1</max>", ALL, true, 20}, /* R12 */
        {NULL, "<max> 2 </max>", "1 2", false, -1},
        {NULL, "<max>2</max><before/>", "19 20", false, -1}, /* M30 */
        {NULL, "<max>20</max><before/>", ALL, true, 20},
    };
    CHECK_PAGES(cases);
    settings.page_max = 3;
    static const struct page_case capped[] = {
        {NULL, "", "1 2 3", false, -1},
        {NULL, "<max>10</max>", "1 2 3", false, -1},
        {NULL, "<max>99999999999</max><before/>", "18 19 20", false, -1},
    };
    CHECK_PAGES(capped);
    settings.page_default = 2;
    static const struct page_case usual[] = {{NULL, "", "1 2", false, -1}};
    CHECK_PAGES(usual);
}

static void anchors_are_places(void **state)
{
    (void)state;
    static const struct page_case cases[] = {
        {NULL, "<max>3</max><after>{5}</after>", "6 7 8", false, -1},
        {NULL, "<max>3</max><before>{5}</before>", "2 3 4", false, -1},
        {NULL, "<max>3</max><after>{17}</after>", "18 19 20", true, -1},
        {NULL, "<max>3</max><after>{16}</after>", "17 18 19", false, -1},
        {NULL, "<max>3</max><before>{4}</before>", "1 2 3", true, -1},
        {NULL, "<max>3</max><after>{20}</after>", "", true, -1},
        {NULL, "<max>3</max><before>{1}</before>", "", true, -1},
        {NULL, "<max>3</max><after/>", "1 2 3", false, -1}, /* R6 */
        /* M31: what lies between, from the end. */
        {NULL, "<max>2</max><after>{5}</after><before>{9}</before>", "7 8", false, -1},
        {NULL, "<max>3</max><after>{5}</after><before>{9}</before>", "6 7 8", true, -1},
        {NULL, "<after>{9}</after><before>{5}</before>", "", true, -1},
        {NULL, "<max>2</max><after>{5}</after><before/>", "19 20", false, -1},
        /* M11: places outside the filter; sixteen digits are a time. */
        {WITH_LI, "<max>2</max><after>{5}</after>", "8 12", false, -1},
        {WITH_LI, "<max>2</max><before>{15}</before>", "8 12", false, -1},
        {NULL, "<max>2</max><after>1795175405000000</after>", "6 7", false, -1},
        {NULL, "<max>2</max><before>1795175405500000</before>", "4 5", false, -1},
    };
    CHECK_PAGES(cases);
}

static void filters_narrow_the_set_that_is_paged(void **state)
{
    (void)state;
    static const struct page_case cases[] = {
        {WITH_WANG, "", ALL_WANG, true, 15},
        {WITH_LI, "", "4 8 12 16 20", true, 5},
        {WITH_LI, "<max>2</max><before/>", "16 20", false, -1},
        {FIELD("with", "nobody@chat.example"), "", "", true, 0},
        {FIELD("with", "wang@chat.example/phone"), "", "1 3 5 7 9 11 13 15 17 19", true, 10},
        {FIELD("with", "wang@chat.example/pad"), "<max>2</max>", "2 6", false, -1},
        {FIELD("with", "wang@chat.example/pad"), "<max>2</max><before/>", "14 18", false, -1},
        {FIELD("with", "wang@chat.example/none"), "", "", true, 0},
        /* M7: inclusive, both. */
        {FIELD("start", "{t5}"), "<max>2</max>", "5 6", false, -1},
        {FIELD("end", "{t5}"), "", "1 2 3 4 5", true, 5},
        {FIELD("start", "{t5}") FIELD("end", "{t7}"), "", "5 6 7", true, 3},
        {FIELD("start", "{t5}") FIELD("end", "{t5}"), "", "5", true, 1},
        {FIELD("start", "{t7}") FIELD("end", "{t5}"), "", "", true, 0},
        {WITH_LI FIELD("start", "{t5}") FIELD("end", "{t12}"), "", "8 12", true, 2},
        /* M8: exclusive neighbours, with every other filter and the result set. */
        {FIELD("after-id", "{5}"), "<max>2</max>", "6 7", false, -1},
        {FIELD("before-id", "{5}"), "<max>2</max>", "1 2", false, -1},
        {FIELD("before-id", "{5}"), "<max>2</max><before/>", "3 4", false, -1},
        {FIELD("after-id", "{5}") FIELD("before-id", "{9}"), "", "6 7 8", true, 3},
        {FIELD("after-id", "{5}") FIELD("before-id", "{6}"), "", "", true, 0},
        {FIELD("after-id", "{5}") FIELD("before-id", "{11}"), "<max>2</max><after>{8}</after>",
         "9 10", true, -1},
        {FIELD("after-id", "{5}") FIELD("before-id", "{11}"), "<max>2</max><before/>", "9 10",
         false, -1},
        {FIELD("after-id", "{5}"), "<max>2</max><after>{3}</after>", "6 7", false, -1},
        {WITH_LI FIELD("after-id", "{5}"), "", "8 12 16 20", true, 4},
        {FIELD("after-id", "1795175405000000"), "<max>1</max>", "6", false, -1},
    };
    CHECK_PAGES(cases);
}

static void ids_select_exactly_those(void **state)
{
    (void)state;
#define IDS(values) "<field var='ids'>" values "</field>"
#define V(id) "<value>" id "</value>"
    static const struct page_case cases[] = {
        {IDS(V("{9}") V("{2}") V("{4}")), "", "2 4 9", true, 3},
        {IDS(V("{9}") V("{2}") V("{9}") "<value/>"), "", "2 9", true, 2},
        {IDS(V("{9}") V("{2}") V("{4}")), "<max>2</max>", "2 4", false, -1},
        {IDS(V("{9}") V("{2}") V("{4}")), "<max>2</max><before/>", "4 9", false, -1},
        {IDS(V("{9}") V("{2}") V("{4}")), "<max>2</max><after>{4}</after>", "9", true, -1},
        {WITH_LI IDS(V("{9}") V("{2}") V("{4}")), "", "4", true, 1},
        {IDS(V("{9}") V("{2}")) FIELD("start", "{t5}"), "", "9", true, 1},
        {IDS("<value/>"), "<max>1</max>", "1", false, -1},
        {IDS(V("{9}") V("{2}") V("{4}")), "<max>0</max>", "", false, 3},
    };
    CHECK_PAGES(cases);
}

static void max_0_counts_the_whole_set(void **state)
{
    (void)state;
    static const struct page_case cases[] = {
        {NULL, "<max>0</max>", "", false, 20}, /* R9 */
        {WITH_LI, "<max>0</max>", "", false, 5},
        {FIELD("end", "{t5}"), "<max>0</max>", "", false, 5},
        {FIELD("after-id", "{15}"), "<max>0</max>", "", false, 5},
        /* R3: whatever the anchors. */
        {NULL, "<max>0</max><after>{15}</after>", "", false, 20},
        {NULL, "<max>0</max><after>{20}</after>", "", true, 20},
        {NULL, "<max>0</max><before>{1}</before>", "", true, 20},
        {FIELD("with", "nobody@chat.example"), "<max>0</max>", "", true, 0},
        /* One resource's are not counted: that would be reading them all. */
        {FIELD("with", "wang@chat.example/pad"), "<max>0</max>", "", false, -1},
    };
    CHECK_PAGES(cases);
}

static void flip_page_only_turns_the_order_of_sending(void **state)
{
    (void)state;
    static const struct {
        const char *rsm, *bodies;
    } cases[] = {
        {"<max>3</max>", "3 2 1"},
        {"<max>3</max><before/>", "20 19 18"},
        {"<max>3</max><after>{5}</after>", "8 7 6"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct page_case plain = {NULL, cases[i].rsm, "", false, -1};
        char unflipped[TEXT_BYTES], xml[1024];
        ask_page(plain.form, plain.rsm);
        snprintf(unflipped, sizeof unflipped, "%s", told.answer);
        snprintf(xml, sizeof xml,
                 "<query xmlns='urn:xmpp:mam:2'><flip-page/>"
                 "<set xmlns='http://jabber.org/protocol/rsm'>%s</set></query>",
                 cases[i].rsm);
        ask(xml);
        assert_string_equal(told.bodies, cases[i].bodies);
        assert_string_equal(told.answer, unflipped); /* M29 */
    }
}

static void walks_cover_everything_once(void **state)
{
    (void)state;
    for (unsigned size = 1; size <= 7; size++)
        for (int backward = 0; backward <= 1; backward++) {
            char rsm[256], anchor[128] = "";
            unsigned seen = 0;
            do {
                snprintf(rsm, sizeof rsm, "<max>%u</max>%s", size,
                         *anchor    ? anchor
                         : backward ? "<before/>"
                                    : "");
                ask_page(NULL, rsm);
                const char *tag = backward ? "<first>" : "<last>";
                const char *id = strstr(told.answer, tag);
                assert_non_null(id);
                snprintf(anchor, sizeof anchor, "<%s>%.36s</%s>",
                         backward ? "before" : "after", id + strlen(tag),
                         backward ? "before" : "after");
                seen += told.results;
            } while (!strstr(told.answer, "complete"));
            assert_int_equal(seen, MESSAGES);
        }
}

static void put_large(const char *owner, unsigned n)
{
    size_t pad = 900 << 10;
    char *stanza = NULL, *text = calloc(1, pad + 1);
    memset(text, 'x', pad);
    assert_true(asprintf(&stanza,
                         "<message xmlns=\"jabber:client\" from=\"" WANG "/phone\">"
                         "<body>%u</body><pad>%s</pad></message>",
                         n, text) > 0);
    put_row(owner, WANG, id_of(n), 0, stanza);
    free(stanza);
    free(text);
}

#define RSM(inside) "<set xmlns='http://jabber.org/protocol/rsm'>" inside "</set>"
#define IN_FORM(inside) "<x xmlns='jabber:x:data' type='submit'>" inside "</x>"

static void bytes_cut_a_page_too(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 5; n++)
        put_large("large@chat.example", n);
    for (unsigned n = 1; n <= 6; n++)
        if (n == 3)
            put_large("mixed@chat.example", n);
        else
            put("mixed@chat.example", WANG, id_of(n), 0, n);
    static const struct {
        const char *owner, *xml, *bodies;
        bool complete;
    } cases[] = {
        {"large@chat.example", "", "1 2 3", false},
        {"large@chat.example", RSM("<max>2</max>"), "1 2", false},
        {"large@chat.example", RSM("<max>0</max>"), "", false},
        {"large@chat.example", RSM("<before/>"), "3 4 5", false},
        {"large@chat.example", IN_FORM(FIELD("start", "{t4}")), "4 5", true},
        {"large@chat.example", IN_FORM(FIELD("with", "wang@chat.example/phone")), "1 2 3",
         false},
        {"large@chat.example", IN_FORM(FIELD("with", "wang@chat.example/none")), "", true},
        {"mixed@chat.example", "", "1 2 3 4 5 6", true},
        {"mixed@chat.example", RSM("<before/>"), "1 2 3 4 5 6", true},
        {"mixed@chat.example", RSM("<max>2</max>"), "1 2", false},
        {"mixed@chat.example", RSM("<max>3</max>"), "1 2 3", false},
        {"mixed@chat.example", RSM("<max>3</max><before/>"), "4 5 6", false},
        {"mixed@chat.example", RSM("<max>4</max><before/>"), "3 4 5 6", false},
        {"mixed@chat.example", IN_FORM(FIELD("with", "wang@chat.example/pad")), "2 4 6", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char xml[1024];
        snprintf(xml, sizeof xml, "<query xmlns='urn:xmpp:mam:2'>%s</query>", cases[i].xml);
        ask_of(cases[i].owner, true, xml);
        assert_string_equal(told.error, "");
        assert_string_equal(told.bodies, cases[i].bodies);
        assert_int_equal(strstr(told.answer, "complete=\"true\"") != NULL, cases[i].complete);
    }
}

/* Who pages gets each message that first and last name. */
static void of_a_message_that_no_stanza_holds_comes_who_wrote_it(void **state)
{
    (void)state;
    settings.message_bytes_max = 1000;
    put_large("one@chat.example", 1);
    put("one@chat.example", WANG, id_of(2), 0, 2);
    ask_of("one@chat.example", true,
           "<query xmlns='urn:xmpp:mam:2'>" RSM("<max>1</max>") "</query>");
    assert_int_equal(told.results, 1);
    assert_non_null(strstr(told.last_result,
                           "<message xmlns=\"jabber:client\" from=\"" WANG "/phone\">"
                           "<body>(This message is too long for the archive to send.)</body>"
                           "</message></forwarded></result>"));
    ask_of("one@chat.example", true, QUERY);
    assert_int_equal(told.results, 2);
    assert_non_null(strstr(told.last_result, "<body>2</body>"));
}

/* --- refusals ---------------------------------------------------------------------------- */

static void unknown_ids_are_not_found_wherever_they_stand(void **state)
{
    (void)state;
    static const char *const unknown[] = {"{x}", "0b0e6a52-77f1-4c6e-9d0f-2a8d6b3f1c11", "1",
                                          "no id at all", "9999999999999999999999"};
    static const char *const places[] = {
        "<set xmlns='http://jabber.org/protocol/rsm'><after>%s</after></set>",
        "<set xmlns='http://jabber.org/protocol/rsm'><before>%s</before></set>",
        "<x xmlns='jabber:x:data' type='submit'><field var='after-id'><value>%s</value>"
        "</field></x>",
        "<x xmlns='jabber:x:data' type='submit'><field var='before-id'><value>%s</value>"
        "</field></x>",
        "<x xmlns='jabber:x:data' type='submit'><field var='ids'><value>{3}</value>"
        "<value>%s</value></field></x>",
    };
    for (size_t u = 0; u < sizeof unknown / sizeof *unknown; u++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            const char *gap = strstr(places[p], "%s");
            char xml[1024];
            snprintf(xml, sizeof xml, "<query xmlns='urn:xmpp:mam:2'>%.*s%s%s</query>",
                     (int)(gap - places[p]), places[p], unknown[u], gap + 2);
            ask(xml);
            assert_string_equal(told.error, "cancel/item-not-found"); /* M9, M10 */
            assert_int_equal(told.results, 0);
        }
}

static void ids_of_what_the_archive_does_not_hold_are_not_found(void **state)
{
    (void)state;
    /* A well-made id of this owner without a row. */
    ask_page("<field var='ids'><value>{3}</value><value>{25}</value></field>", "");
    assert_string_equal(told.error, "cancel/item-not-found");
    assert_int_equal(told.results, 0);
    ask_page("<field var='ids'><value>1795175405000000</value></field>", "");
    assert_string_equal(told.bodies, "5"); /* an import from mod_mam has its ids */
}

static void a_failed_message_is_held_and_not_shown(void **state)
{
    (void)state;
    char id[ARCHIVE_ID_BYTES], form[256];
    uint8_t owner[OWNER_BYTES];
    ident_owner(ingest_ident(w.ing), OWNER, owner);
    ident_archive_id(ingest_ident(w.ing), owner, id_of(10) + 1, id);
    snprintf(form, sizeof form, "<field var='ids'><value>%s</value><value>{3}</value></field>",
             id);
    ask_page(form, "");
    assert_string_equal(told.bodies, "3"); /* M55 */
    snprintf(form, sizeof form, "<max>2</max><after>%s</after>", id);
    ask_page(NULL, form);
    assert_string_equal(told.bodies, "11 12");
}

static void too_many_ids_are_refused(void **state)
{
    (void)state;
    static char xml[TEXT_BYTES];
    struct buf b;
    buf_init(&b, sizeof xml - 1);
    buf_add_str(&b, "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>"
                    "<field var='ids'>");
    for (unsigned i = 0; i <= 1000; i++)
        buf_addf(&b, "<value>%llu</value>", 1795175401000000ull);
    buf_add_str(&b, "</field></x></query>");
    snprintf(xml, sizeof xml, "%s", buf_cstr(&b));
    buf_deinit(&b);
    ask(xml);
    assert_string_equal(told.error, "modify/not-acceptable");
}

static void what_is_unknown_is_not_implemented(void **state)
{
    (void)state;
    ask_page(FIELD("colour", "blue"), "");
    assert_string_equal(told.error, "cancel/feature-not-implemented"); /* M4 */
    ask_page(NULL, "<index>3</index>");
    assert_string_equal(told.error, "cancel/feature-not-implemented"); /* R8 */
    ask("<unheard-of xmlns='urn:xmpp:mam:2'/>");
    assert_string_equal(told.error, "cancel/feature-not-implemented");
    ask_of(OWNER, false, "<metadata xmlns='urn:xmpp:mam:1'/>");
    assert_string_equal(told.error, "cancel/feature-not-implemented");
    /* What was published to a node is not the account's messages (XEP-0442). */
    for (int is_set = 0; is_set <= 1; is_set++) {
        ask_of(OWNER, is_set, "<query xmlns='urn:xmpp:mam:2' node='urn:xmpp:microblog:0'/>");
        assert_string_equal(told.error, "cancel/feature-not-implemented");
        assert_int_equal(told.results, 0);
    }
    ask("<query xmlns='urn:xmpp:mam:2' node=''/>");
    assert_int_equal(told.results, MESSAGES);
}

/* --- the wire ---------------------------------------------------------------------------- */

static void results_look_as_the_protocol_says(void **state)
{
    (void)state;
    char want[TEXT_BYTES];
    ask("<query xmlns='urn:xmpp:mam:2' queryid='a\"&amp;&lt;b'><x xmlns='jabber:x:data' "
        "type='submit'><field var='end'><value>{t1}</value></field></x></query>");
    fill_in("<result xmlns=\"urn:xmpp:mam:2\" id=\"{1}\" queryid=\"a&quot;&amp;&lt;b\">"
            "<forwarded xmlns=\"urn:xmpp:forward:0\">"
            "<delay xmlns=\"urn:xmpp:delay\" stamp=\"{t1}\"/>"
            "<message xmlns=\"jabber:client\" from=\"wang@chat.example/phone\""
            " to=\"mei@chat.example\" type=\"chat\"><body>1</body></message>"
            "</forwarded></result>",
            want, sizeof want);
    assert_string_equal(told.last_result, want); /* M20, M22 */
    fill_in("<fin xmlns=\"urn:xmpp:mam:2\" complete=\"true\">"
            "<set xmlns=\"http://jabber.org/protocol/rsm\"><first>{1}</first><last>{1}</last>"
            "<count>1</count></set></fin>",
            want, sizeof want);
    assert_string_equal(told.answer, want); /* M25, M26 */
    ask("<query xmlns='urn:xmpp:mam:2'/>");
    assert_null(strstr(told.last_result, "queryid"));
    ask_of("nobody@chat.example", true, "<query xmlns='urn:xmpp:mam:2'/>");
    assert_string_equal(
        told.answer, "<fin xmlns=\"urn:xmpp:mam:2\" complete=\"true\"><set "
                     "xmlns=\"http://jabber.org/protocol/rsm\"><count>0</count></set></fin>");
}

static void mam_1_is_answered_in_its_own_namespace(void **state)
{
    (void)state;
    ask("<query xmlns='urn:xmpp:mam:1' queryid='q'><x xmlns='jabber:x:data' type='submit'>"
        "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:1</value></field>"
        "<field var='with'><value>li@chat.example</value></field></x></query>");
    assert_string_equal(told.bodies, "4 8 12 16 20");
    assert_non_null(strstr(told.last_result, "<result xmlns=\"urn:xmpp:mam:1\""));
    assert_non_null(strstr(told.answer, "<fin xmlns=\"urn:xmpp:mam:1\" complete=\"true\">"));
    ask_of(OWNER, false, "<query xmlns='urn:xmpp:mam:1'/>");
    assert_non_null(strstr(told.answer, "<value>urn:xmpp:mam:1</value>"));
    assert_null(strstr(told.answer, "before-id"));
}

static void ids_in_capitals_are_the_same_ids(void **state)
{
    (void)state;
    char id[64], rsm[128];
    fill_in("{5}", id, sizeof id);
    for (char *c = id; *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'f' ? *c - 32 : *c);
    snprintf(rsm, sizeof rsm, "<max>1</max><after>%s</after>", id);
    ask_page(NULL, rsm);
    assert_string_equal(told.bodies, "6");
}

static bool is_committed(void *ctx)
{
    (void)ctx;
    return ingest_committed(w.ing, 0) == 10;
}

static void a_page_that_may_lack_what_was_just_sent_says_so(void **state)
{
    (void)state;
    static const char text[] = "<message xmlns='jabber:client' type='chat' id='late'>"
                               "<body>late</body></message>";
    struct err e;
    struct stanza *s = xml_parse_element(text, strlen(text), &e);
    const struct event ev = {.kind = EVENT_MESSAGE,
                             .from = "late@chat.example",
                             .from_resource = "r",
                             .to = "there@other.example",
                             .to_resource = "",
                             .from_local = true,
                             .id = "late",
                             .place = {0, 0, 10},
                             .received_us = FIRST_US,
                             .stanza = s};
    db_do("BEGIN; LOCK TABLE xs.lane IN ACCESS EXCLUSIVE MODE");
    assert_int_equal(ingest_event(w.ing, &ev), INGEST_TAKEN);
    ingest_passed(w.ing, 0, 10);
    stanza_free(&s);
    ask_of("late@chat.example", true, QUERY);
    assert_non_null(strstr(told.answer, "stable=\"false\"")); /* M28 */
    assert_int_equal(told.results, 0);
    db_do("COMMIT");
    db_loop(w.base, is_committed, NULL);
    ask_of("late@chat.example", true, QUERY);
    assert_null(strstr(told.answer, "stable"));
    assert_string_equal(told.bodies, "late");
}

static void run_loop_once(void)
{
    event_base_loop(w.base, EVLOOP_NONBLOCK);
}

/* The archive's own reader may be far behind who hands out questions. */
static void a_page_waits_for_what_the_archive_has_still_to_read(void **state)
{
    (void)state;
    asked_at = (struct place){0, 1000, 1010};
    int64_t begin = db_now_ms();
    ask(QUERY);
    assert_non_null(strstr(told.answer, "stable=\"false\"")); /* M28 */
    assert_int_equal(told.results, MESSAGES);
    assert_true(db_now_ms() - begin >= 900);
    start_asking(&told, OWNER, true, QUERY);
    ingest_passed(w.ing, 0, 999);
    run_loop_once();
    assert_int_equal(told.open, 1);
    ingest_passed(w.ing, 0, 1000);
    db_loop(w.base, is_over, &told);
    assert_null(strstr(told.answer, "stable"));
    ask(QUERY); /* it has been read by now */
    assert_null(strstr(told.answer, "stable"));
    asked_at.begin = 2000;
    begin = db_now_ms();
    start_asking(&told, OWNER, true, QUERY);
    ingest_wait_no_more(w.ing, 0);
    db_loop(w.base, is_over, &told);
    assert_non_null(strstr(told.answer, "stable=\"false\""));
    assert_true(db_now_ms() - begin < 900);
    asked_at = (struct place){0};
}

static void a_gone_asker_gets_no_more(void **state)
{
    (void)state;
    told.results_max = 3;
    ask_page(NULL, "");
    assert_int_equal(told.results, 3);
}

static void metadata_tells_both_ends(void **state)
{
    (void)state;
    char want[TEXT_BYTES];
    ask_of(OWNER, false, "<metadata xmlns='urn:xmpp:mam:2'/>");
    fill_in("<metadata xmlns=\"urn:xmpp:mam:2\"><start id=\"{1}\" timestamp=\"{t1}\"/>"
            "<end id=\"{20}\" timestamp=\"{t20}\"/></metadata>",
            want, sizeof want);
    assert_string_equal(told.answer, want); /* M40 */
    ask_of("nobody@chat.example", false, "<metadata xmlns='urn:xmpp:mam:2'/>");
    assert_string_equal(told.answer, "<metadata xmlns=\"urn:xmpp:mam:2\"/>");
    ask_of("other@chat.example", false, "<metadata xmlns='urn:xmpp:mam:2'/>");
    fill_in("<metadata xmlns=\"urn:xmpp:mam:2\"><start id=\"{x}\" timestamp=\"{t5}\"/>"
            "<end id=\"{x}\" timestamp=\"{t5}\"/></metadata>",
            want, sizeof want);
    assert_string_equal(told.answer, want);
    ask_of(OWNER, true, "<metadata xmlns='urn:xmpp:mam:2'/>");
    assert_string_equal(told.error, "cancel/feature-not-implemented");
}

/* --- limits ------------------------------------------------------------------------------ */

#define SCAN                                                                                  \
    "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>" FIELD(            \
        "with", "wang@chat.example/none") "</x></query>"

static struct told many[160];

static void run_for(int64_t ms)
{
    struct timeval time = {ms / 1000, (suseconds_t)(ms % 1000 * 1000)};
    event_base_loopexit(w.base, &time);
    event_base_dispatch(w.base);
}

/* Until it is let go. */
static void keep_the_scanner_busy(void)
{
    static const struct pg_statement wait = {"wait", "SELECT pg_advisory_xact_lock(1)"};
    db_do("SELECT pg_advisory_lock(1)");
    pg_pool_send(w.scans, &wait, NULL, NULL, NULL);
}

static void let_the_scanner_go(void)
{
    db_do("SELECT pg_advisory_unlock(1)");
}

static bool all_over(void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        if (many[i].open)
            return false;
    return true;
}

static bool as_many_as_wait_are_left(void *ctx)
{
    (void)ctx;
    size_t left = 0;
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        left += many[i].open;
    return left == 100;
}

static void nothing_is_read_for_an_asker_who_has_gone(void **state)
{
    (void)state;
    told.gone = true;
    ask(QUERY);
    assert_int_equal(told.results, 0);
    assert_string_equal(told.error, "wait/internal-server-error");
}

static void nobody_begins_while_the_server_does_not_read(void **state)
{
    (void)state;
    w.unsent = LOOKUP_UNSENT_MAX + 1;
    start_asking(&told, OWNER, true, QUERY);
    run_for(200);
    assert_int_equal(told.open, 1);
    assert_int_equal(told.results, 0);
    w.unsent = 0;
    db_loop(w.base, is_over, &told);
    assert_int_equal(told.results, MESSAGES);
}

static void a_scan_never_delays_a_page(void **state)
{
    (void)state;
    keep_the_scanner_busy();
    for (size_t i = 0; i < 10; i++)
        start_asking(&many[i], OWNER, true, SCAN);
    ask(QUERY); /* of the same account; another's all the more */
    assert_int_equal(told.results, MESSAGES);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(many[i].open, 1);
    let_the_scanner_go();
    db_loop(w.base, all_over, NULL);
    for (size_t i = 0; i < 10; i++)
        assert_string_equal(many[i].error, "");
}

static void one_accounts_many_questions_never_delay_anothers(void **state)
{
    (void)state;
    size_t n = sizeof many / sizeof *many, refused = 0, before = 0;
    w.unsent = LOOKUP_UNSENT_MAX + 1; /* so that all of them wait */
    for (size_t i = 0; i < n; i++)
        start_asking(&many[i], OWNER, true, QUERY);
    start_asking(&told, "other@chat.example", true, QUERY);
    db_loop(w.base, as_many_as_wait_are_left, NULL);
    run_for(200);
    w.unsent = 0;
    db_loop(w.base, all_over, NULL);
    db_loop(w.base, is_over, &told);
    assert_string_equal(told.bodies, "5");
    for (size_t i = 0; i < n; i++) {
        refused += strcmp(many[i].error, "wait/resource-constraint") == 0;
        before += !many[i].error[0] && many[i].order < told.order;
    }
    assert_int_equal(refused, n - 100); /* as many wait, and no more */
    assert_true(before < 50);
}

static void what_takes_too_long_is_refused(void **state)
{
    (void)state;
    stop();
    start(500);
    keep_the_scanner_busy();
    ask(SCAN);
    assert_string_equal(told.error, "wait/internal-server-error");
    ask(QUERY);
    assert_int_equal(told.results, MESSAGES);
    stop(); /* with the scan still under way */
    let_the_scanner_go();
    start(LOOKUP_WITHIN_MS);
}

/* The server's processes for pages stand still, as when the whole of it does. */
static void signal_readers(int number)
{
    char pids[4096], *rest = pids;
    snprintf(pids, sizeof pids, "%s",
             db_ask("SELECT string_agg(pid::text, ' ') FROM pg_stat_activity"
                    " WHERE datname = current_database()"
                    "   AND application_name LIKE '%reader%'"));
    for (const char *pid; (pid = strtok_r(rest, " ", &rest));)
        assert_int_equal(kill((pid_t)strtol(pid, NULL, 10), number), 0);
}

/* The probe's connection was lost, and a server that stands still lets it in no more. */
static void a_silent_server_is_noticed_without_a_connection_for_the_probe(void **state)
{
    (void)state;
    stop();
    probe_url = "postgresql:///x?host=/nonexistent";
    start(60000);
    ask(QUERY);
    assert_int_equal(told.results, MESSAGES);
    signal_readers(SIGSTOP);
    ask(QUERY);
    signal_readers(SIGCONT);
    assert_string_equal(told.error, "wait/internal-server-error");
    probe_url = NULL;
    stop();
    start(LOOKUP_WITHIN_MS);
}

/* --- plans ------------------------------------------------------------------------------- */

/* All lines of the first column. */
static void ask_lines(const char *sql, char *out, size_t size)
{
    PGresult *r = PQexec(db, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(db));
    out[0] = '\0';
    for (int i = 0; i < PQntuples(r); i++) {
        size_t at = strlen(out);
        snprintf(out + at, size - at, "%s\n", PQgetvalue(r, i, 0));
    }
    PQclear(r);
}

static void check_plan(enum mam_read read, unsigned filters)
{
    static const uint8_t owner[OWNER_BYTES];
    static char plan[TEXT_BYTES];
    char sql[8192], more[128] = "";
    struct pg_params params;
    struct mam_sql *all = mam_sql_new();
    struct pg_array ids;
    pg_array_init(&ids, PG_INT8, 64);
    const struct mam_selection what = {.owner = owner, .filters = filters, .ids = &ids};
    const struct pg_statement *st = mam_sql(all, read, &what, &params);
    if (filters & MAM_BY_PEER)
        strcat(more, ", 3");
    if (filters & MAM_BY_IDS)
        strcat(more, ", array[1, 2, 3]");
    snprintf(sql, sizeof sql, "PREPARE %s AS %s", st->name, st->sql);
    db_do(sql);
    snprintf(sql, sizeof sql, "EXPLAIN EXECUTE %s (md5('owner7')::uuid, %lld, %lld, 51%s)",
             st->name, (long long)id_of(1), (long long)id_of(2000), more);
    ask_lines(sql, plan, sizeof plan);
    const char *index = filters == MAM_BY_PEER ? "Index Cond: ((owner = " : "(owner = ";
    if (strstr(plan, "Seq Scan") || strstr(plan, "Bitmap") || !strstr(plan, index) ||
        (strstr(plan, "Sort") && !(filters & MAM_BY_IDS)) ||
        (filters == MAM_BY_PEER && !strstr(plan, "AND (peer = ")))
        fail_msg("%s:\n%s", st->name, plan);
    snprintf(sql, sizeof sql, "DEALLOCATE %s", st->name);
    db_do(sql);
    mam_sql_free(&all);
    pg_array_deinit(&ids);
}

static void check_plans(void)
{
    for (unsigned read = 0; read < MAM_READS; read++)
        for (unsigned filters = 0; filters < MAM_FILTERS; filters++)
            check_plan((enum mam_read)read, filters);
}

static void every_page_is_an_index_scan(void **state)
{
    (void)state;
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, stanza)"
             " SELECT md5('owner' || n %% 20)::uuid, %lld + n, n %% 7, md5('ref' || n)::uuid,"
             " n, 0, 'x' FROM generate_series(1, 20000) n",
             (long long)id_of(100));
    db_do(sql);
    /* As on a connection opened with PG_PLANS_IN_INDEX_ORDER. */
    db_do("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;"
          "SET enable_bitmapscan = off; SET enable_sort = off");
    check_plans(); /* before anybody has gathered statistics */
    db_do("ANALYZE xs.message");
    check_plans();
}

/* --- words (XEP-0431) -------------------------------------------------------------------- */

#define SEARCH(words) FIELD("{urn:xmpp:fulltext:0}fulltext", words)
#define TEENS "10 11 12 13 14 15 16 17 18 19"

/* F1, F2: one filter more, in the archive's order. */
static void words_are_one_filter_more(void **state)
{
    (void)state;
    static const struct page_case cases[] = {
        {SEARCH("11"), "", "11", true, 1},
        {SEARCH("1"), "", "1 " TEENS, true, 11},
        {SEARCH("１ ０"), "", "10", true, 1},
        {SEARCH("1"), "<max>2</max>", "1 10", false, -1},
        {SEARCH("1"), "<max>10</max>", "1 10 11 12 13 14 15 16 17 18", false, -1},
        {SEARCH("1"), "<max>11</max>", "1 " TEENS, true, 11},
        {SEARCH("1"), "<max>3</max><before/>", "17 18 19", false, -1},
        {SEARCH("1"), "<max>11</max><before/>", "1 " TEENS, true, 11},
        {SEARCH("1"), "<max>2</max><before>{12}</before>", "10 11", false, -1},
        {SEARCH("1"), "<max>5</max><after>{15}</after>", "16 17 18 19", true, -1},
        {SEARCH("1"), "<max>5</max><after>{8}</after>", "10 11 12 13 14", false, -1},
        {SEARCH("1"), "<max>0</max>", "", false, 11},
        {SEARCH("1"), "<max>0</max><after>{15}</after>", "", false, 11},
        {SEARCH("nowhere"), "<max>0</max>", "", true, 0},
        {SEARCH("nowhere"), "", "", true, 0},
        {SEARCH("99"), "", "", true, 0}, /* failed */
        {SEARCH("1") WITH_LI, "", "12 16", true, 2},
        {SEARCH("1") FIELD("with", "li@chat.example/pad"), "", "12 16", true, 2},
        {SEARCH("1") FIELD("with", "wang@chat.example/phone"), "<max>3</max>", "1 11 13",
         false, -1},
        {SEARCH("2") FIELD("start", "{t3}"), "", "12 20", true, 2},
        {SEARCH("2") FIELD("end", "{t12}"), "", "2 12", true, 2},
        {SEARCH("2") FIELD("after-id", "{2}") FIELD("before-id", "{20}"), "", "12", true, 1},
        {SEARCH("1") "<field var='ids'><value>{3}</value><value>{12}</value>"
                     "<value>{10}</value></field>",
         "", "10 12", true, 2},
        {SEARCH("") WITH_LI, "", "4 8 12 16 20", true, 5}, /* none */
        {SEARCH(" "), "<max>1</max>", "1", false, -1},
        /* F3 */
        {FIELD("withtext", "11"), "", "11", true, 1},
        {FIELD("full-text-search", "11"), "", "11", true, 1},
        {FIELD("search", "11"), "", "11", true, 1},
    };
    CHECK_PAGES(cases);
    ask_page(SEARCH("a b c d e f g h i j k l m n o p q"), "");
    assert_string_equal(told.error, "modify/not-acceptable");
    ask_of(
        "other@chat.example", true,
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data'>" SEARCH("11") "</x></query>");
    assert_int_equal(told.results, 0); /* they have none */
}

/* n messages of wang's phone before message 10, which is his pad's; all say "word". */
static void put_far(const char *owner, int n)
{
    uint8_t raw[OWNER_BYTES];
    char uuid[33], sql[1024];
    struct ident *ident = ingest_ident(w.ing);
    put(owner, WANG, id_of(10), 0, 10);
    ident_owner(ident, owner, raw);
    uuid_text(raw, uuid);
    snprintf(sql, sizeof sql,
             "UPDATE xs.message SET body = 'word' WHERE owner = '%s';"
             "INSERT INTO xs.message (owner, id, peer, ref_id, ref_body, flags, body, stanza)"
             " SELECT owner, id - n * 256, peer, ref_id, n, 0, body, convert_to('<message"
             " xmlns=\"jabber:client\" from=\"" WANG "/phone\"><body>' || n || '</body>"
             "</message>', 'UTF8') FROM xs.message, generate_series(1, %d) n"
             " WHERE owner = '%s'",
             uuid, n, uuid);
    db_do(sql);
}

/* What two filters have in common may be far from where the search for one of them begins. */
static void what_few_messages_have_is_found_far_away(void **state)
{
    (void)state;
    char id[ARCHIVE_ID_BYTES], xml[1024];
    uint8_t raw[OWNER_BYTES];
    put_far("far@chat.example", 9000);
    ident_owner(ingest_ident(w.ing), "far@chat.example", raw);
    ident_archive_id(ingest_ident(w.ing), raw, id_of(10), id);
    const char *const more[] = {"", SEARCH("ord")};
    for (size_t i = 0; i < 2; i++) {
        snprintf(xml, sizeof xml,
                 "<query xmlns='urn:xmpp:mam:2'>" IN_FORM("%s%s")
                     RSM("<max>1</max>") "</query>",
                 FIELD("with", "wang@chat.example/pad"), more[i]);
        ask_of("far@chat.example", true, xml);
        assert_string_equal(told.error, "");
        assert_string_equal(told.bodies, "10");
    }
    snprintf(xml, sizeof xml,
             "<query xmlns='urn:xmpp:mam:2'>" IN_FORM(SEARCH("ord") FIELD("ids", "%s"))
                 RSM("<max>1</max>") "</query>",
             id);
    ask_of("far@chat.example", true, xml);
    assert_string_equal(told.error, "");
    assert_string_equal(told.bodies, "10");
}

static void words_can_be_turned_off(void **state)
{
    (void)state;
    ask_of(OWNER, false, "<query xmlns='urn:xmpp:mam:2'/>");
    assert_non_null(strstr(told.answer, "{urn:xmpp:fulltext:0}fulltext"));
    assert_null(strstr(told.answer, "withtext"));
    struct mam *with = w.mam;
    w.mam = mam_new(&settings, w.lookups, NULL);
    ask_of(OWNER, false, "<query xmlns='urn:xmpp:mam:2'/>");
    assert_null(strstr(told.answer, "fulltext"));
    ask_page(SEARCH("11"), "");
    assert_string_equal(told.error, "cancel/feature-not-implemented"); /* M4 */
    ask_page(FIELD("withtext", "11"), "");
    assert_string_equal(told.error, "cancel/feature-not-implemented");
    mam_free(&w.mam);
    w.mam = with;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        T(pages_by_size_are_complete_only_when_nothing_was_cut),
        T(anchors_are_places),
        T(filters_narrow_the_set_that_is_paged),
        T(ids_select_exactly_those),
        T(max_0_counts_the_whole_set),
        T(flip_page_only_turns_the_order_of_sending),
        T(walks_cover_everything_once),
        T(bytes_cut_a_page_too),
        T(of_a_message_that_no_stanza_holds_comes_who_wrote_it),
        T(unknown_ids_are_not_found_wherever_they_stand),
        T(ids_of_what_the_archive_does_not_hold_are_not_found),
        T(a_failed_message_is_held_and_not_shown),
        T(too_many_ids_are_refused),
        T(what_is_unknown_is_not_implemented),
        T(results_look_as_the_protocol_says),
        T(mam_1_is_answered_in_its_own_namespace),
        T(ids_in_capitals_are_the_same_ids),
        T(a_page_that_may_lack_what_was_just_sent_says_so),
        T(a_page_waits_for_what_the_archive_has_still_to_read),
        T(a_gone_asker_gets_no_more),
        T(metadata_tells_both_ends),
        T(every_page_is_an_index_scan),
        T(nothing_is_read_for_an_asker_who_has_gone),
        T(nobody_begins_while_the_server_does_not_read),
        T(a_scan_never_delays_a_page),
        T(one_accounts_many_questions_never_delay_anothers),
        T(a_silent_server_is_noticed_without_a_connection_for_the_probe),
        T(what_takes_too_long_is_refused),
        T(words_are_one_filter_more),
        T(what_few_messages_have_is_found_far_away),
        T(words_can_be_turned_off),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
