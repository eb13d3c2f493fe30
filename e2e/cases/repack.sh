#!/usr/bin/env bash
# Root files that are packed anew for small deltas: the same in every attribute, a little larger, and a third of one version new in the next.
# Containers start from them; uploads into a project that wants it are packed too, and copies keep their fingerprints.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

[ "$(id -u)" = 0 ] || skip "only root can unpack a root file with all its owners and devices"
[ -z "$REFERENCE" ] || skip "the daemons pack nothing anew"
real_images
server_start

# attributes SQUASHFS: a line for each entry, with all that the unpacked tree has of it.
attributes() {
    rm -rf "$CASE/tree"
    unsquashfs -quiet -no-progress -strict-errors -d "$CASE/tree" "$1" >/dev/null
    (
        cd "$CASE/tree"
        find . -printf '%p|%y|%#m|%U:%G|%T@|%n|%l|' \( -type f -printf '%s' -o -printf '' \) -printf '\n' | sort
        find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
        find . -type f -links +1 -printf '%i %p\n' | sort -k2 | awk '{ if (!($1 in first)) first[$1] = $2; print $2, first[$1] }'
        find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex -- 2>/dev/null
        find . -type f -print0 | sort -z | xargs -0 sha256sum --
    ) >"$2"
    rm -rf "$CASE/tree"
}

# repacked VERSION FOLDER [OPTION...]: publishes a version packed anew; its root file is FOLDER/root then. Sets FP.
repacked() {
    local version=$1 folder=$2
    shift 2
    mkdir -p "$folder"
    FP=$(publish "bookworm-$version/metadata.tar.xz" "bookworm-$version/rootfs.zstd.squashfs" --repack --public "$@")
    headwater image export "$FP" "$folder/image" >/dev/null
    mv "$folder/image.root" "$folder/root"
}

for version in v1 v2; do
    step "bookworm-$version, packed anew"
    given=$IMAGES/bookworm-$version/rootfs.zstd.squashfs
    repacked "$version" "$CASE/$version"
    assert_ne "$FP" "$(fingerprint_of "$IMAGES/bookworm-$version/metadata.tar.xz" "$given")" "the fingerprint"
    assert_eq "$FP" "$(fingerprint_of "$IMAGES/bookworm-$version/metadata.tar.xz" "$CASE/$version/root")" "the fingerprint"
    attributes "$given" "$CASE/given"
    attributes "$CASE/$version/root" "$CASE/made"
    [ "$(wc -l <"$CASE/given")" -gt 5000 ] || fail "the list of attributes is too short to be true"
    assert_same_file "$CASE/given" "$CASE/made"
    more=$(($(stat -c %s "$CASE/$version/root") * 1000 / $(stat -c %s "$given") - 1000))
    # Without documentation and languages, what is left is large programs, which small blocks cost most. `./dev bench packings` has whole ones.
    [ "$more" -le 160 ] || fail "the root file of $version is $more ‰ larger"
done
newest=$FP

step "the next version is a delta"
share() { # old, new: the delta in percent of the new file
    xdelta3 -e -9 -f -B 134217728 -s "$1" "$2" "$CASE/delta"
    echo $(($(stat -c %s "$CASE/delta") * 100 / $(stat -c %s "$2")))
}
made=$(share "$CASE/v1/root" "$CASE/v2/root")
given=$(share "$IMAGES/bookworm-v1/rootfs.zstd.squashfs" "$IMAGES/bookworm-v2/rootfs.zstd.squashfs")
step "delta: $made % of the file, $given % as it was given"
[ "$made" -le 32 ] || fail "the delta is $made % of the root file"
[ "$made" -lt "$given" ] || fail "the delta is not smaller than that of the files given, $given %"

step "the same file gives the same bytes, in another place"
DATA=$CASE/elsewhere HEADWATER_DATA=$CASE/elsewhere repacked v2 "$CASE/again"
assert_eq "$FP" "$newest" "the fingerprint in another place"

step "a project that packs anew"
headwater project create team --repack on
uploads() {
    local client=$1 said fp files=("$IMAGES/bookworm-v1/metadata.tar.xz" "$IMAGES/bookworm-v1/rootfs.zstd.squashfs")
    trusted_remote "$client" r
    said=$(told "$client" image import "${files[@]}" r: --project team --alias uploaded)
    fp=$(fingerprint_of "${files[0]}" "$CASE/v1/root")
    assert_contains "$said" "Image imported with fingerprint: $fp"
    assert_eq "$("$client" image get-property r:uploaded headwater.repacked_from --project team)" "$(fingerprint_of "${files[@]}")" "the property"
    "$client" image delete r:uploaded --project team
    # Who copies an image by its fingerprint finds it under that one.
    fp=$(publish bookworm-v1/metadata.tar.xz bookworm-v1/rootfs.zstd.squashfs --public)
    "$client" image copy "r:$fp" r: --target-project team
    "$client" image show "r:$fp" --project team >/dev/null
    "$client" image delete "r:$fp" --project team
    # Through the client, it arrives as an upload, and is known for a copy by the names of its files.
    "$client" image copy "r:$fp" r: --target-project team --mode relay --alias relayed
    assert_eq "$("$client" image info r:relayed --project team | sed -n 's/^Fingerprint: *//p')" "$fp" "the fingerprint of what was relayed"
    "$client" image delete r:relayed --project team
    headwater image delete "$fp"
}
for client in "${CLIENTS[@]}"; do uploads "$client"; done

launches() {
    local client=$1 remote=$2 protocol=$3
    # A whole Debian takes seconds to unpack, and to the server all ways are the same.
    if [ "$client/$protocol" = lxc/api ] || [ "$client/$protocol" = incus/simplestreams ]; then
        daemon "$client"
        launch "$client" "$remote:$newest" packed
    fi
}
each_remote launches
