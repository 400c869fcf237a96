#!/usr/bin/env bash
# The body of every egs's path.sh: the package and its Python first, one locale, one thread per process. The first
# time, or when the installation is incomplete, tools/install.sh makes tools/venv.
etdnn_root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
etdnn_install_stamp=$etdnn_root/tools/.installed
if [ ! -e "$etdnn_install_stamp" ] || [ "$etdnn_root/tools/constraints.txt" -nt "$etdnn_install_stamp" ] ||
  [ "$etdnn_root/setup.py" -nt "$etdnn_install_stamp" ]; then
  echo "path.sh: the installation is missing or older than its requirements; running tools/install.sh" >&2
  bash "$etdnn_root/tools/install.sh" || {
    echo "path.sh: error: tools/install.sh failed; its last line says why" >&2
    exit 1
  }
fi
if [ -n "${ETDNN_PYTHON:-}" ]; then
  PATH=$(dirname "$(command -v "$ETDNN_PYTHON")"):$PATH
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
