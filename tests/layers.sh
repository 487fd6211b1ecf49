#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Includes point one way, and no header includes a foreign library.
set -eu
cd "$(dirname "$0")/.."
bad=0

allow() { # allow LAYER "layers it may include"
    layer=$1 may=$2
    for f in "$layer"/*.c "$layer"/*.h; do
        [ -e "$f" ] || continue
        for inc in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$f" | sort -u); do
            case " $may " in *" $inc "*) ;; *)
                echo "$f: $layer must not include $inc/"; bad=1 ;;
            esac
        done
    done
}
allow base "base"
allow store "base store"
allow archive "base store archive"
allow apns "base store apns"
allow component "base component"
allow config "base store archive apns component config"
allow sidecar "base store archive apns component config sidecar"

# config sees of the three great layers only their settings.
if grep -nE '^#include "(store|archive|apns|component)/' config/*.[ch] 2>/dev/null | grep -v '/opts\.h"'; then
    echo "config/ may include only the opts.h of other layers"; bad=1
fi

foreign='event2|expat|libpq|postgres|nghttp2|openssl|curl|cjson|yaml|idna|stringprep|jwt|systemd|cmocka'
if grep -nE "^#include <($foreign)" base/*.h store/*.h archive/*.h apns/*.h component/*.h config/*.h sidecar/*.h 2>/dev/null; then
    echo "a header must not include a foreign library"; bad=1
fi
[ "$bad" = 0 ] && echo "layers: ok"
exit "$bad"
