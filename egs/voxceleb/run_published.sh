#!/usr/bin/env bash
# The authors' released weights on Vox1-O: what they published beside what this repository measures.
set -euo pipefail
CALLED_FROM=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

dir=exp/published
help_message="Usage: bash run_published.sh --voxceleb1 DIR --weights DIR [options]
Scores the published Base, Mobile and Small on Vox1-O and compares with the published EER: plain cosine within 0.03
points, and, with --voxceleb2, AS-norm within 0.1 (the cohort is 6,000 utterances drawn from VoxCeleb2's dev part; the
authors' own list is not published). PASS or FAIL on every line, or NONE where not all trials of the published list
were scored; the exit status is 0 when all pass.
Started again, it goes on where it stopped.

  --voxceleb1 DIR       VoxCeleb1, the test part is enough: [test]/[wav]/idNNNNN/SESSION/NNNNN.wav (needed)
  --weights DIR         the authors' files as their model card names them (mechanicalsea/efficient-tdnn): depth/, width1/
                        and width2/ with .torchparams and .bn.tar, or all of them in one folder (needed)
  --voxceleb2 DIR       VoxCeleb2, wav or m4a: AS-norm too [plain cosine only]
  --trials-dir DIR      folder of veri_test2.txt, the cleaned Vox1-O [in VoxCeleb1's, or fetched]
  --models LIST         of base, mobile, small [all]
  --cohort-size N       utterances of the cohort [6000]
  --m4a decode|pipe     decode the cohort's m4a files once, or at each reading [decode]
  --allow-partial true  go on with other counts than the releases'; without all trials there is no PASS [false]
  --dir DIR             data, features, models and scores [$dir]
  --published FILE      other published results, and the names of their files [the authors']
  --nj N                jobs [$(nproc)]
  --device NAME         cpu, cuda or auto [auto]
  --seed N              seed of the cohort [0]
  --force true          redo what is up to date [false]"

# shellcheck disable=SC2034  # some are read through their names
voxceleb1=
weights=
voxceleb2=
# shellcheck disable=SC2034
trials_dir=
models=
cohort_size=6000
m4a=decode
allow_partial=false
published=
nj=$(nproc)
device=auto
seed=0
force=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/prepare.sh
fail() { # fail MESSAGE [STATUS]: one line, and out
  echo "run_published.sh: error: $1" >&2
  exit "${2:-1}"
}
[ $# -eq 0 ] || fail "takes options only, found '$1' (--help)" 2
for name in voxceleb1 weights; do
  [ -n "${!name}" ] || fail "--$name DIR is needed (--help)" 2
done
for name in voxceleb1 voxceleb2 weights trials_dir published; do
  [ -z "${!name}" ] || [ ! -e "$CALLED_FROM/${!name}" ] || declare "$name=$(realpath -s -- "$CALLED_FROM/${!name}")"
  [ -z "${!name}" ] || [ -e "${!name}" ] || fail "--${name//_/-} ${!name}: no such file or folder"
done

# shellcheck source=local/lib/path.sh
. ./path.sh
# shellcheck source=egs/voxceleb/cmd.sh
. ./cmd.sh

# weights_file NAME: where it lies, by its name on the card or flat
weights_file() {
  local path
  for path in "$weights/$1" "$weights/${1##*/}"; do
    if [ -f "$path" ]; then
      echo "$path"
      return
    fi
  done
  fail "$weights/$1 is missing (nor is it $weights/${1##*/}); it is a file of the authors' model card"
}

# prepare: Vox1-O and the cohort as data directories
prepare() {
  local options=(--test-only --cohort-size "$cohort_size" --m4a "$m4a" --seed "$seed") name state
  [ "$allow_partial" = false ] || options+=(--allow-partial)
  state=${options[*]}
  for name in voxceleb1 voxceleb2 trials_dir; do
    if [ -n "${!name}" ]; then
      options+=("--${name//_/-}" "${!name}")
      state+=$'\n'"$name ${!name} $(tree_state "${!name}")"
    fi
  done
  if [ "$force" = false ] && [ -f "$data/test/wav.scp" ] && stamp_current "$data/.prepare.stamp" "$state"; then
    echo "run_published.sh: $data is up to date"
    return
  fi
  rm -f "$data/.prepare.stamp"
  python3 -m etdnn prepare-voxceleb "${options[@]}" --nj "$nj" "$data"
  stamp_write "$data/.prepare.stamp" "$state"
}

# embed MODEL-DIR SET: embeddings of a data directory in parallel jobs
embed() {
  local out=$1/embeddings jobs force_option=()
  jobs=$(wc -l <"$data/$2/feats.scp")
  [ "$jobs" -le "$nj" ] || jobs=$nj
  [ "$force" = false ] || force_option=(--force)
  $gpu_job_cmd "JOB=1:$jobs" "$out/log/$2.JOB.log" python3 -m etdnn extract --model "$1/model.safetensors" \
    --data "$data/$2" --out "$out/$2" --job "JOB/$jobs" --device "$device" "${force_option[@]}"
  python3 -m etdnn extract --out "$out/$2" --join "$jobs"
}

# MODEL ARCH SUPERNET SUBNET of the models asked for
rows=$(python3 -m etdnn compare-published --list --published "$published" --models "$models")
readarray -t rows <<<"$rows"
for row in "${rows[@]}"; do # before anything long starts
  read -r _ _ supernet subnet <<<"$row"
  weights_file "$supernet" >/dev/null
  weights_file "$subnet" >/dev/null
done

data=$dir/data
sets="test"
backends=cosine
if [ -n "$voxceleb2" ]; then
  sets="test cohort"
  backends="cosine asnorm"
fi
prepare
local/make_features.sh --cmd "$train_cmd" --nj "$nj" --fbank-config conf/fbank_paper.conf --compression fm \
  --only "$sets" --force "$force" "$data" "$dir/fbank"
for row in "${rows[@]}"; do
  read -r model arch supernet subnet <<<"$row"
  mkdir -p "$dir/$model"
  python3 -m etdnn import "$(weights_file "$supernet")" --subnet "$(weights_file "$subnet")" --arch "$arch" \
    "$dir/$model/model.safetensors"
  for set in $sets; do embed "$dir/$model" "$set"; done
  $train_cmd "$dir/$model/log/score.log" python3 -m etdnn score --model "$dir/$model/model.safetensors" \
    --budget "$model" --test "$data/test" --embeddings "$dir/$model/embeddings" --backends "$backends" \
    --out "$dir/$model/scores" --results "$dir/results.tsv"
done

[ -n "$voxceleb2" ] || echo "run_published.sh: AS-norm is not measured without --voxceleb2"
python3 -m etdnn compare-published --published "$published" --models "$models" --backends "$backends" "$dir/results.tsv"
