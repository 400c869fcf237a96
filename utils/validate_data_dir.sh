#!/usr/bin/env bash
# Checks a data directory and stops with file and line at the first fault; --help lists the options.
set -euo pipefail
export LC_ALL=C
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir/validate_data_dir.py" "$@"
