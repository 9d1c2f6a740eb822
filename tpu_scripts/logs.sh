#!/usr/bin/env bash
# logs.sh [--worker N] [--lines N] [--follow] [--settings FILE] [--dry-run]
#
# The end of what the run printed.
#
#   --worker N       one worker by its number, or all (default: 0); of all, lines begin with the host
#   --lines N        so many lines of each (default: 40)
#   --follow         go on as it grows, until Ctrl-C
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options "worker= lines= follow" "$@"
no_arguments
settings PROJECT ZONE NAME
which=${OPTION_worker-0}
lines=${OPTION_lines-40}
[[ $which =~ ^(all|[0-9]+)$ ]] || fail 2 "--worker $which is neither a number nor all"
[[ $lines =~ ^[0-9]+$ ]] || fail 2 "--lines $lines is not a whole number"
prefix=plain
[[ $which != all ]] || prefix=host
worker "$which" log "$lines" "$prefix" ${OPTION_follow:+follow}
