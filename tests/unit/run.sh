#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs each unit test program; stops at none, fails when any failed, ends with one line.
# Those that need PostgreSQL find a private, empty one in SIDECAR_TEST_DATABASE; a cluster is
# started for it unless the variable is set already.
set -u
passed=0 failed=0 folder=

as_postgres() { # the server refuses to run as root
    if [ "$(id -u)" = 0 ]; then
        (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
    else
        "$@"
    fi
}

stop_cluster() {
    [ -n "$folder" ] || return 0
    as_postgres "$bin/pg_ctl" -D "$folder/data" -m immediate -s stop >/dev/null 2>&1
    rm -rf "$folder"
    folder=
}
trap stop_cluster EXIT
trap 'exit 130' INT TERM HUP

start_cluster() {
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1) || return 1
    folder=$(mktemp -d /tmp/sidecar-unit.XXXXXX) || return 1
    [ "$(id -u)" = 0 ] && chown postgres: "$folder"
    as_postgres "$bin/initdb" -D "$folder/data" -U xs -A trust -E UTF8 --locale=C.UTF-8 \
        --no-sync --no-instructions >"$folder.log" 2>&1 &&
        as_postgres "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -s -o \
            "-c listen_addresses= -c unix_socket_directories=$folder -c fsync=off \
             -c shared_buffers=64MB -c max_connections=60" start >>"$folder.log" 2>&1 &&
        as_postgres "$bin/createdb" -h "$folder" -U xs xs_unit >>"$folder.log" 2>&1 || {
        cat "$folder.log"
        rm -f "$folder.log"
        return 1
    }
    rm -f "$folder.log"
    SIDECAR_TEST_DATABASE="postgresql:///xs_unit?host=$folder&user=xs"
    export SIDECAR_TEST_DATABASE
}

if [ -z "${SIDECAR_TEST_DATABASE:-}" ]; then
    start_cluster || { echo "cannot start PostgreSQL for the tests"; exit 1; }
fi

for t in "$@"; do
    if out=$("$t" 2>&1); then
        passed=$((passed + $(printf '%s\n' "$out" | grep -c '^\[       OK \]')))
    else
        printf '%s\n' "$out"
        echo "FAILED: $t"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
