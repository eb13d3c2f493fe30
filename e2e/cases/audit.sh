#!/usr/bin/env bash
# Who did what with the clients is in the audit: what, to what, by whom, from where; and who downloaded what is private.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
tiny_image "$CASE/one" One one 202501010000
files=("$CASE/one/metadata.tar.xz" "$CASE/one/rootfs.squashfs")
fp=$(fingerprint_of "${files[@]}")
server_start
told() { headwater audit --format json --actor "$1" | jq -r '.[] | [.action, .subject, .actor_kind, .address] | join(" ")'; }

audited() {
    local client=$1 print
    trusted_remote "$client" r
    print=$(openssl x509 -in "$(client_config "$client")/client.crt" -outform DER | sha256sum | cut -d' ' -f1)
    "$client" image import "${files[@]}" r: --alias mine >/dev/null
    "$client" image set-property r:mine colour green
    mkdir "$CASE/out-$client"
    "$client" image export r:mine "$CASE/out-$client/"
    "$client" image alias rename r:mine yours
    "$client" image delete "r:$fp"
    "$client" project create r:team
    "$client" project delete r:team
    # Downloads are written down together, every few seconds.
    downloaded() { told "$client" | grep image-retrieved; }
    wait_for 15 "the audit to know of the download" downloaded
    assert_eq "$(told "$client" | grep -v image-retrieved)" "$(
        printf '%s certificate 127.0.0.1\n' "image-created $fp" "image-alias-created mine" "image-updated $fp" \
            "image-alias-renamed mine" "image-deleted $fp" "project-created team" "project-deleted team"
    )" "what $client did"
    assert_eq "$(told "$client" | grep -c "image-retrieved $fp certificate 127.0.0.1")" 1 "downloads"
    assert_eq "$(told "${print:0:16}")" "$(told "$client")" "the same, found by the certificate"
}
for client in "${CLIENTS[@]}"; do audited "$client"; done
user=$(id -un)
assert_contains "$(headwater audit)" "operator $user" "the audit, of what was done at the command line"
