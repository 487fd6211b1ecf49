#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh build|test|browser: is everything there?  Debian packages that are missing are installed
# when run as root; otherwise the command that does is printed, and the exit status is 1.
# `test` and `browser` then have npm install the packages of tests/clients, as their lock file says,
# into build/clients.  Without npm's registry the tests of those clients are skipped, no more.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

BUILD="build-essential pkg-config libcjson-dev libcurl4-openssl-dev libevent-dev libexpat1-dev
       libidn-dev libnghttp2-dev libpq-dev libssl-dev libsystemd-dev libyaml-dev"
TEST="libcmocka-dev curl ejabberd erlang-p1-pgsql libstrophe-dev nghttp2-client nghttp2-server
      openssl postgresql procps prosody prosody-modules python3 python3-nbxmpp python3-psycopg2
      python3-pytest python3-pytest-xdist python3-slixmpp python3-yaml"
BROWSER="chromium-headless-shell"
# Node.js may come from elsewhere than Debian.
command -v npm >/dev/null 2>&1 || TEST="$TEST nodejs npm"

case "${1:-}" in
build) wanted="$BUILD" ;;
test) wanted="$BUILD $TEST" ;;
browser) wanted="$BUILD $TEST $BROWSER" ;;
*)
	echo "usage: $0 build|test|browser" >&2
	exit 64
	;;
esac

missing_packages() {
	for package in $wanted; do
		case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
		"install ok installed") ;;
		*) printf ' %s' "$package" ;;
		esac
	done
}

install_packages() { # NAMES
	if [ "$(id -u)" != 0 ]; then
		echo "Some packages are missing.  Install them with:" >&2
		echo "    sudo apt-get install --no-install-recommends$1" >&2
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
	echo "deps: installing$1"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update
	# shellcheck disable=SC2086 # a list of names
	apt-get -q -y install --no-install-recommends $1
}

install_clients() { # libraries|browser (has the libraries, too) NPM-OPTION
	to="$here/../build/clients"
	lock="$here/clients/package-lock.json"
	if cmp -s "$lock" "$to/package-lock.json" && [ -e "$to/has-$1" ]; then
		return 0
	fi
	mkdir -p "$to"
	rm -f "$to"/has-*
	cp "$here/clients/package.json" "$lock" "$to/"
	# shellcheck disable=SC2086 # an option or none
	if (cd "$to" && npm ci $2 --prefer-offline --fetch-retries=1 --ignore-scripts --no-audit --no-fund) >"$to/npm.log" 2>&1; then
		touch "$to/has-libraries" "$to/has-$1"
	else
		rm -rf "$to/node_modules"
		echo "deps: npm could not install the clients of tests/clients: their tests will be" \
			"skipped.  build/clients/npm.log says why." >&2
	fi
}

if command -v dpkg-query >/dev/null 2>&1; then
	missing=$(missing_packages)
	[ -z "$missing" ] || install_packages "$missing"
else
	echo "deps: no dpkg here; needed are the equivalents of:" $wanted >&2
fi
case "$1" in
test) install_clients libraries --omit=dev ;;
browser) install_clients browser "" ;;
esac
