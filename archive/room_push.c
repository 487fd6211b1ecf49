// SPDX-License-Identifier: Apache-2.0
#include "archive/room_push.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "archive/ident.h"
#include "archive/room_named.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fold.h"
#include "base/log.h"
#include "base/words.h"
#include "base/xml_parse.h"
#include "store/pg.h"
#include "store/pg_array.h"

#define PREFIX "rooms"
#define MESSAGES_MAX 32 /* of one room at a time */
#define ARRAY_BYTES_MAX ((size_t)4 << 20)
#define ROUND_S 30
#define AGAIN_S 1
#define BADGES_MAX 100      /* accounts of one statement */
#define BADGES_WAIT_MS 2000 /* a read is seldom alone */
#define TRIES_MAX 3         /* of one message, when it may be something that passes */
#define ASIDE_MAX 16
#define ASIDE_MS INT64_C(3600000)

enum { ID, SENDER, WORDS, NAMED_ID, NAMED, NICKED_ID, NICKED, PUSHED, ASIDE = PUSHED, ARRAYS };

struct room_push {
    struct room_push_opts opts;
    struct event *timer;
    struct fold fold;
    struct buf words;
    struct pg_array arrays[ARRAYS];
    bool told_notify; /* it is written down */
    bool running;     /* a statement is under way */
    bool again;       /* something came meanwhile */
    /* What PostgreSQL will not take must not stop the rest: messages are tried one by one, and
     * those that fail wait for an hour, or for the next worker. */
    bool one_by_one;
    int64_t pushed_id; /* of the page under way, the first message */
    size_t pushed_n;
    unsigned tries; /* that have failed, of tried_id alone */
    int64_t tried_id;
    int64_t aside[ASIDE_MAX];
    size_t aside_n;
    int64_t aside_until_ms;
};

static const struct pg_statement set_notify = {
    "rooms_notify", "UPDATE xs.setting SET value = $1::int::text"
                    " WHERE name = 'push.rooms' AND value <> $1::int::text"};

/* Of the room whose message waits longest, all that stand at the same place.  A message that
 * is gone or taken back has no sender. */
static const struct pg_statement read_due = {
    "rooms_due",
    "SELECT d.owner, d.after_peer, a.jid, d.id, m.peer, m.body, m.stanza"
    " FROM (SELECT owner, after_peer FROM xs.room_due WHERE id <> ALL ($2::bigint[])"
    "   ORDER BY id LIMIT 1) f"
    " JOIN xs.room_due d ON d.owner = f.owner AND d.after_peer = f.after_peer"
    "   AND d.id <> ALL ($2::bigint[])"
    " LEFT JOIN xs.account a ON a.owner = d.owner"
    " LEFT JOIN xs.message m ON m.owner = d.owner AND m.id = d.id AND m.flags & 1536 = 512"
    " ORDER BY d.id LIMIT $1::int"};

static const struct pg_statement push_page = {
    "rooms_push",
    "SELECT o_entries, o_done FROM xs.room_push($1::uuid, $2::bigint, $3::int, $4::bigint,"
    " $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[],"
    " $11::text[])"};

/* Who has read in rooms may have less on his icons. */
static const struct pg_statement add_badges = {"rooms_badges",
                                               "SELECT xs.badges_due($1::int, $2::bigint)"};

static void read_next(struct room_push *r);
static void tell_readers(struct room_push *r);

/* The next look, unless one is asked for before. */
static void rest(struct room_push *r, int seconds)
{
    r->running = false;
    if (r->again)
        seconds = 0;
    event_add(r->timer, &(struct timeval){seconds, 0});
}

static void failed(struct room_push *r, const struct pg_error *e)
{
    if (e->failure != PG_LOST)
        log_warn(PREFIX, "pushes of rooms wait sqlstate=%s why=\"%s\"", e->sqlstate, e->text);
    r->again = false;
    rest(r, AGAIN_S);
}

static void put_aside(struct room_push *r, const struct pg_error *e)
{
    log_error(PREFIX,
              "pushes of a message wait for an hour message=%lld sqlstate=%s why=\"%s\"",
              (long long)r->pushed_id, e->sqlstate, e->text);
    if (r->aside_n == ASIDE_MAX) /* the first is tried again */
        memmove(r->aside, r->aside + 1, --r->aside_n * sizeof *r->aside);
    r->aside[r->aside_n++] = r->pushed_id;
    r->aside_until_ms = clock_mono_ms() + ASIDE_MS;
}

/* True when it is the message's own fault, and the others can go on.  What may pass, like a
 * statement that took too long, is its fault when it does so alone again and again. */
static bool passes_over(struct room_push *r, const struct pg_error *e)
{
    bool may_pass = e->failure == PG_CONFLICT;
    if (e->failure != PG_DATA && e->failure != PG_OTHER && !may_pass)
        return false;
    r->one_by_one = true;
    if (r->pushed_n > 1)
        return true;
    r->tries = r->tried_id == r->pushed_id ? r->tries + 1 : 1;
    r->tried_id = r->pushed_id;
    if (may_pass && r->tries < TRIES_MAX)
        return false;
    put_aside(r, e);
    return true;
}

static void on_pushed(void *ctx, const struct pg_result *res, const struct pg_error *e)
{
    struct room_push *r = ctx;
    if (!res && !passes_over(r, e)) {
        failed(r, e);
        return;
    }
    if (res)
        r->tries = 0;
    if (res && pg_i64(res, 0, 0) > 0)
        r->opts.entries(r->opts.ctx);
    read_next(r);
}

static void add_words(struct room_push *r, const char *text)
{
    size_t len = strlen(text);
    buf_reset(&r->words);
    words_mark(&r->words, &r->fold, text,
               len < ROOM_PUSH_WORDS_BYTES ? len : ROOM_PUSH_WORDS_BYTES);
    pg_array_add_text(&r->arrays[WORDS], buf_cstr(&r->words));
}

/* Whom the message addresses. */
static void add_named(struct room_push *r, const uint8_t room[OWNER_BYTES],
                      const char *room_jid, int64_t id, const struct stanza *message)
{
    struct room_named named;
    struct jid who;
    room_named_begin(&named, message);
    while (room_named_next(&named, &who)) {
        if (strcmp(who.bare, room_jid) != 0) {
            pg_array_add_i64(&r->arrays[NAMED_ID], id);
            pg_array_add_i64(&r->arrays[NAMED],
                             (int64_t)ident_peer(r->opts.ident, room, who.bare));
        } else if (who.resource[0]) {
            pg_array_add_i64(&r->arrays[NICKED_ID], id);
            buf_reset(&r->words);
            words_mark(&r->words, &r->fold, who.resource, strlen(who.resource));
            pg_array_add_text(&r->arrays[NICKED], buf_cstr(&r->words));
        }
    }
}

static void add_message(struct room_push *r, const struct pg_result *res, int row,
                        const uint8_t room[OWNER_BYTES])
{
    size_t len;
    struct err e;
    int64_t id = pg_i64(res, row, 3);
    pg_array_add_i64(&r->arrays[ID], id);
    if (pg_is_null(res, row, 4)) {
        pg_array_add_i64(&r->arrays[SENDER], 0);
        pg_array_add_text(&r->arrays[WORDS], NULL);
        return;
    }
    pg_array_add_i64(&r->arrays[SENDER], pg_i64(res, row, 4));
    add_words(r, pg_text(res, row, 5));
    const uint8_t *xml = pg_bytes(res, row, 6, &len);
    struct stanza *message = len > 0 ? xml_parse_element((const char *)xml, len, &e) : NULL;
    if (message)
        add_named(r, room, pg_text(res, row, 2), id, message);
    stanza_free(&message);
}

static void on_due(void *ctx, const struct pg_result *res, const struct pg_error *e)
{
    struct room_push *r = ctx;
    uint8_t room[OWNER_BYTES];
    if (!res) {
        failed(r, e);
        return;
    }
    if (pg_rows(res) == 0) {
        r->one_by_one = false;
        rest(r, ROUND_S);
        return;
    }
    for (int i = 0; i < ARRAYS; i++)
        pg_array_reset(&r->arrays[i]);
    pg_uuid(res, 0, 0, room);
    r->pushed_id = pg_i64(res, 0, 3);
    r->pushed_n = (size_t)pg_rows(res);
    for (int i = 0; i < pg_rows(res); i++)
        add_message(r, res, i, room);
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, room);
    pg_add_i64(&p, pg_i64(res, 0, 1));
    pg_add_i32(&p, (int32_t)r->opts.page);
    pg_add_i64(&p, r->opts.settle_ms);
    for (int i = 0; i < PUSHED; i++)
        pg_add_array(&p, &r->arrays[i]);
    pg_pool_send(r->opts.pool, &push_page, &p, on_pushed, r);
}

static void read_next(struct room_push *r)
{
    struct pg_params p;
    if (clock_mono_ms() > r->aside_until_ms)
        r->aside_n = 0;
    pg_array_reset(&r->arrays[ASIDE]);
    for (size_t i = 0; i < r->aside_n; i++)
        pg_array_add_i64(&r->arrays[ASIDE], r->aside[i]);
    pg_params_init(&p);
    pg_add_i32(&p, r->one_by_one ? 1 : MESSAGES_MAX);
    pg_add_array(&p, &r->arrays[ASIDE]);
    pg_pool_send(r->opts.pool, &read_due, &p, on_due, r);
}

static void on_badges(void *ctx, const struct pg_result *res, const struct pg_error *e)
{
    struct room_push *r = ctx;
    int64_t n = res ? pg_i64(res, 0, 0) : 0;
    if (!res && e->failure == PG_LOST) {
        failed(r, e);
        return;
    }
    if (!res) /* at the next look, and pushes need not wait for that */
        log_warn(PREFIX, "icons wait sqlstate=%s why=\"%s\"", e->sqlstate, e->text);
    if (n > 0)
        r->opts.entries(r->opts.ctx);
    if (n == BADGES_MAX)
        tell_readers(r);
    else
        read_next(r);
}

static void tell_readers(struct room_push *r)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i32(&p, BADGES_MAX);
    pg_add_i64(&p, BADGES_WAIT_MS);
    pg_pool_send(r->opts.pool, &add_badges, &p, on_badges, r);
}

static void on_notify_set(void *ctx, const struct pg_result *res, const struct pg_error *e)
{
    struct room_push *r = ctx;
    if (!res) {
        failed(r, e);
        return;
    }
    r->told_notify = true;
    tell_readers(r);
}

static void go_on(struct room_push *r)
{
    r->running = true;
    r->again = false; /* all is looked at from here on */
    if (r->told_notify) {
        tell_readers(r);
        return;
    }
    struct pg_params p;
    pg_params_init(&p);
    pg_add_i32(&p, (int32_t)r->opts.notify);
    pg_pool_send(r->opts.pool, &set_notify, &p, on_notify_set, r);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct room_push *r = ctx;
    if (!r->running)
        go_on(r);
}

void room_push_look(struct room_push *r)
{
    r->again = true;
    if (!r->running)
        event_active(r->timer, EV_TIMEOUT, 0);
}

struct room_push *room_push_new(struct event_base *base, const struct room_push_opts *opts)
{
    static const enum pg_array_type types[ARRAYS] = {PG_INT8, PG_INT8, PG_TEXT, PG_INT8,
                                                     PG_INT8, PG_INT8, PG_TEXT, PG_INT8};
    struct room_push *r = calloc(1, sizeof *r);
    if (!r || !(r->timer = evtimer_new(base, on_timer, r)))
        abort();
    r->opts = *opts;
    if (!r->opts.page)
        r->opts.page = ROOM_PUSH_PAGE;
    fold_init(&r->fold);
    buf_init(&r->words, 32 * ROOM_PUSH_WORDS_BYTES);
    for (int i = 0; i < ARRAYS; i++)
        pg_array_init(&r->arrays[i], types[i], ARRAY_BYTES_MAX);
    go_on(r);
    return r;
}

void room_push_free(struct room_push **rp)
{
    struct room_push *r = *rp;
    if (!r)
        return;
    event_free(r->timer);
    for (int i = 0; i < ARRAYS; i++)
        pg_array_deinit(&r->arrays[i]);
    buf_deinit(&r->words);
    fold_deinit(&r->fold);
    free(r);
    *rp = NULL;
}
