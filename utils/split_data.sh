#!/usr/bin/env bash
# Splits a data directory into parts for parallel jobs and prints their number.
set -euo pipefail
export LC_ALL=C
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir/split_data.py" "$@"
