#!/bin/sh
# Installs what assent builds and tests with (deploy/packages.txt) by apt.  Changes nothing when all is there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
list=$here/packages.txt
say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Rows of packages.txt: name, or name/suite when the release itself has it too old.
rows() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$list"; }
has() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# libraft is the one library whose version decides about safety: exactly 0.22.1 (see cmake/dependencies.cmake).
raft_wanted=0.22.1
raft_is_right() { case $(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null) in "$raft_wanted"-*) true ;; *) false ;; esac; }

command -v dpkg-query >/dev/null || die "this is not Debian: install the libraries of $list yourself, libraft $raft_wanted exactly"

missing=
for row in $(rows); do
    has "${row%%/*}" || missing="$missing $row"
done
if has libraft-dev && ! raft_is_right; then
    missing="$missing $(rows | grep '^libraft-dev')"
fi
if [ -z "$missing" ]; then
    say "every package of deploy/packages.txt is installed"
    exit 0
fi
say "missing:$missing"

. /etc/os-release
codename=${VERSION_CODENAME:-unknown}
[ "$(id -u)" = 0 ] || die "run as root: apt has to install the packages above"
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"; }

# The mirror this machine already uses for its release: deb822 files first, then one-line files.
mirror() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v suite="$codename" '
            function flush() { if (uris != "" && suites ~ "(^| )" suite "( |$)") { print uris; found = 1; exit } }
            /^[[:space:]]*$/ { flush(); uris = suites = ""; next }
            tolower($1) == "uris:" { uris = $2 }
            tolower($1) == "suites:" { $1 = ""; suites = $0 }
            END { if (!found) flush() }' "$file"
    done
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -e 's/\[[^]]*\]//' | awk -v suite="$codename" '$1 == "deb" && $3 == suite { print $2 }'
}

if [ "${ID:-}" != debian ]; then
    say "this is ${PRETTY_NAME:-not Debian}: only Debian 12 is tested; package names may differ"
fi

apt update
if [ "$codename" = bookworm ] && ! apt-cache policy | grep -q 'n=bookworm-backports'; then
    uri=$(mirror | head -n 1)
    [ -n "$uri" ] || die "no mirror of bookworm in /etc/apt/sources.list.d: add the suite bookworm-backports yourself"
    source_file=/etc/apt/sources.list.d/assent-backports.sources
    say "enabling bookworm-backports from $uri in $source_file (for libraft $raft_wanted)"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    {
        printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\n' "$uri"
        if [ -f "$keyring" ]; then printf 'Signed-By: %s\n' "$keyring"; fi
    } >"$source_file"
    apt update
fi

# A suite in packages.txt is asked for only where apt knows it: later releases carry the version themselves.
stock=
special=
for row in $missing; do
    name=${row%%/*} suite=
    case $row in */*) suite=${row#*/} ;; esac
    if [ -n "$suite" ] && apt-cache policy | grep -q "n=$suite"; then
        special="$special $name/$suite"
    else
        stock="$stock $name"
    fi
done
say "installing:$stock$special"
# The release's own first: what libraft needs besides then stays the release's.
# shellcheck disable=SC2086 # the lists are words
if [ -n "$stock" ]; then
    apt install --no-install-recommends $stock
fi
# shellcheck disable=SC2086
if [ -n "$special" ]; then
    apt install --no-install-recommends -t "${special##*/}" $(printf '%s ' $special | sed 's,/[^ ]*,,g')
fi

raft_is_right || die "libraft-dev is $(dpkg-query -W -f '${Version}' libraft-dev 2>/dev/null || echo missing), assent needs $raft_wanted: Debian 12 has it in bookworm-backports, Debian 13 in main"
say "done"
