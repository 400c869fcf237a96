#!/usr/bin/env bash
# Stage 4: the best subnet of a trained supernet under each budget. Subnets are measured on the dev speakers only.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/search.sh [options] <data> <expdir>
e.g.: local/search.sh --nj 8 --macs-budget \"204M 571M\" data exp/main
Writes <expdir>/search/<budget>/{arch.txt,pareto.tsv,search.yaml,summary.txt}. Evaluations and predictor are kept in
<expdir>/search, so another budget of the same supernet is quick, and a run that was stopped goes on where it was.
<budget> is the budget as it is written, behind its kind if that is not MACs: 204M, params-500K, latency-8ms, memory-4MB.
Options:
  --macs-budget LIST     multiply-accumulates at 3 s, one or several: \"204M 571M\"
  --params-budget LIST   parameters: \"500K 2M\"
  --latency-budget LIST  with its unit: \"8ms\"; needs --latency-table
  --latency-table FILE   made by etdnn latency
  --memory-budget LIST   peak activation memory: \"4MB\"
  --phase NAME           search the supernet as this phase left it [the last]
  --search-config FILE   options of the search [conf/search.yaml]
  --device NAME          auto, cpu or cuda [auto]
  --cmd COMMAND          how jobs are run [utils/run.pl]
  --nj N                 parallel jobs that measure [4]
  --seed N               seed of sample, calibration crops and search [0]
  --force BOOL           search again where the result is up to date; measurements are kept [false]"

macs_budget=
params_budget=
latency_budget=
latency_table=
memory_budget=
phase=
search_config=conf/search.yaml
device=auto
cmd=utils/run.pl
nj=4
seed=0
force=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

expect "<data> <expdir>" "$@"
data=$1 expdir=$2

dir=$expdir/search
supernet=$expdir/${phase:-supernet}/supernet.safetensors
[ -f "$supernet" ] || fail "$supernet is missing; stages 2 and 3 (local/train_phase.sh) make it"
need_features "$(trained_on "$data")" "$data/dev"
mapfile -t features < <(feature_inputs "$(trained_on "$data")" "$data/train_noise" "$data/dev")
inputs=("$supernet" "$search_config" "${features[@]}")
for name in clean cross; do
  [ -f "$data/dev/trials_$name" ] || fail "$data/dev/trials_$name is missing; stage 0 makes it"
  inputs+=("$data/dev/trials_$name")
done
[ -z "$latency_table" ] || inputs+=("$latency_table")
[ -f "$search_config" ] || fail "$search_config: no such file (--search-config)"
# a configuration that does not serve is refused by the search itself
space=$(python3 -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1], encoding="utf-8")).get("space") or "")' \
  "$search_config" 2>/dev/null) || space=
[ ! -f "$space" ] || inputs+=("$space")

given=(--macs-budget="$macs_budget" --params-budget="$params_budget" --latency-budget="$latency_budget"
  --latency-table "$latency_table" --memory-budget="$memory_budget")
budgets=$(python3 -m etdnn budgets "${given[@]}")
[ -n "$budgets" ] || fail "no budget is given; e.g. --macs-budget 204M"
readarray -t budgets <<<"$budgets"
options="search seed=$seed"
current=true
stale=()
for name in "${budgets[@]}"; do
  if [ "$force" = true ] || [ ! -f "$dir/$name/arch.txt" ] ||
    ! stamp_current "$dir/$name/.stamp" "$options" "${inputs[@]}"; then
    current=false
    stale+=("$dir/$name/.stamp" "$dir/$name/arch.txt")
  else
    echo "local/search.sh: $dir/$name/arch.txt is up to date"
  fi
done
[ "$current" = false ] || exit 0

mkdir -p "$dir/log" "$dir/jobs"
plan=$dir/plan.txt
common=(--supernet "$supernet" --data "$data" --dir "$dir" --search-config "$search_config" --seed "$seed" --plan "$plan")

measured() { { cat "$dir"/jobs/evaluations.*.tsv 2>/dev/null || true; } | wc -l; }

# watch PID COUNT: a line with the time left every 15 s, until PID ends
watch() {
  local start=$SECONDS before now last=-1
  before=$(measured)
  while kill -0 "$1" 2>/dev/null; do
    sleep 1
    now=$(($(measured) - before))
    if [ $(((SECONDS - start) / 15)) -gt "$last" ] && [ "$now" -gt 0 ]; then
      last=$(((SECONDS - start) / 15))
      echo "local/search.sh: $now of $2 subnets measured, about $(((SECONDS - start) * ($2 - now) / now)) s left"
    fi
  done
}

round=0
while true; do
  round=$((round + 1))
  python3 -m etdnn search "${common[@]}" "${given[@]}" >"$dir/log/search.$round.log" || fail "see the line above"
  cat "$dir/log/search.$round.log"
  count=$(wc -l <"$plan")
  [ "$count" -gt 0 ] || break
  [ "$round" -gt 1 ] || rm -f "${stale[@]}" # not before the options are known to be good
  [ "$round" -le 100 ] || fail "$count subnets are still not measured after 100 rounds; see $dir/log"
  jobs=$((count < nj ? count : nj))
  $cmd "JOB=1:$jobs" "$dir/log/evaluate.$round.JOB.log" python3 -m etdnn evaluate-subnets "${common[@]}" \
    --job "JOB/$jobs" --device "$device" &
  runner=$!
  watch "$runner" "$count"
  wait "$runner" || fail "measuring failed; see $dir/log/evaluate.$round.*.log. What was measured is kept"
done
for name in "${budgets[@]}"; do
  stamp_write "$dir/$name/.stamp" "$options" "${inputs[@]}"
done
