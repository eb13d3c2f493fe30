# shellcheck shell=bash
# Guides, typed as a reader would: the blocks of docs/guides/<page>.md one after another, each on the machine that it names.
# A machine is a home folder with clients of its own. `images.example.com:8443` becomes the server that runs, and TOKEN the
# word that the last block on the server printed.

machine() { # name: makes it, and prints its home
    mkdir -p "$CASE/at/$1"
    echo "$CASE/at/$1"
}

# on MACHINE COMMAND...: with that machine's home as the current folder.
on() {
    local home
    home=$(machine "$1")
    shift
    (
        unset LXD_CONF INCUS_CONF XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
        export HOME=$home HEADWATER_TOKEN=${TOKEN:-} PATH=$CASE/bin:$PATH CURL_CA_BUNDLE=$DATA/tls/server.crt
        [ "$home" = "$CASE/at/server" ] || unset HEADWATER_DATA HEADWATER_CONFIG
        cd "$home" && "$@"
    )
}

# guide PAGE: types it. A case may define guide_before MACHINE, for what a page says in words, and GUIDE_WORDS, a sed script that puts its
# own servers in the place of those that a page names. TOML blocks are the configuration; the server is started at the first block that is typed.
guide() {
    local page=$TOP/docs/guides/$1.md block kind text place wanted line said code out
    mkdir -p "$CASE/bin"
    ln -sf "$HEADWATER_BIN" "$CASE/bin/headwater"
    python3 "$E2E/kit/guide.py" "$page" >"$CASE/blocks" || fail "$page cannot be read"
    PORT=$(free_port) GUIDE_RUNS=
    export HEADWATER_CONFIG=$CASE/headwater.toml
    : >"$HEADWATER_CONFIG"
    while read -r block; do
        kind=$(jq -r .kind <<<"$block") place=$(jq -r .on <<<"$block") line=$(jq -r .line <<<"$block")
        text=$(jq -r .text <<<"$block" | sed "s/images\.example\.com:8443/127.0.0.1:$PORT/g; s/\<TOKEN\>/${TOKEN:-TOKEN}/g; ${GUIDE_WORDS:-}")
        if [ "$kind" = toml ]; then
            printf '%s\n' "$text" >>"$HEADWATER_CONFIG"
            continue
        fi
        guide_server
        step "$1.md:$line, on $place"
        if declare -F guide_before >/dev/null; then guide_before "$place"; fi
        out=$CASE/typed
        code=0
        on "$place" bash -exo pipefail -c "$text" >"$out" 2>"$out.err" </dev/null || code=$?
        said=$(cat "$out" "$out.err")
        if [ "$(jq -r .fails <<<"$block")" = true ]; then
            [ "$code" != 0 ] || fail "$1.md:$line must fail, but did not: $said"
        else
            [ "$code" = 0 ] || fail "$1.md:$line does not work as it stands: $said"
        fi
        while IFS= read -r wanted; do
            # shellcheck disable=SC2053 # a pattern is wanted
            [[ $said == *${wanted//…/*}* ]] || fail "$1.md:$line: the page promises '$wanted', but it says: $said"
        done < <(jq -r '.wanted // empty' <<<"$block" | grep .)
        # A token is a single word, alone on its line.
        if [ "$place" = server ] && [ "$(grep -cE '^(hw_[a-z2-7]{40}|[A-Za-z0-9+/=]{150,})$' "$out")" = 1 ]; then
            TOKEN=$(grep -E '^(hw_[a-z2-7]{40}|[A-Za-z0-9+/=]{150,})$' "$out")
        fi
    done <"$CASE/blocks"
}

guide_server() {
    [ -z "$GUIDE_RUNS" ] || return 0
    GUIDE_RUNS=1
    sed -i "s/^server_name = .*/server_name = \"127.0.0.1\"/" "$HEADWATER_CONFIG"
    server_start --config "$HEADWATER_CONFIG"
}
