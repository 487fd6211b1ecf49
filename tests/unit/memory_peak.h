// SPDX-License-Identifier: Apache-2.0
/* How much memory is in use at once, where the address sanitizer counts it. */
#ifndef TESTS_UNIT_MEMORY_PEAK_H
#define TESTS_UNIT_MEMORY_PEAK_H

#include <stddef.h>

#define PEAK_LOOKS_FROM 65536 /* smaller pieces are counted with the next large one */

int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *))
    __attribute__((weak));
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t peak_begin_bytes, peak_bytes;

static inline void peak_on_malloc(const volatile void *at, size_t size)
{
    (void)at;
    if (size < PEAK_LOOKS_FROM)
        return;
    size_t now = __sanitizer_get_current_allocated_bytes();
    peak_bytes = now > peak_bytes ? now : peak_bytes;
}

static inline void peak_on_free(const volatile void *at)
{
    (void)at;
}

static inline void peak_begin(void)
{
    static int installed;
    if (!__sanitizer_install_malloc_and_free_hooks)
        return;
    if (!installed++)
        (void)__sanitizer_install_malloc_and_free_hooks(peak_on_malloc, peak_on_free);
    peak_begin_bytes = peak_bytes = __sanitizer_get_current_allocated_bytes();
}

/* More than there was when it began; 0 where nobody counts. */
static inline size_t peak_grown(void)
{
    return peak_bytes - peak_begin_bytes;
}

#endif
