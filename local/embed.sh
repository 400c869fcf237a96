#!/usr/bin/env bash
# Stage 6: embeddings of the test and dev utterances and of a cohort drawn from the training data.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/embed.sh [options] <data> <expdir> <budget>
e.g.: local/embed.sh --nj 8 data exp/main 204M
Writes <expdir>/subnet/<budget>/embeddings/{test,dev,cohort}.scp and their arks. Finished jobs are kept when it is
started again; does nothing when all is up to date.
Options:
  --cohort KIND      cohort of 'utterances', or of several utterances of each of the 'speakers' for means [utterances]
  --cohort-size N    utterances of the cohort, or of each speaker [6000]
  --device NAME      auto, cpu or cuda [auto]
  --cmd COMMAND      how jobs are run [utils/run.pl]
  --nj N             parallel jobs [4]
  --seed N           seed of the cohort [0]
  --force BOOL       redo what is up to date [false]"

cohort=utterances
cohort_size=6000
device=auto
cmd=utils/run.pl
nj=4
seed=0
force=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

expect "<data> <expdir> <budget>" "$@"
data=$1 expdir=$2 budget=$3

dir=$expdir/subnet/$budget
out=$dir/embeddings
[ -f "$dir/.derive.stamp" ] || fail "$dir/model.safetensors is missing or unfinished; stage 5 (local/derive.sh) makes it"
need_features "$data/test" "$data/dev" "$data/train"
mapfile -t features < <(feature_inputs "$data/test" "$data/dev" "$data/train")
inputs=("$dir/.derive.stamp" "${features[@]}")

options="embed cohort=$cohort cohort_size=$cohort_size seed=$seed"
if [ "$force" = false ] && [ -f "$out/test.scp" ] && [ -f "$out/dev.scp" ] && [ -f "$out/cohort.scp" ] &&
  stamp_current "$dir/.embed.stamp" "$options" "${inputs[@]}"; then
  echo "local/embed.sh: $out is up to date"
  exit 0
fi
rm -f "$dir/.embed.stamp"
mkdir -p "$out/log"

# embed NAME SET [OPTION...]: embeddings NAME of the utterances of data directory SET, in parallel jobs
embed() {
  local name=$1 set=$2 jobs=$nj count
  shift 2
  count=$(wc -l <"$set/feats.scp")
  if [ "$count" -lt "$jobs" ]; then
    echo "local/embed.sh: $set has $count utterances, so $count jobs"
    jobs=$count
  fi
  [ "$force" = false ] || set -- "$@" --force
  $cmd "JOB=1:$jobs" "$out/log/$name.JOB.log" python3 -m etdnn extract --model "$dir/model.safetensors" \
    --data "$set" --out "$out/$name" --job "JOB/$jobs" --seed "$seed" --device "$device" "$@"
  python3 -m etdnn extract --out "$out/$name" --join "$jobs"
}

embed test "$data/test"
embed dev "$data/dev"
embed cohort "$data/train" --cohort "$cohort" --cohort-size "$cohort_size"
stamp_write "$dir/.embed.stamp" "$options" "${inputs[@]}"
