// SPDX-License-Identifier: Apache-2.0
#include "tests/gateway/request.h"

#include <stdlib.h>
#include <string.h>

#include "tests/gateway/text.h"

static uint32_t keep_text(struct gw_request *r, const uint8_t *bytes, size_t len)
{
    uint32_t at = (uint32_t)r->text_len;

    if (r->text_len + len + 1 > r->text_cap) {
        r->text_cap = r->text_cap * 2 + len + 1024;
        r->text = gw_realloc(r->text, r->text_cap, 1);
    }
    memcpy(r->text + at, bytes, len);
    r->text[at + len] = '\0';
    r->text_len += len + 1;
    return at;
}

bool gw_request_add_field(struct gw_request *r, const uint8_t *name, size_t name_len,
                          const uint8_t *value, size_t value_len)
{
    struct gw_field *f;

    r->list_bytes += name_len + value_len + 32;
    if (r->list_bytes > GW_HEADER_LIST_MAX)
        return false;
    if (r->n_fields == r->fields_cap) {
        r->fields_cap = r->fields_cap * 2 + 16;
        r->fields = gw_realloc(r->fields, r->fields_cap, sizeof(*r->fields));
    }
    f = &r->fields[r->n_fields++];
    f->name = keep_text(r, name, name_len);
    f->value = keep_text(r, value, value_len);
    return true;
}

void gw_request_add_body(struct gw_request *r, const uint8_t *data, size_t len)
{
    size_t room = GW_BODY_KEPT_MAX - r->body_kept;
    size_t kept = len < room ? len : room;

    r->body_len += len;
    if (kept == 0)
        return;
    if (r->body_kept + kept > r->body_cap) {
        r->body_cap = r->body_kept + kept;
        r->body = gw_realloc(r->body, r->body_cap, 1);
    }
    memcpy(r->body + r->body_kept, data, kept);
    r->body_kept += kept;
}

const char *gw_request_header(const struct gw_request *r, const char *name)
{
    size_t i;

    for (i = 0; i < r->n_fields; i++)
        if (strcmp(r->text + r->fields[i].name, name) == 0)
            return r->text + r->fields[i].value;
    return NULL;
}

const char *gw_request_duplicate(const struct gw_request *r)
{
    size_t i, j;

    for (i = 1; i < r->n_fields; i++)
        for (j = 0; j < i; j++)
            if (strcmp(r->text + r->fields[i].name, r->text + r->fields[j].name) == 0)
                return r->text + r->fields[i].name;
    return NULL;
}

void gw_request_deinit(struct gw_request *r)
{
    free(r->text);
    free(r->fields);
    free(r->body);
    *r = (struct gw_request){0};
}
