#!/usr/bin/env bash
# Stage 8: the report of an experiment, from what the stages before left.
set -euo pipefail

title=
published=false
help_message="Usage: local/report.sh [options] <data-dir> <exp-dir>
Writes <exp-dir>/report/{report.md,RESULTS.md,report.html} (results, data, searches, commands and configurations) and prints the
results.
Options:
  --title TEXT   what the corpus is; stands over every table [name of <exp-dir>]
  --published B  mark the published subnets, for VoxCeleb only [false]"
. utils/parse_options.sh
. local/lib/stage.sh
expect "<data-dir> <exp-dir>" "$@"
data=$1
expdir=$2
[ -e "$expdir/results.tsv" ] || fail "$expdir/results.tsv is missing; stage 7 (local/score.sh) makes it"
options=()
[ "$published" = false ] || options=(--published)
python3 -m etdnn report "${options[@]}" --title "$title" "$data" "$expdir"
