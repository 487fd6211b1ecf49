// SPDX-License-Identifier: Apache-2.0
/* How this dialect writes properties; between the list and the conversation. */
#ifndef ARCHIVE_INBOX_ESL_INT_H
#define ARCHIVE_INBOX_ESL_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/inbox_list.h"
#include "base/datetime.h"

/* "0", or when the muting ends. */
void inbox_esl_mute_text(int64_t until_us, char out[DATETIME_BYTES]);
const char *inbox_esl_box_name(enum inbox_box box);
bool inbox_esl_box_read(const char *text, enum inbox_box *out);

#endif
