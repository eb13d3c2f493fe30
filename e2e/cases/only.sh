#!/usr/bin/env bash
# A filter in the address, /only/key=value[,value], any number of them, makes a smaller catalog.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

server_start
declare -A fp
for os in Alpine Debian Void; do
    for arch in x86_64 aarch64; do
        tiny_image "$CASE/$os-$arch" "$os" one 202501010000 "$arch"
        fp[$os-$arch]=$(publish "$CASE/$os-$arch/metadata.tar.xz" "$CASE/$os-$arch/rootfs.squashfs" --public)
    done
done
sorted() { printf '%s\n' "$@" | sort; }
for client in "${CLIENTS[@]}"; do
    step "$client"
    add_remote "$client" arm simplestreams /only/arch=arm64
    add_remote "$client" two simplestreams /only/os=alpine,void/only/arch=amd64
    add_remote "$client" none simplestreams /only/os=plan9
    assert_eq "$(listed "$client" arm)" \
        "$(sorted "${fp[Alpine-aarch64]}" "${fp[Debian-aarch64]}" "${fp[Void-aarch64]}")" "one architecture"
    assert_eq "$(listed "$client" two)" "$(sorted "${fp[Alpine-x86_64]}" "${fp[Void-x86_64]}")" "two filters"
    assert_eq "$(listed "$client" none)" "" "a filter that nothing passes"
    # LXD 5.0 decodes an escaped slash before it asks, Incus does not.
    for slash in / %2F; do
        add_remote "$client" named simplestreams "/only/alias=debian${slash}one,void${slash}one${slash}arm64/only/latest=1"
        assert_eq "$(listed "$client" named)" \
            "$(sorted "${fp[Debian-x86_64]}" "${fp[Debian-aarch64]}" "${fp[Void-aarch64]}")" "names with $slash"
        assert_contains "$("$client" image info named:debian/one)" "${fp[Debian-x86_64]}"
        assert_contains "$("$client" image info named:void/one/arm64)" "${fp[Void-aarch64]}"
        mkdir "$CASE/named-$client"
        "$client" image export named:debian/one "$CASE/named-$client/"
        assert_eq "$(cat "$CASE/named-$client"/*.squashfs | sha256sum)" \
            "$(sha256sum <"$CASE/Debian-x86_64/rootfs.squashfs")" "the file of a name with $slash"
        rm -r "$CASE/named-$client"
        "$client" remote remove named
    done
    mkdir "$CASE/out-$client"
    "$client" image export "two:${fp[Void-x86_64]}" "$CASE/out-$client/"
    assert_eq "$(cat "$CASE/out-$client"/*.squashfs | sha256sum)" "$(sha256sum <"$CASE/Void-x86_64/rootfs.squashfs")" "its file"
done
