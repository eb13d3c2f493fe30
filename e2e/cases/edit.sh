#!/usr/bin/env bash
# `image edit`, from a file and in an editor, and single properties: what is written is what is read, and an edit of what
# has changed in the meantime is refused.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

tiny_image "$CASE/tiny" Tiny one 202501010000
files=("$CASE/tiny/metadata.tar.xz" "$CASE/tiny/rootfs.squashfs")
server_start
fp=$(publish "${files[@]}" --alias first)

edits() {
    local client=$1
    trusted_remote "$client" r

    step "$client: from standard input, by alias and by a fingerprint's beginning"
    "$client" image show r:first | sed 's/^  os: .*/  os: Edited by '"$client"'\n  added: "1"/; s/^public: .*/public: true/' |
        "$client" image edit r:first
    assert_eq "$("$client" image get-property r:first os)" "Edited by $client" "a property that was changed"
    assert_eq "$("$client" image get-property r:first added)" 1 "a property that was added"
    assert_eq "$("$client" image get-property r:first release)" one "a property that was left"
    assert_eq "$(image_field "$client" r:first Public)" yes "public"
    "$client" image show r:first | sed '/^  added: /d; s/^public: .*/public: false/; s/^expires_at: .*/expires_at: 2041-01-02T03:04:05Z/' |
        "$client" image edit "r:${fp:0:12}"
    assert_lacks "$("$client" image show r:first)" added "the image without what was taken away"
    assert_eq "$(image_field "$client" r:first Public)" no "public"
    assert_contains "$("$client" image show r:first)" "expires_at: 2041-01-02T03:04:05Z" "the expiry"
    row "image edit" "$client" api "" works

    step "$client: in an editor"
    cat >"$CASE/editor" <<'SH'
#!/bin/sh
sed -i 's/^  os: .*/  os: From the editor/' "$1"
SH
    chmod +x "$CASE/editor"
    EDITOR=$CASE/editor at_terminal "$client" image edit r:first
    assert_eq "$("$client" image get-property r:first os)" "From the editor" "what the editor wrote"
    row "image edit (editor)" "$client" api "" works

    step "$client: in an editor, while another changes the image"
    cat >>"$CASE/editor" <<SH
sed -i 's/^  os: .*/  os: Too late/' "\$1"
$(declare -p LXD_CONF INCUS_CONF HOME | sed 's/^declare -x/export/')
command $client -q image set-property r:first os Quicker
SH
    assert_contains "$(EDITOR=$CASE/editor at_terminal "$client" image edit r:first 2>&1 || true)" "ETag doesn't match" "what the late one is told"
    assert_eq "$("$client" image get-property r:first os)" Quicker "what was quicker"
    row "image edit of what has changed meanwhile" "$client" api "" "refused: \`ETag doesn't match\`"

    step "$client: single properties"
    "$client" image set-property r:first colour "light green"
    assert_eq "$("$client" image get-property r:first colour)" "light green" "a property that was set"
    row "image set-property" "$client" api "" works
    row "image get-property" "$client" api "" works
    "$client" image unset-property r:first colour
    assert_lacks "$("$client" image show r:first)" colour "the image without it"
    row "image unset-property" "$client" api "" works

    assert_image "$client" r:first container "${files[@]}"
    assert_fails_with "ot found" "$client" image set-property r:nobody colour green
}
for client in "${CLIENTS[@]}"; do edits "$client"; done
