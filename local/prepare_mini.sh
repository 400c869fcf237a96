#!/usr/bin/env bash
# Stage 0 of egs/mini: makes a corpus of SYNTHETIC speech on the spot, then data directories from it.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/prepare_mini.sh [options] <data>
e.g.: local/prepare_mini.sh --nj 2 data

Synthesises a corpus (espeak-ng voices in synthetic rooms and noises; no person speaks in it) and hands it on to
local/prepare_own.sh. Leaves <data>/{train,dev,test}, their trials and <data>/noise. Does nothing when all is up to date.
Options:
  --corpus DIR           where the synthetic corpus is kept [corpus]
  --train-speakers N     voices of train [160]
  --dev-speakers N       voices of dev [20]
  --test-speakers N      voices of test [20]
  --sessions N           sessions of each voice: room, noise, microphone, style [3]
  --utterances N         utterances of each session [4]
  --corpus-seed N        seed of the corpus; --seed leaves the corpus as it is [0]
  --nj N                 parallel processes; the bytes do not depend on it [1]
  --seed N               seed of trials of dev and of the split of noises [0]
  --force BOOL           redo what is up to date [false]
  --cmd COMMAND          taken for the stages' common form; preparation runs where it is called"

corpus=corpus
train_speakers=160
dev_speakers=20
test_speakers=20
sessions=3
utterances=4
corpus_seed=0
nj=1
seed=0
force=false
# shellcheck disable=SC2034  # see --help
cmd=
. utils/parse_options.sh
. local/lib/prepare.sh

expect "<data>" "$@"
data=$1

again=()
[ "$force" = false ] || again=(--force)
python3 -m etdnn synthesise-corpus --train-speakers "$train_speakers" --dev-speakers "$dev_speakers" \
  --test-speakers "$test_speakers" --sessions "$sessions" --utterances "$utterances" --seed "$corpus_seed" \
  --nj "$nj" "${again[@]}" "$corpus"
local/prepare_own.sh --corpus "$corpus/wav" --split "$corpus/speakers.tsv" --trials "$corpus/trials.txt" \
  --musan "$corpus/noise" --rirs "$corpus/rirs" --nj "$nj" --seed "$seed" --force "$force" "$data"
echo "$0: $data is made of synthetic speech; results on it say nothing about real speakers"
