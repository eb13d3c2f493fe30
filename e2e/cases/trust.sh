#!/usr/bin/env bash
# `config trust`: who is known to the server is managed with the clients, by those who administer it.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/hidden" Hidden one 202501010000
server_start
hidden=$(publish "$CASE/hidden/metadata.tar.xz" "$CASE/hidden/rootfs.squashfs")

# A second client of each kind.
other_lxc() { mkdir -p "$CASE/other-lxc" && LXD_CONF=$CASE/other-lxc lxc "$@"; }
other_incus() { mkdir -p "$CASE/other-incus" && INCUS_CONF=$CASE/other-incus incus "$@"; }
names() { "$1" config trust list r: -f json | jq -r '.[].name' | sort; }
tokens() { "$1" config trust list-tokens r: -f json | jq -r '.[].ClientName // .[].client_name' | sort; }
print_of() { openssl x509 -in "$1" -outform DER | sha256sum | cut -d' ' -f1; }

manages() {
    local client=$1 token fp
    trusted_remote "$client" r
    step "$client: add, with a token"
    # lxc makes tokens for its default remote only; with a remote it expects a certificate's file.
    if [ "$client" = lxc ]; then
        lxc remote switch r
        token=$(lxc config trust add --name second | tail -n 1)
        lxc remote switch local
    else
        token=$(incus config trust add r:second | tail -n 1)
    fi
    assert_eq "$(tokens "$client")" second "the tokens that wait"
    row "config trust add (token)" "$client" api "" works
    row "config trust list-tokens" "$client" api "" works
    "other_$client" remote add r "$token"
    assert_eq "$(listed "other_$client" r)" "$hidden" "what the second client lists"
    assert_eq "$(tokens "$client")" "" "the tokens after it was used"
    assert_eq "$(names "$client")" "$(printf '%s\n' "$client" second)" "the trust list"
    row "config trust list" "$client" api "" works

    step "$client: show and edit"
    fp=$(print_of "$CASE/other-$client/client.crt")
    assert_contains "$("$client" config trust show "r:$fp")" "name: second" "what is shown"
    row "config trust show" "$client" api "" works
    "$client" config trust show "r:$fp" | sed 's/^name: .*/name: renamed/' | "$client" config trust edit "r:$fp"
    assert_contains "$(names "$client")" renamed "the trust list after an edit"
    row "config trust edit" "$client" api "" works

    step "$client: remove"
    "$client" config trust remove "r:${fp:0:12}"
    assert_eq "$(names "$client")" "$client" "the trust list after removing"
    assert_fails_with "not authorized" "other_$client" config trust list r:
    row "config trust remove" "$client" api "" works

    step "$client: add, with a certificate's file"
    # The client that was removed is known again without doing anything.
    if [ "$client" = lxc ]; then
        lxc config trust add r: "$CASE/other-$client/client.crt" --name by-file
    else
        incus config trust add-certificate r: "$CASE/other-$client/client.crt" --name by-file
    fi
    assert_eq "$(listed "other_$client" r)" "$hidden" "what the second client lists"
    assert_contains "$(names "$client")" by-file "the trust list"
    row "config trust add (certificate)" "$client" api "" works
    "$client" config trust remove "r:$fp"

    step "$client: revoke a token"
    if [ "$client" = lxc ]; then
        lxc remote switch r
        token=$(lxc config trust add --name third | tail -n 1)
        lxc remote switch local
    else
        token=$(incus config trust add r:third | tail -n 1)
    fi
    "$client" config trust revoke-token r:third
    assert_eq "$(tokens "$client")" "" "the tokens after one was revoked"
    rm -rf "$CASE/other-$client"
    assert_fails_with "No matching certificate add operation found" "other_$client" remote add r "$token"
    row "config trust revoke-token" "$client" api "" works

    step "$client: itself"
    fp=$(print_of "$(client_config "$client")/client.crt")
    "$client" config trust remove "r:${fp:0:12}"
    assert_fails_with "not authorized" "$client" config trust list r:
}
for client in "${CLIENTS[@]}"; do manages "$client"; done
