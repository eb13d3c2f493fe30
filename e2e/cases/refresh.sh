#!/usr/bin/env bash
# A daemon that keeps an image by alias finds the newer version when it looks, and drops the older.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
v1=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
kept() {
    daemon "$1"
    "$1" image copy "$2:debian/12" local: --alias "$3" --auto-update
    assert_eq "$(image_field "$1" "local:$3" Fingerprint)" "$v1" "the first version"
}
refreshed() {
    "$1" image refresh "local:$3"
    assert_eq "$(image_field "$1" "local:$3" Fingerprint)" "$v2" "the version after a refresh"
    row "image refresh of a copy" "$1" "$3" "Headwater → $(title "$(daemon_name "$1")")" works
}

# A daemon keeps one image with one source; each protocol gets its turn.
for protocol in "${PROTOCOLS[@]}"; do
    PROTOCOLS=("$protocol")
    each_remote kept
    v2=$(publish bookworm-v2/metadata.tar.xz bookworm-v2/rootfs.zstd.squashfs --public)
    for client in "${CLIENTS[@]}"; do daemon_forget "$client"; done
    each_remote refreshed
    for client in "${CLIENTS[@]}"; do daemon_clean "$client"; done
    headwater image delete "$v2"
done
