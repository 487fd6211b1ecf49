// SPDX-License-Identifier: Apache-2.0
#include "sidecar/fill.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "archive/fill_store.h"
#include "archive/ingest.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "component/monitoring.h"
#include "component/service.h"
#include "store/pg.h"

#define PREFIX "fill"
#define LINK 0 /* Openfire has one */
#define LOOK_AGAIN_MS 5000
#define STEP_MS 50
#define LINK_AGAIN_MS 500
#define LOST_SLACK_US INT64_C(1000000)
#define AFTER_FAILURE_MS 10000
#define TROUBLE_AGAIN_MS (60 * 1000)
#define TRIES_MAX 3 /* of one account */
#define PAGE 50     /* results in one answer */
#define PAGE_MAX 1600
/* A result takes six entries of the server's queue of copies, which holds 10,000 for 5 s. */
#define RESULT_MS 20

enum fill_state {
    FILL_WAITS,   /* -> LOOKS */
    FILL_LOOKS,   /* for a task -> WAITS, PROBES */
    FILL_PROBES,  /* whether there is an archive to ask -> WAITS, READS */
    FILL_READS,   /* the next accounts -> WAITS, ASKS, SAVES */
    FILL_ASKS,    /* them -> WAITS, COMMITS */
    FILL_COMMITS, /* waits until what they told is committed -> SAVES, WAITS */
    FILL_SAVES,   /* how far it is -> READS, WAITS */
};

struct account {
    struct fill *f;
    char *jid;
    int64_t from_us; /* everything before has been told */
    unsigned max;
    unsigned tries;
    bool asked; /* without an answer yet */
    bool done;
    bool failed;
};

struct fill {
    struct fill_opts opts;
    struct event *timer;
    enum fill_state state;
    bool stopped;
    bool paused;
    bool given_up;    /* these accounts, for now */
    int64_t since_us; /* copies come since then; what was probed holds for them */
    bool probed;
    struct fill_task task;
    struct account accounts[FILL_ACCOUNTS];
    size_t n;
    uint8_t last_owner[OWNER_BYTES];
    int64_t not_before_ms;         /* the next question */
    uint64_t told_until;           /* end in the spool of what was told to the accounts */
    struct fill_progress progress; /* of these accounts */
    int64_t lost_from_us;          /* to be planned, 0: nothing */
    int64_t lost_to_us;
    int64_t adding_from_us; /* is being planned */
    int64_t adding_to_us;
    int64_t wait_until_ms;
    char trouble[512];
    struct fill_status status;
};

static void set_state(struct fill *f, enum fill_state to)
{
    static const unsigned next[] = {
        [FILL_WAITS] = 1u << FILL_LOOKS,
        [FILL_LOOKS] = 1u << FILL_WAITS | 1u << FILL_PROBES,
        [FILL_PROBES] = 1u << FILL_WAITS | 1u << FILL_READS,
        [FILL_READS] = 1u << FILL_WAITS | 1u << FILL_ASKS | 1u << FILL_SAVES,
        [FILL_ASKS] = 1u << FILL_WAITS | 1u << FILL_COMMITS,
        [FILL_COMMITS] = 1u << FILL_SAVES | 1u << FILL_WAITS,
        [FILL_SAVES] = 1u << FILL_READS | 1u << FILL_WAITS,
    };
    assert(next[f->state] & 1u << to);
    f->state = to;
}

static void step_in(struct fill *f, int64_t ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    if (!f->stopped)
        (void)event_add(f->timer, &tv);
}

static void forget_accounts(struct fill *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->accounts[i].jid);
    f->n = 0;
    f->progress = (struct fill_progress){.accounts = 0};
}

/* The task stands in the database as it was saved last: it goes on there. */
static void wait_for(struct fill *f, int64_t ms)
{
    forget_accounts(f);
    set_state(f, FILL_WAITS);
    f->wait_until_ms = clock_mono_ms() + ms;
    step_in(f, ms < LINK_AGAIN_MS ? ms : LINK_AGAIN_MS);
}

/* ---- what goes wrong, and the remedy ---- */

static void set_trouble(struct fill *f, const char *text)
{
    if (strcmp(f->trouble, text) != 0)
        log_warn(PREFIX, "messages may be missing and cannot be looked for: %s", text);
    snprintf(f->trouble, sizeof f->trouble, "%s", text);
}

/* What one account's answer says of all. */
static bool is_everybodys(const struct monitoring_page *p)
{
    const char *c = p->condition ? p->condition : "";
    return p->end == MONITORING_ODD ||
           (p->end == MONITORING_REFUSED &&
            (strcmp(c, "forbidden") == 0 || strcmp(c, "feature-not-implemented") == 0));
}

static void complain(struct fill *f, const struct monitoring_page *p)
{
    const char *c = p->condition ? p->condition : "";
    char text[sizeof f->trouble];
    if (p->end == MONITORING_ODD)
        snprintf(text, sizeof text, "the answer of the monitoring plugin's archive is odd");
    else if (strcmp(c, "forbidden") == 0)
        snprintf(text, sizeof text,
                 "the monitoring plugin shows us nobody's archive: add %s to Openfire's "
                 "property admin.authorizedJIDs, beside the addresses of your administrators "
                 "(where it is empty, admin@%s is one and must be added, too)",
                 f->opts.component, f->opts.host);
    else
        snprintf(text, sizeof text,
                 "the monitoring plugin archives nothing: see Openfire's properties "
                 "conversation.metadataArchiving and conversation.messageArchiving");
    set_trouble(f, text);
}

/* ---- a task ---- */

static void look(struct fill *f);

static bool may_ask(struct fill *f)
{
    struct service_link_status s;
    if (f->paused)
        return false;
    service_link_status(f->opts.service, LINK, &s);
    if (!s.up || !s.live || s.copies != SERVICE_COPIES_SENT)
        return false;
    if (s.copies_since_us != f->since_us) {
        f->probed = false;
        f->wait_until_ms = f->not_before_ms = 0;
    }
    f->since_us = s.copies_since_us;
    return true;
}

static bool failed(struct fill *f, const struct pg_result *r, const struct pg_error *e)
{
    if (r)
        return false;
    if (e->failure != PG_LOST)
        log_warn(PREFIX, "sqlstate=%s why=\"%s\"", e->sqlstate, e->text);
    wait_for(f, AFTER_FAILURE_MS);
    return true;
}

static void probe(struct fill *f);
static void read_accounts(struct fill *f);

static void on_task(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct fill *f = ctx;
    if (f->stopped || failed(f, r, e))
        return;
    fill_store_read_task(r, &f->task);
    f->status.tasks = f->task.tasks;
    if (!f->task.why[0]) {
        wait_for(f, LOOK_AGAIN_MS);
        return;
    }
    set_state(f, FILL_PROBES);
    probe(f);
}

static void look(struct fill *f)
{
    set_state(f, FILL_LOOKS);
    fill_store_next(f->opts.pool, f->since_us, f->opts.every_ms * 1000, on_task, f);
}

static void on_probed(void *ctx, const struct monitoring_page *p)
{
    struct fill *f = ctx;
    if (f->stopped)
        return;
    f->probed = p->end == MONITORING_ANSWERED;
    if (f->probed) {
        read_accounts(f);
        return;
    }
    if (p->end != MONITORING_LOST)
        set_trouble(f, "Openfire offers no archive (urn:xmpp:mam:2): install its monitoring "
                       "plugin, or set archive.fill_gaps: off");
    wait_for(f, p->end == MONITORING_LOST ? AFTER_FAILURE_MS : TROUBLE_AGAIN_MS);
}

static void probe(struct fill *f)
{
    if (f->probed)
        read_accounts(f);
    else
        monitoring_probe(f->opts.service, LINK, f->opts.host, on_probed, f);
}

/* ---- its accounts ---- */

static void save(struct fill *f);

static bool is_hosts(const struct fill *f, const char *jid)
{
    const char *at = strchr(jid, '@');
    return at && strcmp(at + 1, f->opts.host) == 0;
}

static void on_accounts(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct fill *f = ctx;
    if (f->stopped || failed(f, r, e))
        return;
    int n = fill_store_accounts_n(r);
    f->progress.done = n == 0;
    if (n == 0) {
        save(f);
        return;
    }
    for (int i = 0; i < n; i++) {
        const char *jid = fill_store_account(r, i, f->last_owner);
        if (!is_hosts(f, jid))
            continue;
        struct account *a = &f->accounts[f->n++];
        *a = (struct account){
            .f = f, .jid = strdup(jid), .from_us = f->task.from_us, .max = PAGE};
        if (!a->jid)
            abort();
    }
    f->told_until = 0;
    f->given_up = false;
    f->progress.accounts = (unsigned)f->n;
    set_state(f, FILL_ASKS);
    step_in(f, 0);
}

static void read_accounts(struct fill *f)
{
    set_state(f, FILL_READS);
    fill_store_accounts(f->opts.pool, &f->task, on_accounts, f);
}

/* ---- their archives ---- */

/* The page ends where the next begins: results of the same moment are told twice, and known
 * the second time.  A page of one moment alone is asked for once more, and longer. */
static void take_page(struct account *a, const struct monitoring_page *p)
{
    struct fill *f = a->f;
    f->progress.messages += p->results;
    f->told_until = service_looked_at(f->opts.service);
    a->tries = 0;
    if (p->results == 0 || (p->complete && p->results < a->max)) {
        a->done = true;
    } else if (p->last_us / 1000 > a->from_us / 1000) {
        a->from_us = p->last_us;
        a->max = PAGE;
    } else if (a->max < PAGE_MAX) {
        a->max *= 2;
    } else {
        log_warn(PREFIX, "more than %d messages of one moment account=%s", PAGE_MAX, a->jid);
        a->from_us += 1000;
    }
}

static void take_refusal(struct account *a, const struct monitoring_page *p)
{
    struct fill *f = a->f;
    if (is_everybodys(p)) {
        complain(f, p);
        f->given_up = true;
        f->not_before_ms = clock_mono_ms() + TROUBLE_AGAIN_MS;
        return;
    }
    f->not_before_ms = clock_mono_ms() + AFTER_FAILURE_MS;
    if (++a->tries < TRIES_MAX)
        return;
    log_warn(PREFIX, "the monitoring plugin's archive does not tell of account=%s: %s", a->jid,
             p->condition ? p->condition : "no answer");
    a->done = a->failed = true;
    f->progress.failed++;
}

static void on_page(void *ctx, const struct monitoring_page *p)
{
    struct account *a = ctx;
    struct fill *f = a->f;
    a->asked = false;
    if (f->stopped)
        return;
    if (p->end == MONITORING_ANSWERED) {
        f->trouble[0] = '\0';
        take_page(a, p);
        int64_t now_ms = clock_mono_ms();
        if (f->not_before_ms < now_ms)
            f->not_before_ms = now_ms;
        f->not_before_ms += (int64_t)p->results * RESULT_MS;
    } else if (p->end == MONITORING_LOST) {
        f->given_up = true;
    } else {
        take_refusal(a, p);
    }
    step_in(f, 0);
}

static void ask(struct account *a)
{
    const struct monitoring_range range = {
        .account = a->jid, .from_us = a->from_us, .to_us = a->f->task.to_us, .max = a->max};
    a->asked = true;
    monitoring_ask(a->f->opts.service, LINK, &range, on_page, a);
}

static void ask_all(struct fill *f)
{
    size_t open = 0, done = 0;
    int64_t now_ms = clock_mono_ms();
    for (size_t i = 0; i < f->n; i++) {
        struct account *a = &f->accounts[i];
        if (!a->asked && !a->done && !f->given_up && now_ms >= f->not_before_ms && may_ask(f))
            ask(a);
        open += a->asked;
        done += a->done;
    }
    if (f->given_up && open == 0) {
        int64_t ms = f->not_before_ms - now_ms;
        wait_for(f, ms > AFTER_FAILURE_MS ? ms : AFTER_FAILURE_MS);
    } else if (done == f->n) {
        set_state(f, FILL_COMMITS);
        step_in(f, 0);
    } else {
        step_in(f, STEP_MS);
    }
}

/* ---- how far it is ---- */

static void on_saved(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct fill *f = ctx;
    if (f->stopped || failed(f, r, e))
        return;
    struct fill_progress p = f->progress;
    bool same = fill_store_saved(r);
    f->status.accounts += p.accounts;
    f->status.failed += p.failed;
    f->status.messages += p.messages;
    if (same && p.done) {
        f->status.done_us = clock_real_us();
        f->status.tasks--;
        log_info(PREFIX, "done why=%s seconds=%lld", f->task.why,
                 (long long)((f->task.to_us - f->task.from_us) / 1000000));
    }
    if (!same || p.done) {
        wait_for(f, 0);
        return;
    }
    forget_accounts(f);
    read_accounts(f);
}

static void save(struct fill *f)
{
    if (!f->progress.done) {
        memcpy(f->task.owner, f->last_owner, OWNER_BYTES);
        f->task.begun = true;
    }
    set_state(f, FILL_SAVES);
    fill_store_save(f->opts.pool, &f->task, &f->progress, on_saved, f);
}

/* At the promise that a fill goes on where it was: a crash before this is saved asks the same
 * accounts again, and what they tell is known; after it, all that they told is committed. */
static void await_commit(struct fill *f)
{
    if (ingest_committed(f->opts.ingest, LINK) >= f->told_until)
        save(f);
    else
        step_in(f, STEP_MS);
}

/* ---- what seems to have been lost ---- */

static void on_added(void *ctx, const struct pg_result *r, const struct pg_error *e)
{
    struct fill *f = ctx;
    if (!r)
        fill_lost(f, f->adding_from_us, f->adding_to_us);
    if (f->stopped || failed(f, r, e))
        return;
    wait_for(f, 0);
}

static void plan_lost(struct fill *f)
{
    set_state(f, FILL_LOOKS);
    f->adding_from_us = f->lost_from_us;
    f->adding_to_us = f->lost_to_us;
    f->lost_from_us = f->lost_to_us = 0;
    fill_store_add(f->opts.pool, "lost", f->adding_from_us - LOST_SLACK_US,
                   f->adding_to_us + LOST_SLACK_US, on_added, f);
}

void fill_lost(struct fill *f, int64_t from_us, int64_t to_us)
{
    if (!f)
        return;
    if (f->lost_from_us == 0 || from_us < f->lost_from_us)
        f->lost_from_us = from_us;
    if (to_us > f->lost_to_us)
        f->lost_to_us = to_us;
}

/* ---- the whole ---- */

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct fill *f = ctx;
    (void)fd;
    (void)what;
    switch (f->state) {
    case FILL_WAITS:
        if (!may_ask(f) || (clock_mono_ms() < f->wait_until_ms && !f->lost_from_us))
            step_in(f, LINK_AGAIN_MS);
        else if (f->lost_from_us)
            plan_lost(f);
        else
            look(f);
        break;
    case FILL_ASKS:
        ask_all(f);
        break;
    case FILL_COMMITS:
        await_commit(f);
        break;
    case FILL_LOOKS:
    case FILL_PROBES:
    case FILL_READS:
    case FILL_SAVES:
        break; /* an answer is awaited */
    }
}

struct fill *fill_new(struct event_base *base, const struct fill_opts *opts)
{
    struct fill *f = calloc(1, sizeof *f);
    if (!f || !(f->timer = evtimer_new(base, on_timer, f)))
        abort();
    f->opts = *opts;
    f->paused = true;
    step_in(f, 0);
    return f;
}

void fill_stop(struct fill *f)
{
    if (!f)
        return;
    f->stopped = true;
    (void)event_del(f->timer);
}

void fill_free(struct fill **fp)
{
    struct fill *f = *fp;
    *fp = NULL;
    if (!f)
        return;
    forget_accounts(f);
    event_free(f->timer);
    free(f);
}

void fill_pause(struct fill *f, bool pause)
{
    if (f)
        f->paused = pause;
}

void fill_get_status(const struct fill *f, struct fill_status *out)
{
    *out = (struct fill_status){.on = false};
    if (!f)
        return;
    *out = f->status;
    out->on = true;
    out->trouble = f->trouble[0] ? f->trouble : NULL;
}
