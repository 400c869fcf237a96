#!/usr/bin/env bash
# Copies a data directory, with prefixes or suffixes added to its ids.
set -euo pipefail
export LC_ALL=C
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir/copy_data_dir.py" "$@"
