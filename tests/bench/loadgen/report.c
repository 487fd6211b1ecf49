// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/report.h"

#include <inttypes.h>
#include <stdio.h>

static double ms(int64_t us)
{
    return (double)us / 1000.0;
}

static void print_latency(const struct histogram *h)
{
    printf("{\"n\": %" PRIu64 ", \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, "
           "\"p999\": %.3f, \"max\": %.3f}",
           h->n, ms(histogram_quantile(h, 0.5)), ms(histogram_quantile(h, 0.9)),
           ms(histogram_quantile(h, 0.99)), ms(histogram_quantile(h, 0.999)), ms(h->max_us));
}

static void print_windows(const struct measure *m)
{
    printf("\"windows\": [");
    for (size_t i = 0; i < m->windows_n; i++) {
        const struct measure_window *w = &m->windows[i];
        printf("%s\n  {\"from_s\": %.0f, \"spool_behind_max\": %" PRIu64 ", \"commit_ms\": ",
               i ? "," : "", (double)i * (double)m->window_us / 1e6, w->behind_max);
        print_latency(&w->commit);
        printf("}");
    }
    printf("]");
}

void report_print(const struct report *r)
{
    static const char *const kinds[MEASURE_KINDS] = {
        [TRAFFIC_MAM] = "mam_ms", [TRAFFIC_DISCO] = "disco_ms", [TRAFFIC_PING] = "ping_ms"};
    const struct measure *m = r->measure;
    printf("{\"messages\": %" PRIu64 ", \"stanzas\": %" PRIu64 ", \"echoes\": %" PRIu64
           ", \"bytes\": %" PRIu64 ",\n \"seconds\": %.3f, \"rate\": %.1f,\n \"commit_ms\": ",
           r->traffic->messages, r->traffic->stanzas, r->traffic->echoes, r->bytes, r->seconds,
           r->sending > 0 ? (double)r->traffic->messages / r->sending : 0);
    print_latency(&m->commit);
    for (int i = 0; i < MEASURE_KINDS; i++) {
        printf(",\n \"%s\": ", kinds[i]);
        print_latency(&m->answers[i]);
    }
    printf(",\n \"results\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"unanswered\": %" PRIu64
           ", \"uncommitted\": %" PRIu64 ",\n",
           r->results, m->errors, m->unanswered + m->open, measure_uncommitted(m));
    printf(" \"blocked\": {\"times\": %" PRIu64 ", \"ms\": %.3f, \"longest_ms\": %.3f, "
           "\"bytes_max\": %" PRIu64 "},\n",
           r->blocked.times, ms(r->blocked.us), ms(r->blocked.longest_us),
           r->blocked.bytes_max);
    printf(" \"late_ms_max\": %.3f, \"spool_behind_max\": %" PRIu64 ", \"cpu_s\": %.3f,\n ",
           ms(m->late_us), m->behind_max, r->cpu_s);
    print_windows(m);
    printf("}\n");
}
