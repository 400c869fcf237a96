#!/usr/bin/env bash
# Where jobs run. ETDNN_CMD=slurm (or a change of the next line) sends them to a Slurm cluster.
cmd_backend=${ETDNN_CMD:-local}
case $cmd_backend in
  local)
    train_cmd=utils/run.pl
    cuda_cmd=utils/run.pl
    ;;
  slurm)
    train_cmd="utils/slurm.pl --mem 4G"
    cuda_cmd="utils/slurm.pl --mem 16G --gpu 1"
    ;;
  *)
    echo "cmd.sh: error: '$cmd_backend' is neither local nor slurm" >&2
    exit 2
    ;;
esac
export train_cmd cuda_cmd
