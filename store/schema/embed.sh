#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes one C file of the migrations named NNN_name.sql: an array of {number, name, sql}.
# Bytes, not string literals: those may be 4,095 characters long at most.
set -eu
twice=$(for f in "$@"; do basename "$f" | cut -d_ -f1; done | sort | uniq -d)
if [ -n "$twice" ]; then
    echo "$0: two migrations have the number $twice" >&2
    exit 1
fi
echo '// SPDX-License-Identifier: Apache-2.0'
echo '/* Made by store/schema/embed.sh. */'
echo '#include "store/migrate.h"'
for f in "$@"; do
    base=$(basename "$f" .sql)
    printf 'static const unsigned char sql_%s[] = {\n' "$base"
    od -An -v -tu1 "$f" | sed 's/[0-9][0-9]*/&,/g'
    echo '0};'
done
echo 'const struct migration migrations[] = {'
for f in "$@"; do
    base=$(basename "$f" .sql)
    number=$(printf '%s' "${base%%_*}" | sed 's/^0*//')
    printf '    {%s, "%s", (const char *)sql_%s},\n' "$number" "${base#*_}" "$base"
done
echo '};'
echo 'const size_t migrations_n = sizeof migrations / sizeof *migrations;'
