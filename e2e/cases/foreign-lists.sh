#!/usr/bin/env bash
# Beside images there is nothing: lists are empty, single things are not there, and what would run something is refused
# with a sentence that says why.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
tiny_image "$CASE/one" One one 202501010000
server_start
fp=$(publish "$CASE/one/metadata.tar.xz" "$CASE/one/rootfs.squashfs")
nothing="this server keeps images and runs nothing"

foreign() {
    local client=$1 area
    trusted_remote "$client" r
    step "$client: lists"
    assert_eq "$("$client" list r: -f csv)" "" "instances"
    assert_eq "$("$client" list r: -f json)" "[]" "instances in JSON"
    assert_eq "$("$client" profile list r: -f csv)" "" "profiles"
    "$client" operation list r: >/dev/null
    row "list, profile list" "$client" api "nothing is there" works
    for area in network storage warning; do
        assert_eq "$("$client" "$area" list r: -f csv)" "" "$area list"
        assert_eq "$("$client" "$area" list r: -f json)" "[]" "$area list in JSON"
        row "$area list" "$client" api "nothing is there" works
    done
    # As with a daemon that is in no cluster, there is none to list: the client asks for nothing.
    assert_fails_with "missing the required" "$client" cluster list r:
    row "cluster list" "$client" api "" "refused: The server is missing the required … API extension"

    step "$client: single things"
    assert_fails_with "Profile not found" "$client" profile show r:default
    assert_fails_with "Instance not found" "$client" start r:c1
    assert_fails_with "Instance not found" "$client" publish r:c1 r:

    step "$client: what would run something"
    assert_fails_with "$nothing" "$client" init "r:$fp" r:c1
    assert_fails_with "$nothing" "$client" launch "r:$fp" r:c1
    assert_fails_with "$nothing" "$client" profile create r:p
    assert_fails_with "$nothing" "$client" exec r:c1 -- true
    row "launch, init, profile create" "$client" api "Headwater itself" "refused: $nothing …"
}
for client in "${CLIENTS[@]}"; do foreign "$client"; done
# Guests are told nothing at all.
for path in instances profiles networks projects operations; do
    assert_status 403 -k "$URL/1.0/$path"
done
