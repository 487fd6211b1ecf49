// SPDX-License-Identifier: Apache-2.0
/*
 * The first byte chooses how the rest is cut and how often the parser is stopped.  Whatever
 * the bytes: both ways of feeding tell the same, and what is written reads back as itself.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/xml_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    struct xml_parse *parser;
    struct buf text;
    unsigned stop_every;
    unsigned events;
};

static void tell(struct told *t)
{
    t->events++;
    if (t->stop_every && t->events % t->stop_every == 0)
        xml_parse_stop(t->parser);
}

static void on_root(void *ctx, const struct stanza *root)
{
    struct told *t = ctx;
    stanza_write(&t->text, root, NULL);
    tell(t);
}

static void check_round_trip(const struct stanza *s)
{
    struct buf one, two;
    struct err e;
    buf_init(&one, 1 << 20);
    buf_init(&two, 1 << 20);
    stanza_write(&one, s, NULL);
    struct stanza *again = xml_parse_element((const char *)buf_data(&one), buf_len(&one), &e);
    if (!again)
        abort();
    stanza_write(&two, again, NULL);
    if (buf_failed(&one) || buf_len(&one) != buf_len(&two) ||
        memcmp(buf_data(&one), buf_data(&two), buf_len(&one)) != 0)
        abort();
    stanza_free(&again);
    buf_deinit(&one);
    buf_deinit(&two);
}

static void on_stanza(void *ctx, struct stanza *s, uint64_t end)
{
    struct told *t = ctx;
    buf_addf(&t->text, "\n%llu ", (unsigned long long)end);
    stanza_write(&t->text, s, "jabber:component:accept");
    check_round_trip(s);
    stanza_free(&s);
    tell(t);
}

static void on_skipped(void *ctx, const char *name, const char *why, uint64_t begin,
                       uint64_t end)
{
    struct told *t = ctx;
    buf_addf(&t->text, "\nskipped %s %s %llu %llu", name, why, (unsigned long long)begin,
             (unsigned long long)end);
    tell(t);
}

static void on_root_end(void *ctx)
{
    struct told *t = ctx;
    buf_add_str(&t->text, "\nend");
    tell(t);
}

static void run(struct told *t, const uint8_t *data, size_t size, size_t step,
                unsigned stop_every)
{
    struct xml_parse_opts opts = {.stanza_bytes_max = 300, .depth_max = 5, .attrs_max = 4};
    struct xml_parse_events events = {.root = on_root,
                                      .stanza = on_stanza,
                                      .skipped = on_skipped,
                                      .root_end = on_root_end,
                                      .ctx = t};
    *t = (struct told){.stop_every = stop_every};
    buf_init(&t->text, 1 << 24);
    t->parser = xml_parse_new(&opts, &events);
    for (size_t at = 0; at < size;) {
        size_t n = step < size - at ? step : size - at;
        struct err e;
        if (xml_parse_input(t->parser, data + at, n, &e) != ERR_NONE) {
            buf_add_str(&t->text, "\ndead");
            break;
        }
        size_t used = xml_parse_consumed(t->parser);
        if (used == 0 || used > n)
            abort();
        at += used;
    }
    xml_parse_free(&t->parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct told whole, cut;
    run(&whole, data + 1, size - 1, size, 0);
    run(&cut, data + 1, size - 1, 1 + data[0] % 16, data[0] / 64);
    if (buf_len(&whole.text) != buf_len(&cut.text) ||
        strcmp(buf_cstr(&whole.text), buf_cstr(&cut.text)) != 0)
        abort();
    buf_deinit(&whole.text);
    buf_deinit(&cut.text);
    return 0;
}
