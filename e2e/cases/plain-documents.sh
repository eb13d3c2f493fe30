#!/usr/bin/env bash
# Plain HTTP on the one port: public files are answered, no document ever is, whatever the address.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/tiny" Tiny one 202501010000
server_start
headwater project create other
fp=$(publish "$CASE/tiny/metadata.tar.xz" "$CASE/tiny/rootfs.squashfs" --public --alias tiny)

products=$(document /streams/v1/index.json | jq -r '.index[].path')
for path in /streams/v1/index.json /streams/v1/index.sjson "/$products" /only/os=tiny/streams/v1/index.json \
    /only/os=tiny/$products /p/other/streams/v1/index.json / /1.0 /1.0/images "/1.0/images?recursion=1" \
    "/1.0/images/$fp" "/1.0/images/$fp/export" /1.0/images/aliases/tiny; do
    for method in GET HEAD POST; do
        option=(-X "$method")
        [ "$method" != HEAD ] || option=(-I)
        code=$(over_plain "$path" "${option[@]}" -o "$CASE/body" -w '%{http_code}')
        case $code in
        301 | 302 | 307 | 308 | 4??) ;;
        *) fail "$method $path in plain is answered with $code" ;;
        esac
        [ "$method" = HEAD ] || assert_lacks "$(cat "$CASE/body")" "$fp" "$method $path in plain"
    done
done

step "files"
count=0
for path in $(catalog_files); do
    count=$((count + 1))
    over_plain "$path" -f -o "$CASE/plain"
    over_tls "$path" -f -o "$CASE/tls"
    assert_same_file "$CASE/plain" "$CASE/tls"
done
[ "$count" -ge 2 ] || fail "the catalog names $count files, wanted at least 2"
