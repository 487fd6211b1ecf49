// SPDX-License-Identifier: Apache-2.0
/* Settings of the XMPP side; owned by the configuration. */
#ifndef COMPONENT_OPTS_H
#define COMPONENT_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum server_kind { SERVER_EJABBERD, SERVER_PROSODY, SERVER_OPENFIRE, SERVER_GENERIC };
enum spool_when_full { SPOOL_DISCONNECT, SPOOL_STOP_READING };

/* Where Openfire listens for components, unless it is told otherwise. */
#define OPENFIRE_PORT 5275
#define OPENFIRE_TLS_PORT 5276
/* What Openfire puts around a copy of a message, and its list of who is online, at some 400
 * bytes a session. */
#define OPENFIRE_ENVELOPE_BYTES 4096
#define OPENFIRE_LIST_BYTES ((size_t)8 << 20)

struct host_opts {
    const char *host; /* name or address */
    uint16_t port;
};

struct component_opts {
    enum server_kind server;
    const struct host_opts *hosts; /* one per node of a cluster */
    size_t hosts_n;
    bool tls;               /* direct TLS */
    const char *tls_ca_pem; /* contents of tls_ca_file; NULL = the system's */
    const char *tls_name;   /* expected certificate name; NULL = the host */
    const char *component;  /* our domain, prepared */
    const char *secret;
    const char *const *domains; /* whose users we serve, prepared */
    size_t domains_n;
    const char *const
        *accept_from; /* whose servers may publish and users register, prepared */
    size_t accept_from_n;
    size_t stanza_bytes_max;
    size_t parse_bytes_max; /* at least that; a server's lists may be longer than messages */
    size_t sent_bytes_max;  /* a longer stanza of ours would end the stream */
    unsigned commands_per_minute;
    int64_t presence_every_ms;      /* where who is online must be asked for */
    const char *const *copies_from; /* whose copies count, where the server makes none */
    size_t copies_from_n;
    bool client_namespace; /* say what the stream's own namespace would be taken for */
    bool presence_copies;  /* presence is copied, too, where that is to be asked for */
    bool groupchat;        /* what is said in rooms is of use */
    bool speak_directly;   /* as our users without XEP-0356: the server takes any sender */
};

struct spool_opts {
    const char *directory;
    uint64_t size_max; /* bytes on disk, per link */
    enum spool_when_full when_full;
    int64_t fsync_ms; /* 0 = after every append */
};

#endif
