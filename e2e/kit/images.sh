# shellcheck shell=bash
# Images to publish: the real ones from e2e/images.sh, and tiny ones for cases that need many or none that can start.

# The folder of the real images, made on first use.
real_images() {
    if [ -z "${IMAGES:-}" ]; then
        IMAGES=$("$E2E/images.sh") || fail "the test images could not be made"
        export IMAGES
    fi
}

# The fingerprint of an image: the SHA-256 of its file, or of its metadata file followed by its root file.
fingerprint_of() { cat -- "$@" | sha256sum | cut -d' ' -f1; }

# tiny_image FOLDER OS RELEASE SERIAL [ARCHITECTURE [VARIANT [VERSION]]]: writes metadata.tar.xz and rootfs.squashfs of
# a few hundred bytes, real in form but without anything to run.
tiny_image() {
    local folder=$1 os=$2 release=$3 serial=$4 arch=${5:-x86_64} variant=${6:-default} version=${7:-} day=${4:0:8}
    mkdir -p "$folder/tree/etc"
    echo "$os $release $serial $arch $variant" >"$folder/tree/etc/issue"
    cat >"$folder/metadata.yaml" <<YAML
architecture: $arch
creation_date: $(date -u -d "$day" +%s)
properties:
  architecture: $arch
  description: $os $release $arch $variant ($serial)
  os: $os
  release: $release
  serial: "$serial"
  variant: $variant
${version:+"  version: \"$version\""}
YAML
    sed -i 's/^"  version: "\(.*\)""$/  version: "\1"/' "$folder/metadata.yaml"
    tar -C "$folder" -cJf "$folder/metadata.tar.xz" metadata.yaml
    mksquashfs "$folder/tree" "$folder/rootfs.squashfs" -noappend -no-progress -quiet -all-root >/dev/null
}

# tiny_unified FOLDER OS RELEASE SERIAL: the same as one file, unified.tar.gz.
tiny_unified() {
    tiny_image "$@"
    mv "$1/tree" "$1/rootfs"
    tar -C "$1" --sort=name --owner=0 --group=0 -czf "$1/unified.tar.gz" metadata.yaml rootfs
}

# tiny_vm FOLDER OS RELEASE SERIAL: metadata.tar.xz and disk.qcow2 of a virtual machine with an empty disk.
tiny_vm() {
    tiny_image "$@"
    rm "$1/rootfs.squashfs"
    qemu-img create -q -f qcow2 "$1/disk.qcow2" 1M
}

# small_system FOLDER OS RELEASE SERIAL: as tiny_image, with an init, sh, cat and sleep of this machine: a container that
# starts and stops within a second.
small_system() {
    local tree=$1/tree program binary
    mkdir -p "$tree"/{bin,sbin,dev,proc,sys,run,tmp,root}
    for program in sh cat sleep; do
        binary=$(readlink -f "$(command -v "$program")")
        cp "$binary" "$tree/bin/$program"
        ldd "$binary" | grep -o '/[^ ]*' | xargs -I{} cp -L --parents {} "$tree"
    done
    printf '#!/bin/sh\ntrap "exit 0" PWR INT TERM\nwhile :; do sleep 3600 & wait $!; done\n' >"$tree/sbin/init"
    chmod 755 "$tree/sbin/init"
    tiny_image "$1" "$2" "$3" "$4" "$(uname -m)"
}
