#!/usr/bin/env bash
# docs/guides/mirror.md, typed as it stands, with trees of our own in the place of linuxcontainers.org's and Ubuntu's.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
daemon incus
for serial in 20250101_07:42 20250102_07:42 20250103_07:42; do
    tiny_image "$CASE/debian-$serial" Debian bookworm "$serial"
    DATA=$CASE/maker publish "$CASE/debian-$serial"/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
done
"$HEADWATER_BIN" export --data "$CASE/maker" --to "$CASE/www/containers" --client any
# As Ubuntu lists its own: for LXD alone, under keys of its own.
tiny_image "$CASE/ubuntu" ubuntu noble 20240501
mkdir -p "$CASE/www/releases/streams/v1" "$CASE/www/releases/server"
cp "$CASE/ubuntu/metadata.tar.xz" "$CASE/www/releases/server/lxd.tar.xz"
cp "$CASE/ubuntu/rootfs.squashfs" "$CASE/www/releases/server/noble.squashfs"
item() { # ftype file: without a bracket at its end
    printf '{"ftype": "%s", "path": "server/%s", "size": %s, "sha256": "%s"' "$1" "$2" \
        "$(stat -c %s "$CASE/www/releases/server/$2")" "$(sha256sum "$CASE/www/releases/server/$2" | cut -d' ' -f1)"
}
cat >"$CASE/www/releases/streams/v1/index.json" <<'JSON'
{"format": "index:1.0", "index": {"com.ubuntu.cloud:released:download": {"datatype": "image-downloads", "format": "products:1.0",
 "path": "streams/v1/com.ubuntu.cloud:released:download.json", "products": ["com.ubuntu.cloud:server:24.04:amd64"]}}}
JSON
cat >"$CASE/www/releases/streams/v1/com.ubuntu.cloud:released:download.json" <<JSON
{"format": "products:1.0", "content_id": "com.ubuntu.cloud:released:download", "datatype": "image-downloads", "license": "none",
 "products": {"com.ubuntu.cloud:server:24.04:amd64": {"aliases": "24.04,n,noble,lts,default", "arch": "amd64", "os": "ubuntu", "release": "noble",
 "release_codename": "Noble Numbat", "release_title": "24.04 LTS", "version": "24.04", "supported": true, "support_eol": "2029-05-31",
 "versions": {"20240501": {"label": "release", "pubname": "ubuntu-noble", "items": {
  "lxd.tar.xz": $(item lxd.tar.xz lxd.tar.xz), "combined_squashfs_sha256": "$(fingerprint_of "$CASE"/ubuntu/{metadata.tar.xz,rootfs.squashfs})"},
  "squashfs": $(item squashfs noble.squashfs)}}}}}}}
JSON
chmod -R a+rX "$CASE"
static_server "$CASE/www"
# shellcheck disable=SC2034 # the kit reads it
GUIDE_WORDS="s,https://images.linuxcontainers.org,$STATIC_URL/containers,; s,https://cloud-images.ubuntu.com/releases,$STATIC_URL/releases,"
# Certificates of the cases' own authority, for the server as well: as if the system trusted them.
mkdir -p "$DATA/tls"
certificate "$DATA/tls"
chmod 600 "$DATA/tls/server.key"
export SSL_CERT_FILE=$AUTHORITY/bundle.crt
guide mirror
