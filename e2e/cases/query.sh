#!/usr/bin/env bash
# `query`, with which people and scripts call the API by hand; and `info` of a remote.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/one" One one 202501010000
server_start
fp=$(publish "$CASE/one/metadata.tar.xz" "$CASE/one/rootfs.squashfs")

asks() {
    local client=$1 said
    trusted_remote "$client" r
    step "$client: reading"
    assert_eq "$("$client" query r:/1.0 | jq -r .auth)" trusted "auth"
    assert_eq "$("$client" query r:/1.0 | jq -r '.config | type')" object "type of config"
    assert_eq "$("$client" query r:/1.0/images | jq -r '.[]')" "/1.0/images/$fp" "addresses of images"
    assert_eq "$("$client" query "r:/1.0/images?recursion=1" | jq -r '.[].fingerprint')" "$fp" "images"
    assert_eq "$("$client" query --raw "r:/1.0/images/$fp" | jq -r '.type, .metadata.fingerprint' | paste -sd,)" "sync,$fp" "the raw answer"
    assert_eq "$("$client" query "r:/1.0/images?recursion=1&filter=properties.os+eq+Nothing")" "[]" "a list that nothing fits"
    assert_fails_with "ot found" "$client" query "r:/1.0/images/${fp//[0-9]/0}"
    row "query" "$client" api "" works

    step "$client: changing"
    "$client" query -X PATCH -d '{"properties": {"colour": "green"}}' "r:/1.0/images/$fp"
    assert_eq "$("$client" query "r:/1.0/images/$fp" | jq -r '.properties | .colour + " " + .os')" "green One" "properties after PATCH"
    said=$("$client" query "r:/1.0/images/$fp" | jq -c '.properties.colour = "blue" | .public = true | {properties, public}')
    "$client" query -X PUT -d "$said" "r:/1.0/images/$fp"
    assert_eq "$("$client" query "r:/1.0/images/$fp" | jq -r '.properties.colour + " \(.public)"')" "blue true" "the image after PUT"
    "$client" query -X POST -d "{\"name\": \"by/hand\", \"target\": \"$fp\", \"description\": \"By hand\"}" r:/1.0/images/aliases
    assert_eq "$("$client" query r:/1.0/images/aliases/by%2Fhand | jq -r '.target, .description' | paste -sd,)" "$fp,By hand" "an alias"
    # LXD 5.0.2 never answers this.
    [ "$REFERENCE" = lxd ] || "$client" query -X PATCH -d '{"description": "Told again"}' r:/1.0/images/aliases/by%2Fhand
    [ "$REFERENCE" = lxd ] || assert_eq "$("$client" query r:/1.0/images/aliases/by%2Fhand | jq -r '.target, .description' | paste -sd,)" "$fp,Told again" "the alias after PATCH"
    "$client" query -X DELETE r:/1.0/images/aliases/by%2Fhand
    assert_fails_with "ot found" "$client" query r:/1.0/images/aliases/by%2Fhand
    row "query -X POST, PUT, PATCH, DELETE" "$client" api "" works

    step "$client: a secret, and what a guest does with it"
    said='{"properties": {"os": "One"}, "public": false}'
    "$client" query -X PUT -d "$said" "r:/1.0/images/$fp"
    assert_status 404 -k "$URL/1.0/images/$fp"
    said=$(image_secret "$client" r "$fp")
    assert_eq "$(curl -sSk "$URL/1.0/images/$fp?secret=$said" | jq -r .metadata.fingerprint)" "$fp" "what the secret shows"
    assert_status 200 -k "$URL/1.0/images/$fp/export?secret=$said"
    assert_status 404 -k "$URL/1.0/images/$fp?secret=${said//[0-9]/0}"

    step "$client: waiting, and info"
    "$client" query --wait -X DELETE "r:/1.0/images/$fp" >/dev/null
    assert_eq "$("$client" query r:/1.0/images)" "[]" "images after one was deleted"
    row "query --wait" "$client" api "" works
    said=$("$client" info r:)
    assert_contains "$said" "auth: trusted" "info"
    assert_contains "$said" "api_version: \"1.0\"" "info"
    row "info" "$client" api "" works
    publish "$CASE/one/metadata.tar.xz" "$CASE/one/rootfs.squashfs" >/dev/null
}
for client in "${CLIENTS[@]}"; do asks "$client"; done
