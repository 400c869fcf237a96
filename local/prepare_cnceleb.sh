#!/usr/bin/env bash
# Stage 0 of egs/cnceleb: CN-Celeb, and CN-Celeb2 where it is there, to data directories.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/prepare_cnceleb.sh --cnceleb DIR [--cnceleb2 DIR] [options] <data>
e.g.: local/prepare_cnceleb.sh --cnceleb /corpora/CN-Celeb_flac --cnceleb2 /corpora/CN-Celeb2_flac --nj 16 data

Leaves <data>/{train,dev,test}, <data>/test/{trials,enrol}_main, <data>/noise and <data>/split.tsv. Does nothing when
they are up to date. The folders can also be set in db.sh of the egs (cnceleb=DIR, ...); the command line wins.
Options:
  --cnceleb DIR          data/idNNNNN/GENRE-SESSION-NUMBER.flac, dev/dev.lst, eval/{enroll,test,lists} (needed)
  --cnceleb2 DIR         data/idNNNNN/GENRE-SESSION-NUMBER.flac, spk.lst: more training speakers [none]
  --enrolment NAME       files: those of enroll.map, averaged; concatenated: the one file of eval/enroll [files]
  --dev-speakers N       dev speakers cut from train [a tenth, 20 to 120]
  --allow-partial BOOL   go on without listed files that are not there [false]
  --musan DIR            MUSAN [synthetic noises]
  --rirs DIR             RIRS_NOISES [synthetic rooms]
  --nj N                 processes [1]
  --seed N               seed of every draw [0]
  --force BOOL           redo what is up to date [false]
  --cmd COMMAND          taken for the stages' common form; preparation runs where it is called"

# shellcheck disable=SC2034  # most are read through their names
{
  cnceleb=
  cnceleb2=
  enrolment=files
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
[ -n "$cnceleb" ] || fail "--cnceleb DIR is needed (--help)" 2

arguments=(--seed "$seed" --enrolment "$enrolment")
# shellcheck disable=SC2034  # read by prepare_data
inputs=() state=
add_folders tree_state cnceleb cnceleb2 musan rirs
add_values dev_speakers allow_partial
prepare_data prepare-cnceleb
