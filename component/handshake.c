// SPDX-License-Identifier: Apache-2.0
#include "component/handshake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypt.h"
#include "base/stanza.h"
#include "base/xml_parse.h"
#include "component/ns.h"

#define MAGIC 0x48414e44
#define HEADER_MAX ((size_t)8192)
#define INPUT_MAX ((size_t)1024 * 1024) /* what may follow <handshake/> in the same read */
#define OUTPUT_MAX ((size_t)8192)
#define CONDITION_BYTES 64

struct handshake {
    uint32_t magic;
    enum handshake_state state;
    enum handshake_fault fault;
    int64_t deadline_ms;
    char *secret;
    struct buf out;
    struct buf in; /* everything that came */
    size_t header_end;
    size_t rest_at;
    size_t parsed; /* of in */
    struct xml_parse *parser;
    bool root_good;
    bool answered;
    bool ended;
    enum handshake_fault refusal; /* what the server's stream error means */
    char condition[CONDITION_BYTES];
    char text[CONDITION_BYTES];
};

static void set_state(struct handshake *h, enum handshake_state to)
{
    assert(h->state != HANDSHAKE_DONE && h->state != HANDSHAKE_FAILED && to > h->state);
    h->state = to;
}

static enum err_kind fail(struct handshake *h, enum handshake_fault fault, struct err *e,
                          const char *what)
{
    h->fault = fault;
    set_state(h, HANDSHAKE_FAILED);
    return err_set(e, ERR_PEER, "%s", what);
}

static void on_root(void *ctx, const struct stanza *root)
{
    struct handshake *h = ctx;
    const char *id = stanza_get(root, "id");
    h->root_good = stanza_is(root, "stream", NS_STREAMS);
    if (!h->root_good || !id)
        return;
    char digest[SHA1_HEX_BYTES];
    crypt_sha1_hex(id, h->secret, digest);
    buf_addf(&h->out, "<handshake>%s</handshake>", digest);
}

static enum handshake_fault meaning(const char *condition)
{
    static const struct {
        const char *condition;
        enum handshake_fault fault;
    } table[] = {
        {"not-authorized", HANDSHAKE_SECRET},
        {"conflict", HANDSHAKE_CONFLICT},
        {"host-unknown", HANDSHAKE_HOST_UNKNOWN},
        {"host-gone", HANDSHAKE_HOST_UNKNOWN},
        {"improper-addressing", HANDSHAKE_HOST_UNKNOWN},
        {"internal-server-error", HANDSHAKE_NO_SECRET},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(condition, table[i].condition) == 0)
            return table[i].fault;
    return HANDSHAKE_STREAM_ERROR;
}

/* For a log line: the server's words, but nothing that would break the line. */
static void copy_plain(char out[CONDITION_BYTES], const char *text)
{
    size_t n = 0;
    for (; *text && n + 1 < CONDITION_BYTES; text++)
        out[n++] = (char)(*text >= ' ' && *text < 0x7F ? *text : '?');
    out[n] = '\0';
}

static void read_stream_error(struct handshake *h, const struct stanza *error)
{
    const struct stanza *el = stanza_child(error, NULL, NS_STREAM_ERRORS);
    const char *text = stanza_child_text(error, "text", NS_STREAM_ERRORS);
    while (el && strcmp(el->name, "text") == 0)
        el = stanza_sibling(el, NULL, NS_STREAM_ERRORS);
    copy_plain(h->condition, el ? el->name : "undefined-condition");
    copy_plain(h->text, text ? text : "");
    h->refusal = meaning(h->condition);
}

static void on_stanza(void *ctx, struct stanza *s, uint64_t end)
{
    struct handshake *h = ctx;
    (void)end;
    if (stanza_is(s, "handshake", NS_COMPONENT))
        h->answered = true;
    else if (stanza_is(s, "error", NS_STREAMS))
        read_stream_error(h, s);
    else
        h->refusal = HANDSHAKE_GARBAGE;
    stanza_free(&s);
    xml_parse_stop(h->parser);
}

static void on_root_end(void *ctx)
{
    ((struct handshake *)ctx)->ended = true;
}

struct handshake *handshake_new(const char *component, const char *secret, int64_t now_ms)
{
    struct xml_parse_events events = {.stanza = on_stanza, .root = on_root};
    struct handshake *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->magic = MAGIC;
    h->deadline_ms = now_ms + HANDSHAKE_DEADLINE_MS;
    h->secret = strdup(secret);
    if (!h->secret)
        abort();
    buf_init(&h->in, INPUT_MAX);
    buf_init(&h->out, OUTPUT_MAX);
    events.ctx = h;
    events.root_end = on_root_end;
    h->parser = xml_parse_new(NULL, &events);
    /* Openfire cuts the stream into stanzas before it parses: "stream:" is a word to it, and
     * it knows values by their double quotes. */
    buf_add_str(&h->out, "<?xml version=\"1.0\"?><stream:stream xmlns=\"" NS_COMPONENT
                         "\" xmlns:stream=\"" NS_STREAMS "\" to=\"");
    xml_escape_str(&h->out, component);
    buf_add_str(&h->out, "\">");
    return h;
}

void handshake_free(struct handshake **hp)
{
    struct handshake *h = *hp;
    if (!h)
        return;
    xml_parse_free(&h->parser);
    buf_deinit(&h->in);
    buf_deinit(&h->out);
    explicit_bzero(h->secret, strlen(h->secret));
    free(h->secret);
    h->magic = 0;
    free(h);
    *hp = NULL;
}

/* Where the root's start tag ends in the input, 0: not yet there.  White space, the XML
 * declaration, then the tag, whose values may hold a '>'. */
static size_t header_end(const uint8_t *data, size_t len)
{
    size_t i = 0;
    while (i < len && strchr(" \t\r\n", data[i]) && data[i])
        i++;
    if (len - i >= 2 && memcmp(data + i, "<?", 2) == 0) {
        const uint8_t *end = memmem(data + i, len - i, "?>", 2);
        if (!end)
            return 0;
        i = (size_t)(end - data) + 2;
    }
    uint8_t quote = 0;
    for (; i < len; i++) {
        if (quote)
            quote = data[i] == quote ? 0 : quote;
        else if (data[i] == '\'' || data[i] == '"')
            quote = data[i];
        else if (data[i] == '>')
            return i + 1;
    }
    return 0;
}

/* Shows the parser what it has not seen, up to `to`. */
static enum err_kind parse(struct handshake *h, size_t to, struct err *e)
{
    struct err why;
    if (to <= h->parsed)
        return ERR_NONE;
    enum err_kind kind =
        xml_parse_input(h->parser, buf_data(&h->in) + h->parsed, to - h->parsed, &why);
    if (kind != ERR_NONE)
        return fail(h, HANDSHAKE_GARBAGE, e, "the server's answer is not XMPP");
    h->parsed += xml_parse_consumed(h->parser);
    return ERR_NONE;
}

static enum err_kind read_header(struct handshake *h, struct err *e)
{
    h->header_end = header_end(buf_data(&h->in), buf_len(&h->in));
    if (h->header_end == 0 && buf_len(&h->in) > HEADER_MAX)
        return fail(h, HANDSHAKE_GARBAGE, e, "the server's stream header has no end");
    /* Without the tag's end it is parsed too: what is no XML is refused at once. */
    size_t to = h->header_end ? h->header_end : buf_len(&h->in);
    enum err_kind kind = parse(h, to, e);
    if (kind != ERR_NONE || h->header_end == 0)
        return kind;
    if (!h->root_good)
        return fail(h, HANDSHAKE_GARBAGE, e, "the server's answer is no stream");
    set_state(h, HANDSHAKE_ANSWER);
    return ERR_NONE;
}

static enum err_kind refuse(struct handshake *h, struct err *e)
{
    char what[256] = "the server refused us: ";
    if (h->refusal == HANDSHAKE_GARBAGE)
        return fail(h, HANDSHAKE_GARBAGE, e, "the server answered with another stanza");
    strcat(what, h->condition);
    if (h->text[0]) {
        strcat(what, ": ");
        strcat(what, h->text);
    }
    return fail(h, h->refusal, e, what);
}

static enum err_kind read_answer(struct handshake *h, struct err *e)
{
    enum err_kind kind = parse(h, buf_len(&h->in), e);
    if (kind != ERR_NONE)
        return kind;
    if (h->refusal != HANDSHAKE_OK)
        return refuse(h, e);
    if (h->ended)
        return fail(h, HANDSHAKE_CLOSED, e, "the server closed the stream");
    if (h->answered) {
        h->rest_at = h->parsed;
        set_state(h, HANDSHAKE_DONE);
    }
    return ERR_NONE;
}

enum err_kind handshake_input(struct handshake *h, const uint8_t *data, size_t len,
                              struct err *e)
{
    assert(h->magic == MAGIC && h->state < HANDSHAKE_DONE);
    buf_add(&h->in, data, len);
    if (buf_failed(&h->in))
        return fail(h, HANDSHAKE_GARBAGE, e, "the server's answer is too long");
    if (h->state == HANDSHAKE_HEADER) {
        enum err_kind kind = read_header(h, e);
        if (kind != ERR_NONE || h->state == HANDSHAKE_HEADER)
            return kind;
    }
    return read_answer(h, e);
}

enum err_kind handshake_eof(struct handshake *h, struct err *e)
{
    return fail(h, HANDSHAKE_CLOSED, e, "the server closed the connection");
}

enum err_kind handshake_tick(struct handshake *h, int64_t now_ms, struct err *e)
{
    if (h->state >= HANDSHAKE_DONE || now_ms < h->deadline_ms)
        return ERR_NONE;
    return fail(h, HANDSHAKE_TIMEOUT, e, "no answer from the server");
}

int64_t handshake_deadline_ms(const struct handshake *h)
{
    return h->deadline_ms;
}

const uint8_t *handshake_output(struct handshake *h, size_t *len_out)
{
    const uint8_t *data = buf_data(&h->out);
    *len_out = buf_len(&h->out);
    buf_consume(&h->out, *len_out); /* the bytes stay until the next append */
    return data;
}

enum handshake_state handshake_state(const struct handshake *h)
{
    return h->state;
}

enum handshake_fault handshake_fault(const struct handshake *h)
{
    return h->fault;
}

const uint8_t *handshake_header(const struct handshake *h, size_t *len_out)
{
    assert(h->state == HANDSHAKE_DONE);
    *len_out = h->header_end;
    return buf_data(&h->in);
}

const uint8_t *handshake_rest(const struct handshake *h, size_t *len_out)
{
    assert(h->state == HANDSHAKE_DONE);
    *len_out = buf_len(&h->in) - h->rest_at;
    return buf_data(&h->in) + h->rest_at;
}

bool handshake_fault_is_lasting(enum handshake_fault fault)
{
    switch (fault) {
    case HANDSHAKE_SECRET:
    case HANDSHAKE_CONFLICT:
    case HANDSHAKE_HOST_UNKNOWN:
    case HANDSHAKE_NO_SECRET:
        return true;
    case HANDSHAKE_OK:
    case HANDSHAKE_STREAM_ERROR:
    case HANDSHAKE_GARBAGE:
    case HANDSHAKE_CLOSED:
    case HANDSHAKE_TIMEOUT:
        break;
    }
    return false;
}

const char *handshake_remedy(enum handshake_fault fault)
{
    switch (fault) {
    case HANDSHAKE_SECRET:
        return "make xmpp.secret the same as the server's for this component";
    case HANDSHAKE_CONFLICT:
        return "another component is connected as xmpp.component, or the server has that "
               "name itself: give each sidecar a domain of its own";
    case HANDSHAKE_HOST_UNKNOWN:
        return "allow the domain in xmpp.component as an external component on the server";
    case HANDSHAKE_NO_SECRET:
        return "see the server's error log; Openfire says this when it has no secret for us "
               "(xmpp.component.defaultSecret), or when xmpp.component is its own domain and "
               "not a subdomain of it";
    case HANDSHAKE_GARBAGE:
        return "check that host and port are the server's component listener, and xmpp.tls";
    case HANDSHAKE_OK:
    case HANDSHAKE_STREAM_ERROR:
    case HANDSHAKE_CLOSED:
    case HANDSHAKE_TIMEOUT:
        break;
    }
    return "";
}
