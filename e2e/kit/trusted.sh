# shellcheck shell=bash
# Clients that the server knows, the real daemons as remotes beside it, and what is compared at every hop.

# trusted_remote CLIENT REMOTE [--administrator | --project PROJECT --role ROLE]: the running server as a remote that
# knows this client, which joined with a token of `headwater trust add`. An administrator, if nothing is said.
trusted_remote() {
    local client=$1 remote=$2
    shift 2
    [ $# -gt 0 ] || set -- --administrator
    "$client" remote add "$remote" "$(join_token "$client" "$@")" >/dev/null
}

# join_token NAME [OPTION...]: a token that a client can join with, once.
join_token() {
    local name=$1
    shift
    if [ -n "$REFERENCE" ]; then
        reference_token "$name" "$@"
    else
        headwater trust add "$name" "$@" --address "${URL#https://}" --format json | jq -er .token
    fi
}

# trusted_by_file CLIENT REMOTE [OPTION...]: the other way, by the client's certificate.
trusted_by_file() {
    local client=$1 remote=$2
    shift 2
    client_certificate "$client"
    headwater trust add "$client" --certificate "$(client_config "$client")/client.crt" "$@" >/dev/null
    "$client" remote add "$remote" "$URL" --accept-certificate
}

# client_certificate CLIENT: the one that the client shows to every server; clients make it when they add a remote.
client_certificate() {
    local folder
    folder=$(client_config "$1")
    [ ! -e "$folder/client.crt" ] || return 0
    "$1" remote list >/dev/null
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 30 -subj "/O=$1/CN=e2e" \
        -keyout "$folder/client.key" -out "$folder/client.crt" 2>/dev/null
}

# api CLIENT PATH [CURL ARGUMENT...]: one request to the server with the client's certificate.
api() {
    local folder path=$2
    folder=$(client_config "$1")
    shift 2
    curl -sSk --cert "$folder/client.crt" --key "$folder/client.key" "$@" "$URL$path"
}

# peer CLIENT OWNER: the daemon of the client OWNER, over the network, as a remote that trusts CLIENT. The remote has the
# daemon's name, lxd or incus.
peer() {
    local client=$1 owner=$2 certificate
    daemon "$owner"
    daemon_listen "$owner"
    client_certificate "$client"
    certificate=$(client_config "$client")/client.crt
    case $owner in
    lxc) lxc config trust add local: "$certificate" --name "$client" ;;
    incus) incus config trust add-certificate local: "$certificate" --name "$client" ;;
    esac
    "$client" remote add "$(daemon_name "$owner")" "https://$(daemon_address "$owner")" --accept-certificate
}

# image_secret CLIENT REMOTE FINGERPRINT: a secret that lets a guest have one private image.
image_secret() { "$1" query -X POST "$2:/1.0/images/$3/secret" | jq -er .metadata.secret; }

# sums FILE...: of their bytes, whatever they are called.
sums() { sha256sum -- "$@" | cut -d' ' -f1 | sort; }

# assert_image CLIENT REMOTE:IMAGE TYPE FILE...: the remote has the image of these files, byte for byte, as this type.
assert_image() {
    local client=$1 image=$2 type=$3 out
    shift 3
    assert_eq "$(image_field "$client" "$image" Fingerprint)" "$(fingerprint_of "$@")" "fingerprint of $image"
    assert_eq "$(image_field "$client" "$image" Type)" "$type" "type of $image"
    out=$(mktemp -d "$CASE/out.XXXX")
    "$client" image export "$image" "$out/"
    assert_eq "$(sums "$out"/*)" "$(sums "$@")" "sums of what was exported of $image"
    rm -r "$out"
}

# assert_no_image CLIENT REMOTE:IMAGE
assert_no_image() { assert_fails_with "ot found" "$1" image info "$2"; }

# row WHAT CLIENT PROTOCOL WHERE RESULT: a line of docs/reference/clients.md, said after the assertions that prove it.
# WHAT is the command; WHERE says between whom, as "Headwater → LXD", or is empty; RESULT is "works", "refused: " and what is
# said when that is right, or what is said when the client or the daemon cannot.
row() {
    [ -z "$REFERENCE" ] || return 0
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$4" "$2" "$3" "$5" "$(basename "$0" .sh)" >>"$HW_STATE/rows"
}
