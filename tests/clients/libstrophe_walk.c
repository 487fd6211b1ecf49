// SPDX-License-Identifier: Apache-2.0
/*
 * libstrophe, on which Profanity is built: the same work as walk.cjs.  The library has no
 * archive queries of its own; the requests are made from its stanzas, as its applications make
 * them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <strophe.h>

#define NS_MAM "urn:xmpp:mam:2"
#define NS_RSM "http://jabber.org/protocol/rsm"

struct walker {
    cJSON *config;
    cJSON *walk; /* of config */
    cJSON *ids;
    cJSON *bodies;
    cJSON *page_ids; /* backwards, pages come in the wrong order: put before what there is */
    cJSON *page_bodies;
    int pages;
    int status;
    char *anchor;
    xmpp_ctx_t *ctx;
    xmpp_conn_t *conn;
};

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static void say(cJSON *value)
{
    char *text = cJSON_PrintUnformatted(value);
    puts(text);
    fflush(stdout);
    free(text);
    cJSON_Delete(value);
}

static xmpp_stanza_t *add(struct walker *w, xmpp_stanza_t *parent, const char *name,
                          const char *ns, const char *text)
{
    xmpp_stanza_t *child = xmpp_stanza_new(w->ctx);
    xmpp_stanza_set_name(child, name);
    if (ns)
        xmpp_stanza_set_ns(child, ns);
    if (text) {
        xmpp_stanza_t *t = xmpp_stanza_new(w->ctx);
        xmpp_stanza_set_text(t, text);
        xmpp_stanza_add_child(child, t);
        xmpp_stanza_release(t);
    }
    xmpp_stanza_add_child(parent, child);
    xmpp_stanza_release(child);
    return child;
}

static int is_backward(const struct walker *w)
{
    return cJSON_IsTrue(cJSON_GetObjectItem(w->walk, "reverse"));
}

static int on_answer(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *ctx);

static void ask(struct walker *w)
{
    char id[32], max[32];
    snprintf(id, sizeof id, "ask%d", ++w->pages);
    snprintf(max, sizeof max, "%d", cJSON_GetObjectItem(w->walk, "max")->valueint);
    w->page_ids = cJSON_CreateArray();
    w->page_bodies = cJSON_CreateArray();
    xmpp_stanza_t *iq = xmpp_iq_new(w->ctx, "set", id);
    if (text_of(w->walk, "to"))
        xmpp_stanza_set_to(iq, text_of(w->walk, "to"));
    xmpp_stanza_t *set = add(w, add(w, iq, "query", NS_MAM, NULL), "set", NS_RSM, NULL);
    add(w, set, "max", NULL, max);
    if (is_backward(w))
        add(w, set, "before", NULL, w->anchor);
    else if (w->anchor)
        add(w, set, "after", NULL, w->anchor);
    xmpp_id_handler_add(w->conn, on_answer, id, w);
    xmpp_send(w->conn, iq);
    xmpp_stanza_release(iq);
}

static void next_walk(struct walker *w)
{
    cJSON_Delete(w->walk);
    w->walk = cJSON_DetachItemFromArray(cJSON_GetObjectItem(w->config, "walks"), 0);
    if (!w->walk) {
        w->status = 0;
        xmpp_disconnect(w->conn);
        return;
    }
    free(w->anchor);
    w->anchor = text_of(w->walk, "after") ? strdup(text_of(w->walk, "after")) : NULL;
    w->ids = cJSON_CreateArray();
    w->bodies = cJSON_CreateArray();
    w->pages = 0;
    ask(w);
}

/* Moves the page before or after what is there already. */
static void join(cJSON **all, cJSON *page, int before)
{
    cJSON *from = before ? *all : page, *to = before ? page : *all;
    while (cJSON_GetArraySize(from) > 0)
        cJSON_AddItemToArray(to, cJSON_DetachItemFromArray(from, 0));
    cJSON_Delete(from);
    *all = to;
}

static void end_walk(struct walker *w)
{
    cJSON *done = cJSON_CreateObject();
    cJSON_AddItemToObject(done, "ids", w->ids);
    cJSON_AddItemToObject(done, "bodies", w->bodies);
    say(done);
    next_walk(w);
}

static void fail(struct walker *w, const char *why)
{
    fprintf(stderr, "%s\n", why);
    w->status = 1;
    xmpp_disconnect(w->conn);
}

static int on_answer(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *ctx)
{
    struct walker *w = ctx;
    (void)conn;
    xmpp_stanza_t *fin = xmpp_stanza_get_child_by_name_and_ns(iq, "fin", NS_MAM);
    xmpp_stanza_t *set = fin ? xmpp_stanza_get_child_by_name_and_ns(fin, "set", NS_RSM) : NULL;
    if (!set) {
        fail(w, "no <fin/> with a <set/>");
        return 0;
    }
    cJSON *page = cJSON_CreateObject();
    cJSON_AddNumberToObject(page, "page", w->pages);
    say(page);
    char go_on[16];
    if (!fgets(go_on, sizeof go_on, stdin))
        fprintf(stderr, "nobody is there any more\n");
    join(&w->ids, w->page_ids, is_backward(w));
    join(&w->bodies, w->page_bodies, is_backward(w));
    const char *complete = xmpp_stanza_get_attribute(fin, "complete");
    const cJSON *pages = cJSON_GetObjectItem(w->walk, "pages");
    if ((complete && strcmp(complete, "true") == 0) ||
        (pages && pages->valueint == w->pages)) {
        end_walk(w);
        return 0;
    }
    xmpp_stanza_t *end = xmpp_stanza_get_child_by_name(set, is_backward(w) ? "first" : "last");
    free(w->anchor);
    w->anchor = end ? xmpp_stanza_get_text(end) : NULL;
    if (w->anchor)
        ask(w);
    else
        fail(w, "an incomplete page without an end");
    return 0;
}

static int on_message(xmpp_conn_t *conn, xmpp_stanza_t *outer, void *ctx)
{
    struct walker *w = ctx;
    (void)conn;
    xmpp_stanza_t *result = xmpp_stanza_get_child_by_name_and_ns(outer, "result", NS_MAM);
    if (!result || !w->walk)
        return 1;
    xmpp_stanza_t *forwarded = xmpp_stanza_get_child_by_name(result, "forwarded");
    xmpp_stanza_t *message =
        xmpp_stanza_get_child_by_name_and_ns(forwarded, "message", "jabber:client");
    char *body = message ? xmpp_message_get_body(message) : NULL;
    cJSON_AddItemToArray(w->page_ids,
                         cJSON_CreateString(xmpp_stanza_get_attribute(result, "id")));
    cJSON_AddItemToArray(w->page_bodies, cJSON_CreateString(body ? body : ""));
    xmpp_free(w->ctx, body);
    return 1;
}

static void on_connection(xmpp_conn_t *conn, xmpp_conn_event_t event, int error,
                          xmpp_stream_error_t *stream_error, void *ctx)
{
    struct walker *w = ctx;
    (void)error, (void)stream_error;
    if (event == XMPP_CONN_CONNECT) {
        xmpp_handler_add(conn, on_message, NULL, "message", NULL, w);
        next_walk(w);
    } else {
        xmpp_stop(w->ctx);
    }
}

int main(void)
{
    static char line[1 << 16];
    struct walker w = {.status = 1};
    if (!fgets(line, sizeof line, stdin) || !(w.config = cJSON_Parse(line)))
        return 64;
    xmpp_initialize();
    w.ctx = xmpp_ctx_new(NULL, xmpp_get_default_logger(XMPP_LEVEL_WARN));
    w.conn = xmpp_conn_new(w.ctx);
    xmpp_conn_set_flags(w.conn, XMPP_CONN_FLAG_DISABLE_TLS);
    xmpp_conn_set_jid(w.conn, text_of(w.config, "jid"));
    xmpp_conn_set_pass(w.conn, text_of(w.config, "password"));
    unsigned short port = (unsigned short)cJSON_GetObjectItem(w.config, "port")->valueint;
    if (xmpp_connect_client(w.conn, "127.0.0.1", port, on_connection, &w) == XMPP_EOK)
        xmpp_run(w.ctx);
    xmpp_conn_release(w.conn);
    xmpp_ctx_free(w.ctx);
    xmpp_shutdown();
    free(w.anchor);
    cJSON_Delete(w.config);
    return w.status;
}
