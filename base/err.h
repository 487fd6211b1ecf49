// SPDX-License-Identifier: Apache-2.0
/*
 * What a failure means to the caller.  A function returns the kind, so that the next step is
 * decided without parsing text, and fills a struct err, so that a person can read why.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

enum err_kind {
    ERR_NONE = 0, /* success */
    ERR_RETRY,    /* the item may succeed later: keep it, back off */
    ERR_REJECT,   /* the item never will: park it with its reason */
    ERR_PEER,     /* the connection is beyond repair: drop it, reconnect */
    ERR_CONFIG,   /* a human is needed: exit 78 at start, alarm when running */
};

#define ERR_TEXT_BYTES 256

struct err {
    enum err_kind kind;
    char text[ERR_TEXT_BYTES]; /* one line, no body, no token, no secret */
};

/* Fills e (may be NULL) and returns kind, for "return err_set(e, ERR_PEER, ...)". */
enum err_kind err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

const char *err_kind_name(enum err_kind kind);

#endif
