#!/usr/bin/env bash
# What the scripts of this folder run on each worker, in the checkout that sync.sh copied there.
# Files of the run, in .pod: lock (held for as long as it lives), pid, exit (its code), log, command.
# shellcheck disable=SC2329  # the last line calls what the caller names
set -euo pipefail

# say WORDS: a line with this worker's name.
say() { printf '%s: %s\n' "$(hostname)" "$*"; }

fail() {
    say "$*" >&2
    exit 1
}

running() { ! flock --shared --nonblock .pod/lock true; }

# unpack FILE: the checkout out of FILE; files of the one before that are not in it go.
unpack() {
    ! running || fail "a run is on: stop.sh first"
    rm -f .pod/pid .pod/exit # else a worker that the next launch misses would pass for one that began
    tar -tzf "$1" | grep -v '/$' | LC_ALL=C sort >.pod/files.new
    tar -xzf "$1"
    if [[ -e .pod/files ]]; then
        LC_ALL=C comm -23 .pod/files .pod/files.new | while IFS= read -r file; do rm -f -- "$file"; done
    fi
    mv .pod/files.new .pod/files
    rm -f "$1"
}

# setup PYTHON_VERSION EXTRAS PREPARE
setup() {
    local wanted
    bash -euo pipefail -c "$3"
    wanted="python $1, extras $2, requirements $(cat setup.cfg pyproject.toml | sha256sum | cut -d' ' -f1)"
    if [[ -e .pod/installed && $(cat .pod/installed) == "$wanted" ]]; then
        say "set up already"
        return
    fi
    ! running || fail "a run is on: stop.sh first"
    rm -rf .pod/installed .venv
    # uv finds or fetches the Python, which images have older than vqjax needs.
    python3 -m uv --version >/dev/null 2>&1 ||
        PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --seed --python "$1" .venv
    python3 -m uv pip install --quiet --python .venv/bin/python -e ".[$2]"
    .venv/bin/vqjax --version
    printf '%s\n' "$wanted" >.pod/installed
    say "set up"
}

# start NAME=VALUE... -- VERB WORD...: the run, detached from this connection.
start() {
    exec 9>>.pod/lock
    flock --wait 2 9 || fail "a run is on: stop.sh first"
    rm -f .pod/pid .pod/exit
    printf '%q ' vqjax "${@:$(($(place_of_dashes "$@") + 1))}" >.pod/command
    printf '== %s: %s\n' "$(date -u +%FT%TZ)" "$(cat .pod/command)" >>.pod/log
    setsid nohup bash tpu_scripts/worker.sh keep "$@" </dev/null >>.pod/log 2>&1 &
    for _ in {1..100}; do
        [[ ! -e .pod/pid ]] || break
        sleep 0.1
    done
    say "started"
}

# place_of_dashes WORD...: which word is the first --, from 1.
place_of_dashes() {
    local place=1
    while [[ $1 != -- ]]; do
        place=$((place + 1))
        shift
    done
    echo "$place"
}

# keep NAME=VALUE... -- VERB WORD...: runs it and keeps its exit code. The lock came with start.
keep() {
    local code=0
    while [[ $1 != -- ]]; do
        export "${1?}"
        shift
    done
    shift
    export PATH=$PWD/.venv/bin:$PATH
    # shellcheck disable=SC2016
    bash -c 'echo $$ >.pod/pid.new && mv .pod/pid.new .pod/pid && exec vqjax "$@"' vqjax "$@" 9>&- || code=$?
    printf '== %s: exit %s\n' "$(date -u +%FT%TZ)" "$code"
    printf '%s\n' "$code" >.pod/exit.new
    mv .pod/exit.new .pod/exit
}

state() {
    local state=idle
    if [[ ! -e .pod/installed ]]; then
        state=unprepared
    elif running; then
        state=running
    elif [[ -e .pod/exit ]]; then
        state="exit $(cat .pod/exit)"
    elif [[ -e .pod/pid ]]; then
        state=killed # its keeper too: the machine went down
    fi
    printf 'vqjax-state %s %s\n' "$(hostname)" "$state"
}

# log LINES plain|host [follow]
log() {
    local words=(tail -n "$1") prefix=''
    [[ -e .pod/log ]] || fail "nothing was launched here"
    [[ -z ${3-} ]] || words+=(-F)
    [[ $2 == plain ]] || prefix="$(hostname): "
    "${words[@]}" .pod/log | sed -u "s/^/$prefix/"
}

# stop SECONDS [kill]
stop() {
    if ! running; then
        say "no run is on"
        return
    fi
    kill -TERM "$(cat .pod/pid)" || true
    if flock --wait "$1" .pod/lock true; then
        say "stopped, exit $(cat .pod/exit)"
        return
    fi
    [[ -n ${2-} ]] || fail "still runs after $1 s: wait, or stop.sh --kill"
    kill -KILL "$(cat .pod/pid)" || true
    flock --wait 30 .pod/lock true || fail "still runs after SIGKILL"
    say "killed"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p .pod
"$@" && exit # at once: sync.sh may have replaced this file
