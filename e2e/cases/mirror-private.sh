#!/usr/bin/env bash
# Private images of a real LXD, a real Incus and another Headwater: a guest's run gets nothing, one that joined with a token gets what the token
# allows, and no more.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
export HEADWATER_DELTAS_ENABLED=false
server_start
server_second
tiny_image "$CASE/ci" Debian bookworm 202501010000
tiny_image "$CASE/secret" Secret one 202501010000
ci=$(fingerprint_of "$CASE/ci"/{metadata.tar.xz,rootfs.squashfs})

# added UPSTREAM URL [OPTION...]: an upstream of the second server, in a project of its own.
added() {
    on_second headwater project create "$1"
    on_second headwater mirror add "$1" "$2" --project "$1" --schedule 0s "${@:3}"
}
run() { on_second headwater mirror run "$1" --format json 2>/dev/null | jq -r 'select(.event == "ended") | "\(.listed) \(.taken) \(.removed)"'; }
holds() { on_second headwater image list --project "$1" --format json | jq -r '.[] | "\(.fingerprint) \(.public)"'; }
untold() { # UPSTREAM: nothing that is secret is told
    said=$(on_second headwater mirror show "$1"; on_second headwater mirror list; cat "$CASE/log/headwater2.log"; on_second headwater audit)
    case $said in *"PRIVATE KEY"* | *hw_*) fail "a secret of $1 is told: $said" ;; esac
}

for client in "${CLIENTS[@]}"; do
    name=$(daemon_name "$client")
    step "a real $name"
    daemon "$client"
    daemon_listen "$client"
    url=https://$(daemon_address "$client")
    certificate=$(daemon_folder "$client")/server.crt
    "$client" project create ci -c features.images=true -c features.profiles=false
    "$client" image import "$CASE/ci"/{metadata.tar.xz,rootfs.squashfs} local: --project ci --alias stable
    "$client" image import "$CASE/secret"/{metadata.tar.xz,rootfs.squashfs} local:
    added "$name-guest" "$url" --protocol "$name" --certificate "$certificate"
    assert_eq "$(run "$name-guest")" "0 0 0" "a guest's run"
    case $client in
    lxc) token=$(lxc config trust add --name mirror --restricted --projects ci | tail -n 1) ;;
    incus) token=$(incus config trust add mirror --restricted --projects ci | tail -n 1) ;;
    esac
    # The certificate is told by the token.
    assert_contains "$(added "$name" "$url" --protocol "$name" --token "$token" --upstream-project ci 2>&1)" "joined" "what is said"
    assert_eq "$(run "$name")" "1 1 0" "the first run"
    assert_eq "$(run "$name")" "1 0 0" "the second run"
    assert_eq "$(holds "$name")" "$ci false" "what was taken: private as it was there"
    assert_eq "$(on_second headwater image info stable --project "$name" --format json | jq -r .fingerprint)" "$ci" "where its name leads"
    fp=$(on_second headwater mirror show "$name" --format json | jq -r .client_fingerprint)
    assert_eq "$("$client" config trust list local: -f json | jq -r '.[] | "\(.name) \(.fingerprint) \(.restricted)"')" "mirror $fp true" "who joined"
    untold "$name"
    on_second headwater mirror add again "$url" --protocol "$name" --token "$token" 2>"$CASE/said" && fail "the token was good twice"
    assert_contains "$(cat "$CASE/said")" "$url answers" "why the token is not good again"
    assert_eq "$(on_second headwater mirror list --format json | jq '[.[] | select(.name == "again")] | length')" 0 "what was kept of that"
    # The images of the other project are not this certificate's to see.
    on_second headwater mirror edit "$name" --upstream-project default
    on_second headwater mirror run "$name" 2>/dev/null && fail "the certificate saw another project"
    on_second headwater mirror edit "$name" --upstream-project ci
    "$client" config trust remove "local:$fp"
    on_second headwater mirror run "$name" --accept-loss >/dev/null 2>&1 || true
    assert_eq "$(holds "$name")" "$ci false" "what is here when it is trusted no more"
done

step "a key and a certificate that the daemon knows"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 30 -subj /CN=mirror -keyout "$CASE/up.key" -out "$CASE/up.crt" 2>/dev/null
incus config trust add-certificate local: "$CASE/up.crt" --name by-file
added by-file "$url" --protocol incus --certificate "$certificate" --client-certificate "$CASE/up.crt" --client-key "$CASE/up.key" --upstream-project ci
assert_eq "$(run by-file)" "1 1 0" "with a certificate that was brought"
untold by-file

step "another Headwater"
headwater project create team
publish "$CASE/ci"/{metadata.tar.xz,rootfs.squashfs} --project team --alias stable >/dev/null
publish "$CASE/secret"/{metadata.tar.xz,rootfs.squashfs} >/dev/null
added streams-guest "$URL/p/team" --certificate "$DATA/tls/server.crt"
on_second headwater mirror run streams-guest >/dev/null 2>&1 && fail "a guest read a private stream"
added joined "$URL" --protocol incus --token "$(join_token mirror --project team)" --upstream-project team
assert_eq "$(run joined)" "1 1 0" "over the API, joined"
added streams "$URL/p/team" --token "$(join_token streams --project team)"
assert_eq "$(run streams)" "1 1 0" "over simplestreams, joined"
secret=$(headwater token create mirror --project team)
printf '%s\n' "$secret" | added token "$URL/p/team" --certificate "$DATA/tls/server.crt" --token -
assert_eq "$(run token)" "1 1 0" "over simplestreams, with a token"
added api-token "$URL" --protocol lxd --certificate "$DATA/tls/server.crt" --token "$secret" --upstream-project team
assert_eq "$(run api-token)" "1 1 0" "over the API, with a token"
added address "$URL/t/$secret" --certificate "$DATA/tls/server.crt"
assert_eq "$(run address)" "1 1 0" "with a token in the address"
for upstream in joined streams token api-token address; do
    assert_eq "$(holds "$upstream")" "$ci false" "what $upstream holds"
    untold "$upstream"
done
headwater token revoke mirror
on_second headwater mirror run token >/dev/null 2>&1 && fail "the token is good although it was revoked"
assert_eq "$(holds token)" "$ci false" "what is here when the token is good no more"
