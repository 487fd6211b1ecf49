// SPDX-License-Identifier: Apache-2.0
/* What the service's files share. */
#ifndef COMPONENT_SERVICE_INT_H
#define COMPONENT_SERVICE_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "component/copy_flow.h"
#include "component/delegation.h"
#include "component/disco.h"
#include "component/openfire.h"
#include "component/privilege.h"
#include "component/service.h"

#define HANDLERS_MAX 32
#define STRANGER_SLOTS 256

/* Whether the server has told who is online. */
enum listing {
    LISTING_NONE,    /* -> ASKED, DONE (by a copy of its answer in REPLAY) */
    LISTING_ASKED,   /* -> DONE, REFUSED */
    LISTING_REFUSED, /* or not answered; -> DONE */
    LISTING_DONE,
};

/* One server host on one link. */
struct host_state {
    struct privilege privilege;
    uint8_t delegated[DELEGATION_SERVED_MAX]; /* version, 0: not */
    enum listing listing;
    struct openfire_host openfire; /* when the server is one */
};

struct link_state {
    bool up;
    bool live;
    bool announced; /* anything, by any host */
    uint64_t epoch;
    int64_t opened_us;
    int64_t closed_us;
    int64_t check_ms; /* when the announcements must have come, or the server is asked for
                         something; INT64_MAX: not awaited */
    unsigned in_vain; /* connections in a row that brought none */
    struct copy_flow flow;
    struct host_state *hosts; /* opts->domains_n */
};

#define NODE_NAMES_BYTES 256

/* What the server says of its own nodes. */
struct nodes {
    unsigned running; /* 0: it has not told */
    char names[NODE_NAMES_BYTES];
    int64_t ask_ms; /* when it is asked, INT64_MAX: not */
};

struct handler {
    const char *name;
    const char *ns;
    service_request_fn fn;
    void *ctx;
    bool direct_only; /* not for requests to users */
    bool guests;      /* also for push.accept_from */
};

struct service {
    const struct component_opts *opts;
    struct adapter adapter;
    struct service_events events;
    struct iq_table *iqs;
    struct questions *questions;
    struct sessions *sessions;
    struct adhoc *adhoc;
    struct disco disco;
    struct delegation delegation;
    struct handler handlers[HANDLERS_MAX];
    size_t handlers_n;
    struct link_state *links; /* opts->hosts_n */
    size_t links_n;
    struct nodes nodes;
    struct monitoring_question *asked; /* component/monitoring.c: without answer yet */
    uint64_t looked_at;                /* end of the stanza that was looked at last */
    bool direct_refused; /* it has cost a connection: not once more before the next worker */
    int64_t sweep_ms;
    /* Refusals to strangers in this period: all, and by a hash of their domain. */
    uint8_t strangers_key[16];
    int64_t strangers_until_ms;
    unsigned strangers_all;
    uint8_t strangers[STRANGER_SLOTS];
};

/* Place of an exact server host in opts->domains, -1 when it is none. */
int service_host(const struct service *s, const char *name);

/* service_requests.c: an <iq> of type get or set. */
bool service_is_request(const struct stanza *st);
void service_take_request(struct service *s, uint64_t epoch, const struct stanza *st,
                          const struct place *p, int64_t received_us, enum service_pass pass);

/* service_copies.c */
/* A message from a server host: an announcement, a refusal, or a copy. */
MUST_CHECK enum err_kind service_take_message(struct service *s, struct stanza *st,
                                              const struct place *p, int64_t received_us,
                                              struct err *e);
/* A request is a sign of life of who asks, whether or not it is answered here. */
void service_asker_seen(struct service *s, const struct stanza *iq, unsigned link,
                        int64_t received_us);
void service_session_gone(struct service *s, const struct jid *who, int64_t at_us);

/* service_nodes.c */
/* The link of a session, as far as that is told by what came by this one and may come by any:
 * copies, and the list of who is online. */
unsigned service_any_node(const struct service *s, unsigned link);
/* What was known is so no more; the server is asked again soon. */
void nodes_reset(struct service *s);
void nodes_tick(struct service *s, int64_t now_ms);

/* service_link.c */
void link_reset(struct service *s, struct link_state *l);
/* A message from exactly a server host; true when it was an announcement or an error. */
bool link_announcement(struct service *s, struct link_state *l, unsigned host,
                       const struct stanza *message);
/* Asks each host who is online that has granted presence and was not asked. */
void link_list_sessions(struct service *s, struct link_state *l);
/* A link was lost, and what we knew of its node's sessions with it: each list is of the whole
 * cluster, so another link is asked for it again. */
void link_list_again(struct service *s);
/* A result from a host: its list of who is online, when it is that. */
void link_read_list(struct service *s, struct link_state *l, unsigned host,
                    const struct stanza *iq, int64_t received_us);
/* Messages go out as our users without an envelope. */
bool link_speaks_directly(const struct service *s);
/* The last word of a connection. */
void link_stream_error(struct service *s, const struct link_state *l, const struct stanza *st);
void link_check_begin(struct service *s, struct link_state *l);
void link_check(struct service *s, struct link_state *l, int64_t now_ms);

#endif
