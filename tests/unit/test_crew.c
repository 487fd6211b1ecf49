// SPDX-License-Identifier: Apache-2.0
#include "apns/crew.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <pthread.h>

#define JOBS 5000

struct job {
    struct crew_job crew; /* first */
    unsigned n, square;
    bool done;
};

static struct {
    struct event_base *base;
    struct crew *crew;
    struct job jobs[JOBS];
    unsigned done;
    pthread_t loop;
    atomic_uint worked, elsewhere, with_signals;
} t;

static void square(struct crew_job *j)
{
    struct job *job = (struct job *)j;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    t.with_signals += !sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGCHLD);
    t.elsewhere += !pthread_equal(pthread_self(), t.loop);
    job->square = job->n * job->n;
    t.worked++;
}

static void note(struct crew_job *j)
{
    struct job *job = (struct job *)j;
    assert_true(pthread_equal(pthread_self(), t.loop));
    assert_false(job->done);
    assert_int_equal(job->square, job->n * job->n);
    job->done = true;
    if (++t.done == JOBS)
        event_base_loopbreak(t.base);
}

static void give(unsigned n)
{
    t.jobs[n] = (struct job){.crew = {.work = square, .done = note}, .n = n};
    crew_give(t.crew, &t.jobs[n].crew);
}

/* Each gives the next. */
static void note_and_give(struct crew_job *j)
{
    note(j);
    unsigned next = ((struct job *)j)->n + 1;
    if (next == JOBS)
        return;
    t.jobs[next] = (struct job){.crew = {.work = square, .done = note_and_give}, .n = next};
    crew_give(t.crew, &t.jobs[next].crew);
}

static int set_up(void **state)
{
    (void)state;
    t.done = 0;
    t.worked = t.elsewhere = t.with_signals = 0;
    t.loop = pthread_self();
    t.base = event_base_new();
    t.crew = crew_new(t.base, 3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    crew_free(&t.crew);
    event_base_free(t.base);
    return 0;
}

static void all_work_is_done_elsewhere_and_comes_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOBS; i++)
        give(i);
    assert_int_equal(t.done, 0); /* never before crew_give has returned */
    event_base_dispatch(t.base);
    assert_int_equal(t.done, JOBS);
    assert_int_equal(t.worked, JOBS);
    assert_int_equal(t.elsewhere, JOBS);
    assert_int_equal(t.with_signals, 0);
}

static void work_that_is_done_may_bring_more(void **state)
{
    (void)state;
    t.jobs[0] = (struct job){.crew = {.work = square, .done = note_and_give}};
    crew_give(t.crew, &t.jobs[0].crew);
    event_base_dispatch(t.base);
    assert_int_equal(t.done, JOBS);
}

static void at_the_end_nothing_is_done_any_more(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOBS; i++)
        give(i);
    crew_free(&t.crew);
    unsigned worked = t.worked;
    event_base_loop(t.base, EVLOOP_NONBLOCK);
    assert_int_equal(t.done, 0);
    assert_int_equal(t.worked, worked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_work_is_done_elsewhere_and_comes_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(work_that_is_done_may_bring_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(at_the_end_nothing_is_done_any_more, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
