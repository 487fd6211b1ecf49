// SPDX-License-Identifier: Apache-2.0
#include "apns/sender.h"

#include <stdint.h>
#include <string.h>

#include "base/fold.h"
#include "base/stanza.h"
#include "base/utf8.h"
#include "base/xml_parse.h"

#define NS_NICK "http://jabber.org/protocol/nick"
#define ELLIPSIS "\xE2\x80\xA6"

static bool is_space(uint32_t c)
{
    return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x2800 || c == 0x3000;
}

/* What nobody sees, or what turns around how the rest is seen.  The joiners U+200C and U+200D
 * are not of these: Persian and emoji are written with them. */
static bool is_hidden(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || c == 0x115F ||
           c == 0x1160 || c == 0x180E || c == 0x200B || c == 0x200E || c == 0x200F ||
           (c >= 0x202A && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0x3164 ||
           c == 0xFEFF || c == 0xFFA0 || (c >= 0xFFF9 && c <= 0xFFFB) ||
           (c >= 0xE0000 && c <= 0xE007F);
}

bool sender_clean(const char *text, char out[SENDER_NAME_BYTES])
{
    size_t len = strlen(text), used = 0, chars = 0;
    bool gap = false;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_char(text + i, len - i);
        uint32_t c = n ? utf8_code(text + i, n) : 0;
        gap |= is_space(c);
        if (n == 0) {
            n = 1;
            continue;
        }
        if (is_space(c) || is_hidden(c))
            continue;
        gap &= used > 0;
        if (chars + gap >= SENDER_CHARS_MAX) {
            memcpy(out + used, ELLIPSIS, sizeof ELLIPSIS - 1);
            used += sizeof ELLIPSIS - 1;
            break;
        }
        if (gap)
            out[used++] = ' ';
        memcpy(out + used, text + i, n);
        used += n;
        chars += 1u + gap;
        gap = false;
    }
    out[used] = '\0';
    return used > 0;
}

/* The same characters to whoever reads them. */
static bool looks_like(struct fold *f, const struct fold *name, const char *text, size_t len)
{
    fold_text(f, text, len);
    return f->n == name->n && memcmp(f->chars, name->chars, f->n * sizeof f->chars[0]) == 0;
}

/* A sender may not call itself like an address, nor like somebody whom the account knows. */
static bool is_taken(const char *nick, const char *contacts)
{
    struct fold name, other;
    bool taken = false;
    fold_init(&name);
    fold_init(&other);
    fold_text(&name, nick, strlen(nick));
    taken = name.n == 0;
    for (size_t i = 0; i < name.n; i++)
        taken |= name.chars[i] == '@';
    for (const char *at = contacts; at && *at && !taken;) {
        size_t len = strcspn(at, "\n");
        taken = looks_like(&other, &name, at, len);
        at += len + (at[len] == '\n');
    }
    fold_deinit(&name);
    fold_deinit(&other);
    return taken;
}

static bool take_nick(const struct sender *s, char out[SENDER_NAME_BYTES])
{
    struct err e;
    struct stanza *m = s->message && s->message_len > 0
                           ? xml_parse_element(s->message, s->message_len, &e)
                           : NULL;
    const struct stanza *nick = m ? stanza_child(m, "nick", NS_NICK) : NULL;
    bool good = nick && sender_clean(stanza_text(nick), out) && !is_taken(out, s->contacts);
    if (m)
        stanza_free(&m);
    return good;
}

/* The part of the address that a person would call the name. */
static const char *local_part(const char *jid, char out[SENDER_NAME_BYTES])
{
    size_t len = strcspn(jid, "@");
    if (jid[len] == '\0' || len >= SENDER_NAME_BYTES)
        return jid;
    memcpy(out, jid, len);
    out[len] = '\0';
    return out;
}

const char *sender_name(const struct sender *s, char out[SENDER_NAME_BYTES])
{
    if (s->contact && sender_clean(s->contact, out))
        return out;
    return take_nick(s, out) ? out : local_part(s->jid, out);
}
