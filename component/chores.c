// SPDX-License-Identifier: Apache-2.0
#include "component/chores.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum chore_kind { CHORE_SYNC, CHORE_SYNC_AND_CLOSE, CHORE_SYNC_NAMES, CHORE_DELETE };

struct chore {
    struct chore *next;
    enum chore_kind kind;
    int fd;
    uint64_t base;
};

struct chores {
    int dirfd;
    pthread_t thread;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t work;  /* there is more, or no more */
    struct chore *first, **end;
    bool busy;
    bool over;
    int failure;
};

/* A file that cannot be deleted is found by the next opening of the spool. */
static int do_chore(const struct chores *c, const struct chore *k)
{
    char name[SEGMENT_NAME_BYTES];
    int error = 0;
    switch (k->kind) {
    case CHORE_SYNC:
    case CHORE_SYNC_AND_CLOSE:
        error = fdatasync(k->fd) == 0 ? 0 : errno;
        if (k->kind == CHORE_SYNC_AND_CLOSE)
            close(k->fd);
        break;
    case CHORE_SYNC_NAMES:
        error = fsync(c->dirfd) == 0 ? 0 : errno;
        break;
    case CHORE_DELETE:
        segment_name(k->base, name);
        (void)unlinkat(c->dirfd, name, 0);
        break;
    }
    return error;
}

static void *run(void *arg)
{
    struct chores *c = arg;
    pthread_mutex_lock(&c->lock);
    while (c->first || !c->over) {
        struct chore *k = c->first;
        if (!k) {
            pthread_cond_wait(&c->work, &c->lock);
            continue;
        }
        c->first = k->next;
        if (!c->first)
            c->end = &c->first;
        c->busy = true;
        pthread_mutex_unlock(&c->lock);
        int error = do_chore(c, k);
        free(k);
        pthread_mutex_lock(&c->lock);
        c->busy = false;
        if (!c->failure)
            c->failure = error;
        if (!c->first)
            pthread_cond_broadcast(&c->work);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct chores *chores_new(int dirfd)
{
    struct chores *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->dirfd = dirfd;
    c->end = &c->first;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    /* Signals are the loop's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&c->thread, NULL, run, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        abort();
    return c;
}

void chores_free(struct chores **cp)
{
    struct chores *c = *cp;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->over = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *cp = NULL;
}

static void add(struct chores *c, struct chore chore)
{
    struct chore *k = malloc(sizeof *k);
    if (!k)
        abort();
    *k = chore;
    pthread_mutex_lock(&c->lock);
    *c->end = k;
    c->end = &k->next;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
}

void chores_sync(struct chores *c, int fd)
{
    add(c, (struct chore){.kind = CHORE_SYNC, .fd = fd});
}

void chores_sync_and_close(struct chores *c, int fd)
{
    add(c, (struct chore){.kind = CHORE_SYNC_AND_CLOSE, .fd = fd});
}

void chores_sync_names(struct chores *c)
{
    add(c, (struct chore){.kind = CHORE_SYNC_NAMES});
}

void chores_delete(struct chores *c, uint64_t base)
{
    add(c, (struct chore){.kind = CHORE_DELETE, .base = base});
}

static bool is_idle(const struct chores *c)
{
    return !c->first && !c->busy;
}

void chores_wait(struct chores *c)
{
    pthread_mutex_lock(&c->lock);
    while (!is_idle(c))
        pthread_cond_wait(&c->work, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

bool chores_idle(struct chores *c)
{
    pthread_mutex_lock(&c->lock);
    bool idle = is_idle(c);
    pthread_mutex_unlock(&c->lock);
    return idle;
}

int chores_failure(struct chores *c)
{
    pthread_mutex_lock(&c->lock);
    int error = c->failure;
    c->failure = 0;
    pthread_mutex_unlock(&c->lock);
    return error;
}
