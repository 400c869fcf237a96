#!/usr/bin/env bash
# The complete chain on a SYNTHETIC corpus: minutes on two CPU cores, no network, no recordings needed.
#
# Corpus: espeak-ng voices (160 train, 20 dev, 20 test), three sessions each (noise, room, microphone, style), made on
# the spot in VoxCeleb's folder form, the same bytes on every run. Its numbers show that the chain works; they say
# nothing about real speech. Search space: the published one scaled down by four (conf/space.yaml).
#
# Stages: 0 corpus and data directories, 1 copies and features, 2 first phase of training, 3 the others,
#         4 search, 5 derive, 6 embed, 7 score, 8 export and report.
#
#   bash run.sh                                 everything; ends with a table
#   bash run.sh --stage 4 --macs-budget 30M     another budget from the supernet that is trained
#   bash run.sh --help                          all options
set -euo pipefail
EGS=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

TITLE="mini (synthetic speech)"
PREPARE=prepare_mini.sh
PREPARE_OPTIONS=(corpus train_speakers dev_speakers test_speakers sessions utterances corpus_seed)
PREPARE_PATHS=()
PREPARE_HELP="\
  --corpus DIR          where the synthetic corpus is kept, below the egs folder [corpus]
  --train-speakers N    voices of train [160]
  --dev-speakers N      voices of dev [20]
  --test-speakers N     voices of test [20]
  --sessions N          sessions of each voice: room, noise, microphone, style [3]
  --utterances N        utterances of each session [4]
  --corpus-seed N       seed of the corpus; --seed leaves the corpus as it is [0]"
# shellcheck disable=SC2034  # each is an option
defaults() {
  expdir=exp/mini
  nj=2
  num_ranks=2
  calibration_crops=1000
  licence="synthetic speech: no recordings of people; voices of espeak-ng (GPL-3.0-or-later)"
  DEFAULT_MACS_BUDGET="20M 50M"
  corpus=corpus
  train_speakers=160
  dev_speakers=20
  test_speakers=20
  sessions=3
  utterances=4
  corpus_seed=0
}
# shellcheck source=local/stages.sh
. "$EGS/local/stages.sh"
