#!/usr/bin/env bash
# Stages 2 and 3: trains one phase of the supernet; started again, it goes on where it stopped.
# Ranks on one machine share the batch; on CPU, two ranks of one thread each are faster than two threads, and repeatable.
set -euo pipefail

cmd=utils/run.pl
num_ranks=1
num_nodes=1
rendezvous=
train_config=conf/train.yaml
space_config=conf/space.yaml
device=auto
stage_to=
seed=0
force=false
override=false
teacher_scp=
stop_after=
help_message="Usage: local/train_phase.sh [options] PHASE TRAIN-DATA EXPDIR
  e.g.: local/train_phase.sh --num-ranks 2 kernel data/train_all exp/paper
Trains PHASE (a name of the training configuration) from the phase before it; makes EXPDIR/PHASE/supernet.safetensors and
head.safetensors, and, after the configuration's last phase, EXPDIR/supernet, a link to it.
Told to stop (SIGTERM, SIGINT), the training has 110 s to write a checkpoint and end with code 85; the same call goes on
from there.
On Slurm, --requeue behind 'command sbatch' in conf/slurm.conf lets a preempted training queue again and do so by itself;
so does RequeueExit=85 of the cluster's configuration with one that ends with code 85.
Options:
  --cmd CMD              job runner (default: $cmd)
  --num-ranks N          processes that share a batch, per node (default: $num_ranks)
  --num-nodes N          nodes; above 1, CMD must start the training on each: utils/slurm.pl does (default: $num_nodes)
  --rendezvous HOST:PORT without Slurm: call this script on each node with this, a free port of one of them
  --train-config FILE    (default: $train_config)
  --space-config FILE    (default: $space_config)
  --device auto|cpu|cuda (default: $device)
  --stage-to DIR         copy the features to this folder, on a disc of the machine that trains, and read them there;
                         copies that are there are used again (default: read where they are)
  --teacher-scp FILE     embeddings of the training utterances by another model, for distillation.external (default: none)
  --stop-after MINUTES   then stop as after SIGTERM, with a checkpoint and code 85 (default: trained to the end)
  --seed N               (default: $seed)
  --override true|false  resume although the configuration or the number of ranks changed (default: $override)
  --force true|false     discard this phase and train it anew (default: $force)"
. utils/parse_options.sh
. local/lib/stage.sh

expect "PHASE TRAIN-DATA EXPDIR" "$@"
phase=$1 data=$2 expdir=$3

for file in "$train_config" "$space_config" "$data/feats.scp"; do
  [ -f "$file" ] || fail "$file is missing"
done

# the phase before, by the order of the configuration
previous=
found=false
while read -r name; do
  if [ "$name" = "$phase" ]; then found=true; break; fi
  previous=$name
done < <(python3 -m etdnn list-phases "$train_config")
$found || fail "$train_config has no phase '$phase'"
init=()
if [ -n "$previous" ]; then
  [ -f "$expdir/$previous/supernet.safetensors" ] ||
    fail "$expdir/$previous/supernet.safetensors is missing; train phase '$previous' first"
  init=(--init "$expdir/$previous")
fi

launcher=(python3)
if [ "$num_ranks" -gt 1 ] || [ "$num_nodes" -gt 1 ]; then
  launcher=(utils/torchrun.sh --num-ranks "$num_ranks" --num-nodes "$num_nodes" --rendezvous "$rendezvous" python3)
fi
options=(--config "$train_config" --space "$space_config" --phase "$phase" --data "$data" --out "$expdir/$phase"
  --seed "$seed" --device "$device" "${init[@]}")
[ -z "$teacher_scp" ] || options+=(--teacher-scp "$teacher_scp")
[ -z "$stage_to" ] || options+=(--stage-to "$stage_to")
[ -z "$stop_after" ] || options+=(--stop-after "$stop_after")
$override && options+=(--override)
$force && options+=(--force)

# glibc hands large blocks back to the system at every free; keeping them makes a training step on CPU up to 1.3x faster
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
[ "$num_nodes" -eq 1 ] || [ -n "$rendezvous" ] || cmd+=" --num-nodes $num_nodes"
log=$expdir/$phase/log/train.log
[ -z "$rendezvous" ] || log=$expdir/$phase/log/train.$(hostname -s).log
mkdir -p "$expdir/$phase/log"
echo "train_phase.sh: phase $phase of $expdir, $num_ranks rank(s) on each of $num_nodes node(s); log: $log"
# stopped, a training finishes its step and writes a checkpoint
$cmd --grace-time 120 --num-threads "$num_ranks" "$log" "${launcher[@]}" -m etdnn train "${options[@]}"
# only the last phase makes the supernet that stages 4 to 8 search
if [ "$phase" = "$(python3 -m etdnn list-phases "$train_config" | tail -n 1)" ]; then
  ln -sfn "$phase" "$expdir/.supernet.new"
  mv -fT "$expdir/.supernet.new" "$expdir/supernet"
fi
echo "train_phase.sh: made $expdir/$phase/supernet.safetensors"
