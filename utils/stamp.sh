# shellcheck shell=bash
# Stamps say with which options and inputs a result was made; to be sourced.
#
#   if stamp_current exp/x/.done "nj=$nj seed=$seed" data/train/feats.scp conf/train.yaml; then ...skip...; fi
#   ... make the result ...
#   stamp_write exp/x/.done "nj=$nj seed=$seed" data/train/feats.scp conf/train.yaml
#
# A stamp is a text file: a line `option LINE` for every line of the options' text and a line `SHA256 PATH` for every
# input. An input may be a file, or a directory: then its files count, without hidden ones and without subdirectories.

# Prints the SHA-256 of a file's bytes, or of the names and bytes of a directory's files.
_stamp_hash() {
  if [[ -d $1 ]]; then
    (cd "$1" && find . -maxdepth 1 \( -type f -o -type l \) ! -name '.*' -print0 | LC_ALL=C sort -z \
      | xargs -0 -r sha256sum --) | sha256sum | cut -d ' ' -f 1
  else
    sha256sum <"$1" | cut -d ' ' -f 1
  fi
}

# _stamp_text OPTIONS INPUT...: prints the stamp as it would be now; fails when an input is missing.
_stamp_text() {
  local options=$1 input line
  shift
  while IFS= read -r line; do printf 'option %s\n' "$line"; done <<<"$options"
  for input in "$@"; do
    if [[ ! -e $input ]]; then
      printf 'stamp: missing input %s\n' "$input"
      return 1
    fi
    line=$(_stamp_hash "$input") || return 1
    printf '%s %s\n' "$line" "$input"
  done
}

# stamp_current FILE OPTIONS INPUT...: true when FILE says that the result was made with these options and inputs.
stamp_current() {
  local file=$1 now
  shift
  [[ -f $file ]] || return 1
  now=$(_stamp_text "$@") || return 1
  [[ $now == "$(<"$file")" ]]
}

# stamp_difference FILE OPTIONS INPUT...: prints a line for every option and input that changed since FILE was written.
stamp_difference() {
  local file=$1 now
  shift
  if [[ ! -f $file ]]; then
    printf 'not made yet (no %s)\n' "$file"
    return
  fi
  now=$(_stamp_text "$@") || { printf '%s\n' "${now##*$'\n'}"; return; }
  diff "$file" <(printf '%s\n' "$now") \
    | sed -n -e 's/^< option /was: /p' -e 's/^> option /now: /p' -e 's/^> [0-9a-f]\{64\} /changed: /p' || true
}

# stamp_write FILE OPTIONS INPUT...: writes FILE under a temporary name and renames it.
stamp_write() {
  local file=$1 now
  shift
  if ! now=$(_stamp_text "$@"); then
    printf '%s\n' "${now##*$'\n'}" >&2
    return 1
  fi
  mkdir -p "$(dirname "$file")" && printf '%s\n' "$now" >"$file.tmp$$" && mv "$file.tmp$$" "$file"
}
