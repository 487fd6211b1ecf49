// SPDX-License-Identifier: Apache-2.0
#include "sidecar/cli_account.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const struct pg_statement find_account = {
    "cli_account", "SELECT 1 FROM xs.account WHERE owner = $1::uuid"};

static const struct cli_option *find_option(const struct cli_option *options, const char *name)
{
    while (options->name && strcmp(options->name, name) != 0)
        options++;
    return options->name ? options : NULL;
}

static bool refused(const char *what, const char *word)
{
    (void)fprintf(stderr, "xmpp-sidecar: %s \"%s\"; see --help\n", what, word);
    return false;
}

bool cli_arguments(const struct cli *c, const struct cli_option *options, size_t words_min,
                   size_t words_max, const char **words)
{
    size_t n = 0;
    for (size_t i = 0; i < words_max; i++)
        words[i] = NULL;
    for (int i = 0; i < c->argc; i++) {
        const char *arg = c->argv[i];
        const struct cli_option *o = find_option(options, arg);
        if (o && o->flag) {
            *o->flag = true;
        } else if (o && i + 1 < c->argc) {
            *o->value = c->argv[++i];
        } else if (o) {
            return refused("a value is missing after", arg);
        } else if (arg[0] == '-') {
            return refused("unknown option", arg);
        } else if (n == words_max) {
            return refused("unknown argument", arg);
        } else {
            words[n++] = arg;
        }
    }
    if (n >= words_min)
        return true;
    (void)fprintf(stderr, "xmpp-sidecar: %s is missing; see --help\n",
                  n == 0 ? "the account's address" : "the message's id");
    return false;
}

struct keys {
    struct ident_keys is;
    struct err e;
    enum err_kind kind;
};

static void on_keys(void *ctx, const struct pg_result *r)
{
    struct keys *k = ctx;
    k->kind = ident_keys_read(&k->is, r, &k->e);
}

static void on_account(void *ctx, const struct pg_result *r)
{
    *(bool *)ctx = pg_rows(r) == 1;
}

static int look_up(struct cli_account *a)
{
    bool known = false;
    struct pg_params p;
    ident_owner(a->ident, a->jid.bare, a->owner);
    pg_params_init(&p);
    pg_add_uuid(&p, a->owner);
    if (!cli_db_ask(a->db, &find_account, &p, on_account, &known))
        return EX_TEMPFAIL;
    if (known)
        return EX_OK;
    (void)fprintf(stderr, "xmpp-sidecar: nothing is known of an account %s\n", a->jid.bare);
    return EX_NOINPUT;
}

int cli_account_open(const struct cli *c, const char *jid, struct cli_account *out)
{
    *out = (struct cli_account){0};
    if (jid &&
        (!jid_parse(&out->jid, jid) || !jid_is_bare(&out->jid) || out->jid.local_len == 0)) {
        (void)fprintf(stderr, "xmpp-sidecar: \"%s\" is no address of an account\n", jid);
        return EX_USAGE;
    }
    int status;
    out->db = cli_db_open(c, &status);
    if (!out->db)
        return status;
    struct keys keys = {.kind = ERR_NONE};
    if (!cli_db_ask(out->db, &ident_statement, NULL, on_keys, &keys))
        return EX_TEMPFAIL;
    if (keys.kind) {
        (void)fprintf(stderr, "xmpp-sidecar: database: %s\n", keys.e.text);
        return EX_CONFIG;
    }
    out->ident = ident_new(&keys.is);
    return jid ? look_up(out) : EX_OK;
}

void cli_account_close(struct cli_account *a)
{
    ident_free(&a->ident);
    cli_db_close(&a->db);
}
