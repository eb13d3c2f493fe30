#!/usr/bin/env bash
# A real LXD or Incus daemon for a benchmark, by the kit of the end-to-end cases: daemon.sh CLIENT (lxc or incus) prints one line,
# "ADDRESS SOCKET PID", and keeps the daemon until standard input ends. Started by lib/daemons.py.
. "$(dirname "${BASH_SOURCE[0]}")/../../e2e/kit.sh"

# The folder goes as a whole at the end; deleting thousands of images one by one before that would take minutes.
daemon_clean() { :; }

daemon "$1" >&2
daemon_listen "$1"
echo "$(daemon_address "$1") $(daemon_folder "$1")/unix.socket $(pid_of "$HW_STATE/run" "$(daemon_name "$1")")"
cat >/dev/null
