# shellcheck shell=bash
# Functions that the scripts of stage 0 share; to be sourced from an egs folder.
# shellcheck disable=SC2154  # data, force and nj are the scripts' own
# shellcheck source=local/lib/stage.sh
. local/lib/stage.sh

# folder_state DIR: a hash of the names, sizes and times of all files below DIR; what they hold is not read
folder_state() {
  [ -d "$1" ] || fail "$1: no such folder"
  find -L "$1" -type f -printf '%P\t%s\t%T@\n' | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1
}

# tree_state DIR: the same of the folders alone, for corpora of a million files: a file that comes or goes shows there;
# and of the files of the upper two levels, where lists lie that may be edited in place
tree_state() {
  [ -d "$1" ] || fail "$1: no such folder"
  {
    find -L "$1" -type d -printf '%P\t%T@\n'
    find -L "$1" -maxdepth 2 -type f -printf '%P\t%s\t%T@\n'
  } | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1
}

# sets_complete DATA: true when DATA has the three sets and the noise lists
sets_complete() {
  [ -f "$1/train/wav.scp" ] && [ -f "$1/dev/wav.scp" ] && [ -f "$1/test/wav.scp" ] && [ -d "$1/noise/train" ]
}

# The next functions fill, for `prepare_data`: arguments, the worker's options; inputs, files whose bytes count; state, a
# line for each folder whose contents count.

# add_folders LOOK NAME...: the options NAME that are given, each a folder whose state is that which LOOK prints
add_folders() {
  local look=$1 name
  shift
  for name in "$@"; do
    [ -n "${!name}" ] || continue
    arguments+=("--${name//_/-}" "${!name}")
    state+=$'\n'"$name ${!name} $("$look" "${!name}")"
  done
}

# add_file OPTION FILE: an option that names a file
add_file() {
  [ -f "$2" ] || fail "$1 $2: no such file"
  arguments+=("$1" "$2")
  inputs+=("$2")
}

# add_values NAME...: the options NAME that are given; true stands for the option alone, false for none
add_values() {
  local name
  for name in "$@"; do
    case ${!name} in
      "" | false) ;;
      true) arguments+=("--${name//_/-}") ;;
      *) arguments+=("--${name//_/-}" "${!name}") ;;
    esac
  done
}

# prepare_data COMMAND [WORD...]: runs the worker for $data unless options and inputs are those of the last time; then
# Kaldi's checks on each set
prepare_data() {
  local command=$1 stamp=$data/.prepare.stamp options name
  shift
  options="$command ${arguments[*]}"$'\n'"${state#$'\n'}"
  if [ "$force" = false ] && sets_complete "$data" && stamp_current "$stamp" "$options" "${inputs[@]}"; then
    echo "$0: $data is up to date"
    return
  fi
  rm -f "$stamp"
  python3 -m etdnn "$command" "${arguments[@]}" --nj "$nj" "$@" "$data"
  for name in train dev test; do
    utils/validate_data_dir.sh --no-feats --no-text "$data/$name"
  done
  stamp_write "$stamp" "$options" "${inputs[@]}"
}
