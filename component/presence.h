// SPDX-License-Identifier: Apache-2.0
/* What an available presence says of its session (RFC 6121 section 4.7.2). */
#ifndef COMPONENT_PRESENCE_H
#define COMPONENT_PRESENCE_H

#include "component/sessions.h"

struct stanza;

enum session_show presence_show(const struct stanza *presence);
int presence_priority(const struct stanza *presence); /* -128 to 127, 0 when it is not told */

#endif
