#!/usr/bin/env bash
# Every way to a remote: public, joining with a token as the address, as the password or as the trust token, by a
# certificate that is known already; and what a used, a wrong and a revoked token give.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/open" Open one 202501010000
tiny_image "$CASE/hidden" Hidden one 202501010000
server_start
open=$(publish "$CASE/open/metadata.tar.xz" "$CASE/open/rootfs.squashfs" --public)
hidden=$(publish "$CASE/hidden/metadata.tar.xz" "$CASE/hidden/rootfs.squashfs")
both=$(printf '%s\n' "$open" "$hidden" | sort)

# A client that nobody knows yet.
fresh() {
    local folder
    folder=$(client_config "$1")
    rm -rf "$folder"
    mkdir "$folder"
}

adds() {
    local client=$1 flag token
    flag=$([ "$client" = lxc ] && echo --password || echo --token)

    step "$client: --public"
    "$client" remote add r "$URL" --public --accept-certificate
    assert_eq "$(listed "$client" r)" "$open" "what a guest lists"
    assert_eq "$("$client" remote list -f csv | grep '^r,' | cut -d, -f5)" YES "public, in the list of remotes"
    row "remote add --public --accept-certificate" "$client" api "" works

    step "$client: the token as the address"
    fresh "$client"
    token=$(join_token "$client-address" --administrator)
    "$client" remote add r "$token"
    assert_eq "$(listed "$client" r)" "$both" "what a trusted client lists"
    assert_contains "$("$client" config trust list r: -f csv)" "$client-address" "the trust list, by the name in the token"
    row "remote add TOKEN" "$client" api "" works

    step "$client: a token is good once"
    fresh "$client"
    assert_fails_with "No matching certificate add operation found" "$client" remote add r "$token"
    row "remote add TOKEN (used already)" "$client" api "" "refused: \`No matching certificate add operation found\`"

    step "$client: the token after the address"
    fresh "$client"
    "$client" remote add r "$URL" --accept-certificate "$flag" "$(join_token "$client-flag" --administrator)"
    assert_eq "$(listed "$client" r)" "$both" "what a trusted client lists"
    assert_contains "$("$client" config trust list r: -f csv)" "$client-flag" "the trust list"
    row "remote add URL $flag TOKEN" "$client" api "" works

    step "$client: known already"
    "$client" remote add again "$URL" --accept-certificate
    assert_eq "$(listed "$client" again)" "$both" "what a trusted client lists"
    row "remote add URL (known already)" "$client" api "" works

    step "$client: a wrong token"
    fresh "$client"
    assert_fails_with "not authorized" "$client" remote add r "$URL" --accept-certificate "$flag" wrong
    assert_lacks "$("$client" remote list -f csv)" "r,$URL" "the list of remotes"
    row "remote add URL $flag WRONG" "$client" api "" "refused: \`not authorized\`"

    step "$client: switch, rename, set-url, remove"
    trusted_remote "$client" r
    "$client" remote switch r
    assert_eq "$("$client" image list -f json | jq length)" 2 "what the default remote lists"
    "$client" remote switch local
    "$client" remote rename r s
    "$client" remote set-url s "$URL"
    assert_eq "$(listed "$client" s)" "$both" "what the renamed remote lists"
    "$client" remote remove s
    assert_lacks "$("$client" remote list -f csv)" "s,$URL" "the list of remotes"
    row "remote switch, rename, set-url, remove" "$client" api "" works
}
for client in "${CLIENTS[@]}"; do adds "$client"; done

[ -z "$REFERENCE" ] || exit 0
for client in "${CLIENTS[@]}"; do
    step "$client: by the certificate's file"
    fresh "$client"
    trusted_by_file "$client" r --administrator
    assert_eq "$(listed "$client" r)" "$both" "what a trusted client lists"
    row "remote add URL (certificate added before)" "$client" api "" works

    step "$client: a guest who joins"
    fresh "$client"
    "$client" remote add guest "$URL" --public --accept-certificate
    assert_eq "$(listed "$client" guest)" "$open" "what a guest lists"
    trusted_remote "$client" r
    assert_eq "$(listed "$client" r)" "$both" "what the guest lists after joining"

    step "$client: a client that is known brings another token"
    "$client" remote add second "$(join_token "$client-second" --administrator)"
    assert_eq "$(listed "$client" second)" "$both" "what it lists"
    row "remote add TOKEN (known already)" "$client" api "" works
done
