// SPDX-License-Identifier: Apache-2.0
/*
 * Notifications that an app is to take back, because what they are about was read elsewhere.
 * What was shown where is in the database from the moment the service has taken an alert; a
 * badge update names what of it has been read by then, and what it has named is forgotten once
 * the service has taken that.  A crash before: it is named again, which changes nothing; and
 * what a dead worker may have shown without writing it down is named where it ends unshown.
 * Only one push is on its way to a device, so nothing is shown between the two.
 */
#include <string.h>

#include "apns/opts.h"
#include "apns/outbox_int.h"

static void noted(struct outbox *o, struct outbox_job *job, const struct pg_result *r)
{
    (void)o, (void)job, (void)r;
}

bool outbox_withdraws(const struct outbox *o)
{
    for (size_t i = 0; i < o->push->apps_n; i++)
        if (o->push->apps[i].withdraws)
            return true;
    return false;
}

/* Its notification has a name by which the app finds it. */
static bool is_named(const struct entry *e, const struct outbox_fetched *f)
{
    return e->app->opts && e->app->opts->withdraws && !f->account_name && e->peer != 0 &&
           e->peer != OUTBOX_TEST_PEER && !outbox_is_call(e->peer);
}

void outbox_withdraw_inherited(const struct entry *e, struct outbox_fetched *f)
{
    if (!e->inherited || f->unread > 0 || !is_named(e, f))
        return;
    f->withdraw[0] = e->peer;
    f->withdraw_n = 1;
}

void outbox_withdraw_take(struct outbox_flight *flight, const struct entry *e,
                          const struct outbox_fetched *f)
{
    /* What is not told again, because it is muted by now, may be shown all the same. */
    flight->shows = (flight->alert || (e->inherited && f->unread > 0)) && is_named(e, f);
    flight->withdraw_n = f->withdraw_n;
    memcpy(flight->withdraw, f->withdraw, f->withdraw_n * sizeof *f->withdraw);
    flight->withdraw_all = f->withdraw_complete && f->badge <= 0;
}

void outbox_withdraw_accepted(struct outbox *o, const struct entry *e)
{
    const struct outbox_flight *flight = e->flight;
    static const uint64_t all[] = {0};
    struct outbox_key key;
    if (!flight->withdraw_all && flight->withdraw_n == 0)
        return;
    outbox_key_of(e, &key);
    outbox_sql_withdrawn(o->sql, &key, flight->withdraw_all ? all : flight->withdraw,
                         flight->withdraw_all ? 1 : flight->withdraw_n, outbox_job_result,
                         outbox_job_new(o, 0, noted));
}

void outbox_withdraw_read_there(struct outbox *o, const struct entry *e)
{
    struct outbox_key key;
    if (e->peer != 0 || !e->app->opts->withdraws)
        return;
    outbox_key_of(e, &key);
    outbox_sql_read_there(o->sql, &key, outbox_job_result, outbox_job_new(o, 0, noted));
}

bool outbox_withdraw_note(struct outbox *o, size_t n, outbox_job_fn done)
{
    size_t shown = 0;
    for (size_t i = 0; i < n; i++)
        shown += o->outcomes[i].shown;
    if (shown == 0)
        return false;
    struct outbox_job *job = outbox_job_new(o, 0, done);
    job->n = n;
    outbox_sql_shown(o->sql, o->outcomes, n, outbox_job_result, job);
    return true;
}
