#!/usr/bin/env bash
# `image export` gives back the very files that were published: split, with each kind of root; unified; and VM.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
kinds=(
    "bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs"
    "bookworm-cloud/metadata.tar.xz bookworm-v1/rootfs.tar.xz"
    "bookworm-vm/metadata.tar.xz bookworm-vm/disk.qcow2"
    "bookworm-v1/unified.tar.gz"
)
for kind in "${kinds[@]}"; do
    read -ra files <<<"$kind"
    fp=$(publish "${files[@]}" --public)
    assert_eq "$fp" "$(cd "$IMAGES" && fingerprint_of "${files[@]}")" "fingerprint of $kind"
done

sums() { (cd "$1" && shift && sha256sum "$@") | cut -d' ' -f1 | sort; }

exports() {
    local client=$1 remote=$2 protocol=$3 kind files fp
    for kind in "${kinds[@]}"; do
        read -ra files <<<"$kind"
        fp=$(cd "$IMAGES" && fingerprint_of "${files[@]}")
        rm -rf "$CASE/out"
        mkdir "$CASE/out"
        "$client" image export "$remote:$fp" "$CASE/out/"
        assert_eq "$(cd "$CASE/out" && sums . -- *)" "$(sums "$IMAGES" "${files[@]}")" "sums of what was exported of $kind"
    done
    row "image export (public)" "$client" "$protocol" "" works
}
each_remote exports
