#!/usr/bin/env bash
# Merges data directories into one.
set -euo pipefail
export LC_ALL=C
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir/combine_data.py" "$@"
