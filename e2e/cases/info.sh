#!/usr/bin/env bash
# What `image info` and `image show` tell of an image: containers, virtual machines and other architectures.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
root=$IMAGES/bookworm-v1/rootfs.zstd.squashfs
amd64=$(publish bookworm-v1/metadata.tar.xz "$root" --public)
arm64=$(publish bookworm-arm64/metadata.tar.xz "$root" --public)
vm=$(publish bookworm-vm/metadata.tar.xz bookworm-vm/disk.qcow2 --public)

tells() {
    local client=$1 remote=$2 protocol=$3 shown
    assert_eq "$(image_field "$client" "$remote:$amd64" Fingerprint)" "$amd64" "fingerprint"
    assert_eq "$(image_field "$client" "$remote:$amd64" Architecture)" x86_64 "architecture"
    assert_eq "$(image_field "$client" "$remote:$amd64" Type)" container "type"
    assert_eq "$(image_field "$client" "$remote:$amd64" Public)" yes "public"
    assert_eq "$(image_field "$client" "$remote:$arm64" Architecture)" aarch64 "architecture"
    assert_eq "$(image_field "$client" "$remote:$vm" Type)" virtual-machine "type"
    # By the first 12 digits, as lists show them.
    assert_eq "$(image_field "$client" "$remote:${vm:0:12}" Fingerprint)" "$vm" "fingerprint found by its beginning"

    shown=$("$client" image show "$remote:$amd64")
    assert_contains "$shown" "os: Debian"
    assert_contains "$shown" "release: bookworm"
    assert_contains "$shown" "variant: default"
    assert_contains "$shown" "202501010000"
    assert_fails_with "" "$client" image info "$remote:no/such/image"
    row "image info (public)" "$client" "$protocol" "" works
    row "image show (public)" "$client" "$protocol" "" works
}
each_remote tells
