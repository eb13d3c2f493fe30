#!/usr/bin/env bash
# `headwater mirror push`: images that another Headwater, a real LXD and a real Incus do not have arrive there with their properties and names, and a
# second push sends only what is missing.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
export HEADWATER_DELTAS_ENABLED=false
server_start
server_second
for serial in 202501010000 202502010000; do tiny_image "$CASE/c-$serial" Debian bookworm "$serial"; done
tiny_vm "$CASE/vm" Debian trixie 202501010000
declare -A fp
fp[old]=$(publish "$CASE"/c-202501010000/{metadata.tar.xz,rootfs.squashfs} --public --alias stable)
fp[vm]=$(publish "$CASE/vm"/{metadata.tar.xz,disk.qcow2} --alias machine)
headwater image edit "${fp[old]}" --property note="said here"

# pushes UPSTREAM [OPTION...]: how many were chosen, sent and failed.
pushes() { headwater mirror push "$1" --format json "${@:2}" 2>/dev/null | jq -r 'select(.event == "ended") | "\(.listed) \(.sent) \(.failed)"'; }
# arrives CLIENT UPSTREAM REMOTE [OPTION...]: all of it, seen by the client.
arrives() {
    local client=$1 upstream=$2 remote=$3 shown
    shift 3
    there() { "$client" image list "$remote:" "$@" -f json | jq -r '.[] | "\(.fingerprint) \(.type) \(.public) \(.properties.note) \(.aliases | map(.name) | contains(["stable"]))"' | sort; }
    shown=$(headwater mirror push "$upstream" --dry-run --format json)
    assert_eq "$(jq -r '.[] | select(.event == "to-send") | .fingerprint' <<<"$shown" | sort)" "$(printf '%s\n' "${fp[old]}" "${fp[vm]}" | sort)" "the plan"
    assert_eq "$(there "$@")" "" "what the plan changed: nothing"
    assert_eq "$(pushes "$upstream")" "2 2 0" "the first push to $upstream"
    assert_eq "$(there "$@")" "$(printf '%s\n' "${fp[old]} container true said here true" "${fp[vm]} virtual-machine false null false" | sort)" "what is there"
    assert_eq "$(pushes "$upstream")" "2 0 0" "the second push"
    fp[new]=$(publish "$CASE"/c-202502010000/{metadata.tar.xz,rootfs.squashfs} --public --alias stable)
    assert_eq "$(pushes "$upstream" --filter 'release=bookworm latest=1')" "1 1 0" "a new version"
    assert_eq "$("$client" image list "$remote:stable" "$@" -f json | jq -r '.[].fingerprint')" "${fp[new]}" "where the name leads by now"
    headwater image delete "${fp[new]}"
    headwater alias create stable "${fp[old]}"
}

step "another Headwater"
on_second headwater project create team
token=$(on_second join_token here --project team --role publisher)
headwater mirror add second "$SECOND_URL" --protocol incus --token "$token" --upstream-project team --schedule 0s
headwater mirror push second --dry-run
on_second trusted_remote incus there
incus project switch there:team
arrives incus second there
streams=$(on_second document /p/team/streams/v1/images.json | jq -r '.products | keys[]')
assert_contains "$streams" debian:bookworm:amd64:default "products there"

for client in "${CLIENTS[@]}"; do
    name=$(daemon_name "$client")
    step "a real $name"
    daemon "$client"
    daemon_listen "$client"
    "$client" project create ci -c features.images=true -c features.profiles=false
    case $client in
    lxc) token=$(lxc config trust add --name here --restricted --projects ci | tail -n 1) ;;
    incus) token=$(incus config trust add here --restricted --projects ci | tail -n 1) ;;
    esac
    headwater mirror add "$name" "https://$(daemon_address "$client")" --protocol "$name" --token "$token" --upstream-project ci --schedule 0s
    arrives "$client" "$name" local --project ci
    out=$(mktemp -d "$CASE/out.XXXX")
    "$client" image export "local:${fp[vm]}" "$out/" --project ci
    assert_eq "$(sums "$out"/*)" "$(sums "$CASE/vm"/{metadata.tar.xz,disk.qcow2})" "sums of what arrived"
    "$client" image delete "local:${fp[vm]}" --project ci
    assert_eq "$(pushes "$name")" "2 1 0" "what was deleted there is sent again"
    "$client" config trust remove "local:$(headwater mirror show "$name" --format json | jq -r .client_fingerprint)"
    assert_fails_with "does not know who is asking" headwater mirror push "$name"
done
