#!/usr/bin/env bash
# Functions of local/stages.sh: checks before the first stage, gates, logs, and the line that resumes a failed stage.
# shellcheck disable=SC2154,SC2034  # shared with stages.sh
LAST_STAGE=8
CURRENT=start

log() { echo "$(date '+%F %T') [${EGS##*/}, stage $CURRENT] $*"; }

die() { # die MESSAGE [STATUS]: one line, and out
  echo "run.sh: error: $1" >&2
  exit "${2:-1}"
}

# quoted WORD...: the words as they can be typed again
quoted() {
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word=${word@Q}
    line+=" $word"
  done
  echo "${line:1}"
}

# resume_line N [OPTION]: this call again, from stage N; without --force (what was redone is done) and without OPTION
resume_line() {
  local words=() index word next
  for ((index = 0; index < ${#ARGUMENTS[@]}; index++)); do
    word=${ARGUMENTS[index]}
    word=${word%%=*}
    next=${ARGUMENTS[index + 1]-}
    case ${word//_/-} in
      --stage | "${2:---stage}") [[ ${ARGUMENTS[index]} == *=* ]] || index=$((index + 1)) ;;
      --force) [[ ${ARGUMENTS[index]} == *=* || ($next != true && $next != false) ]] || index=$((index + 1)) ;;
      *) words+=("${ARGUMENTS[index]}") ;;
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
  CURRENT=$1
  STAGE_STARTED=$SECONDS
  log "$2"
}

# run COMMAND...: one script of the current stage; a failure, or a training that stopped (85), prints the line that resumes it
run() {
  local status=0 word=failed
  "$@" || status=$?
  if [ "$status" -ne 0 ]; then
    [ "$status" -ne 85 ] || word="stopped with a checkpoint"
    {
      echo "run.sh: stage $CURRENT $word (${1}, status $status) after $((SECONDS - STAGE_STARTED)) s. Resume with:"
      echo "  $(resume_line "$CURRENT")"
    } >&2
    exit "$status"
  fi
}

# interrupted: what Ctrl-C leaves on the screen
interrupted() {
  printf 'run.sh: stopped in stage %s. Resume with:\n  %s\n' "$CURRENT" "$(resume_line "$CURRENT")" >&2
  exit 130
}

finish() {
  log "stages $stage to $stop_stage done in $SECONDS s"
  [ "$stop_stage" -ge "$LAST_STAGE" ] || echo "next: $(resume_line $((stop_stage + 1)) --stop-stage)"
}

check_options() {
  local name
  for name in stage stop_stage seed; do
    [[ ${!name} =~ ^[0-9]+$ ]] || die "--${name//_/-} '${!name}' is not a whole number" 2
  done
  for name in nj num_ranks num_nodes calibration_crops; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die "--${name//_/-} '${!name}' is not a number of at least 1" 2
  done
  [[ $stop_after =~ ^([0-9]*[1-9][0-9]*)?$ ]] || die "--stop-after '$stop_after' is not a number of minutes of at least 1" 2
  case $device in auto | cpu | cuda) ;; *) die "--device '$device' is not one of auto, cpu, cuda" 2 ;; esac
  [ "$stage" -le "$LAST_STAGE" ] || die "there is no stage $stage; the last is $LAST_STAGE" 2
  [ "$stage" -le "$stop_stage" ] || die "nothing to do: --stage $stage is behind --stop-stage $stop_stage" 2
  [ "$stop_stage" -le "$LAST_STAGE" ] || stop_stage=$LAST_STAGE
  for name in "$datadir" "$featdir" "$expdir" "$stage_to"; do
    [[ $name =~ [[:space:]] ]] && die "'$name': folders of data, features and models cannot have spaces (Kaldi's scp)" 2
  done
  [ -z "$subnets" ] || [ "$stage" -ge 6 ] || die "--subnets is for stages 6 to 8; give --stage 6" 2
  # A budget of any kind on the command line replaces the corpus's default.
  [ -n "$macs_budget$params_budget$latency_budget$memory_budget" ] || macs_budget=$DEFAULT_MACS_BUDGET
}

# resolve NAME: an input path given relative to where the command was typed becomes absolute
resolve() {
  local -n value=$1
  local index
  for index in "${!value[@]}"; do
    case ${value[index]} in
      "" | /*) ;;
      *) [ ! -e "$CALLED_FROM/${value[index]}" ] || value[index]=$(cd "$CALLED_FROM" && realpath -s -- "${value[index]}") ;;
    esac
  done
}

resolve_paths() {
  local name item
  for name in fbank_config augment_config train_config space_config search_config; do
    grep -qxF "declare -- $name=\"${!name}\"" <<<"$OPTION_DEFAULTS" || resolve "$name"
  done
  for name in latency_table teacher_scp trials "${PREPARE_PATHS[@]}"; do
    resolve "$name"
  done
  PREPARE_ARGUMENTS=()
  for name in "${PREPARE_OPTIONS[@]}"; do
    local -n items=$name
    for item in "${items[@]}"; do
      [ -z "$item" ] || PREPARE_ARGUMENTS+=("--${name//_/-}" "$item")
    done
    unset -n items
  done
  TRIAL_ARGUMENTS=()
  for item in "${trials[@]}"; do
    TRIAL_ARGUMENTS+=(--trials "$(trials_name "$item")")
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
  local folder above reason
  for folder in "$datadir" "$featdir" "$expdir"; do
    above=$folder
    while [ ! -e "$above" ] && [ "$above" != "${above%/*}" ]; do above=${above%/*}; done
    [ ! -e "$above" ] || [ -d "$above" ] || die "$folder cannot be made: $above is a file; give another folder"
  done
  reason=$(mkdir -p "$expdir" 2>&1) || die "${reason#mkdir: }"
  [ -w "$expdir" ] || die "$expdir is not writable"
}

# hold FOLDER: wait until no other run.sh, nor a stage that outlived a killed one, works in FOLDER. The lock goes with the
# file descriptor, left in HELD, which every process that this one starts inherits.
hold() {
  command -v flock >/dev/null || return 0
  { mkdir -p "$1" && : >>"$1/.lock"; } 2>/dev/null || die "$1 cannot be written"
  exec {HELD}>>"$1/.lock"
  flock -n "$HELD" && return
  log "another run.sh, or a stage that outlived one, works in $1; waiting until it ends"
  flock "$HELD"
}

# record_command: one line per call, which the report shows
record_command() {
  local revision
  revision=$(git -C "$etdnn_root" describe --always --dirty 2>/dev/null) || revision=unknown
  printf '%s\t%s\t%s\n' "$(date '+%F %T')" "$revision" "$(quoted bash "$0" "${ARGUMENTS[@]}")" >>"$expdir/commands.tsv" ||
    die "$expdir/commands.tsv cannot be written"
}

# read_phases: leaves in PHASES the names of the training phases, in order; the first is stage 2, the others stage 3
read_phases() {
  local names
  [ "$stage" -le 3 ] && [ "$stop_stage" -ge 2 ] || return 0
  names=$(python3 -m etdnn list-phases "$train_config") || exit
  readarray -t PHASES <<<"$names"
}

# read_budgets: leaves in BUDGETS the folder names of --subnets, or of the budgets and the largest network; a budget below the smallest
# subnet stops here, before hours of training
read_budgets() {
  local names
  if [ -n "$subnets" ]; then
    read -ra BUDGETS <<<"$subnets"
    return 0
  fi
  names=$(python3 -m etdnn budgets --space "$space_config" --search-config "$search_config" \
    --macs-budget="$macs_budget" --params-budget="$params_budget" --latency-budget="$latency_budget" \
    --latency-table "$latency_table" --memory-budget="$memory_budget") || exit
  readarray -t BUDGETS <<<"${names:+$names$'\n'}largest"
}

# find_supernet: leaves in SUPERNET what stage 4 searches
find_supernet() {
  local names
  SUPERNET=$expdir/supernet
  [ -n "$phase" ] || return 0
  SUPERNET=$expdir/$phase/supernet.safetensors
  [ ! -e "$SUPERNET" ] || return 0
  names=$(python3 -m etdnn list-phases "$train_config") || exit
  grep -qxF -- "$phase" <<<"$names" || die "--phase $phase: $train_config has no such phase; it has ${names//$'\n'/, }" 2
}
