#!/usr/bin/env bash
# `image import`: split, unified and virtual machine, with aliases, properties and public; and what is refused.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/split" Split one 202501010000
tiny_unified "$CASE/unified" Unified one 202501010000
tiny_vm "$CASE/vm" Machine one 202501010000
# An image that belongs to no line of images has no names but those it is given.
tiny_image "$CASE/nameless" Nameless one 202501010000
sed -i '/^  os:/d; /^  release:/d' "$CASE/nameless/metadata.yaml"
tar -C "$CASE/nameless" -cJf "$CASE/nameless/metadata.tar.xz" metadata.yaml
mkdir "$CASE/folder"
cp -r "$CASE/unified"/{metadata.yaml,rootfs} "$CASE/folder/"
mkdir "$CASE/folder/templates"
sed -i 's/Unified/Folder/' "$CASE/folder/metadata.yaml"
split=("$CASE/split/metadata.tar.xz" "$CASE/split/rootfs.squashfs")
unified=("$CASE/unified/unified.tar.gz")
nameless=("$CASE/nameless/metadata.tar.xz" "$CASE/nameless/rootfs.squashfs")
vm=("$CASE/vm/metadata.tar.xz" "$CASE/vm/disk.qcow2")
server_start
echo "not an image" >"$CASE/garbage"

imports() {
    local client=$1 said fp
    trusted_remote "$client" r
    step "$client: split"
    said=$(told "$client" image import "${split[@]}" r: --alias split --alias with/slash)
    assert_contains "$said" "Image imported with fingerprint: $(fingerprint_of "${split[@]}")"
    assert_image "$client" r:split container "${split[@]}"
    assert_image "$client" r:with/slash container "${split[@]}"
    assert_eq "$(image_field "$client" r:split Public)" no "public"
    row "image import METADATA ROOTFS --alias" "$client" api "" works

    step "$client: unified, public, with properties"
    "$client" image import "${unified[@]}" r: --alias unified --public colour=green "os=Debian & more" >/dev/null
    assert_image "$client" r:unified container "${unified[@]}"
    assert_eq "$(image_field "$client" r:unified Public)" yes "public"
    assert_eq "$("$client" image get-property r:unified colour)" green "a property of the command line"
    assert_eq "$("$client" image get-property r:unified os)" "Debian & more" "a property that replaces one of the file"
    assert_eq "$("$client" image get-property r:unified release)" one "a property of the file"
    row "image import UNIFIED --public KEY=VALUE" "$client" api "" works

    step "$client: virtual machine"
    "$client" image import "${vm[@]}" r: --alias vm >/dev/null
    assert_image "$client" r:vm virtual-machine "${vm[@]}"
    row "image import METADATA DISK (VM)" "$client" api "" works

    if [ "$(id -u)" = 0 ]; then
        step "$client: a folder"
        "$client" image import "$CASE/folder" r: --alias folder >/dev/null
        "$client" image export r:folder "$CASE/packed-$client"
        fp=$(image_field "$client" r:folder Fingerprint)
        assert_eq "$(fingerprint_of "$CASE/packed-$client".*)" "$fp" "the sum of what the client packed"
        "$client" image delete r:folder
        row "image import DIRECTORY" "$client" api "" works
    fi

    step "$client: what is there already"
    fp=$(fingerprint_of "${split[@]}")
    assert_fails_with "Image with same fingerprint already exists" "$client" image import "${split[@]}" r:
    assert_eq "$(listed "$client" r | grep -c "$fp")" 1 "how often it is listed"
    assert_fails_with "" "$client" image import "$CASE/garbage" r:
    assert_eq "$(listed "$client" r | wc -l)" 3 "number of images"

    step "$client: an alias moves to what is imported with it"
    "$client" image delete r:unified
    "$client" image import "${unified[@]}" r: --alias split >/dev/null
    assert_eq "$(image_field "$client" r:split Fingerprint)" "$(fingerprint_of "${unified[@]}")" "where the alias leads"
    assert_eq "$(image_field "$client" r:with/slash Fingerprint)" "$fp" "where the other alias leads"
    row "image import --alias of another image" "$client" api "" works
    if [ "$client" = incus ]; then
        # The image that had the alias goes, when it has no other.
        incus image import "${nameless[@]}" r: --alias with/slash --reuse >/dev/null
        incus image delete "r:$(fingerprint_of "${vm[@]}")"
        incus image import "${vm[@]}" r: --alias with/slash --reuse >/dev/null
        assert_image incus r:with/slash virtual-machine "${vm[@]}"
        assert_no_image incus "r:$(fingerprint_of "${nameless[@]}")"
        row "image import --reuse" incus api "" works
    fi

    for fp in $(listed "$client" r); do "$client" image delete "r:$fp"; done
}
for client in "${CLIENTS[@]}"; do imports "$client"; done
