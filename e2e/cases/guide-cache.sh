#!/usr/bin/env bash
# docs/guides/cache.md, typed as it stands, with a tree of our own in the place of linuxcontainers.org's.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
daemon incus
for serial in 20250101_07:42 20250102_07:42; do
    tiny_image "$CASE/debian-$serial" Debian bookworm "$serial"
    DATA=$CASE/maker publish "$CASE/debian-$serial"/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
done
"$HEADWATER_BIN" export --data "$CASE/maker" --to "$CASE/www/containers" --client any
chmod -R a+rX "$CASE"
static_server "$CASE/www"
# shellcheck disable=SC2034 # the kit reads it
GUIDE_WORDS="s,https://images.linuxcontainers.org,$STATIC_URL/containers,"
# Certificates of the cases' own authority, for the server as well: as if the system trusted them.
mkdir -p "$DATA/tls"
certificate "$DATA/tls"
chmod 600 "$DATA/tls/server.key"
export SSL_CERT_FILE=$AUTHORITY/bundle.crt
guide cache
