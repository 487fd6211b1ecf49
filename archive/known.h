// SPDX-License-Identifier: Apache-2.0
/*
 * Accounts that are known to have their row, so that not every batch has to look: a table of
 * fixed size that forgets.  Not to know costs one more look, nothing else.
 */
#ifndef ARCHIVE_KNOWN_H
#define ARCHIVE_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/event.h"

struct known;

struct known *known_new(void);
void known_free(struct known **k);
/* proven: known as an account that has shown something of its own. */
bool known_has(const struct known *k, const uint8_t owner[OWNER_BYTES], bool proven);
void known_put(struct known *k, const uint8_t owner[OWNER_BYTES], bool proven);

#endif
