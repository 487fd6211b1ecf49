// SPDX-License-Identifier: Apache-2.0
#include "component/segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS 16
#define WINDOW_BYTES ((size_t)256 * 1024)

void segment_name(uint64_t base, char out[SEGMENT_NAME_BYTES])
{
    snprintf(out, SEGMENT_NAME_BYTES, "%016llx.seg", (unsigned long long)base);
}

/* Exactly what segment_name writes. */
static bool parse_name(const char *name, uint64_t *base_out)
{
    if (strlen(name) != DIGITS + 4 || strcmp(name + DIGITS, ".seg") != 0 ||
        strspn(name, "0123456789abcdef") != DIGITS)
        return false;
    *base_out = strtoull(name, NULL, 16);
    return true;
}

static int by_offset(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

bool segment_list(const char *dir, uint64_t **bases_out, size_t *n_out)
{
    *bases_out = NULL;
    *n_out = 0;
    DIR *d = opendir(dir);
    if (!d)
        return false;
    size_t cap = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        uint64_t base;
        if (!entry)
            break;
        if (!parse_name(entry->d_name, &base))
            continue;
        if (*n_out == cap) {
            cap = cap ? 2 * cap : 64;
            *bases_out = realloc(*bases_out, cap * sizeof **bases_out);
            if (!*bases_out)
                abort();
        }
        (*bases_out)[(*n_out)++] = base;
    }
    int error = errno;
    closedir(d);
    if (*n_out > 0)
        qsort(*bases_out, *n_out, sizeof **bases_out, by_offset);
    if (error) {
        free(*bases_out);
        *bases_out = NULL;
        errno = error;
    }
    return error == 0;
}

void segment_reader_init(struct segment_reader *r)
{
    *r = (struct segment_reader){.fd = -1};
}

void segment_reader_close(struct segment_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->len = 0;
}

void segment_reader_deinit(struct segment_reader *r)
{
    segment_reader_close(r);
    free(r->buf);
    segment_reader_init(r);
}

bool segment_reader_open(struct segment_reader *r, const char *dir, uint64_t base)
{
    segment_reader_close(r);
    char name[SEGMENT_NAME_BYTES];
    segment_name(base, name);
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return false;
    r->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int error = errno;
    close(dirfd);
    errno = error;
    r->base = r->at = r->buf_at = base;
    return r->fd >= 0;
}

/* Bytes in the window from r->at on. */
static size_t have(const struct segment_reader *r)
{
    return r->len - (size_t)(r->at - r->buf_at);
}

/* Reads until the window holds `need` bytes from r->at on, or the file ends.  Nothing past the
 * limit: what is not published may yet be replaced by something else. */
static bool fill(struct segment_reader *r, size_t need, uint64_t limit)
{
    if (r->at < r->buf_at || r->at > r->buf_at + r->len) {
        r->buf_at = r->at;
        r->len = 0;
    }
    if (have(r) >= need)
        return true;
    size_t keep = have(r);
    if (r->cap < need || !r->buf) {
        r->cap = need > WINDOW_BYTES ? need : WINDOW_BYTES;
        uint8_t *grown = malloc(r->cap);
        if (!grown)
            abort();
        if (r->buf && keep > 0)
            memcpy(grown, r->buf + (r->at - r->buf_at), keep);
        free(r->buf);
        r->buf = grown;
    } else if (keep > 0) {
        memmove(r->buf, r->buf + (r->at - r->buf_at), keep);
    }
    r->buf_at = r->at;
    r->len = keep;
    while (r->len < need && r->buf_at + r->len < limit) {
        off_t from = (off_t)(r->buf_at - r->base + r->len);
        uint64_t most = limit - r->buf_at - r->len;
        size_t want = r->cap - r->len < most ? r->cap - r->len : (size_t)most;
        ssize_t n = pread(r->fd, r->buf + r->len, want, from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        r->len += (size_t)n;
    }
    return true;
}

static const uint8_t *window(const struct segment_reader *r)
{
    return r->buf + (r->at - r->buf_at);
}

/* What stands at r->at, with all its bytes in the window. */
static bool look(struct segment_reader *r, uint64_t limit, struct record *out,
                 enum record_check *check_out)
{
    *check_out = RECORD_SHORT;
    if (!fill(r, RECORD_HEADER_BYTES, limit))
        return false;
    *check_out = record_unpack(window(r), have(r), r->at, out);
    if (*check_out == RECORD_SHORT && have(r) >= RECORD_HEADER_BYTES) {
        if (r->at + record_size(out) > limit) {
            *check_out = RECORD_BAD;
            return true;
        }
        if (!fill(r, record_size(out), limit))
            return false;
        *check_out = record_unpack(window(r), have(r), r->at, out);
    }
    return true;
}

enum segment_read segment_reader_next(struct segment_reader *r, uint64_t limit,
                                      struct record *out, const uint8_t **payload_out)
{
    enum record_check check;
    uint64_t start = r->at;
    for (;;) {
        if (!look(r, limit, out, &check))
            return SEGMENT_ERROR;
        if (have(r) == 0)
            return r->at > start ? SEGMENT_DAMAGED : SEGMENT_END;
        if (check == RECORD_GOOD && r->at > start)
            return SEGMENT_DAMAGED;
        if (check == RECORD_GOOD)
            break;
        if (check == RECORD_SHORT && r->at == start)
            return SEGMENT_TORN;
        r->at += record_find(window(r), have(r), 1);
    }
    *payload_out = window(r) + RECORD_HEADER_BYTES;
    r->at += record_size(out);
    return SEGMENT_RECORD;
}

uint64_t segment_reader_end(const struct segment_reader *r)
{
    struct stat st;
    return r->fd >= 0 && fstat(r->fd, &st) == 0 ? r->base + (uint64_t)st.st_size : r->at;
}

void segment_reader_skip(struct segment_reader *r)
{
    uint64_t end = segment_reader_end(r);
    r->at = end > r->at ? end : r->at;
}
