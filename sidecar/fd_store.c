// SPDX-License-Identifier: Apache-2.0
#include "sidecar/fd_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"

#define PREFIX "fd_store"

void fd_store_name(const struct fd_store_key *key, char out[FD_STORE_NAME_BYTES])
{
    char id[UUID_TEXT_BYTES];
    uuid_format(key->spool_id, id);
    snprintf(out, FD_STORE_NAME_BYTES, "link.%u.%" PRIu64 ".%s.%s", key->link, key->epoch, id,
             key->settings);
}

/* Reads loosely; that it is exactly our way of writing is seen from writing it again. */
bool fd_store_parse(const char *name, struct fd_store_key *out)
{
    static const char kind[] = "link.";
    char id[UUID_TEXT_BYTES] = "", again[FD_STORE_NAME_BYTES], *at;
    *out = (struct fd_store_key){.link = 0};
    if (strncmp(name, kind, strlen(kind)) != 0)
        return false;
    out->link = (unsigned)strtoul(name + strlen(kind), &at, 10);
    if (*at == '.')
        out->epoch = strtoull(at + 1, &at, 10);
    if (*at != '.' || strlen(at) != UUID_TEXT_BYTES + SHA1_HEX_BYTES)
        return false;
    memcpy(id, at + 1, sizeof id - 1);
    memcpy(out->settings, at + 1 + UUID_TEXT_BYTES, sizeof out->settings - 1);
    if (!uuid_parse(id, out->spool_id) ||
        strspn(out->settings, "0123456789abcdef") != sizeof out->settings - 1)
        return false;
    fd_store_name(out, again);
    return strcmp(name, again) == 0;
}

static void stop_keeping(const char *name)
{
    (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

static void take(struct fd_store *s, int fd, const char *name)
{
    struct fd_store_key key;
    char other[FD_STORE_NAME_BYTES];
    for (unsigned i = 0; i < s->n; i++) {
        fd_store_name(&s->entries[i].key, other);
        if (strcmp(name, other) == 0) {
            close(fd);
            return;
        }
    }
    if (s->n < FD_STORE_MAX && fd_store_parse(name, &key)) {
        s->entries[s->n++] = (struct fd_store_entry){.fd = fd, .key = key};
        return;
    }
    log_warn(PREFIX, "a descriptor that is not ours name=\"%s\"", name);
    close(fd);
    stop_keeping(name);
}

void fd_store_read(struct fd_store *s)
{
    char **names = NULL;
    s->n = 0;
    int n = sd_listen_fds_with_names(1, &names);
    for (int i = 0; i < n; i++) {
        take(s, SD_LISTEN_FDS_START + i, names[i]);
        free(names[i]);
    }
    free(names);
}

bool fd_store_has(const struct fd_store *s, unsigned link, const uint8_t id[UUID_BYTES])
{
    for (unsigned i = 0; i < s->n; i++) {
        const struct fd_store_key *key = &s->entries[i].key;
        if (key->link == link && memcmp(key->spool_id, id, UUID_BYTES) == 0)
            return true;
    }
    return false;
}

void fd_store_drop(struct fd_store *s)
{
    char name[FD_STORE_NAME_BYTES];
    for (unsigned i = 0; i < s->n; i++) {
        if (s->entries[i].fd < 0)
            continue;
        close(s->entries[i].fd);
        fd_store_name(&s->entries[i].key, name);
        log_warn(PREFIX, "a kept connection is of no use any more name=%s", name);
        stop_keeping(name);
    }
    s->n = 0;
}

bool fd_store_keep(const struct fd_store_key *key, int fd)
{
    char name[FD_STORE_NAME_BYTES], state[FD_STORE_NAME_BYTES + 64];
    fd_store_name(key, name);
    /* Without FDPOLL=0 the manager drops a connection as soon as the server resets it, and
     * with it what the server had sent before. */
    snprintf(state, sizeof state, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    return sd_pid_notify_with_fds(0, 0, state, &fd, 1) > 0;
}

void fd_store_discard(const struct fd_store_key *key)
{
    char name[FD_STORE_NAME_BYTES];
    fd_store_name(key, name);
    stop_keeping(name);
}
