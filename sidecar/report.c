// SPDX-License-Identifier: Apache-2.0
#include "sidecar/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/datetime.h"
#include "component/copy_flow.h"
#include "sidecar/report_fill.h"

#define WHY_BYTES_MAX 8192
#define DAY_S (24 * 3600)

static int64_t age_s(int64_t now_us, int64_t then_us)
{
    return then_us > 0 && now_us > then_us ? (now_us - then_us) / 1000000 : 0;
}

static const char *schema_name(enum schema_state s)
{
    switch (s) {
    case SCHEMA_UNKNOWN:
        return "unknown";
    case SCHEMA_MIGRATING:
        return "migrating";
    case SCHEMA_REFUSED:
        return "refused";
    case SCHEMA_GOOD:
        return "good";
    }
    return "?";
}

static bool is_up(const struct report_link *l)
{
    return strcmp(l->state, "up") == 0;
}

/* To the second: a person reads it. */
static void add_time(struct buf *out, int64_t us)
{
    char text[DATETIME_BYTES];
    datetime_format(us - us % 1000000, text);
    buf_addf(out, "%.19sZ", text);
}

static void add_missing(struct buf *why, const char *what)
{
    if (why)
        buf_addf(why, "%s%s", buf_len(why) ? "; " : "", what);
}

static void add_down(const struct report_link *l, struct buf *why)
{
    add_missing(why, "no link to ");
    if (!why)
        return;
    buf_addf(why, "%s:%u since ", l->host, l->port);
    add_time(why, l->down_since_us);
    buf_addf(why, ", %s", l->state);
    if (l->why[0])
        buf_addf(why, ": %s", l->why);
}

static const char *copies_name(enum service_copies c)
{
    switch (c) {
    case SERVICE_COPIES_CONFIGURED:
        return "configured";
    case SERVICE_COPIES_ASKED:
        return "asked";
    case SERVICE_COPIES_SENT:
        return "sent";
    case SERVICE_COPIES_REFUSED:
        return "refused";
    }
    return "?";
}

/* What the worker does not know yet is not missing. */
static bool copies_come(const struct report_link *l, struct buf *why)
{
    if (!l->known || l->copies == SERVICE_COPIES_CONFIGURED ||
        l->copies == SERVICE_COPIES_SENT)
        return true;
    add_missing(why, "the server sends no copies of messages");
    if (why && l->copies_trouble)
        buf_addf(why, ": %s", l->copies_trouble);
    return false;
}

/* What is wrong between the server's nodes and our links, as far as the server tells. */
static bool nodes_fit(const struct report *r, struct buf *why)
{
    const struct service_nodes *n = &r->nodes;
    const char *fault = NULL;
    if (n->running > n->links)
        fault = "users of the others are not seen: name every node in xmpp.hosts";
    else if (n->running > 0 && n->running < n->links_up)
        fault = "two of them lead to one node, or the nodes are no cluster";
    if (!fault)
        return true;
    add_missing(why, "the server runs ");
    if (why)
        buf_addf(why, "%u %s (%s), and xmpp.hosts has %u: %s", n->running,
                 n->running == 1 ? "node" : "nodes", n->names, n->links, fault);
    return false;
}

bool report_ready(const struct report *r, struct buf *why)
{
    bool ready = r->worker_answers && r->relay.database_up && r->relay.ingest.up;
    if (!r->worker_answers)
        add_missing(why, "the worker does not answer");
    else if (!ready)
        add_missing(why, r->relay.advice[0] ? r->relay.advice : "PostgreSQL is not reachable");
    for (size_t i = 0; i < r->links_n; i++) {
        if (is_up(&r->links[i])) {
            ready = copies_come(&r->links[i], why) && ready;
            continue;
        }
        ready = false;
        add_down(&r->links[i], why);
    }
    return nodes_fit(r, why) && ready;
}

/* JSON.  Numbers above 2^53 do not occur: bytes on a disk, microseconds in ages are seconds.
 */

static void num(cJSON *o, const char *name, double v)
{
    (void)cJSON_AddNumberToObject(o, name, v);
}

/* null: never. */
static void time_json(cJSON *o, const char *name, int64_t us)
{
    char text[DATETIME_BYTES];
    datetime_format(us, text);
    (void)(us ? cJSON_AddStringToObject(o, name, text) : cJSON_AddNullToObject(o, name));
}

static cJSON *link_json(const struct report *r, const struct report_link *l)
{
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "host", l->host);
    num(o, "port", l->port);
    (void)cJSON_AddStringToObject(o, "state", l->state);
    (void)cJSON_AddStringToObject(o, "why", l->why);
    num(o, "epoch", (double)l->epoch);
    num(o, "up_s", (double)age_s(r->now_us, l->since_us));
    time_json(o, "down_since", is_up(l) ? 0 : l->down_since_us);
    num(o, "connects", (double)l->connects);
    num(o, "gaps", (double)l->gaps);
    time_json(o, "gap_from", l->gap_from_us);
    time_json(o, "gap_to", l->gap_to_us);
    if (!l->known)
        return o;
    (void)cJSON_AddBoolToObject(o, "messages_granted", l->messages_granted);
    (void)cJSON_AddBoolToObject(o, "presence_granted", l->presence_granted);
    num(o, "namespaces_delegated", l->namespaces_delegated);
    num(o, "accounts_online", (double)l->accounts_online);
    num(o, "requests_open", (double)l->requests_open);
    (void)cJSON_AddStringToObject(o, "copies", copies_name(l->copies));
    time_json(o, "copies_since", l->copies_since_us);
    (void)cJSON_AddStringToObject(o, "copies_trouble",
                                  l->copies_trouble ? l->copies_trouble : "");
    num(o, "copies_busiest", l->copies_busiest);
    num(o, "copies_losses", l->copies_losses);
    time_json(o, "copies_lost_from", l->copies_lost_from_us);
    time_json(o, "copies_lost_to", l->copies_lost_to_us);
    return o;
}

static cJSON *spool_json(const struct report_link *l)
{
    cJSON *o = cJSON_CreateObject();
    num(o, "behind_bytes", (double)l->behind_bytes);
    num(o, "bytes", (double)l->spool_bytes);
    num(o, "max_size", (double)l->spool_max);
    return o;
}

static cJSON *archive_json(const struct report *r)
{
    const struct ingest_stats *s = &r->relay.ingest;
    int64_t lag_s = r->behind_us == INT64_MAX ? -1 : r->behind_us / 1000000;
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddBoolToObject(o, "ready", r->relay.archive_ready);
    num(o, "rows", (double)s->rows);
    num(o, "batches", (double)s->batches);
    num(o, "late", (double)s->late);
    num(o, "duplicates", (double)s->duplicates);
    num(o, "quarantined", (double)s->quarantined);
    num(o, "retries", (double)s->retries);
    num(o, "queue_rows", (double)s->queue_rows);
    num(o, "queue_bytes", (double)s->queue_bytes);
    num(o, "oldest_queued_s", (double)age_s(r->now_us, s->oldest_queued_us));
    num(o, "lag_s", (double)lag_s);
    (void)cJSON_AddStringToObject(o, "last_error", s->last_error);
    return o;
}

static cJSON *quarantine_json(const struct report *r)
{
    const struct quarantine_status *s = &r->relay.quarantine;
    cJSON *o = cJSON_CreateObject();
    num(o, "rows", (double)s->rows);
    num(o, "bytes", (double)s->bytes);
    num(o, "total", (double)s->total);
    num(o, "evicted", (double)s->evicted);
    num(o, "waiting", (double)s->waiting);
    return o;
}

static cJSON *outbox_json(const struct report *r)
{
    const struct outbox_status *s = &r->relay.outbox;
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddBoolToObject(o, "ready", r->relay.outbox_ready);
    (void)cJSON_AddBoolToObject(o, "paused", s->paused);
    num(o, "depth", (double)s->stored);
    num(o, "retry", (double)s->retry);
    num(o, "parked", (double)s->parked);
    num(o, "held", (double)s->held);
    num(o, "oldest_s", (double)age_s(r->now_us, s->oldest_us));
    return o;
}

static cJSON *app_json(const struct report_app *a)
{
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "id", a->id);
    (void)cJSON_AddStringToObject(o, "state", gateway_state_name(a->gateway.state));
    (void)cJSON_AddStringToObject(o, "reason", a->gateway.reason);
    num(o, "connections", a->gateway.connections);
    num(o, "stream_limit", a->gateway.stream_limit);
    num(o, "in_flight", a->gateway.in_flight);
    num(o, "queued", a->gateway.queued);
    num(o, "sent", (double)a->gateway.sent);
    num(o, "accepted", (double)a->gateway.accepted);
    num(o, "rejected", (double)a->gateway.rejected);
    num(o, "resent", (double)a->gateway.resent);
    if (a->gateway.certificate_expires_s) {
        char at[DATETIME_BYTES];
        datetime_format(a->gateway.certificate_expires_s * 1000000, at);
        (void)cJSON_AddStringToObject(o, "certificate_expires", at);
    }
    num(o, "waiting", (double)a->outbox.waiting);
    num(o, "ready", (double)a->outbox.ready);
    (void)cJSON_AddBoolToObject(o, "brake", a->outbox.brake);
    return o;
}

void report_json(const struct report *r, struct buf *out)
{
    struct buf why;
    buf_init(&why, WHY_BYTES_MAX);
    cJSON *o = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(o, "component", r->component);
    (void)cJSON_AddBoolToObject(o, "ready", report_ready(r, &why));
    (void)cJSON_AddStringToObject(o, "why", buf_cstr(&why));
    buf_deinit(&why);
    cJSON *links = cJSON_AddArrayToObject(o, "links");
    for (size_t i = 0; i < r->links_n; i++)
        (void)cJSON_AddItemToArray(links, link_json(r, &r->links[i]));
    cJSON *spools = cJSON_AddArrayToObject(o, "spools");
    for (size_t i = 0; i < r->links_n; i++)
        (void)cJSON_AddItemToArray(spools, spool_json(&r->links[i]));
    cJSON *worker = cJSON_AddObjectToObject(o, "worker");
    (void)cJSON_AddBoolToObject(worker, "answers", r->worker_answers);
    num(worker, "pid", (double)r->worker_pid);
    num(worker, "starts", (double)r->worker_starts);
    num(worker, "faults", (double)r->worker_faults);
    num(worker, "faults_unclear", r->faults_unclear);
    num(worker, "poison", (double)r->poison);
    (void)cJSON_AddStringToObject(worker, "last_death", r->worker_death);
    if (r->worker_answers) {
        cJSON *nodes = cJSON_AddObjectToObject(o, "nodes");
        num(nodes, "running", r->nodes.running);
        num(nodes, "links", r->nodes.links);
        (void)cJSON_AddStringToObject(nodes, "names", r->nodes.names);
        cJSON *db = cJSON_AddObjectToObject(o, "database");
        (void)cJSON_AddBoolToObject(db, "up", r->relay.database_up);
        (void)cJSON_AddStringToObject(db, "schema", schema_name(r->relay.schema));
        (void)cJSON_AddStringToObject(db, "advice", r->relay.advice);
        (void)cJSON_AddItemToObject(o, "archive", archive_json(r));
        (void)cJSON_AddItemToObject(o, "quarantine", quarantine_json(r));
        (void)cJSON_AddItemToObject(o, "outbox", outbox_json(r));
        report_fill_json(&r->relay.fill, o);
        cJSON *apps = cJSON_AddArrayToObject(o, "apps");
        for (size_t i = 0; i < r->apps_n; i++)
            (void)cJSON_AddItemToArray(apps, app_json(&r->apps[i]));
    }
    char *text = cJSON_PrintUnformatted(o);
    if (!text)
        abort();
    buf_add_str(out, text);
    buf_add_char(out, '\n');
    cJSON_free(text);
    cJSON_Delete(o);
}

/* Text. */

/* Where the server's settings decide, the permissions say more. */
static void copies_text(const struct report_link *l, struct buf *out)
{
    struct buf why;
    buf_init(&why, WHY_BYTES_MAX);
    if (!copies_come(l, &why)) {
        buf_addf(out, "           WRONG: %s\n", buf_cstr(&why));
    } else if (l->known && l->copies == SERVICE_COPIES_SENT) {
        buf_add_str(out, "           copies of messages since ");
        add_time(out, l->copies_since_us);
        buf_addf(out, ", at most %u in 5 s%s\n", l->copies_busiest,
                 l->copies_busiest >= COPY_FLOW_MANY ? ": NEAR what the server's queue holds"
                                                     : "");
    }
    if (l->known && l->copies_losses > 0) {
        buf_addf(out, "           COPIES LOST %u times, it seems, the last from ",
                 l->copies_losses);
        add_time(out, l->copies_lost_from_us);
        buf_add_str(out, " to ");
        add_time(out, l->copies_lost_to_us);
        buf_add_str(out, ": the server's queue was full; its error log has what it dropped\n");
    }
    buf_deinit(&why);
}

static void link_text(const struct report *r, const struct report_link *l, struct buf *out)
{
    buf_addf(out, "link       %s:%u  %s", l->host, l->port, l->state);
    if (l->since_us)
        buf_addf(out, " for %" PRId64 " s", age_s(r->now_us, l->since_us));
    if (!is_up(l)) {
        buf_add_str(out, "  NOTHING IS READ since ");
        add_time(out, l->down_since_us);
    }
    if (l->why[0])
        buf_addf(out, "  (%s)", l->why);
    buf_addf(out, "\n           %" PRIu64 " connects, %" PRIu64 " gaps", l->connects, l->gaps);
    if (l->gap_to_us) {
        buf_add_str(out, ", the last from ");
        add_time(out, l->gap_from_us);
        buf_add_str(out, " to ");
        add_time(out, l->gap_to_us);
    }
    buf_add_char(out, '\n');
    if (l->known)
        buf_addf(out,
                 "           results as user: %s, presence: %s, namespaces delegated: %u, "
                 "accounts online: %zu\n",
                 l->messages_granted ? "granted" : "NOT granted",
                 l->presence_granted ? "granted" : "NOT granted", l->namespaces_delegated,
                 l->accounts_online);
    copies_text(l, out);
    buf_addf(out,
             "spool      %" PRIu64 " bytes behind, %" PRIu64 " of %" PRIu64 " MiB on disk\n",
             l->behind_bytes, l->spool_bytes >> 20, l->spool_max >> 20);
}

static void archive_text(const struct report *r, struct buf *out)
{
    const struct ingest_stats *s = &r->relay.ingest;
    buf_addf(out, "database   %s, schema %s%s%s\n", r->relay.database_up ? "up" : "DOWN",
             schema_name(r->relay.schema), r->relay.advice[0] ? ": " : "", r->relay.advice);
    buf_addf(out,
             "archive    %" PRIu64 " rows stored, %" PRIu64 " of them late, %" PRIu64
             " duplicates, %zu rows queued, oldest %" PRId64 " s\n",
             s->rows, s->late, s->duplicates, s->queue_rows,
             age_s(r->now_us, s->oldest_queued_us));
    if (s->last_error[0])
        buf_addf(out, "           last error: %s\n", s->last_error);
    report_fill_text(&r->relay.fill, out);
    const struct quarantine_status *q = &r->relay.quarantine;
    if (q->total > 0)
        buf_addf(out,
                 "quarantine %" PRIu64 " stanzas put aside, %" PRIu64 " ever, %" PRIu64
                 " to be tried again%s\n",
                 q->rows, q->total, q->waiting,
                 q->evicted > 0 ? "; IT IS FULL, the oldest were given up" : "");
    const struct outbox_status *o = &r->relay.outbox;
    buf_addf(out,
             "outbox     depth %" PRId64 ", oldest %" PRId64 " s, retry %" PRId64
             ", parked %" PRId64 "%s\n",
             o->stored, age_s(r->now_us, o->oldest_us), o->retry, o->parked,
             o->paused ? ", paused until the archive has caught up" : "");
}

static void nodes_text(const struct report *r, struct buf *out)
{
    struct buf why;
    buf_init(&why, WHY_BYTES_MAX);
    if (!nodes_fit(r, &why))
        buf_addf(out, "cluster    WRONG: %s\n", buf_cstr(&why));
    else if (r->nodes.running > 1)
        buf_addf(out, "cluster    %u nodes: %s\n", r->nodes.running, r->nodes.names);
    buf_deinit(&why);
}

static void certificate_text(const struct report *r, const struct gateway_status *g,
                             struct buf *out)
{
    if (!g->certificate_expires_s)
        return;
    int64_t days = (g->certificate_expires_s - r->now_us / 1000000) / DAY_S;
    buf_addf(out, "           certificate until ");
    add_time(out, g->certificate_expires_s * 1000000);
    if (days < GATEWAY_CERTIFICATE_WARN_DAYS)
        buf_addf(out, ": EXPIRES in %" PRId64 " days, a new one is needed", days);
    buf_add_char(out, '\n');
}

void report_text(const struct report *r, struct buf *out)
{
    buf_addf(out, "component  %s\n", r->component);
    for (size_t i = 0; i < r->links_n; i++)
        link_text(r, &r->links[i], out);
    if (!r->worker_answers) {
        buf_addf(out,
                 "worker     DOES NOT ANSWER, pid %" PRId64 ", started %" PRIu64 " times\n",
                 r->worker_pid, r->worker_starts);
        return;
    }
    buf_addf(out, "worker     pid %" PRId64 ", started %" PRIu64 " times\n", r->worker_pid,
             r->worker_starts);
    nodes_text(r, out);
    if (r->worker_faults > 0)
        buf_addf(out, "           %" PRIu64 " deaths by faults of its own%s; the last: %s\n",
                 r->worker_faults,
                 r->faults_unclear > 1 ? ", AGAIN AND AGAIN with no stanza to blame" : "",
                 r->worker_death);
    archive_text(r, out);
    for (size_t i = 0; i < r->apps_n; i++) {
        const struct report_app *a = &r->apps[i];
        buf_addf(out,
                 "app        %s  %s%s%s%s, %u connections, %u in flight, %" PRIu64
                 " accepted, %" PRIu64 " rejected%s\n",
                 a->id, gateway_state_name(a->gateway.state), a->gateway.reason[0] ? " (" : "",
                 a->gateway.reason, a->gateway.reason[0] ? ")" : "", a->gateway.connections,
                 a->gateway.in_flight, a->gateway.accepted, a->gateway.rejected,
                 a->outbox.brake ? ", BRAKE: too many rejections" : "");
        certificate_text(r, &a->gateway, out);
    }
}

/* Metrics. */

static void metric(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_addf(out, "# HELP xmpp_sidecar_%s %s\n# TYPE xmpp_sidecar_%s %s\n", name, help, name,
             type);
}

static void plain_metric(struct buf *out, const char *name, const char *type, const char *help,
                         double v)
{
    metric(out, name, type, help);
    buf_addf(out, "xmpp_sidecar_%s %.0f\n", name, v);
}

static double link_up(const struct report_link *l)
{
    return is_up(l);
}
static double link_connects(const struct report_link *l)
{
    return (double)l->connects;
}
static double link_gaps(const struct report_link *l)
{
    return (double)l->gaps;
}
static double link_copies_losses(const struct report_link *l)
{
    return l->copies_losses;
}
static double link_gap_seconds(const struct report_link *l)
{
    return (double)(l->gap_to_us - l->gap_from_us) / 1e6;
}
static double link_spool_bytes(const struct report_link *l)
{
    return (double)l->spool_bytes;
}
static double link_behind(const struct report_link *l)
{
    return (double)l->behind_bytes;
}

static void link_metrics(const struct report *r, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        double (*value)(const struct report_link *l);
    } table[] = {
        {"link_up", "gauge", "1 while the component stream is up.", link_up},
        {"link_connects_total", "counter", "Connections made.", link_connects},
        {"link_copies_lost_total", "counter",
         "Times at which the server seems to have lost copies.", link_copies_losses},
        {"link_gaps_total", "counter", "Times without a stream that have ended.", link_gaps},
        {"link_last_gap_seconds", "gauge", "How long the last of them was.", link_gap_seconds},
        {"spool_bytes", "gauge", "Bytes of the spool on disk.", link_spool_bytes},
        {"spool_behind_bytes", "gauge", "Bytes received and not yet committed.", link_behind},
    };
    for (size_t m = 0; m < sizeof table / sizeof *table; m++) {
        metric(out, table[m].name, table[m].type, table[m].help);
        for (size_t i = 0; i < r->links_n; i++)
            buf_addf(out, "xmpp_sidecar_%s{link=\"%zu\"} %.0f\n", table[m].name, i,
                     table[m].value(&r->links[i]));
    }
}

static void app_metrics(const struct report *r, struct buf *out)
{
    metric(out, "gateway_up", "gauge", "1 while pushes can be sent.");
    for (size_t i = 0; i < r->apps_n; i++) {
        enum gateway_state s = r->apps[i].gateway.state;
        buf_addf(out, "xmpp_sidecar_gateway_up{app=\"%s\"} %d\n", r->apps[i].id,
                 s != GATEWAY_STOPPED && s != GATEWAY_BACKOFF);
    }
    metric(out, "certificate_expires_seconds", "gauge",
           "Until the app's certificate expires; below 0 when it has.");
    for (size_t i = 0; i < r->apps_n; i++) {
        int64_t at_s = r->apps[i].gateway.certificate_expires_s;
        if (at_s)
            buf_addf(out, "xmpp_sidecar_certificate_expires_seconds{app=\"%s\"} %" PRId64 "\n",
                     r->apps[i].id, at_s - r->now_us / 1000000);
    }
    metric(out, "push_answers_total", "counter", "Answers of the gateway.");
    for (size_t i = 0; i < r->apps_n; i++) {
        const struct gateway_status *g = &r->apps[i].gateway;
        buf_addf(out,
                 "xmpp_sidecar_push_answers_total{app=\"%s\",answer=\"accepted\"} %" PRIu64
                 "\n",
                 r->apps[i].id, g->accepted);
        buf_addf(out,
                 "xmpp_sidecar_push_answers_total{app=\"%s\",answer=\"rejected\"} %" PRIu64
                 "\n",
                 r->apps[i].id, g->rejected);
    }
}

void report_metrics(const struct report *r, struct buf *out)
{
    const struct ingest_stats *s = &r->relay.ingest;
    const struct outbox_status *o = &r->relay.outbox;
    const struct quarantine_status *q = &r->relay.quarantine;
    link_metrics(r, out);
    plain_metric(out, "server_nodes", "gauge", "Nodes of the server, 0 when it does not tell.",
                 r->nodes.running);
    plain_metric(out, "server_nodes_without_link", "gauge",
                 "Nodes of the server for which no link is configured.",
                 r->nodes.running > r->nodes.links ? r->nodes.running - r->nodes.links : 0);
    plain_metric(out, "worker_starts_total", "counter", "Worker processes started.",
                 (double)r->worker_starts);
    plain_metric(out, "worker_faults_total", "counter",
                 "Worker processes that died by a fault of their own.",
                 (double)r->worker_faults);
    plain_metric(out, "database_up", "gauge", "1 while PostgreSQL takes rows.", s->up);
    plain_metric(out, "archive_rows_total", "counter", "Rows stored by this worker.",
                 (double)s->rows);
    plain_metric(out, "archive_late_total", "counter",
                 "Rows of messages that were delivered later than they were sent.",
                 (double)s->late);
    plain_metric(out, "archive_duplicates_total", "counter",
                 "Copies that were stored already.", (double)s->duplicates);
    report_fill_metrics(&r->relay.fill, out);
    plain_metric(out, "quarantined_total", "counter", "Stanzas ever put aside.",
                 (double)q->total);
    plain_metric(out, "quarantine_evicted_total", "counter",
                 "Stanzas put aside that were given up to make room.", (double)q->evicted);
    plain_metric(out, "quarantine_rows", "gauge", "Stanzas in quarantine.", (double)q->rows);
    plain_metric(out, "quarantine_bytes", "gauge", "Bytes kept of them.", (double)q->bytes);
    plain_metric(out, "archive_retries_total", "counter", "Batches tried again.",
                 (double)s->retries);
    plain_metric(out, "archive_queue_rows", "gauge", "Rows waiting for PostgreSQL.",
                 (double)s->queue_rows);
    plain_metric(out, "outbox_depth", "gauge", "Pushes not yet answered.", (double)o->stored);
    plain_metric(out, "outbox_parked", "gauge", "Pushes parked with a reason.",
                 (double)o->parked);
    plain_metric(out, "outbox_oldest_seconds", "gauge", "Age of the oldest push.",
                 (double)age_s(r->now_us, o->oldest_us));
    app_metrics(r, out);
}
