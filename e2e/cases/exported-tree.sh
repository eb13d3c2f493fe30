#!/usr/bin/env bash
# `headwater export` writes a tree that any web server can serve: lxc and incus list it, daemons launch from it, and
# incus-simplestreams reads it.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_need_binary
small_system "$CASE/small" Small one 202501010000
small=$(publish "$CASE/small/metadata.tar.xz" "$CASE/small/rootfs.squashfs" --public)
vm=$(publish bookworm-vm/metadata.tar.xz bookworm-vm/disk.qcow2 --public)
arm64=$(publish bookworm-arm64/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
headwater export --to "$CASE/for-lxd" --client lxd
headwater export --to "$CASE/for-incus" --client incus
headwater export --to "$CASE/for-any" --client any
chmod -R a+rX "$CASE"

mkdir "$CASE/www"
mv "$CASE"/for-* "$CASE/www/"
static_server "$CASE/www"
for client in "${CLIENTS[@]}"; do
    for tree in "$([ "$client" = lxc ] && echo for-lxd || echo for-incus)" for-any; do
        step "$client from $tree"
        trust "$client" "$tree" "$STATIC_CERTIFICATE"
        "$client" remote add "$tree" "$STATIC_URL/$tree" --protocol=simplestreams
        assert_eq "$(listed "$client" "$tree")" "$(printf '%s\n' "$small" "$vm" "$arm64" | sort)" "what is listed"
        assert_eq "$(image_field "$client" "$tree:small/one" Fingerprint)" "$small" "where small/one leads"
        daemon "$client"
        launch "$client" "$tree:small/one" from-tree
        daemon_clean "$client"
    done
done

step "incus-simplestreams"
cd "$CASE/www/for-incus"
assert_eq "$(incus-simplestreams list --format csv | grep -c ,)" 3 "images that incus-simplestreams lists"
incus-simplestreams verify
