# shellcheck shell=bash
# Functions that the scripts of stage 0 share; to be sourced from an egs folder.
# shellcheck source=local/lib/stage.sh
. local/lib/stage.sh

# folder_state DIR: a hash of the names, sizes and times of all files below DIR; what they hold is not read
folder_state() {
  [ -d "$1" ] || fail "$1: no such folder"
  find -L "$1" -type f -printf '%P\t%s\t%T@\n' | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1
}

# tree_state DIR: the same of the folders alone, for corpora of a million files: a file that comes or goes shows there
tree_state() {
  [ -d "$1" ] || fail "$1: no such folder"
  find -L "$1" -type d -printf '%P\t%T@\n' | LC_ALL=C sort | sha256sum | cut -d ' ' -f 1
}

# sets_complete DATA: true when DATA has the three sets and the noise lists
sets_complete() {
  [ -f "$1/train/wav.scp" ] && [ -f "$1/dev/wav.scp" ] && [ -f "$1/test/wav.scp" ] && [ -d "$1/noise/train" ]
}

# validate_sets DATA: Kaldi's checks on each set
validate_sets() {
  local name
  for name in train dev test; do
    utils/validate_data_dir.sh --no-feats --no-text "$1/$name"
  done
}
