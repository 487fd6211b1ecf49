// SPDX-License-Identifier: Apache-2.0
#include "sidecar/reread.h"

#include <string.h>

#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/adapter.h"

/* What every server opens a component's stream with. */
static const char usual_header[] = "<stream:stream xmlns='jabber:component:accept' "
                                   "xmlns:stream='http://etherx.jabber.org/streams'>";

struct reread {
    struct stanza *stanza;
    unsigned stanzas;
    const char *skipped;
};

static void on_stanza(void *ctx, struct stanza *s, uint64_t end)
{
    struct reread *r = ctx;
    (void)end;
    if (r->stanzas++ == 0)
        r->stanza = s;
    else
        stanza_free(&s);
}

static void on_skipped(void *ctx, const char *name, const char *why, uint64_t begin,
                       uint64_t end)
{
    struct reread *r = ctx;
    (void)name;
    (void)begin;
    (void)end;
    r->stanzas++;
    r->skipped = why;
}

static enum err_kind parse(const struct xml_parse_opts *limits,
                           const struct quarantine_stanza *s, struct reread *r, struct err *e)
{
    const struct xml_parse_events events = {
        .stanza = on_stanza, .skipped = on_skipped, .ctx = r};
    struct xml_parse *p = xml_parse_new(limits, &events);
    enum err_kind kind = s->header_n > 0 ? xml_parse_input(p, s->header, s->header_n, e)
                                         : xml_parse_input(p, (const uint8_t *)usual_header,
                                                           strlen(usual_header), e);
    if (kind == ERR_NONE)
        kind = xml_parse_input(p, s->bytes, s->bytes_n, e);
    xml_parse_free(&p);
    if (kind != ERR_NONE)
        return err_set(e, ERR_REJECT, "it is not XML that we accept");
    if (r->skipped)
        return err_set(e, ERR_REJECT, "it is over a limit: %s", r->skipped);
    if (r->stanzas != 1)
        return err_set(e, ERR_REJECT, "it is not exactly one stanza");
    return ERR_NONE;
}

enum err_kind reread_stanza(const struct adapter *a, const struct xml_parse_opts *limits,
                            const struct quarantine_stanza *s, quarantine_event_fn event,
                            void *ctx, struct err *e)
{
    struct reread r = {.stanzas = 0};
    const struct place nowhere = {0};
    const struct adapter_sink sink = {.event = event, .ctx = ctx};
    enum err_kind kind = parse(limits, s, &r, e);
    if (kind == ERR_NONE)
        kind = adapter_classify(a, r.stanza, &nowhere, s->received_us, &sink, e);
    stanza_free(&r.stanza);
    return kind;
}
