#!/usr/bin/env bash
# Stage 0 of egs/own: a folder SPEAKER/SESSION/UTTERANCE.{wav,flac,ogg,opus,mp3,m4a} to data directories.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/prepare_own.sh --corpus DIR [options] <data>
e.g.: local/prepare_own.sh --corpus recordings --split speakers.tsv --trials trials.txt data

Leaves <data>/{train,dev,test}, their trials, <data>/noise and <data>/split.tsv. Does nothing when they are up to date.
Options:
  --corpus DIR           folder SPEAKER/SESSION/UTTERANCE.{wav,flac,ogg,opus,mp3,m4a} (needed)
  --segments FILE        lines 'FILE START END [NAME]' in seconds: parts of files that are the utterances [whole files]
  --split FILE           table with columns id, set (train, dev, test), maybe gender, age_group [drawn]
  --trials FILE          trial list over the test speakers; repeatable [drawn]
  --enrol FILE           names enrolled with several files each, for the trials of the same name; repeatable [none]
  --dev-speakers N       speakers cut from train for dev [a tenth, 20 to 120]
  --test-speakers N      test speakers without --split and --trials [a tenth, 20 to 120]
  --musan DIR            noises in MUSAN's form: noise, music, speech [synthetic noises]
  --rirs DIR             room impulse responses: simulated_rirs/ROOM or simulated/ROOM [synthetic rooms]
  --min-seconds S        shorter files are listed and skipped [0.3]
  --allow-missing BOOL   drop trials whose audio is not there [false]
  --nj N                 processes that read headers [1]
  --seed N               seed of every draw [0]
  --force BOOL           redo what is up to date [false]
  --cmd COMMAND          taken for the stages' common form; preparation runs where it is called"

# shellcheck disable=SC2034  # most are read through their names
{
  corpus=
  segments=
  split=
  trials=()
  enrol=()
  dev_speakers=
  test_speakers=
  musan=
  rirs=
  min_seconds=0.3
  allow_missing=false
  nj=1
  seed=0
  force=false
  cmd=
}
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/prepare.sh

expect "<data>" "$@"
data=$1
[ -n "$corpus" ] || fail "--corpus DIR is needed: a folder SPEAKER/SESSION/UTTERANCE.wav (--help)" 2

arguments=(--seed "$seed" --min-seconds "$min_seconds")
inputs=()
state="corpus $corpus $(folder_state "$corpus")"
add_folders folder_state musan rirs
[ -z "$segments" ] || add_file --segments "$segments"
[ -z "$split" ] || add_file --split "$split"
for name in "${trials[@]}"; do
  [ -z "$name" ] || add_file --trials "$name"
done
for name in "${enrol[@]}"; do
  [ -z "$name" ] || add_file --enrol "$name"
done
add_values dev_speakers test_speakers allow_missing
prepare_data prepare-own "$corpus"
