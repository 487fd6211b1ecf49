// SPDX-License-Identifier: Apache-2.0
#include "apns/notification.h"

#include <stdlib.h>
#include <string.h>

#include "base/form.h"
#include "base/stanza.h"

#define NS_PUSH "urn:xmpp:push:0"
#define NS_ENCRYPTED "tigase:push:encrypt:0"
#define NS_JINGLE "tigase:push:jingle:0"
#define NS_PRIORITY "tigase:push:priority:0"
#define COUNT_MAX 99999

/* What servers write where they may not, or cannot, tell the text. */
static const struct placeholder {
    const char *text;
    bool encrypted;
} placeholders[] = {
    {"(encrypted)", true},                                  /* ejabberd */
    {"New secure message. Open to see the message.", true}, /* Tigase */
    {"New message", false},                                 /* ejabberd, unless told another */
    {"New Message!", false},                                /* Prosody */
    {"New Message", false},                                 /* Openfire */
};

bool notification_is_placeholder(const char *body, bool *encrypted_out)
{
    *encrypted_out = false;
    for (size_t i = 0; body && i < sizeof placeholders / sizeof *placeholders; i++)
        if (strcmp(body, placeholders[i].text) == 0) {
            *encrypted_out = placeholders[i].encrypted;
            return true;
        }
    return false;
}

static const char *text_of(const struct stanza *form, const char *var)
{
    const char *value = form ? form_value(form, var) : NULL;
    return value && *value ? value : NULL;
}

static int count_of(const struct stanza *form)
{
    const char *text = text_of(form, "message-count");
    char *end;
    long n = text ? strtol(text, &end, 10) : -1;
    return text && *end == '\0' && n >= 0 && n <= COUNT_MAX ? (int)n : -1;
}

static bool is_urgent(const struct stanza *notification)
{
    const char *priority = stanza_child_text(notification, "priority", NS_PRIORITY);
    return (priority && strcmp(priority, "high") == 0) ||
           stanza_child(notification, "jingle", NS_JINGLE);
}

/* A server that tells nothing of its messages says nothing of those that are none, either. */
static enum notification_weight weight_of(const struct notification *n,
                                          const struct stanza *notification,
                                          const struct stanza *form)
{
    if (n->body || n->encrypted || is_urgent(notification))
        return NOTIFICATION_MESSAGE;
    return form ? NOTIFICATION_NOTHING : NOTIFICATION_UNCERTAIN;
}

bool notification_read(const struct stanza *pubsub, struct notification *out)
{
    const struct stanza *publish = stanza_child(pubsub, "publish", NS_PUBSUB);
    const struct stanza *item = stanza_child(publish, "item", NS_PUBSUB);
    const struct stanza *notification = stanza_child(item, "notification", NS_PUSH);
    const struct stanza *form = form_find(notification);
    const struct stanza *options =
        form_find(stanza_child(pubsub, "publish-options", NS_PUBSUB));
    *out = (struct notification){
        .node = stanza_get(publish, "node"),
        .options = options,
        .sender = text_of(form, "last-message-sender"),
        .body = text_of(form, "last-message-body"),
        .count = count_of(form),
        .encrypted = stanza_child(notification, "encrypted", NS_ENCRYPTED) != NULL,
    };
    if (!out->node || !*out->node)
        return false;
    const char *secret = text_of(options, "secret");
    out->secret = secret ? secret : "";
    bool encrypted;
    out->placeholder = notification_is_placeholder(out->body, &encrypted);
    out->encrypted = out->encrypted || encrypted;
    out->weight = weight_of(out, notification, form);
    return true;
}
