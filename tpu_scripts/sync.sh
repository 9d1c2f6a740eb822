#!/usr/bin/env bash
# sync.sh [--settings FILE] [--dry-run]
#
# Copies this checkout, as it lies here, to all workers: changed and new files too, ignored ones
# not; what was deleted here is deleted there. Runs and environments there stay. Refused while a
# run is on.
#
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none; these copy the last commit
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# pack FILE: the working tree as a tar.gz, through a scratch copy of git's index.
pack() {
    local index tree
    index=$(git rev-parse --git-path index) || fail 1 "$PWD is not a git checkout"
    [[ ! -e $index ]] || cp "$index" "$1.index"
    GIT_INDEX_FILE=$1.index git add --all
    tree=$(GIT_INDEX_FILE=$1.index git write-tree)
    git archive --format=tar.gz --output="$1" "$tree"
    say "copying tree ${tree:0:12}, $(wc -c <"$1" | tr -d ' ') bytes"
}

options "" "$@"
no_arguments
settings PROJECT ZONE NAME
cd "$HERE/.."
if [[ -n $DRY_RUN ]]; then
    packed=${TMPDIR:-/tmp}/$ARCHIVE
    run git -C "$PWD" archive --format=tar.gz --output="$packed" HEAD
else
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    packed=$scratch/$ARCHIVE
    pack "$packed"
fi
tpus tpu-vm scp "$packed" "$NAME:$ARCHIVE" --worker=all ${SSH_FLAGS[@]+"${SSH_FLAGS[@]}"}
remote=$(quote "$REMOTE_DIR")
on_worker all "mkdir -p $remote && tar -xzf $ARCHIVE -C $remote tpu_scripts/worker.sh && \
bash $(quote "$REMOTE_DIR/tpu_scripts/worker.sh") unpack \"\$HOME\"/$ARCHIVE"
