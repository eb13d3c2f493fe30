# shellcheck shell=bash
# The real daemons: LXD and Incus below the state folder, without systemd, with a dir storage pool and no network. They
# are started when the first case asks, shared by the cases of one run, and leave nothing behind. A daemon that the
# machine already has uses other folders and is not touched.

daemon_name() { case $1 in lxc) echo lxd ;; incus) echo incus ;; *) fail "no daemon for '$1'" ;; esac; }
daemon_folder() { echo "$HW_STATE/$(daemon_name "$1")"; }

# daemon CLIENT: makes sure that the client's daemon runs.
daemon() {
    local client=$1
    is_alive "$HW_STATE/run" "$(daemon_name "$client")" || daemon_spawn "$client" "$HW_STATE" "$(daemon_folder "$client")"
}

# daemon_spawn CLIENT STATE FOLDER: a daemon of the client's kind with its data in FOLDER, known as a process below STATE.
# Its proxy is a closed port, so that its start-up look-ups (instance types, image servers) end at once and on this
# machine. It believes certificates of the cases' own authority.
daemon_spawn() {
    local client=$1 state=$2 name program
    name=$(daemon_name "$client")
    [ "$(id -u)" = 0 ] || skip "$name needs root"
    step "starting $name"
    authority
    local -x LXD_DIR=$3 INCUS_DIR=$3 SSL_CERT_FILE=$AUTHORITY/bundle.crt
    local -x HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=localhost,127.0.0.0/8,::1
    case $client in
    lxc)
        program=lxd
        spawn "$state" lxd lxd --group lxd --logfile "$state/log/lxd.daemon.log"
        ;;
    incus)
        program=/usr/libexec/incus/incusd
        spawn "$state" incus "$program" --group incus-admin --logfile "$state/log/incus.daemon.log"
        ;;
    esac
    "$program" waitready --timeout=60 || fail "$name did not start: $(tail -n 5 "$state/log/$name.log")"
    case $client in
    lxc) daemon_preseed | lxd init --preseed ;;
    incus) daemon_preseed | command incus admin init --preseed ;;
    esac
}

# daemon_restart CLIENT: as a reboot does; what the daemon does when it starts, it does now.
daemon_restart() {
    end "$HW_STATE/run" "$(daemon_name "$1")" TERM 60
    daemon "$1"
}

daemon_preseed() {
    cat <<'YAML'
config: {images.auto_update_interval: "0"}
storage_pools: [{name: default, driver: dir}]
profiles: [{name: default, devices: {root: {type: disk, path: /, pool: default}}}]
YAML
}

# daemon_listen CLIENT: lets the daemon listen on a loopback port for the rest of the case; daemon_address says where.
daemon_listen() {
    [ -z "$(daemon_address "$1")" ] || return 0
    "$1" config set core.https_address "127.0.0.1:$(free_port)"
}
daemon_address() { "$1" config get core.https_address; }

# daemon_forget CLIENT: drops the catalogs that the daemon keeps for an hour.
daemon_forget() { rm -rf "$(daemon_folder "$1")/cache"/*; }

# launch CLIENT IMAGE NAME: starts a container, demands that it runs, and deletes it.
launch() {
    local client=$1 image=$2 name=$3 said
    daemon_can_run "$client"
    said=$("$client" launch "$image" "$name" 2>&1) || fail "$client launch $image: $said"
    assert_eq "$("$client" list "$name" -f json | jq -r '.[0].status')" Running "status of $name"
    "$client" delete --force "$name"
}

# Containers need namespaces, and a range of user ids for root; a machine without says so instead of failing.
daemon_can_run() {
    unshare --mount --pid --fork --uts --ipc true 2>/dev/null ||
        skip "this machine does not let $(daemon_name "$1") make namespaces, so no container can start"
}

# daemons_clean: instances and images go, and with them what a case left; the daemons stay for the next case.
daemons_clean() {
    local client
    for client in lxc incus; do
        is_alive "$HW_STATE/run" "$(daemon_name "$client")" || continue
        daemon_clean "$client"
    done
}

daemon_clean() {
    local client=$1 name project
    for project in $("$client" project list -f json | jq -r '.[].name'); do
        for name in $("$client" list --project "$project" -f json | jq -r '.[].name'); do
            "$client" delete --force --project "$project" "$name"
        done
        for name in $("$client" image list --project "$project" -f json | jq -r '.[].fingerprint'); do
            "$client" image delete --project "$project" "$name"
        done
        [ "$project" = default ] || "$client" project delete "$project"
    done
    for name in $("$client" config trust list local: -f json | jq -r '.[].fingerprint'); do
        "$client" config trust remove "local:$name"
    done
    "$client" config unset core.https_address
    daemon_forget "$client"
}

# state_remove: the daemons and everything below the state folder.
state_remove() {
    local mount
    daemons_clean >/dev/null 2>&1
    end_all "$HW_STATE/run"
    end_helpers
    while read -r mount; do
        umount -l "$mount" 2>/dev/null
    done < <(state_mounts)
    if [ -n "$(state_mounts)" ]; then
        printf 'mounts are left below %s; it is not removed\n' "$HW_STATE" >&2
        return 1
    fi
    rm -rf --one-file-system -- "$HW_STATE"
}

state_mounts() { awk -v top="$HW_STATE/" 'index($2, top) == 1 { print $2 }' /proc/mounts | sort -r; }

# A daemon that died leaves its helpers (container monitors); they carry the state folder's path, which is ours alone.
end_helpers() {
    local pid
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        if [ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ]; then continue; fi
        if tr "\0" " " 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$HW_STATE/"; then kill -KILL "$pid" 2>/dev/null; fi
    done
}
