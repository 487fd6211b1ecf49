// SPDX-License-Identifier: Apache-2.0
#include "sidecar/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

#define MAGIC UINT32_C(0x58535331) /* "XSS1" */

/* In the machine's own byte order: it never leaves it. */
struct header {
    uint32_t magic;
    uint32_t links_n;
    uint64_t state_len;
    uint8_t spool_ids[SNAPSHOT_LINKS_MAX][16];
    uint64_t live[SNAPSHOT_LINKS_MAX];
};

static bool write_all(int fd, const void *data, size_t len)
{
    for (const char *at = data; len > 0;) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t len)
{
    for (char *at = data; len > 0;) {
        ssize_t n = read(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

enum err_kind snapshot_write(const char *path, const struct snapshot *s,
                             const struct buf *state, struct err *e)
{
    char fresh[1024];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(e, ERR_RETRY, "cannot write %s: %s", fresh, strerror(errno));
    struct header h = {MAGIC, s->links_n, buf_len(state), {{0}}, {0}};
    memcpy(h.spool_ids, s->spool_ids, sizeof h.spool_ids);
    memcpy(h.live, s->live, sizeof h.live);
    /* Not synced: after a power cut the streams it tells of are over anyway. */
    bool good = write_all(fd, &h, sizeof h) && write_all(fd, buf_data(state), buf_len(state));
    good = close(fd) == 0 && good;
    if (good && rename(fresh, path) == 0)
        return ERR_NONE;
    enum err_kind k = err_set(e, ERR_RETRY, "cannot write %s: %s", path, strerror(errno));
    (void)unlink(fresh);
    return k;
}

bool snapshot_read(const char *path, struct snapshot *s, struct buf *state)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    struct header h;
    struct stat st;
    bool good = fstat(fd, &st) == 0 && read_all(fd, &h, sizeof h) && h.magic == MAGIC &&
                h.links_n == s->links_n &&
                memcmp(h.spool_ids, s->spool_ids, h.links_n * sizeof h.spool_ids[0]) == 0 &&
                h.state_len <= SNAPSHOT_BYTES_MAX &&
                st.st_size == (off_t)(sizeof h + h.state_len);
    uint8_t *at = good ? buf_reserve(state, h.state_len) : NULL;
    good = at && read_all(fd, at, h.state_len);
    if (good) {
        buf_commit(state, h.state_len);
        memcpy(s->live, h.live, sizeof s->live);
    }
    (void)close(fd);
    return good;
}
