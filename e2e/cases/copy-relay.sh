#!/usr/bin/env bash
# `image copy --mode relay`: through the client. The files arrive, without the properties that only the source knows.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

copies_start
relay() {
    local client=$1 from=$2 to=$3 kind=$4
    "$client" image copy "$from:$kind" "$to:" --mode relay
    copied "$client" "$to"
    assert_eq "$COLOUR" "" "the property that only the source knows"
    row "image copy --mode relay ($kind, private)" "$client" api "$(title "$from") → $(title "$to")" works
}
copies relay
