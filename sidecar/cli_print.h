// SPDX-License-Identifier: Apache-2.0
/* What the commands of the command line show of things that strangers may have written. */
#ifndef SIDECAR_CLI_PRINT_H
#define SIDECAR_CLI_PRINT_H

#include <stddef.h>
#include <stdint.h>

struct cJSON;

/* To standard output, with everything that a terminal might act on as \xHH. */
void cli_print_bytes(const uint8_t *bytes, size_t len);
void cli_print_text(const char *text);

/* On one line; frees it. */
void cli_print_json(struct cJSON *tree);

/* Null for NULL. */
void cli_json_text(struct cJSON *object, const char *name, const char *text);

/* "2026-11-27T15:00:00Z"; cut to seconds.  "-" for 0. */
void cli_print_time(int64_t us);
/* The same with all its digits, null for 0. */
void cli_json_time(struct cJSON *object, const char *name, int64_t us);

#endif
