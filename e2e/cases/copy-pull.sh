#!/usr/bin/env bash
# `image copy` as clients do it by themselves: the destination fetches a private image from the source, with a secret.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

copies_start
pull() {
    local client=$1 from=$2 to=$3 kind=$4
    if [ "$client $to" = "incus lxd" ]; then
        # An LXD knows nothing of what Incus calls its protocol, whoever the source is.
        assert_fails_with "Unsupported protocol: incus" incus image copy "$from:$kind" "$to:"
        row "image copy ($kind, private)" incus api "$(title "$from") → LXD" "\`Unsupported protocol: incus\`, from the LXD"
        return
    fi
    "$client" image copy "$from:$kind" "$to:"
    copied "$client" "$to"
    assert_eq "$COLOUR" green "the property that only the source knows"
    row "image copy ($kind, private)" "$client" api "$(title "$from") → $(title "$to")" works
}
copies pull
