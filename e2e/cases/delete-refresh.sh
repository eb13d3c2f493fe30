#!/usr/bin/env bash
# `image delete`, of one and of several, by every name; and `image refresh` of an image that came from nowhere.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

for name in w x y z; do tiny_image "$CASE/$name" "$name" one 202501010000; done
server_start
put() { publish "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs" --alias "$1" --alias "also/$1"; }

deletes() {
    local client=$1 w x z
    w=$(put w) x=$(put x) z=$(put z)
    put y >/dev/null
    trusted_remote "$client" r

    step "$client: refresh"
    assert_fails_with "mage source not found" "$client" image refresh r:w
    row "image refresh of an image without a source" "$client" api "" "\`Image source not found\`"
    assert_fails_with "ot found" "$client" image refresh "r:${w//[0-9]/0}"

    step "$client: delete"
    "$client" image delete r:w
    assert_no_image "$client" r:w
    assert_no_image "$client" "r:$w"
    assert_no_image "$client" r:also/w
    "$client" image delete "r:${x:0:12}"
    "$client" image delete r:also/y "r:$z"
    assert_eq "$(listed "$client" r)" "" "what is left"
    assert_eq "$("$client" image alias list r: -f csv)" "" "aliases that are left"
    row "image delete" "$client" api "" works
    row "image delete of several" "$client" api "" works
    assert_fails_with "ot found" "$client" image delete "r:$w"

    step "$client: what was deleted can come again"
    assert_eq "$(put w)" "$w" "the fingerprint of what came again"
    assert_image "$client" r:w container "$CASE/w/metadata.tar.xz" "$CASE/w/rootfs.squashfs"
    "$client" image delete r:w
}
for client in "${CLIENTS[@]}"; do deletes "$client"; done
