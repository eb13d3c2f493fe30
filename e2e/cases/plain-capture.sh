#!/usr/bin/env bash
# Who overhears what clients send in plain learns neither a token nor anything by which a private file can be had from
# another address; and no log holds what clients keep secret.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

real_images
HEADWATER_LOG_LEVEL=trace server_start
headwater project create team
fp=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --project team)
token=$(headwater token create hosts --project team --format json 2>/dev/null | jq -er .token)
recorder_start
root=$(sha256sum <"$IMAGES/bookworm-v1/rootfs.zstd.squashfs" | cut -d' ' -f1)

paths() { recorded '[.[] | select(.event == "request") | .path] | unique | .[]'; }
statuses() { recorded '[.[] | select(.event == "status") | .code] | unique | map(tostring) | join(" ")'; }

for client in "${CLIENTS[@]}"; do
    daemon "$client"
    step "$client"
    : >"$RECORD" && : >"$PLAIN"
    add_remote "$client" team simplestreams "/t/$token"
    "$client" image list team: >/dev/null
    "$client" image info team:debian/12 >/dev/null
    rm -rf "$CASE/out" && mkdir "$CASE/out"
    "$client" image export "team:$fp" "$CASE/out/"
    [ -n "$(paths)" ] || fail "the command line of $client asked for nothing in plain: this case would show nothing"
    : >"$RECORD"
    "$client" image copy team:debian/12 local: --alias kept
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$fp" "in the daemon"
    [ -n "$(paths)" ] || fail "the daemon of $client asked for nothing in plain: this case would show nothing"
    daemon_clean "$client"
    if unshare --mount --pid --fork --uts --ipc true 2>/dev/null; then
        launch "$client" team:debian/12 c1
        daemon_clean "$client"
    fi

    assert_eq "$(statuses)" 400 "what is answered in plain"
    for part in hw_ "$token" Authorization "/t/" debian; do
        ! grep -qaF -- "$part" "$PLAIN" || fail "in plain went by: $(grep -aoF -- "$part" "$PLAIN" | sort -u)"
    done
    # Everything that went by, asked for again: by the client's host it works, from elsewhere nothing does.
    overheard=$(grep -aoE '^[A-Z]+ [^ ]+ HTTP' "$PLAIN" | cut -d' ' -f2 | sort -u)
    assert_contains "$overheard" "/$root.squashfs" "what was overheard"
    for path in $overheard; do
        assert_status 200 -k "https://127.0.0.1:$PORT$path"
        assert_status 404 -k --interface 127.0.0.2 "https://127.0.0.1:$PORT$path"
        assert_status 404 -k --interface 127.0.0.2 "https://127.0.0.1:$PORT/images/${path##*/}"
        assert_status 400 "http://127.0.0.1:$PORT$path"
        assert_status 400 --interface 127.0.0.2 "http://127.0.0.1:$PORT$path"
        grant=$(cut -d/ -f3 <<<"$path")
        assert_status 403 -k --interface 127.0.0.2 "https://127.0.0.1:$PORT/t/$grant/streams/v1/index.json"
        echo "$grant" >>"$CASE/grants"
    done
done

step "logs, at their most talkative"
basic=$(printf 'any:%s' "$token" | base64 -w0)
for version in --http1.1 --http2; do
    assert_status 200 -k $version -u "any:$token" "https://127.0.0.1:$PORT/p/team/streams/v1/images.json"
    assert_status 200 -k $version -H "Authorization: Bearer $token" "https://127.0.0.1:$PORT/1.0/images?project=team"
    assert_status 200 -k $version "https://127.0.0.1:$PORT/%74/$token/streams/v1/index.json"
    assert_status 404 -k $version "https://127.0.0.1:$PORT/p/team/t/$token"
    assert_status 200 -k $version "https://127.0.0.1:$PORT/t/$token/streams/v1/index.json?token=$token&x=$token"
    assert_status 400 -k $version "https://127.0.0.1:$PORT//t/$token/streams/v1/index.json"
done
assert_status 400 "http://127.0.0.1:$PORT/t/$token/streams/v1/index.json"
server_stop
grep -q 'path=/t/…/streams/v1/images.json' "$CASE/log/headwater.log" || fail "the log does not tell of the requests"
grep -qE 'path=/f/…/[0-9a-f]{64}' "$CASE/log/headwater.log" || fail "the log does not tell of the files"
sort -u "$CASE/grants" >"$CASE/secrets"
printf '%s\n' "$token" "$basic" >>"$CASE/secrets"
if grep -aF -f "$CASE/secrets" "$CASE/log/headwater.log" >&2; then fail "the log holds a secret"; fi
