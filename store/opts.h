// SPDX-License-Identifier: Apache-2.0
/* Settings of the store; owned by the configuration. */
#ifndef STORE_OPTS_H
#define STORE_OPTS_H

#include <stdbool.h>

struct store_opts {
    const char *url;
    unsigned connections; /* in all: two write lanes, the rest read; at least 3 */
    bool migrate;
};

#endif
