#!/usr/bin/env bash
# Functions of local/stages.sh: checks before the first stage, gates, logs, and the line that resumes a failed stage.
# shellcheck disable=SC2154  # the options are set by stages.sh
last_stage=8
current=start

log() { echo "$(date '+%F %T') [${egs##*/}, stage $current] $*"; }

die() { # die MESSAGE [STATUS]: one line, and out
  echo "run.sh: error: $1" >&2
  exit "${2:-1}"
}

# quoted WORD...: the words as they can be typed again
quoted() {
  local word
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] && printf '%s ' "$word" || printf '%s ' "${word@Q}"
  done
}

# resume_line N: this call again, from stage N
resume_line() {
  local words=() index word
  for ((index = 0; index < ${#arguments[@]}; index++)); do
    word=${arguments[index]}
    case $word in
      --stage) index=$((index + 1)) ;;
      --stage=*) ;;
      *) words+=("$word") ;;
    esac
  done
  quoted bash "$0" "${words[@]}" --stage "$1"
}

# need STAGE PATH: stop unless PATH is there, and name the stage that makes it
need() {
  [ -e "$2" ] || die "$2 is missing; stage $1 makes it: $(resume_line "$1")"
}

# begin N NAME: true if stage N is to run
begin() {
  [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] || return 1
  current=$1
  stage_started=$SECONDS
  log "$2"
}

# run COMMAND...: one script of the current stage; a failure prints the line that resumes it
run() {
  local status=0
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    {
      echo "run.sh: stage $current failed (${1}, status $status) after $((SECONDS - stage_started)) s. Resume with:"
      echo "  $(resume_line "$current")"
    } >&2
    exit "$status"
  fi
}

finish() {
  log "stages $stage to $stop_stage done in $SECONDS s"
  [ "$stop_stage" -ge "$last_stage" ] || echo "next: $(resume_next)"
}

# resume_next: this call again for the stages that --stop-stage left out
resume_next() {
  local kept=() index
  for ((index = 0; index < ${#arguments[@]}; index++)); do
    case ${arguments[index]} in
      --stop-stage | --stop_stage) index=$((index + 1)) ;;
      --stop-stage=* | --stop_stage=*) ;;
      *) kept+=("${arguments[index]}") ;;
    esac
  done
  local arguments=("${kept[@]}")
  resume_line $((stop_stage + 1))
}

check_options() {
  local name
  for name in stage stop_stage seed; do
    [[ ${!name} =~ ^[0-9]+$ ]] || die "--${name//_/-} '${!name}' is not a whole number" 2
  done
  for name in nj num_ranks; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die "--${name//_/-} '${!name}' is not a number of at least 1" 2
  done
  [[ $force =~ ^(true|false)$ ]] || die "--force '$force' is neither true nor false" 2
  [ "$stage" -le "$last_stage" ] || die "there is no stage $stage; the last is $last_stage" 2
  [ "$stage" -le "$stop_stage" ] || die "nothing to do: --stage $stage is behind --stop-stage $stop_stage" 2
  [ "$stop_stage" -le "$last_stage" ] || stop_stage=$last_stage
  for name in "$datadir" "$featdir" "$expdir"; do
    [[ $name =~ [[:space:]] ]] && die "'$name': folders of data, features and models cannot have spaces (Kaldi's scp)" 2
  done
  # A budget of any kind on the command line replaces the corpus's default.
  [ -n "$macs_budget$params_budget$latency_budget" ] || macs_budget=$default_macs_budget
}

# resolve NAME: an input path given relative to where the command was typed becomes absolute
resolve() {
  local -n value=$1
  local index
  for index in "${!value[@]}"; do
    case ${value[index]} in
      "" | /*) ;;
      *) [ ! -e "$called_from/${value[index]}" ] || value[index]=$(cd "$called_from" && realpath -s -- "${value[index]}") ;;
    esac
  done
}

resolve_paths() {
  local name item
  for name in fbank_config augment_config train_config space_config search_config; do
    grep -qxF "declare -- $name=\"${!name}\"" <<<"$option_defaults" || resolve "$name"
  done
  for name in latency_table trials "${prepare_paths[@]}"; do
    resolve "$name"
  done
  prepare_arguments=()
  for name in "${prepare_options[@]}"; do
    local -n items=$name
    for item in "${items[@]}"; do
      [ -z "$item" ] || prepare_arguments+=("--${name//_/-}" "$item")
    done
    unset -n items
  done
  trial_arguments=()
  for item in "${trials[@]}"; do
    trial_arguments+=(--trials "$(trials_name "$item")")
  done
}

# trials_name FILE-or-NAME: the NAME of data/test/trials_NAME (trials_cross.txt is 'cross', trials.txt is 'main')
trials_name() {
  local name=${1##*/}
  name=${name%.*}
  name=${name#trials_}
  [ "$name" != trials ] || name=main
  echo "$name"
}

# check_expdir: say at once if results cannot be written
check_expdir() {
  local folder above
  for folder in "$datadir" "$featdir" "$expdir"; do
    above=$folder
    while [ ! -e "$above" ] && [ "$above" != "${above%/*}" ]; do above=${above%/*}; done
    [ ! -e "$above" ] || [ -d "$above" ] || die "$folder cannot be made: $above is a file; give another folder"
  done
  mkdir -p "$expdir" || die "$expdir cannot be made"
  [ -w "$expdir" ] || die "$expdir is not writable"
}

# record_command: one line per call, which the report shows
record_command() {
  local revision
  revision=$(git -C "$(cd -P local && pwd)" describe --always --dirty 2>/dev/null) || revision=unknown
  printf '%s\t%s\t%s\n' "$(date '+%F %T')" "$revision" "$(quoted bash "$0" "${arguments[@]}")" >>"$expdir/commands.tsv" ||
    die "$expdir/commands.tsv cannot be written"
}
