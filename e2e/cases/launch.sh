#!/usr/bin/env bash
# Containers start from every packing of an image, over both protocols.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
zstd=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
tar=$(publish bookworm-cloud/metadata.tar.xz bookworm-v1/rootfs.tar.xz --public)
unified=$(publish bookworm-v1/unified.tar.gz --public --property variant=unified)

launches() {
    local client=$1 remote=$2 image
    daemon "$client"
    launch "$client" "$remote:debian/12" by-alias
    for image in "$zstd" "$tar" "$unified"; do
        launch "$client" "$remote:$image" "c-${image:0:8}"
    done
    daemon_clean "$client"
}
each_remote launches
