// SPDX-License-Identifier: Apache-2.0
#include "component/tcp_progress.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define TRIES 1000

/* The kernel's enum, which linux/tcp.h does not have. */
enum { CLOSED = 7, CLOSE_WAIT = 8, LAST_ACK = 9, CLOSING = 11 };

static bool get_info(int fd, struct tcp_info *info)
{
    socklen_t len = sizeof *info;
    *info = (struct tcp_info){.tcpi_state = 0};
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0 &&
           len >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t);
}

static bool same(const struct tcp_info *a, const struct tcp_info *b)
{
    return a->tcpi_state == b->tcpi_state &&
           a->tcpi_bytes_received == b->tcpi_bytes_received &&
           a->tcpi_bytes_acked == b->tcpi_bytes_acked;
}

/* The server's FIN counts as a byte received, our SYN as one acknowledged; the queues count
 * neither. */
static bool compute(const struct tcp_info *info, int in, int out, struct tcp_progress *p)
{
    bool fin = info->tcpi_state == CLOSE_WAIT || info->tcpi_state == LAST_ACK ||
               info->tcpi_state == CLOSING;
    uint64_t received = info->tcpi_bytes_received, acked = info->tcpi_bytes_acked;
    if (in < 0 || out < 0 || acked == 0 || received < (uint64_t)in + (fin ? 1 : 0))
        return false;
    p->waiting = (uint64_t)in;
    p->consumed = received - p->waiting - (fin ? 1 : 0);
    p->written = acked - 1 + (uint64_t)out;
    p->reset = info->tcpi_state == CLOSED;
    return true;
}

bool tcp_progress_get(int fd, struct tcp_progress *out)
{
    /* Four questions, and the server may send in between: they belong together when nothing
     * has moved from the first to the last. */
    for (int try = 0; try < TRIES; try++) {
        struct tcp_info before, after;
        int in = -1, queued = -1;
        if (!get_info(fd, &before) || ioctl(fd, SIOCINQ, &in) != 0 ||
            ioctl(fd, SIOCOUTQ, &queued) != 0 || !get_info(fd, &after))
            return false;
        if (same(&before, &after))
            return compute(&after, in, queued, out);
    }
    return false;
}
