// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/loadgen/traffic.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/stanza.h"
#include "component/ns.h"

#define RESOURCE "phone"
#define REMOTE "remote.example"
#define WATCHERS 3 /* online contacts that see a presence */
#define PAGE "50"
#define JID_BYTES 128
#define ID_BYTES 37
#define BODY_MEDIAN 45.0
#define BODY_SPREAD 1.0 /* of the logarithm: one in a hundred is ten times the median */
#define BODY_MAX 4000

const struct traffic_mix traffic_typical = {.composing = 0.5,
                                            .receipts = 0.7,
                                            .displayed = 0.4,
                                            .presence = 0.05,
                                            .iqs = 0.1,
                                            .offline = 0.25,
                                            .remote = 0.03};
const struct traffic_mix traffic_plain = {.composing = 0};

static const char *const words[] = {"the",     "of",     "and",
                                    "to",      "in",     "I",
                                    "that",    "was",    "his",
                                    "he",      "it",     "with",
                                    "is",      "for",    "as",
                                    "had",     "you",    "not",
                                    "be",      "her",    "tomorrow",
                                    "at",      "on",     "by",
                                    "which",   "have",   "or",
                                    "from",    "this",   "him",
                                    "but",     "all",    "she",
                                    "they",    "were",   "my",
                                    "are",     "so",     "me",
                                    "evening", "über",   "déjà",
                                    "&amp;",   "&lt;3",  "it&apos;s",
                                    "🎉",       "👍",      "train",
                                    "station", "dinner", "https://example.org/a?b=1&amp;c=2"};

struct traffic {
    char *domain;
    char *component;
    struct traffic_mix mix;
    struct people people;
    struct traffic_counts counts;
    uint32_t from, to; /* of the last message */
};

/* The two ends of one message. */
struct pair {
    char from[JID_BYTES]; /* full */
    char from_bare[JID_BYTES];
    char to[JID_BYTES]; /* bare */
    char to_full[JID_BYTES];
    char id[ID_BYTES];
    unsigned copies;
};

struct traffic *traffic_new(const struct traffic_opts *opts)
{
    struct traffic *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->domain = strdup(opts->domain);
    t->component = strdup(opts->component);
    if (!t->domain || !t->component)
        abort();
    t->mix = opts->mix;
    people_init(&t->people, opts->accounts, opts->mix.offline, opts->seed);
    return t;
}

void traffic_free(struct traffic **tp)
{
    struct traffic *t = *tp;
    *tp = NULL;
    if (!t)
        return;
    free(t->domain);
    free(t->component);
    free(t);
}

struct people *traffic_people(struct traffic *t)
{
    return &t->people;
}

const struct traffic_counts *traffic_counts(const struct traffic *t)
{
    return &t->counts;
}

static void bare_jid(const struct traffic *t, uint32_t who, char *out, size_t size)
{
    snprintf(out, size, "user%07" PRIu32 "@%s", who, t->domain);
}

void traffic_session(const struct traffic *t, uint32_t who, char *out, size_t size)
{
    snprintf(out, size, "user%07" PRIu32 "@%s/" RESOURCE, who, t->domain);
}

/* As clients make them: a UUID. */
static void new_id(struct traffic *t, char out[ID_BYTES])
{
    uint64_t a = people_random(&t->people), b = people_random(&t->people);
    snprintf(out, ID_BYTES, "%08x-%04x-4%03x-a%03x-%012" PRIx64, (unsigned)(a >> 32),
             (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff, (unsigned)(b >> 52),
             b & UINT64_C(0xffffffffffff));
}

static bool happens(struct traffic *t, double share)
{
    return share > 0 && people_chance(&t->people) < share;
}

static void open_copy(struct traffic *t, struct buf *out)
{
    buf_addf(out,
             "<message to='%s' from='%s' id='%" PRIu64 "'><forwarded xmlns='" NS_FORWARD "'>",
             t->component, t->domain, people_random(&t->people));
}

static void close_copy(struct traffic *t, struct buf *out)
{
    buf_add_str(out, "</forwarded></message>");
    t->counts.stanzas++;
}

/* The same stanza in so many envelopes; how long out was after the first. */
static size_t add_copies(struct traffic *t, struct buf *out, struct buf *stanza,
                         unsigned copies)
{
    size_t first_end = 0;
    for (unsigned i = 0; i < copies; i++) {
        open_copy(t, out);
        buf_add(out, buf_data(stanza), buf_len(stanza));
        close_copy(t, out);
        if (i == 0)
            first_end = buf_len(out);
    }
    buf_deinit(stanza);
    return first_end;
}

/* Many short texts and a few long ones: a logarithmic normal distribution (Box and Muller). */
static void add_body(struct traffic *t, struct buf *out)
{
    double radius = sqrt(-2.0 * log(1.0 - people_chance(&t->people)));
    double normal = radius * cos(6.283185307179586 * people_chance(&t->people));
    double wanted = BODY_MEDIAN * exp(BODY_SPREAD * normal);
    size_t len = wanted < BODY_MAX ? (size_t)wanted : BODY_MAX;
    size_t end = buf_len(out) + len;
    buf_add_str(out, "<body>");
    do {
        buf_add_str(out, words[people_random(&t->people) % (sizeof words / sizeof *words)]);
        buf_add_char(out, ' ');
    } while (buf_len(out) < end);
    buf_add_str(out, "</body>");
}

static void open_message(struct buf *out, const char *from, const char *to, const char *id)
{
    buf_init(out, 64 * 1024);
    buf_addf(out, "<message xml:lang='en' to='%s' from='%s' type='chat'", to, from);
    if (id)
        buf_addf(out, " id='%s'", id);
    buf_add_str(out, " xmlns='" NS_CLIENT "'>");
}

static void add_composing(struct traffic *t, struct buf *out, const struct pair *p)
{
    struct buf m;
    open_message(&m, p->from, p->to, NULL);
    buf_add_str(&m, "<composing xmlns='" NS_CHATSTATES "'/></message>");
    add_copies(t, out, &m, p->copies);
}

/* What the recipient's client answers by itself: it has the message, or it was read. */
static void add_signal(struct traffic *t, struct buf *out, const struct pair *p, bool read)
{
    struct buf m;
    char id[ID_BYTES];
    new_id(t, id);
    open_message(&m, p->to_full, read ? p->from_bare : p->from, id);
    buf_addf(&m,
             read ? "<displayed xmlns='" NS_MARKERS "' id='%s'/></message>"
                  : "<received xmlns='" NS_RECEIPTS "' id='%s'/></message>",
             p->id);
    add_copies(t, out, &m, p->copies);
}

static void add_presence(struct traffic *t, struct buf *out)
{
    char full[JID_BYTES], bare[JID_BYTES], other[JID_BYTES];
    uint32_t who = people_writer(&t->people);
    traffic_session(t, who, full, sizeof full);
    bare_jid(t, who, bare, sizeof bare);
    buf_addf(out, "<presence xml:lang='en' to='%s' from='%s'><show>away</show></presence>",
             t->component, full);
    t->counts.stanzas++;
    for (unsigned i = 0; i < 1 + WATCHERS; i++) {
        if (i > 0)
            traffic_session(t, people_contact(&t->people, who, i - 1), other, sizeof other);
        open_copy(t, out);
        buf_addf(out,
                 "<presence xml:lang='en' to='%s' from='%s' xmlns='" NS_CLIENT
                 "'><show>away</show></presence>",
                 i > 0 ? other : bare, full);
        close_copy(t, out);
    }
}

static void add_client_iq(struct traffic *t, struct buf *out)
{
    char full[JID_BYTES], id[ID_BYTES];
    traffic_session(t, people_writer(&t->people), full, sizeof full);
    new_id(t, id);
    open_copy(t, out);
    buf_addf(out,
             "<iq xml:lang='en' to='%s' from='%s' type='get' id='%s' xmlns='" NS_CLIENT
             "'><ping xmlns='" NS_PING "'/></iq>",
             t->domain, full, id);
    close_copy(t, out);
    open_copy(t, out);
    buf_addf(out,
             "<iq xml:lang='en' to='%s' from='%s' type='result' id='%s' xmlns='" NS_CLIENT
             "'/>",
             full, t->domain, id);
    close_copy(t, out);
}

/* From another server only the copy that the recipient's session gets is seen, and of that
 * only when there is one. */
static void choose_pair(struct traffic *t, struct pair *p)
{
    uint32_t from, to;
    people_next(&t->people, &from, &to);
    t->from = from;
    t->to = to;
    new_id(t, p->id);
    traffic_session(t, from, p->from, sizeof p->from);
    bare_jid(t, from, p->from_bare, sizeof p->from_bare);
    bare_jid(t, to, p->to, sizeof p->to);
    traffic_session(t, to, p->to_full, sizeof p->to_full);
    p->copies = people_online(&t->people, to) ? 2 : 1;
    if (p->copies == 2 && happens(t, t->mix.remote)) {
        snprintf(p->from, sizeof p->from, "user%07" PRIu32 "@" REMOTE "/" RESOURCE, from);
        p->copies = 1;
    }
}

void traffic_last(const struct traffic *t, uint32_t *from_out, uint32_t *to_out)
{
    *from_out = t->from;
    *to_out = t->to;
}

size_t traffic_message(struct traffic *t, struct buf *out)
{
    struct pair p;
    struct buf m;
    choose_pair(t, &p);
    if (happens(t, t->mix.composing))
        add_composing(t, out, &p);
    open_message(&m, p.from, p.to, p.id);
    buf_addf(&m, "<active xmlns='" NS_CHATSTATES "'/><origin-id xmlns='" NS_SID "' id='%s'/>",
             p.id);
    buf_add_str(&m, "<request xmlns='" NS_RECEIPTS "'/><markable xmlns='" NS_MARKERS "'/>");
    add_body(t, &m);
    buf_add_str(&m, "</message>");
    size_t end = add_copies(t, out, &m, p.copies);
    t->counts.messages++;
    if (p.copies == 2 && happens(t, t->mix.receipts))
        add_signal(t, out, &p, false);
    if (p.copies == 2 && happens(t, t->mix.displayed))
        add_signal(t, out, &p, true);
    if (happens(t, t->mix.presence))
        add_presence(t, out);
    if (happens(t, t->mix.iqs))
        add_client_iq(t, out);
    return end;
}

static void open_iq(struct buf *out, const char *from, const char *to, const char *type,
                    const char *id)
{
    buf_init(out, 4096);
    buf_addf(out,
             "<iq xml:lang='en' to='%s' from='%s' type='%s' id='%s' xmlns='" NS_CLIENT "'>",
             to, from, type, id);
}

static void open_delegation(struct traffic *t, struct buf *out, const char *id)
{
    buf_addf(out,
             "<iq to='%s' from='%s' type='set' id='%s'><delegation xmlns='" NS_DELEGATION_1
             "'><forwarded xmlns='" NS_FORWARD "'>",
             t->component, t->domain, id);
}

static void add_mam(struct traffic *t, struct buf *out, uint32_t who, const char *id)
{
    struct buf iq;
    char full[JID_BYTES], bare[JID_BYTES];
    traffic_session(t, who, full, sizeof full);
    bare_jid(t, who, bare, sizeof bare);
    open_iq(&iq, full, bare, "set", id);
    buf_addf(&iq,
             "<query xmlns='" NS_MAM "' queryid='%s'><x xmlns='jabber:x:data' "
             "type='submit'><field var='FORM_TYPE' type='hidden'><value>" NS_MAM
             "</value></field></x><set xmlns='http://jabber.org/protocol/rsm'><max>" PAGE
             "</max><before/></set></query></iq>",
             id);
    open_copy(t, out);
    buf_add(out, buf_data(&iq), buf_len(&iq));
    close_copy(t, out);
    open_delegation(t, out, id);
    buf_add(out, buf_data(&iq), buf_len(&iq));
    buf_add_str(out, "</forwarded></delegation></iq>");
    t->counts.stanzas++;
    buf_deinit(&iq);
}

/* To the component itself: routed as it is, without the clients' namespace. */
static void add_direct(struct traffic *t, struct buf *out, uint32_t who, const char *payload,
                       const char *id)
{
    struct buf iq;
    char full[JID_BYTES];
    traffic_session(t, who, full, sizeof full);
    open_iq(&iq, full, t->component, "get", id);
    buf_addf(&iq, "%s</iq>", payload);
    add_copies(t, out, &iq, 1);
    buf_addf(out, "<iq xml:lang='en' to='%s' from='%s' type='get' id='%s'>%s</iq>",
             t->component, full, id, payload);
    t->counts.stanzas++;
}

void traffic_question(struct traffic *t, struct buf *out, enum traffic_question what,
                      const char *id)
{
    uint32_t who = people_writer(&t->people);
    switch (what) {
    case TRAFFIC_MAM:
        add_mam(t, out, who, id);
        break;
    case TRAFFIC_DISCO:
        add_direct(t, out, who, "<query xmlns='" NS_DISCO_INFO "'/>", id);
        break;
    case TRAFFIC_PING:
        add_direct(t, out, who, "<ping xmlns='" NS_PING "'/>", id);
        break;
    }
}

void traffic_echo(struct traffic *t, struct buf *out, const struct stanza *st)
{
    open_copy(t, out);
    stanza_write(out, st, NULL);
    close_copy(t, out);
    t->counts.echoes++;
}
