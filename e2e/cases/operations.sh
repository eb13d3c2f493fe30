#!/usr/bin/env bash
# `operation`: what goes on, waiting for it, cancelling it; and the tokens that wait to be used.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/x" x one 202501010000
server_start
fp=$(publish "$CASE/x/metadata.tar.xz" "$CASE/x/rootfs.squashfs" --alias x)

# What goes on; what has just ended, as the token with which the client joined, is listed for a few seconds more.
running() { "$1" operation list r: -f json | jq -r '.[] | select(.status_code < 200) | .id'; }

operations() {
    local client=$1 id secret token
    trusted_remote "$client" r

    step "$client: nothing goes on"
    assert_eq "$(running "$client")" "" "what goes on"

    step "$client: a secret that waits"
    id=$("$client" query --raw -X POST "r:/1.0/images/$fp/secret" | jq -er .metadata.id)
    assert_eq "$(running "$client")" "$id" "what goes on"
    assert_contains "$("$client" operation list r: -f csv)" "$id,TOKEN,Image download token,RUNNING,YES" "the list"
    row "operation list" "$client" api "" works
    assert_contains "$("$client" operation show "r:$id")" "/1.0/images/$fp" "what is shown"
    row "operation show" "$client" api "" works
    assert_eq "$("$client" query "r:/1.0/operations/$id/wait?timeout=1" | jq -r .status)" Running "after a second"
    "$client" operation delete "r:$id" >/dev/null
    row "operation delete" "$client" api "" works
    assert_eq "$("$client" query "r:/1.0/operations/$id/wait" | jq -r .status)" Cancelled "how it ended"
    assert_fails_with "ot found" "$client" operation delete "r:$id"

    step "$client: a secret that was revoked opens nothing"
    secret=$(api "$client" "/1.0/images/$fp/secret" -X POST)
    id=$(jq -er .metadata.id <<<"$secret") secret=$(jq -er .metadata.metadata.secret <<<"$secret")
    "$client" operation delete "r:$id" >/dev/null
    assert_eq "$(curl -sSk "$URL/1.0/images/$fp?secret=$secret" | jq -r .error)" "Image not found" "a guest with it"
    assert_lacks "$(api "$client" "/1.0/operations?recursion=1")" "$secret" "the list of operations"

    step "$client: join tokens are listed without what opens the door, and can be revoked"
    token=$(headwater trust add laptop --administrator --format json | jq -er .token)
    assert_contains "$("$client" config trust list-tokens r: -f csv)" laptop "the tokens that wait"
    shown=$("$client" config trust list-tokens r: -f csv | cut -d, -f2)
    assert_ne "$shown" "$token" "the token in the list"
    mkdir -p "$CASE/stranger-$client"
    LXD_CONF=$CASE/stranger-$client assert_fails_with "" lxc remote add r "$shown"
    assert_contains "$("$client" config trust list-tokens r: -f csv)" laptop "a wrong secret uses nothing up"
    "$client" config trust revoke-token r:laptop
    assert_eq "$("$client" config trust list-tokens r: -f csv)" "" "the tokens after it was revoked"
    LXD_CONF=$CASE/stranger-$client assert_fails_with "" lxc remote add r "$token"
    row "config trust revoke-token" "$client" api "" works
}
for client in "${CLIENTS[@]}"; do operations "$client"; done
