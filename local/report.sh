#!/usr/bin/env bash
# Stage 8: the report of an experiment, from what the stages before left.
set -euo pipefail

title=
published=false
help_message="Usage: local/report.sh [options] <data-dir> <exp-dir>
Writes <exp-dir>/report/{report.md,report.html} (results, data, searches, commands and configurations) and prints the
results.
Options:
  --title TEXT   what the corpus is; stands over every table [name of <exp-dir>]
  --published B  mark the published subnets, for VoxCeleb only [false]"
. utils/parse_options.sh
if [ $# -ne 2 ]; then
  echo "$help_message" >&2
  exit 2
fi
data=$1
expdir=$2
if [ ! -e "$expdir/results.tsv" ]; then
  echo "local/report.sh: error: $expdir/results.tsv is missing; stage 7 (local/score.sh) makes it" >&2
  exit 1
fi
options=()
[ "$published" = false ] || options=(--published)
python3 -m etdnn report "${options[@]}" --title "$title" "$data" "$expdir"
