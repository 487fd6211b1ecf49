// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/stats.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/gateway/text.h"

/* Scripts may invent reasons without end: the last row takes those without a row. */
static void tally_add(struct gw_tally *t, const char *name)
{
    size_t i;

    for (i = 0; i < t->n_rows; i++) {
        if (strncmp(t->row[i].name, name, sizeof(t->row[i].name) - 1) == 0) {
            t->row[i].n++;
            return;
        }
    }
    if (t->n_rows == GW_TALLY_ROWS) {
        t->row[GW_TALLY_ROWS - 1].n++;
        return;
    }
    if (t->n_rows == GW_TALLY_ROWS - 1)
        name = "(others)";
    snprintf(t->row[t->n_rows].name, sizeof(t->row[0].name), "%s", name);
    t->row[t->n_rows++].n = 1;
}

static void tally_write(const struct gw_tally *t, const char *name, struct gw_text *out)
{
    size_t i;

    gw_text_printf(out, "\"%s\":{", name);
    for (i = 0; i < t->n_rows; i++) {
        if (i > 0)
            gw_text_puts(out, ",");
        gw_text_json_str(out, t->row[i].name);
        gw_text_printf(out, ":%" PRIu64, t->row[i].n);
    }
    gw_text_puts(out, "}");
}

void gw_stats_answer(struct gw_stats *s, int status, const char *reason)
{
    char name[16];

    snprintf(name, sizeof(name), "%d", status);
    tally_add(&s->by_status, name);
    if (reason != NULL)
        tally_add(&s->by_reason, reason);
    if (status == 0)
        s->unanswered++;
    else if (status / 100 == 2)
        s->accepted++;
    else
        s->rejected++;
}

void gw_stats_violation(struct gw_stats *s, const char *format, ...)
{
    va_list args;

    if (s->violations++ >= GW_VIOLATIONS_MAX)
        return;
    va_start(args, format);
    vsnprintf(s->violation[s->violations - 1], GW_VIOLATION_TEXT, format, args);
    va_end(args);
}

void gw_stats_reset(struct gw_stats *s)
{
    uint64_t open = s->connections_open;

    memset(s, 0, sizeof(*s));
    s->connections_open = open;
}

void gw_stats_write(const struct gw_stats *s, struct gw_text *out)
{
    const struct {
        const char *name;
        uint64_t n;
    } plain[] = {
        {"accepted", s->accepted},
        {"rejected", s->rejected},
        {"unanswered", s->unanswered},
        {"connections_opened", s->connections_opened},
        {"connections_open", s->connections_open},
        {"handshakes_failed", s->handshakes_failed},
        {"goaways_sent", s->goaways_sent},
        {"goaways_received", s->goaways_received},
        {"streams_refused", s->streams_refused},
        {"resets_received", s->resets_received},
        {"settings_acked", s->settings_acked},
        {"pings_received", s->pings_received},
        {"priorities_received", s->priorities_received},
        {"max_concurrent_streams", s->streams_max},
        {"violations_count", s->violations},
    };
    size_t i, n_texts;

    tally_write(&s->by_status, "by_status", out);
    gw_text_puts(out, ",");
    tally_write(&s->by_reason, "by_reason", out);
    for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        gw_text_printf(out, ",\"%s\":%" PRIu64, plain[i].name, plain[i].n);
    n_texts = s->violations < GW_VIOLATIONS_MAX ? (size_t)s->violations : GW_VIOLATIONS_MAX;
    gw_text_puts(out, ",\"violations\":[");
    for (i = 0; i < n_texts; i++) {
        if (i > 0)
            gw_text_puts(out, ",");
        gw_text_json_str(out, s->violation[i]);
    }
    gw_text_puts(out, "]");
}
