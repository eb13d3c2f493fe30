#!/usr/bin/env bash
# The reference tools of simplestreams: sstream-mirror copies the tree whole, again after a new version, and filtered; signed, too.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tools=$TOP/target/tools/python/bin
[ -x "$tools/sstream-mirror" ] || fail "sstream-mirror is missing: run './dev setup'"
# Which files there are is counted here, and deltas are there a moment later.
export HEADWATER_DELTAS_ENABLED=false
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

step "signed, and filtered in their own words"
headwater key create --name "Signs streams" --data "$DATA"
tiny_image "$CASE/alpine" Alpine 3.22 202502020000
tiny_image "$CASE/arm64" Debian bookworm 202502030000 aarch64
tiny_vm "$CASE/vm" Debian trixie 202502040000
publish "$CASE/alpine/metadata.tar.xz" "$CASE/alpine/rootfs.squashfs" --public >/dev/null
publish "$CASE/arm64/metadata.tar.xz" "$CASE/arm64/rootfs.squashfs" --public >/dev/null
publish "$CASE/vm/metadata.tar.xz" "$CASE/vm/disk.qcow2" --public >/dev/null
curl -sSf --cacert "$DATA/tls/server.crt" "$URL/signing-key.gpg" -o "$CASE/key.gpg"
signed() { # tool, argument...
    REQUESTS_CA_BUNDLE=$DATA/tls/server.crt SSL_CERT_FILE=$DATA/tls/server.crt "$tools/$1" --keyring "$CASE/key.gpg" "${@:2}"
}
ask() { signed sstream-query --output-format '%(product_name)s %(version_name)s %(ftype)s %(sha256)s' "$@" | sort; } # address, filter...
row() { # product, serial, ftype, file
    echo "$1 $2 $3 $(sha256sum "$4" | cut -d' ' -f1)"
}
INDEX=$URL/streams/v1/index.sjson
ask_both() { ask --max "${@:1:1}" "$INDEX" "${@:2}"; } # how many versions, filter...
assert_eq "$(ask_both 1 ftype=squashfs os=Debian arch=amd64)" \
    "$(row debian:bookworm:amd64:default 202502010000 squashfs "$CASE/202502010000/rootfs.squashfs")" "the newest of one system"
assert_eq "$(ask_both 2 'ftype~(squashfs|disk-kvm.img)$' 'release~(bookworm|trixie)' arch!=arm64)" "$({
    row debian:bookworm:amd64:default 202501010000 squashfs "$CASE/202501010000/rootfs.squashfs"
    row debian:bookworm:amd64:default 202502010000 squashfs "$CASE/202502010000/rootfs.squashfs"
    row debian:trixie:amd64:default 202502040000 disk-kvm.img "$CASE/vm/disk.qcow2"
} | sort)" "two versions, by a regular expression"
assert_eq "$(ask_both 1 'os!~Deb' ftype=squashfs)" \
    "$(row alpine:3.22:amd64:default 202502020000 squashfs "$CASE/alpine/rootfs.squashfs")" "all but one system"
assert_eq "$(ask_both 1 os=Nobody)" "" "what nothing passes"
assert_eq "$(signed sstream-query --json "$INDEX" ftype=squashfs arch=arm64 | jq -r '.[] | "\(.version_name) \(.item_url)"')" \
    "202502030000 $URL/images/$(sha256sum "$CASE/arm64/rootfs.squashfs" | cut -d' ' -f1).squashfs" "the address of a file"
# The filters of the server in the address, those of the tool behind it.
assert_eq "$(ask "$URL/only/arch=arm64/streams/v1/index.sjson" ftype=squashfs)" \
    "$(row debian:bookworm:arm64:default 202502030000 squashfs "$CASE/arm64/rootfs.squashfs")" "filtered here and there"
signed sstream-mirror --max 1 "$INDEX" "$CASE/some" 'release~(bookworm|3.22)' arch=amd64
assert_eq "$(held "$CASE/some")" "$({ wanted 202502010000 && wanted alpine; } | sort)" "the files of a filtered mirror"
signed sstream-mirror --max 1 "$INDEX" "$CASE/some" 'release~(bookworm|3.22)' arch=amd64
assert_eq "$(held "$CASE/some")" "$({ wanted 202502010000 && wanted alpine; } | sort)" "the same again"
if "$tools/sstream-query" --keyring /dev/null "$INDEX" >/dev/null 2>&1; then fail "a stream is believed without its key"; fi

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
