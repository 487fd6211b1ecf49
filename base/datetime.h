// SPDX-License-Identifier: Apache-2.0
/* XEP-0082 dates and times, to and from microseconds since 1970 UTC. */
#ifndef BASE_DATETIME_H
#define BASE_DATETIME_H

#include <stdbool.h>
#include <stdint.h>

#define DATETIME_BYTES 32

/* "2026-03-04T01:02:03.456789Z", any number of fraction digits (cut at microseconds), "Z" or
 * "+hh:mm"; a leap second counts as the next second.  Years 1970 to 9999; false otherwise. */
bool datetime_parse(const char *text, int64_t *us_out);

/* Always UTC with "Z" and six fraction digits. */
void datetime_format(int64_t us, char out[DATETIME_BYTES]);

#endif
