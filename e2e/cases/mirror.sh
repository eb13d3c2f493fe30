#!/usr/bin/env bash
# `headwater mirror` from another Headwater, from static trees of two makers, from a real LXD and a real Incus: what is mirrored is
# what was there, clients copy from the mirror, a second run transfers nothing, a new version costs only itself.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

export HEADWATER_DELTAS_ENABLED=false
server_start
server_second
for serial in 202501010000 202502010000; do
    tiny_image "$CASE/c-$serial" Debian bookworm "$serial"
    tiny_vm "$CASE/m-$serial" Debian trixie "$serial"
    # No two versions have the same disk.
    qemu-io -f qcow2 -c "write -P 0x${serial:5:1}7 0 64k" "$CASE/m-$serial/disk.qcow2" >/dev/null
done
container=$(fingerprint_of "$CASE"/c-202501010000/{metadata.tar.xz,rootfs.squashfs})
machine=$(fingerprint_of "$CASE"/m-202501010000/{metadata.tar.xz,disk.qcow2})
both=$(printf '%s\n' "$container" "$machine" | sort)
publish "$CASE"/c-202501010000/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
publish "$CASE"/m-202501010000/{metadata.tar.xz,disk.qcow2} --public >/dev/null

# added UPSTREAM URL [OPTION...]: an upstream of the second server, in a project of its own.
added() {
    on_second headwater project create "$1"
    on_second headwater mirror add "$1" "$2" --project "$1" --public --schedule 0s "${@:3}"
}
# run UPSTREAM: how many images were listed, taken and removed, and the bytes that came.
run() { on_second headwater mirror run "$1" --format json 2>/dev/null | jq -r 'select(.event == "ended") | "\(.listed) \(.taken) \(.removed) \(.bytes)"'; }
size() { cat "$@" | wc -c; }
# shows UPSTREAM NAMES: every client lists both images at the mirror, and its daemon copies them.
shows() {
    local client kind fp
    for client in "${CLIENTS[@]}"; do
        on_second add_remote "$client" "at-$1" simplestreams "/p/$1"
        assert_eq "$(listed "$client" "at-$1")" "$both" "what $client lists of $1"
        daemon "$client"
        for kind in "" --vm; do
            fp=$([ -z "$kind" ] && echo "$container" || echo "$machine")
            # shellcheck disable=SC2086 # nothing, or an option
            "$client" image copy "at-$1:$fp" local: $kind
            assert_eq "$("$client" image info "local:$fp" $kind | sed -n 's/^Fingerprint: //p')" "$fp" "what $client copied"
            "$client" image delete "local:$fp"
        done
        daemon_forget "$client"
    done
}
all=$(size "$CASE"/c-202501010000/{metadata.tar.xz,rootfs.squashfs} "$CASE"/m-202501010000/{metadata.tar.xz,disk.qcow2})

step "from another Headwater"
added headwater "$URL" --certificate "$DATA/tls/server.crt"
assert_contains "$(on_second headwater mirror run headwater --dry-run 2>&1)" "2 images are listed, 2 to take" "the plan"
assert_eq "$(run headwater)" "2 2 0 $all" "the first run"
assert_eq "$(run headwater)" "2 0 0 0" "the second run"
shows headwater
names() { document "$1/streams/v1/images.json" | jq -S '.products | map_values({aliases, versions: (.versions | keys)})'; }
assert_eq "$(on_second names /p/headwater)" "$(names "")" "products, names and versions"

step "from a static tree of ours"
headwater export --to "$CASE/www/ours" --client any
chmod -R a+rX "$CASE"
static_server "$CASE/www"
added ours "$STATIC_URL/ours" --certificate "$STATIC_CERTIFICATE"
assert_eq "$(run ours)" "2 2 0 0" "the first run, of files that another mirror brought"
assert_eq "$(run ours)" "2 0 0 0" "the second run"
shows ours
item() { awk '{ print $7 }' "$CASE/log/nginx-access.log" | grep -c '/images/' || true; }
before=$(item)
assert_eq "$(run ours)" "2 0 0 0" "another run"
assert_eq "$(item)" "$before" "files that were asked for"

step "a new version costs only itself"
publish "$CASE"/c-202502010000/{metadata.tar.xz,rootfs.squashfs} --public >/dev/null
headwater export --to "$CASE/www/ours" --client any
new=$(size "$CASE"/c-202502010000/{metadata.tar.xz,rootfs.squashfs})
assert_eq "$(run ours)" "3 1 0 $new" "a run after a new version"
assert_eq "$(item)" "$((before + 2))" "files that were asked for"
assert_eq "$(run headwater)" "3 1 0 0" "the same where the files are here by now"

step "by a delta, where there is one"
head -c 3000000 /dev/urandom >"$CASE/common"
for serial in 202501010000 202502010000; do
    mkdir -p "$CASE/d-$serial/tree"
    cp "$CASE/common" "$CASE/d-$serial/tree/common"
    head -c 20000 /dev/urandom >"$CASE/d-$serial/tree/new"
    tiny_image "$CASE/d-$serial" Changing one "$serial"
done
headwater project create changing
publish "$CASE"/d-202501010000/{metadata.tar.xz,rootfs.squashfs} --public --project changing >/dev/null
added changing "$URL/p/changing" --certificate "$DATA/tls/server.crt"
assert_eq "$(run changing)" "1 1 0 $(size "$CASE"/d-202501010000/{metadata.tar.xz,rootfs.squashfs})" "the first version"
publish "$CASE"/d-202502010000/{metadata.tar.xz,rootfs.squashfs} --public --project changing >/dev/null
headwater delta build
delta=$(document /p/changing/streams/v1/images.json | jq '[.products[].versions[].items[] | select(.delta_base)][0].size')
assert_eq "$(run changing)" "2 1 0 $((delta + $(size "$CASE/d-202502010000/metadata.tar.xz")))" "the delta and the metadata"
[ "$delta" -lt 100000 ] || fail "the delta has $delta bytes"

step "what is gone goes after its grace, the last version never"
headwater image delete "$container"
headwater export --to "$CASE/www/ours" --client any --grace 0s
on_second headwater mirror edit ours --grace 0s
assert_eq "$(run ours)" "2 0 0 0" "the run that sees it go"
sleep 1
assert_eq "$(run ours)" "2 0 1 0" "the run after that"
headwater image delete "$machine"
headwater export --to "$CASE/www/ours" --client any --grace 0s
run ours >/dev/null
sleep 1
assert_eq "$(run ours)" "1 0 0 0" "the machine's only version"
assert_contains "$(on_second headwater mirror status ours --format csv)" waiting "the state"

step "from a tree that incus-simplestreams made"
mkdir -p "$CASE/www/theirs"
(
    cd "$CASE/www/theirs"
    incus-simplestreams add "$CASE"/c-202501010000/{metadata.tar.xz,rootfs.squashfs}
    incus-simplestreams add "$CASE"/m-202501010000/{metadata.tar.xz,disk.qcow2}
)
chmod -R a+rX "$CASE"
added theirs "$STATIC_URL/theirs" --certificate "$STATIC_CERTIFICATE" --both-families
assert_eq "$(run theirs)" "2 2 0 0" "the first run"
assert_eq "$(run theirs)" "2 0 0 0" "the second run"
shows theirs

for client in "${CLIENTS[@]}"; do
    name=$(daemon_name "$client")
    step "from a real $name"
    daemon "$client"
    daemon_listen "$client"
    "$client" image import "$CASE"/c-202501010000/{metadata.tar.xz,rootfs.squashfs} local: --alias stable --public
    "$client" image import "$CASE"/m-202501010000/{metadata.tar.xz,disk.qcow2} local: --alias machine --public
    added "$name" "https://$(daemon_address "$client")" --protocol "$name" --certificate "$(daemon_folder "$client")/server.crt"
    assert_eq "$(run "$name")" "2 2 0 $all" "the first run"
    assert_eq "$(run "$name")" "2 0 0 0" "the second run"
    "$client" image delete "local:$container" "local:$machine"
    assert_eq "$(on_second headwater image info stable --project "$name" --format json | jq -r .fingerprint)" "$container" "where a name leads"
    shows "$name"
done
