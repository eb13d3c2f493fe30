#!/usr/bin/env bash
# Rules that let old versions of a project go: what the preview promises is what `lxc` and `incus` list afterwards. What an alias leads to and
# what a mirror brought stays, files are served for the grace, the audit names the rule, and a server does it by itself.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
server_start
declare -a fp
for day in 1 2 3 4; do
    tiny_image "$CASE/v$day" Debian bookworm "2025010${day}0000"
    fp[day]=$(publish "$CASE/v$day"/{metadata.tar.xz,rootfs.squashfs} --public --alias "day-$day")
done
tiny_vm "$CASE/vm" Debian bookworm 202501010000
machine=$(publish "$CASE/vm"/{metadata.tar.xz,disk.qcow2} --public)
for day in 2 3 4; do headwater alias delete "day-$day"; done

# shows WHAT FINGERPRINT...: what every client lists over both protocols.
shows() {
    wanted=$(printf '%s\n' "${@:2}" | sort)
    what=$1
    # Clients keep lists for an hour.
    client_forget
    check() {
        assert_eq "$(listed "$1" "$2" | sort)" "$wanted" "$what"
    }
    each_remote check
}
row() { headwater project prune default --dry-run --format json | jq -r --arg fp "$1" '.[] | select(.fingerprint == $fp) | "\(.action) \(.why)"'; }

step "without a rule nothing goes"
assert_contains "$(headwater project prune default 2>&1)" "has no rule" "what it says"
shows "all that was published" "${fp[@]}" "$machine"

step "the preview"
headwater project edit default --keep 2 --keep-aliased
assert_eq "$(row "${fp[1]}")" "keep aliased" "the named one"
assert_eq "$(row "${fp[2]}")" "remove over" "an old one"
assert_eq "$(row "${fp[3]}")" "keep newest" "the last but one"
assert_eq "$(row "$machine")" "keep newest" "the only machine"
assert_contains "$(headwater project prune default --dry-run 2>&1)" "would delete 1 image of 5" "the summary"
shows "what the preview changed: nothing" "${fp[@]}" "$machine"

step "what it promised"
root=/images/$(sha256sum "$CASE/v2/rootfs.squashfs" | cut -d' ' -f1).squashfs
assert_eq "$(headwater project prune default --format json | jq -r '.[].fingerprint')" "${fp[2]}" "what goes"
shows "what is left" "${fp[1]}" "${fp[3]}" "${fp[4]}" "$machine"
over_tls "$root" -f -o /dev/null
assert_eq "$(headwater audit --image "${fp[2]}" --format json | jq -r '.[-1] | "\(.action) \(.detail.rule)"')" \
    "image-deleted keep=2 keep-aliased" "the audit"
headwater gc --grace 0s
assert_status 404 -k "$URL$root"

step "a server does it by itself, the last version stays"
headwater project edit default --keep 1 --keep-aliased off
server_stop
server_start
gone() { [ "$(headwater image list --format json | jq length)" = 2 ]; }
wait_for 20 "the server to let old versions go" gone
shows "the newest of each type" "${fp[4]}" "$machine"
assert_eq "$(headwater audit --image "${fp[1]}" --format json | jq -r '.[-1] | "\(.actor_kind) \(.detail.rule) \(.detail.aliases)"')" \
    "server keep=1 day-1" "who did it, and by which rule"

step "what a mirror brought is left to the mirror's rules"
server_second
on_second headwater mirror add first "$URL" --public --schedule 0s --certificate "$DATA/tls/server.crt" --keep-days 30
on_second headwater mirror run first
publish "$CASE/v1"/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
tiny_image "$CASE/v5" Debian bookworm 202501050000
fp[5]=$(publish "$CASE/v5"/{metadata.tar.xz,rootfs.squashfs} --public)
on_second headwater mirror run first
on_second headwater project edit default --keep 1
assert_contains "$(on_second headwater project prune default --dry-run)" "the mirror first decides" "the preview there"
on_second headwater project prune default
assert_eq "$(on_second headwater image list --format json | jq length)" 4 "images of the mirror"
headwater project prune default
on_second headwater mirror edit first --grace 0s
on_second headwater mirror run first
sleep 1
on_second headwater mirror run first
assert_eq "$(on_second headwater image list --format json | jq length)" 4 "what is younger than 30 days"
on_second headwater mirror edit first --keep-days 0
on_second headwater mirror run first
assert_eq "$(on_second headwater image list --format json | jq -r '.[].fingerprint' | sort)" \
    "$(printf '%s\n' "${fp[5]}" "$machine" | sort)" "what the upstream lists"
