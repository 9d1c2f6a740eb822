#!/usr/bin/env bash
# status.sh [--settings FILE] [--dry-run]
#
# How the queue, the node and the run on each worker stand.
#
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options "" "$@"
no_arguments
settings PROJECT ZONE NAME
queue=$(queue_state)
node=$(node_state)
if [[ -n $DRY_RUN ]]; then
    printf '%s\n' "$queue" "$node"
else
    printf 'queue %s\nnode %s\n' "$queue" "$node"
    [[ $node == READY ]] || exit 0
fi
worker_states
