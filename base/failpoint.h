// SPDX-License-Identifier: Apache-2.0
/*
 * Named places at which a test makes this process die or freeze, to show what is promised
 * there.  They exist in debug and sanitizer builds only; in a release FAILPOINT is nothing.
 *
 * The environment's SIDECAR_FAILPOINTS names a directory.  A file in it with a failpoint's
 * name says what happens there, once, for the file is removed first:
 *     kill 3     SIGKILL at the third passage     stop   SIGSTOP     abort   SIGABRT
 *     hang       never returns
 * At a FAILPOINT_TEXT the second word is a text instead of a number; it happens whenever that
 * is the text at hand, and the file stays.
 *
 * A file "clock" holds a number of seconds by which the wall clock is wrong meanwhile.
 */
#ifndef BASE_FAILPOINT_H
#define BASE_FAILPOINT_H

#include <stdint.h>

#ifdef SIDECAR_FAILPOINTS
#define FAILPOINT(name) failpoint_pass((name), NULL)
#define FAILPOINT_TEXT(name, text) failpoint_pass((name), (text))
#define FAILPOINT_CLOCK_US failpoint_clock_us()
#else
#define FAILPOINT(name) ((void)0)
#define FAILPOINT_TEXT(name, text) ((void)0)
#define FAILPOINT_CLOCK_US 0
#endif

/* text: NULL, or what is compared. */
void failpoint_pass(const char *name, const char *text);
int64_t failpoint_clock_us(void); /* how wrong the clock is; looked up 20 times a second */

#endif
