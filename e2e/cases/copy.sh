#!/usr/bin/env bash
# The real daemons copy images: by alias and by fingerprint, and remember where to look for newer ones.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
container=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
vm=$(publish bookworm-vm/metadata.tar.xz bookworm-vm/disk.qcow2 --public)
unified=$(publish bookworm-v1/unified.tar.xz --public --property variant=unified --alias unified)

source_of() { "$1" query "/1.0/images/$2" | jq -r "$3"; }

copies() {
    local client=$1 remote=$2 protocol=$3 said=$3
    daemon "$client"
    [ "$protocol" = simplestreams ] || said=$([ "$client" = lxc ] && echo lxd || echo incus)

    "$client" image copy "$remote:debian/12" local: --alias kept --auto-update
    assert_eq "$(source_of "$client" "$container" .auto_update)" true "auto_update"
    assert_eq "$(source_of "$client" "$container" .update_source.alias)" debian/12 "alias to update from"
    assert_eq "$(source_of "$client" "$container" .update_source.protocol)" "$said" "protocol to update with"
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$container" "fingerprint in the daemon"

    "$client" image copy "$remote:$vm" local: --alias machine
    assert_eq "$(image_field "$client" local:machine Type)" virtual-machine "type in the daemon"
    "$client" image copy "$remote:$unified" local: --copy-aliases
    assert_eq "$(image_field "$client" local:unified Fingerprint)" "$unified" "a unified image in the daemon"
    daemon_clean "$client"
    row "image copy --auto-update (public)" "$client" "$protocol" "Headwater → $(title "$(daemon_name "$client")")" works
    row "image copy (container and VM, public)" "$client" "$protocol" "Headwater → $(title "$(daemon_name "$client")")" works
    row "image copy --copy-aliases" "$client" "$protocol" "Headwater → $(title "$(daemon_name "$client")")" works

    # Through the client instead of from server to daemon; simplestreams has only the latter.
    if [ "$protocol" = api ]; then
        "$client" image copy "$remote:$container" local: --mode relay --alias relayed
        assert_eq "$(image_field "$client" local:relayed Fingerprint)" "$container" "a relayed image"
        daemon_clean "$client"
        row "image copy --mode relay (public)" "$client" "$protocol" "Headwater → $(title "$(daemon_name "$client")")" works
    fi
}
each_remote copies
