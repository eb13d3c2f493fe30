#!/usr/bin/env bash
# The reference tools of simplestreams: sstream-mirror copies the tree whole, again after a new version, and filtered.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tools=$TOP/target/tools/python/bin
[ -x "$tools/sstream-mirror" ] || fail "sstream-mirror is missing: run './dev setup'"
server_start
for serial in 202501010000 202502010000; do
    tiny_image "$CASE/$serial" Debian bookworm "$serial"
done
publish_day() { publish "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs" --public >/dev/null; }
mirror() { # folder, argument...
    local to=$1
    shift
    REQUESTS_CA_BUNDLE=$DATA/tls/server.crt SSL_CERT_FILE=$DATA/tls/server.crt \
        "$tools/sstream-mirror" --no-verify "$@" "$URL/streams/v1/index.json" "$to"
}
held() { (cd "$1" && find . -type f -size +0 -path './images/*' -exec sha256sum {} +) | cut -d' ' -f1 | sort; }
wanted() { for day; do sha256sum "$CASE/$day/metadata.tar.xz" "$CASE/$day/rootfs.squashfs"; done | cut -d' ' -f1 | sort -u; }

publish_day 202501010000
mirror "$CASE/mirror"
assert_eq "$(held "$CASE/mirror")" "$(wanted 202501010000)" "the files of the mirror"
publish_day 202502010000
mirror "$CASE/mirror"
assert_eq "$(held "$CASE/mirror")" "$(wanted 202501010000 202502010000)" "the files after a new version"
mirror "$CASE/newest" --max 1
assert_eq "$(held "$CASE/newest")" "$(wanted 202502010000)" "the newest version alone"

step "the mirror, served by another web server"
static_server "$CASE/mirror"
for client in "${CLIENTS[@]}"; do
    trust "$client" mirror "$STATIC_CERTIFICATE"
    "$client" remote add mirror "$STATIC_URL" --protocol=simplestreams
done
fp=$(fingerprint_of "$CASE/202502010000/metadata.tar.xz" "$CASE/202502010000/rootfs.squashfs")
found=
for client in "${CLIENTS[@]}"; do
    # A tree mirrored by a Python client is for one family of clients or for both, as the server decides.
    if listed "$client" mirror | grep "$fp" >/dev/null; then found+=" $client"; fi
done
[ -n "$found" ] || fail "neither client finds the image in the mirror"
step "found by:$found"
