#!/usr/bin/env bash
# Aliases that follow: the short forms of a product lead to its newest version, per architecture and type, over both
# protocols, while an alias made by hand stays with its image.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
root=$IMAGES/bookworm-v1/rootfs.xz.squashfs
v1=$(publish bookworm-v1/metadata.tar.xz "$root" --public --alias fixed)
arm64=$(publish bookworm-arm64/metadata.tar.xz "$root" --public)
cloud=$(publish bookworm-cloud/metadata.tar.xz "$root" --public)

leads() { # client, remote:alias, fingerprint
    assert_eq "$(image_field "$1" "$2" Fingerprint)" "$3" "where $2 leads"
}
newest=$v1
follow() {
    local client=$1 remote=$2 name
    for name in debian/12 debian/bookworm debian/12/default debian/bookworm/default; do
        leads "$client" "$remote:$name" "$newest"
        leads "$client" "$remote:$name/amd64" "$newest"
        leads "$client" "$remote:$name/arm64" "$arm64"
    done
    leads "$client" "$remote:debian/12/cloud" "$cloud"
    row "image info NAME (alias that follows)" "$client" "$3" "" works
}
each_remote follow

step "a new version"
newest=$(publish bookworm-v2/metadata.tar.xz bookworm-v2/rootfs.xz.squashfs --public)
assert_ne "$newest" "$v1"
client_forget
each_remote follow

# In streams an alias is a product's, so only the LXD API can lead to a version that is not the newest.
for client in "${CLIENTS[@]}"; do leads "$client" r-api:fixed "$v1"; done
