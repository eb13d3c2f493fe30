#!/usr/bin/env bash
# docs/guides/closed-network.md, typed as it stands: a server, a mirror of it, a disk, and a machine that has nothing else.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
for day in 1 2; do
    tiny_image "$CASE/v$day" Debian bookworm "2025010${day}0000" x86_64
done
publish "$CASE/v1/metadata.tar.xz" "$CASE/v1/rootfs.squashfs" --public
mkdir "$CASE/disk"
for machine in outside inside; do
    ln -s "$CASE/disk" "$(machine "$machine")/disk"
done

guide_before() {
    cp "$DATA/tls/server.crt" "$(machine outside)/images.crt"
    # A week later.
    if [ -e "$CASE/disk/first.tar" ] && [ ! -e "$CASE/later" ]; then
        publish "$CASE/v2/metadata.tar.xz" "$CASE/v2/rootfs.squashfs" --public
        : >"$CASE/later"
    fi
}
guide closed-network

of_inside() { on inside headwater image list --format json; }
assert_eq "$(of_inside | jq -r '.[].fingerprint' | sort)" \
    "$(headwater image list --data "$DATA" --format json | jq -r '.[].fingerprint' | sort)" "the images inside"
# The second bundle carries one version alone.
assert_eq "$(tar -tf "$CASE/disk/next.tar" | grep -c '^files/')" 2 "files in the second bundle"
