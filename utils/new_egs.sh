#!/usr/bin/env bash
# Makes a recipe folder for another corpus: run.sh, path.sh, cmd.sh and conf/ to edit, links to local/ and utils/.
set -euo pipefail
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

from=own
# shellcheck disable=SC2034  # printed by parse_options.sh
help_message="Usage: utils/new_egs.sh [--from own] egs/NAME

Makes egs/NAME with the run.sh, path.sh, cmd.sh and conf/ of egs/own (or another egs), which are yours to edit, and links
local -> ../../local and utils -> ../../utils: the stages are the same for every corpus and nothing of them is copied."
# shellcheck source=utils/parse_options.sh
. "$ROOT/utils/parse_options.sh"

fail() { # fail MESSAGE [STATUS]
  printf 'new_egs.sh: error: %s\n' "$1" >&2
  exit "${2:-1}"
}

[[ $# -eq 1 ]] || fail "expected one folder, as egs/mycorpus, found $#: $*" 2
target=${1%/}
model=$ROOT/egs/$from
[[ -f $model/run.sh ]] || fail "there is no egs/$from to start from"
[[ ! -e $target && ! -L $target ]] || fail "$target is there already; choose another name"
mkdir -p "$(dirname "$target")" || fail "cannot make the parent folder of $target"
parent=$(cd -P "$(dirname "$target")" && pwd)
[[ $parent == "$ROOT/egs" ]] || fail "$target is not a folder of $ROOT/egs, where the links to local/ and utils/ hold"

name=$(basename "$target")
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "a folder's name has letters, digits, '.', '_' and '-': $name"
partial=$parent/.$name.partial$$
trap 'rm -rf "$partial"' EXIT
mkdir "$partial"
for file in run.sh path.sh cmd.sh conf; do cp -R "$model/$file" "$partial/$file"; done
ln -s ../../local "$partial/local"
ln -s ../../utils "$partial/utils"
# Models and results of the new recipe go by its own name.
sed -i.before "s|expdir=exp/$from\$|expdir=exp/$name|" "$partial/run.sh"
rm "$partial/run.sh.before"
mv "$partial" "$parent/$name"
echo "new_egs.sh: made egs/$name: edit its run.sh and conf/, then: bash egs/$name/run.sh --help"
