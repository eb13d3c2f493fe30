#!/usr/bin/env bash
# Installs what building and testing Headwater needs and a bare Debian 12 with Rust lacks. Asks nothing, starts no
# service of the distribution, and returns within a second when all is there. Called by `./dev setup`.
#
# What is installed: Debian packages (the last group from bookworm-backports, which is pinned so low that nothing else
# comes from it), and under target/tools the Python simplestreams tools and cargo-deny.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. e2e/debian.sh

BUILD=(gcc g++ make pkg-config curl ca-certificates git jq openssl shellcheck)
STORES=(postgresql)
IMAGES=(debootstrap squashfs-tools qemu-utils e2fsprogs zstd xz-utils lz4 bzip2)
LXD=(lxd lxd-client lxcfs uidmap xdelta3 rsync attr)
WEB=(nginx wrk python3 python3-venv)
SIGNING=(gpg gpg-agent gpgv)
BACKPORTS=(incus-base incus-client incus-extra)

LOG=target/tools/apt.log
SIMPLESTREAMS_VERSION=0.1.0.post59
CARGO_DENY_VERSION=0.20.2

say() { printf 'setup: %s\n' "$*" >&2; }

# Prints those of the named packages that are not installed.
missing() {
    local have
    have=" $(dpkg-query -W -f '${db:Status-Status}/${Package} ' "$@" 2>/dev/null || true)"
    local p
    for p; do
        case $have in *" installed/$p "*) ;; *) printf '%s\n' "$p" ;; esac
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

need_root() {
    [ "$(id -u)" != 0 ] || return 0
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && return 0
    say "these packages are missing and only root can install them: $*"
    say "run './dev setup' as root, or let this user run sudo without a password"
    exit 1
}

POLICY=/usr/sbin/policy-rc.d
policy_is_ours=
drop_policy() { [ -z "$policy_is_ours" ] || as_root rm -f "$POLICY"; }
trap drop_policy EXIT

# While packages are installed, invoke-rc.d is told that no service may be started.
forbid_services() {
    if [ -e "$POLICY" ]; then return 0; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
    policy_is_ours=1
}

add_backports() {
    local archive keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    archive=$(debian_archive)
    if [ -z "$archive" ]; then
        say "apt knows no Debian archive to take bookworm-backports (Incus) from"
        exit 1
    fi
    printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' "$archive" "$keyring" |
        as_root tee /etc/apt/sources.list.d/headwater-backports.sources >/dev/null
    printf 'Package: *\nPin: release n=bookworm-backports\nPin-Priority: 50\n' |
        as_root tee /etc/apt/preferences.d/headwater-backports >/dev/null
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >>"$LOG" 2>&1 && return 0
    tail -n 20 "$LOG" >&2
    say "apt-get $* failed; its output is in $LOG"
    exit 1
}

install_packages() {
    local main backports
    mapfile -t main < <(missing "${BUILD[@]}" "${STORES[@]}" "${IMAGES[@]}" "${LXD[@]}" "${WEB[@]}" "${SIGNING[@]}")
    mapfile -t backports < <(missing "${BACKPORTS[@]}")
    [ $((${#main[@]} + ${#backports[@]})) -gt 0 ] || return 0

    if ! command -v apt-get >/dev/null; then
        say "this machine has no apt-get; what Debian 12 calls ${main[*]} ${backports[*]} is needed"
        exit 1
    fi
    need_root "${main[@]}" "${backports[@]}"
    say "installing ${main[*]} ${backports[*]}"
    mkdir -p target/tools
    : >"$LOG"
    if [ ${#backports[@]} -gt 0 ] && ! debian_knows_suite bookworm-backports; then add_backports; fi
    apt update
    forbid_services
    [ ${#main[@]} = 0 ] || apt install --no-install-recommends "${main[@]}"
    [ ${#backports[@]} = 0 ] || apt install --no-install-recommends -t bookworm-backports "${backports[@]}"
}

# sstream-mirror and its kin, the reference implementation of simplestreams.
install_simplestreams() {
    local venv=target/tools/python
    [ ! -e "$venv/.simplestreams-$SIMPLESTREAMS_VERSION" ] || return 0
    say "installing python-simplestreams $SIMPLESTREAMS_VERSION"
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        "python-simplestreams==$SIMPLESTREAMS_VERSION" requests
    touch "$venv/.simplestreams-$SIMPLESTREAMS_VERSION"
}

install_cargo_deny() {
    if [ -x target/tools/bin/cargo-deny ] || command -v cargo-deny >/dev/null; then return 0; fi
    say "building cargo-deny $CARGO_DENY_VERSION (once, about a minute)"
    # Without optimisation it is built in a third of the time, and is quick enough for one workspace.
    cargo install --quiet --locked --profile dev --root target/tools "cargo-deny@$CARGO_DENY_VERSION"
}

install_packages
install_simplestreams
install_cargo_deny
