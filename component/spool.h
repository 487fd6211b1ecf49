// SPDX-License-Identifier: Apache-2.0
/*
 * The writer of one link's spool: records appended to segment files, named by the spool offset
 * of their first byte.  Its promise: what was appended can be read again after any crash of a
 * process, and after a power cut up to the last spool_sync; no offset ever means two different
 * bytes, because PostgreSQL may remember an offset whose bytes a power cut took away.  It
 * knows no sockets, no timers and nothing of XML.
 *
 * The rule behind the second promise: every opening starts a new segment.  It begins at the
 * old end when the file "clean" names exactly that end (spool_close wrote it after a sync) or
 * when the kernel is known to have lived since (spool_settings.kept_to), else at the next
 * multiple of 1 GiB that is at least 1 GiB past everything found.
 */
#ifndef COMPONENT_SPOOL_H
#define COMPONENT_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypt.h"
#include "base/err.h"

/* No byte stands below this offset: 0 can mean "from the beginning". */
#define SPOOL_FIRST 4096

struct spool_settings {
    uint64_t size_max;      /* bytes on disk */
    uint64_t segment_bytes; /* 0: size_max / 64, but within 1 MiB and 16 MiB */
    bool sync_always;       /* after each append */
    /* For spool_open: the end that a killed writer had published, when no power cut can have
     * been since then because the kernel still has something of that writer; 0: not known. */
    uint64_t kept_to;
};

enum spool_level {
    SPOOL_EASY,
    SPOOL_ALARM, /* over 80 %, until under 70 % */
    SPOOL_FULL,  /* over size_max, or the disk is full, until under 90 % and room on disk */
};

struct spool;

/* Makes the directory (0700; its parent must exist), its id and the first new segment.
 * CONFIG: cannot be made or written; RETRY: the disk is full. */
MUST_CHECK enum err_kind spool_open(const char *dir, const struct spool_settings *settings,
                                    struct spool **out, struct err *e);
/* Syncs and marks the spool clean. */
void spool_close(struct spool **s);
void spool_set_settings(struct spool *s, const struct spool_settings *settings);

const uint8_t *spool_id(const struct spool *s); /* UUID_BYTES */
uint64_t spool_begin(const struct spool *s);    /* of the oldest segment */
uint64_t spool_end(const struct spool *s);      /* where the next record will stand */
uint64_t spool_bytes(const struct spool *s);    /* on disk */
uint64_t spool_epoch(const struct spool *s);    /* the last one, 0: there was none yet */
int64_t spool_last_us(const struct spool *s);   /* receive time of the last record, or 0 */
bool spool_streaming(const struct spool *s);    /* between stream_open and stream_close */
uint64_t spool_streamed(const struct spool *s); /* bytes of the last stream, all together */
/* The stream that a killed writer left open can go on: all that was appended of it is here. */
bool spool_resumable(const struct spool *s);
enum spool_level spool_level(struct spool *s);

/* Makes sure that an append of len bytes will find its room on disk; to be called before the
 * bytes are read from a socket.  RETRY: full. */
MUST_CHECK enum err_kind spool_room(struct spool *s, size_t len, struct err *e);

/* The next stream has had so many bytes that are not appended: its handshake. */
void spool_stream_skip(struct spool *s, uint64_t bytes);

/* Appending.  RETRY: the disk is full or failed; nothing of this record was appended, and a
 * later append may succeed.  An open stream is ended by the next stream_open, too. */
MUST_CHECK enum err_kind spool_stream_open(struct spool *s, const uint8_t *header, size_t len,
                                           int64_t now_us, uint64_t *epoch_out, struct err *e);
/* Goes on with a stream that is resumable: same epoch, same header. */
MUST_CHECK enum err_kind spool_stream_resume(struct spool *s, int64_t now_us, struct err *e);
MUST_CHECK enum err_kind spool_append(struct spool *s, const uint8_t *data, size_t len,
                                      int64_t now_us, struct err *e);
MUST_CHECK enum err_kind spool_stream_close(struct spool *s, const char *why, int64_t now_us,
                                            struct err *e);

/* What was appended so far will survive a power cut as soon as the disk has done its work,
 * for which nobody waits; while it is still at the last one this is for the next call.
 * RETRY: the disk failed, now or the last time. */
MUST_CHECK enum err_kind spool_sync(struct spool *s, struct err *e);
bool spool_dirty(const struct spool *s); /* there is something to sync */
void spool_wait(struct spool *s);        /* until the disk has done all its work */

/* Deletes the segments whose bytes are all below pos; never the newest one.  Their files are
 * gone a moment later. */
void spool_delete_below(struct spool *s, uint64_t pos);

/* For readers: the id of the spool in dir; false when there is none. */
bool spool_read_id(const char *dir, uint8_t out[UUID_BYTES]);

#endif
