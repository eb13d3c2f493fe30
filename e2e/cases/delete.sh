#!/usr/bin/env bash
# A deleted image leaves the documents at once; its files stay for clients that still hold an older document, through a
# collection of garbage, until the time of grace is over.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/kept" Kept one 202501010000
tiny_image "$CASE/gone" Gone one 202501010000
server_start
kept=$(publish "$CASE/kept/metadata.tar.xz" "$CASE/kept/rootfs.squashfs" --public)
mapfile -t kept_files < <(catalog_files)
gone=$(publish "$CASE/gone/metadata.tar.xz" "$CASE/gone/rootfs.squashfs" --public --alias gone)
mapfile -t gone_files < <(catalog_files | grep -vxFf <(printf '%s\n' "${kept_files[@]}"))
[ ${#gone_files[@]} -ge 2 ] || fail "the image added ${#gone_files[@]} files to the catalog, wanted 2"

headwater image delete "$gone"
only_kept() {
    assert_eq "$(listed "$1" "$2")" "$kept" "what is listed after the deletion"
    assert_fails_with "" "$1" image info "$2:gone"
    assert_fails_with "" "$1" image info "$2:$gone"
}
each_remote only_kept

step "in the time of grace"
headwater gc
for file in "${gone_files[@]}"; do over_tls "$file" -f -o /dev/null; done

step "after it"
headwater gc --dry-run --grace 0s
for file in "${gone_files[@]}"; do over_tls "$file" -f -o /dev/null; done
headwater gc --grace 0s
for file in "${gone_files[@]}"; do assert_status 404 -k "$URL$file"; done
for file in "${kept_files[@]}"; do over_tls "$file" -f -o /dev/null; done
headwater verify
each_remote only_kept
