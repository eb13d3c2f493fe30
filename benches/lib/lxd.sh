#!/usr/bin/env bash
# A real LXD daemon for a benchmark, by the kit of the end-to-end cases: prints one line, "ADDRESS SOCKET PID", and keeps
# the daemon until standard input ends. Started by lib/lxd.py.
. "$(dirname "${BASH_SOURCE[0]}")/../../e2e/kit.sh"

# The folder goes as a whole at the end; deleting thousands of images one by one before that would take minutes.
daemon_clean() { :; }

daemon lxc >&2
daemon_listen lxc
echo "$(daemon_address lxc) $LXD_DIR/unix.socket $(pid_of "$HW_STATE/run" lxd)"
cat >/dev/null
