#!/usr/bin/env bash
# Sourced in an egs folder (`. ./path.sh`), by run.sh and before calls by hand. ETDNN_PYTHON=/path/to/python3 chooses
# another Python than tools/venv; OMP_NUM_THREADS and the like belong here too.
# shellcheck source=local/lib/path.sh
. "$(dirname "${BASH_SOURCE[0]}")/local/lib/path.sh"
