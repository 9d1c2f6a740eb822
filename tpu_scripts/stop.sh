#!/usr/bin/env bash
# stop.sh [--kill] [--settings FILE] [--dry-run]
#
# Ends the run on all workers with SIGTERM, upon which it saves and exits with 75, and waits up to
# STOP_SECONDS for that. The same launch.sh goes on where it stopped. The TPU stays rented. End a
# babysit.sh that watches first: it would launch again.
#
#   --kill           end what still runs then with SIGKILL; steps since the last save are lost
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options "kill" "$@"
no_arguments
settings PROJECT ZONE NAME
worker all stop "$STOP_SECONDS" ${OPTION_kill:+kill}
