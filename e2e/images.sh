#!/usr/bin/env bash
# Makes the real images that the end-to-end cases publish, from Debian packages, and prints the folder they are in.
# They are made once (about two minutes) and kept in ${HEADWATER_CACHE:-target/e2e-images}, keyed by this script's hash.
#
#   bookworm-v1/     metadata.tar.xz   rootfs.zstd.squashfs rootfs.xz.squashfs rootfs.tar.xz        split images
#                    unified.tar.{gz,xz,zst,bz2,lz4} unified.squashfs                                unified images
#   bookworm-v2/     metadata.tar.xz   rootfs.zstd.squashfs rootfs.xz.squashfs     v1 and some packages, a month later
#   bookworm-vm/     metadata.tar.xz   disk.qcow2          virtual machine (ext4 root file system, no boot loader)
#   bookworm-arm64/  metadata.tar.xz                       the same root files labelled aarch64: for catalogs only
#   bookworm-cloud/  metadata.tar.xz                       a second variant, also with the same root files
#   SHA256SUMS
# A four-line init lets containers start and stop for real.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. e2e/debian.sh
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

SUITE=bookworm
SERIAL_V1=202501010000
SERIAL_V2=202502010000
V2_PACKAGES=(less nano procps)

say() { printf 'images: %s\n' "$*" >&2; }

bootstrap() {
    local tree=$work/v1/rootfs archive
    archive=$(debian_archive)
    if [ -z "$archive" ]; then
        say "apt knows no Debian archive to bootstrap $SUITE from"
        exit 1
    fi
    debootstrap --variant=minbase "$SUITE" "$tree" "$archive" >>"$work/log" 2>&1
    printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
    printf '#!/bin/sh\ntrap "exit 0" PWR INT TERM\nwhile :; do sleep 3600 & wait $!; done\n' >"$tree/usr/sbin/init"
    chmod 755 "$tree/usr/sbin/policy-rc.d" "$tree/usr/sbin/init"
}

update() {
    local tree=$work/v2/rootfs
    mkdir -p "$work/v2"
    cp -a "$work/v1/rootfs" "$tree"
    cp /etc/resolv.conf "$tree/etc/resolv.conf"
    {
        chroot "$tree" apt-get -q update
        chroot "$tree" apt-get -q -y --no-install-recommends install "${V2_PACKAGES[@]}"
    } >>"$work/log" 2>&1
    rm -f "$tree/etc/resolv.conf"
}

# Small images make quick tests: nothing here reads documentation or speaks another language.
strip() {
    local tree=$1
    chroot "$tree" apt-get clean
    rm -rf "$tree"/usr/share/{doc,man,info,locale,zoneinfo,lintian}/* "$tree"/var/lib/apt/lists/* \
        "$tree"/var/cache/{apt,debconf}/* "$tree"/var/log/*.log "$tree"/var/log/apt "$tree"/tmp/*
}

# metadata FOLDER SERIAL ARCHITECTURE VARIANT TYPE
metadata() {
    local folder=$1 serial=$2 arch=$3 variant=$4 type=$5 day=${2:0:8} debarch=amd64
    [ "$arch" = x86_64 ] || debarch=arm64
    mkdir -p "$folder/templates"
    cat >"$folder/metadata.yaml" <<YAML
architecture: $arch
creation_date: $(date -u -d "$day" +%s)
expiry_date: $(date -u -d "$day + 30 days" +%s)
properties:
  architecture: $debarch
  description: Debian $SUITE $debarch $variant ($serial)
  name: debian-$SUITE-$debarch-$variant-$serial
  os: Debian
  release: $SUITE
  version: "12"
  serial: "$serial"
  type: $type
  variant: $variant
templates:
  /etc/hostname:
    when: [create, copy]
    create_only: false
    template: hostname.tpl
    properties: {}
  /etc/hosts:
    when: [create, copy]
    create_only: false
    template: hosts.tpl
    properties: {}
YAML
    printf '{{ container.name }}\n' >"$folder/templates/hostname.tpl"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t{{ container.name }}\n::1\tlocalhost ip6-localhost\n' \
        >"$folder/templates/hosts.tpl"
}

# pack_metadata NAME SERIAL ARCHITECTURE VARIANT TYPE
pack_metadata() {
    local name=$1
    shift
    mkdir -p "$new/$name"
    metadata "$work/meta/$name" "$@"
    tar -C "$work/meta/$name" --sort=name --owner=0 --group=0 --numeric-owner -cf - metadata.yaml templates |
        xz >"$new/$name/metadata.tar.xz"
}

squash() { mksquashfs "$@" -noappend -no-exports -no-progress -quiet -b 1M; }

# split TREE NAME: the root files of a split image
split() {
    squash "$work/$1/rootfs" "$new/$2/rootfs.zstd.squashfs" -comp zstd -Xcompression-level 9
    squash "$work/$1/rootfs" "$new/$2/rootfs.xz.squashfs" -comp xz
}

unified_tar() {
    tar --sort=name --numeric-owner -cf - -C "$work/meta/bookworm-v1" metadata.yaml templates -C "$work/v1" rootfs
}

unified() {
    local to=$new/bookworm-v1 tar=$work/unified.tar
    unified_tar >"$tar"
    gzip -3 <"$tar" >"$to/unified.tar.gz" &
    bzip2 -1 <"$tar" >"$to/unified.tar.bz2" &
    wait -n
    wait -n
    zstd -q -T0 -3 <"$tar" >"$to/unified.tar.zst"
    lz4 -q -c <"$tar" >"$to/unified.tar.lz4"
    xz -T0 -1 <"$tar" >"$to/unified.tar.xz"
    rm -f "$tar"
    tar -C "$work/v1/rootfs" --sort=name --numeric-owner --xattrs -cf - . | xz -T0 -1 >"$to/rootfs.tar.xz"
    squash "$work/meta/bookworm-v1/metadata.yaml" "$work/meta/bookworm-v1/templates" "$work/v1/rootfs" \
        "$to/unified.squashfs" -comp zstd -Xcompression-level 3
}

virtual_machine() {
    local raw=$work/disk.raw
    truncate -s 1G "$raw"
    mkfs.ext4 -q -F -L rootfs -d "$work/v1/rootfs" "$raw"
    qemu-img convert -c -O qcow2 "$raw" "$new/bookworm-vm/disk.qcow2"
    rm -f "$raw"
}

build() {
    if [ "$(id -u)" != 0 ]; then
        say "debootstrap needs root: run this as root once, or point HEADWATER_CACHE to images made elsewhere"
        exit 1
    fi
    local began=$SECONDS
    new=$cache/.new.$$ work=$cache/.work.$$
    trap 'rm -rf --one-file-system -- "$new" "$work"' EXIT
    mkdir -p "$new" "$work/v1"
    say "making test images in $cache (about two minutes, once)"
    bootstrap
    update
    strip "$work/v1/rootfs"
    strip "$work/v2/rootfs"
    pack_metadata bookworm-v1 "$SERIAL_V1" x86_64 default squashfs
    pack_metadata bookworm-v2 "$SERIAL_V2" x86_64 default squashfs
    pack_metadata bookworm-vm "$SERIAL_V1" x86_64 default disk-kvm.img
    pack_metadata bookworm-arm64 "$SERIAL_V1" aarch64 default squashfs
    pack_metadata bookworm-cloud "$SERIAL_V1" x86_64 cloud squashfs
    split v1 bookworm-v1
    split v2 bookworm-v2
    unified
    virtual_machine
    (cd "$new" && find . -type f -printf '%P\n' | sort | xargs -d '\n' sha256sum >"$work/sums" && mv "$work/sums" SHA256SUMS)
    rm -rf --one-file-system -- "$images"
    mv "$new" "$images"
    say "made in $((SECONDS - began)) s: $(du -sh --apparent-size "$images" | cut -f1)"
}

cache=${HEADWATER_CACHE:-target/e2e-images}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
images=$cache/$(sha256sum e2e/images.sh | cut -c1-16)
exec 9>"$cache/.lock"
flock 9
[ -e "$images/SHA256SUMS" ] || build
printf '%s\n' "$images"
