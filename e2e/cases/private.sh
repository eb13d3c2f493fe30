#!/usr/bin/env bash
# An image that is not public exists for no guest: not in lists, not by alias, not by fingerprint.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/open" Open one 202501010000
tiny_image "$CASE/secret" Secret one 202501010000
server_start
open=$(publish "$CASE/open/metadata.tar.xz" "$CASE/open/rootfs.squashfs" --public)
secret=$(publish "$CASE/secret/metadata.tar.xz" "$CASE/secret/rootfs.squashfs" --alias hush)

hidden() {
    local name
    assert_eq "$(listed "$1" "$2")" "$open" "what a guest lists"
    for name in hush secret/one "$secret" "${secret:0:12}"; do
        assert_fails_with "" "$1" image info "$2:$name"
        assert_fails_with "" "$1" image export "$2:$name" "$CASE/"
    done
}
each_remote hidden
assert_lacks "$(document /streams/v1/index.json)" secret "the index"
assert_eq "$(document "/1.0/images?recursion=1" | jq -r '.metadata[].fingerprint')" "$open" "the API's list"
assert_status 404 -k "$URL/1.0/images/$secret"
assert_status 404 -k "$URL/1.0/images/$secret/export"
assert_eq "$(over_tls "/1.0/images/$secret")" "$(over_tls "/1.0/images/${secret//[0-9]/0}")" \
    "the answer for a hidden image, against the one for none"
