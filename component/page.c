// SPDX-License-Identifier: Apache-2.0
#include "component/page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_MAGIC 0x58535047
#define PAGE_VERSION 2
#define READ_TRIES 100

static enum err_kind page_error(const char *path, struct err *e)
{
    return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
}

static struct page *map(int fd, int prot)
{
    void *at = mmap(NULL, sizeof(struct page), prot, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

#define CARRY(field) atomic_store(&to->field, atomic_load(&from->field))

static void carry_link(struct page_link *to, const struct page_link *from)
{
    CARRY(epoch);
    CARRY(connected_us);
    CARRY(connects);
    CARRY(disconnects);
    CARRY(gaps);
    CARRY(gap_from_us);
    CARRY(gap_to_us);
    CARRY(bytes_read);
    CARRY(bytes_written);
    CARRY(frames_written);
    CARRY(frames_dropped);
    CARRY(out_queued);
    CARRY(out_whole);
    CARRY(frames_taken);
    CARRY(frames_done);
    CARRY(spool_end);
    CARRY(live_pos);
    CARRY(archive_pos);
    CARRY(offered_pos);
}

static void carry_iq(struct page_iq *to, const struct page_iq *from)
{
    CARRY(end);
    CARRY(answer);
    CARRY(opened_us);
    CARRY(spool);
    CARRY(begin);
}

/* A stanza that has killed two workers is as deadly after the link's death. */
static void carry_poison(struct page_poison *to, const struct page_poison *from)
{
    struct place place;
    char why[PAGE_TEXT_BYTES];
    if (!page_place_get(&from->place, &place))
        return;
    page_text_get(&from->why, why);
    page_text_set(&to->why, why);
    CARRY(deaths);
    page_place_set(&to->place, &place);
}

static void carry_over(struct page *to, const struct page *from)
{
    if (!from || from->links_n != to->links_n)
        return;
    for (unsigned i = 0; i < to->links_n; i++)
        carry_link(&to->links[i], &from->links[i]);
    for (unsigned i = 0; i < PAGE_IQS_MAX; i++)
        carry_iq(&to->iqs[i], &from->iqs[i]);
    for (unsigned i = 0; i < PAGE_POISON_MAX; i++)
        carry_poison(&to->poison[i], &from->poison[i]);
}

enum err_kind page_create(const char *path, unsigned links_n, struct page **out, struct err *e)
{
    return page_create_from(path, links_n, NULL, out, e);
}

enum err_kind page_create_from(const char *path, unsigned links_n, const struct page *before,
                               struct page **out, struct err *e)
{
    char temp[PATH_MAX];
    *out = NULL;
    if (links_n > PAGE_LINKS_MAX)
        return err_set(e, ERR_CONFIG, "more than %d hosts", PAGE_LINKS_MAX);
    snprintf(temp, sizeof temp, "%s.new", path);
    unlink(temp);
    int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return page_error(temp, e);
    /* Without blocks of its own, a write to the page would be a SIGBUS on a full disk. */
    int rc = posix_fallocate(fd, 0, sizeof(struct page));
    struct page *p = rc == 0 ? map(fd, PROT_READ | PROT_WRITE) : NULL;
    close(fd);
    if (!p) {
        errno = rc ? rc : errno;
        return page_error(temp, e);
    }
    p->magic = PAGE_MAGIC;
    p->version = PAGE_VERSION;
    p->size = sizeof *p;
    p->links_n = links_n;
    carry_over(p, before);
    if (rename(temp, path) != 0) {
        page_error(path, e);
        munmap(p, sizeof *p);
        return ERR_CONFIG;
    }
    *out = p;
    return ERR_NONE;
}

enum err_kind page_open(const char *path, bool writable, struct page **out, struct err *e)
{
    struct stat st;
    *out = NULL;
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return page_error(path, e);
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < sizeof(struct page)) {
        close(fd);
        return err_set(e, ERR_CONFIG, "%s: of another version", path);
    }
    struct page *p = map(fd, writable ? PROT_READ | PROT_WRITE : PROT_READ);
    close(fd);
    if (!p)
        return page_error(path, e);
    if (p->magic != PAGE_MAGIC || p->version != PAGE_VERSION || p->size != sizeof *p ||
        p->links_n > PAGE_LINKS_MAX) {
        munmap(p, sizeof *p);
        return err_set(e, ERR_CONFIG, "%s: of another version", path);
    }
    *out = p;
    return ERR_NONE;
}

void page_close(struct page **p)
{
    if (*p)
        munmap(*p, sizeof **p);
    *p = NULL;
}

/* A sequence lock with one writer.  A writer that died in the middle leaves the version odd;
 * the next one goes on from there. */
void page_text_set(struct page_text *t, const char *text)
{
    uint64_t words[PAGE_TEXT_WORDS] = {0};
    size_t len = strlen(text);
    memcpy(words, text, len < PAGE_TEXT_BYTES ? len : PAGE_TEXT_BYTES - 1);
    unsigned version = atomic_load_explicit(&t->version, memory_order_relaxed) | 1;
    atomic_store_explicit(&t->version, version, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < PAGE_TEXT_WORDS; i++)
        atomic_store_explicit(&t->words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&t->version, version + 1, memory_order_release);
}

void page_text_get(const struct page_text *t, char out[PAGE_TEXT_BYTES])
{
    uint64_t words[PAGE_TEXT_WORDS];
    for (int try = 0; try < READ_TRIES; try++) {
        unsigned before = atomic_load_explicit(&t->version, memory_order_acquire);
        for (size_t i = 0; i < PAGE_TEXT_WORDS; i++)
            words[i] = atomic_load_explicit(&t->words[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        unsigned after = atomic_load_explicit(&t->version, memory_order_relaxed);
        if (before == after && before % 2 == 0)
            break;
    }
    memcpy(out, words, PAGE_TEXT_BYTES);
    out[PAGE_TEXT_BYTES - 1] = '\0';
}

void page_place_set(struct page_place *p, const struct place *place)
{
    /* Who dies between two of these leaves no place rather than a wrong one. */
    atomic_store_explicit(&p->spool, 0, memory_order_release);
    if (!place)
        return;
    atomic_store_explicit(&p->begin, place->begin, memory_order_release);
    atomic_store_explicit(&p->end, place->end, memory_order_release);
    atomic_store_explicit(&p->spool, place->spool + 1, memory_order_release);
}

bool page_place_get(const struct page_place *p, struct place *out)
{
    unsigned spool = atomic_load_explicit(&p->spool, memory_order_acquire);
    *out = (struct place){.begin = atomic_load_explicit(&p->begin, memory_order_acquire),
                          .end = atomic_load_explicit(&p->end, memory_order_acquire)};
    out->spool = spool ? spool - 1 : 0;
    return spool != 0 && atomic_load_explicit(&p->spool, memory_order_acquire) == spool;
}

int page_iq_open(struct page *p, const struct place *place, int64_t now_us)
{
    for (int i = 0; i < PAGE_IQS_MAX; i++) {
        struct page_iq *iq = &p->iqs[i];
        if (atomic_load_explicit(&iq->begin, memory_order_relaxed) != 0)
            continue;
        atomic_store_explicit(&iq->spool, place->spool, memory_order_relaxed);
        atomic_store_explicit(&iq->end, place->end, memory_order_relaxed);
        atomic_store_explicit(&iq->answer, 0, memory_order_relaxed);
        atomic_store_explicit(&iq->opened_us, now_us, memory_order_relaxed);
        atomic_store_explicit(&iq->begin, place->begin + 1, memory_order_release);
        return i;
    }
    return -1;
}

void page_iq_answered(struct page *p, int slot, uint64_t frame)
{
    if (slot >= 0 && slot < PAGE_IQS_MAX)
        atomic_store_explicit(&p->iqs[slot].answer, frame, memory_order_release);
}

uint64_t page_iq_answer(const struct page *p, int slot)
{
    return slot >= 0 && slot < PAGE_IQS_MAX ? atomic_load(&p->iqs[slot].answer) : 0;
}

void page_forget_link(struct page *p, unsigned link)
{
    static const struct page_link none;
    carry_link(&p->links[link], &none);
    for (unsigned i = 0; i < PAGE_IQS_MAX; i++)
        if (atomic_load(&p->iqs[i].spool) == link)
            page_iq_done(p, (int)i);
    for (unsigned i = 0; i < PAGE_POISON_MAX; i++) {
        struct place place;
        if (page_place_get(&p->poison[i].place, &place) && place.spool == link)
            page_place_set(&p->poison[i].place, NULL);
    }
}

void page_iq_done(struct page *p, int slot)
{
    if (slot >= 0 && slot < PAGE_IQS_MAX)
        atomic_store_explicit(&p->iqs[slot].begin, 0, memory_order_release);
}

bool page_iq_each(const struct page *p, int *slot, struct place *place_out,
                  int64_t *opened_us_out)
{
    while (*slot < PAGE_IQS_MAX) {
        const struct page_iq *iq = &p->iqs[(*slot)++];
        uint64_t begin = atomic_load_explicit(&iq->begin, memory_order_acquire);
        if (begin == 0)
            continue;
        *place_out =
            (struct place){.spool = atomic_load_explicit(&iq->spool, memory_order_relaxed),
                           .begin = begin - 1,
                           .end = atomic_load_explicit(&iq->end, memory_order_relaxed)};
        *opened_us_out = atomic_load_explicit(&iq->opened_us, memory_order_relaxed);
        return true;
    }
    return false;
}

const char *link_state_name(enum link_state state)
{
    switch (state) {
    case LINK_STOPPED:
        return "stopped";
    case LINK_CONNECTING:
        return "connecting";
    case LINK_HANDSHAKING:
        return "handshaking";
    case LINK_UP:
        return "up";
    case LINK_CLOSING:
        return "closing";
    case LINK_BACKOFF:
        return "backoff";
    case LINK_FULL:
        return "full";
    }
    return "?";
}
