#!/usr/bin/env bash
# Image files for whoever resumes and caches: parts by Range, conditional requests, the same in plain and over TLS; and
# documents that are the same whether compressed or not.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public >/dev/null
root=$IMAGES/bookworm-v1/rootfs.zstd.squashfs
path=$(catalog_files | grep squashfs)

for way in over_tls over_plain; do
    step "$way"
    head -c 1000000 "$root" >"$CASE/part"
    "$way" "$path" -f -C - -o "$CASE/part"
    assert_same_file "$CASE/part" "$root"
    "$way" "$path" -f -r 1000-1999 -o "$CASE/middle" -D "$CASE/headers"
    assert_same_file "$CASE/middle" <(tail -c +1001 "$root" | head -c 1000)
    assert_contains "$(cat "$CASE/headers")" " 206"
    assert_eq "$("$way" "$path" -o /dev/null -w '%{http_code}' -r 999999999-)" 416 "a range beyond the end"

    "$way" "$path" -f -I -o "$CASE/headers"
    assert_contains "$(tr '[:upper:]' '[:lower:]' <"$CASE/headers")" "content-length: $(stat -c %s "$root")"
    etag=$(sed -n 's/^[Ee][Tt]ag: *//p' "$CASE/headers" | tr -d '\r')
    assert_ne "$etag" "" "ETag"
    assert_eq "$("$way" "$path" -o /dev/null -w '%{http_code}' -H "If-None-Match: $etag")" 304 "the same file again"
done

step "documents"
products=/$(document /streams/v1/index.json | jq -r '.index[].path')
for path in /streams/v1/index.json "$products"; do
    assert_eq "$(over_tls "$path" -f --compressed | sha256sum)" "$(over_tls "$path" -f | sha256sum)" "$path compressed"
done
