# shellcheck shell=bash
# Sourced by the scripts that install or bootstrap Debian: which archive this machine's apt uses. None is named here.

# shellcheck disable=SC2016 # the dollar belongs to apt-get's format
debian_archive() {
    apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -E '/debian/?$' | sort -u | sed -n 1p
}

# shellcheck disable=SC2016
debian_knows_suite() {
    apt-get indextargets --format '$(RELEASE)' 2>/dev/null | grep -x "$1" >/dev/null
}
