#!/usr/bin/env bash
# launch.sh [--settings FILE] [--dry-run] VERB WORD...
#
# Runs `vqjax VERB WORD...` on all workers at once, detached: the run goes on when you log out.
# Relative paths start at the checkout there. Refused while a run is on.
#
#   launch.sh train experiments/imagenet_vqgan_f16.py \
#       --arg vgg=/mnt/vqjax/vgg16-397923af.pth --arg lpips=/mnt/vqjax/vgg.pth \
#       --arg batch_size=256 --workdir /mnt/vqjax/runs/f16 compute_dtype=bfloat16
#
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options "" "$@"
((${#ARGUMENTS[@]})) || fail 2 "no verb given, such as train (see --help)"
settings PROJECT ZONE NAME
environment=(${ENVIRONMENT[@]+"${ENVIRONMENT[@]}"})
for name in TFDS_DATA_DIR JAX_COMPILATION_CACHE_DIR; do
    [[ -z ${!name} ]] || environment+=("$name=${!name}")
done
states=$(worker_states) || fail 1 "not all workers of $NAME could be asked"
if [[ -n $DRY_RUN ]]; then
    printf '%s\n' "$states"
elif grep -q ' running$' <<<"$states"; then
    fail 1 "a run is on: stop.sh first"
elif grep -q ' unprepared$' <<<"$states"; then
    fail 1 "not all workers are set up: setup.sh first"
fi
worker all start ${environment[@]+"${environment[@]}"} -- "${ARGUMENTS[@]}"
