#!/usr/bin/env bash
# `project`: made, shown, changed, renamed, used and deleted with the clients, by administrators; others see their own.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/ours" Ours one 202501010000
server_start
names() { "$1" project list "$2:" -f json | jq -r '.[].name' | paste -sd,; }

manages() {
    local client=$1 fp
    trusted_remote "$client" r
    step "$client: create, list, show"
    "$client" project create r:team
    assert_eq "$(names "$client" r)" default,team "projects"
    row "project list" "$client" api "" works
    row "project create" "$client" api "" works
    assert_contains "$("$client" project show r:team)" 'features.images: "true"' "what is shown"
    row "project show" "$client" api "" works
    assert_fails_with "already exists" "$client" project create r:team

    step "$client: set, edit, get"
    printf 'description: Ours\nconfig: {}\n' | "$client" project edit r:team
    assert_contains "$("$client" project show r:team)" "description: Ours" "the description"
    row "project edit" "$client" api "" works
    "$client" project set r:team features.images=true
    assert_eq "$("$client" project get r:team features.images)" true "features.images"
    row "project get, set (what is so already)" "$client" api "" works
    if [ -z "$REFERENCE" ]; then
        assert_fails_with "every project has its own images" "$client" project set r:team features.images=false
        assert_fails_with "projects have no setting" "$client" project set r:team user.colour=green
        row "project set (anything else)" "$client" api "" "refused: projects have no setting …"
    fi

    step "$client: an image in it"
    "$client" image import "$CASE/ours/metadata.tar.xz" "$CASE/ours/rootfs.squashfs" r: --project team >/dev/null
    fp=$(fingerprint_of "$CASE/ours/metadata.tar.xz" "$CASE/ours/rootfs.squashfs")
    assert_eq "$(listed "$client" r)" "" "images of the default project"
    "$client" project switch r:team
    assert_eq "$(listed "$client" r)" "$fp" "images after the switch"
    row "project switch" "$client" api "" works
    assert_eq "$("$client" project list r: -f json | jq -r '.[] | select(.name == "team") | .used_by[]')" \
        "/1.0/images/$fp?project=team" "what uses the project"
    assert_fails_with "Only empty projects" "$client" project delete r:team
    "$client" image delete "r:$fp"
    "$client" project switch r:default

    step "$client: rename, delete"
    "$client" project rename r:team crew
    assert_eq "$(names "$client" r)" crew,default "projects after one was renamed"
    row "project rename" "$client" api "" works
    "$client" project delete r:crew
    assert_eq "$(names "$client" r)" default "projects after one was deleted"
    row "project delete" "$client" api "" works
    assert_fails_with "cannot be deleted" "$client" project delete r:default
    assert_fails_with "ot found" "$client" project show r:crew
}

# One project is stored with the remote, and sent with every request from then on.
restricted() {
    local client=$1 fp
    step "$client: a client of one project"
    headwater project create only
    fp=$(publish "$CASE/ours/metadata.tar.xz" "$CASE/ours/rootfs.squashfs" --project only)
    trusted_remote "$client" mine --project only --role publisher
    assert_eq "$(names "$client" mine)" only "the projects that it sees"
    assert_eq "$(listed "$client" mine)" "$fp" "the images that it sees, without naming a project"
    assert_fails_with "not authorized" "$client" project create mine:other
    assert_fails_with "not authorized" "$client" project delete mine:only
    headwater image delete "$fp" --project only
    headwater trust remove "$client"
    "$client" remote remove mine
    headwater project delete only
}
for client in "${CLIENTS[@]}"; do manages "$client"; done
if [ -z "$REFERENCE" ]; then
    for client in "${CLIENTS[@]}"; do
        "$client" remote remove r
        headwater trust remove "$client"
        restricted "$client"
    done
fi
