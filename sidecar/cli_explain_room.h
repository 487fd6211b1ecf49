// SPDX-License-Identifier: Apache-2.0
/*
 * The part of `explain` that is about rooms: a message of a room that the account belongs to,
 * and why it is pushed to the account or not.  It shows no text and nobody's real address.
 */
#ifndef SIDECAR_CLI_EXPLAIN_ROOM_H
#define SIDECAR_CLI_EXPLAIN_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct cJSON;
struct cli_account;

struct explained_room {
    bool found;
    int64_t id;
    uint64_t peer; /* the account in that room, as its pushes are called */
};

/* text: the archive's id, or what its sender or the room calls the message.  Adds message and
 * devices_now to tree.  False: the database does not answer. */
bool cli_explain_room(const struct cli_account *a, const char *text, struct cJSON *tree,
                      struct explained_room *out);

#endif
