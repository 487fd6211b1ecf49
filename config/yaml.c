// SPDX-License-Identifier: Apache-2.0
#include "config/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/arena.h"
#include "base/buf.h"

#define DEPTH_MAX 8
#define PATH_MAX_BYTES 256
#define VALUE_MAX_BYTES (64 * 1024)

/* One open mapping or list. */
struct level {
    bool sequence;
    size_t path_len; /* of the path up to and including this level */
    int index;       /* of the next element of a sequence */
    bool have_key;
    char key[PATH_MAX_BYTES];
    size_t key_line;
    size_t key_column;
};

struct loader {
    struct arena *arena;
    struct yaml_error *error;
    struct yaml_item *first;
    struct yaml_item **tail;
    struct level levels[DEPTH_MAX];
    int depth;
    char path[PATH_MAX_BYTES];
};

static enum err_kind complain(struct loader *l, yaml_mark_t at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static enum err_kind complain(struct loader *l, yaml_mark_t at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(l->error->text, sizeof l->error->text, fmt, ap);
    va_end(ap);
    l->error->line = at.line + 1;
    l->error->column = at.column + 1;
    return ERR_CONFIG;
}

/* Writes the path of the value that comes now: parent, then ".key" or "[]". */
static enum err_kind path_of_value(struct loader *l, yaml_mark_t at, size_t *len_out)
{
    struct level *top = &l->levels[l->depth - 1];
    size_t len = top->path_len;
    int wrote;
    if (top->sequence)
        wrote = snprintf(l->path + len, sizeof l->path - len, "[]");
    else
        wrote =
            snprintf(l->path + len, sizeof l->path - len, "%s%s", len ? "." : "", top->key);
    if (wrote < 0 || (size_t)wrote >= sizeof l->path - len)
        return complain(l, at, "the name is too long");
    *len_out = len + (size_t)wrote;
    return ERR_NONE;
}

static void find_indices(const struct loader *l, int *outer, int *inner)
{
    *outer = *inner = -1;
    for (int i = 0; i < l->depth; i++) {
        if (!l->levels[i].sequence)
            continue;
        if (*outer < 0)
            *outer = l->levels[i].index;
        else
            *inner = l->levels[i].index;
    }
}

static enum err_kind add_item(struct loader *l, enum yaml_kind kind, const char *value,
                              bool quoted, yaml_mark_t at)
{
    size_t len;
    enum err_kind k = path_of_value(l, at, &len);
    if (k)
        return k;
    struct level *top = &l->levels[l->depth - 1];
    struct yaml_item *it = arena_alloc(l->arena, sizeof *it);
    if (!it)
        return complain(l, at, "the file is too large");
    *it = (struct yaml_item){
        .kind = kind,
        .path = arena_strdup(l->arena, l->path),
        .value = value ? arena_strdup(l->arena, value) : NULL,
        .quoted = quoted,
        .line = at.line + 1,
        .column = at.column + 1,
        .key_line = top->sequence ? at.line + 1 : top->key_line,
        .key_column = top->sequence ? at.column + 1 : top->key_column,
    };
    if (!it->path || (value && !it->value))
        return complain(l, at, "the file is too large");
    find_indices(l, &it->outer, &it->inner);
    for (struct yaml_item *seen = l->first; seen; seen = seen->next) {
        if (seen->outer == it->outer && seen->inner == it->inner &&
            strcmp(seen->path, it->path) == 0)
            return complain(l, at, "%s is set twice, first in line %zu", it->path, seen->line);
    }
    *l->tail = it;
    l->tail = &it->next;
    return ERR_NONE;
}

/* After a value: the mapping waits for a key again, the list counts on. */
static void value_done(struct loader *l)
{
    if (l->depth == 0)
        return;
    struct level *top = &l->levels[l->depth - 1];
    if (top->sequence)
        top->index++;
    else
        top->have_key = false;
}

static enum err_kind open_level(struct loader *l, bool sequence, yaml_mark_t at)
{
    size_t path_len = 0;
    if (l->depth > 0) {
        if (sequence && l->levels[l->depth - 1].sequence)
            return complain(l, at, "a list inside a list has no meaning here");
        enum err_kind k =
            add_item(l, sequence ? YAML_SEQUENCE : YAML_MAPPING, NULL, false, at);
        if (k)
            return k;
        if ((k = path_of_value(l, at, &path_len)))
            return k;
    } else if (sequence) {
        return complain(l, at, "the file must be a mapping of sections, not a list");
    }
    if (l->depth == DEPTH_MAX)
        return complain(l, at, "nested too deeply");
    l->levels[l->depth++] = (struct level){.sequence = sequence, .path_len = path_len};
    return ERR_NONE;
}

/* "${NAME}" and nothing else: a lone "$" stays what it is. */
static enum err_kind expand(struct loader *l, const char *text, yaml_mark_t at,
                            struct buf *out)
{
    for (const char *p = text; *p;) {
        if (p[0] != '$' || p[1] != '{') {
            buf_add_char(out, *p++);
            continue;
        }
        const char *end = strchr(p, '}');
        size_t len = end ? (size_t)(end - p - 2) : 0;
        char name[128];
        if (!end || len == 0 || len >= sizeof name)
            return complain(l, at, "\"${\" without a name and \"}\"");
        memcpy(name, p + 2, len);
        name[len] = '\0';
        const char *value = getenv(name);
        if (!value)
            return complain(l, at, "the environment has no %s", name);
        buf_add_str(out, value);
        p = end + 1;
    }
    if (buf_failed(out))
        return complain(l, at, "the value is too long");
    return ERR_NONE;
}

static enum err_kind take_scalar(struct loader *l, const yaml_event_t *ev)
{
    const char *text = (const char *)ev->data.scalar.value;
    yaml_mark_t at = ev->start_mark;
    if (l->depth == 0)
        return *text ? complain(l, at, "the file must be a mapping of sections") : ERR_NONE;
    struct level *top = &l->levels[l->depth - 1];
    if (!top->sequence && !top->have_key) {
        if (strlen(text) >= sizeof top->key)
            return complain(l, at, "the name is too long");
        strcpy(top->key, text);
        top->key_line = at.line + 1;
        top->key_column = at.column + 1;
        top->have_key = true;
        return ERR_NONE;
    }
    struct buf value;
    buf_init(&value, VALUE_MAX_BYTES);
    enum err_kind k = expand(l, text, at, &value);
    bool quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!k)
        k = add_item(l, YAML_SCALAR, buf_cstr(&value), quoted, at);
    buf_deinit(&value);
    if (!k)
        value_done(l);
    return k;
}

static enum err_kind take_event(struct loader *l, const yaml_event_t *ev, int *documents)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++*documents > 1)
            return complain(l, ev->start_mark, "a second document begins here");
        return ERR_NONE;
    case YAML_ALIAS_EVENT:
        return complain(l, ev->start_mark, "aliases are not supported");
    case YAML_SCALAR_EVENT:
        return take_scalar(l, ev);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        if (l->depth > 0 && !l->levels[l->depth - 1].sequence &&
            !l->levels[l->depth - 1].have_key)
            return complain(l, ev->start_mark, "a key must be a plain name");
        return open_level(l, ev->type == YAML_SEQUENCE_START_EVENT, ev->start_mark);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        l->depth--;
        value_done(l);
        return ERR_NONE;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return ERR_NONE;
    }
    return ERR_NONE;
}

static enum err_kind parse_file(struct loader *l, FILE *f)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_file(&parser, f);
    enum err_kind k = ERR_NONE;
    int documents = 0;
    for (bool end = false; !end && !k;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&parser, &ev)) {
            k = complain(l, parser.problem_mark, "%s",
                         parser.problem ? parser.problem : "not valid YAML");
            break;
        }
        k = take_event(l, &ev, &documents);
        end = ev.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    return k;
}

enum err_kind yaml_load(const char *file, struct arena *a, struct yaml_item **out,
                        struct yaml_error *e)
{
    *out = NULL;
    *e = (struct yaml_error){0};
    FILE *f = fopen(file, "re");
    if (!f) {
        snprintf(e->text, sizeof e->text, "cannot be read: %s", strerror(errno));
        return ERR_CONFIG;
    }
    struct loader *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->arena = a;
    l->error = e;
    l->tail = &l->first;
    enum err_kind k = parse_file(l, f);
    if (!k)
        *out = l->first;
    free(l);
    (void)fclose(f);
    return k;
}
