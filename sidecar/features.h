// SPDX-License-Identifier: Apache-2.0
/*
 * What service discovery shows: one table for the whole program, so that exactly what has a
 * handler is advertised, and all of it where clients look.
 */
#ifndef SIDECAR_FEATURES_H
#define SIDECAR_FEATURES_H

struct config;
struct service;

/* Before the first stanza. */
void features_offer(struct service *s, const struct config *c);

#endif
