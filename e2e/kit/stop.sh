#!/usr/bin/env bash
# Run by e2e/run at its end: takes the state folder over as a case of its own would, so that leaving ends the daemons
# and removes the folder.
. "$(dirname "${BASH_SOURCE[0]}")/../kit.sh"
# shellcheck disable=SC2034 # read by the kit when this script ends
OWN_STATE=1
