#!/usr/bin/env bash
# delete.sh [--yes] [--settings FILE] [--dry-run]
#
# Gives the TPU back, with all that lies on its own disks, or takes the request out of the queue.
# Only this ends the bill. It asks first. End a babysit.sh first: it would ask for another.
#
#   --yes            do not ask
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options "yes" "$@"
no_arguments
settings PROJECT ZONE NAME
if [[ -z ${OPTION_yes-}$DRY_RUN ]]; then
    printf 'Delete %s in %s of %s, with all that lies on its disks? [y/N] ' "$NAME" "$ZONE" "$PROJECT"
    read -r answer || answer=
    [[ $answer == [yY] || $answer == yes ]] || fail 1 "not deleted: $NAME is still there"
fi
tpus queued-resources delete "$NAME" --force --quiet
