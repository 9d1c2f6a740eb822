# shellcheck shell=bash
# What the scripts of this folder share: options, settings, --dry-run, words for the workers' shells.
# Sourced, never run. Exit codes: 0 done, 1 failed, 2 wrong option or setting; one line says why.
# shellcheck disable=SC2034  # settings are read where this file is sourced
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SCRIPT=$(basename "$0")
DRY_RUN=
SETTINGS=
ARGUMENTS=() # the words after the options
ARCHIVE=.vqjax-source.tar.gz # the checkout on its way, in the workers' home

# Every setting and its default. `settings.example` says what they mean.
PROJECT='' ZONE='' NAME='' ACCELERATOR_TYPE='' RUNTIME_VERSION=''
TIER=on-demand VALID_UNTIL='' CREATE_FLAGS=() SSH_FLAGS=()
REMOTE_DIR=vqjax PYTHON_VERSION=3.12 EXTRAS=tpu,data PREPARE=''
TFDS_DATA_DIR='' JAX_COMPILATION_CACHE_DIR='' ENVIRONMENT=()
POLL_SECONDS=60 MAX_BACKOFF_SECONDS=900 MAX_FAILURES=8 MAX_RELAUNCHES=20 STOP_SECONDS=120

say() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }

# fail CODE WORDS: one line and the end.
fail() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

# quote WORD...: the words as any POSIX shell reads them back, spaces, quotes and all.
quote() {
    local word line='' space=''
    for word in "$@"; do
        line+=$space space=' '
        if [[ $word =~ ^--[a-z-]+= ]]; then # --name='value', not '--name=value'
            line+=${BASH_REMATCH[0]}
            word=${word#*=}
        fi
        case $word in
            '' | *[!A-Za-z0-9_./:=,@%+-]*)
                line+="'"
                while [[ $word == *"'"* ]]; do
                    line+="${word%%"'"*}'\\''"
                    word=${word#*"'"}
                done
                line+="$word'"
                ;;
            *) line+=$word ;;
        esac
    done
    printf '%s' "$line"
}

# run COMMAND...: runs it, or with --dry-run prints it as a line that a shell takes.
run() {
    if [[ -n $DRY_RUN ]]; then
        printf '%s\n' "$(quote "$@")"
    else
        "$@"
    fi
}

# The comment at the head of a script is its --help.
help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# options NAMES WORD...: reads the options that stand before the first other word. NAMES are those
# of this script, "wait" for a flag and "lines=" for one with a value; --wait sets OPTION_wait.
options() {
    local known=" $1 " name
    shift
    while (($#)); do
        name=${1#--}
        case $1 in
            --help | -h) help && exit 0 ;;
            --dry-run) DRY_RUN=1 ;;
            --settings)
                (($# > 1)) || fail 2 "--settings needs a FILE (see --help)"
                SETTINGS=$2 && shift
                ;;
            --) shift && break ;;
            -*)
                if [[ $known == *" $name "* ]]; then
                    printf -v "OPTION_$name" 1
                elif [[ $known == *" $name= "* ]]; then
                    (($# > 1)) || fail 2 "$1 needs a value (see --help)"
                    printf -v "OPTION_$name" '%s' "$2" && shift
                else
                    fail 2 "unknown option $1 (see --help)"
                fi
                ;;
            *) break ;;
        esac
        shift
    done
    ARGUMENTS=(${1+"$@"})
}

# no_arguments: for the scripts that take options only.
no_arguments() {
    ((${#ARGUMENTS[@]} == 0)) || fail 2 "unexpected argument ${ARGUMENTS[0]} (see --help)"
}

# settings NAME...: reads the settings file; the named ones must have a value.
settings() {
    local name before unknown
    SETTINGS=${SETTINGS:-$HERE/settings}
    [[ -f $SETTINGS ]] ||
        fail 2 "no settings file $SETTINGS: copy tpu_scripts/settings.example there, or --settings FILE"
    SETTINGS=$(cd "$(dirname "$SETTINGS")" && pwd)/$(basename "$SETTINGS")
    before=$(compgen -v)
    # shellcheck source=/dev/null
    source "$SETTINGS"
    unknown=$(compgen -v | grep -vxF "$before" | grep -E '^[A-Z][A-Z_]*$' | grep -v '^BASH' || true)
    [[ -z $unknown ]] || fail 2 "unknown setting ${unknown%%$'\n'*} in $SETTINGS"
    for name in "$@"; do
        [[ -n ${!name} ]] || fail 2 "$name is not set in $SETTINGS"
    done
    for name in POLL_SECONDS MAX_BACKOFF_SECONDS MAX_FAILURES MAX_RELAUNCHES STOP_SECONDS; do
        [[ ${!name} =~ ^[0-9]+$ ]] || fail 2 "$name=${!name} is not a whole number in $SETTINGS"
    done
}

# sibling SCRIPT WORD...: another script of this folder, with the same settings and --dry-run.
sibling() {
    local script=$1
    shift
    "$HERE/$script" --settings "$SETTINGS" ${DRY_RUN:+--dry-run} "$@"
}

# tpus GROUP VERB WORD...: gcloud on this project and zone.
tpus() {
    local group=$1 verb=$2
    shift 2
    run gcloud compute tpus "$group" "$verb" "$@" --project="$PROJECT" --zone="$ZONE"
}

# on_worker WORKER COMMAND: one line for the shell of a worker, by its number, or of all.
# gcloud ends with the code of the first worker whose command failed.
on_worker() {
    tpus tpu-vm ssh "$NAME" --worker="$1" ${SSH_FLAGS[@]+"${SSH_FLAGS[@]}"} --command="$2" </dev/null
}

# worker WORKER VERB WORD...: worker.sh in the copied checkout.
worker() {
    local which=$1
    shift
    on_worker "$which" "$(quote bash "$REMOTE_DIR/tpu_scripts/worker.sh" "$@")"
}

# worker_states: one line "HOST STATE" per worker: unprepared, idle, running, "exit CODE", killed.
worker_states() {
    local script answers
    script=$(quote "$REMOTE_DIR/tpu_scripts/worker.sh")
    script="if [ -e $script ]; then bash $script state; else echo vqjax-state \$(hostname) unprepared; fi"
    if [[ -n $DRY_RUN ]]; then
        on_worker all "$script"
        return
    fi
    answers=$(on_worker all "$script") || return 1
    grep '^vqjax-state ' <<<"$answers" | cut -d' ' -f2- | sort
}

# described GROUP FORMAT: one field of what NAME is there, MISSING where nothing is.
described() {
    local errors value
    if [[ -n $DRY_RUN ]]; then
        tpus "$1" describe "$NAME" --format="$2"
        return
    fi
    errors=$(mktemp)
    if value=$(tpus "$1" describe "$NAME" --format="$2" 2>"$errors"); then
        rm -f "$errors"
        printf '%s\n' "${value:-UNKNOWN}"
    elif grep -q NOT_FOUND "$errors"; then
        rm -f "$errors"
        echo MISSING
    else
        cat "$errors" >&2
        rm -f "$errors"
        return 1
    fi
}

queue_state() { described queued-resources 'value(state.state)'; }
node_state() { described tpu-vm 'value(state)'; }
