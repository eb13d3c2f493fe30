#!/usr/bin/env bash
# Who may do what, through the clients: guests, viewers, publishers with their own images, publishers with all, admins of a
# project, and administrators of the server; each in their project and outside of it.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
for name in theirs mine also other shown; do tiny_image "$CASE/$name" "$name" one 202501010000; done
files() { echo "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs"; }
server_start
headwater project create team
headwater project create elsewhere

# A client of its own for each: `as ROLE CLIENT ARGUMENT…`.
as() {
    local who=$1 client=$2
    shift 2
    mkdir -p "$CASE/$who-lxc" "$CASE/$who-incus"
    LXD_CONF=$CASE/$who-lxc INCUS_CONF=$CASE/$who-incus "$client" "$@"
}
joins() { # who, client, option...
    local who=$1 client=$2
    shift 2
    as "$who" "$client" remote add r "$(join_token "$who" "$@")" >/dev/null
}
refused() { assert_fails_with "not authorized" as "$@"; }
put() { # who, client, name, argument...
    local who=$1 client=$2 name=$3
    shift 3
    # shellcheck disable=SC2046 # two files
    as "$who" "$client" image import $(files "$name") r: "$@" >/dev/null
}
# shellcheck disable=SC2046
put_refused() { assert_fails_with "not authorized" as "$1" "$2" image import $(files "$3") r: "${@:4}"; }
sees() { as "$1" "$2" image list r: -f json "${@:3}" | jq -r '.[].fingerprint' | sort | paste -sd,; }

roles() {
    local client=$1 theirs shown fp
    # shellcheck disable=SC2046
    theirs=$(publish $(files theirs) --project team --alias theirs)
    # shellcheck disable=SC2046
    shown=$(publish $(files shown) --alias shown --public)
    # shellcheck disable=SC2046
    fp=$(publish $(files other) --project elsewhere --alias other)
    joins viewer "$client" --project team --role viewer
    joins own "$client" --project team --role publisher
    joins all "$client" --project team --role publisher --all-images
    joins admin "$client" --project team --role admin
    joins root "$client" --administrator
    # lxc itself refuses to change anything on a public remote; a client that is not known any more asks the server.
    joins guest "$client" --project default --role admin
    headwater trust remove guest

    step "$client: guest"
    assert_eq "$(sees guest "$client")" "$shown" "what a guest lists"
    for name in mine theirs; do put_refused guest "$client" "$name"; done
    refused guest "$client" image delete r:shown
    refused guest "$client" image alias create r:new "$shown"
    refused guest "$client" image set-property r:shown colour green
    for name in "" "?project=team"; do
        assert_fails_with "ot found" as guest "$client" query "r:/1.0/images/$theirs$name"
        assert_fails_with "ot found" as guest "$client" query "r:/1.0/images/aliases/theirs$name"
    done
    for name in certificates projects operations; do refused guest "$client" query "r:/1.0/$name"; done

    step "$client: viewer"
    assert_eq "$(sees viewer "$client")" "$theirs" "what a viewer lists"
    as viewer "$client" image export r:theirs "$CASE/viewer-$client"
    put_refused viewer "$client" mine
    refused viewer "$client" image delete r:theirs
    refused viewer "$client" image set-property r:theirs colour green
    refused viewer "$client" image alias create r:new "$theirs"
    refused viewer "$client" image alias delete r:theirs

    step "$client: publisher of own images"
    put own "$client" mine --alias mine
    as own "$client" image set-property r:mine colour green
    as own "$client" image alias rename r:mine my/own
    refused own "$client" image delete r:theirs
    refused own "$client" image set-property r:theirs colour green
    refused own "$client" image alias delete r:theirs
    assert_eq "$(sees own "$client" --project elsewhere 2>/dev/null || true)" "" "what is listed of a project of others"
    # shellcheck disable=SC2046
    assert_fails_with "Project not found" as own "$client" image import $(files also) r: --project elsewhere

    step "$client: publisher of all images"
    as all "$client" image set-property r:theirs colour green
    as all "$client" image alias create r:too/theirs "$theirs"
    as all "$client" image delete r:my/own

    step "$client: admin of the project"
    put admin "$client" also --alias also
    as admin "$client" image delete r:theirs r:also
    assert_fails_with "ot found" as admin "$client" image info r:other --project elsewhere

    step "$client: administrator"
    as root "$client" project switch r:elsewhere
    assert_eq "$(sees root "$client")" "$fp" "what an administrator lists elsewhere"
    as root "$client" image delete r:other
    as root "$client" project switch r:default
    as root "$client" image delete r:shown

    step "$client: turned away"
    headwater trust remove viewer
    assert_eq "$(sees viewer "$client" 2>/dev/null || true)" "" "what is listed by whom nobody knows any more"
    for name in own all admin root; do headwater trust remove "$name"; done
    rm -rf "$CASE"/*-"$client"
}
for client in "${CLIENTS[@]}"; do roles "$client"; done
