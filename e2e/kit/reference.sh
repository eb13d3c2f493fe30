# shellcheck shell=bash
# Who stands in the server's place. It is Headwater, unless E2E_REFERENCE names a real daemon (lxd or incus): then the
# same case runs against that, with the client that is made for it, which shows that the case itself is right.
#
#   e2e/run --reference lxd import edit

REFERENCE=${E2E_REFERENCE:-}
# shellcheck disable=SC2034 # the cases read CLIENTS
case $REFERENCE in
'') ;;
lxd) CLIENTS=(lxc) ;;
incus) CLIENTS=(incus) ;;
*) fail "no daemon is called '$REFERENCE'; E2E_REFERENCE is lxd or incus" ;;
esac

# only_headwater: for cases about what no daemon has.
only_headwater() { [ -z "$REFERENCE" ] || skip "$REFERENCE has nothing of this"; }

# reference_start: a daemon of the case's own beside the shared ones.
reference_start() {
    local client=lxc
    [ "$REFERENCE" = lxd ] || client=incus
    mkdir -p "$CASE/reference"
    chmod 711 "$CASE" "$CASE/reference"
    daemon_spawn "$client" "$CASE" "$CASE/reference"
    reference config set core.https_address "127.0.0.1:$PORT"
}

# reference ARGUMENT...: the administrator of that daemon, on its own socket.
reference() {
    local client=lxc conf=$CASE/reference-admin
    [ "$REFERENCE" = lxd ] || client=incus
    mkdir -p "$conf"
    [ -e "$conf/config.yml" ] || LXD_CONF=$conf INCUS_CONF=$conf command "$client" remote list >/dev/null 2>&1
    LXD_DIR=$CASE/reference INCUS_DIR=$CASE/reference LXD_CONF=$conf INCUS_CONF=$conf command "$client" -q "$@"
}

# reference_publish FILE [ROOT] [OPTION...]: `headwater publish` as far as a daemon can follow it.
reference_publish() {
    local files=() properties=() options=()
    while [ $# -gt 0 ]; do
        case $1 in
        --public) options+=("$1") ;;
        --alias | --project)
            options+=("$1" "$2")
            shift
            ;;
        --property)
            properties+=("$2")
            shift
            ;;
        --*) fail "a daemon has nothing like '$1'" ;;
        *) files+=("$1") ;;
        esac
        shift
    done
    reference image import "${files[@]}" local: "${properties[@]}" "${options[@]}" >/dev/null
    fingerprint_of "${files[@]}"
}

# reference_token NAME OPTION...: a token to join with, as `headwater trust add` makes them.
reference_token() {
    local name=$1 options=()
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --project)
            options+=(--restricted --projects "$2")
            shift
            ;;
        --role) shift ;;
        --administrator) ;;
        *) fail "a daemon has nothing like '$1'" ;;
        esac
        shift
    done
    case $REFERENCE in
    lxd) reference config trust add --name "$name" "${options[@]}" ;;
    incus) reference config trust add "$name" "${options[@]}" ;;
    esac | tail -n 1
}
