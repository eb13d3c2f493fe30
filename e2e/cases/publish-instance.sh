#!/usr/bin/env bash
# `publish` of a container to the server: its daemon makes the image, and the server fetches it from there with a secret.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

small_system "$CASE/small" Small one 202501010000
server_start
base=$(publish "$CASE/small/metadata.tar.xz" "$CASE/small/rootfs.squashfs" --alias base)

publishes() {
    local client=$1 where fp reuse=(--reuse) snapshot=(snapshot create)
    [ "$client" = incus ] || reuse=() snapshot=(snapshot)
    where="$(title "$(daemon_name "$client")") → Headwater"
    daemon "$client"
    daemon_can_run "$client"
    daemon_listen "$client"
    trusted_remote "$client" hw
    "$client" launch hw:base made
    "$client" exec made -- sh -c 'echo made here >/etc/made-here'

    step "$client: running"
    assert_fails_with "running" "$client" publish made hw: --alias built
    "$client" publish made hw: --alias built/here --force --compression gzip os=Built release=one
    row "publish --force --alias (running container)" "$client" api "$where" works
    fp=$(image_field "$client" hw:built/here Fingerprint)
    assert_ne "$fp" "$base" "the fingerprint of what was published"
    assert_eq "$("$client" image get-property hw:built/here os)" Built "a property"
    assert_eq "$(image_field "$client" hw:built/here Public)" no "public"
    "$client" image export hw:built/here "$CASE/built-$client"
    assert_eq "$(fingerprint_of "$CASE/built-$client".tar.gz)" "$fp" "the sum of what was exported"
    assert_eq "$(tar -xzOf "$CASE/built-$client".tar.gz rootfs/etc/made-here)" "made here" "a file in it"

    step "$client: the container runs again, and another starts from what was published"
    assert_eq "$("$client" list made -f json | jq -r '.[0].status')" Running "status of the published container"
    "$client" launch hw:built/here again
    assert_eq "$("$client" exec again -- cat /etc/made-here)" "made here" "the file in it"
    "$client" delete --force again

    step "$client: stopped, public, in place of the older"
    "$client" stop --force made
    "$client" start made
    "$client" exec made -- sh -c 'echo made later >/etc/made-here'
    "$client" stop --force made
    # lxc takes the alias from the image that had it, incus is asked to do so.
    "$client" publish made hw: --alias built/here --public "${reuse[@]}"
    assert_ne "$(image_field "$client" hw:built/here Fingerprint)" "$fp" "where the alias leads"
    assert_eq "$(image_field "$client" hw:built/here Public)" yes "public"
    row "publish --alias --public (stopped container)" "$client" api "$where" works

    step "$client: a snapshot"
    "$client" "${snapshot[@]}" made before
    "$client" publish made/before hw: --alias snapshot
    assert_eq "$(image_field "$client" hw:snapshot Type)" container "type"
    row "publish (snapshot)" "$client" api "$where" works

    assert_eq "$("$client" image list -f json | jq length)" 2 "images that the daemon keeps: those it launched from"
    for fp in $(listed "$client" hw); do [ "$fp" = "$base" ] || "$client" image delete "hw:$fp"; done
    daemon_clean "$client"
}
for client in "${CLIENTS[@]}"; do publishes "$client"; done
