#!/usr/bin/env bash
# Copies from one project to another: on the same server, from a server to a daemon, and back.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/here" Here one 202501010000
tiny_image "$CASE/there" There one 202501010000
here=("$CASE/here/metadata.tar.xz" "$CASE/here/rootfs.squashfs")
there=("$CASE/there/metadata.tar.xz" "$CASE/there/rootfs.squashfs")
server_start
for project in one two; do
    if [ -n "$REFERENCE" ]; then reference project create "$project"; else headwater project create "$project"; fi
done
publish "${here[@]}" --project one --alias here >/dev/null

# in_project CLIENT PROJECT REMOTE:IMAGE FILE...: it has the image of these files, byte for byte.
in_project() {
    local client=$1 project=$2 image=$3 out
    shift 3
    assert_eq "$("$client" image info "$image" --project "$project" | sed -n 's/^Fingerprint: //p')" "$(fingerprint_of "$@")" \
        "fingerprint of $image in $project"
    out=$(mktemp -d "$CASE/out.XXXX")
    "$client" image export "$image" "$out/" --project "$project"
    assert_eq "$(sums "$out"/*)" "$(sums "$@")" "sums of what was exported of $image in $project"
}

copies_between() {
    local client=$1 daemon mode
    daemon=$(daemon_name "$client")
    trusted_remote "$client" hw
    peer "$client" "$client"
    "$client" project create "$daemon:theirs" -c features.images=true -c features.profiles=false
    "$client" image import "${there[@]}" "$daemon:" --project theirs --alias there >/dev/null
    # Of the source, lxc knows only the project that the remote is switched to.
    "$client" project switch hw:one
    "$client" project switch "$daemon:theirs"
    for mode in pull push relay; do
        step "$client: on the same server, $mode"
        "$client" image copy hw:here hw: --target-project two --mode "$mode" --alias copied
        in_project "$client" two hw:copied "${here[@]}"
        "$client" image delete hw:copied --project two
        in_project "$client" one hw:here "${here[@]}"
        row "image copy --mode $mode --target-project" "$client" api "Headwater, to another project" works

        step "$client: to the daemon, $mode"
        "$client" image copy hw:here "$daemon:" --target-project theirs --mode "$mode" --alias copied
        in_project "$client" theirs "$daemon:copied" "${here[@]}"
        "$client" image delete "$daemon:copied" --project theirs
        row "image copy --mode $mode --target-project" "$client" api "Headwater → $(title "$daemon")" works

        step "$client: from the daemon, $mode"
        "$client" image copy "$daemon:there" hw: --target-project two --mode "$mode" --alias copied
        in_project "$client" two hw:copied "${there[@]}"
        "$client" image delete hw:copied --project two
        row "image copy --mode $mode --target-project" "$client" api "$(title "$daemon") → Headwater" works
    done
    "$client" image delete "$daemon:there" --project theirs
    "$client" project switch "$daemon:default"
    "$client" project delete "$daemon:theirs"
}
for client in "${CLIENTS[@]}"; do copies_between "$client"; done
