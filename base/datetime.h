// SPDX-License-Identifier: Apache-2.0
/* XEP-0082 dates and times, to and from microseconds since 1970 UTC; and HTTP's. */
#ifndef BASE_DATETIME_H
#define BASE_DATETIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATETIME_BYTES 32

/* "2026-03-04T01:02:03.456789Z", any number of fraction digits (cut at microseconds), "Z" or
 * "+hh:mm"; a leap second counts as the next second.  Years 1970 to 9999; false otherwise. */
bool datetime_parse(const char *text, int64_t *us_out);
/* The same for years 0000 to 9999; before 1970 the number is negative. */
bool datetime_parse_any(const char *text, int64_t *us_out);

/* Always UTC with "Z" and six fraction digits. */
void datetime_format(int64_t us, char out[DATETIME_BYTES]);
/* With as many fraction digits as it takes, none for a whole second; years 0001 to 9999. */
void datetime_format_short(int64_t us, char out[DATETIME_BYTES]);

/* RFC 9110 section 5.6.7, the form that is written today: "Sun, 06 Nov 1994 08:49:37 GMT",
 * to seconds since 1970; false for anything else. */
bool datetime_parse_http(const char *text, size_t len, int64_t *s_out);

#endif
