#!/usr/bin/env bash
# A daemon that keeps a private image by alias, from an address with a token, brings in the newer version by itself.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/v1" Kept one 202501010000
tiny_image "$CASE/v2" Kept one 202502010000
tiny_image "$CASE/v3" Kept one 202503010000
server_start
headwater project create team
version() { publish "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs" --project team; }
token=$(headwater token create hosts --project team --format json 2>/dev/null | jq -er .token)
v1=$(version v1)
for client in "${CLIENTS[@]}"; do
    daemon "$client"
    add_remote "$client" team simplestreams "/t/$token"
    "$client" image copy team:kept/one local: --alias kept --auto-update
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$v1" "the first version"
    assert_eq "$("$client" query "/1.0/images/$v1" | jq -r .update_source.server)" "$URL/t/$token" "where to look"
    row "image copy --auto-update (private)" "$client" simplestreams "Headwater → $(title "$(daemon_name "$client")")" works
done

step "told to look"
v2=$(version v2)
headwater key rotate
for client in "${CLIENTS[@]}"; do
    daemon_forget "$client"
    "$client" image refresh local:kept
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$v2" "the second version"
    row "image refresh of a copy" "$client" simplestreams "Headwater → $(title "$(daemon_name "$client")")" works
done

step "by itself"
v3=$(version v3)
for client in "${CLIENTS[@]}"; do
    daemon_forget "$client"
    # A daemon looks when it starts, and every so many hours from then on.
    "$client" config set images.auto_update_interval 1
    daemon_restart "$client"
    has_v3() { [ "$(image_field "$client" local:kept Fingerprint)" = "$v3" ]; }
    wait_for 60 "$client's daemon to look for newer images" has_v3
    "$client" config set images.auto_update_interval 0
done

step "not any more"
headwater token revoke hosts
v4=$(tiny_image "$CASE/v4" Kept one 202504010000 && version v4)
for client in "${CLIENTS[@]}"; do
    daemon_forget "$client"
    "$client" image refresh local:kept || true
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$v3" "what stays when the token is gone"
    assert_ne "$v4" "$v3"
done
