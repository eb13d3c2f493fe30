#!/usr/bin/env bash
# The certificate that the first run makes stays: clients that pinned it find the same one after a restart.
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
