#!/usr/bin/env bash
# `image import https://…`: the server fetches the image from an address that names it in two headers, and looks whether
# it is the one.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

mkdir "$CASE/www"
tiny_unified "$CASE/tiny" Fetched one 202501010000
file=$CASE/tiny/unified.tar.gz
fp=$(fingerprint_of "$file")
cp "$file" "$CASE/www/image.tar.gz"
for name in image lxd-only incus-only wrong nothing; do echo "headers tell" >"$CASE/www/$name"; done
other=$(sha256sum "$CASE/www/image" | cut -d' ' -f1)
for_lxd() { echo "add_header LXD-Image-Hash $1; add_header LXD-Image-URL https://\$http_host/image.tar.gz;"; }
for_incus() { echo "add_header Incus-Image-Hash $1; add_header Incus-Image-URL https://\$http_host/image.tar.gz;"; }
static_server "$CASE/www" "
        location = /image { $(for_lxd "$fp") $(for_incus "$fp") }
        location = /lxd-only { $(for_lxd "$fp") }
        location = /incus-only { $(for_incus "$fp") }
        location = /wrong { $(for_lxd "$other") $(for_incus "$other") }"
server_start

imports() {
    local client=$1 family name
    family=$(daemon_name "$client")
    trusted_remote "$client" r
    for name in image $([ -n "$REFERENCE" ] && echo "$family-only" || echo lxd-only incus-only); do
        step "$client: $name"
        "$client" image import "$STATIC_URL/$name" r: --alias fetched >/dev/null
        assert_image "$client" r:fetched container "$file"
        assert_eq "$(image_field "$client" r:fetched Public)" no "public"
        "$client" image delete r:fetched
    done
    row "image import https://…" "$client" api "" works
    "$client" image import "$STATIC_URL/image" r: --public colour=green >/dev/null
    assert_eq "$(image_field "$client" "r:$fp" Public)" yes "public"
    assert_eq "$("$client" image get-property "r:$fp" colour)" green "a property"
    "$client" image delete "r:$fp"
    row "image import https://… --public KEY=VALUE" "$client" api "" works

    step "$client: what is refused"
    assert_fails_with "$other" "$client" image import "$STATIC_URL/wrong" r:
    assert_fails_with "Image-Hash" "$client" image import "$STATIC_URL/nothing" r:
    assert_fails_with "" "$client" image import "$STATIC_URL/missing" r:
    assert_fails_with "Only https://" "$client" image import "${STATIC_URL/https/http}/image" r:
    assert_eq "$(listed "$client" r)" "" "what is listed"
}
for client in "${CLIENTS[@]}"; do imports "$client"; done
