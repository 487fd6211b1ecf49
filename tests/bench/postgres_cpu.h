// SPDX-License-Identifier: Apache-2.0
/* For benchmarks: what all processes of a PostgreSQL on this machine have used of its CPUs. */
#ifndef TESTS_BENCH_POSTGRES_CPU_H
#define TESTS_BENCH_POSTGRES_CPU_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

/* The postmaster is the parent of every backend; 0 when it runs elsewhere. */
static inline int find_postmaster(const char *url)
{
    PGconn *c = PQconnectdb(url);
    int pid = 0;
    char path[64], stat[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", PQbackendPID(c));
    FILE *f = fopen(path, "r");
    if (f && fgets(stat, sizeof stat, f) && strncmp(strchr(stat, '('), "(postgres)", 10) == 0)
        pid = (int)strtol(strrchr(stat, ')') + 4, NULL, 10);
    if (f)
        fclose(f);
    PQfinish(c);
    return pid;
}

/* User and system time of a child of parent; for parent itself also that of all its children
 * that have ended. */
static inline double cpu_of(const char *pid, int parent)
{
    char path[300], stat[512] = "";
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *f = fopen(path, "r");
    bool got = f && fgets(stat, sizeof stat, f);
    if (f)
        fclose(f);
    if (!got)
        return 0;
    char *at = strrchr(stat, ')') + 4; /* field 4, the parent; the times are fields 14 to 17 */
    bool child = strtol(at, &at, 10) == parent, itself = strtol(pid, NULL, 10) == parent;
    unsigned long long ticks = 0;
    for (int field = 5; field <= 17; field++) {
        unsigned long long value = strtoull(at, &at, 10);
        if (field >= 14 && (itself || (child && field <= 15)))
            ticks += value;
    }
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static inline double children_seconds(int parent)
{
    double sum = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *d; proc && (d = readdir(proc));)
        if (d->d_name[0] >= '1' && d->d_name[0] <= '9' &&
            strtol(d->d_name, NULL, 10) != parent)
            sum += cpu_of(d->d_name, parent);
    if (proc)
        closedir(proc);
    return sum;
}

/* Asked again when a child ended meanwhile: it would count twice, or not at all. */
static inline double postgres_seconds(int postmaster)
{
    char pid[16];
    double sum = 0;
    snprintf(pid, sizeof pid, "%d", postmaster);
    for (int i = 0; postmaster && i < 10; i++) {
        double before = cpu_of(pid, postmaster);
        sum = before + children_seconds(postmaster);
        if (cpu_of(pid, postmaster) <= before)
            break;
    }
    return sum;
}

#endif
