#!/usr/bin/env bash
# CN-Celeb (OpenSLR 82): trained on CN-Celeb's dev speakers and CN-Celeb2, tested on CN-Celeb's evaluation part.
#
#   bash run.sh --cnceleb DIR --cnceleb2 DIR --musan DIR --rirs DIR
#   bash run.sh --stage 4 --macs-budget 100M           another budget from the supernet that is trained
#   bash run.sh --help                                 all options
#
# Stages: 0 data directories, 1 copies and features, 2 first phase of training, 3 the others,
#         4 search, 5 derive, 6 embed, 7 score, 8 export and report.
set -euo pipefail
EGS=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

TITLE="CN-Celeb"
PREPARE=prepare_cnceleb.sh
PREPARE_OPTIONS=(cnceleb cnceleb2 enrolment dev_speakers allow_partial musan rirs)
PREPARE_PATHS=(cnceleb cnceleb2 musan rirs)
PREPARE_HELP="\
  --cnceleb DIR         CN-Celeb: data, dev/dev.lst, eval (needed)
  --cnceleb2 DIR        CN-Celeb2: more training speakers [none]
  --enrolment NAME      files: those of enroll.map, averaged; concatenated: the one file of eval/enroll [files]
  --dev-speakers N      dev speakers cut from train [a tenth, 20 to 120]
  --allow-partial true  go on without listed files that are not there [false]
  --musan DIR           MUSAN [synthetic noises]
  --rirs DIR            RIRS_NOISES [synthetic rooms]"
# shellcheck disable=SC2034  # each is an option
defaults() {
  expdir=exp/cnceleb
  licence="CN-Celeb (OpenSLR 82): CC BY-SA 4.0"
  DEFAULT_MACS_BUDGET="204M 571M"
  cnceleb=
  cnceleb2=
  enrolment=
  dev_speakers=
  allow_partial=false
  musan=
  rirs=
}
# shellcheck source=local/stages.sh
. "$EGS/local/stages.sh"
