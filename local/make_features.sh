#!/usr/bin/env bash
# Stage 1: augmented and speed-perturbed copies of train, features of every data directory, and train_all.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/make_features.sh [options] <data> <featdir>
e.g.: local/make_features.sh --nj 8 data fbank

Leaves <data>/train_copies, <data>/train_all = train + train_copies, and feats.scp, utt2num_frames, frontend.json in
every data directory of <data>; arks lie in <featdir>/FRONTEND/SET. With 'store_noise: true' in the plan of copies also
<data>/train_noise, the noises themselves. A killed run goes on where it stopped: finished jobs are recognised by their
inputs and options. With Kaldi's segments in a data directory its utterances are parts of the recordings of wav.scp.
Options:
  --nj N                 jobs [2]
  --cmd COMMAND          runner of jobs [utils/run.pl]
  --fbank-config FILE    front end, Kaldi's syntax [conf/fbank.conf]
  --vad BOOL             keep voiced frames only, by energy as Kaldi's compute-vad; its options (--vad-energy-threshold=5.5,
                         ...) stand in the front end's file, and so may --vad=true. Training copies keep the frames
                         that are voiced before noise is added; noises, and utterances without speech (listed in
                         <set>/no_speech), stay whole [false]
  --augment-config FILE  plan of copies [conf/augment.yaml]
  --noise DIR            noise.scp, music.scp, babble.scp, rir.scp to augment with [<data>/noise/train]
  --compression NAME     cm2 (16 bit), cm3 (8 bit), cm (8 bit, Kaldi's default), fm [cm2]
  --only LIST            features of these directories of <data>, without copies and train_all [all]
  --check N              utterances of each set to read back, -1 for all [200]
  --seed N               seed of every draw [0]
  --accept-audio BOOL    take the audio of now for the audio that features were made of: after a corpus was moved or
                         restored, its files have new times although they are the same [false]
  --force BOOL           redo what is up to date [false]"

nj=2
cmd=utils/run.pl
fbank_config=conf/fbank.conf
vad=false
augment_config=conf/augment.yaml
noise=
compression=cm2
only=
check=200
seed=0
accept_audio=false
force=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

# tables DIR NAME...: those of the files NAME that are in DIR
tables() {
  local dir=$1 name
  shift
  for name in "$@"; do [ ! -f "$dir/$name" ] || echo "$dir/$name"; done
}

# copies_current, copies_write: the stamp of train_copies (written again after bad audio was dropped from train)
copies_stamp() {
  mapfile -t inputs < <(tables "$data/train" wav.scp segments utt2spk utt2dur utt2session spk2gender
    tables "$noise" noise.scp music.scp babble.scp rir.scp)
  "$1" "$data/.copies.stamp" "seed $seed" "$augment_config" "${inputs[@]}"
}

# set_stamp COMMAND DIR [AUDIO] [FILE]: the stamp of one directory's features; its audio is that of now or the state AUDIO
set_stamp() {
  local audio=${3:-}
  [ -n "$audio" ] || audio=$(python3 -m etdnn audio-state "$2") || fail "the audio of $2 cannot be looked at"
  mapfile -t inputs < <(tables "$2" wav.scp segments utt2spk utt2aug augment.scp)
  "$1" "$2/${4:-.feats.stamp}" "frontend $key compression $compression seed $seed folder $featdir"$'\n'"audio $audio" \
    "${inputs[@]}"
}

# features_current DIR: true if DIR has features that were made of what is there now; says so when only audio is new
features_current() {
  local before
  [ "$force" = false ] && [ -f "$1/feats.scp" ] && [ -f "$1/utt2num_frames" ] && [ -f "$1/frontend.json" ] &&
    [ -f "$1/.feats.stamp" ] || return 1
  ! set_stamp stamp_current "$1" || return 0
  before=$(sed -n 's/^option audio //p' "$1/.feats.stamp")
  [ -n "$before" ] && set_stamp stamp_current "$1" "$before" || return 1
  if [ "$accept_audio" = true ]; then
    echo "$0: the audio of $1 has other sizes or times than when its features were made; accepted"
    set_stamp stamp_write "$1"
    return 0
  fi
  echo "$0: the audio of $1 has other sizes or times than when its features were made: making them again (a corpus that" \
    "was only moved or restored: --accept-audio true)"
  return 1
}

# claim FOLDER DIR: features of two data directories must not share a folder
claim() {
  local owner
  owner=$(cd "$2" && pwd -P)
  mkdir -p "$1"
  [ -s "$1/owner" ] || echo "$owner" >"$1/owner"
  [ "$(<"$1/owner")" = "$owner" ] || fail "$1 holds features of $(<"$1/owner"), not of $owner (use another <featdir>)"
}

# show_progress LOGDIR: every 20 s the sum of what the jobs' logs say, as long as this script is there
show_progress() {
  while sleep 20 && kill -0 $$ 2>/dev/null; do
    for log in "$1"/make_fbank.*.log; do grep '^progress' "$log" | tail -n 1 || true; done | awk -v where="$1" '
      { done += $2; total += $4; if ($7 > left) left = $7 }
      END { if (NR) printf "  %s: %d of %d utterances in %d jobs, about %d s left\n", where, done, total, NR, left }'
  done
}

# make_features DIR: features of one data directory
make_features() {
  local dir=$1 name=${1##*/} folder parts watcher status=0 prefixes=() job listens=()
  # VAD leaves noises whole, and hears training copies before noise was added, so that silence stays silence; in dev and
  # test it hears what it will hear in use
  case $name in
    train_noise) listens=(--all-frames) ;;
    train_copies) listens=(--original-vad) ;;
  esac
  folder=$featdir/$key/$name
  if features_current "$dir"; then
    echo "$0: $dir has its features: $(wc -l <"$dir/feats.scp") utterances"
    return
  fi
  claim "$folder" "$dir"
  # the arks are about to change: no list may point into them
  rm -f "$dir/.feats.stamp" "$dir/.feats.made" "$dir/feats.scp" "$dir/utt2num_frames" "$dir/frontend.json"
  parts=$(utils/split_data.sh --per-utt "$dir" "$nj")
  mkdir -p "$folder/log"
  rm -f "$folder"/log/make_fbank.*.log
  echo "$0: features of $(wc -l <"$dir/utt2spk") utterances of $dir in $parts jobs, logs in $folder/log"
  show_progress "$folder/log" &
  watcher=$!
  # shellcheck disable=SC2064  # the process of now
  trap "kill $watcher 2>/dev/null || true" EXIT
  "${run_jobs[@]}" JOB=1:"$parts" "$folder/log/make_fbank.JOB.log" \
    python3 -m etdnn make-fbank --config "$fbank_config" --compression "$compression" --seed "$seed" \
    "${vad_option[@]}" "${listens[@]}" "${force_option[@]}" "$dir/split${parts}utt/JOB" "$folder/fbank.JOB" || status=$?
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  trap - EXIT
  [ "$status" -eq 0 ] || fail "features of $dir: a job failed, its log is named above; finished jobs are kept"
  for ((job = 1; job <= parts; job++)); do prefixes+=("$folder/fbank.$job"); done
  local options=(--check "$check")
  [ "$dir" != "$data/dev" ] || options+=(--drop-trials) # dev lists are ours, test lists are not
  python3 -m etdnn merge-features "${options[@]}" "$dir" "${prefixes[@]}"
  # .feats.made stays as it is when other audio is accepted: later stages know by it whether features are the same,
  # for the lines of feats.scp are, whatever the arks hold
  set_stamp stamp_write "$dir" "" .feats.made
  cp "$dir/.feats.made" "$dir/.feats.stamp"
  rm -rf "$dir/split${parts}utt"
  remove_other_parts "$folder" "$parts"
}

# remove_other_parts FOLDER N: what an earlier run with more jobs left
remove_other_parts() {
  local file part
  for file in "$1"/fbank.*; do
    part=${file##*/fbank.}
    part=${part%%.*}
    if [[ $part =~ ^[0-9]+$ ]] && [ "$part" -gt "$2" ]; then rm -f "$file"; fi
  done
}

# make_copies: train_copies, unless it is up to date
make_copies() {
  if [ "$force" = false ] && copies_stamp stamp_current; then
    echo "$0: $data/train_copies is up to date"
    return
  fi
  rm -f "$data/.copies.stamp"
  python3 -m etdnn make-copies --plan "$augment_config" --noise "$noise" --noise-set "$data/train_noise" --seed "$seed" \
    "$data/train" "$data/train_copies"
  copies_stamp stamp_write
}

# list_sets: the data directories of all that stage 0 made, train and its copies first
list_sets() {
  local dir
  echo "$data/train"
  [ ! -d "$data/train_copies" ] || echo "$data/train_copies"
  for dir in "$data"/*/; do
    dir=${dir%/}
    case ${dir##*/} in train | train_copies | train_all) continue ;; esac
    [ ! -f "$dir/wav.scp" ] || echo "$dir"
  done
}

# combine_train DIR...: train_all of train and its copies
combine_train() {
  local made
  mapfile -t made < <(for dir in "$@"; do tables "$dir" .feats.made; done)
  mapfile -t inputs < <(for dir in "$@"; do
    tables "$dir" feats.scp segments utt2spk utt2num_frames frontend.json utt2aug
  done)
  inputs+=("${made[@]}")
  if [ "$force" = true ] || [ ! -f "$data/train_all/feats.scp" ] ||
    ! stamp_current "$data/train_all/.combine.stamp" "combine $*" "${inputs[@]}"; then
    rm -f "$data/train_all/.combine.stamp"
    utils/combine_data.sh "$data/train_all" "$@"
    [ ${#made[@]} -eq 0 ] || cat "${made[@]}" >"$data/train_all/.feats.made"
    stamp_write "$data/train_all/.combine.stamp" "combine $*" "${inputs[@]}"
  fi
  echo "$0: $data/train_all: $(wc -l <"$data/train_all/utt2spk") utterances of $(wc -l <"$data/train_all/spk2utt") speakers"
}

expect "<data> <featdir>" "$@"
data=$1
featdir=$2
[ -n "$noise" ] || noise=$data/noise/train
for name in ${only:-train}; do
  [ -f "$data/$name/wav.scp" ] || fail "$data/$name/wav.scp is missing; stage 0 makes it"
done
for file in "$fbank_config" "$augment_config"; do [ -f "$file" ] || fail "$file: no such configuration"; done
read -ra run_jobs <<<"$cmd"
force_option=()
[ "$force" = false ] || force_option=(--force)
vad_option=()
[ "$vad" = false ] || vad_option=(--vad)

if [ -n "$only" ]; then
  sets=()
  for name in $only; do sets+=("$data/$name"); done
else
  make_copies
  mapfile -t sets < <(list_sets)
fi
key=$(python3 -m etdnn feature-disk --config "$fbank_config" "${vad_option[@]}" --compression "$compression" --featdir "$featdir" "${sets[@]}")
for dir in "${sets[@]}"; do make_features "$dir"; done
if [ -z "$only" ]; then
  copies_stamp stamp_write
  sources=("$data/train")
  [ ! -d "$data/train_copies" ] || sources+=("$data/train_copies")
  combine_train "${sources[@]}"
fi
echo "$0: $(du -sh "$featdir/$key" | cut -f 1) of features in $featdir/$key"
