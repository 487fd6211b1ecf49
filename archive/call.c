// SPDX-License-Identifier: Apache-2.0
#include "archive/call.h"

#include <stddef.h>
#include <string.h>

#include "archive/ident.h"
#include "archive/rows.h"
#include "base/stanza.h"

#define NS_RTP "urn:xmpp:jingle:apps:rtp:1"

/* Its versions 0.4 and 0.5 had the second one. */
static const char *const namespaces[] = {"urn:xmpp:jingle-message:0",
                                         "urn:xmpp:jingle-message:1"};
/* "accept" is what a device told its own account's others before version 0.4. */
static const char *const endings[] = {"retract", "accept", "proceed", "reject", "finish"};

static const char *session_of(const struct stanza *el)
{
    const char *id = stanza_get(el, "id");
    size_t len = id ? strlen(id) : 0;
    return len > 0 && len <= CALL_SESSION_MAX ? id : NULL;
}

/* NULL when there is nothing to be heard or seen. */
static const char *media_of(const struct stanza *propose)
{
    static const char *const names[] = {NULL, "audio", "video", "audio,video"};
    unsigned found = 0;
    const struct stanza *d = stanza_child(propose, "description", NS_RTP);
    for (; d; d = stanza_sibling(d, "description", NS_RTP)) {
        const char *media = stanza_get(d, "media");
        found |= !media                        ? 0u
                 : strcmp(media, "audio") == 0 ? 1u
                 : strcmp(media, "video") == 0 ? 2u
                                               : 0u;
    }
    return names[found];
}

void call_read(const struct stanza *message, struct call_said *out)
{
    *out = (struct call_said){.word = CALL_NONE};
    for (size_t n = 0; n < sizeof namespaces / sizeof *namespaces; n++) {
        const struct stanza *propose = stanza_child(message, "propose", namespaces[n]);
        for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
            const struct stanza *el = stanza_child(message, endings[i], namespaces[n]);
            if (el && session_of(el))
                *out = (struct call_said){
                    .word = CALL_OVER, .session = session_of(el), .ending = endings[i]};
        }
        if (out->word == CALL_NONE && propose && session_of(propose) && media_of(propose))
            *out = (struct call_said){.word = CALL_PROPOSED,
                                      .session = session_of(propose),
                                      .media = media_of(propose)};
    }
}

static const char *how_it_ended(const char *ending, bool own)
{
    if (!own)
        return strcmp(ending, "retract") == 0 ? "the caller took it back"
                                              : "the caller ended it";
    if (strcmp(ending, "proceed") == 0 || strcmp(ending, "accept") == 0)
        return "the account has answered it";
    return strcmp(ending, "reject") == 0 ? "the account has rejected it"
                                         : "the account ended it";
}

/* Of its own account an owner's word ends a call, whoever called; of others only the caller's.
 */
static size_t add_call_over(struct ident *ident, const struct call_said *said,
                            const char *owner, const char *from, struct write *out)
{
    *out = (struct write){.kind = WRITE_CALL, .owner_jid = owner};
    ident_owner(ident, owner, out->owner);
    out->call =
        (struct call_change){.peer = owner == from ? 0 : ident_peer(ident, out->owner, from),
                             .session = said->session,
                             .over = how_it_ended(said->ending, owner == from)};
    return 1;
}

/* One that is delivered late is not told: nobody waits any more. */
static size_t add_call(struct ident *ident, const struct call_said *said,
                       const struct event *ev, struct write *out)
{
    if (ev->delayed_us && ev->received_us - ev->delayed_us > CALL_LIFE_MS * INT64_C(1000))
        return 0;
    *out = (struct write){.kind = WRITE_CALL, .owner_jid = ev->to};
    ident_owner(ident, ev->to, out->owner);
    uint64_t peer = ident_peer(ident, out->owner, ev->from);
    out->call = (struct call_change){
        .begins = true,
        .peer = peer,
        .hash = ident_ref(ident, peer, false, said->session),
        .message = ev->id && *ev->id ? ident_ref(ident, peer, false, ev->id) : 0,
        .jid = ev->from,
        .session = said->session,
        .media = said->media,
    };
    return 1;
}

size_t call_writes(struct ident *ident, const struct event *ev, bool mine, bool theirs,
                   struct write *out)
{
    struct call_said said;
    size_t n = 0;
    const char *type = stanza_get(ev->stanza, "type");
    call_read(ev->stanza, &said);
    if (type && (strcmp(type, "error") == 0 || strcmp(type, "groupchat") == 0))
        return 0;
    if (said.word == CALL_OVER && mine)
        n += add_call_over(ident, &said, ev->from, ev->from, out);
    if (said.word == CALL_OVER && theirs)
        n += add_call_over(ident, &said, ev->to, ev->from, out + n);
    if (said.word == CALL_PROPOSED && theirs)
        n += add_call(ident, &said, ev, out);
    return n;
}
