// SPDX-License-Identifier: Apache-2.0
/* One line of text in a file of a spool's directory. */
#ifndef COMPONENT_SMALL_FILE_H
#define COMPONENT_SMALL_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* The file is either whole or as it was, also after a power cut.  False: see errno. */
bool small_file_write(int dirfd, const char *name, const char *text);
/* The first line, without its end; false when there is no such file. */
bool small_file_read(int dirfd, const char *name, char *out, size_t size);

#endif
