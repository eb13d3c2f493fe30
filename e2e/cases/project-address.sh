#!/usr/bin/env bash
# A project other than the default has its own catalog under /p/<project>, and its images are in no other.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/ours" Ours one 202501010000
tiny_image "$CASE/theirs" Theirs one 202501010000
server_start
headwater project create theirs
ours=$(publish "$CASE/ours/metadata.tar.xz" "$CASE/ours/rootfs.squashfs" --public)
theirs=$(publish "$CASE/theirs/metadata.tar.xz" "$CASE/theirs/rootfs.squashfs" --public --project theirs)
for client in "${CLIENTS[@]}"; do
    add_remote "$client" ours simplestreams
    add_remote "$client" theirs simplestreams /p/theirs
    assert_eq "$(listed "$client" ours)" "$ours" "the default project, with $client"
    assert_eq "$(listed "$client" theirs)" "$theirs" "the other project, with $client"
    mkdir "$CASE/out-$client"
    "$client" image export "theirs:$theirs" "$CASE/out-$client/"
    assert_eq "$(cat "$CASE/out-$client"/*.squashfs | sha256sum)" "$(sha256sum <"$CASE/theirs/rootfs.squashfs")" "its root file"
done
assert_status 404 -k "$URL/p/nobody/streams/v1/index.json"
