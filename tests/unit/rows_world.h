// SPDX-License-Identifier: Apache-2.0
/* What an event becomes in an archive, with keys that are the same each time. */
#ifndef TESTS_UNIT_ROWS_WORLD_H
#define TESTS_UNIT_ROWS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "archive/ident.h"
#include "archive/opts.h"
#include "archive/rows.h"
#include "base/xml_parse.h"

#define NOW INT64_C(1772586123000000)

static struct ident *ident;
static struct rows *rows;
static struct archive_opts opts;

static int make(void **state)
{
    (void)state;
    const struct ident_keys keys = {.owner = {1}, .hash = {2}, .archive = {3}, .lanes = 8};
    opts = (struct archive_opts){.own_message_reads = true};
    ident = ident_new(&keys);
    rows = rows_new(ident, &opts);
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    rows_free(&rows);
    ident_free(&ident);
    return 0;
}

/* attrs begin with a space. */
static struct stanza *parse(const char *inside, const char *attrs)
{
    char text[8192];
    struct err e = {0};
    snprintf(text, sizeof text, "<message xmlns='jabber:client'%s>%s</message>", attrs,
             inside);
    struct stanza *s = xml_parse_element(text, strlen(text), &e);
    if (!s)
        fail_msg("%s: %s", text, e.text);
    return s;
}

static struct event event_of(const struct stanza *s)
{
    return (struct event){.kind = EVENT_MESSAGE,
                          .from = "li@chat.example",
                          .from_resource = "phone",
                          .to = "mei@chat.example",
                          .to_resource = "",
                          .from_local = true,
                          .to_local = true,
                          .id = stanza_get(s, "id"),
                          .received_us = NOW,
                          .stanza = s};
}

#endif
