// SPDX-License-Identifier: Apache-2.0
/* "127.0.0.1:0" and "[::1]:0" to a socket address; libevent's own refuses port 0. */
#ifndef GATEWAY_ADDRESS_H
#define GATEWAY_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { GW_HOST_MAX = 46 };

struct gw_address {
    struct sockaddr_storage sa;
    socklen_t len;
    char host[GW_HOST_MAX]; /* without brackets */
};

bool gw_address_parse(const char *text, struct gw_address *out);
uint16_t gw_address_port(const struct gw_address *a);
/* Takes over what a listening socket was bound to. */
void gw_address_of(int fd, struct gw_address *a);

#endif
