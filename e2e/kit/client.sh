# shellcheck shell=bash
# The real clients, each with a configuration of this case's own.

CLIENTS=(lxc incus)
PROTOCOLS=(simplestreams api)

# The first command of a new configuration greets the user; nobody reads that here.
lxc() {
    [ -e "$LXD_CONF/config.yml" ] || command lxc remote list >/dev/null 2>&1
    command lxc -q "$@"
}
incus() {
    [ -e "$INCUS_CONF/config.yml" ] || command incus remote list >/dev/null 2>&1
    command incus -q "$@"
}

# told CLIENT ARGUMENT...: the client without -q, for what it tells on success.
told() { command "$@" 2>&1; }

# at_terminal CLIENT ARGUMENT...: with a terminal, at which nobody types anything: clients open editors only there.
at_terminal() { script -qec "$(printf '%q ' "$@")" /dev/null </dev/null; }

client_config() {
    case $1 in
    lxc) echo "$LXD_CONF" ;;
    incus) echo "$INCUS_CONF" ;;
    *) fail "no client is called '$1'" ;;
    esac
}

# trust CLIENT REMOTE CERTIFICATE: what a user does once for a simplestreams server with a self-signed certificate.
trust() {
    mkdir -p "$(client_config "$1")/servercerts"
    cp "$3" "$(client_config "$1")/servercerts/$2.crt"
}

# add_remote CLIENT REMOTE PROTOCOL [PATH]: the running server, as a public remote.
add_remote() {
    local client=$1 remote=$2 protocol=$3 path=${4:-}
    case $protocol in
    simplestreams)
        trust "$client" "$remote" "$DATA/tls/server.crt"
        "$client" remote add "$remote" "$URL$path" --protocol=simplestreams
        ;;
    api) "$client" remote add "$remote" "$URL$path" --public --accept-certificate ;;
    *) fail "no protocol is called '$protocol'" ;;
    esac
}

# each_remote FUNCTION: calls FUNCTION CLIENT REMOTE PROTOCOL for both clients and both protocols, remote added.
each_remote() {
    local client protocol remote
    for client in "${CLIENTS[@]}"; do
        for protocol in "${PROTOCOLS[@]}"; do
            remote=r-$protocol
            step "$client over $protocol"
            "$client" remote list -f csv | grep "^$remote," >/dev/null || add_remote "$client" "$remote" "$protocol"
            "$1" "$client" "$remote" "$protocol"
        done
    done
}

# listed CLIENT REMOTE [FILTER...]: fingerprints of the images that the client lists, sorted, one a line.
listed() {
    local client=$1 remote=$2
    shift 2
    "$client" image list "$remote:" "$@" -f json | jq -r '.[].fingerprint' | sort || echo "$client image list failed"
}

# image_field CLIENT REMOTE:NAME FIELD: one line of `image info`, as "Fingerprint".
image_field() {
    "$1" image info "$2" | sed -n "s/^$3: *//p" | sed -n 1p
}

# The client keeps a catalog for minutes; a user who cannot wait removes it.
client_forget() { rm -rf "$XDG_CACHE_HOME/incus" "$HOME/.cache/incus"; }
