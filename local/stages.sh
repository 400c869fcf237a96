#!/usr/bin/env bash
# The numbered driver, stages 0 to 8; every egs/*/run.sh sources it after it has set, for its corpus:
#   EGS               absolute folder of the egs
#   TITLE             what the corpus is, for logs and for the report
#   PREPARE           the script of local/ that is stage 0
#   PREPARE_OPTIONS   names of the options that stage 0 takes besides the common ones (array)
#   PREPARE_PATHS     those of them that are paths
#   PREPARE_HELP      their lines of the help text
#   REPORT_OPTIONS    options of local/report.sh (array; may be left out)
#   defaults          a function that sets other defaults than those below
# Each stage is one script of local/ (or several calls of it); what it needs, what it leaves: run.sh --help.
# Lower-case variables are options (utils/parse_options.sh), the driver's own are upper-case.
set -euo pipefail

CALLED_FROM=$PWD
ARGUMENTS=("$@")

stage=0
stop_stage=100
nj=$(nproc)
num_ranks=1
num_nodes=1
seed=0
device=auto
stage_to=
stop_after=
force=false
override=false
teacher_scp=
datadir=data
featdir=fbank
expdir=exp/main
fbank_config=conf/fbank.conf
vad=false
augment_config=conf/augment.yaml
train_config=conf/train.yaml
space_config=conf/space.yaml
search_config=conf/search.yaml
DEFAULT_MACS_BUDGET=
macs_budget=
params_budget=
latency_budget=
latency_table=
memory_budget=
phase=
subnets=
calibration_crops=6000
finetune=false
qmf=false
licence=
trials=()
defaults

help_message="Usage: bash $0 [options]
$TITLE, from audio to EER and minDCF of the best subnets under given budgets.

Stages:
  0  corpus to data directories, trial lists, noise and room lists   -> $datadir/{train,dev,test}
  1  augmented copies of train, fbank of everything                  -> $datadir/*/feats.scp, $featdir
  2  train the first phase (the largest network, as published)       -> $expdir/PHASE
  3  the other phases (kernel, depth, width1, width2, as published)  -> $expdir/supernet
  4  search the best subnet under each budget                        -> $expdir/search/BUDGET/arch.txt
  5  derive each subnet (and the largest): batch norm re-estimated   -> $expdir/subnet/BUDGET/model.safetensors
  6  embeddings of test, dev and cohort                              -> $expdir/subnet/BUDGET/embeddings
  7  scores, EER, minDCF                                             -> $expdir/results.tsv
  8  export of each subnet (ONNX, model card), report                -> $expdir/subnet/BUDGET/export, $expdir/report

Options (dashes or underscores; default in brackets):
  --stage N             first stage to run [$stage]
  --stop-stage N        last stage to run [the last]
  --nj N                parallel jobs of data, features, search and embedding [$nj]
  --num-ranks N         training processes, on each node [$num_ranks]; a resumed run needs the same number
  --num-nodes N         nodes of training, above 1 with Slurm only [$num_nodes]
  --seed N              seed of every draw [$seed]
  --device NAME         cpu, cuda or auto [$device]
  --stage-to DIR        train from a copy of the features in this folder, on a disc of the machine that trains [where
                        stage 1 wrote them]
  --stop-after MINUTES  stop each training (phase, fine-tuning) that takes longer, with a checkpoint and code 85; the same
                        command goes on from there [never]
  --force true          redo the stages that run even if their outputs are up to date [$force]
  --override true       go on with a training that was begun with another configuration, data or number of ranks [$override]
  --teacher-scp FILE    embeddings of the training utterances by another model, for distillation.external of a phase
  --macs-budget LIST    multiply-accumulates at 3 s, one or several: \"204M 571M\" [$DEFAULT_MACS_BUDGET]
  --params-budget LIST  parameters, one or several: \"500k 2M\"
  --latency-budget LIST with its unit, one or several: \"8ms\"; needs --latency-table
  --latency-table FILE  latencies measured on the target (etdnn latency)
  --memory-budget LIST  peak activation memory of 3 s, one or several: \"4MB\"
  --phase NAME          search the supernet as this phase left it [the last phase]
  --subnets LIST        stages 6 to 8: these folders of $expdir/subnet (local/import.sh makes some), not the budgets
  --calibration-crops N training crops on which stage 5 measures batch norm, at most one per utterance [$calibration_crops]
  --finetune true       train each derived subnet on, as section finetune of the training configuration says [$finetune]
  --trials LIST         a trial list (repeatable): by file, stage 0 takes it in where the corpus leaves that to the user;
                        by name, stage 7 scores only the lists named [all of $datadir/test]
  --qmf true            score every back-end also with the durations of both sides, fitted on dev: NAME+qmf [$qmf]
  --licence TEXT        licence of the corpus, for the model cards [${licence:-not stated}]
  --expdir DIR          models and results [$expdir]
  --datadir DIR         data directories [$datadir]
  --featdir DIR         features [$featdir]
  --fbank-config FILE   front end, Kaldi's syntax [$fbank_config]
  --vad true            stage 1 keeps voiced frames only, by energy as Kaldi's compute-vad, and models trained on them do so
                        with what they are given [$vad: as the front end says]
  --augment-config FILE copies of the training data [$augment_config]
  --train-config FILE   training [$train_config]
  --space-config FILE   search space [$space_config]
  --search-config FILE  search [$search_config]
  --config FILE         options as a file, one 'name=value' per line; the command line wins
${PREPARE_HELP:+
Stage 0 of this corpus:
$PREPARE_HELP
}
Relative inputs are looked up where the command is typed, then in the egs folder; data, features and models are
written below the egs folder ($EGS)."

OPTION_DEFAULTS=$(declare -p fbank_config augment_config train_config space_config search_config)
# shellcheck source=utils/parse_options.sh
. "$EGS/utils/parse_options.sh"
# shellcheck source=local/lib/driver.sh
. "$EGS/local/lib/driver.sh"
[ $# -eq 0 ] || die "takes options only, found '$1' (bash $0 --help)" 2
check_options
resolve_paths
cd "$EGS"
# shellcheck source=egs/mini/path.sh
. ./path.sh
# shellcheck source=egs/mini/cmd.sh
. ./cmd.sh
check_expdir
read_phases
read_budgets
find_supernet
trap interrupted INT
hold "$expdir"
record_command

COMMON=(--nj "$nj" --seed "$seed" --force "$force")
log "$TITLE: stages $stage to $stop_stage, expdir $expdir, budgets: ${BUDGETS[*]}, seed $seed, $nj jobs, $num_ranks ranks"

if [ "$stage" -le 1 ]; then
  hold "$datadir"
fi

if begin 0 "corpus to data directories"; then
  run "local/$PREPARE" --cmd "$train_cmd" "${COMMON[@]}" "${PREPARE_ARGUMENTS[@]}" "$datadir"
fi

if begin 1 "copies and features"; then
  need 0 "$datadir/train/wav.scp"
  run local/make_features.sh --cmd "$train_cmd" "${COMMON[@]}" --fbank-config "$fbank_config" --vad "$vad" \
    --augment-config "$augment_config" "$datadir" "$featdir"
fi

if [ "$stage" -le 1 ] && [ -n "${HELD:-}" ]; then
  exec {HELD}>&- # others may train on this data
fi

TRAIN=(local/train_phase.sh --cmd "$cuda_cmd" --num-ranks "$num_ranks" --num-nodes "$num_nodes" --seed "$seed"
  --teacher-scp "$teacher_scp" --force "$force" --override "$override" --device "$device" --stage-to "$stage_to" --stop-after "$stop_after"
  --train-config "$train_config" --space-config "$space_config")

if begin 2 "first phase of training"; then
  need 1 "$datadir/train_all/feats.scp"
  run "${TRAIN[@]}" "${PHASES[0]}" "$datadir/train_all" "$expdir"
fi

if begin 3 "other phases of training"; then
  need 1 "$datadir/train_all/feats.scp"
  need 2 "$expdir/${PHASES[0]}/supernet.safetensors"
  [ "${#PHASES[@]}" -gt 1 ] || log "nothing to do: ${PHASES[0]} is the only phase of $train_config"
  for name in "${PHASES[@]:1}"; do
    run "${TRAIN[@]}" "$name" "$datadir/train_all" "$expdir"
  done
fi

if begin 4 "search"; then
  need 1 "$datadir/dev/feats.scp"
  need 3 "$SUPERNET"
  run local/search.sh --cmd "$gpu_job_cmd" "${COMMON[@]}" --device "$device" --search-config "$search_config" --phase "$phase" \
    --macs-budget "$macs_budget" --params-budget "$params_budget" --latency-budget "$latency_budget" \
    --latency-table "$latency_table" --memory-budget "$memory_budget" "$datadir" "$expdir"
fi

if begin 5 "derive subnets"; then
  need 3 "$SUPERNET"
  DERIVE_CMD=$gpu_job_cmd
  [ "$finetune" = false ] || DERIVE_CMD=$cuda_cmd # a training of --num-ranks ranks, each on a GPU of its own
  for name in "${BUDGETS[@]}"; do
    [ "$name" = largest ] || need 4 "$expdir/search/$name/arch.txt"
    run local/derive.sh --cmd "$DERIVE_CMD" "${COMMON[@]}" --device "$device" --phase "$phase" \
      --crops "$calibration_crops" --finetune "$finetune" --train-config "$train_config" --num-ranks "$num_ranks" \
      --override "$override" --stage-to "$stage_to" --stop-after "$stop_after" "$datadir" "$expdir" "$name"
  done
fi

if begin 6 "embeddings"; then
  for name in "${BUDGETS[@]}"; do
    need 5 "$expdir/subnet/$name/model.safetensors"
    run local/embed.sh --cmd "$gpu_job_cmd" "${COMMON[@]}" --device "$device" "$datadir" "$expdir" "$name"
  done
fi

if begin 7 "scores"; then
  for name in "${BUDGETS[@]}"; do
    need 6 "$expdir/subnet/$name/embeddings/test.scp"
    run local/score.sh --cmd "$train_cmd" "${COMMON[@]}" --qmf "$qmf" "${TRIAL_ARGUMENTS[@]}" "$datadir" "$expdir" "$name"
  done
fi

if begin 8 "export and report"; then
  need 7 "$expdir/results.tsv"
  for name in "${BUDGETS[@]}"; do
    need 5 "$expdir/subnet/$name/model.safetensors"
    run local/export.sh --cmd "$train_cmd" "${COMMON[@]}" --title "$TITLE" --licence "$licence" "$datadir" "$expdir" "$name"
  done
  run local/report.sh ${REPORT_OPTIONS[@]+"${REPORT_OPTIONS[@]}"} --title "$TITLE" "$datadir" "$expdir"
fi

finish
