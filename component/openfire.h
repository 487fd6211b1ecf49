// SPDX-License-Identifier: Apache-2.0
/*
 * What Openfire must be asked for on every connection, by ad-hoc commands (XEP-0050) that it
 * lets components run: copies of messages (packets_notification; incoming and processed, as
 * the one combination that shows each message once), and from time to time who is online
 * (get-active-presences).  Both end with the connection.  Openfire leaves commands that it
 * does not like without an answer, and keeps what was begun until it is restarted, at most 100
 * of one asker: so it is asked again further and further apart.
 */
#ifndef COMPONENT_OPENFIRE_H
#define COMPONENT_OPENFIRE_H

#include <stdbool.h>
#include <stdint.h>

struct link_state;
struct service;
struct service_link_status;
struct stanza;

#define OPENFIRE_WITHIN_MS 15000
#define OPENFIRE_AGAIN_MAX_MS (3600 * 1000)

enum openfire_step { OPENFIRE_IDLE, OPENFIRE_SUBSCRIBES, OPENFIRE_LISTS };

/* Of one host on one connection. */
struct openfire_host {
    enum openfire_step step;
    int64_t subscribed_us; /* 0: not */
    int64_t next_ms;       /* when it is asked next, while idle */
    unsigned refusals;     /* of the copies, in a row */
    unsigned unlisted;     /* lists that did not come, in a row */
    int64_t listed_us;     /* when the last list was made, 0: never */
    const char *trouble;   /* why there are no copies and what to do, NULL: none known */
};

void openfire_begin(struct service *s, struct link_state *l);
void openfire_tick(struct service *s, struct link_state *l, int64_t now_ms);
/* A result from a host: its list of who is online, when it is that. */
void openfire_read_list(struct service *s, struct link_state *l, unsigned host,
                        const struct stanza *iq, int64_t received_us);

/* A copy of something that passed at that time of Openfire's clock. */
void openfire_copied(struct service *s, struct link_state *l, int64_t server_us);
void openfire_status(const struct service *s, const struct link_state *l,
                     struct service_link_status *out);

#endif
