#!/usr/bin/env bash
# Stage 0 of egs/voxceleb: VoxCeleb1 and VoxCeleb2 as they lie on disk to data directories.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/prepare_voxceleb.sh --voxceleb1 DIR --voxceleb2 DIR [options] <data>
e.g.: local/prepare_voxceleb.sh --voxceleb1 /corpora/voxceleb1 --voxceleb2 /corpora/voxceleb2 \\
        --musan /corpora/musan --rirs /corpora/RIRS_NOISES --nj 16 data

Leaves <data>/{train,dev,test}, their trials, <data>/noise and <data>/split.tsv. Does nothing when they are up to date.
The folders can also be set in db.sh of the egs (voxceleb1=DIR, ...); the command line wins.
Options:
  --voxceleb1 DIR        [dev|test]/[wav]/idNNNNN/SESSION/NNNNN.wav (needed)
  --voxceleb2 DIR        [dev|test]/[wav|aac]/idNNNNN/SESSION/NNNNN.{wav,m4a} [train on VoxCeleb1, test on Vox1-O]
  --trials-dir DIR       folder of veri_test2.txt, list_test_all2.txt, list_test_hard2.txt [in VoxCeleb1's, or fetched]
  --trials FILE          a trial list instead of those; repeatable
  --meta-dir DIR         folder of vox1_meta.csv, vox2_meta.csv [in the corpora's]
  --m4a decode|pipe      decode m4a once, or at each reading [decode]
  --decoded DIR          where decoded m4a files go [<data>/decoded]
  --dev-speakers N       dev speakers cut from train where VoxCeleb2 has no test part [120]
  --allow-partial BOOL   go on with other counts than the releases' [false]
  --musan DIR            MUSAN [synthetic noises]
  --rirs DIR             RIRS_NOISES [synthetic rooms]
  --nj N                 processes [1]
  --seed N               seed of every draw [0]
  --force BOOL           redo what is up to date [false]
  --cmd COMMAND          taken for the stages' common form; preparation runs where it is called"

# shellcheck disable=SC2034  # most are read through their names
{
  voxceleb1=
  voxceleb2=
  trials_dir=
  trials=()
  meta_dir=
  m4a=decode
  decoded=
  dev_speakers=
  allow_partial=false
  musan=
  rirs=
  nj=1
  seed=0
  force=false
  cmd=
}
# shellcheck disable=SC1091  # the user's own
[ ! -f db.sh ] || . ./db.sh
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/prepare.sh

expect "<data>" "$@"
data=$1
[ -n "$voxceleb1" ] || fail "--voxceleb1 DIR is needed (--help)" 2

arguments=(--seed "$seed")
inputs=()
state=
add_folders tree_state voxceleb1 voxceleb2 musan rirs trials_dir meta_dir
for name in "${trials[@]}"; do
  [ -z "$name" ] || add_file --trials "$name"
done
add_values m4a decoded dev_speakers allow_partial
prepare_data prepare-voxceleb
