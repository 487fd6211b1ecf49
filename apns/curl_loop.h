// SPDX-License-Identifier: Apache-2.0
/*
 * libcurl's transfers on our event loop.  It knows what a transfer is for as little as what
 * its result means.  (libcurl's own types are void: its headers stay out of ours.)
 */
#ifndef APNS_CURL_LOOP_H
#define APNS_CURL_LOOP_H

struct curl_loop;
struct event_base;

/* easy is a CURL, result a CURLcode.  The transfer is over and has been taken out; the callee
 * may add others, may not free the loop. */
typedef void (*curl_loop_done_fn)(void *ctx, void *easy, int result);

/* Never NULL. */
struct curl_loop *curl_loop_new(struct event_base *base, curl_loop_done_fn done, void *ctx);
/* All transfers must have been taken out. */
void curl_loop_free(struct curl_loop **l);
/* The CURLM, for its options. */
void *curl_loop_multi(struct curl_loop *l);

void curl_loop_add(struct curl_loop *l, void *easy);
void curl_loop_remove(struct curl_loop *l, void *easy);

#endif
