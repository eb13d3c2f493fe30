#!/usr/bin/env bash
# Every packing of an image can be published, has the fingerprint that its bytes give, and is published only once.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_need_binary
one() {
    local said
    said=$(cd "$IMAGES" && headwater publish "$@" --format json)
    assert_eq "$(jq -r .fingerprint <<<"$said")" "$(cd "$IMAGES" && fingerprint_of "$@")" "fingerprint of $*"
    assert_eq "$(jq -r .already_published <<<"$said")" false "already_published of $*"
    said=$(cd "$IMAGES" && headwater publish "$@" --format json)
    assert_eq "$(jq -r .already_published <<<"$said")" true "already_published of $* the second time"
}
for packing in tar.gz tar.xz tar.zst tar.bz2 tar.lz4 squashfs; do
    step "unified.$packing"
    one "bookworm-v1/unified.$packing"
done
for root in rootfs.zstd.squashfs rootfs.xz.squashfs rootfs.tar.xz; do
    step "$root"
    one bookworm-v1/metadata.tar.xz "bookworm-v1/$root"
done
one bookworm-vm/metadata.tar.xz bookworm-vm/disk.qcow2
assert_eq "$(headwater image list --format json | jq length)" 10 "number of images"
assert_fails_with "" headwater publish "$IMAGES/SHA256SUMS"
