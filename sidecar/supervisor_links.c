// SPDX-License-Identifier: Apache-2.0
#include "sidecar/supervisor_int.h"

#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/log.h"
#include "component/frame.h"
#include "component/link.h"
#include "component/opts.h"
#include "component/spool.h"
#include "sidecar/reexec.h"

#define PREFIX "supervisor"

/* What a link tells. */

static void on_spooled(void *ctx, unsigned link)
{
    struct supervisor *s = ctx;
    if (s->channel)
        (void)frame_channel_tell(s->channel, FRAME_SPOOLED, link);
}

static void on_link_state(void *ctx, unsigned link)
{
    struct supervisor *s = ctx;
    if (s->channel)
        (void)frame_channel_tell(s->channel, FRAME_LINK_STATE, link);
    if (s->state != SUP_LINKS_STOPPING)
        return;
    for (unsigned i = 0; i < s->links_n; i++)
        if (link_state(s->links[i].link) != LINK_STOPPED)
            return;
    event_base_loopbreak(s->base);
}

void supervisor_link_drained(void *ctx, unsigned link)
{
    (void)link;
    struct supervisor *s = ctx;
    for (unsigned i = 0; i < s->links_n; i++)
        if (link_queued(s->links[i].link) > SUP_LINK_QUEUE_HIGH)
            return;
    if (s->channel)
        frame_channel_pause(s->channel, false);
}

/* A connection that was made with other settings than these is not gone on with. */
static void digest_settings(const struct component_opts *o, unsigned link,
                            char out[SHA1_HEX_BYTES])
{
    char where[512];
    const struct host_opts *host = &o->hosts[link];
    snprintf(where, sizeof where, "%s:%u %d ", host->host, host->port, o->tls);
    crypt_sha1_hex(where, o->component, out);
}

static struct fd_store_key key_of(const struct supervisor *s, unsigned link, uint64_t epoch)
{
    struct fd_store_key key = {.link = link, .epoch = epoch};
    memcpy(key.spool_id, spool_id(s->links[link].spool), UUID_BYTES);
    memcpy(key.settings, s->links[link].settings, SHA1_HEX_BYTES);
    return key;
}

static void on_link_keep(void *ctx, unsigned link, int fd, uint64_t epoch)
{
    struct supervisor *s = ctx;
    struct sup_link *l = &s->links[link];
    digest_settings(s->opts.component, link, l->settings);
    l->fd = fd;
    l->epoch = epoch;
    struct fd_store_key key = key_of(s, link, epoch);
    if (!fd_store_keep(&key, fd))
        log_debug(PREFIX, "nobody keeps the connection link=%u", link);
}

static void on_link_discard(void *ctx, unsigned link, uint64_t epoch)
{
    struct supervisor *s = ctx;
    struct fd_store_key key = key_of(s, link, epoch);
    s->links[link].fd = -1;
    fd_store_discard(&key);
}

/* Start and end. */

/* A descriptor of this very spool is the proof that the kernel has lived since the supervisor
 * before us, and that its page tells of this spool. */
static bool has_kept(const struct supervisor *s, unsigned link, const char *dir)
{
    uint8_t id[UUID_BYTES];
    return spool_read_id(dir, id) && fd_store_has(&s->kept, link, id);
}

void supervisor_resume_link(struct supervisor *s, unsigned link)
{
    struct sup_link *l = &s->links[link];
    struct fd_store_key key = key_of(s, link, spool_epoch(l->spool));
    digest_settings(s->opts.component, link, key.settings);
    for (unsigned i = 0; i < s->kept.n; i++) {
        struct fd_store_entry *e = &s->kept.entries[i];
        if (e->key.link != link || e->key.epoch != key.epoch ||
            memcmp(e->key.spool_id, key.spool_id, UUID_BYTES) != 0)
            continue;
        const char *why_not = strcmp(e->key.settings, key.settings) == 0
                                  ? NULL
                                  : "it was made with other settings";
        int fd = e->fd;
        e->fd = -1;
        memcpy(l->settings, e->key.settings, SHA1_HEX_BYTES); /* as it is known there */
        if (link_resume(l->link, fd, why_not))
            break;
        fd_store_discard(&e->key);
    }
}

/* The page of the supervisor before us tells more than is true when no descriptor was kept:
 * then the machine may have been started anew since. */
enum err_kind supervisor_make_page(struct supervisor *s, struct err *e)
{
    char path[PATH_MAX];
    struct page *before = NULL;
    snprintf(path, sizeof path, "%s/page", s->opts.spool->directory);
    if (s->kept.n > 0 && page_open(path, false, &before, e) != ERR_NONE)
        log_warn(PREFIX, "kept connections cannot be gone on with: %s", e->text);
    unsigned n = (unsigned)s->opts.component->hosts_n;
    enum err_kind kind = page_create_from(path, n, before, &s->page, e);
    page_close(&before);
    return kind;
}

enum err_kind supervisor_add_link(struct supervisor *s, unsigned i, struct err *e)
{
    const struct spool_opts *o = s->opts.spool;
    const struct link_events events = {.spooled = on_spooled,
                                       .state = on_link_state,
                                       .drained = supervisor_link_drained,
                                       .keep = on_link_keep,
                                       .discard = on_link_discard,
                                       .ctx = s};
    struct spool_settings settings = {.size_max = o->size_max,
                                      .sync_always = o->fsync_ms == 0};
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/%u", o->directory, i);
    if (has_kept(s, i, dir))
        settings.kept_to = atomic_load(&s->page->links[i].spool_end);
    else
        page_forget_link(s->page, i);
    enum err_kind kind = spool_open(dir, &settings, &s->links[i].spool, e);
    if (kind != ERR_NONE)
        return kind;
    struct link_setup setup = {.base = s->base,
                               .index = i,
                               .opts = s->opts.component,
                               .spool_opts = o,
                               .spool = s->links[i].spool,
                               .page = &s->page->links[i],
                               .timing = s->opts.timing};
    s->links[i].fd = -1;
    s->links_n = i + 1;
    return link_new(&setup, &events, &s->links[i].link, e);
}

void supervisor_stop_links(struct supervisor *s)
{
    supervisor_set_state(s, SUP_LINKS_STOPPING);
    bool all = true;
    for (unsigned i = 0; i < s->links_n; i++) {
        link_stop(s->links[i].link, "shutdown");
        all = all && link_state(s->links[i].link) == LINK_STOPPED;
    }
    if (all)
        event_base_loopbreak(s->base);
}

/* Without an end: as with SIGKILL, page and spool say at any moment where to go on. */
void supervisor_become_what_is_installed(const struct supervisor *s)
{
    struct fd_store connections = {.n = 0};
    for (unsigned i = 0; i < s->links_n; i++)
        if (s->links[i].fd >= 0)
            connections.entries[connections.n++] = (struct fd_store_entry){
                .fd = s->links[i].fd, .key = key_of(s, i, s->links[i].epoch)};
    log_info(PREFIX, "becoming what is installed connections=%u", connections.n);
    reexec(s->opts.program, s->opts.config_path, &connections);
    exit(EX_OSFILE); /* with the lock, the page and the spool as they are */
}
