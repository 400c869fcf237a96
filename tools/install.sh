#!/usr/bin/env bash
# Installs the package and what it needs into tools/venv or into $ETDNN_PYTHON's environment; quick and silent when all
# is in place. See --help.
set -euo pipefail
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STAMP=$ROOT/tools/.installed
VENV=$ROOT/tools/venv

extras=mini,plots
wheels=
# shellcheck disable=SC2034  # printed by parse_options.sh
help_message="Usage: bash tools/install.sh [options]

Makes tools/venv with Python 3.11 or newer and installs the package there (editable) with the versions of
tools/constraints.txt. ETDNN_PYTHON=/path/to/python3 installs into that Python's environment instead. A working torch
2.11 to 2.14 that is there already is kept, also one of the Python that tools/venv is made from.

  --extras LIST   optional parts: mini (the synthetic corpus), onnx, plots, tensorboard, test; with commas [mini,plots]
  --wheels DIR    install from the wheels in DIR, without a network. On a machine with one, make DIR by
                  pip download -d DIR -c tools/constraints.txt '.[mini,onnx,plots,test]' 'setuptools>=68'"
# shellcheck source=utils/parse_options.sh
. "$ROOT/utils/parse_options.sh"

fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  exit 1
}

say() {
  printf 'install.sh: %s\n' "$1" >&2
}

# Prints VERSION of the Python $1, nothing when it does not run.
python_version() {
  "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true
}

# True when the version $1 is 3.11 or newer.
new_enough() {
  [[ $1 =~ ^3\.([0-9]+)\. ]] && ((BASH_REMATCH[1] >= 11))
}

# Leaves in $python the Python to install into, when it is known without making anything.
known_python() {
  python=${ETDNN_PYTHON:-$VENV/bin/python}
  if [[ -n ${ETDNN_PYTHON:-} ]]; then
    python=$(command -v "$ETDNN_PYTHON") || fail "ETDNN_PYTHON=$ETDNN_PYTHON is no program"
  fi
}

# Prints the hash of what decides on the versions. The stamp has a line each: this hash, the Python, a file of the
# installed package, the extras.
inputs_hash() {
  cat "$ROOT/setup.py" "$ROOT/tools/constraints.txt" | sha256sum | cut -d ' ' -f 1
}

# True when the stamp says that all of it is installed.
in_place() {
  local -a line=()
  local extra
  [[ -s $STAMP ]] || return 1
  mapfile -t line <"$STAMP"
  [[ ${#line[@]} -eq 4 && -x $python && ${line[0]} == "$(inputs_hash)" && ${line[1]} == "$python" && -e ${line[2]} ]] ||
    return 1
  for extra in ${extras//,/ }; do
    [[ " ${line[3]} " == *" $extra "* ]] || return 1
  done
}

# Prints a Python 3.11 or newer of this machine.
find_base_python() {
  local name version seen=''
  for name in python3 python3.13 python3.12 python3.11 python3.14; do
    command -v "$name" >/dev/null || continue
    version=$(python_version "$name")
    if new_enough "$version"; then
      command -v "$name"
      return
    fi
    seen+=${version:+ $name is $version;}
  done
  fail "Python 3.11 or newer is needed;${seen:- there is no python3;} install one, or set ETDNN_PYTHON=/path/to/python3"
}

# Prints the version of the torch that works in the Python $1 and lies in the range of setup.py, else nothing.
usable_torch() {
  "$1" - 2>/dev/null <<'PYTHON' || true
import torch
major, minor = (int(part) for part in torch.__version__.split(".")[:2])
if (major, minor) >= (2, 11) and (major, minor) < (2, 15) and float(torch.ones(2).sum()) == 2:
    print(torch.__version__)
PYTHON
}

# Makes tools/venv; sees the base Python's packages when a torch is among them.
make_venv() {
  local base torch
  local -a options=()
  base=$(find_base_python)
  "$base" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$base has no venv module; install it (Debian, Ubuntu: apt install python3-venv), or set ETDNN_PYTHON"
  torch=$(usable_torch "$base")
  if [[ -n $torch ]]; then
    say "$base has torch $torch, which will be used"
    options=(--system-site-packages)
  fi
  say "making tools/venv with $base ($(python_version "$base"))"
  "$base" -m venv --clear ${options[@]+"${options[@]}"} "$VENV" || fail "cannot make $VENV"
}

# Prints why pip failed, from its log $1, in one line.
explain() {
  local reason
  if grep -q 'externally-managed-environment' "$1"; then
    echo "$python belongs to the system and takes no packages; unset ETDNN_PYTHON, or set it to a venv's Python"
  elif grep -qE 'NewConnectionError|name resolution|ConnectTimeout|Max retries|Network is unreachable' "$1"; then
    echo "no network: pip cannot reach its index; on this machine use --wheels DIR (bash tools/install.sh --help)"
  elif [[ -n $wheels ]] && reason=$(grep -oE 'No matching distribution found for [^ ]+' "$1" | head -n 1) && [[ $reason ]]; then
    echo "$wheels has no fitting wheel for ${reason##* }; make it with the command that --help shows, for this Python"
  elif reason=$(grep -oE 'No matching distribution found for [^ ]+' "$1" | head -n 1) && [[ $reason ]]; then
    echo "pip finds no ${reason##* } (PIP_NO_INDEX, or an index that lacks it?); without an index use --wheels DIR"
  elif grep -q 'No space left on device' "$1"; then
    echo "no space left on the disk"
  else
    reason=$(grep -iE '^ *error' "$1" | tail -n 1 || true)
    echo "pip failed: ${reason:-$(tail -n 1 "$1")}"
  fi
}

# Installs into $python with the constraints, but for the torch that is there.
install_package() {
  local torch constraints
  local -a options=(--disable-pip-version-check --retries 2 --timeout 20)
  torch=$(usable_torch "$python")
  constraints=$SCRATCH/constraints.txt
  if [[ -n $torch ]]; then
    grep -v '^torch==' "$ROOT/tools/constraints.txt" >"$constraints"
    printf 'torch==%s\n' "$torch" >>"$constraints"
  else
    cp "$ROOT/tools/constraints.txt" "$constraints"
  fi
  if [[ -n $wheels ]]; then
    options+=(--no-index --find-links "$wheels")
  fi
  say "installing into ${python%/bin/*}${torch:+, keeping torch $torch} (the first time takes minutes)"
  if ! (cd "$ROOT" && "$python" -m pip install "${options[@]}" -c "$constraints" -e ".[$extras]") \
    >"$SCRATCH/pip.log" 2>&1; then
    fail "$(explain "$SCRATCH/pip.log"); pip's log: $(keep_log)"
  fi
}

# Prints where pip's log stays after a failure.
keep_log() {
  local place
  place=$(mktemp "${TMPDIR:-/tmp}/etdnn-install.XXXXXX") && cp "$SCRATCH/pip.log" "$place" && echo "$place"
}

# Writes the stamp, after a look whether what was installed runs, and says what there is now.
write_stamp() {
  local -a found=()
  mapfile -t found < <(cd / && PYTHONPATH='' "$python" - 2>"$SCRATCH/import.log" <<'PYTHON'
import importlib.metadata, sys, kaldiio, numpy, safetensors, scipy, soundfile, torch, tqdm, yaml
print(next(file.locate() for file in importlib.metadata.files("etdnn") if file.name == "METADATA"))
print("Python %d.%d.%d" % sys.version_info[:3] + ", torch " + torch.__version__)
PYTHON
  )
  [[ ${#found[@]} -eq 2 ]] || fail "what was installed does not run: $(tail -n 1 "$SCRATCH/import.log")"
  printf '%s\n%s\n%s\n%s\n' "$(inputs_hash)" "$python" "${found[0]}" "${extras//,/ }" >"$STAMP.tmp$$"
  mv "$STAMP.tmp$$" "$STAMP"
  say "installed: ${found[1]}"
}

if [[ -n $wheels ]]; then wheels=$(cd "$wheels" 2>/dev/null && pwd) || fail "--wheels: no such folder"; fi
known_python
if in_place; then exit 0; fi
exec 9<"$ROOT/tools"
if command -v flock >/dev/null; then flock 9; fi
if in_place; then exit 0; fi
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT

# none yet, half made by a run that was killed, or made by a Python that is gone
if [[ -z ${ETDNN_PYTHON:-} && -z $(python_version "$VENV/bin/python") ]]; then make_venv; fi
version=$(python_version "$python")
if [[ -z $version ]]; then fail "$python does not run"; fi
new_enough "$version" || fail "Python 3.11 or newer is needed; $python is $version"
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null 2>&1 || fail "$python has no pip"
if [[ -s $STAMP ]]; then
  # Parts that were asked for earlier stay.
  mapfile -t earlier <"$STAMP"
  if [[ ${earlier[1]-} == "$python" ]]; then extras=${earlier[3]// /,},$extras; fi
fi
extras=$(tr -s ', ' '\n' <<<"$extras" | sed '/^$/d' | sort -u | paste -s -d , -)
install_package
write_stamp
