#!/usr/bin/env bash
# docs/guides/ci.md, typed as it stands, with a real Incus.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
daemon incus
daemon_can_run incus
daemon_listen incus
# What the jobs have built.
small_system "$CASE/built" Debian bookworm 202501010000
small_system "$CASE/next" Debian bookworm 202501020000
small_system "$CASE/weekly" Debian bookworm 202501030000
tiny_unified "$CASE/unified" Unnamed one 202501010000
ci=$(machine ci)
cp "$CASE/built/metadata.tar.xz" "$ci/incus.tar.xz"
cp "$CASE/built/rootfs.squashfs" "$ci/rootfs.squashfs"
cp "$CASE/next/metadata.tar.xz" "$ci/incus-next.tar.xz"
cp "$CASE/unified/unified.tar.gz" "$ci/image.tar.gz"
mkdir "$(machine server)/build"
cp "$CASE/weekly/metadata.tar.xz" "$(machine server)/build/incus.tar.xz"
cp "$CASE/weekly/rootfs.squashfs" "$(machine server)/build/rootfs.squashfs"

# The secrets of the CI system.
guide_before() { [ ! -e "$(machine server)/ci.key" ] || cp "$(machine server)"/ci.{key,crt} "$ci/"; }
guide ci
