#!/usr/bin/env bash
# The options of `image copy`: aliases given and taken along, public, auto-update and the refresh after it, profiles.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/old" Line one 202501010000
tiny_image "$CASE/new" Line one 202502010000
tiny_image "$CASE/third" Line one 202503010000
tiny_vm "$CASE/vm" Machine one 202501010000
old=$(fingerprint_of "$CASE"/old/{metadata.tar.xz,rootfs.squashfs})
new=$(fingerprint_of "$CASE"/new/{metadata.tar.xz,rootfs.squashfs})
vm=$(fingerprint_of "$CASE"/vm/{metadata.tar.xz,disk.qcow2})
server_start

put() { # client, remote, image, option...
    local client=$1 remote=$2 folder=$CASE/$3 root=rootfs.squashfs
    shift 3
    [ -e "$folder/$root" ] || root=disk.qcow2
    "$client" image import "$folder/metadata.tar.xz" "$folder/$root" "$remote:" "$@" >/dev/null
}
# Aliases by hand, without those that follow a product by themselves.
aliases() {
    "$1" image alias list "$2:" -f json | jq -r --arg fp "$3" '.[] | select(.target == $fp and (.name | test("/one") | not)) | .name' |
        sort | paste -sd,
}

options() {
    local client=$1 from=$2 to=$3 where mode
    where="$(title "$from") → $(title "$to")"
    step "$client: $where"
    put "$client" "$from" old --public --alias line --alias line/slash
    put "$client" "$from" vm --alias machine

    for mode in pull push relay; do
        step "$client: aliases, $mode"
        "$client" image copy "$from:$old" "$to:" --mode "$mode" --alias given --alias given/too
        assert_eq "$(aliases "$client" "$to" "$old")" given,given/too "aliases of the copy"
        assert_eq "$(image_field "$client" "$to:given" Public)" no "public of the copy"
        "$client" image delete "$to:given"
        row "image copy --mode $mode --alias" "$client" api "$where" works

        "$client" image copy "$from:$old" "$to:" --mode "$mode" --copy-aliases --public
        assert_eq "$(aliases "$client" "$to" "$old")" line,line/slash "aliases of the copy"
        assert_eq "$(image_field "$client" "$to:line" Public)" yes "public of the copy"
        "$client" image delete "$to:line"
        row "image copy --mode $mode --copy-aliases --public" "$client" api "$where" works
    done

    step "$client: --vm"
    "$client" image copy "$from:machine" "$to:" --vm --alias machine
    assert_eq "$(image_field "$client" "$to:machine" Type)" virtual-machine "type of the copy"
    "$client" image delete "$to:machine"
    row "image copy --vm" "$client" api "$where" works

    step "$client: auto-update"
    "$client" image copy "$from:line" "$to:" --auto-update --alias kept
    assert_contains "$("$client" image show "$to:kept")" "auto_update: true" "the copy"
    row "image copy --auto-update (public)" "$client" api "$where" works
    assert_contains "$(told "$client" image refresh "$to:kept")" "Image already up to date" "what a refresh says"
    put "$client" "$from" new --public --alias line
    assert_contains "$(told "$client" image refresh "$to:kept")" "Image refreshed successfully" "what a refresh says"
    assert_eq "$(image_field "$client" "$to:kept" Fingerprint)" "$new" "where the alias leads after the refresh"
    assert_contains "$("$client" image show "$to:kept")" "auto_update: true" "the newer image"
    assert_image "$client" "$to:kept" container "$CASE"/new/{metadata.tar.xz,rootfs.squashfs}
    assert_no_image "$client" "$to:$old"
    row "image refresh of a copy" "$client" api "$where" works
    "$client" image delete "$to:kept"

    step "$client: auto-update of a private image"
    "$client" image copy "$from:machine" "$to:" --auto-update
    assert_image "$client" "$to:$vm" virtual-machine "$CASE"/vm/{metadata.tar.xz,disk.qcow2}
    # Auto-update asks as a guest, so there is nothing to update from.
    assert_fails_with "Image source not found" "$client" image refresh "$to:$vm"
    row "image copy --auto-update (private)" "$client" api "$where" "it is copied and never updated; \`image refresh\` says \`Image source not found\`"
    "$client" image delete "$to:$vm"

    if [ "$client" = incus ]; then
        incus image copy "$from:$new" "$to:" --profile default
        assert_contains "$(incus image show "$to:$new")" "- default" "profiles of the copy"
        incus image delete "$to:$new"
        row "image copy --profile" incus api "$where" works
    fi
    "$client" image delete "$from:$old" "$from:$new" "$from:$vm"
}

[ -n "$REFERENCE" ] || server_second
for client in "${CLIENTS[@]}"; do
    own=$(daemon_name "$client")
    trusted_remote "$client" hw
    peer "$client" "$client"
    options "$client" hw "$own"
    options "$client" "$own" hw
    [ -n "$REFERENCE" ] || {
        on_second trusted_remote "$client" hw2
        options "$client" hw hw2
    }
done
