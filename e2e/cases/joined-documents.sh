#!/usr/bin/env bash
# Documents are joined from compressed pieces, one for each product: the real clients, the reference tools and curl read all of
# them, also after something was published into the middle.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tools=$TOP/target/tools/python/bin
[ -x "$tools/sstream-mirror" ] || fail "sstream-mirror is missing: run './dev setup'"
server_start
declare -A fp
add() { # os
    tiny_image "$CASE/$1" "$1" bookworm 202501010000
    fp[$1]=$(publish "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs" --public)
}
# Published in another order than they are listed in, so that the parts do not lie in the document's order.
for os in Void Alpine Debian Fedora Arch; do add "$os"; done
document() { curl --silent --fail --cacert "$DATA/tls/server.crt" -H 'Accept-Encoding: gzip' "$URL/streams/v1/$1.json"; }
assert_eq "$(document images | zcat | jq '.products | length')" 5 "products, by gzip"
assert_eq "$(document index | zcat | jq '.index.images.products | length')" 5 "keys, by gzip"
document images | gzip --test || fail "gzip finds the document damaged"
by_curl() { curl --silent --fail --compressed --cacert "$DATA/tls/server.crt" "$URL/streams/v1/$1.json"; }
assert_eq "$(by_curl images | jq '.products | length')" 5 "products, by curl"
assert_eq "$(by_curl index | jq '.index.images.products | length')" 5 "keys, by curl"

everything() { printf '%s\n' "${fp[@]}" | sort; }
for client in "${CLIENTS[@]}"; do
    step "$client"
    # After the server has made the document for others; incus itself would not look again within minutes.
    add "Between-$client"
    add_remote "$client" tree simplestreams
    assert_eq "$(listed "$client" tree)" "$(everything)" "all products, with one more in the middle"
    mkdir "$CASE/out-$client"
    "$client" image export "tree:${fp[Fedora]}" "$CASE/out-$client/"
    assert_eq "$(cat "$CASE/out-$client"/*.squashfs | sha256sum)" "$(sha256sum <"$CASE/Fedora/rootfs.squashfs")" "its file"
done

step "sstream-mirror"
REQUESTS_CA_BUNDLE=$DATA/tls/server.crt SSL_CERT_FILE=$DATA/tls/server.crt \
    "$tools/sstream-mirror" --no-verify "$URL/streams/v1/index.json" "$CASE/mirror"
held() { (cd "$1" && find images -type f -size +0 -exec sha256sum {} +) | cut -d' ' -f1 | sort; }
wanted() { for os in "${!fp[@]}"; do sha256sum "$CASE/$os/metadata.tar.xz" "$CASE/$os/rootfs.squashfs"; done | cut -d' ' -f1 | sort -u; }
assert_eq "$(held "$CASE/mirror")" "$(wanted)" "the files of the mirror"
