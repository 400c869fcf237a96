#!/usr/bin/env bash
# Starts the ranks of a training on this node, alone or together with those of other nodes.
set -euo pipefail

# shellcheck disable=SC2034  # printed by parse_options.sh
help_message="Usage: utils/torchrun.sh [options] python3 WORD...
e.g.: utils/torchrun.sh --num-ranks 8 python3 -m etdnn train ...
Runs 'python3 WORD...' in N processes under torchrun. On one node torchrun takes a free port. On several nodes this
script must be started on each: utils/slurm.pl --num-nodes M does so, and node and port of the rendezvous then follow
from Slurm's list of nodes and from the number of the job; without Slurm --rendezvous names them.
Options:
  --num-ranks N           processes per node, one per GPU [1]
  --num-nodes M           nodes [1]
  --rendezvous HOST:PORT  where the nodes meet: a free port of one of them [from Slurm]"

num_ranks=1
num_nodes=1
rendezvous=
# shellcheck source=utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
fail() { echo "torchrun.sh: error: $1" >&2; exit 1; }

if [ "${1-}" != python3 ] || [ $# -lt 2 ]; then fail "expected python3 WORD..., found '${1-nothing}' (--help)"; fi
shift
# seconds in which ranks told to stop may write a checkpoint (torchrun's 30 are few for a large network on CPU); below the
# grace time that local/train_phase.sh asks of the job runner
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-110}
if [ "$num_nodes" -eq 1 ]; then
  exec python3 -m etdnn.train.launch --standalone --nproc-per-node "$num_ranks" "$@"
fi
id=etdnn
if [ -z "$rendezvous" ]; then
  [ -n "${SLURM_JOB_NODELIST-}" ] ||
    fail "--num-nodes $num_nodes: this is no Slurm job with nodes; --rendezvous HOST:PORT says where they meet"
  mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  [ ${#hosts[@]} -eq "$num_nodes" ] || fail "--num-nodes $num_nodes, but the job has the ${#hosts[@]} nodes ${hosts[*]}"
  # a port that other jobs do not take, below those that the system hands out; another one after a requeue
  rendezvous=${hosts[0]}:$((10000 + (SLURM_JOB_ID + ${SLURM_RESTART_COUNT:-0}) % 20000))
  id=$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
fi
exec python3 -m etdnn.train.launch --nnodes "$num_nodes" --nproc-per-node "$num_ranks" --rdzv-backend c10d \
  --rdzv-id "$id" --rdzv-endpoint "$rendezvous" "$@"
