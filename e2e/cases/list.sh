#!/usr/bin/env bash
# Listing images, all of them and by filter, gives the same over both protocols and with both clients.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
root=$IMAGES/bookworm-v1/rootfs.xz.squashfs
amd64=$(publish bookworm-v1/metadata.tar.xz "$root" --public)
arm64=$(publish bookworm-arm64/metadata.tar.xz "$root" --public)
cloud=$(publish bookworm-cloud/metadata.tar.xz "$root" --public)
vm=$(publish bookworm-vm/metadata.tar.xz bookworm-vm/disk.qcow2 --public)
tiny_image "$CASE/alpine" Alpine 3.20 202501010000
alpine=$(publish "$CASE/alpine/metadata.tar.xz" "$CASE/alpine/rootfs.squashfs" --public)
tiny_image "$CASE/hidden" Alpine 3.21 202501010000
publish "$CASE/hidden/metadata.tar.xz" "$CASE/hidden/rootfs.squashfs" >/dev/null

sorted() { printf '%s\n' "$@" | sort; }

lists() {
    local client=$1 remote=$2 protocol=$3
    assert_eq "$(listed "$client" "$remote")" "$(sorted "$amd64" "$arm64" "$cloud" "$vm" "$alpine")" "all"
    assert_eq "$(listed "$client" "$remote" os=Alpine)" "$alpine" "os=Alpine"
    assert_eq "$(listed "$client" "$remote" type=virtual-machine)" "$vm" "type=virtual-machine"
    assert_eq "$(listed "$client" "$remote" architecture=aarch64)" "$arm64" "architecture=aarch64"
    assert_eq "$(listed "$client" "$remote" os=Debian variant=cloud)" "$cloud" "two filters"
    assert_eq "$(listed "$client" "$remote" "${vm:0:12}")" "$vm" "a fingerprint's beginning"
    assert_eq "$(listed "$client" "$remote" alpine/3.20)" "$alpine" "a word that begins an alias"
    assert_eq "$(listed "$client" "$remote" os=Plan9)" "" "what no image has"
    [ "$protocol" = api ] || row "remote add --protocol simplestreams" "$client" "$protocol" "" works
    row "image list (public)" "$client" "$protocol" "" works
    row "image list FILTER (public)" "$client" "$protocol" "" works
}
each_remote lists
