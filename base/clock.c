// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <stdbool.h>
#include <time.h>

#include "base/failpoint.h"

static struct {
    bool on;
    int64_t mono_ms;
    int64_t real_us;
} fake;

int64_t clock_mono_ms(void)
{
    if (fake.on)
        return fake.mono_ms;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_real_us(void)
{
    if (fake.on)
        return fake.real_us;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 + FAILPOINT_CLOCK_US;
}

void clock_fake(int64_t mono_ms, int64_t real_us)
{
    fake.on = true;
    fake.mono_ms = mono_ms;
    fake.real_us = real_us;
}

void clock_fake_off(void)
{
    fake.on = false;
}
