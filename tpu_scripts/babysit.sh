#!/usr/bin/env bash
# babysit.sh [--delete] [--settings FILE] [--dry-run] VERB WORD...
#
# Sees `vqjax VERB WORD...` through to its end: asks for the TPU where there is none, sets it up,
# launches, watches; when it was taken away, does so anew, and the run goes on from its last save.
# Keep it in tmux on a machine that stays on. It remembers nothing: when it was killed, start it
# again. What runs already is watched; if nothing runs, it launches. To stop for good, end it first
# (Ctrl-C), then stop.sh: else it launches again.
#
# Ends with 0 when the run is done; with the run's own code when it failed; with 1 when it gave
# up: MAX_FAILURES in a row, or MAX_RELAUNCHES on one TPU. Then the TPU is still rented:
#
#   --delete         give the TPU back at the end, whatever the end was; 0 becomes 1 if that fails
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands of one uneventful pass and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STRAGGLING=5 # looks at a run that some workers have left before the others are killed
blind=0      # looks in a row that brought no answer
failures=0   # of what followed from a look, since all workers ran
relaunches=0 # on this TPU
straggling=0
launched=    # whether a run was seen or begun, so that an exit code is its
queue='' node='' states='' # what the last look saw

# give_back: 1 where it may still be rented.
give_back() {
    local tries=0
    until sibling delete.sh --yes || [[ $(queue_state) == MISSING ]]; do
        tries=$((tries + 1))
        ((tries < MAX_FAILURES)) || return 1
        sleep "$POLL_SECONDS"
    done
}

# finish CODE WORDS: the end.
finish() {
    local code=$1
    shift
    say "$*"
    ((code == 0)) || sibling logs.sh --worker all --lines 20 >&2 || true
    if [[ -z ${OPTION_delete-} ]]; then
        say "$NAME is still rented: delete.sh gives it back"
    elif ! give_back; then
        say "NOT DELETED: $NAME may still be rented: delete.sh"
        ((code)) || code=1
    fi
    exit "$code"
}

create() {
    relaunches=0 straggling=0 launched=
    say "asking for $NAME"
    sibling create.sh
}

recreate() {
    say "$NAME is $1: asking for another"
    sibling delete.sh --yes && create
}

# launch: with setup.sh before it, for a machine that started anew has lost what PREPARE mounted.
launch() {
    straggling=0
    sibling setup.sh && sibling launch.sh "${ARGUMENTS[@]}" && launched=1
}

# relaunch WHY
relaunch() {
    ((relaunches < MAX_RELAUNCHES)) || finish 1 "$1, and that $MAX_RELAUNCHES times: giving up"
    relaunches=$((relaunches + 1))
    say "$1: launching again"
    launch
}

# verdict: of a run that no worker is in any more.
verdict() {
    local codes code
    codes=$(sed -n 's/^.* exit //p' <<<"$states" | sort -nu)
    if grep -q ' killed$' <<<"$states"; then # whatever the others say, it is the echo of this
        relaunch "a worker went down"
        return
    fi
    # A failure with a name of its own (2, 3, 4, ...) says more than 1, which may be its echo.
    for code in $codes; do
        ((code < 2 || code == 75 || code > 127)) || finish "$code" "the run failed with exit code $code"
    done
    if grep -qE ' (idle|unprepared)$' <<<"$states"; then
        relaunch "not all workers began"
    elif grep -qx 143 <<<"$codes"; then
        relaunch "stopped before there was anything to save (143)"
    elif grep -qx 1 <<<"$codes"; then
        finish 1 "the run failed with exit code 1"
    elif grep -qx 75 <<<"$codes"; then
        relaunch "stopped and saved (75)"
    elif [[ $codes == 0 ]]; then
        finish 0 "done"
    else
        code=$(tail -n 1 <<<"$codes")
        finish "$code" "the run was killed (exit code $code)"
    fi
}

# watch: what to do about a node that is there.
watch() {
    if ! grep -q ' running$' <<<"$states"; then
        pause=0
        if [[ -z $launched ]]; then launch; else verdict; fi
    elif ! grep -qv ' running$' <<<"$states"; then
        launched=1 failures=0 straggling=0
        say "running on $(wc -l <<<"$states" | tr -d ' ') workers"
    else
        launched=1 straggling=$((straggling + 1))
        say "running on some workers only"
        ((straggling < STRAGGLING)) || sibling stop.sh --kill
    fi
}

# look: how the queue, then the node, then the workers stand; 1 where one of them does not answer.
look() {
    node='' states=''
    queue=$(queue_state) || return 1
    [[ $queue == ACTIVE ]] || return 0
    node=$(node_state) || return 1
    case $node in
        READY) states=$(worker_states) ;;
        MISSING) say "the queue has $NAME, but there is no node" && return 1 ;;
    esac
}

# act: what follows from a look; 1 is a failure.
act() {
    case $queue in
        MISSING) create ;;
        FAILED)
            recreate FAILED || true
            return 1
            ;;
        SUSPENDED) recreate SUSPENDED ;;
        ACTIVE)
            case $node in
                READY) watch ;;
                PREEMPTED | TERMINATED | STOPPED) recreate "$node" ;;
                *) say "the node is $node" ;;
            esac
            ;;
        *) say "the queue says $queue" ;;
    esac
}

# setback COUNT: the end after too many, else a longer pause before the next look.
setback() {
    (($1 < MAX_FAILURES)) || finish 1 "$1 failures in a row: giving up"
    pause=$((POLL_SECONDS << ($1 > 10 ? 10 : $1)))
    ((pause <= MAX_BACKOFF_SECONDS)) || pause=$MAX_BACKOFF_SECONDS
    say "failure $1 of $MAX_FAILURES, next look in $pause s"
}

# rehearse: the commands in their order, for --dry-run.
rehearse() {
    queue_state
    sibling create.sh
    queue_state
    node_state
    worker_states
    sibling setup.sh
    sibling launch.sh "${ARGUMENTS[@]}"
    worker_states
    [[ -z ${OPTION_delete-} ]] || sibling delete.sh --yes
}

options "delete" "$@"
((${#ARGUMENTS[@]})) || fail 2 "no verb given, such as train (see --help)"
settings PROJECT ZONE NAME ACCELERATOR_TYPE RUNTIME_VERSION
[[ -z $DRY_RUN ]] || { rehearse && exit; }
while true; do
    pause=$POLL_SECONDS
    if ! look; then
        blind=$((blind + 1))
        setback "$blind"
    else
        blind=0
        if ! act; then
            failures=$((failures + 1))
            setback "$failures"
        fi
    fi
    sleep "$pause"
done
