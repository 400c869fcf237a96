#!/usr/bin/env bash
# VoxCeleb: trained on VoxCeleb2 dev (5,994 speakers), tested on VoxCeleb1 with its published trial lists.
#
#   bash run.sh --voxceleb1 DIR --voxceleb2 DIR --musan DIR --rirs DIR
#   bash run.sh --stage 4 --macs-budget 100M           another budget from the supernet that is trained
#   bash run.sh --help                                 all options
#
# DIR is the wav layout: SPEAKER/SESSION/UTTERANCE.wav. Dev speakers, on which the search selects, are cut from
# VoxCeleb2; VoxCeleb1 is never looked at before stage 7. Space and training are the published ones.
#
# Stages: 0 data directories, 1 copies and features, 2 largest network, 3 progressive phases,
#         4 search, 5 derive, 6 embed, 7 score, 8 report.
set -euo pipefail
egs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

title="VoxCeleb"
prepare=prepare_voxceleb.sh
prepare_options=(voxceleb1 voxceleb2 musan rirs trials)
prepare_paths=(voxceleb1 voxceleb2 musan rirs)
prepare_help="\
  --voxceleb1 DIR       VoxCeleb1, wav layout (needed)
  --voxceleb2 DIR       VoxCeleb2 dev, wav layout (needed)
  --musan DIR           MUSAN
  --rirs DIR            RIRS_NOISES"
defaults() {
  expdir=exp/voxceleb
  default_macs_budget="204M 571M 1.45G"
  voxceleb1=
  voxceleb2=
  musan=
  rirs=
}
# shellcheck source=local/stages.sh
. "$egs/local/stages.sh"
