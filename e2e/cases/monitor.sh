#!/usr/bin/env bash
# `monitor`: what happens on the server, as it happens, whoever does it: a client, the command line, another server process.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/x" x one 202501010000
server_start
headwater project create team

# monitor CLIENT NAME ARGUMENT...: in the background; its events, one JSON object in a line, are in $CASE/log/NAME.log.
monitor() {
    local client=$1 name=$2 before
    shift 2
    before=$(listeners)
    spawn "$CASE" "$name" "$client" monitor r: --format json "$@"
    wait_for 20 "$client to listen" listening "$before"
}
# How many times events were asked for; the server writes that down as soon as it tells.
listeners() { grep -c '/1.0/events' "$CASE/log/headwater.log" || true; }
listening() { [ "$(listeners)" -gt "$1" ]; }

# events NAME FILTER: what of the events so far a jq filter gives.
events() { jq -r "$2" "$CASE/log/$1.log"; }
heard() { [ -n "$(events "$1" "select($2) | .type")" ]; }

hears() {
    local client=$1 fp
    trusted_remote "$client" r

    step "$client: operations and what was done"
    monitor "$client" "$client-all"
    monitor "$client" "$client-lifecycle" --type lifecycle
    monitor "$client" "$client-operations" --type operation --all-projects
    monitor "$client" "$client-team" --project team
    fp=$(publish "$CASE/x/metadata.tar.xz" "$CASE/x/rootfs.squashfs" --alias x)
    "$client" image alias create r:y "$fp"
    "$client" image delete r:x
    wait_for 20 "$client to hear of the deletion" heard "$client-lifecycle" '.metadata.action == "image-deleted"'
    assert_eq "$(events "$client-lifecycle" .metadata.action | sort)" "$(printf '%s\n' \
        image-alias-created image-alias-created image-created image-deleted | sort)" "what $client heard was done"
    assert_eq "$(events "$client-lifecycle" 'select(.metadata.action == "image-deleted") | .metadata.source')" \
        "/1.0/images/$fp" "what was deleted"
    assert_eq "$(events "$client-lifecycle" 'select(.metadata.action == "image-deleted") | .metadata.requestor.protocol')" \
        tls "how who deleted it is known"
    wait_for 20 "$client to hear of the operation" heard "$client-operations" '.metadata.status_code == 200'
    assert_eq "$(events "$client-operations" .type | sort -u)" operation "what $client asked for"
    assert_eq "$(events "$client-operations" '.metadata.resources.images[0]' | sort -u)" "/1.0/images/$fp" "its image"
    wait_for 20 "$client to hear of both" heard "$client-all" '.metadata.action == "image-deleted"'
    assert_eq "$(events "$client-all" .type | sort -u)" "$(printf '%s\n' lifecycle operation)" "all types"
    assert_eq "$(cat "$CASE/log/$client-team.log")" "" "what was heard of another project"
    row "monitor" "$client" api "" works

    step "$client: for people"
    spawn "$CASE" "$client-pretty" "$client" monitor r: --pretty
    before=$(listeners)
    wait_for 20 "$client to listen" listening $((before - 1))
    fp=$(publish "$CASE/x/metadata.tar.xz" "$CASE/x/rootfs.squashfs" --alias x)
    "$client" image delete r:x
    wait_for 20 "a line for people" grep -q "image-deleted" "$CASE/log/$client-pretty.log"
    for name in all lifecycle operations team pretty; do end "$CASE/run" "$client-$name"; done
}
for client in "${CLIENTS[@]}"; do hears "$client"; done

step "somebody who sees one project"
mkdir -p "$CASE/viewer"
viewer() { LXD_CONF=$CASE/viewer lxc "$@"; }
viewer remote add r "$(join_token viewer --project team --role viewer)" >/dev/null
before=$(listeners)
LXD_CONF=$CASE/viewer spawn "$CASE" viewer lxc monitor r: --format json --all-projects
wait_for 20 "the viewer to listen" listening "$before"
fp=$(publish "$CASE/x/metadata.tar.xz" "$CASE/x/rootfs.squashfs" --alias hidden)
team=$(publish "$CASE/x/metadata.tar.xz" "$CASE/x/rootfs.squashfs" --alias seen --project team)
assert_eq "$fp" "$team" "the same bytes"
wait_for 20 "the viewer to hear" heard viewer '.metadata.action == "image-created"'
assert_eq "$(events viewer .project | sort -u)" team "the projects that the viewer hears of"
assert_lacks "$(cat "$CASE/log/viewer.log")" requestor "what the viewer hears"

step "guests hear nothing, and ordinary requests are told what this is"
assert_eq "$(curl -sSk "$URL/1.0/events" | jq -r .error)" "not authorized" "what a guest is told"
assert_contains "$(api lxc /1.0/events | jq -r .error)" "WebSocket" "what an ordinary request is told"

step "the end of the server is the end of the talk"
server_stop
# shellcheck disable=SC2016 # it is evaluated at each look
wait_for 20 "the monitor to end" eval '! is_alive "$CASE/run" viewer'
