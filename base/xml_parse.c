// SPDX-License-Identifier: Apache-2.0
/*
 * Two readers in a row.  The frame (xml_frame.c) finds the end of each piece; only a piece
 * that is whole and within its limits is shown to expat, in one call.  So expat never holds
 * half a token (it would read a long one again for every few bytes, or defer it), a stanza
 * that is too big costs no memory, and stopping after a stanza is exact by construction.
 */
#include "base/xml_parse.h"

#include <assert.h>
#include <expat.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/xml_frame.h"
#include "base/xml_tree.h"

#define NAME_BYTES 64

/* A tree of tiny elements is many times its text; beyond this factor it is no message. */
#define ARENA_FACTOR 8
#define ARENA_SLACK ((size_t)64 * 1024)

/* expat remembers every name it ever saw, and the senders choose the names: after so many
 * bytes it is replaced by a fresh one, between two stanzas. */
#define EXPAT_BYTES_MAX ((size_t)1024 * 1024)
/* A buffer that one big stanza made bigger than this is given back. */
#define KEEP_BYTES ((size_t)64 * 1024)

const struct xml_parse_opts xml_parse_defaults = {
    .stanza_bytes_max = (size_t)1024 * 1024,
    .depth_max = 64,
    .attrs_max = 64,
};

enum piece {
    PIECE_REPLAY, /* the root's start tag again, for a fresh expat */
    PIECE_DECL,
    PIECE_ROOT,
    PIECE_STANZA,
    PIECE_ROOT_END,
};

struct xml_parse {
    struct xml_parse_opts opts;
    struct xml_parse_events events;
    XML_Parser expat;
    size_t expat_bytes; /* shown to this expat */
    char *root_tag;     /* as it came */
    size_t root_tag_len;

    /* Where we are in the bytes. */
    struct xml_frame frame;
    uint64_t before; /* input before this call */
    size_t at;       /* in this call */
    bool in_piece;
    bool ended; /* the root has */
    bool stop;
    uint64_t begin;    /* of the piece */
    size_t piece_size; /* so far */
    struct buf held;   /* of the piece, what came in earlier calls */
    const char *skip;  /* not NULL: we pass over this stanza, and why */
    char skip_name[NAME_BYTES];
    bool dead;
    struct err error;

    /* What expat's callbacks are making of the piece. */
    bool building;
    struct xml_tree tree;
    size_t depth;  /* by expat's count */
    unsigned tops; /* outermost elements it saw */
    bool instruction;
};

static void on_start(void *ctx, const XML_Char *qname, const XML_Char **atts)
{
    struct xml_parse *p = ctx;
    if (p->depth++ == 0)
        p->tops++;
    if (p->building && p->tops == 1)
        xml_tree_start(&p->tree, qname, atts);
}

static void on_end(void *ctx, const XML_Char *qname)
{
    (void)qname;
    struct xml_parse *p = ctx;
    if (p->depth > 0)
        p->depth--;
    if (p->building)
        xml_tree_end(&p->tree);
}

static void on_text(void *ctx, const XML_Char *text, int len)
{
    struct xml_parse *p = ctx;
    if (p->building)
        xml_tree_text(&p->tree, text, (size_t)len);
}

static void on_instruction(void *ctx, const XML_Char *target, const XML_Char *data)
{
    (void)target;
    (void)data;
    ((struct xml_parse *)ctx)->instruction = true;
}

/* No document type reaches expat (the frame refuses it), so there are no entities to expand
 * and expat's own amplification limits, on by default, have nothing to do. */
static void expat_new(struct xml_parse *p)
{
    p->expat = XML_ParserCreateNS("UTF-8", (XML_Char)XML_TREE_SEPARATOR);
    if (!p->expat)
        abort();
    p->expat_bytes = 0;
    XML_SetUserData(p->expat, p);
    XML_SetElementHandler(p->expat, on_start, on_end);
    XML_SetCharacterDataHandler(p->expat, on_text);
    XML_SetProcessingInstructionHandler(p->expat, on_instruction);
}

struct xml_parse *xml_parse_new(const struct xml_parse_opts *opts,
                                const struct xml_parse_events *events)
{
    struct xml_parse *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->opts = opts ? *opts : xml_parse_defaults;
    assert(p->opts.stanza_bytes_max > 0 && p->opts.stanza_bytes_max <= INT_MAX / 2);
    p->events = *events;
    xml_tree_init(&p->tree, p->opts.attrs_max, p->opts.stanza_bytes_max,
                  p->opts.stanza_bytes_max * ARENA_FACTOR + ARENA_SLACK);
    buf_init(&p->held, p->opts.stanza_bytes_max);
    xml_frame_init(&p->frame, p->opts.depth_max, p->opts.attrs_max);
    expat_new(p);
    return p;
}

void xml_parse_free(struct xml_parse **pp)
{
    struct xml_parse *p = *pp;
    if (!p)
        return;
    xml_tree_deinit(&p->tree);
    XML_ParserFree(p->expat);
    buf_deinit(&p->held);
    free(p->root_tag);
    free(p);
    *pp = NULL;
}

static enum err_kind die(struct xml_parse *p, struct err *e)
{
    p->dead = true;
    xml_tree_drop(&p->tree);
    if (e)
        *e = p->error;
    return p->error.kind;
}

static enum err_kind die_because(struct xml_parse *p, struct err *e, const char *why)
{
    err_set(&p->error, ERR_PEER, "%s at byte %llu of the stream", why,
            (unsigned long long)p->before + p->at);
    return die(p, e);
}

/* Shows one whole piece to expat and builds what is in it. */
static enum err_kind show(struct xml_parse *p, enum piece piece, const char *bytes, size_t len,
                          struct err *e)
{
    size_t depth_before = p->depth;
    p->building = piece == PIECE_ROOT || piece == PIECE_STANZA;
    p->tops = 0;
    p->expat_bytes += len;
    /* For a stanza the root is already open: counting starts inside it. */
    if (piece == PIECE_STANZA)
        p->depth = 0;
    enum XML_Status status = XML_Parse(p->expat, bytes, (int)len, XML_FALSE);
    if (p->instruction)
        return die_because(p, e, "restricted-xml: processing instruction");
    if (status != XML_STATUS_OK) {
        enum XML_Error code = XML_GetErrorCode(p->expat);
        if (code == XML_ERROR_UNDEFINED_ENTITY)
            return die_because(p, e, "restricted-xml: entity");
        char why[128];
        (void)snprintf(why, sizeof why, "not well-formed: %s", XML_ErrorString(code));
        return die_because(p, e, why);
    }
    /* Frame and expat read the same bytes; should they ever differ about what is inside what,
     * somebody is smuggling. */
    if (piece == PIECE_STANZA && (p->depth != 0 || p->tops != 1))
        return die_because(p, e, "not well-formed: pieces do not match");
    if (piece == PIECE_STANZA)
        p->depth = depth_before;
    return ERR_NONE;
}

static enum err_kind renew_expat(struct xml_parse *p, struct err *e)
{
    XML_ParserFree(p->expat);
    expat_new(p);
    p->depth = 0;
    return show(p, PIECE_REPLAY, p->root_tag, p->root_tag_len, e);
}

static enum err_kind take_root(struct xml_parse *p, const char *bytes, size_t len,
                               struct err *e)
{
    enum err_kind kind = show(p, PIECE_ROOT, bytes, len, e);
    if (kind != ERR_NONE)
        return kind;
    if (p->tree.full)
        return die_because(p, e, "stream header too big");
    p->root_tag = malloc(len);
    if (!p->root_tag)
        abort();
    memcpy(p->root_tag, bytes, len);
    p->root_tag_len = len;
    p->ended = p->depth == 0; /* <root/> */
    if (p->events.root)
        p->events.root(p->events.ctx, p->tree.top);
    xml_tree_drop(&p->tree);
    if (p->ended && p->events.root_end)
        p->events.root_end(p->events.ctx);
    return ERR_NONE;
}

static enum err_kind take_stanza(struct xml_parse *p, const char *bytes, size_t len,
                                 struct err *e)
{
    uint64_t end = p->before + p->at;
    if (p->events.found && !p->events.found(p->events.ctx, (const uint8_t *)bytes, len, end))
        return ERR_NONE;
    if (p->expat_bytes > EXPAT_BYTES_MAX) {
        enum err_kind kind = renew_expat(p, e);
        if (kind != ERR_NONE)
            return kind;
    }
    enum err_kind kind = show(p, PIECE_STANZA, bytes, len, e);
    if (kind != ERR_NONE)
        return kind;
    if (p->tree.full) {
        char name[NAME_BYTES];
        (void)snprintf(name, sizeof name, "%s", p->tree.top ? p->tree.top->name : "");
        xml_tree_drop(&p->tree);
        if (p->events.skipped)
            p->events.skipped(p->events.ctx, name, "memory", p->begin, end);
        return ERR_NONE;
    }
    struct stanza *s = xml_tree_take(&p->tree);
    if (p->events.stanza)
        p->events.stanza(p->events.ctx, s, end);
    else
        stanza_free(&s);
    return ERR_NONE;
}

/* The piece that ends at p->at, of which the part from `from` on is in this call's data. */
static enum err_kind take_piece(struct xml_parse *p, enum xml_frame_event ev,
                                const uint8_t *data, size_t from, struct err *e)
{
    const char *bytes = (const char *)data + from;
    size_t len = p->at - from;
    if (buf_len(&p->held) > 0) {
        buf_add(&p->held, bytes, len);
        assert(!buf_failed(&p->held)); /* piece_size is checked before anything is held */
        bytes = (const char *)buf_data(&p->held);
        len = buf_len(&p->held);
    }
    enum err_kind kind = ERR_NONE;
    if (ev == XML_FRAME_DECL) {
        kind = show(p, PIECE_DECL, bytes, len, e);
    } else if (ev == XML_FRAME_ROOT) {
        kind = take_root(p, bytes, len, e);
    } else if (ev == XML_FRAME_STANZA) {
        kind = take_stanza(p, bytes, len, e);
    } else {
        kind = show(p, PIECE_ROOT_END, bytes, len, e);
        p->ended = true;
        if (kind == ERR_NONE && p->events.root_end)
            p->events.root_end(p->events.ctx);
    }
    if (p->held.cap > KEEP_BYTES)
        buf_deinit(&p->held);
    buf_reset(&p->held);
    return kind;
}

/* The local name in "<prefix:name ...", of which the first NAME_BYTES bytes count however the
 * input was cut. */
static void remember_name(struct xml_parse *p, const uint8_t *data, size_t len)
{
    char head[NAME_BYTES];
    size_t have = buf_len(&p->held) < sizeof head ? buf_len(&p->held) : sizeof head;
    if (have > 0)
        memcpy(head, buf_data(&p->held), have);
    if (len > sizeof head - have)
        len = sizeof head - have;
    memcpy(head + have, data, len);
    have += len;
    size_t n = 0;
    for (size_t i = 1; i < have && !strchr(" \t\r\n/>", head[i]); i++) {
        if (head[i] == ':')
            n = 0;
        else
            p->skip_name[n++] = head[i];
    }
    p->skip_name[n] = '\0';
}

static enum err_kind start_skipping(struct xml_parse *p, const char *why, const uint8_t *data,
                                    size_t from, struct err *e)
{
    if (!p->frame.root_seen)
        return die_because(p, e, "stream header too big");
    p->skip = why;
    remember_name(p, data + from, p->at - from);
    buf_deinit(&p->held);
    return ERR_NONE;
}

static enum err_kind end_skipping(struct xml_parse *p, enum xml_frame_event ev, struct err *e)
{
    const char *why = p->skip;
    p->skip = NULL;
    if (ev == XML_FRAME_ROOT_END) /* an end tag of a mebibyte */
        return die_because(p, e, "not well-formed: end tag too long");
    if (p->events.skipped)
        p->events.skipped(p->events.ctx, p->skip_name, why, p->begin, p->before + p->at);
    return ERR_NONE;
}

/* Between pieces there is only white space, which servers send to keep the stream alive. */
static enum err_kind find_piece(struct xml_parse *p, const uint8_t *data, size_t len,
                                struct err *e)
{
    while (p->at < len && (data[p->at] == ' ' || data[p->at] == '\n' || data[p->at] == '\t' ||
                           data[p->at] == '\r'))
        p->at++;
    if (p->at == len)
        return ERR_NONE;
    if (p->ended)
        return die_because(p, e, "not well-formed: bytes after the stream's end");
    if (data[p->at] != '<')
        return die_because(p, e, "not well-formed: text outside of a stanza");
    p->in_piece = true;
    p->begin = p->before + p->at;
    p->piece_size = 0;
    return ERR_NONE;
}

/* Reads on in a piece, to its end or the end of the data. */
static enum err_kind read_piece(struct xml_parse *p, const uint8_t *data, size_t len,
                                struct err *e)
{
    size_t from = p->at;
    while (p->at < len) {
        size_t room = len - p->at;
        if (!p->skip && room > p->opts.stanza_bytes_max - p->piece_size)
            room = p->opts.stanza_bytes_max - p->piece_size;
        size_t used;
        enum xml_frame_event ev = xml_frame_scan(&p->frame, data + p->at, room, &used);
        p->at += used;
        if (!p->skip)
            p->piece_size += used;
        enum err_kind kind = ERR_NONE;
        switch (ev) {
        case XML_FRAME_MORE:
            if (!p->skip && p->at < len)
                kind = start_skipping(p, "size", data, from, e);
            break;
        case XML_FRAME_LIMIT:
            if (!p->skip)
                kind = start_skipping(p, p->frame.why, data, from, e);
            break;
        case XML_FRAME_BAD:
            return die_because(p, e, p->frame.why);
        case XML_FRAME_DECL:
        case XML_FRAME_ROOT:
        case XML_FRAME_STANZA:
        case XML_FRAME_ROOT_END:
            p->in_piece = false;
            return p->skip ? end_skipping(p, ev, e) : take_piece(p, ev, data, from, e);
        }
        if (kind != ERR_NONE)
            return kind;
    }
    if (!p->skip)
        buf_add(&p->held, data + from, p->at - from);
    return ERR_NONE;
}

enum err_kind xml_parse_input(struct xml_parse *p, const uint8_t *data, size_t len,
                              struct err *e)
{
    p->before += p->at;
    p->at = 0;
    p->stop = false;
    if (p->dead)
        return die(p, e);
    while (p->at < len && !p->stop) {
        enum err_kind kind =
            p->in_piece ? read_piece(p, data, len, e) : find_piece(p, data, len, e);
        if (kind != ERR_NONE)
            return kind;
    }
    return ERR_NONE;
}

void xml_parse_stop(struct xml_parse *p)
{
    p->stop = true;
}

size_t xml_parse_consumed(const struct xml_parse *p)
{
    return p->at;
}

void stanza_free(struct stanza **s)
{
    if (!*s)
        return;
    struct arena *a = (*s)->arena;
    *s = NULL;
    arena_free(&a);
}

struct one {
    struct stanza *s;
    unsigned count;
    const char *skipped;
};

static void on_one(void *ctx, struct stanza *s, uint64_t end)
{
    (void)end;
    struct one *one = ctx;
    if (one->count++ == 0)
        one->s = s;
    else
        stanza_free(&s);
}

static void on_one_skipped(void *ctx, const char *name, const char *why, uint64_t begin,
                           uint64_t end)
{
    (void)name;
    (void)begin;
    (void)end;
    ((struct one *)ctx)->skipped = why;
}

struct stanza *xml_parse_element(const char *text, size_t len, struct err *e)
{
    static const uint8_t root[] = "<x>";
    struct one one = {.count = 0};
    struct xml_parse_opts opts = {.stanza_bytes_max = len + sizeof root,
                                  .depth_max = 4 * xml_parse_defaults.depth_max,
                                  .attrs_max = 4 * xml_parse_defaults.attrs_max};
    if (len > INT_MAX / 4) {
        err_set(e, ERR_REJECT, "element too big");
        return NULL;
    }
    struct xml_parse_events events = {
        .stanza = on_one, .skipped = on_one_skipped, .ctx = &one};
    struct xml_parse *p = xml_parse_new(&opts, &events);
    /* What we stored passed the limits once, perhaps larger ones; here the text is the limit.
     */
    p->tree.arena_max = len * 64 + ARENA_SLACK;
    enum err_kind kind = xml_parse_input(p, root, sizeof root - 1, e);
    if (kind == ERR_NONE)
        kind = xml_parse_input(p, (const uint8_t *)text, len, e);
    bool whole = !p->in_piece && !p->ended;
    xml_parse_free(&p);
    if (kind == ERR_NONE && one.count == 1 && whole && !one.skipped)
        return one.s;
    if (kind != ERR_NONE && e)
        e->kind = ERR_REJECT; /* there is no connection to drop */
    else if (one.skipped)
        err_set(e, ERR_REJECT, "element over its limit: %s", one.skipped);
    else
        err_set(e, ERR_REJECT, "not exactly one element");
    stanza_free(&one.s);
    return NULL;
}
