// SPDX-License-Identifier: Apache-2.0
#include "component/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "component/chores.h"
#include "component/record.h"
#include "component/segments.h"
#include "component/small_file.h"
#include "component/spool_found.h"

#define MAGIC 0x53504f4c
#define MIB ((uint64_t)1024 * 1024)
#define JUMP ((uint64_t)1 << 30)
#define HEADER_MAX (64 * 1024) /* of a stream header */
#define OFFSET_MAX ((uint64_t)1 << 62)

struct segment {
    uint64_t base;
    uint64_t size;
};

struct spool {
    uint32_t magic;
    char *dir;
    int dirfd;
    struct spool_settings set;
    struct chores *chores;
    uint8_t id[UUID_BYTES];
    struct segment *segments; /* oldest first; the last one is being written */
    size_t n, cap;
    uint64_t bytes;
    int fd;            /* of the last segment */
    uint64_t reserved; /* bytes of its file that the disk has promised */
    uint64_t end;
    uint64_t data_begin; /* in the last segment, what follows the repeated header */
    uint64_t epoch;
    int64_t last_us;
    bool streaming;
    uint64_t streamed; /* bytes of the stream so far */
    uint64_t skipped;  /* of the next stream */
    uint8_t *header;   /* of the stream, to be repeated; NULL: it is over */
    size_t header_len;
    uint64_t found_end; /* by spool_open: of the last record */
    bool resumable;     /* the stream that was found is whole and not over */
    bool dirty;
    bool alarm;
    bool full;
    bool disk_full;
};

static void set_segment_bytes(struct spool *s)
{
    if (s->set.segment_bytes)
        return;
    uint64_t bytes = s->set.size_max / 64;
    s->set.segment_bytes = bytes < MIB ? MIB : bytes > 16 * MIB ? 16 * MIB : bytes;
}

static struct segment *last(struct spool *s)
{
    return &s->segments[s->n - 1];
}

static void add_segment(struct spool *s, uint64_t base, uint64_t size)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        s->segments = realloc(s->segments, s->cap * sizeof *s->segments);
        if (!s->segments)
            abort();
    }
    s->segments[s->n++] = (struct segment){.base = base, .size = size};
    s->bytes += size;
}

/* The kind for an error of the disk: full or failing, the data may fit later. */
static enum err_kind disk_error(struct spool *s, struct err *e, const char *what, int error)
{
    if (error == ENOSPC || error == EDQUOT)
        s->disk_full = s->full = true;
    return err_set(e, ERR_RETRY, "spool %s: %s: %s", s->dir, what, strerror(error));
}

static enum err_kind setup_error(const char *dir, struct err *e, const char *what, int error)
{
    enum err_kind kind = error == ENOSPC || error == EDQUOT ? ERR_RETRY : ERR_CONFIG;
    return err_set(e, kind, "spool %s: %s: %s", dir, what, strerror(error));
}

static bool read_id(int dirfd, uint8_t out[UUID_BYTES])
{
    char text[64];
    return small_file_read(dirfd, "id", text, sizeof text) && uuid_parse(text, out);
}

bool spool_read_id(const char *dir, uint8_t out[UUID_BYTES])
{
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dirfd < 0)
        return false;
    bool ok = read_id(dirfd, out);
    close(dirfd);
    return ok;
}

/* An id without any segment is not worth keeping: the offsets that belonged to it are not
 * known any more, so the spool starts again under a new name. */
static enum err_kind take_id(struct spool *s, struct err *e)
{
    if (s->n > 0 && read_id(s->dirfd, s->id))
        return ERR_NONE;
    char text[UUID_TEXT_BYTES + 1];
    uuid_random(s->id);
    uuid_format(s->id, text);
    strcat(text, "\n");
    if (!small_file_write(s->dirfd, "id", text))
        return setup_error(s->dir, e, "id", errno);
    return ERR_NONE;
}

static int segment_open(struct spool *s, uint64_t base, int flags)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(base, name);
    return openat(s->dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static void set_header(struct spool *s, const uint8_t *header, size_t len)
{
    free(s->header);
    s->header = malloc(len ? len : 1);
    if (!s->header)
        abort();
    memcpy(s->header, header, len);
    s->header_len = len;
}

static enum err_kind find_segments(struct spool *s, struct err *e)
{
    uint64_t *bases;
    size_t n;
    if (!segment_list(s->dir, &bases, &n))
        return setup_error(s->dir, e, "cannot be read", errno);
    size_t known = 0;
    for (size_t i = 0; i < n; i++) {
        char name[SEGMENT_NAME_BYTES];
        struct stat st;
        segment_name(bases[i], name);
        if (bases[i] >= OFFSET_MAX || fstatat(s->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        add_segment(s, bases[i], (uint64_t)st.st_size);
        bases[known++] = bases[i];
    }
    struct spool_found found;
    spool_found_read(s->dir, bases, known, &found);
    free(bases);
    s->epoch = found.epoch;
    s->last_us = found.last_us;
    s->streamed = found.streamed;
    s->found_end = found.end;
    s->header = found.header;
    s->header_len = found.header_len;
    return ERR_NONE;
}

/* What the records do not tell when they are all deleted: the file "last" is written before
 * each stream and at the end. */
static void learn_last(struct spool *s)
{
    char text[64];
    if (s->n == 0)
        return;
    if (small_file_read(s->dirfd, "last", text, sizeof text)) {
        char *rest;
        uint64_t epoch = strtoull(text, &rest, 10);
        int64_t us = strtoll(rest, NULL, 10);
        s->epoch = epoch > s->epoch ? epoch : s->epoch;
        s->last_us = us > s->last_us ? us : s->last_us;
    } else if (s->epoch == 0 && s->bytes > 0) {
        s->epoch = (uint64_t)clock_real_us() / 1000000; /* higher than any count so far */
    }
}

static void write_last(struct spool *s)
{
    char text[64];
    snprintf(text, sizeof text, "%" PRIu64 " %" PRId64 "\n", s->epoch, s->last_us);
    (void)!small_file_write(s->dirfd, "last", text);
}

/* No power cut: what was published is here, and what follows the last record is what the
 * killed writer could not finish.  Nobody was told of it, so its offsets are free; its bytes
 * are still in the socket, for they are consumed only when the record is whole. */
static bool cut_torn_tail(struct spool *s)
{
    uint64_t size = s->found_end - last(s)->base;
    if (size == last(s)->size)
        return true;
    int fd = segment_open(s, last(s)->base, O_WRONLY);
    if (fd < 0)
        return false;
    bool ok = ftruncate(fd, (off_t)size) == 0;
    close(fd);
    if (ok) {
        s->bytes -= last(s)->size - size;
        last(s)->size = size;
    }
    return ok;
}

/* See the rule in the header. */
static uint64_t first_new_offset(struct spool *s)
{
    if (s->n == 0)
        return SPOOL_FIRST;
    if (s->set.kept_to && s->found_end >= s->set.kept_to && cut_torn_tail(s)) {
        s->resumable = s->header != NULL;
        return s->found_end;
    }
    uint64_t end = last(s)->base + last(s)->size;
    char text[64];
    if (small_file_read(s->dirfd, "clean", text, sizeof text)) {
        char *rest;
        errno = 0;
        unsigned long long clean = strtoull(text, &rest, 10);
        if (errno == 0 && *rest == '\0' && rest != text && clean == end)
            return end;
    }
    return (end + 2 * JUMP - 1) / JUMP * JUMP;
}

static enum err_kind write_record(struct spool *s, enum record_kind kind, const void *payload,
                                  size_t len, int64_t now_us, struct err *e);

/* Begins a segment at `base`.  Crash before the directory is synced: the file is not there,
 * the old one is still the last and nothing is lost.  Crash after it: an empty last segment,
 * whose name alone keeps the offsets from being used again. */
static enum err_kind begin_segment(struct spool *s, uint64_t base, struct err *e)
{
    if (base >= OFFSET_MAX)
        return err_set(e, ERR_CONFIG, "spool %s: offsets are used up", s->dir);
    bool waits = s->set.sync_always;
    if (waits && s->fd >= 0 && fdatasync(s->fd) != 0)
        return disk_error(s, e, "sync", errno);
    bool again = s->n > 0 && last(s)->base == base && last(s)->size == 0;
    int fd = segment_open(s, base, O_WRONLY | O_CREAT | (again ? 0 : O_EXCL));
    if (fd < 0)
        return disk_error(s, e, "new segment", errno);
    if (waits && fsync(s->dirfd) != 0) {
        int error = errno;
        close(fd);
        return disk_error(s, e, "sync of directory", error);
    }
    if (!waits)
        chores_sync_names(s->chores);
    if (s->fd >= 0)
        chores_sync_and_close(s->chores, s->fd);
    s->fd = fd;
    s->reserved = 0;
    s->dirty = false;
    if (!again)
        add_segment(s, base, 0);
    s->end = s->data_begin = base;
    return ERR_NONE;
}

static uint64_t offset_after_junk(struct spool *s)
{
    struct stat st;
    if (fstat(s->fd, &st) == 0 && (uint64_t)st.st_size > last(s)->size)
        return (last(s)->base + (uint64_t)st.st_size + MIB) / MIB * MIB;
    return s->end;
}

/* A full disk is met just where a segment begins: what was not written then is written before
 * the segment's first bytes, for who begins to read there must know the stream. */
static enum err_kind write_head(struct spool *s, struct err *e)
{
    if (!s->streaming || s->end > last(s)->base)
        return ERR_NONE;
    enum err_kind kind =
        write_record(s, RECORD_AGAIN, s->header, s->header_len, s->last_us, e);
    s->data_begin = s->end;
    return kind;
}

static enum err_kind rotate(struct spool *s, struct err *e)
{
    enum err_kind kind = begin_segment(s, offset_after_junk(s), e);
    return kind == ERR_NONE ? write_head(s, e) : kind;
}

/* The disk promises the whole segment before the first byte that needs it is read from the
 * socket, so that a full disk is met with empty hands. */
static enum err_kind reserve(struct spool *s, uint64_t size, struct err *e)
{
    if (size <= s->reserved)
        return ERR_NONE;
    uint64_t want = size > s->set.segment_bytes ? size : s->set.segment_bytes;
    int rc;
    do {
        rc = fallocate(s->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0)
        s->reserved = want;
    else if (errno == EOPNOTSUPP || errno == ENOSYS)
        s->reserved = OFFSET_MAX;
    else
        return disk_error(s, e, "no room for a segment", errno);
    return ERR_NONE;
}

enum err_kind spool_room(struct spool *s, size_t len, struct err *e)
{
    /* With the record itself, the CLOSE that may follow. */
    uint64_t need = len + 2 * (uint64_t)RECORD_HEADER_BYTES + ERR_TEXT_BYTES;
    uint64_t rest = s->end > s->data_begin ? s->set.segment_bytes : OFFSET_MAX;
    enum err_kind kind = last(s)->size + need > rest ? rotate(s, e) : write_head(s, e);
    return kind == ERR_NONE ? reserve(s, last(s)->size + need, e) : kind;
}

/* One write at a given offset: what fails half way is overwritten by the next try, and no
 * reader looks past the end we publish. */
static enum err_kind write_at_end(struct spool *s, struct iovec *iov, int n, struct err *e)
{
    off_t at = (off_t)last(s)->size;
    while (n > 0) {
        ssize_t wrote = pwritev(s->fd, iov, n, at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0) {
            int error = wrote < 0 ? errno : EIO;
            (void)!ftruncate(s->fd, (off_t)last(s)->size);
            s->reserved = 0;
            return disk_error(s, e, "write", error);
        }
        at += wrote;
        for (; n > 0 && (size_t)wrote >= iov->iov_len; iov++, n--)
            wrote -= (ssize_t)iov->iov_len;
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + wrote;
            iov->iov_len -= (size_t)wrote;
        }
    }
    return ERR_NONE;
}

static enum err_kind write_record(struct spool *s, enum record_kind kind, const void *payload,
                                  size_t len, int64_t now_us, struct err *e)
{
    assert(len <= RECORD_PAYLOAD_MAX);
    struct record r = {.kind = kind,
                       .len = (uint32_t)len,
                       .epoch = s->epoch,
                       .received_us = now_us,
                       .position = s->end,
                       .stream = s->streamed};
    uint8_t header[RECORD_HEADER_BYTES];
    record_pack(&r, payload, header);
    struct iovec iov[2] = {{.iov_base = header, .iov_len = sizeof header}, {.iov_len = len}};
    memcpy(&iov[1].iov_base, &payload, sizeof payload); /* writev does not write to it */
    enum err_kind rc = write_at_end(s, iov, len > 0 ? 2 : 1, e);
    if (rc == ERR_NONE && s->set.sync_always && fdatasync(s->fd) != 0)
        rc = disk_error(s, e, "sync", errno);
    if (rc != ERR_NONE)
        return rc;
    last(s)->size += record_size(&r);
    s->bytes += record_size(&r);
    s->end += record_size(&r);
    s->streamed += kind == RECORD_DATA ? len : 0;
    s->last_us = now_us;
    s->dirty = !s->set.sync_always;
    return ERR_NONE;
}

enum err_kind spool_append(struct spool *s, const uint8_t *data, size_t len, int64_t now_us,
                           struct err *e)
{
    assert(s->streaming);
    while (len > 0) {
        size_t part = len < RECORD_PAYLOAD_MAX ? len : RECORD_PAYLOAD_MAX;
        enum err_kind kind = spool_room(s, part, e);
        if (kind == ERR_NONE)
            kind = write_record(s, RECORD_DATA, data, part, now_us, e);
        if (kind != ERR_NONE)
            return kind;
        data += part;
        len -= part;
    }
    return ERR_NONE;
}

enum err_kind spool_stream_open(struct spool *s, const uint8_t *header, size_t len,
                                int64_t now_us, uint64_t *epoch_out, struct err *e)
{
    if (len > HEADER_MAX)
        return err_set(e, ERR_PEER, "stream header of %zu bytes", len);
    s->streaming = s->resumable = false;
    enum err_kind kind = spool_room(s, len, e);
    if (kind != ERR_NONE)
        return kind;
    s->epoch++;
    s->streamed = s->skipped;
    s->skipped = 0;
    write_last(s);
    kind = write_record(s, RECORD_OPEN, header, len, now_us, e);
    if (kind != ERR_NONE)
        return kind;
    set_header(s, header, len);
    s->streaming = true;
    *epoch_out = s->epoch;
    return ERR_NONE;
}

enum err_kind spool_stream_resume(struct spool *s, int64_t now_us, struct err *e)
{
    assert(s->resumable && !s->streaming);
    enum err_kind kind = spool_room(s, s->header_len, e);
    if (kind == ERR_NONE)
        kind = write_record(s, RECORD_AGAIN, s->header, s->header_len, now_us, e);
    if (kind != ERR_NONE)
        return kind;
    s->data_begin = s->end;
    s->streaming = true;
    s->resumable = false;
    return ERR_NONE;
}

enum err_kind spool_stream_close(struct spool *s, const char *why, int64_t now_us,
                                 struct err *e)
{
    if (!s->streaming)
        return ERR_NONE;
    s->streaming = false;
    size_t len = strlen(why);
    return write_record(s, RECORD_CLOSE, why, len < ERR_TEXT_BYTES ? len : ERR_TEXT_BYTES - 1,
                        now_us, e);
}

enum err_kind spool_sync(struct spool *s, struct err *e)
{
    int error = chores_failure(s->chores);
    if (error) {
        /* The kernel may have dropped the pages: what was to be synced cannot be tried again,
         * but what comes next goes to a new file. */
        struct err ignored;
        (void)!rotate(s, &ignored);
        return disk_error(s, e, "sync", error);
    }
    if (s->dirty && chores_idle(s->chores)) {
        s->dirty = false;
        chores_sync(s->chores, s->fd);
    }
    return ERR_NONE;
}

void spool_delete_below(struct spool *s, uint64_t pos)
{
    struct err ignored;
    /* All is committed but it stands in the segment being written: make that an old one. */
    if (s->full && pos >= s->end && s->end > s->data_begin && !s->streaming)
        (void)!begin_segment(s, s->end, &ignored);
    size_t gone = 0;
    while (gone + 1 < s->n && s->segments[gone].base + s->segments[gone].size <= pos) {
        chores_delete(s->chores, s->segments[gone].base);
        s->bytes -= s->segments[gone].size;
        gone++;
    }
    s->n -= gone;
    memmove(s->segments, s->segments + gone, s->n * sizeof *s->segments);
}

static bool disk_has_room(struct spool *s)
{
    struct statvfs v;
    if (fstatvfs(s->dirfd, &v) != 0)
        return false;
    return (uint64_t)v.f_bavail * v.f_frsize >= 2 * s->set.segment_bytes;
}

enum spool_level spool_level(struct spool *s)
{
    uint64_t max = s->set.size_max;
    if (s->disk_full && disk_has_room(s))
        s->disk_full = false;
    if (s->bytes >= max || s->disk_full)
        s->full = true;
    else if (s->bytes < max - max / 10)
        s->full = false;
    if (s->bytes >= max / 5 * 4)
        s->alarm = true;
    else if (s->bytes < max / 10 * 7)
        s->alarm = false;
    return s->full ? SPOOL_FULL : s->alarm ? SPOOL_ALARM : SPOOL_EASY;
}

static void spool_free(struct spool **sp)
{
    struct spool *s = *sp;
    chores_free(&s->chores);
    if (s->fd >= 0)
        close(s->fd);
    if (s->dirfd >= 0)
        close(s->dirfd);
    free(s->header);
    free(s->segments);
    free(s->dir);
    free(s);
    *sp = NULL;
}

static enum err_kind open_in(struct spool *s, struct err *e)
{
    if (mkdir(s->dir, 0700) != 0 && errno != EEXIST)
        return setup_error(s->dir, e, "cannot be made", errno);
    s->dirfd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (s->dirfd < 0)
        return setup_error(s->dir, e, "cannot be opened", errno);
    /* What users wrote is in there; a directory that somebody made too open is closed. */
    if (fchmod(s->dirfd, 0700) != 0)
        return setup_error(s->dir, e, "chmod", errno);
    s->chores = chores_new(s->dirfd);
    enum err_kind kind = find_segments(s, e);
    if (kind == ERR_NONE)
        kind = take_id(s, e);
    if (kind != ERR_NONE)
        return kind;
    learn_last(s);
    uint64_t base = first_new_offset(s);
    if (unlinkat(s->dirfd, "clean", 0) != 0 && errno != ENOENT)
        return setup_error(s->dir, e, "clean", errno);
    kind = begin_segment(s, base, e);
    return kind == ERR_RETRY && !s->disk_full ? ERR_CONFIG : kind;
}

enum err_kind spool_open(const char *dir, const struct spool_settings *settings,
                         struct spool **out, struct err *e)
{
    struct spool *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->magic = MAGIC;
    s->dir = strdup(dir);
    s->dirfd = s->fd = -1;
    if (!s->dir)
        abort();
    s->set = *settings;
    set_segment_bytes(s);
    enum err_kind kind = open_in(s, e);
    if (kind != ERR_NONE)
        spool_free(&s);
    *out = s;
    return kind;
}

void spool_close(struct spool **sp)
{
    struct spool *s = *sp;
    if (!s)
        return;
    write_last(s);
    if (fdatasync(s->fd) == 0 && offset_after_junk(s) == s->end) {
        char text[32];
        snprintf(text, sizeof text, "%" PRIu64 "\n", s->end);
        (void)!small_file_write(s->dirfd, "clean", text);
    }
    spool_free(sp);
}

void spool_set_settings(struct spool *s, const struct spool_settings *settings)
{
    s->set = *settings;
    set_segment_bytes(s);
}

const uint8_t *spool_id(const struct spool *s)
{
    return s->id;
}

uint64_t spool_begin(const struct spool *s)
{
    return s->segments[0].base;
}

uint64_t spool_end(const struct spool *s)
{
    return s->end;
}

uint64_t spool_bytes(const struct spool *s)
{
    return s->bytes;
}

uint64_t spool_epoch(const struct spool *s)
{
    return s->epoch;
}

int64_t spool_last_us(const struct spool *s)
{
    return s->last_us;
}

bool spool_streaming(const struct spool *s)
{
    return s->streaming;
}

uint64_t spool_streamed(const struct spool *s)
{
    return s->streamed;
}

bool spool_resumable(const struct spool *s)
{
    return s->resumable;
}

void spool_stream_skip(struct spool *s, uint64_t bytes)
{
    s->skipped = bytes;
}

bool spool_dirty(const struct spool *s)
{
    return s->dirty;
}

void spool_wait(struct spool *s)
{
    chores_wait(s->chores);
}
