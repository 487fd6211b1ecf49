#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh build|test: are the Debian packages there?  Installs what is missing when run as
# root; otherwise prints the command that does and exits with 1.
set -eu

BUILD="build-essential pkg-config libcjson-dev libcurl4-openssl-dev libevent-dev libexpat1-dev
       libidn-dev libnghttp2-dev libpq-dev libssl-dev libsystemd-dev libyaml-dev"
TEST="libcmocka-dev curl ejabberd erlang-p1-pgsql nghttp2-client nghttp2-server openssl
      postgresql procps python3 python3-psycopg2 python3-pytest python3-slixmpp python3-yaml"

case "${1:-}" in
build) wanted="$BUILD" ;;
test) wanted="$BUILD $TEST" ;;
*)
	echo "usage: $0 build|test" >&2
	exit 64
	;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "deps: no dpkg here; needed are the equivalents of:" $wanted >&2
	exit 0
fi

missing=""
for package in $wanted; do
	case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
	"install ok installed") ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "Some packages are missing.  Install them with:" >&2
	echo "    sudo apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

# The tests start servers of their own: the packages must not start theirs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
# shellcheck disable=SC2086 # a list of names
apt-get -q -y install --no-install-recommends $missing
