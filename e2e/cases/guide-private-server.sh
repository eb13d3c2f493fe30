#!/usr/bin/env bash
# docs/guides/private-server.md, typed as it stands, with a real LXD and a real Incus.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
daemon lxc
daemon incus
daemon_can_run lxc
daemon_listen lxc
# What Ben's build left.
small_system "$CASE/built" Debian bookworm 202501010000
cp "$CASE/built/metadata.tar.xz" "$(machine ben)/incus.tar.xz"
cp "$CASE/built/rootfs.squashfs" "$(machine ben)/rootfs.squashfs"

# What the page says in words about the server's certificate.
guide_before() {
    [ "$1" = host ] || return 0
    mkdir -p "$(machine host)/.config/incus/servercerts"
    cp "$DATA/tls/server.crt" "$(machine host)/.config/incus/servercerts/team.crt"
}
guide private-server
assert_eq "$(image_field incus local:base Fingerprint)" "$(fingerprint_of "$CASE/built"/{metadata.tar.xz,rootfs.squashfs})" \
    "the image that the host keeps"
