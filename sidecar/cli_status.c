// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "component/page.h"
#include "config/config.h"
#include "sidecar/cli.h"
#include "sidecar/report.h"
#include "sidecar/report_page.h"

#define ANSWER_MAX (1 << 20)
#define WITHIN_MS 3000L

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct buf *b = ctx;
    buf_add(b, data, size * n);
    return buf_failed(b) ? 0 : size * n;
}

/* The worker's own word; false when it gives none. */
static bool ask_worker(const struct config *config, bool json, struct buf *out)
{
    if (!config->http.host)
        return false;
    CURL *curl = curl_easy_init();
    if (!curl)
        return false;
    char url[512];
    bool v6 = strchr(config->http.host, ':') != NULL;
    snprintf(url, sizeof url, "http://%s%s%s:%u/status%s", v6 ? "[" : "", config->http.host,
             v6 ? "]" : "", config->http.port, json ? ".json" : "");
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, WITHIN_MS);
    (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    bool answered = curl_easy_perform(curl) == CURLE_OK;
    curl_easy_cleanup(curl);
    return answered;
}

/* What the shared page tells without a worker. */
static bool ask_page(const struct config *config, bool json, struct buf *out, struct err *e)
{
    char path[1024];
    struct page *page = NULL;
    snprintf(path, sizeof path, "%s/page", config->spool.directory);
    if (page_open(path, false, &page, e))
        return false;
    struct report *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    report_from_page(r, page, config);
    if (json)
        report_json(r, out);
    else
        report_text(r, out);
    free(r);
    page_close(&page);
    return true;
}

int cli_status(const struct cli *c)
{
    bool json;
    if (!cli_json_option(c, &json))
        return EX_USAGE;
    struct config *config = cli_load(c);
    if (!config)
        return EX_CONFIG;
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    struct err e;
    int status = EX_OK;
    if (!ask_worker(config, json, &out)) {
        buf_reset(&out);
        status = EX_UNAVAILABLE;
        if (!ask_page(config, json, &out, &e))
            (void)fprintf(stderr, "xmpp-sidecar: not running: %s\n", e.text);
    }
    (void)fputs(buf_cstr(&out), stdout);
    buf_deinit(&out);
    config_free(&config);
    return status;
}
