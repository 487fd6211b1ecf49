// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypt.h"

#define ID_PREFIX "rr-"

void measure_init(struct measure *m, unsigned seconds, unsigned window_s)
{
    memset(m, 0, sizeof *m);
    m->window_us = (int64_t)window_s * 1000000;
    m->windows_n = (seconds + window_s - 1) / window_s;
    m->windows = calloc(m->windows_n, sizeof *m->windows);
    if (!m->windows)
        abort();
}

void measure_deinit(struct measure *m)
{
    if (m->log)
        fclose(m->log);
    free(m->windows);
    free(m->marks);
}

/* What is written a little after the end belongs to the last window. */
static struct measure_window *window_of(struct measure *m, int64_t at_us)
{
    size_t i = at_us > m->start_us ? (size_t)((at_us - m->start_us) / m->window_us) : 0;
    return &m->windows[i < m->windows_n ? i : m->windows_n - 1];
}

static void make_room(struct measure *m)
{
    if (m->n < m->cap)
        return;
    if (m->first > m->n / 2) {
        memmove(m->marks, m->marks + m->first, (m->n - m->first) * sizeof *m->marks);
        m->n -= m->first;
        m->written -= m->first;
        m->first = 0;
        return;
    }
    m->cap = m->cap ? 2 * m->cap : 4096;
    m->marks = realloc(m->marks, m->cap * sizeof *m->marks);
    if (!m->marks)
        abort();
}

void measure_message(struct measure *m, uint64_t end, uint32_t from, uint32_t to)
{
    make_room(m);
    m->marks[m->n++] = (struct mark){.end = end, .from = from, .to = to};
}

void measure_question(struct measure *m, uint64_t end, uint64_t question)
{
    make_room(m);
    m->marks[m->n++] = (struct mark){.end = end, .question = question};
}

static struct question *slot_of(struct measure *m, uint64_t number)
{
    return &m->questions[number % MEASURE_QUESTIONS];
}

uint64_t measure_ask(struct measure *m, enum traffic_question what, char id[MEASURE_ID_BYTES])
{
    uint64_t number = ++m->asked;
    struct question *q = slot_of(m, number);
    if (q->number)
        m->unanswered++;
    else
        m->open++;
    *q = (struct question){.number = number, .what = what};
    snprintf(id, MEASURE_ID_BYTES, ID_PREFIX "%" PRIu64 "-%" PRIu64, number,
             crypt_random_u64() % 1000000000);
    return number;
}

void measure_written(struct measure *m, uint64_t bytes, int64_t now_us)
{
    for (; m->written < m->n && m->marks[m->written].end <= bytes; m->written++) {
        struct mark *mark = &m->marks[m->written];
        mark->written_us = now_us;
        if (m->log && !mark->question)
            fprintf(m->log, "%" PRId64 " %" PRIu32 " %" PRIu32 "\n", now_us, mark->from,
                    mark->to);
        if (mark->question && slot_of(m, mark->question)->number == mark->question)
            slot_of(m, mark->question)->written_us = now_us;
    }
}

void measure_committed(struct measure *m, uint64_t bytes, int64_t now_us)
{
    for (; m->first < m->written && m->marks[m->first].end <= bytes; m->first++) {
        const struct mark *mark = &m->marks[m->first];
        if (mark->question)
            continue;
        histogram_add(&m->commit, now_us - mark->written_us);
        histogram_add(&window_of(m, mark->written_us)->commit, now_us - mark->written_us);
    }
}

void measure_behind(struct measure *m, uint64_t spool_bytes, int64_t now_us)
{
    struct measure_window *w = window_of(m, now_us);
    if (spool_bytes > m->behind_max)
        m->behind_max = spool_bytes;
    if (spool_bytes > w->behind_max)
        w->behind_max = spool_bytes;
}

bool measure_answered(struct measure *m, const char *id, bool error, int64_t now_us)
{
    size_t len = strlen(ID_PREFIX);
    uint64_t number = strncmp(id, ID_PREFIX, len) == 0 ? strtoull(id + len, NULL, 10) : 0;
    struct question *q = slot_of(m, number);
    if (number == 0 || q->number != number)
        return false;
    if (error)
        m->errors++;
    else
        histogram_add(&m->answers[q->what], now_us - q->written_us);
    q->number = 0;
    m->open--;
    return true;
}

uint64_t measure_uncommitted(const struct measure *m)
{
    uint64_t n = 0;
    for (size_t i = m->first; i < m->n; i++)
        n += m->marks[i].question == 0;
    return n;
}
