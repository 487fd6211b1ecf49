// SPDX-License-Identifier: Apache-2.0
#include "base/address.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* IANA's registries of special-purpose addresses (RFC 6890 and what came after it). */
static const struct {
    uint32_t net;
    unsigned bits;
    const char *what;
} v4[] = {
    {0x00000000, 8, "unspecified"},     {0x0a000000, 8, "private"},
    {0x64400000, 10, "shared (CGNAT)"}, {0x7f000000, 8, "loopback"},
    {0xa9fe0000, 16, "link-local"},     {0xac100000, 12, "private"},
    {0xc0000000, 24, "reserved"},       {0xc0000200, 24, "documentation"},
    {0xc0586300, 24, "6to4 relay"},     {0xc0a80000, 16, "private"},
    {0xc6120000, 15, "benchmarking"},   {0xc6336400, 24, "documentation"},
    {0xcb007100, 24, "documentation"},  {0xe0000000, 4, "multicast"},
    {0xf0000000, 4, "reserved"},
};

static const char *v4_not_public(uint32_t a)
{
    for (size_t i = 0; i < sizeof v4 / sizeof *v4; i++)
        if ((a ^ v4[i].net) >> (32 - v4[i].bits) == 0)
            return v4[i].what;
    return NULL;
}

/* The first row that fits counts; embeds: at which byte an IPv4 address is in it, which
 * decides then; 0: none is. */
static const struct {
    uint8_t net[16];
    unsigned bits;
    unsigned embeds;
    const char *what;
} v6[] = {
    {{0}, 128, 0, "unspecified"},
    {{[15] = 1}, 128, 0, "loopback"},
    {{[10] = 0xff, [11] = 0xff}, 96, 12, NULL},
    {{[1] = 0x64, [2] = 0xff, [3] = 0x9b}, 96, 12, NULL},
    {{[1] = 0x64, [2] = 0xff, [3] = 0x9b, [5] = 1}, 48, 0, "local NAT64"},
    {{0x20, 0x02}, 16, 2, NULL},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, 0, "documentation"},
    {{0x20, 0x01}, 23, 0, "reserved"}, /* Teredo (2001::/32), ORCHID and the like */
    {{0x3f, 0xff}, 20, 0, "documentation"},
    {{0xfc}, 7, 0, "private"},
    {{0xfe, 0x80}, 10, 0, "link-local"},
    {{0xfe, 0xc0}, 10, 0, "site-local"},
    {{0xff}, 8, 0, "multicast"},
};

static bool has_prefix(const uint8_t a[16], const uint8_t net[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    return memcmp(a, net, whole) == 0 &&
           (rest == 0 || (a[whole] ^ net[whole]) >> (8 - rest) == 0);
}

static const char *v6_not_public(const uint8_t a[16])
{
    for (size_t i = 0; i < sizeof v6 / sizeof *v6; i++) {
        if (!has_prefix(a, v6[i].net, v6[i].bits))
            continue;
        const uint8_t *in = a + v6[i].embeds;
        if (v6[i].what)
            return v6[i].what;
        return v4_not_public((uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 |
                             (uint32_t)in[2] << 8 | in[3]);
    }
    /* Nothing else has been given to anybody yet (RFC 4291 section 2.4). */
    return a[0] >> 5 == 1 ? NULL : "reserved";
}

const char *address_not_public(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        return v4_not_public(ntohl(in.sin_addr.s_addr));
    }
    if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        return v6_not_public(in6.sin6_addr.s6_addr);
    }
    return "no Internet address";
}
