#!/usr/bin/env bash
# The stream documents of real servers, with small files made to their lists (kit/real_tree.py), are mirrored, filtered and written
# again: what lxc and incus list of ours, all fields of it, is what they list of the original.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"

only_headwater
export HEADWATER_DELTAS_ENABLED=false
# Their origins stand in ORIGIN.md there.
DOCUMENTS=$TOP/crates/formats/tests/fixtures/streams
declare -A IMAGES_IN=(
    [archlinux]=archlinux-lx2160
    [kriszos]=kriszos-github-io
    [linuxcontainers]=linuxcontainers-excerpt-2023/streams/v1/images.json
    [dialect-incus]=meigma-testdata/incus/products.json
    [dialect-lxc]=meigma-testdata/linuxcontainers/products.json
    [dialect-lxd]=meigma-testdata/lxd/products.json
    [ubuntu]=multipass-testdata/good_manifest.json
    [ubuntu-lxd]=multipass-testdata/lxd_test_manifest.json
)
# How many images lxc and incus list of each: that nothing equals nothing would say little.
declare -A COUNTS=(
    [archlinux]="0 1" [kriszos]="0 20" [linuxcontainers]="6 0" [dialect-incus]="1 1" [dialect-lxc]="1 0" [dialect-lxd]="2 0" [ubuntu]="1 0"
    [ubuntu-lxd]="2 0"
)
declare -A NO_IMAGES_IN=(
    [openstack]=eduardotp1-openstack/images
    [otc]=eumel8-otc
    [cirros]=simplestreams-examples-cirros
    [foocloud]=simplestreams-examples-foocloud
    [minimal]=simplestreams-examples-minimal
    [multipass-daily]=multipass-testdata/daily
    [multipass-releases]=multipass-testdata/releases
)
# What is meant to differ (docs/reference/mirrors.md): done to each image that the client, or any client (*), lists of the original,
# before it has to equal ours. Of all that is not named here, and of the file's name, nothing differs.
declare -A DIFFERS=(
    # All disks are one kind here, and every product has a variant.
    [ubuntu *]='.properties += {type: "disk-kvm.img", variant: "default"}'
    [ubuntu-lxd *]='.properties += {type: "disk-kvm.img", variant: "default"}'
    # LXD before 5.0.3 reads `lxd_requirements` alone, the original has `requirements` alone, ours both: it is told what later ones are.
    [dialect-incus lxc]='.properties += {"requirements.cdrom_agent": "true"}'
    [dialect-lxd lxc]='.properties += {"requirements.secureboot": "false"}'
)

server_start
for name in "${!IMAGES_IN[@]}"; do python3 "$E2E/kit/real_tree.py" "$DOCUMENTS/${IMAGES_IN[$name]}" "$CASE/www/$name"; done
for name in "${!NO_IMAGES_IN[@]}"; do python3 "$E2E/kit/real_tree.py" "$DOCUMENTS/${NO_IMAGES_IN[$name]}" "$CASE/www/$name"; done
chmod -R a+rX "$CASE"
static_server "$CASE/www"

# mirrored NAME PROJECT [OPTION...]: says how many images are listed, taken and failed.
mirrored() {
    local name=$1 project=$2
    headwater project create "$project" 2>/dev/null
    headwater mirror add "$project" "$STATIC_URL/$name" --project "$project" --public --schedule 0s --certificate "$STATIC_CERTIFICATE" \
        "${@:3}" 2>/dev/null
    headwater mirror run "$project" --format json 2>"$CASE/said" | jq -r 'select(.event == "ended") | "\(.listed) \(.taken) \(.failed)\(.why)"'
}
# static_remote CLIENT REMOTE PATH
static_remote() {
    trust "$1" "$2" "$STATIC_CERTIFICATE"
    "$1" remote add "$2" "$STATIC_URL/$3" --protocol=simplestreams
}
# seen CLIENT REMOTE: the images that the client lists, all fields, in an order of our own.
seen() { "$1" image list "$2:" -f json | jq -S 'sort_by(.fingerprint)'; }
# wanted CLIENT NAME [JQ-CONDITION]: those of the original that the condition holds for, as they are to be seen at ours.
wanted() {
    local client=$1 name=$2 documents named
    mapfile -t documents < <(find "$CASE/www/$name" -name '*.json' ! -name index.json)
    # A file is called after its digest here: the fields of files that clients do not choose by are ours.
    named=$(jq -s '[.[].products[].versions[].items[] | select(.ftype == "lxd.tar.xz" or .ftype == "incus.tar.xz") | .sha256 as $digest
        | to_entries[] | select(.key | startswith("combined_")) | {key: .value, value: ($digest + ".tar.xz")}] | from_entries' "${documents[@]}")
    seen "$client" "original-$name" | jq -S --argjson named "$named" "map(select(${3:-true}) | .filename = \$named[.fingerprint]
        | ${DIFFERS["$name *"]:-.} | ${DIFFERS["$name $client"]:-.})"
}
# same GOT WANTED WHAT: lists, compared line by line.
same() { diff <(echo "$2") <(echo "$1") >&2 || fail "$3 is not what the original shows: < is wanted, > was seen"; }

for name in "${!IMAGES_IN[@]}"; do
    step "$name"
    read -r lxc incus <<<"${COUNTS[$name]}"
    # Where both are listed something, it is the same.
    all=$((lxc > incus ? lxc : incus))
    assert_eq "$(mirrored "$name" "$name")" "$all $all 0" "a run"
    assert_eq "$(headwater mirror run "$name" --format json 2>/dev/null | jq -r 'select(.event == "ended").bytes')" 0 "bytes of a second run"
    headwater export --project "$name" --to "$CASE/www/again-$name" --client any 2>/dev/null
    chmod -R a+rX "$CASE/www"
    for client in "${CLIENTS[@]}"; do
        static_remote "$client" "original-$name" "$name"
        static_remote "$client" "again-$name" "again-$name"
        add_remote "$client" "ours-$name" simplestreams "/p/$name"
        list=$(wanted "$client" "$name")
        assert_eq "$(jq length <<<"$list")" "${!client}" "how many images of $name $client lists"
        same "$(seen "$client" "ours-$name")" "$list" "what $client lists of our $name"
        same "$(seen "$client" "again-$name")" "$list" "what $client lists of $name, exported"
    done
done

# filtered NAME PROJECT CLIENT COUNT FILTER JQ-CONDITION: what a filter leaves is what it leaves of the original's list.
filtered() {
    local name=$1 project=$2 client=$3 count=$4 filter=$5 condition=$6 list
    step "$name, filtered: $filter"
    assert_eq "$(mirrored "$name" "$project" --filter "$filter")" "$count $count 0" "a run"
    add_remote "$client" "ours-$project" simplestreams "/p/$project"
    list=$(wanted "$client" "$name" "$condition")
    assert_eq "$(jq length <<<"$list")" "$count" "how many images the condition leaves of the original"
    same "$(seen "$client" "ours-$project")" "$list" "what $client lists of $name with $filter"
}
filtered kriszos some incus 2 'release=7.20.4,7.20.6 arch=arm64' \
    '.properties.architecture == "arm64" and (.properties.release | IN("7.20.4", "7.20.6"))'
filtered kriszos candidates incus 4 'release~rc[0-9]$ arch!=arm64' '.properties.architecture == "amd64" and (.properties.release | test("rc[0-9]$"))'
filtered linuxcontainers newest lxc 3 'release=8 arch=amd64 latest=1' '.properties.serial == "20230422_23:27"'
filtered linuxcontainers squashed lxc 2 'ftype=squashfs' '.properties.type == "squashfs"'
filtered dialect-lxd machines lxc 1 'type=virtual-machine' '.type == "virtual-machine"'
filtered ubuntu-lxd xenial lxc 1 'alias=xenial' 'any(.aliases[]; .name == "xenial")'
add_remote incus only simplestreams /p/kriszos/only/release=7.20.4,7.20.6/only/arch=arm64
same "$(seen incus only)" "$(seen incus ours-some)" "the whole mirror, filtered by the address,"

# copied CLIENT NAME ALIAS: an alias says and copies from ours what it does at the original.
copied() {
    local client=$1 name=$2 alias=$3 fp
    step "$client copies $alias of $name"
    # Go shuffles the properties.
    same "$("$client" image info "ours-$name:$alias" | sort)" "$("$client" image info "original-$name:$alias" | sort)" "image info $alias"
    fp=$(image_field "$client" "original-$name:$alias" Fingerprint)
    daemon "$client"
    "$client" image copy "ours-$name:$alias" local:
    assert_eq "$("$client" image list local: -f json | jq -r '.[].fingerprint')" "$fp" "what $client copied"
    "$client" image delete "local:$fp"
    daemon_forget "$client"
}
copied lxc linuxcontainers almalinux/8/cloud
copied incus dialect-incus debian/12

# Documents of clouds, of other kinds of images, and of disks without metadata: neither client reads an image from them.
for name in "${!NO_IMAGES_IN[@]}"; do
    step "$name: nothing"
    assert_eq "$(mirrored "$name" "$name")" "0 0 0" "a run"
    assert_contains "$(cat "$CASE/said")" "$name: 0 images are listed" "what the run says"
    assert_contains "$(cat "$CASE/said")" "$name lists no image that LXD or Incus can read" "why"
    assert_eq "$(headwater image list --project "$name" --format csv)" "" "what is listed"
    for client in "${CLIENTS[@]}"; do
        static_remote "$client" "original-$name" "$name"
        case $name in
        # There is text among the streams of the index, which Go takes for an error and we pass over.
        multipass-*) assert_fails_with "cannot unmarshal string" "$client" image list "original-$name:" ;;
        *) assert_eq "$(seen "$client" "original-$name")" "[]" "what $client lists of the original" ;;
        esac
        # A project in which a guest sees nothing is told like one that is not there.
        add_remote "$client" "ours-$name" simplestreams "/p/$name"
        assert_fails_with "404 Not Found" "$client" image list "ours-$name:"
    done
done
