#!/usr/bin/env bash
# The certificate that the first run makes stays: clients that pinned it find the same one after a restart. The commands
# that it prints work as they are printed.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/tiny" Tiny one 202501010000
server_start
fp=$(publish "$CASE/tiny/metadata.tar.xz" "$CASE/tiny/rootfs.squashfs" --public)
certificate=$(cat "$DATA/tls/server.crt")

seen() { assert_eq "$(listed "$1" "$2")" "$fp" "what $1 lists over $3"; }
each_remote seen

step "restart"
server_stop
server_start
assert_eq "$(cat "$DATA/tls/server.crt")" "$certificate" "the certificate after a restart"
each_remote seen

step "what the first run prints, typed as it is printed"
server_stop
DATA=$CASE/fresh
# Another address, which server_start chooses: incus keeps a catalog for five minutes.
# shellcheck disable=SC2034
PORT=
: >"$CASE/log/headwater.log"
server_start
cd "$CASE/home"
printed=$(sed -n '/^or an empty image/,$s/^  //p' "$CASE/log/headwater.log")
assert_contains "$printed" "empty.tar.gz --public --alias first"
typed=0
while IFS= read -r command; do
    env -u LXD_CONF -u INCUS_CONF bash -ec "$command" </dev/null || fail "this does not work as it is printed: $command"
    typed=$((typed + 1))
done <<<"$printed"
assert_eq "$typed" 9 "commands that were printed"
for client in lxc incus; do
    for remote in headwater headwater-streams; do
        assert_contains "$(env -u LXD_CONF -u INCUS_CONF "$client" image list "$remote:" -f csv)" Empty "$client, $remote"
    done
done

step "the word that the last of them prints lets a client in, which sees what is private"
publish "$CASE/tiny/metadata.tar.xz" "$CASE/tiny/rootfs.squashfs" >/dev/null
for client in lxc incus; do
    word=$(bash -ec "$(tail -n 1 <<<"$printed")" 2>/dev/null)
    env -u LXD_CONF -u INCUS_CONF "$client" remote add joined "$word"
    assert_contains "$(env -u LXD_CONF -u INCUS_CONF "$client" image list joined: -f csv -c F)" "$fp" "$client, joined"
done
