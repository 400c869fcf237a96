#!/usr/bin/env bash
# Your own recordings: any folder of the form SPEAKER/SESSION/UTTERANCE.{wav,flac,ogg,mp3,m4a}.
#
#   bash run.sh --corpus FOLDER                        speakers are split into train, dev and test; trials are made
#   bash run.sh --corpus FOLDER --split speakers.tsv --trials trials.txt --musan MUSAN --rirs RIRS
#   bash run.sh --stage 4 --macs-budget 20M            another budget from the supernet that is trained
#   bash run.sh --help                                 all options
#
# Dev speakers are in neither train nor test; they get a clean and a cross list (other rooms and noises than in
# training), on which the search selects. Without --musan and --rirs, synthetic noises and rooms are used.
#
# Stages: 0 data directories, 1 copies and features, 2 first phase of training, 3 the others,
#         4 search, 5 derive, 6 embed, 7 score, 8 export and report.
set -euo pipefail
EGS=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

TITLE="own recordings"
PREPARE=prepare_own.sh
PREPARE_OPTIONS=(corpus segments split trials enrol dev_speakers test_speakers musan rirs min_seconds allow_missing)
PREPARE_PATHS=(corpus segments split enrol musan rirs)
PREPARE_HELP="\
  --corpus DIR          folder SPEAKER/SESSION/UTTERANCE.{wav,flac,ogg,mp3,m4a} (needed)
  --segments FILE       lines 'FILE START END [NAME]' in seconds: parts of files that are the utterances [whole files]
  --split FILE          table with columns id, set (train, dev, test), maybe gender, age_group [drawn]
  --dev-speakers N      speakers cut from train for dev [a tenth, 20 to 120]
  --enrol FILE          names enrolled with several files, lines 'NAME FILE...': enrol_x.txt goes with trials_x.txt
  --test-speakers N     test speakers without --split and --trials [a tenth, 20 to 120]
  --musan DIR           noises in MUSAN's form: noise, music, speech [synthetic noises]
  --rirs DIR            room impulse responses [synthetic rooms]
  --min-seconds S       shorter files are listed and skipped [0.3]
  --allow-missing true  drop trials whose audio is not there [false]"
# shellcheck disable=SC2034  # each is an option
defaults() {
  expdir=exp/own
  nj=2
  num_ranks=2
  DEFAULT_MACS_BUDGET="45M 90M"
  corpus=
  segments=
  split=
  enrol=()
  dev_speakers=
  test_speakers=
  musan=
  rirs=
  min_seconds=0.3
  allow_missing=false
}
# shellcheck source=local/stages.sh
. "$EGS/local/stages.sh"
