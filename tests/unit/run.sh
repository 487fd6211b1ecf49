#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs each unit test program, JOBS= at a time (without it two for each processor: they wait for
# PostgreSQL and for each other); stops at none, fails when any failed, ends with one line.
# Those that need PostgreSQL find a private, empty database in SIDECAR_TEST_DATABASE, which no
# program uses that runs at the same time.  A cluster is started for them unless the variable is
# set already; then one program runs after the other.
set -u
folder= results=

if [ "${1:-}" = --one ]; then # called from below, by xargs
    [ -z "$CLUSTER" ] || SIDECAR_TEST_DATABASE="postgresql:///xs_unit_$SLOT?host=$CLUSTER&user=xs"
    export SIDECAR_TEST_DATABASE
    if "$3" >"$2.running.$SLOT" 2>&1; then
        grep -c '^\[       OK \]' "$2.running.$SLOT" >>"$2"
    else
        flock "$2" sh -c 'cat "$1"; echo "FAILED: $2"; echo failed >>"$3"' - \
            "$2.running.$SLOT" "$3" "$2"
    fi
    exit 0
fi

as_postgres() { # the server refuses to run as root
    if [ "$(id -u)" = 0 ]; then
        (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
    else
        "$@"
    fi
}

clean_up() {
    rm -rf "$results"
    [ -n "$folder" ] || return 0
    as_postgres "$bin/pg_ctl" -D "$folder/data" -m immediate -s stop >/dev/null 2>&1
    rm -rf "$folder"
    folder=
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

create_databases() {
    for slot in $(seq 0 $((JOBS - 1))); do
        as_postgres "$bin/createdb" -h "$folder" -U xs "xs_unit_$slot" || return 1
    done
}

start_cluster() {
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1) || return 1
    folder=$(mktemp -d /tmp/sidecar-unit.XXXXXX) || return 1
    [ "$(id -u)" = 0 ] && chown postgres: "$folder"
    as_postgres "$bin/initdb" -D "$folder/data" -U xs -A trust -E UTF8 --locale=C.UTF-8 \
        --no-sync --no-instructions >"$folder.log" 2>&1 &&
        as_postgres "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -s -o \
            "-c listen_addresses= -c unix_socket_directories=$folder -c fsync=off \
             -c shared_buffers=64MB -c max_connections=$((60 * JOBS))" start >>"$folder.log" 2>&1 &&
        create_databases >>"$folder.log" 2>&1 || {
        cat "$folder.log"
        rm -f "$folder.log"
        return 1
    }
    rm -f "$folder.log"
}

if [ -n "${SIDECAR_TEST_DATABASE:-}" ]; then
    JOBS=1
else
    JOBS=${JOBS:-$((2 * $(nproc)))}
    start_cluster || { echo "cannot start PostgreSQL for the tests"; exit 1; }
fi
results=$(mktemp -d) || exit 1
: >"$results/all"

printf '%s\n' "$@" | CLUSTER=$folder xargs -P "$JOBS" -n 1 --process-slot-var=SLOT \
    sh "$0" --one "$results/all"
failed=$(grep -c failed "$results/all")
passed=$(awk '{ n += $1 } END { print n + 0 }' "$results/all")
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$(wc -l <"$results/all")" = $# ]
