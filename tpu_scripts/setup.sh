#!/usr/bin/env bash
# setup.sh [--settings FILE] [--dry-run]
#
# Makes all workers ready: copies the checkout (sync.sh), runs PREPARE, and installs Python and
# vqjax with EXTRAS into REMOTE_DIR/.venv. Where that was done and the requirements are the same,
# nothing is installed. After a change of code alone, sync.sh is enough.
#
#   --settings FILE  settings (default: tpu_scripts/settings)
#   --dry-run        print the commands and run none
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

options "" "$@"
no_arguments
settings PROJECT ZONE NAME
sibling sync.sh
worker all setup "$PYTHON_VERSION" "$EXTRAS" "$PREPARE"
