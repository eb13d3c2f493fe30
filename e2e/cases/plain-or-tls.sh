#!/usr/bin/env bash
# What real clients and daemons send in plain: over simplestreams, files and nothing else; over the LXD API, nothing.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
server_start
fp=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
recorder_start

watched() {
    local client=$1 remote=$2 protocol=$3 plain
    daemon "$client"
    : >"$RECORD"
    "$client" image list "$remote:" >/dev/null
    "$client" image info "$remote:debian/12" >/dev/null
    rm -rf "$CASE/out" && mkdir "$CASE/out"
    "$client" image export "$remote:$fp" "$CASE/out/"
    "$client" image copy "$remote:debian/12" local: --auto-update
    daemon_clean "$client"

    [ "$(recorded '[.[] | select(.tls == true)] | length')" -gt 0 ] || fail "nothing came over TLS"
    plain=$(recorded '[.[] | select(.tls == false)] | length')
    case $protocol in
    api) assert_eq "$plain" 0 "plain connections" ;;
    simplestreams)
        [ "$plain" -gt 0 ] || fail "no file was asked for in plain"
        assert_eq "$(recorded '.[] | select(.event == "request") | .path' | grep -vc '^/images/' || true)" 0 \
            "plain requests for anything but files"
        assert_eq "$(recorded '[.[] | select(.event == "status" and .code != 200)] | length')" 0 \
            "plain requests for public files that were not answered"
        ;;
    esac
}
each_remote watched
