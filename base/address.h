// SPDX-License-Identifier: Apache-2.0
/*
 * Which addresses of the Internet a stranger may have us connect to: those that are somebody's
 * in public.  What is this machine, its network, or a way around into either is named, also
 * when it is wrapped into another address (RFC 4291 mapped, RFC 6052 NAT64, RFC 3056 6to4).
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

struct sockaddr;

/* NULL when it is public, else what it is: a word or two, a constant. */
const char *address_not_public(const struct sockaddr *sa);

#endif
