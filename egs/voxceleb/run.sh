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
# Stages: 0 data directories, 1 copies and features, 2 first phase of training, 3 the others,
#         4 search, 5 derive, 6 embed, 7 score, 8 export and report.
set -euo pipefail
EGS=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

TITLE="VoxCeleb"
PREPARE=prepare_voxceleb.sh
PREPARE_OPTIONS=(voxceleb1 voxceleb2 trials trials_dir meta_dir m4a decoded dev_speakers allow_partial musan rirs)
PREPARE_PATHS=(voxceleb1 voxceleb2 trials_dir meta_dir decoded musan rirs)
PREPARE_HELP="\
  --voxceleb1 DIR       VoxCeleb1: [dev|test]/[wav]/SPEAKER/SESSION/UTTERANCE.wav (needed)
  --voxceleb2 DIR       VoxCeleb2, wav or m4a [train on VoxCeleb1, test on Vox1-O]
  --trials-dir DIR      folder of the published lists [in VoxCeleb1's, or fetched]
  --meta-dir DIR        folder of vox1_meta.csv, vox2_meta.csv [in the corpora's]
  --m4a decode|pipe     decode m4a once, or at each reading [decode]
  --decoded DIR         where decoded m4a files go [below the data directories]
  --dev-speakers N      dev speakers cut from train where VoxCeleb2 has no test part [120]
  --allow-partial true  go on with other counts than the releases' [false]
  --musan DIR           MUSAN [synthetic noises]
  --rirs DIR            RIRS_NOISES [synthetic rooms]"
REPORT_OPTIONS=(--published true)
# shellcheck disable=SC2034  # each is an option
defaults() {
  expdir=exp/voxceleb
  licence="VoxCeleb: CC BY 4.0 for the annotations; the recordings belong to the owners of the videos"
  DEFAULT_MACS_BUDGET="204M 571M 1.45G"
  voxceleb1=
  voxceleb2=
  trials_dir=
  meta_dir=
  m4a=decode
  decoded=
  dev_speakers=
  allow_partial=false
  musan=
  rirs=
}
# shellcheck source=local/stages.sh
. "$EGS/local/stages.sh"
