#!/usr/bin/env bash
# Containers start from images of either protocol, and from every packing.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
small_system "$CASE/small" Small one 202501010000
small=$CASE/small
cp -r "$small/tree" "$small/rootfs"
tar -C "$small/tree" -cJf "$small/rootfs.tar.xz" .
tar -C "$small" -czf "$small/unified.tar.gz" metadata.yaml rootfs
server_start
publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public >/dev/null
squashfs=$(publish "$small/metadata.tar.xz" "$small/rootfs.squashfs" --public)
tar=$(publish "$small/metadata.tar.xz" "$small/rootfs.tar.xz" --public --property variant=tar)
unified=$(publish "$small/unified.tar.gz" --public --property variant=unified)

launches() {
    local client=$1 remote=$2 protocol=$3 image
    daemon "$client"
    launch "$client" "$remote:small/one" by-alias
    for image in "$squashfs" "$tar" "$unified"; do launch "$client" "$remote:$image" "c-${image:0:8}"; done
    # A whole Debian is the same to the server, and takes seconds to unpack.
    if [ "$client/$protocol" = lxc/api ] || [ "$client/$protocol" = incus/simplestreams ]; then
        launch "$client" "$remote:debian/12" debian
    fi
    row "launch (public)" "$client" "$protocol" "Headwater → $(title "$(daemon_name "$client")")" works
}
each_remote launches
