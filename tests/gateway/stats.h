// SPDX-License-Identifier: Apache-2.0
/* Counters of what happened, for GET /stats.  Bounded: rows and texts have a maximum. */
#ifndef GATEWAY_STATS_H
#define GATEWAY_STATS_H

#include <stddef.h>
#include <stdint.h>

struct gw_text;

enum { GW_TALLY_ROWS = 64, GW_VIOLATIONS_MAX = 100, GW_VIOLATION_TEXT = 160 };

struct gw_tally {
    struct {
        char name[48];
        uint64_t n;
    } row[GW_TALLY_ROWS];
    size_t n_rows;
};

struct gw_stats {
    struct gw_tally by_status, by_reason;
    uint64_t accepted, rejected, unanswered;
    uint64_t connections_opened, connections_open, handshakes_failed;
    uint64_t goaways_sent, goaways_received;
    uint64_t streams_refused, resets_received, settings_acked;
    uint64_t pings_received, priorities_received;
    uint64_t streams_max;
    uint64_t violations;
    char violation[GW_VIOLATIONS_MAX][GW_VIOLATION_TEXT];
};

/* status 0 means that the request got no answer; reason then says why. */
void gw_stats_answer(struct gw_stats *s, int status, const char *reason);
/* A breach of HTTP/2 or of a rule no status exists for. */
void gw_stats_violation(struct gw_stats *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Keeps what describes the present: connections_open. */
void gw_stats_reset(struct gw_stats *s);
/* Adds members to a JSON object; no braces. */
void gw_stats_write(const struct gw_stats *s, struct gw_text *out);

#endif
