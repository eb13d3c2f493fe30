#!/usr/bin/env bash
# Containers start from private images, which the daemon fetches with a secret that its client got for it.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

small_system "$CASE/small" Small one 202501010000
cp -r "$CASE/small/tree" "$CASE/small/rootfs"
tar -C "$CASE/small" -czf "$CASE/small/unified.tar.gz" metadata.yaml rootfs
server_start
split=$(publish "$CASE/small/metadata.tar.xz" "$CASE/small/rootfs.squashfs" --alias base/private)
unified=$(publish "$CASE/small/unified.tar.gz" --alias unified)

launches() {
    local client=$1
    daemon "$client"
    trusted_remote "$client" hw
    step "$client: split image, by alias"
    launch "$client" hw:base/private from-private
    row "launch (private)" "$client" api "Headwater → $(title "$(daemon_name "$client")")" works
    assert_eq "$("$client" query "/1.0/images/$split" | jq -r .public)" false "public of the image that the daemon keeps"
    assert_eq "$("$client" query "/1.0/images/$split" | jq -r .size)" \
        "$(stat -c %s "$CASE"/small/{metadata.tar.xz,rootfs.squashfs} | paste -sd+ | bc)" "size of that image"

    step "$client: unified image, by a fingerprint's beginning"
    "$client" init "hw:${unified:0:12}" from-unified
    "$client" start from-unified
    assert_eq "$("$client" list from-unified -f json | jq -r '.[0].status')" Running "status"
    assert_eq "$("$client" config get from-unified volatile.base_image)" "$unified" "the image that it was made of"
    "$client" delete --force from-unified
    row "$([ "$client" = lxc ] && echo init || echo create) (private)" "$client" api "Headwater → $(title "$(daemon_name "$client")")" works

    step "$client: a container's image is no virtual machine's"
    assert_fails_with "Asked for a VM but image is of type container" "$client" launch hw:base/private nothing --vm
    row "launch --vm of a container's image" "$client" api "Headwater → $(title "$(daemon_name "$client")")" "refused: \`Asked for a VM but image is of type container\`"

    step "$client: what a guest launches"
    local -x LXD_CONF=$CASE/guest-lxc INCUS_CONF=$CASE/guest-incus
    mkdir -p "$LXD_CONF" "$INCUS_CONF"
    "$client" remote add guest "$URL" --public --accept-certificate
    assert_fails_with "ot found" "$client" launch guest:base/private nothing
    assert_fails_with "ot found" "$client" launch "guest:$split" nothing
    daemon_clean "$client"
}
for client in "${CLIENTS[@]}"; do launches "$client"; done
