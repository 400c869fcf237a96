#!/usr/bin/env bash
# Stage 7: scores of the test lists, EER and minDCF with intervals; calibration and thresholds from dev.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/score.sh [options] <data> <expdir> <budget>
e.g.: local/score.sh --trials cross data exp/main 204M
Writes <expdir>/subnet/<budget>/scores/ (scores in Kaldi's form, calibrated ones, DET points, thresholds.json,
metrics.json) and this budget's rows of <expdir>/results.tsv. Does nothing when they are up to date.
Options:
  --trials NAME       a list of <data>/test, file trials_NAME; repeatable [all]
  --backends LIST     of cosine, mean, asnorm, mean-asnorm [cosine mean asnorm]
  --top-n N           cohort scores of AS-norm, clamped to the cohort [300]
  --cohort-means BOOL the cohort is the means of its speakers [false]
  --prior P           target prior of the calibration [0.01]
  --qmf BOOL          also every back-end with the durations of both sides in its score, fitted on dev: NAME+qmf [false]
  --replicates N      bootstrap draws over speakers for the intervals; 0: none [1000]
  --allow-missing BOOL leave out trials without embeddings [false]
  --cmd COMMAND       how the job is run [utils/run.pl]
  --nj N              taken for the stages' common form; this is one job [1]
  --seed N            seed of the bootstrap [0]
  --force BOOL        redo what is up to date [false]"

trials=()
backends="cosine mean asnorm"
top_n=300
cohort_means=false
prior=0.01
qmf=false
replicates=1000
allow_missing=false
cmd=utils/run.pl
# shellcheck disable=SC2034  # see --help
nj=1
seed=0
force=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

expect "<data> <expdir> <budget>" "$@"
data=$1 expdir=$2 budget=$3

dir=$expdir/subnet/$budget
out=$dir/scores
[ -f "$dir/.embed.stamp" ] || fail "$dir/embeddings is missing or unfinished; stage 6 (local/embed.sh) makes it"
inputs=("$dir/.derive.stamp" "$dir/.embed.stamp")
shopt -s nullglob
for name in test dev; do
  lists=("$data/$name"/trials_*)
  [ ${#lists[@]} -gt 0 ] || fail "$data/$name has no trials_NAME; stage 0 makes trial lists"
  inputs+=("${lists[@]}" "$data/$name"/enrol_* "$data/$name/utt2spk")
done
[ "$cohort_means" = false ] || inputs+=("$data/train/utt2spk")

arguments=(--backends "$backends" --top-n "$top_n" --prior "$prior" --replicates "$replicates" --seed "$seed")
for name in "${trials[@]}"; do
  [ -z "$name" ] || arguments+=(--trials "$name")
done
if [ "$qmf" = true ]; then
  arguments+=(--qmf)
  inputs+=("$data"/{dev,test}/utt2du[r] "$data"/{dev,test}/segment[s]) # those that are there
fi
[ "$cohort_means" = false ] || arguments+=(--cohort-means)
[ "$allow_missing" = false ] || arguments+=(--allow-missing)

options="score ${arguments[*]}"
if [ "$force" = false ] && [ -f "$out/metrics.json" ] && [ -f "$expdir/results.tsv" ] &&
  grep -q "^$budget"$'\t' "$expdir/results.tsv" && stamp_current "$dir/.score.stamp" "$options" "${inputs[@]}"; then
  echo "local/score.sh: $out and $expdir/results.tsv are up to date"
  exit 0
fi
rm -f "$dir/.score.stamp"
mkdir -p "$dir/log"
$cmd "$dir/log/score.log" python3 -m etdnn score --model "$dir/model.safetensors" --budget "$budget" \
  --test "$data/test" --dev "$data/dev" --train "$data/train" --embeddings "$dir/embeddings" --out "$out" \
  --results "$expdir/results.tsv" "${arguments[@]}"
sed -n -e '/^budget /,/^convention:/p' "$dir/log/score.log"
stamp_write "$dir/.score.stamp" "$options" "${inputs[@]}"
