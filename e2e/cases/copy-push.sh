#!/usr/bin/env bash
# `image copy --mode push`: the source sends the image to the destination, which gave it a token. A virtual machine stays
# one.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

copies_start
push() {
    local client=$1 from=$2 to=$3 kind=$4
    # shellcheck disable=SC2034 # read by the kit
    # A daemon that receives what a daemon sends takes every machine for a container.
    [ -z "$REFERENCE" ] || TYPE=container
    "$client" image copy "$from:$kind" "$to:" --mode push
    copied "$client" "$to"
    assert_eq "$COLOUR" green "the property that only the source knows"
    row "image copy --mode push ($kind, private)" "$client" api "$(title "$from") → $(title "$to")" works
}
copies push
