#!/usr/bin/env bash
# Lint and all tests; everything after the script's name goes to pytest: `bash tools/test.sh tests/utils -k options`,
# `--slow` for the tests that take minutes. Installs what the tests need first.
set -euo pipefail
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ ${1-} == --help ]]; then
  echo "Usage: bash tools/test.sh [pytest's arguments]    lint (ruff, shellcheck), then the tests; --slow for all of them"
  exit 0
fi
bash "$ROOT/tools/install.sh" --extras mini,onnx,plots,test
bash "$ROOT/tools/install_web.sh" || echo "test.sh: without onnxruntime-web the page of etdnn demo is not tested" >&2
cd "$ROOT"
python=${ETDNN_PYTHON:-$ROOT/tools/venv/bin/python}
python=$(command -v "$python")
PATH=$(dirname "$python"):$PATH
PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
export PATH PYTHONPATH OMP_NUM_THREADS=1
if [[ -z ${ETDNN_DATA:-} && -d $ROOT/../shared/data ]]; then
  ETDNN_DATA=$(cd "$ROOT/../shared/data" && pwd)
  export ETDNN_DATA
fi

status=0
# Job runners and filters have Kaldi's names but are Python.
mapfile -t scripts < <(grep -lE '^#!.*python3' utils/*.pl)
"$python" -m ruff check . "${scripts[@]}" || status=1
"$python" -m ruff format --check --quiet . "${scripts[@]}" || {
  echo "test.sh: ruff format would change files; run: $python -m ruff format . ${scripts[*]}" >&2
  status=1
}
mapfile -t shells < <(find . \( -name venv -o -name .git -o -name data -o -name exp \) -prune -o -type f -name '*.sh' -print)
if [[ -f .ci/run ]]; then shells+=(.ci/run); fi
shellcheck -x "${shells[@]}" || status=1
echo "lint: $([[ $status = 0 ]] && echo clean || echo FAILED) (ruff, ${#shells[@]} shell scripts)"

workers=(-n 2)
for argument in "$@"; do
  case $argument in -n | -n[0-9a]* | --numprocesses* | --pdb) workers=() ;; esac
done
"$python" -m pytest "${workers[@]}" "$@" || status=$?
exit "$status"
