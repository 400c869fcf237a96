#!/usr/bin/env bash
# Sorts the files of a data directory and drops what is not in all of them; says how much and why.
set -euo pipefail
export LC_ALL=C
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir/fix_data_dir.py" "$@"
