// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/committed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "component/page.h"
#include "component/record.h"
#include "component/segments.h"

struct committed {
    struct page *page;
    char dir[PATH_MAX]; /* of the first link */
    uint64_t epoch;
    int fd; /* of the segment at hand, -1: none */
    uint64_t base;
    uint64_t at; /* spool offset of the next record's header */
    bool opened; /* the header of our stream was seen */
    /* The record at hand: its payload, and how much of the stream came before it. */
    uint64_t payload_at;
    uint64_t payload_len;
    uint64_t stream_at;
};

enum err_kind committed_open(const char *directory, struct committed **out, struct err *e)
{
    char path[PATH_MAX];
    struct page *page;
    *out = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/page", directory) >= sizeof path)
        return err_set(e, ERR_CONFIG, "--spool is too long");
    enum err_kind kind = page_open(path, false, &page, e);
    if (kind != ERR_NONE)
        return kind;
    if (atomic_load(&page->links[0].state) != LINK_UP) {
        page_close(&page);
        return err_set(e, ERR_RETRY, "the link is not up");
    }
    struct committed *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->page = page;
    c->epoch = atomic_load(&page->links[0].epoch);
    c->fd = -1;
    snprintf(c->dir, sizeof c->dir, "%.*s/0", PATH_MAX - 3, directory);
    *out = c;
    return ERR_NONE;
}

void committed_close(struct committed **cp)
{
    struct committed *c = *cp;
    *cp = NULL;
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    page_close(&c->page);
    free(c);
}

/* Opens the first segment after the one at hand; false when there is none yet. */
static bool next_segment(struct committed *c)
{
    uint64_t *bases;
    size_t n, i = 0;
    char path[PATH_MAX + SEGMENT_NAME_BYTES], name[SEGMENT_NAME_BYTES];
    if (!segment_list(c->dir, &bases, &n))
        return false;
    while (i < n && c->fd >= 0 && bases[i] <= c->base)
        i++;
    bool found = i < n;
    uint64_t base = found ? bases[i] : 0;
    free(bases);
    if (!found)
        return false;
    segment_name(base, name);
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = fd;
    c->base = c->at = base;
    return true;
}

/* What a record says of our stream. */
static bool take(struct committed *c, const struct record *r)
{
    uint64_t header_at = c->at;
    c->at += record_size(r);
    if (r->epoch != c->epoch)
        return !c->opened;
    if (r->kind == RECORD_OPEN)
        c->opened = true;
    if (!c->opened || r->kind == RECORD_CLOSE)
        return false;
    if (r->kind == RECORD_DATA) {
        c->stream_at += c->payload_len;
        c->payload_at = header_at + RECORD_HEADER_BYTES;
        c->payload_len = r->len;
    }
    return true;
}

/* The next record's header, which is known to be there because the place is behind it. */
static enum err_kind next_record(struct committed *c, struct err *e)
{
    uint8_t header[RECORD_HEADER_BYTES];
    struct record r;
    if (c->fd < 0 && !next_segment(c))
        return err_set(e, ERR_PEER, "%s has no segment: %s", c->dir, strerror(errno));
    ssize_t n = pread(c->fd, header, sizeof header, (off_t)(c->at - c->base));
    if (n == 0) {
        if (!next_segment(c))
            return err_set(e, ERR_PEER, "%s ends too early", c->dir);
        n = pread(c->fd, header, sizeof header, 0);
    }
    /* Its payload is not looked at: the header alone must look like one. */
    if (n != (ssize_t)sizeof header ||
        record_unpack(header, sizeof header, c->at, &r) == RECORD_BAD)
        return err_set(e, ERR_PEER, "%s has no record at %llu", c->dir,
                       (unsigned long long)c->at);
    if (!take(c, &r))
        return err_set(e, ERR_PEER, "the component has connected anew");
    return ERR_NONE;
}

enum err_kind committed_read(struct committed *c, uint64_t *bytes_out, struct err *e)
{
    uint64_t place = atomic_load(&c->page->links[0].archive_pos);
    while (c->at < place) {
        enum err_kind kind = next_record(c, e);
        if (kind != ERR_NONE)
            return kind;
    }
    uint64_t of_record = 0;
    if (c->payload_len && place > c->payload_at)
        of_record = place - c->payload_at;
    *bytes_out = c->stream_at + (of_record < c->payload_len ? of_record : c->payload_len);
    return ERR_NONE;
}

uint64_t committed_behind(const struct committed *c)
{
    const struct page_link *l = &c->page->links[0];
    uint64_t place = atomic_load(&l->archive_pos), end = atomic_load(&l->spool_end);
    return end > place ? end - place : 0;
}

uint64_t committed_spool_bytes(const struct committed *c)
{
    return atomic_load(&c->page->links[0].spool_bytes);
}
