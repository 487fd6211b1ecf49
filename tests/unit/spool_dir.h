// SPDX-License-Identifier: Apache-2.0
/* A temporary directory for a test, with its files, gone again at the end. */
#ifndef TESTS_SPOOL_DIR_H
#define TESTS_SPOOL_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct temp_dir {
    char path[64];
    char spool[80]; /* path + "/0" */
};

static inline int temp_dir_remove(const char *path, const struct stat *st, int kind,
                                  struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static inline void temp_dir_make(struct temp_dir *t)
{
    strcpy(t->path, "/tmp/xmpp-sidecar-test-XXXXXX");
    if (!mkdtemp(t->path))
        abort();
    snprintf(t->spool, sizeof t->spool, "%s/0", t->path);
}

static inline void temp_dir_drop(struct temp_dir *t)
{
    nftw(t->path, temp_dir_remove, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
