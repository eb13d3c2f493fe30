# shellcheck shell=bash
# Sourced by every end-to-end case. Gives it a throw-away folder, isolated clients (`lxc`, `incus`), the product
# (`headwater`, server_start), the real daemons (daemon lxc, daemon incus) and assertions. A case ends at the first
# assertion that does not hold; whatever it started is ended with it.
#
#   . "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"
#   server_start
#   fp=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
#   check() { assert_contains "$("$1" image list "$2:" -f csv -c F)" "$fp"; }
#   each_remote check
set -euo pipefail

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(dirname "$E2E")
HEADWATER_BIN=${HEADWATER_BIN:-$TOP/target/debug/headwater}
case $HEADWATER_BIN in /*) ;; *) HEADWATER_BIN=$TOP/$HEADWATER_BIN ;; esac

. "$E2E/kit/assert.sh"
. "$E2E/kit/process.sh"
. "$E2E/kit/images.sh"
. "$E2E/kit/server.sh"
. "$E2E/kit/client.sh"
. "$E2E/kit/web.sh"
. "$E2E/kit/daemon.sh"
. "$E2E/kit/trusted.sh"
. "$E2E/kit/copies.sh"
. "$E2E/kit/guide.sh"
. "$E2E/kit/reference.sh"

# e2e/run makes one state folder for all cases, so that they share the daemons; a case run by itself makes its own.
# The path is short because unix socket paths below it are limited to 107 bytes.
if [ -z "${HW_STATE:-}" ]; then
    HW_STATE=$(mktemp -d "${TMPDIR:-/tmp}/hw-e2e.XXXX")
    chmod 711 "$HW_STATE" # the root users of containers must get through
    OWN_STATE=1
else
    OWN_STATE=
fi
CASE=$(mktemp -d "$HW_STATE/c.XXXX")
DATA=$CASE/data
mkdir -p "$HW_STATE"/{run,log} "$CASE"/{run,log,home,lxc,incus,cache}

# shellcheck disable=SC2031 # guides change it for themselves
export HOME=$CASE/home XDG_CACHE_HOME=$CASE/cache XDG_CONFIG_HOME=$CASE/home/.config XDG_DATA_HOME=$CASE/home/.local
export LXD_DIR=$HW_STATE/lxd LXD_CONF=$CASE/lxc INCUS_DIR=$HW_STATE/incus INCUS_CONF=$CASE/incus
export HEADWATER_DATA=$DATA LC_ALL=C.UTF-8
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY CURL_CA_BUNDLE SSL_CERT_FILE REQUESTS_CA_BUNDLE

leave() {
    local code=$?
    trap - EXIT
    set +e
    case $code in
    0 | 77) ;;
    *)
        show_logs
        if [ -n "${HW_LOGS:-}" ]; then cp -r "$CASE/log/." "$HW_LOGS"; fi
        ;;
    esac
    end_all "$CASE/run"
    daemons_clean
    if [ -n "$OWN_STATE" ]; then
        state_remove
    elif [ "$code" = 0 ]; then
        rm -rf --one-file-system -- "$CASE"
    fi
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM
trap 'at_error' ERR
set -E
