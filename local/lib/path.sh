#!/usr/bin/env bash
# The body of every egs's path.sh: the package and its Python first, one locale, one thread per process.
# tools/install.sh is silent when all is in place; the first time it makes tools/venv and says so.
etdnn_root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bash "$etdnn_root/tools/install.sh" || {
  echo "path.sh: error: the installation failed; the line above says why" >&2
  return 1
}
if [ -n "${ETDNN_PYTHON:-}" ]; then
  etdnn_bin=$(dirname "$(command -v "$ETDNN_PYTHON")")
  if [ "$(realpath -m "$etdnn_bin/python3")" != "$(realpath -m "$(command -v "$ETDNN_PYTHON")")" ]; then
    echo "path.sh: error: $etdnn_bin/python3 is not ETDNN_PYTHON=$ETDNN_PYTHON; name the python3 of an environment" >&2
    return 1
  fi
  PATH=$etdnn_bin:$PATH
else
  PATH=$etdnn_root/tools/venv/bin:$PATH
fi
export PATH
case :${PYTHONPATH:-}: in
  *":$etdnn_root:"*) ;;
  *) export PYTHONPATH=$etdnn_root${PYTHONPATH:+:$PYTHONPATH} ;;
esac
export LC_ALL=C
# One thread per process gives the same results on every run; cores are used by jobs and ranks.
export OMP_NUM_THREADS=1
