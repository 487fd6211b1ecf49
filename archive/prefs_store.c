// SPDX-License-Identifier: Apache-2.0
#include "archive/prefs_store.h"

#include <stdlib.h>
#include <string.h>

#include "archive/ident.h"
#include "archive/ingest.h"
#include "archive/lookup.h"
#include "archive/opts.h"
#include "archive/turns.h"
#include "base/clock.h"

#define WITHIN_MS 900 /* a client hears "wait" within a second */

static const struct pg_statement read_prefs = {
    "prefs_read",
    "SELECT mode, array_to_string(always, E'\\n'), array_to_string(never, E'\\n')"
    " FROM xs.prefs WHERE owner = $1::uuid"};

struct prefs_store {
    const struct archive_opts *opts;
    struct lookups *lookups;
    struct ingest *ingest;
    struct turns *changes;
};

/* --- reading ---------------------------------------------------------------------------- */

/* Whom to tell; outlives the lookup, which is gone when its answer is given. */
struct listener {
    prefs_fn fn;
    void *ctx;
    const struct prefs *prefs; /* while they are told, NULL: not now */
};

struct reading {
    struct lookup lookup; /* first */
    struct prefs_store *store;
    struct listener *listener;
};

static void tell(struct listener *who)
{
    struct listener l = *who;
    free(who);
    l.fn(l.ctx, l.prefs);
}

static void on_done(void *ctx, struct stanza *payload)
{
    (void)payload;
    tell(ctx);
}

static void on_refused(void *ctx, const char *type, const char *condition, const char *text)
{
    (void)type, (void)condition, (void)text;
    tell(ctx);
}

static void on_prefs(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct reading *read = ctx;
    if (lookup_is_over(&read->lookup, e))
        return;
    struct prefs p = {.mode = read->store->opts->prefs_default, .always = "", .never = ""};
    if (pg_rows(r) > 0)
        p = (struct prefs){.stored = true,
                           .mode = (enum prefs_mode)pg_i64(r, 0, 0),
                           .always = pg_text(r, 0, 1),
                           .never = pg_text(r, 0, 2)};
    /* What has been set and is not written yet would be missing. */
    read->listener->prefs = read->lookup.stable ? &p : NULL;
    lookup_done(&read->lookup, NULL);
}

static void read_now(struct lookup *l)
{
    struct pg_params p;
    pg_params_init(&p);
    pg_add_uuid(&p, l->owner);
    lookup_send(l, &read_prefs, &p, on_prefs, l);
}

static void reading_free(struct lookup *l)
{
    free(l);
}

void prefs_get(struct prefs_store *s, const char *account, prefs_fn fn, void *ctx)
{
    static const struct lookup_kind kind = {.read = read_now, .free = reading_free};
    struct reading *r = calloc(1, sizeof *r);
    struct listener *who = calloc(1, sizeof *who);
    if (!r || !who)
        abort();
    *who = (struct listener){.fn = fn, .ctx = ctx};
    r->store = s;
    r->listener = who;
    const struct archive_request ask = {.account = account};
    const struct archive_answer answer = {.done = on_done, .error = on_refused, .ctx = who};
    if (lookup_begin(s->lookups, &r->lookup, &kind, &ask, &answer))
        lookup_wait(&r->lookup, TURN_PAGE);
}

/* --- writing ---------------------------------------------------------------------------- */

struct writing {
    prefs_fn fn;
    void *ctx;
    struct prefs prefs; /* its lists are in text */
    char text[];
};

static void on_written(void *ctx, bool done)
{
    struct writing *w = ctx;
    w->fn(w->ctx, done ? &w->prefs : NULL);
    free(w);
}

void prefs_set(struct prefs_store *s, const char *account, const struct prefs *p, prefs_fn fn,
               void *ctx)
{
    size_t always = strlen(p->always) + 1, never = strlen(p->never) + 1;
    struct writing *w = calloc(1, sizeof *w + always + never);
    if (!w)
        abort();
    memcpy(w->text, p->always, always);
    memcpy(w->text + always, p->never, never);
    w->fn = fn;
    w->ctx = ctx;
    w->prefs = (struct prefs){true, p->mode, w->text, w->text + always};
    ingest_set_prefs(s->ingest, account, &w->prefs, clock_mono_ms() + WITHIN_MS, on_written,
                     w);
}

/* --- taking turns ------------------------------------------------------------------------ */

bool prefs_change_begin(struct prefs_store *s, const char *account, struct turn *t,
                        void (*go)(struct turn *t))
{
    uint8_t owner[OWNER_BYTES];
    ident_owner(lookups_ident(s->lookups), account, owner);
    return turns_take(s->changes, t, owner, TURN_PAGE, go);
}

void prefs_change_end(struct prefs_store *s, struct turn *t)
{
    turns_give_back(s->changes, t);
}

/* --- life ------------------------------------------------------------------------------- */

struct prefs_store *prefs_store_new(const struct archive_opts *opts, struct lookups *lookups,
                                    struct ingest *ingest)
{
    struct prefs_store *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    *s = (struct prefs_store){
        .opts = opts, .lookups = lookups, .ingest = ingest, .changes = turns_new_one_each()};
    return s;
}

void prefs_store_free(struct prefs_store **s)
{
    if (*s)
        turns_free(&(*s)->changes);
    free(*s);
    *s = NULL;
}
