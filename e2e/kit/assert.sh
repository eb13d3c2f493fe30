# shellcheck shell=bash
# What a case says and demands. Each assertion prints why it does not hold, and where, and ends the case.

step() { printf '== %s\n' "$*" >&2; }

# The line of the case itself, not of the helper that noticed.
where() {
    local i
    for ((i = 1; i < ${#BASH_SOURCE[@]}; i++)); do
        case ${BASH_SOURCE[i]} in
        */kit/* | */kit.sh) ;;
        *)
            printf '%s:%s' "$(basename "${BASH_SOURCE[i]}")" "${BASH_LINENO[i - 1]}"
            return 0 # a bare return within a trap gives the status from before the trap
            ;;
        esac
    done
}

FAILED_BEFORE=
fail() {
    FAILED_BEFORE=1
    printf 'FAILED at %s: %s\n' "$(where)" "$*" >&2
    exit 1
}

# A command that failed without an assertion around it: shows the line of the case.
at_error() {
    local place
    if [ -n "$FAILED_BEFORE" ] || [ "$BASH_SUBSHELL" != 0 ]; then return 0; fi
    FAILED_BEFORE=1
    place=$(where)
    printf 'FAILED at %s, where this failed: %s\n' "$place" "$(sed -n "${place##*:}{s/^ *//;p}" "$0")" >&2
}

# Ends the case as skipped: for what a machine cannot do, said in so many words.
skip() {
    printf 'SKIPPED: %s\n' "$*" >&2
    exit 77
}

assert_eq() { # got, wanted, what
    [ "$1" = "$2" ] || fail "${3:-value}: wanted '$2', got '$1'"
}

assert_ne() { # got, not wanted, what
    [ "$1" != "$2" ] || fail "${3:-value}: must not be '$2'"
}

assert_contains() { # text, part, what
    case $1 in *"$2"*) ;; *) fail "${3:-text} lacks '$2'; it is: $1" ;; esac
}

assert_lacks() { # text, part, what
    case $1 in *"$2"*) fail "${3:-text} must not contain '$2'; it is: $1" ;; esac
}

assert_same_file() { # file, file
    cmp -- "$1" "$2" >&2 || fail "$1 and $2 differ"
}

# assert_fails_with PART COMMAND...: the command fails and says PART on stderr or stdout.
assert_fails_with() {
    local part=$1 said
    shift
    if said=$("$@" 2>&1); then fail "must fail, but did not: $* (it said: $said)"; fi
    assert_contains "$said" "$part" "what '$*' says"
}

assert_status() { # wanted, curl arguments...
    local wanted=$1 got
    shift
    got=$(curl -sS -o /dev/null -w '%{http_code}' "$@") || true
    assert_eq "$got" "$wanted" "HTTP status of $*"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local seconds=$1 what=$2 until
    shift 2
    until=$((SECONDS + seconds))
    until "$@" >/dev/null; do
        [ $SECONDS -le "$until" ] || fail "waited $seconds s for $what"
        sleep 0.1
    done
}
