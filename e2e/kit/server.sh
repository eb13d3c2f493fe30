# shellcheck shell=bash
# The product: a Headwater server with a data directory of this case's own, and its command line on the same directory.

headwater() { "$HEADWATER_BIN" "$@"; }

server_need_binary() {
    [ -x "$HEADWATER_BIN" ] || fail "no binary at $HEADWATER_BIN: run './dev build' first"
}

# server_start [ARGUMENT...]: on the same port again after server_stop. Sets PORT and URL.
server_start() {
    PORT=${PORT:-$(free_port)}
    URL=https://127.0.0.1:$PORT
    if [ -n "$REFERENCE" ]; then
        reference_start
        return
    fi
    server_need_binary
    authority
    local -x SSL_CERT_FILE=$AUTHORITY/bundle.crt
    spawn "$CASE" headwater "$HEADWATER_BIN" serve --data "$DATA" --listen "127.0.0.1:$PORT" "$@"
    wait_for 20 "the server to answer on port $PORT" server_answers
}

# server_second: another server. Sets SECOND_DATA and SECOND_URL; `on_second COMMAND…` means that one.
# shellcheck disable=SC2034 # the cases read them
server_second() {
    local port
    port=$(free_port)
    authority
    local -x SSL_CERT_FILE=$AUTHORITY/bundle.crt
    SECOND_DATA=$CASE/data2 SECOND_URL=https://127.0.0.1:$port
    spawn "$CASE" headwater2 "$HEADWATER_BIN" serve --data "$SECOND_DATA" --listen "127.0.0.1:$port"
    wait_for 20 "the second server" curl -sfk "$SECOND_URL/healthz"
}

on_second() {
    local -x HEADWATER_DATA=$SECOND_DATA
    local URL=$SECOND_URL DATA=$SECOND_DATA
    "$@"
}

server_answers() {
    if ! is_alive "$CASE/run" headwater; then fail "the server ended: $(tail -n 5 "$CASE/log/headwater.log")"; fi
    curl -sfk "$URL/healthz"
}

server_stop() { end "$CASE/run" headwater TERM; }

# publish META_OR_UNIFIED [ROOT] [OPTION...]: prints the fingerprint alone. Names of real images need no folder.
publish() {
    local argument arguments=()
    for argument; do
        case $argument in
        bookworm-*/*) arguments+=("$IMAGES/$argument") ;;
        *) arguments+=("$argument") ;;
        esac
    done
    if [ -n "$REFERENCE" ]; then
        reference_publish "${arguments[@]}"
        return
    fi
    headwater publish "${arguments[@]}" --data "$DATA" --format json | jq -er .fingerprint
}

# document PATH: one JSON document over TLS.
document() { curl -sSfk --compressed "$URL$1"; }

# over_tls and over_plain PATH [CURL ARGUMENT...]: on the one port.
over_tls() {
    local path=$1
    shift
    curl -sSk "$@" "$URL$path"
}
over_plain() {
    local path=$1
    shift
    curl -sS "$@" "http://127.0.0.1:$PORT$path"
}

# All file paths that the catalog at PREFIX names, as absolute paths, one a line.
catalog_files() {
    local prefix=${1:-} products
    for products in $(document "$prefix/streams/v1/index.json" | jq -r '.index[].path'); do
        document "$prefix/$products" | jq -r '.products[].versions[].items[].path'
    done | sort -u | sed "s,^,$prefix/,"
}
