// SPDX-License-Identifier: Apache-2.0
/*
 * Asks the archive of Openfire's monitoring plugin (XEP-0313) for what one account sent and
 * received within a time, a page at a time.  A component may ask for anybody's, where Openfire
 * counts it among its administrators.  Results are messages and come before the answer: as
 * events, by the adapter; here they are only counted.  Pages are cut by time: the plugin's own
 * cuts go by the ids of its rows, which do not always grow with time.
 */
#ifndef COMPONENT_MONITORING_H
#define COMPONENT_MONITORING_H

#include <stdbool.h>
#include <stdint.h>

struct service;

/* It waits for what it has not written yet, and counts before it reads: minutes, for some. */
#define MONITORING_WITHIN_MS 120000

enum monitoring_end {
    MONITORING_ANSWERED,
    MONITORING_REFUSED, /* see condition */
    MONITORING_SILENT,
    MONITORING_ODD,
    MONITORING_LOST, /* the link was lost first */
};

struct monitoring_range {
    const char *account; /* bare JID */
    int64_t from_us;     /* of the server's clock; both ends are included */
    int64_t to_us;
    unsigned max; /* results at most */
};

struct monitoring_page {
    enum monitoring_end end;
    const char *condition; /* of REFUSED; NULL when it gives none */
    unsigned results;
    bool complete;   /* says the plugin, which may be wrong when the page is full */
    int64_t last_us; /* the time of the last result, 0: there is none */
};

/* Called once for each question, perhaps before monitoring_ask has returned. */
typedef void (*monitoring_fn)(void *ctx, const struct monitoring_page *page);
/* Borrows the range for the call. */
void monitoring_ask(struct service *s, unsigned link, const struct monitoring_range *range,
                    monitoring_fn fn, void *ctx);

/* Whether the server offers such an archive: answered with a page without results, of end
 * REFUSED when it does not. */
void monitoring_probe(struct service *s, unsigned link, const char *host, monitoring_fn fn,
                      void *ctx);

/* A result has come; of a question that is not open it is nothing. */
void monitoring_told(struct service *s, const char *ask_id, int64_t server_us);

#endif
