#!/usr/bin/env bash
# Containers start from images of either protocol, and from every packing.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
zstd=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
tar=$(publish bookworm-cloud/metadata.tar.xz bookworm-v1/rootfs.tar.xz --public)
unified=$(publish bookworm-v1/unified.tar.gz --public --property variant=unified)

launches() {
    local client=$1 remote=$2 protocol=$3 image
    daemon "$client"
    launch "$client" "$remote:debian/12" by-alias
    row "launch (public)" "$client" "$protocol" "Headwater → $(title "$(daemon_name "$client")")" works
    # How the root files are packed and how they came are independent, and every start takes seconds.
    [ "$client/$protocol" = lxc/api ] || [ "$client/$protocol" = incus/simplestreams ] || return 0
    for image in "$zstd" "$tar" "$unified"; do
        launch "$client" "$remote:$image" "c-${image:0:8}"
    done
}
each_remote launches
