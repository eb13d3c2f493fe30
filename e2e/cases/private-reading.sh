#!/usr/bin/env bash
# What a client that the server knows reads of private images: list with filters, info, show, properties, export of every
# kind, by alias, by fingerprint and by its beginning.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/split" Split one 202501010000
tiny_unified "$CASE/unified" Unified one 202501010000
tiny_vm "$CASE/vm" Machine one 202501010000
split=("$CASE/split/metadata.tar.xz" "$CASE/split/rootfs.squashfs")
unified=("$CASE/unified/unified.tar.gz")
vm=("$CASE/vm/metadata.tar.xz" "$CASE/vm/disk.qcow2")
server_start
publish "${split[@]}" --alias my/split >/dev/null
publish "${unified[@]}" --alias my/unified --public >/dev/null
publish "${vm[@]}" --alias my/vm >/dev/null

reads() {
    local client=$1 fp
    trusted_remote "$client" r
    fp=$(fingerprint_of "${vm[@]}")
    step "$client: list"
    assert_eq "$(listed "$client" r | wc -l)" 3 "number of images"
    assert_eq "$(listed "$client" r type=virtual-machine)" "$fp" "type=virtual-machine"
    assert_eq "$(listed "$client" r os=Machine)" "$fp" "os=Machine"
    assert_eq "$(listed "$client" r my/vm)" "$fp" "a word that begins an alias"
    assert_eq "$("$client" image list r: my/vm -c fptau -f csv | cut -d, -f1-3)" "${fp:0:12},no,VIRTUAL-MACHINE" "columns"
    for format in table yaml compact; do
        assert_contains "$("$client" image list r: -c F -f "$format")" "$fp" "the list as $format"
    done
    row "image list (private)" "$client" api "" works

    if [ "$client" = incus ]; then
        assert_contains "$(incus image list r: --all-projects -f csv -c eF)" "default,$fp" "the list of all projects"
        row "image list --all-projects" incus api "" works
    fi

    step "$client: info and show"
    for name in my/vm "$fp" "${fp:0:12}" "${fp:0:3}"; do
        assert_eq "$(image_field "$client" "r:$name" Fingerprint)" "$fp" "the image called $name"
        assert_eq "$(image_field "$client" "r:$name" Type)" virtual-machine "type of $name"
        assert_eq "$(image_field "$client" "r:$name" Public)" no "public of $name"
        assert_contains "$("$client" image show "r:$name")" "os: Machine" "what is shown of $name"
    done
    row "image info (private)" "$client" api "" works
    row "image show (private)" "$client" api "" works
    assert_fails_with "ot found" "$client" image info r:nobody
    assert_fails_with "ot found" "$client" image info r:
    "$client" image alias create r:default "$fp"
    assert_eq "$(image_field "$client" r: Fingerprint)" "$fp" "the image without a name, which is called default"
    "$client" image alias delete r:default

    step "$client: export"
    assert_image "$client" r:my/split container "${split[@]}"
    assert_image "$client" r:my/unified container "${unified[@]}"
    assert_image "$client" r:my/vm virtual-machine "${vm[@]}"
    row "image export (private)" "$client" api "" works
    "$client" image export r:my/unified "$CASE/named-$client"
    assert_same_file "$CASE/named-$client.tar.gz" "${unified[0]}"
    "$client" image export r:my/vm "$CASE/named-$client" --vm
    assert_same_file "$CASE/named-$client.root" "${vm[1]}"
    row "image export (target name, --vm)" "$client" api "" works
}
for client in "${CLIENTS[@]}"; do reads "$client"; done
