# shellcheck shell=bash
# Processes that the cases start. Each is known by its process id and start time, written down in a folder, and is
# ended by those alone: never by a name, so nothing else on the machine is touched.

# The start time is the 22nd field; the 2nd, the name, may hold blanks and ends in the last closing bracket.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# spawn FOLDER NAME COMMAND...: run in the background; output goes to FOLDER/log/NAME.log.
spawn() {
    local folder=$1 name=$2 pid
    shift 2
    ! is_alive "$folder/run" "$name" || fail "$name is already running"
    setsid "$@" >>"$folder/log/$name.log" 2>&1 </dev/null &
    pid=$!
    disown
    echo "$pid $(started_at "$pid")" >"$folder/run/$name.pid"
}

pid_of() { cut -d' ' -f1 "$1/$2.pid"; }

is_alive() { # folder, name
    local pid start
    [ -s "$1/$2.pid" ] || return 1
    read -r pid start <"$1/$2.pid"
    [ -n "$start" ] && [ "$(started_at "$pid")" = "$start" ] &&
        [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c1)" != Z ]
}

# end FOLDER NAME [SIGNAL [SECONDS]]: ask it to end, wait, then insist.
end() {
    local folder=$1 name=$2 signal=${3:-TERM} seconds=${4:-20} i
    if is_alive "$folder" "$name"; then
        kill -"$signal" "$(pid_of "$folder" "$name")" 2>/dev/null || true
        for ((i = 0; i < seconds * 20; i++)); do
            is_alive "$folder" "$name" || break
            sleep 0.05
        done
        if is_alive "$folder" "$name"; then kill -KILL "$(pid_of "$folder" "$name")" 2>/dev/null || true; fi
    fi
    rm -f "$folder/$name.pid"
}

end_all() { # folder
    local file
    for file in "$1"/*.pid; do
        [ -e "$file" ] || continue
        end "$1" "$(basename "$file" .pid)"
    done
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The ends of the logs of what this case started, for the reader of a failure.
show_logs() {
    local log
    for log in "$CASE"/log/*.log; do
        [ -s "$log" ] || continue
        printf -- '-- %s (last lines)\n' "$(basename "$log")" >&2
        tail -n 25 "$log" >&2
    done
}
