#!/usr/bin/env bash
# An image has one fingerprint: the SHA-256 of its bytes, over either protocol, found by alias or not.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.xz.squashfs --public --alias mine >/dev/null
wanted=$(fingerprint_of "$IMAGES/bookworm-v1/metadata.tar.xz" "$IMAGES/bookworm-v1/rootfs.xz.squashfs")

same() {
    assert_eq "$(listed "$1" "$2")" "$wanted" "listed fingerprint"
    assert_eq "$(image_field "$1" "$2:mine" Fingerprint)" "$wanted" "fingerprint behind the alias"
    assert_eq "$(image_field "$1" "$2:debian/12" Fingerprint)" "$wanted" "fingerprint behind the short form"
}
each_remote same
