// SPDX-License-Identifier: Apache-2.0
#include "base/failpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORDS_BYTES 256
#define LOOK_AGAIN_MS 50

static bool read_words(const char *path, char action[16], char word[WORDS_BYTES])
{
    char all[WORDS_BYTES + 16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, all, sizeof all - 1);
    close(fd);
    if (n <= 0)
        return false;
    all[n] = '\0';
    word[0] = '\0';
    return sscanf(all, "%15s %255s", action, word) >= 1;
}

/* True when this passage is the one; else there is one less to come. */
static bool count_down(const char *path, const char *action, const char *word)
{
    long left = *word ? strtol(word, NULL, 10) : 1;
    if (left <= 1)
        return unlink(path) == 0;
    FILE *f = fopen(path, "we");
    if (f) {
        (void)fprintf(f, "%s %ld\n", action, left - 1);
        (void)fclose(f);
    }
    return false;
}

static void act(const char *action)
{
    if (strcmp(action, "kill") == 0)
        (void)raise(SIGKILL);
    else if (strcmp(action, "stop") == 0)
        (void)raise(SIGSTOP);
    else if (strcmp(action, "abort") == 0)
        abort();
    else if (strcmp(action, "hang") == 0)
        for (;;)
            pause();
}

void failpoint_pass(const char *name, const char *text)
{
    char path[PATH_MAX], action[16], word[WORDS_BYTES];
    const char *directory = getenv("SIDECAR_FAILPOINTS");
    if (!directory)
        return;
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path || !read_words(path, action, word))
        return;
    if (text ? strcmp(text, word) == 0 : count_down(path, action, word))
        act(action);
}

int64_t failpoint_clock_us(void)
{
    static int64_t looked_ms, wrong_us;
    struct timespec ts;
    char path[PATH_MAX], number[16], rest[WORDS_BYTES];
    const char *directory = getenv("SIDECAR_FAILPOINTS");
    if (!directory)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    if (looked_ms && now_ms - looked_ms < LOOK_AGAIN_MS)
        return wrong_us;
    looked_ms = now_ms;
    int n = snprintf(path, sizeof path, "%s/clock", directory);
    bool there = n > 0 && (size_t)n < sizeof path && read_words(path, number, rest);
    wrong_us = there ? strtoll(number, NULL, 10) * 1000000 : 0;
    return wrong_us;
}
