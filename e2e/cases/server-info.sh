#!/usr/bin/env bash
# What the server says of itself to clients that it knows: who they are, its name, where it is reached, its certificate.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
export HEADWATER_SERVER_NAME=images.example HEADWATER_ADDRESSES="127.0.0.2:1,images.example:8443"
server_start
print=$(openssl x509 -in "$DATA/tls/server.crt" -outform DER | sha256sum | cut -d' ' -f1)

informs() {
    local client=$1 said
    trusted_remote "$client" r
    said=$("$client" info r:)
    assert_contains "$said" "auth: trusted" "info"
    assert_contains "$said" "server_name: images.example" "info"
    assert_contains "$said" "certificate_fingerprint: $print" "info"
    assert_contains "$said" "server: headwater" "info"
    said=$("$client" query r:/1.0)
    assert_eq "$(jq -r '.environment.addresses | join(" ")' <<<"$said")" "127.0.0.2:1 images.example:8443" "addresses"
    assert_eq "$(jq -r .environment.certificate <<<"$said" | grep -v '^$')" "$(cat "$DATA/tls/server.crt")" "the certificate"
    assert_eq "$(jq -r '.auth_user_method + " " + .auth_user_name' <<<"$said")" \
        "tls $(openssl x509 -in "$(client_config "$client")/client.crt" -outform DER | sha256sum | cut -d' ' -f1)" "who the client is"
    assert_eq "$("$client" config show r:)" "config: {}" "settings"
    assert_fails_with "in its configuration file" "$client" query -X PUT -d '{"config": {"core.https_address": ":1"}}' r:/1.0
    # What an environment without instances looks like must not disturb the client: it decodes all fields or none.
    "$client" image list r: >/dev/null
}
for client in "${CLIENTS[@]}"; do informs "$client"; done
assert_lacks "$(curl -sSk "$URL/1.0")" images.example "what a guest is told"
