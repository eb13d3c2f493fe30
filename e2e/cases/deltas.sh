#!/usr/bin/env bash
# The real daemons, two versions behind, download what changed and not the image; who has no base gets all of it.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

head -c 4000000 /dev/urandom >"$CASE/common"
build() { # NAME SERIAL
    mkdir -p "$CASE/$1/tree"
    cp "$CASE/common" "$CASE/$1/tree/common"
    head -c 20000 /dev/urandom >"$CASE/$1/tree/new"
    tiny_image "$CASE/$1" Changing one "$2"
}
build v1 202501010000 && build v2 202502010000 && build v3 202503010000
server_start
headwater project create team
version() { publish "$CASE/$1/metadata.tar.xz" "$CASE/$1/rootfs.squashfs" --project team; }
root() { sha256sum "$CASE/$1/rootfs.squashfs" | cut -d' ' -f1; }
token=$(headwater token create hosts --project team --format json 2>/dev/null | jq -er .token)
v1=$(version v1)
for client in "${CLIENTS[@]}"; do
    daemon "$client"
    add_remote "$client" team simplestreams "/t/$token"
    "$client" image copy team:changing/one local: --alias kept --auto-update
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$v1" "the first version"
done

step "a delta from what they were seen to hold"
# What clients hold is written down every minute, and when the server ends.
server_stop
v2=$(version v2)
v3=$(version v3)
server_start
item() { # USER-AGENT: the delta to the third version that such a client is shown
    curl -sSfk -A "$1" "$URL/t/$token/streams/v1/images.json" |
        jq -r '.products[].versions["202503010000"].items | to_entries[] | select(.value.delta_base) | .key'
}
told() { [ "$(item "$1")" = "root.202501010000.vcdiff" ]; }
for agent in "LXD 5.0.2 (Linux; x86_64)" "Incus 6.0.4 (Linux; x86_64)"; do
    wait_for 60 "a delta from the first version for $agent" told "$agent"
done

step "is what they download"
log=$CASE/log/headwater.log
asked() { grep -c "path=[^ ]*$1" "$log" || true; }
assert_eq "$(asked "$(root v3)")" 0 "nobody has asked for the third version"
for client in "${CLIENTS[@]}"; do
    daemon_forget "$client"
    before=$(asked '\.vcdiff status=200')
    "$client" image refresh local:kept
    assert_eq "$(image_field "$client" local:kept Fingerprint)" "$v3" "the third version"
    assert_eq "$(asked '\.vcdiff status=200')" $((before + 1)) "the delta was downloaded"
    assert_eq "$(asked "$(root v3)")" 0 "and the root file was not"
    stored=$(daemon_folder "$client")/images/$v3.rootfs
    [ ! -e "$stored" ] || assert_same_file "$stored" "$CASE/v3/rootfs.squashfs"
    row "image refresh by a delta" "$client" simplestreams "Headwater → $(title "$(daemon_name "$client")")" works
done
assert_ne "$v2" "$v3"

step "who has no base gets all of it"
for client in "${CLIENTS[@]}"; do
    daemon_clean "$client"
    daemon_forget "$client"
    before=$(asked "$(root v3).squashfs status=200")
    "$client" image copy team:changing/one local: --alias fresh
    assert_eq "$(image_field "$client" local:fresh Fingerprint)" "$v3" "the third version"
    assert_eq "$(asked "$(root v3).squashfs status=200")" $((before + 1)) "the root file was downloaded"
done

step "disks: for clients that handle them, and for no others"
disk() { # NAME SERIAL
    tiny_vm "$CASE/$1" Disk one "$2"
    cat "$CASE/common" "$CASE/$1/metadata.tar.xz" >"$CASE/$1/raw"
    truncate -s 8M "$CASE/$1/raw"
    qemu-img convert -f raw -O qcow2 "$CASE/$1/raw" "$CASE/$1/disk.qcow2"
}
machine() { publish "$CASE/$1/metadata.tar.xz" "$CASE/$1/disk.qcow2" --public; }
disk d1 202501010000 && disk d2 202502010000
d1=$(machine d1)
daemon incus
add_remote incus open simplestreams
incus image copy open:disk/one local: --vm --alias machine --auto-update
assert_eq "$(image_field incus local:machine Fingerprint)" "$d1" "the first disk"
d2=$(machine d2)
disks() { # USER-AGENT: the path of the delta between disks that such a client is shown
    curl -sSfk -A "$1" "$URL/streams/v1/images.json" | jq -r '.products[].versions[].items[] | select(.delta_base) | .path'
}
some() { [ -n "$(disks "$1")" ]; }
wait_for 60 "a delta between disks" some "LXD 5.21.2 LTS (Linux; x86_64)"
for agent in "LXD 5.0.4" "LXD 5.0.6" "LXD 6.1" "LXD 6.8"; do
    some "$agent (Linux; x86_64)" || fail "$agent is shown no delta between disks"
done
for agent in "LXD 5.0.2" "LXD 5.0.3" "LXD 5.13" "LXD 5.20" "LXD 5.21.1" "LXD 6.0" "Incus 6.0.4" "Incus 7.0.2" "python-simplestreams/0.1"; do
    assert_eq "$(disks "$agent (Linux; x86_64)")" "" "what $agent is shown"
done
curl -sSfk -o "$CASE/delta" "$URL/$(disks "LXD 6.1 (Linux; x86_64)")"
xdelta3 -f -d -s "$CASE/d1/disk.qcow2" "$CASE/delta" "$CASE/made"
assert_same_file "$CASE/made" "$CASE/d2/disk.qcow2"
daemon_forget incus
by_incus() { grep -c "path=[^ ]*\.vcdiff status=200.*family=incus" "$log" || true; }
before=$(by_incus)
assert_ne "$before" 0 "deltas that Incus asked for, for containers"
incus image refresh local:machine
assert_eq "$(image_field incus local:machine Fingerprint)" "$d2" "the second disk"
downloaded() { grep -q "path=[^ ]*$(sha256sum "$CASE/d2/disk.qcow2" | cut -d' ' -f1).qcow2 status=200" "$log"; }
wait_for 5 "the log to tell that the disk was downloaded" downloaded
assert_eq "$(by_incus)" "$before" "deltas that Incus asked for"
