#!/usr/bin/env bash
# Private images over simplestreams with a token in the address: listed, copied, mirrored, and gone with the token.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/secret" Secret one 202501010000
tiny_image "$CASE/open" Open one 202501010000
tiny_image "$CASE/theirs" Theirs one 202501010000
server_start
for project in team others; do headwater project create "$project"; done
files() { echo "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs"; }
# shellcheck disable=SC2046 # two names without blanks
{
    secret=$(publish $(files secret) --project team)
    open=$(publish $(files open) --project team --public)
    theirs=$(publish $(files theirs) --project others)
}
token() { headwater token create "$@" --format json 2>/dev/null | jq -er .token; }
team=$(token team --project team)
both=$(token both --project team --project others)
headwater view create secrets --project team --filter os=secret
bound=$(token bound --view secrets)

step "what each token shows"
for client in "${CLIENTS[@]}"; do
    add_remote "$client" team simplestreams "/t/$team"
    add_remote "$client" both simplestreams "/t/$both"
    add_remote "$client" bound simplestreams "/t/$bound"
    add_remote "$client" one simplestreams "/t/$both/p/others"
    add_remote "$client" guest simplestreams /p/team
    assert_eq "$(listed "$client" team)" "$(printf '%s\n' "$secret" "$open" | sort)" "the project, with $client"
    assert_eq "$(listed "$client" both)" "$(printf '%s\n' "$secret" "$open" "$theirs" | sort)" "both, with $client"
    assert_eq "$(listed "$client" bound)" "$secret" "the view, with $client"
    assert_eq "$(listed "$client" one)" "$theirs" "one of both, with $client"
    assert_eq "$(listed "$client" guest)" "$open" "without a token, with $client"
    assert_eq "$(image_field "$client" team:secret/one Fingerprint)" "$secret" "info with $client"
    row "remote add URL/t/TOKEN" "$client" simplestreams "" works
    row "image list (private)" "$client" simplestreams "" works
    row "image info (private)" "$client" simplestreams "" works
done

step "command lines and daemons download"
for client in "${CLIENTS[@]}"; do
    daemon "$client"
    for remote in team both bound; do
        rm -rf "$CASE/out" && mkdir "$CASE/out"
        "$client" image export "$remote:secret/one" "$CASE/out/"
        assert_eq "$(cat "$CASE/out"/*.squashfs | sha256sum)" "$(sha256sum <"$CASE/secret/rootfs.squashfs")" "its root file"
        "$client" image copy "$remote:secret/one" local: --alias kept
        assert_eq "$(image_field "$client" local:kept Fingerprint)" "$secret" "in the daemon of $client"
        daemon_clean "$client"
    done
    row "image export (private)" "$client" simplestreams "" works
    row "image copy (split, private)" "$client" simplestreams "Headwater → $(title "$(daemon_name "$client")")" works
done

step "a password in the address works too"
for client in "${CLIENTS[@]}"; do
    trust "$client" basic "$DATA/tls/server.crt"
    "$client" remote add basic "https://any:$team@127.0.0.1:$PORT/p/team" --protocol=simplestreams
    assert_eq "$(listed "$client" basic)" "$(printf '%s\n' "$secret" "$open" | sort)" "with $client"
    row "remote add https://USER:TOKEN@…" "$client" simplestreams "" works
    "$client" image copy basic:secret/one local: --alias kept
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$secret" "in the daemon of $client"
    daemon_clean "$client"
done

step "sstream-mirror"
tools=$TOP/target/tools/python/bin
[ -x "$tools/sstream-mirror" ] || fail "sstream-mirror is missing: run './dev setup'"
REQUESTS_CA_BUNDLE=$DATA/tls/server.crt SSL_CERT_FILE=$DATA/tls/server.crt \
    "$tools/sstream-mirror" --no-verify "$URL/t/$team/streams/v1/index.json" "$CASE/mirror"
held=$(find "$CASE/mirror/images" -type f -size +0 -exec sha256sum {} + | cut -d' ' -f1 | sort)
# shellcheck disable=SC2046
assert_eq "$held" "$(sha256sum $(files secret) $(files open) | cut -d' ' -f1 | sort -u)" "the files of the mirror"

step "a revoked token ends at the next request"
address=$(curl -sSfk -A "LXD 5.0.2" "$URL/t/$team/streams/v1/images.json" |
    jq -r '[.products[] | select(.os == "Secret") | .versions[].items[].path][0]' | sed 's,^\(\.\./\)*,,')
assert_status 200 -k "$URL/$address"
headwater token revoke team
assert_status 404 -k "$URL/$address"
for client in "${CLIENTS[@]}"; do
    client_forget
    daemon_forget "$client"
    assert_fails_with "" "$client" image list team:
    assert_fails_with "" "$client" image copy team:secret/one local:
    assert_eq "$(image_field "$client" both:secret/one Fingerprint)" "$secret" "what another token shows, with $client"
done
