#!/usr/bin/env bash
# Where jobs run. ETDNN_CMD=slurm, or another word in the next line, sends them to a Slurm cluster.
#   train_cmd     jobs of one CPU
#   cuda_cmd      one training, of as many ranks as --num-ranks
#   gpu_job_cmd   jobs of one GPU each, where there are GPUs
cmd_backend=${ETDNN_CMD:-local}
case $cmd_backend in
  local)
    train_cmd=utils/run.pl
    cuda_cmd=utils/run.pl
    gpu_job_cmd="utils/run.pl --gpu 1"
    ;;
  slurm)
    gpus=1
    [ "${device:-auto}" != cpu ] || gpus=0
    train_cmd="utils/slurm.pl --mem 4G"
    cuda_cmd="utils/slurm.pl --mem 32G --gpu $((gpus * ${num_ranks:-1}))"
    gpu_job_cmd="utils/slurm.pl --mem 8G --gpu $gpus"
    ;;
  *)
    echo "cmd.sh: error: '$cmd_backend' is neither local nor slurm" >&2
    exit 2
    ;;
esac
export train_cmd cuda_cmd gpu_job_cmd
