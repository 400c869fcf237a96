#!/usr/bin/env bash
# Makes a data directory from a part of another's utterances; --help lists the ways to choose.
set -euo pipefail
export LC_ALL=C
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir/subset_data_dir.py" "$@"
