#!/usr/bin/env bash
# The numbered driver, stages 0 to 8; every egs/*/run.sh sources it after it has set, for its corpus:
#   egs               absolute folder of the egs
#   title             what the corpus is, for logs and for the report
#   prepare           the script of local/ that is stage 0
#   prepare_options   names of the options that only stage 0 takes (array; handed on to $prepare)
#   prepare_paths     those of them that are paths
#   prepare_help      their lines of the help text
#   defaults          a function that sets other defaults than those below
# Each stage is one script of local/ (or several calls of it); what it needs, what it leaves: run.sh --help.
set -euo pipefail

called_from=$PWD
arguments=("$@")

stage=0
stop_stage=100
nj=$(nproc)
num_ranks=1
seed=0
force=false
datadir=data
featdir=fbank
expdir=exp/main
fbank_config=conf/fbank.conf
augment_config=conf/augment.yaml
train_config=conf/train.yaml
space_config=conf/space.yaml
search_config=conf/search.yaml
default_macs_budget=
macs_budget=
params_budget=
latency_budget=
latency_table=
phase=
trials=()
defaults

help_message="Usage: bash $0 [options]
$title, from audio to EER and minDCF of the best subnets under given budgets.

Stages:
  0  corpus to data directories, trial lists, noise and room lists   -> $datadir/{train,dev,test}
  1  augmented copies of train, fbank of everything                  -> $datadir/*/feats.scp, $featdir
  2  train the largest network                                       -> $expdir/largest
  3  progressive phases: kernel, depth, width1, width2               -> $expdir/supernet
  4  search the best subnet under each budget                        -> $expdir/search/BUDGET/arch.txt
  5  derive each subnet (and the largest): batch norm re-estimated   -> $expdir/subnet/BUDGET/model.safetensors
  6  embeddings of test, dev and cohort                              -> $expdir/subnet/BUDGET/embeddings
  7  scores, EER, minDCF                                             -> $expdir/results.tsv
  8  report                                                          -> $expdir/report/report.md

Options (dashes or underscores; default in brackets):
  --stage N             first stage to run [$stage]
  --stop-stage N        last stage to run [the last]
  --nj N                parallel jobs of data, features, search and embedding [$nj]
  --num-ranks N         training processes [$num_ranks]; a resumed run needs the same number
  --seed N              seed of every draw [$seed]
  --force true          redo the stages that run even if their outputs are up to date [$force]
  --macs-budget LIST    multiply-accumulates at 3 s, one or several: \"204M 571M\" [$default_macs_budget]
  --params-budget LIST  parameters, one or several: \"500k 2M\"
  --latency-budget LIST milliseconds, one or several; needs --latency-table
  --latency-table FILE  latencies measured on the target
  --phase NAME          search the supernet as this phase left it [the last phase]
  --trials LIST         a trial list (repeatable): by file, stage 0 takes it in where the corpus leaves that to the user;
                        by name, stage 7 scores only the lists named [all of $datadir/test]
  --expdir DIR          models and results [$expdir]
  --datadir DIR         data directories [$datadir]
  --featdir DIR         features [$featdir]
  --fbank-config FILE   front end, Kaldi's syntax [$fbank_config]
  --augment-config FILE copies of the training data [$augment_config]
  --train-config FILE   training [$train_config]
  --space-config FILE   search space [$space_config]
  --search-config FILE  search [$search_config]
  --config FILE         options as a file, one 'name=value' per line; the command line wins
${prepare_help:+
Stage 0 of this corpus:
$prepare_help
}
Relative inputs are looked up where the command is typed, then in the egs folder; data, features and models are
written below the egs folder ($egs)."

option_defaults=$(declare -p fbank_config augment_config train_config space_config search_config)
# shellcheck source=utils/parse_options.sh
. "$egs/utils/parse_options.sh"
# shellcheck source=local/lib/driver.sh
. "$egs/local/lib/driver.sh"
[ $# -eq 0 ] || die "takes options only, found '$1' (bash $0 --help)" 2
check_options
resolve_paths
cd "$egs"
# shellcheck source=egs/mini/path.sh
. ./path.sh
# shellcheck source=egs/mini/cmd.sh
. ./cmd.sh
check_expdir
read_budgets
record_command

common=(--nj "$nj" --seed "$seed" --force "$force")
log "$title: stages $stage to $stop_stage, expdir $expdir, budgets: ${budgets[*]}, seed $seed, $nj jobs, $num_ranks ranks"

if begin 0 "corpus to data directories"; then
  run "local/$prepare" --cmd "$train_cmd" "${common[@]}" "${prepare_arguments[@]}" "$datadir"
fi

if begin 1 "copies and features"; then
  need 0 "$datadir/train/wav.scp"
  run local/make_features.sh --cmd "$train_cmd" "${common[@]}" --fbank-config "$fbank_config" \
    --augment-config "$augment_config" "$datadir" "$featdir"
fi

train=(local/train_phase.sh --cmd "$cuda_cmd" --num-ranks "$num_ranks" "${common[@]}" --train-config "$train_config"
  --space "$space_config")

if begin 2 "train the largest network"; then
  need 1 "$datadir/train_all/feats.scp"
  run "${train[@]}" largest "$datadir/train_all" "$expdir"
fi

if begin 3 "progressive phases"; then
  need 1 "$datadir/train_all/feats.scp"
  need 2 "$expdir/largest/supernet.safetensors"
  for name in kernel depth width1 width2; do
    run "${train[@]}" "$name" "$datadir/train_all" "$expdir"
  done
fi

if begin 4 "search"; then
  need 1 "$datadir/dev/feats.scp"
  need 3 "$supernet"
  run local/search.sh --cmd "$train_cmd" "${common[@]}" --search-config "$search_config" --phase "$phase" \
    --macs-budget "$macs_budget" --params-budget "$params_budget" --latency-budget "$latency_budget" \
    --latency-table "$latency_table" "$datadir" "$expdir"
fi

if begin 5 "derive subnets"; then
  need 3 "$supernet"
  for name in "${budgets[@]}"; do
    [ "$name" = largest ] || need 4 "$expdir/search/$name/arch.txt"
    run local/derive.sh --cmd "$train_cmd" "${common[@]}" --phase "$phase" "$datadir" "$expdir" "$name"
  done
fi

if begin 6 "embeddings"; then
  for name in "${budgets[@]}"; do
    need 5 "$expdir/subnet/$name/model.safetensors"
    run local/embed.sh --cmd "$train_cmd" "${common[@]}" "$datadir" "$expdir" "$name"
  done
fi

if begin 7 "scores"; then
  for name in "${budgets[@]}"; do
    need 6 "$expdir/subnet/$name/embeddings/test.scp"
    run local/score.sh --cmd "$train_cmd" "${common[@]}" "${trial_arguments[@]}" "$datadir" "$expdir" "$name"
  done
fi

if begin 8 "report"; then
  need 7 "$expdir/results.tsv"
  run local/report.sh --title "$title" "$datadir" "$expdir"
fi

finish
