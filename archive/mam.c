// SPDX-License-Identifier: Apache-2.0
#include "archive/mam.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/mam_query.h"
#include "archive/opts.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/datetime.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "store/pg.h"

#define OPEN_MAX 1000              /* queries at once; more are told to come again */
#define PAGE_BYTES_MAX (16 << 20)  /* of stored stanzas in one page */
#define CAUGHT_UP_WITHIN_MS 1000   /* "send, then ask" must find the message */
#define ALIVE_WITHIN_MS 480        /* else PostgreSQL is silent: refused within a second */
#define COUNT_MAX 1000             /* counting stops here: a larger number is not told */
#define CHUNKS_MAX 40              /* scans for one page that filters by resource */
#define FORWARDED_MAX (256 * 1024) /* an answer's fixed parts, escaped queryid included */

#define FROM_MESSAGES                                                                         \
    " FROM xs.message WHERE owner = $1::uuid AND id > $2::bigint AND id < $3::bigint"         \
    " AND flags & 32 = 0" /* failed: the recipient's server refused it */

/* Each of these is one index scan: (owner, id), or (owner, peer, id). */
static const struct pg_statement page_up = {"mam_page_up", "SELECT id, stanza" FROM_MESSAGES
                                                           " ORDER BY id LIMIT $4::int"};
static const struct pg_statement page_down = {
    "mam_page_down", "SELECT id, stanza" FROM_MESSAGES " ORDER BY id DESC LIMIT $4::int"};
static const struct pg_statement peer_up = {
    "mam_peer_up",
    "SELECT id, stanza" FROM_MESSAGES " AND peer = $5::bigint ORDER BY id LIMIT $4::int"};
static const struct pg_statement peer_down = {
    "mam_peer_down",
    "SELECT id, stanza" FROM_MESSAGES " AND peer = $5::bigint ORDER BY id DESC LIMIT $4::int"};
static const struct pg_statement count_all = {
    "mam_count", "SELECT count(*) FROM (SELECT 1" FROM_MESSAGES " LIMIT $4::int) AS few"};
static const struct pg_statement count_peer = {"mam_count_peer",
                                               "SELECT count(*) FROM (SELECT 1" FROM_MESSAGES
                                               " AND peer = $5::bigint LIMIT $4::int) AS few"};

static const struct pg_statement are_you_there = {"mam_alive", "SELECT 1"};

struct row {
    int64_t id;
    size_t at; /* in the page's bytes */
    size_t len;
};

#define PAGE_MAGIC 0x6d616d31

/* One query under way. */
struct page {
    unsigned magic;
    struct mam *mam;
    struct page *next; /* of mam's list */
    struct page *prev;
    bool refused; /* answered already: the result that it waits for only frees it */
    struct mam_request request;
    struct mam_answer answer;
    struct mam_query query;
    uint8_t owner[OWNER_BYTES];
    uint64_t peer; /* 0: any */
    int64_t low;   /* ids wanted lie strictly between */
    int64_t high;
    bool backward;
    bool anchored; /* by the client: it has seen other pages */
    bool stable;
    size_t want;
    unsigned chunks;
    struct row *rows; /* in the order they were read; one more than wanted when there is */
    size_t rows_n;
    bool more; /* the page was cut: there are further messages in this direction */
    struct buf bytes;
};

struct mam {
    const struct archive_opts *opts;
    struct pg_pool *pool;
    struct ingest *ingest;
    struct page *pages;
    unsigned open;
    struct event *tick; /* while there are pages, or an answer to are_you_there is due */
    bool asked;         /* are_you_there is not answered */
    bool silent;        /* and has not been for too long */
};

static void on_tick(evutil_socket_t fd, short what, void *ctx);

struct mam *mam_new(struct event_base *base, const struct archive_opts *opts,
                    struct pg_pool *pool, struct ingest *ingest)
{
    struct mam *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    *m = (struct mam){.opts = opts, .pool = pool, .ingest = ingest};
    m->tick = evtimer_new(base, on_tick, m);
    if (!m->tick)
        abort();
    return m;
}

void mam_free(struct mam **m)
{
    if (!*m)
        return;
    assert((*m)->open == 0 && !(*m)->asked);
    event_free((*m)->tick);
    free(*m);
    *m = NULL;
}

static void page_free(struct page *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        p->mam->pages = p->next;
    if (p->next)
        p->next->prev = p->prev;
    p->mam->open--;
    p->magic = 0;
    buf_deinit(&p->bytes);
    free(p->rows);
    free(p);
}

static void page_refuse(struct page *p, const char *type, const char *condition,
                        const char *text)
{
    struct mam_answer answer = p->answer;
    page_free(p);
    answer.error(answer.ctx, type, condition, text);
}

/* A server that is there and does nothing (stopped, a disk that hangs, a broken network) ends
 * no connection, and a question may take longer than a second in good health.  So while pages
 * are open, PostgreSQL is asked now and then whether it still answers. */

static void arm(struct mam *m)
{
    event_add(m->tick, &(struct timeval){0, ALIVE_WITHIN_MS * 1000});
}

static void on_alive(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct mam *m = ctx;
    (void)r, (void)e; /* a lost connection is told to the pages themselves */
    m->asked = m->silent = false;
}

static void refuse_all(struct mam *m)
{
    for (struct page *p = m->pages, *next; p; p = next) {
        next = p->next;
        if (p->refused)
            continue;
        p->refused = true;
        p->answer.error(p->answer.ctx, "wait", "internal-server-error",
                        "the archive is not reachable now");
    }
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct mam *m = ctx;
    (void)fd, (void)what;
    if (m->asked) {
        m->silent = true; /* until it answers: nothing is sent after what it has */
        refuse_all(m);
    } else if (m->pages) {
        m->asked = true;
        pg_pool_send(m->pool, &are_you_there, NULL, on_alive, m);
        arm(m);
    }
}

/* What a page waited for has come, too late if that is true. */
static bool is_over(struct page *p)
{
    assert(p->magic == PAGE_MAGIC);
    if (!p->refused)
        return false;
    page_free(p);
    return true;
}

/* Answers. */

static void write_result(const struct page *p, const struct row *row, struct buf *out)
{
    char id[ARCHIVE_ID_BYTES], stamp[DATETIME_BYTES];
    ident_archive_id(ingest_ident(p->mam->ingest), p->owner, row->id, id);
    datetime_format(ident_us_from_id(row->id), stamp);
    buf_add_str(out, "<result xmlns=\"" NS_MAM "\" id=\"");
    buf_add_str(out, id);
    if (p->query.queryid) {
        buf_add_str(out, "\" queryid=\"");
        xml_escape_str(out, p->query.queryid);
    }
    buf_add_str(out, "\"><forwarded xmlns=\"urn:xmpp:forward:0\">"
                     "<delay xmlns=\"urn:xmpp:delay\" stamp=\"");
    buf_add_str(out, stamp);
    buf_add_str(out, "\"/>");
    buf_add(out, buf_data(&p->bytes) + row->at, row->len);
    buf_add_str(out, "</forwarded></result>");
}

static void send_results(struct page *p)
{
    struct buf xml;
    buf_init(&xml, PAGE_BYTES_MAX + FORWARDED_MAX);
    bool sending = true;
    for (size_t i = 0; i < p->rows_n && sending; i++) {
        /* Chronological, also in a page that was read from its end (M23, M30). */
        const struct row *row = &p->rows[p->backward ? p->rows_n - 1 - i : i];
        buf_reset(&xml);
        write_result(p, row, &xml);
        sending = !buf_failed(&xml) &&
                  p->answer.result(p->answer.ctx, buf_data(&xml), buf_len(&xml));
    }
    buf_deinit(&xml);
}

static struct stanza *new_fin(const struct page *p, bool complete,
                              const struct rsm_answer *set)
{
    struct stanza *fin = stanza_new(p->request.payload->arena, "fin", NS_MAM);
    if (complete)
        stanza_set(fin, "complete", "true");
    if (!p->stable)
        stanza_set(fin, "stable", "false");
    rsm_write(fin, set);
    return fin;
}

static void page_finish(struct page *p)
{
    char first[ARCHIVE_ID_BYTES], last[ARCHIVE_ID_BYTES];
    struct rsm_answer set = {0};
    if (p->rows_n > 0) {
        struct ident *ident = ingest_ident(p->mam->ingest);
        size_t oldest = p->backward ? p->rows_n - 1 : 0;
        ident_archive_id(ident, p->owner, p->rows[oldest].id, first);
        ident_archive_id(ident, p->owner, p->rows[p->rows_n - 1 - oldest].id, last);
        set.first = first;
        set.last = last;
    }
    /* The whole set in one page: its size costs nothing.  Otherwise no count, and never an
     * index: together they end slixmpp's backward paging after one page. */
    set.has_count = !p->more && !p->anchored;
    set.count = (int64_t)p->rows_n;
    send_results(p);
    struct stanza *fin = new_fin(p, !p->more, &set);
    struct mam_answer answer = p->answer;
    page_free(p);
    answer.done(answer.ctx, fin);
}

/* Reading. */

/* with names a resource: only messages from or to exactly it (M5). */
static bool resource_matches(const struct page *p, const uint8_t *xml, size_t len)
{
    if (!p->query.has_with || jid_is_bare(&p->query.with))
        return true;
    struct err e;
    struct stanza *s = xml_parse_element((const char *)xml, len, &e);
    if (!s)
        return false;
    struct jid from, to;
    bool match =
        (jid_parse(&from, stanza_get(s, "from")) && jid_same(&from, &p->query.with)) ||
        (jid_parse(&to, stanza_get(s, "to")) && jid_same(&to, &p->query.with));
    stanza_free(&s);
    return match;
}

/* False when the page is full: this row is beyond it. */
static bool take_row(struct page *p, int64_t id, const uint8_t *xml, size_t len)
{
    if (p->backward)
        p->high = id;
    else
        p->low = id;
    if (!resource_matches(p, xml, len))
        return true;
    bool too_large = p->rows_n > 0 && buf_len(&p->bytes) + len > PAGE_BYTES_MAX;
    if (p->rows_n == p->want || too_large) {
        p->more = true;
        return false;
    }
    p->rows[p->rows_n++] = (struct row){id, buf_len(&p->bytes), len};
    buf_add(&p->bytes, xml, len);
    return true;
}

static void read_chunk(struct page *p);

static void on_rows(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct page *p = ctx;
    if (is_over(p))
        return;
    if (e->failure) {
        page_refuse(p, "wait", "internal-server-error", "the archive is not reachable now");
        return;
    }
    int n = pg_rows(r);
    bool room = true;
    for (int i = 0; i < n && room; i++) {
        size_t len;
        const uint8_t *xml = pg_bytes(r, i, 1, &len);
        room = take_row(p, pg_i64(r, i, 0), xml, len);
    }
    if (buf_failed(&p->bytes)) {
        page_refuse(p, "wait", "internal-server-error", NULL);
        return;
    }
    /* A short chunk means that the index has ended; else filtering left room for more. */
    bool ended = !room || (size_t)n < p->want + 1;
    if (!ended && p->chunks >= CHUNKS_MAX) {
        /* Rarely matching resource: what was found so far is a page that was cut.  An empty
         * cut page would leave the client without an anchor, so that one is refused. */
        if (p->rows_n == 0) {
            page_refuse(p, "wait", "resource-constraint",
                        "too few matches; ask without resource");
            return;
        }
        p->more = ended = true;
    }
    if (ended)
        page_finish(p);
    else
        read_chunk(p);
}

static void page_params(const struct page *p, struct pg_params *params, int32_t limit)
{
    pg_params_init(params);
    pg_add_uuid(params, p->owner);
    pg_add_i64(params, p->low);
    pg_add_i64(params, p->high);
    pg_add_i32(params, limit);
    if (p->peer)
        pg_add_i64(params, (int64_t)p->peer);
}

static void read_chunk(struct page *p)
{
    struct pg_params params;
    page_params(p, &params, (int32_t)p->want + 1);
    const struct pg_statement *st = p->peer ? (p->backward ? &peer_down : &peer_up)
                                            : (p->backward ? &page_down : &page_up);
    p->chunks++;
    pg_pool_send(p->mam->pool, st, &params, on_rows, p);
}

/* <max>0</max>: how many are there (R9), as long as counting is cheap. */
static void on_count(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct page *p = ctx;
    if (is_over(p))
        return;
    if (e->failure) {
        page_refuse(p, "wait", "internal-server-error", "the archive is not reachable now");
        return;
    }
    int64_t count = pg_i64(r, 0, 0);
    struct rsm_answer set = {.has_count = count <= COUNT_MAX, .count = count};
    struct stanza *fin = new_fin(p, count == 0, &set);
    struct mam_answer answer = p->answer;
    page_free(p);
    answer.done(answer.ctx, fin);
}

static void count_only(struct page *p)
{
    struct pg_params params;
    page_params(p, &params, COUNT_MAX + 1);
    pg_pool_send(p->mam->pool, p->peer ? &count_peer : &count_all, &params, on_count, p);
}

static void on_caught_up(void *ctx, bool done)
{
    struct page *p = ctx;
    if (is_over(p))
        return;
    p->stable = done;
    if (p->want == 0)
        count_only(p);
    else
        read_chunk(p);
}

/* Asking. */

/* An anchor of ours, or a client's that comes from ejabberd's mod_mam: its ids are the time in
 * microseconds, sixteen digits. */
static bool read_anchor(const struct page *p, const char *text, int64_t *id_out)
{
    if (strlen(text) == 16 && strspn(text, "0123456789") == 16) {
        *id_out = ident_id_from_us(strtoll(text, NULL, 10));
        return true;
    }
    return ident_archive_id_parse(ingest_ident(p->mam->ingest), p->owner, text, id_out);
}

static int64_t at_least(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The time range and the anchors as one open interval of ids; false: unknown anchor. */
static bool find_range(struct page *p)
{
    const struct mam_query *q = &p->query;
    int64_t anchor;
    p->low = ident_id_from_us(q->start_us) - 1;
    p->high = INT64_MAX;
    if (q->end_us < ident_us_from_id(INT64_MAX))
        p->high = ident_id_from_us(q->end_us + 1);
    if (q->rsm.after) {
        if (!read_anchor(p, q->rsm.after, &anchor))
            return false;
        p->low = at_least(p->low, anchor);
    }
    if (q->rsm.before) {
        if (!read_anchor(p, q->rsm.before, &anchor))
            return false;
        p->high = anchor < p->high ? anchor : p->high;
    }
    p->backward = q->rsm.before || q->rsm.last_page;
    p->anchored = q->rsm.before || q->rsm.after;
    return true;
}

static void set_page_size(struct page *p)
{
    const struct archive_opts *o = p->mam->opts;
    const struct rsm *rsm = &p->query.rsm;
    p->want = rsm->has_max ? rsm->max : o->page_default;
    if (p->want > o->page_max)
        p->want = o->page_max;
    p->rows = calloc(p->want + 1, sizeof *p->rows);
    if (!p->rows)
        abort();
}

static void start_page(struct page *p)
{
    struct ident *ident = ingest_ident(p->mam->ingest);
    if (!ident) {
        page_refuse(p, "wait", "internal-server-error", "the archive is not reachable yet");
        return;
    }
    ident_owner(ident, p->request.account, p->owner);
    if (p->query.has_with)
        p->peer = ident_peer(ident, p->owner, p->query.with.bare);
    if (!find_range(p)) {
        page_refuse(p, "cancel", "item-not-found", NULL);
        return;
    }
    set_page_size(p);
    if (!pg_pool_is_up(p->mam->pool) || p->mam->silent) {
        page_refuse(p, "wait", "internal-server-error", "the archive is not reachable now");
        return;
    }
    if (!event_pending(p->mam->tick, EV_TIMEOUT, NULL))
        arm(p->mam);
    ingest_wait(p->mam->ingest, p->request.account, clock_mono_ms() + CAUGHT_UP_WITHIN_MS,
                on_caught_up, p);
}

static void ask_page(struct mam *m, const struct mam_request *r,
                     const struct mam_answer *answer)
{
    struct page *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->magic = PAGE_MAGIC;
    p->mam = m;
    p->request = *r;
    p->answer = *answer;
    p->next = m->pages;
    if (p->next)
        p->next->prev = p;
    m->pages = p;
    buf_init(&p->bytes, PAGE_BYTES_MAX * 2);
    m->open++;
    struct mam_refusal why;
    if (mam_query_read(&p->query, r->payload, &why))
        start_page(p);
    else
        page_refuse(p, why.type, why.condition, why.text);
}

void mam_ask(struct mam *m, const struct mam_request *r, const struct mam_answer *answer)
{
    if (!stanza_is(r->payload, "query", NS_MAM)) {
        answer->error(answer->ctx, "cancel", "feature-not-implemented", NULL);
    } else if (!r->is_set) {
        struct stanza *query = stanza_new(r->payload->arena, "query", NS_MAM);
        mam_query_form(query);
        answer->done(answer->ctx, query);
    } else if (m->open >= OPEN_MAX) {
        answer->error(answer->ctx, "wait", "resource-constraint", NULL);
    } else {
        ask_page(m, r, answer);
    }
}
