// SPDX-License-Identifier: Apache-2.0
#include "component/presence.h"

#include <stdlib.h>
#include <string.h>

#include "base/stanza.h"

enum session_show presence_show(const struct stanza *presence)
{
    static const char *const names[] = {
        [SHOW_CHAT] = "chat", [SHOW_AWAY] = "away", [SHOW_XA] = "xa", [SHOW_DND] = "dnd"};
    const char *text = stanza_child_text(presence, "show", NULL);
    for (size_t i = SHOW_CHAT; text && i <= SHOW_DND; i++)
        if (strcmp(text, names[i]) == 0)
            return (enum session_show)i;
    return SHOW_AVAILABLE;
}

int presence_priority(const struct stanza *presence)
{
    const char *text = stanza_child_text(presence, "priority", NULL);
    long n = text ? strtol(text, NULL, 10) : 0;
    return n < -128 ? -128 : n > 127 ? 127 : (int)n;
}
