// SPDX-License-Identifier: Apache-2.0
#include "apns/crew.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct list {
    struct crew_job *head, *tail;
};

struct crew {
    pthread_mutex_t lock; /* over both lists and ending */
    pthread_cond_t more;
    struct list wanted, finished;
    bool ending;
    int wake; /* an eventfd: something is finished */
    struct event *woken;
    unsigned n;
    pthread_t threads[];
};

static void add(struct list *l, struct crew_job *j)
{
    j->next = NULL;
    if (l->tail)
        l->tail->next = j;
    else
        l->head = j;
    l->tail = j;
}

static struct crew_job *take(struct list *l)
{
    struct crew_job *j = l->head;
    if (j && !(l->head = j->next))
        l->tail = NULL;
    return j;
}

static void lock(struct crew *c)
{
    if (pthread_mutex_lock(&c->lock) != 0)
        abort();
}

static void unlock(struct crew *c)
{
    if (pthread_mutex_unlock(&c->lock) != 0)
        abort();
}

/* The counter of an eventfd cannot be full: it would have to be read first. */
static void wake_loop(struct crew *c)
{
    const uint64_t one = 1;
    while (write(c->wake, &one, sizeof one) < 0)
        if (errno != EINTR && errno != EAGAIN)
            abort();
}

static void *run(void *ctx)
{
    struct crew *c = ctx;
    lock(c);
    while (!c->ending) {
        struct crew_job *j = take(&c->wanted);
        if (!j) {
            (void)pthread_cond_wait(&c->more, &c->lock);
            continue;
        }
        unlock(c);
        j->work(j);
        lock(c);
        bool first = !c->finished.head;
        add(&c->finished, j);
        if (first)
            wake_loop(c);
    }
    unlock(c);
    return NULL;
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct crew *c = ctx;
    uint64_t times;
    (void)what;
    if (read(fd, &times, sizeof times) < 0 && errno != EAGAIN && errno != EINTR)
        abort();
    lock(c);
    struct list finished = c->finished;
    c->finished = (struct list){0};
    unlock(c);
    for (struct crew_job *j; (j = take(&finished));)
        j->done(j);
}

struct crew *crew_new(struct event_base *base, unsigned threads)
{
    struct crew *c = calloc(1, sizeof *c + threads * sizeof *c->threads);
    sigset_t all, before;
    if (!c)
        abort();
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->woken = event_new(base, c->wake, EV_READ | EV_PERSIST, on_wake, c);
    if (c->wake < 0 || !c->woken || event_add(c->woken, NULL) != 0 ||
        pthread_mutex_init(&c->lock, NULL) != 0 || pthread_cond_init(&c->more, NULL) != 0)
        abort();
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; c->n < threads; c->n++)
        if (pthread_create(&c->threads[c->n], NULL, run, c) != 0)
            abort();
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return c;
}

void crew_free(struct crew **cp)
{
    struct crew *c = *cp;
    if (!c)
        return;
    lock(c);
    c->ending = true;
    (void)pthread_cond_broadcast(&c->more);
    unlock(c);
    for (unsigned i = 0; i < c->n; i++)
        (void)pthread_join(c->threads[i], NULL);
    event_free(c->woken);
    close(c->wake);
    (void)pthread_cond_destroy(&c->more);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    *cp = NULL;
}

void crew_give(struct crew *c, struct crew_job *j)
{
    lock(c);
    add(&c->wanted, j);
    (void)pthread_cond_signal(&c->more);
    unlock(c);
}
