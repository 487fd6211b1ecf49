// SPDX-License-Identifier: Apache-2.0
/*
 * The part of `explain` that is about calls (XEP-0353): what is known of one, how it ended,
 * and why a device was told nothing of it.  What the database does not say is called not
 * known.
 */
#ifndef SIDECAR_CLI_EXPLAIN_CALL_H
#define SIDECAR_CLI_EXPLAIN_CALL_H

#include <stdbool.h>
#include <stdint.h>

struct cJSON;
struct cli_account;
struct push_opts;
struct stanza;

/* A message of the account's archive. */
struct explained_row {
    const struct stanza *stanza; /* NULL: nothing of it is left */
    const char *peer_jid;
    uint64_t peer;
    int64_t at_us;
    bool outgoing;
};

struct explained_call {
    bool found;
    bool kept;      /* xs.call has it: it was to be told */
    uint64_t peer;  /* who calls */
    uint64_t entry; /* as its pushes are called */
    int64_t at_us;
};

/* The call that row is a word of; without row, the one whose session, or whose proposal, is
 * called text.  Adds `call` to tree when there is one.  False: the database does not answer.
 */
bool cli_explain_call(const struct cli_account *a, const char *text,
                      const struct explained_row *row, struct cJSON *tree,
                      struct explained_call *out);

/* Entries are used again: whether what was tried then is about this call. */
bool cli_explain_call_covers(const struct explained_call *call, int64_t tried_us);

/* Once `devices` of tree has what was tried: adds to it those that the account has besides,
 * and to each that was told nothing why, as to the call itself. */
bool cli_explain_call_devices(const struct cli_account *a, const struct push_opts *push,
                              const struct explained_call *call, struct cJSON *tree);

#endif
