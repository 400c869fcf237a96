#!/usr/bin/env bash
# The complete chain on a SYNTHETIC corpus: minutes on two CPU cores, no network, no recordings needed.
#
# Corpus: 120 espeak voices (80 train, 20 dev, 20 test), several sessions each (noise, room, rate), made on the spot
# in VoxCeleb's folder form, the same bytes on every run. Its numbers show that the chain works; they say nothing
# about real speech. Search space: widths 32 to 128 (conf/space.yaml).
#
# Stages: 0 corpus and data directories, 1 copies and features, 2 largest network, 3 progressive phases,
#         4 search, 5 derive, 6 embed, 7 score, 8 report.
#
#   bash run.sh                                 everything; ends with a table
#   bash run.sh --stage 4 --macs-budget 30M     another budget from the supernet that is trained
#   bash run.sh --help                          all options
set -euo pipefail
EGS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

TITLE="mini (synthetic speech)"
PREPARE=prepare_mini.sh
PREPARE_OPTIONS=()
PREPARE_PATHS=()
PREPARE_HELP=
defaults() {
  expdir=exp/mini
  nj=2
  num_ranks=2
  DEFAULT_MACS_BUDGET="20M 50M"
}
# shellcheck source=local/stages.sh
. "$EGS/local/stages.sh"
