// SPDX-License-Identifier: Apache-2.0
/*
 * Every push that came, in order, as JSON text.  Bounded by number and by bytes: the
 * oldest go first.  The provider token is not kept, only its number.
 */
#ifndef GATEWAY_PUSHES_H
#define GATEWAY_PUSHES_H

#include <stddef.h>
#include <stdint.h>

struct evbuffer;
struct gw_push;
struct gw_pushes;
struct gw_request;
struct gw_verdict;

struct gw_pushes *gw_pushes_new(size_t max);
void gw_pushes_free(struct gw_pushes **p);
void gw_pushes_reset(struct gw_pushes *p);

struct gw_push_origin {
    uint32_t conn;
    int32_t stream;
    int64_t time_ms; /* of arrival */
};

void gw_pushes_add(struct gw_pushes *p, const struct gw_push_origin *from,
                   const struct gw_request *r, const struct gw_push *push,
                   const struct gw_verdict *v);

struct gw_pushes_query {
    const char *token; /* NULL: all */
    uint64_t since;    /* only those with a greater seq */
    int status;        /* -1: all */
    size_t limit;
};

/* A JSON array. */
void gw_pushes_write(const struct gw_pushes *p, const struct gw_pushes_query *q,
                     struct evbuffer *out);

#endif
