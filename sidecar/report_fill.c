// SPDX-License-Identifier: Apache-2.0
#include "sidecar/report_fill.h"

#include <inttypes.h>

#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/datetime.h"
#include "sidecar/fill.h"

void report_fill_json(const struct fill_status *f, struct cJSON *to)
{
    if (!f->on)
        return;
    cJSON *o = cJSON_AddObjectToObject(to, "fill");
    (void)cJSON_AddNumberToObject(o, "tasks", (double)f->tasks);
    (void)cJSON_AddNumberToObject(o, "accounts", (double)f->accounts);
    (void)cJSON_AddNumberToObject(o, "failed", (double)f->failed);
    (void)cJSON_AddNumberToObject(o, "messages", (double)f->messages);
    (void)cJSON_AddStringToObject(o, "trouble", f->trouble ? f->trouble : "");
    char at[DATETIME_BYTES];
    datetime_format(f->done_us, at);
    (void)(f->done_us ? cJSON_AddStringToObject(o, "done", at)
                      : cJSON_AddNullToObject(o, "done"));
}

void report_fill_text(const struct fill_status *f, struct buf *out)
{
    if (!f->on)
        return;
    buf_addf(out,
             "gap fill   %" PRId64 " to fill, %" PRIu64 " accounts asked (%" PRIu64
             " in vain), %" PRIu64 " messages told of\n",
             f->tasks, f->accounts, f->failed, f->messages);
    if (f->trouble)
        buf_addf(out, "           WRONG: %s\n", f->trouble);
}

void report_fill_metrics(const struct fill_status *f, struct buf *out)
{
    if (!f->on)
        return;
    const struct {
        const char *name, *type, *help;
        double value;
    } table[] = {
        {"fill_tasks", "gauge", "Times of which messages are to be looked for.",
         (double)f->tasks},
        {"fill_trouble", "gauge", "1 while the server's archive cannot be asked.",
         f->trouble != NULL},
        {"fill_accounts_total", "counter", "Archives of accounts that were asked.",
         (double)f->accounts},
        {"fill_failed_total", "counter", "Of these, without an answer of use.",
         (double)f->failed},
        {"fill_messages_total", "counter", "Messages that they told of.", (double)f->messages},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        buf_addf(
            out,
            "# HELP xmpp_sidecar_%s %s\n# TYPE xmpp_sidecar_%s %s\nxmpp_sidecar_%s %.0f\n",
            table[i].name, table[i].help, table[i].name, table[i].type, table[i].name,
            table[i].value);
}
