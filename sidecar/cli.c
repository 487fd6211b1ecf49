// SPDX-License-Identifier: Apache-2.0
#include "sidecar/cli.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <expat.h>
#include <libpq-fe.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <yaml.h>

#include "apns/protocol.h"
#include "base/buf.h"
#include "config/config.h"
#include "store/migrate.h"

#define COMPLAINTS_BYTES (64 * 1024)

struct config *cli_load(const struct cli *c)
{
    struct buf complaints;
    buf_init(&complaints, COMPLAINTS_BYTES);
    struct config *config = NULL;
    if (config_load(c->config_file, &config, &complaints))
        (void)fputs(buf_cstr(&complaints), stderr);
    buf_deinit(&complaints);
    return config;
}

bool cli_json_option(const struct cli *c, bool *json_out)
{
    *json_out = c->argc == 1 && strcmp(c->argv[0], "--json") == 0;
    if (*json_out || c->argc == 0)
        return true;
    (void)fprintf(stderr, "xmpp-sidecar: unknown argument \"%s\"\n", c->argv[0]);
    return false;
}

/* What the loader cannot know: whether the keys are keys. */
static bool check_apps(const struct cli *c, const struct config *config)
{
    bool good = true;
    for (size_t i = 0; i < config->push.apps_n; i++) {
        const struct apns_app_opts *app = &config->push.apps[i];
        struct err e;
        if (protocol_check(app, &e)) {
            (void)fprintf(stderr, "%s: app %s: %s\n", c->config_file, app->id, e.text);
            good = false;
        }
    }
    return good;
}

struct config *cli_load_checked(const struct cli *c)
{
    struct config *config = cli_load(c);
    if (config && !check_apps(c, config))
        config_free(&config);
    return config;
}

int cli_check(const struct cli *c)
{
    struct config *config = cli_load_checked(c);
    if (!config)
        return EX_CONFIG;
    config_free(&config);
    printf("%s: ok\n", c->config_file);
    return EX_OK;
}

int cli_migrate(const struct cli *c)
{
    struct config *config = cli_load(c);
    if (!config)
        return EX_CONFIG;
    struct err e;
    int from = 0, to = 0;
    enum err_kind k = migrate_run(config->store.url, &from, &to, &e);
    config_free(&config);
    if (k) {
        (void)fprintf(stderr, "xmpp-sidecar: migrate: %s\n", e.text);
        return k == ERR_CONFIG ? EX_CONFIG : EX_TEMPFAIL;
    }
    if (from == to)
        printf("the schema is at version %d already\n", to);
    else
        printf("the schema went from version %d to %d\n", from, to);
    return EX_OK;
}

int cli_version(void)
{
    int pq = PQlibVersion();
    printf("xmpp-sidecar " SIDECAR_VERSION "\n");
    printf("libevent %s\nexpat %s\nlibpq %d.%d\n", event_get_version(), XML_ExpatVersion() + 6,
           pq / 10000, pq % 10000);
    printf("nghttp2 %s\n%s\nlibcurl %s\n", nghttp2_version(0)->version_str,
           OpenSSL_version(OPENSSL_VERSION), curl_version_info(CURLVERSION_NOW)->version);
    printf("cJSON %s\nlibyaml %s\n", cJSON_Version(), yaml_get_version_string());
    return EX_OK;
}
