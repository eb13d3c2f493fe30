# shellcheck shell=bash
# Copying images between the server, a real LXD, a real Incus and a second server, in each direction. Remotes are called
# hw, lxd, incus and hw2 with both clients.

# copies_start: servers, daemons and remotes. Each place that is copied from has three private images with the aliases
# split, unified and vm, and a property more than their files say. They differ from place to place.
copies_start() {
    local client place
    PAIRS=("hw lxd" "lxd hw" "hw incus" "incus hw" "hw hw2" "hw2 hw")
    server_start
    case $REFERENCE in
    '') server_second ;;
    lxd) PAIRS=("hw lxd" "lxd hw") ;;
    incus) PAIRS=("hw incus" "incus hw") ;;
    esac
    for client in "${CLIENTS[@]}"; do
        trusted_remote "$client" hw
        [ -n "$REFERENCE" ] || on_second trusted_remote "$client" hw2
        for place in lxc incus; do
            case " ${PAIRS[*]} " in *" $(daemon_name "$place") "*) peer "$client" "$place" ;; esac
        done
    done
    for place in $(printf '%s\n' "${PAIRS[@]}" | cut -d' ' -f1 | sort -u); do
        tiny_image "$CASE/$place-split" "Split of $place" one 202501010000
        tiny_unified "$CASE/$place-unified" "Unified of $place" one 202501010000
        tiny_vm "$CASE/$place-vm" "Machine of $place" one 202501010000
        for kind in split unified vm; do
            copies_files "$place" "$kind"
            # A daemon takes properties from its own client only.
            client=${CLIENTS[0]}
            [ "$place" != incus ] || client=incus
            "$client" image import "${FILES[@]}" "$place:" --alias "$kind" colour=green >/dev/null
        done
    done
}

# copies_files PLACE KIND: sets FILES, and TYPE as clients call it.
copies_files() {
    TYPE=container
    case $2 in
    split) FILES=("$CASE/$1-split/metadata.tar.xz" "$CASE/$1-split/rootfs.squashfs") ;;
    unified) FILES=("$CASE/$1-unified/unified.tar.gz") ;;
    vm) FILES=("$CASE/$1-vm/metadata.tar.xz" "$CASE/$1-vm/disk.qcow2") TYPE=virtual-machine ;;
    esac
}

title() {
    case $1 in
    hw | hw2) echo Headwater ;;
    lxd) echo LXD ;;
    incus) echo Incus ;;
    esac
}

# copies FUNCTION: calls FUNCTION CLIENT FROM TO KIND for everything, with FILES and TYPE set.
copies() {
    local client pair from to kind
    for client in "${CLIENTS[@]}"; do
        for pair in "${PAIRS[@]}"; do
            read -r from to <<<"$pair"
            for kind in split unified vm; do
                step "$client: $kind, $from to $to"
                copies_files "$from" "$kind"
                "$1" "$client" "$from" "$to" "$kind"
            done
        done
    done
}

# copied CLIENT TO: the image of FILES has arrived there, private, and goes again. Sets COLOUR, the property.
# shellcheck disable=SC2034 # the cases read it
copied() {
    local client=$1 image
    image=$2:$(fingerprint_of "${FILES[@]}")
    assert_image "$client" "$image" "$TYPE" "${FILES[@]}"
    assert_eq "$(image_field "$client" "$image" Public)" no "public of the copy"
    COLOUR=$("$client" image show "$image" | sed -n 's/^  colour: //p')
    "$client" image delete "$image"
}
