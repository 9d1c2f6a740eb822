#!/usr/bin/env bash
# create.sh [--wait] [--settings FILE] [--dry-run]
#
# Asks for a TPU: puts a queued resource NAME with one node NAME into the queue. Nothing is paid
# until it is ACTIVE; from then on everything is, until delete.sh.
#
#   --wait           come back when it is there (0), or when it will not come or gcloud could not say
#                    for MAX_FAILURES looks in a row (1)
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# wait_until_active: polls; a queue may take hours.
wait_until_active() {
    local state blind=0
    while true; do
        if state=$(queue_state); then
            blind=0
        else
            state="gcloud does not say how the queue stands"
            blind=$((blind + 1))
        fi
        say "$NAME: $state"
        case $state in
            ACTIVE) return ;;
            FAILED | SUSPENDING | SUSPENDED | DELETING | MISSING)
                fail 1 "$NAME will not come: delete.sh, then create.sh again" ;;
        esac
        ((blind == 0 || blind < MAX_FAILURES)) ||
            fail 1 "$NAME is still in the queue and will cost when it comes: delete.sh"
        sleep "$POLL_SECONDS"
    done
}

options "wait" "$@"
no_arguments
settings PROJECT ZONE NAME ACCELERATOR_TYPE RUNTIME_VERSION
case $TIER in
    on-demand) tier=() ;;
    spot) tier=(--spot) ;;
    reserved) tier=(--reserved) ;;
    *) fail 2 "TIER=$TIER is none of spot, on-demand, reserved in $SETTINGS" ;;
esac
tpus queued-resources create "$NAME" --node-id="$NAME" \
    --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME_VERSION" \
    ${tier[@]+"${tier[@]}"} ${VALID_UNTIL:+--valid-until-duration="$VALID_UNTIL"} \
    ${CREATE_FLAGS[@]+"${CREATE_FLAGS[@]}"}
if [[ -n $DRY_RUN ]]; then
    [[ -z ${OPTION_wait-} ]] || queue_state
elif [[ -n ${OPTION_wait-} ]]; then
    wait_until_active
else
    say "$NAME is in the queue: status.sh says how it stands"
fi
