#!/usr/bin/env bash
# Stage 5: a subnet of its own, sliced from the supernet, with batch norm re-estimated on crops of the training data.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/derive.sh [options] <data> <expdir> <budget>
e.g.: local/derive.sh data exp/main 204M
Writes <expdir>/subnet/<budget>/model.safetensors from <expdir>/search/<budget>/arch.txt, or of the largest network when
<budget> is 'largest'. Does nothing when it is up to date.
Options:
  --phase NAME   take the supernet as this phase left it [the last]
  --crops N      training crops on which batch norm is measured, at most one per utterance [6000]
  --frames N     frames per crop [200]
  --finetune BOOL      train the subnet on, as section 'finetune' of the training configuration says [false]
  --train-config FILE  [conf/train.yaml]
  --stop-after MINUTES stop fine-tuning then, with a checkpoint and code 85; see local/train_phase.sh [never]
  --stage-to DIR       fine-tune from a copy of the features in this folder, see local/train_phase.sh [where they are]
  --num-ranks N        processes of fine-tuning [1]
  --device NAME  auto, cpu or cuda [auto]
  --cmd COMMAND  how the job is run [utils/run.pl]
  --nj N         taken for the stages' common form; this is one job [1]
  --seed N       seed of the crops [0]
  --override BOOL      go on with a fine-tuning that was begun with another configuration or number of ranks [false]
  --force BOOL   redo what is up to date [false]"

phase=
crops=6000
frames=200
finetune=false
train_config=conf/train.yaml
stage_to=
stop_after=
num_ranks=1
device=auto
cmd=utils/run.pl
# shellcheck disable=SC2034  # see --help
nj=1
seed=0
force=false
override=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

expect "<data> <expdir> <budget>" "$@"
data=$1 expdir=$2 budget=$3

dir=$expdir/subnet/$budget
model=$dir/model.safetensors
supernet=$expdir/${phase:-supernet}/supernet.safetensors
[ -f "$supernet" ] || fail "$supernet is missing; stages 2 and 3 (local/train_phase.sh) make it"
train=$(trained_on "$data")
need_features "$train"
mapfile -t features < <(feature_inputs "$train" "$data/train_noise")
inputs=("$supernet" "${features[@]}")
arch=largest
if [ "$budget" != largest ]; then
  arch=$expdir/search/$budget/arch.txt
  [ -f "$arch" ] || fail "$arch is missing; stage 4 (local/search.sh) makes it"
  inputs+=("$arch")
fi

options="derive crops=$crops frames=$frames seed=$seed"
derived=$model
derivation=("$options" "${inputs[@]}")
head=$(dirname "$supernet")/head.safetensors
if [ "$finetune" = true ]; then
  [ -f "$head" ] || fail "$head is missing; fine-tuning needs the head of the phase that the supernet comes from"
  [ -f "$train_config" ] || fail "$train_config is missing"
  options+=" finetune ranks=$num_ranks"
  inputs+=("$head" "$train_config" "$data/train_all/feats.scp")
  derived=$dir/derived.safetensors
fi
if [ "$force" = false ] && [ -f "$model" ] && stamp_current "$dir/.derive.stamp" "$options" "${inputs[@]}"; then
  echo "local/derive.sh: $model is up to date"
  exit 0
fi
# the model file also carries what stage 7 found out about it, so that stage has to write it again
rm -f "$dir/.derive.stamp" "$dir/.score.stamp"
mkdir -p "$dir/log"
# a fine-tuning goes on only from the bytes that it began with, which another machine might not make again
if [ "$finetune" = false ] || [ "$force" = true ] || [ ! -f "$derived" ] ||
  ! stamp_current "$dir/.derived.stamp" "${derivation[@]}"; then
  rm -f "$dir/.derived.stamp"
  $cmd "$dir/log/derive.log" python3 -m etdnn derive --supernet "$supernet" --arch "$arch" --data "$train" \
    --crops "$crops" --frames "$frames" --seed "$seed" --device "$device" --out "$derived"
  grep -F "$derived" "$dir/log/derive.log" | tail -n 1
fi
if [ "$finetune" = true ]; then
  stamp_write "$dir/.derived.stamp" "${derivation[@]}"
  launcher=(python3)
  [ "$num_ranks" -eq 1 ] || launcher=(utils/torchrun.sh --num-ranks "$num_ranks" python3)
  export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 # see local/train_phase.sh
  flags=()
  [ "$override" = false ] || flags+=(--override)
  [ -z "$stage_to" ] || flags+=(--stage-to "$stage_to")
  [ -z "$stop_after" ] || flags+=(--stop-after "$stop_after")
  [ "$force" = false ] || flags+=(--force)
  echo "local/derive.sh: fine-tuning; log: $dir/log/finetune.log"
  $cmd --grace-time 120 --num-threads "$num_ranks" "$dir/log/finetune.log" "${launcher[@]}" -m etdnn finetune --config "$train_config" \
    --model "$derived" --head "$head" --teacher "$supernet" --data "$data/train_all" --calibration "$train" --seed "$seed" \
    --device "$device" --out "$model" "${flags[@]}"
fi
stamp_write "$dir/.derive.stamp" "$options" "${inputs[@]}"
