#!/usr/bin/env bash
# `image alias` list, create, rename and delete, with every character that a name may have.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/one" One one 202501010000
tiny_vm "$CASE/two" Two two 202501010000
server_start
one=$(publish "$CASE/one/metadata.tar.xz" "$CASE/one/rootfs.squashfs")
two=$(publish "$CASE/two/metadata.tar.xz" "$CASE/two/disk.qcow2")

aliases() { "$1" image alias list r: -f json | jq -r '.[] | select(.name | test("/one|/two") | not) | .name' | sort; }
target() { "$1" image alias list r: -f json | jq -r --arg name "$2" '.[] | select(.name == $name) | .target'; }

changes() {
    local client=$1 name names=(plain with/slash deep/er/slashes "a b+c" naïve 'per%cent')
    trusted_remote "$client" r
    for name in "${names[@]}"; do
        step "$client: $name"
        "$client" image alias create "r:$name" "${one:0:16}"
        assert_eq "$(target "$client" "$name")" "$one" "where $name leads"
        assert_eq "$(image_field "$client" "r:$name" Fingerprint)" "$one" "the image called $name"
    done
    assert_eq "$(aliases "$client")" "$(printf '%s\n' "${names[@]}" | sort)" "the list of aliases"
    row "image alias create" "$client" api "" works
    row "image alias list" "$client" api "" works

    step "$client: the list by type and with a filter"
    "$client" image alias create r:machine "$two"
    assert_contains "$("$client" image alias list r: machine -f csv)" "${two:0:12}" "the list with a filter"
    assert_eq "$("$client" image alias list r: -f json | jq -r '.[] | select(.name == "machine") | .type')" virtual-machine "its type"
    if [ "$client" = incus ]; then
        incus image alias create r:told "$two" --description "A machine"
        assert_contains "$(incus image alias list r: told -f csv)" "A machine" "the description in the list"
        incus image alias delete r:told
        row "image alias create --description" incus api "" works
    fi

    step "$client: rename"
    "$client" image alias rename r:with/slash moved/here
    assert_eq "$(target "$client" moved/here)" "$one" "where the new name leads"
    assert_eq "$(target "$client" with/slash)" "" "where the old name leads"
    row "image alias rename" "$client" api "" works

    step "$client: what is refused"
    assert_fails_with "already exists" "$client" image alias create r:plain "$two"
    assert_eq "$(target "$client" plain)" "$one" "the alias that was there"
    assert_fails_with "already exists" "$client" image alias rename r:moved/here plain
    assert_fails_with "ot found" "$client" image alias create r:new "${one//[0-9]/0}"
    assert_fails_with "ot found" "$client" image alias delete r:nobody
    assert_fails_with "ot found" "$client" image alias rename r:nobody somebody

    step "$client: delete"
    for name in moved/here machine "${names[@]}"; do
        [ "$name" = with/slash ] || "$client" image alias delete "r:$name"
    done
    assert_eq "$(aliases "$client")" "" "the list after all were deleted"
    assert_eq "$(listed "$client" r)" "$(printf '%s\n' "$one" "$two" | sort)" "the images, which stay"
    row "image alias delete" "$client" api "" works
}
for client in "${CLIENTS[@]}"; do changes "$client"; done
