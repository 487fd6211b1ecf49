// SPDX-License-Identifier: Apache-2.0
#include "component/resume.h"

#include "component/page.h"
#include "component/spool.h"
#include "component/tcp_progress.h"
#include "component/wire.h"

#define OVER UINT64_MAX /* no count of bytes */

void resume_note_queued(struct page_link *p, const struct wire *w)
{
    atomic_store(&p->out_queued, wire_written(w) + wire_queued(w));
}

/* Killed between the two stores, the connection has all that was queued, and that is looked at
 * first. */
void resume_note_drained(struct page_link *p, const struct wire *w)
{
    atomic_store(&p->out_whole, wire_written(w));
    resume_note_no_frames(p);
}

void resume_note_closing(struct page_link *p)
{
    atomic_store(&p->out_queued, OVER);
    atomic_store(&p->out_whole, OVER);
}

void resume_note_frame(struct page_link *p)
{
    atomic_fetch_add(&p->frames_taken, 1);
}

void resume_note_no_frames(struct page_link *p)
{
    atomic_store(&p->frames_done, atomic_load(&p->frames_taken));
}

bool resume_is_possible(const struct spool *s, const struct wire *w)
{
    struct tcp_progress p;
    int fd = wire_plain_fd(w);
    return fd >= 0 && wire_queued(w) == 0 && tcp_progress_get(fd, &p) &&
           p.consumed == spool_streamed(s) && p.written == wire_written(w);
}

/* False when the counts of kernel and spool do not fit together. */
static bool find_overlap(const struct spool *s, const struct tcp_progress *p, size_t *out)
{
    uint64_t streamed = spool_streamed(s);
    *out = 0;
    /* Of a connection that is over, one byte of the count may have been the server's FIN. */
    if (p->reset)
        return p->consumed == streamed || p->consumed == streamed + 1;
    if (p->consumed > streamed || streamed - p->consumed > p->waiting)
        return false;
    *out = (size_t)(streamed - p->consumed);
    return true;
}

bool resume_find(const struct spool *s, struct page_link *p, int fd, struct resume_plan *out)
{
    struct tcp_progress tcp;
    *out = (struct resume_plan){.why_not = NULL};
    if (!spool_resumable(s) || !tcp_progress_get(fd, &tcp) ||
        !find_overlap(s, &tcp, &out->overlap))
        return false;
    out->written = tcp.written;
    if (tcp.written != atomic_load(&p->out_queued) &&
        tcp.written != atomic_load(&p->out_whole))
        out->why_not = "killed in the middle of writing";
    return true;
}

void resume_take_back_frames(struct page_link *p, const struct resume_plan *plan)
{
    if (plan->written != atomic_load(&p->out_queued))
        atomic_store(&p->frames_taken, atomic_load(&p->frames_done));
}
