# shellcheck shell=bash
# Functions that the stages' scripts share; to be sourced from an egs folder.

# fail MESSAGE [STATUS]: one line, and out
fail() {
  echo "$0: error: $1" >&2
  exit "${2:-1}"
}

# expect FORM WORD...: out, with the status of a mistake in the call, unless there are as many words as FORM has
expect() {
  local form=() count=$(($# - 1))
  read -ra form <<<"$1"
  [ "$count" -eq ${#form[@]} ] || fail "expected $1, found $count words (--help)" 2
}

# need_features DIR...: out unless each has features
need_features() {
  local dir
  for dir in "$@"; do
    [ -f "$dir/feats.scp" ] || fail "$dir/feats.scp is missing; stage 1 (local/make_features.sh) makes it"
  done
}

# feature_inputs DIR...: the files that tell features from others, for stamps
feature_inputs() {
  local dir name
  for dir in "$@"; do
    for name in feats.scp frontend.json .feats.made; do [ ! -f "$dir/$name" ] || echo "$dir/$name"; done
  done
}

# trained_on DATA: the directory on which batch norm is measured: what was trained on, copies included (statistics of
# clean speech alone serve noisy speech badly)
trained_on() {
  if [ -f "$1/train_all/feats.scp" ]; then echo "$1/train_all"; else echo "$1/train"; fi
}
