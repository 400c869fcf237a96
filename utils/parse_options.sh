# shellcheck shell=bash
# Sets variables from the command line; to be sourced after the variables have their defaults:
#
#   nj=4            # --nj 8 or --nj=8
#   macs_budget=    # --macs-budget 204M, --macs_budget 204M
#   force=false     # --force true; bare --force when it is the last word or another option follows
#   trials=()       # an array: --trials a --trials b gives (a b); the first one replaces the default
#   help_message="Usage: ..."
#   . utils/parse_options.sh
#
# Every lower-case variable that exists when this file is sourced is an option. Options end at the first word that does
# not begin with `--`, or after `--`; the words from there on stay in "$@". Values are stored as they are, nothing in
# them is expanded or run. A variable that holds true or false takes no other value. Names in $option_flags (separated
# by blanks) are switches: true follows from the name alone and the next word is left alone unless it is true or false.
# A value may not look like one of the options (`--stage --nj 4`); `--stage=--nj` says that it is meant.
#
# `--config FILE` reads FILE before the rest of the command line, which therefore wins. Its lines are `name=value`,
# `--name=value` or `--name value`, blank, or comments; a value with blanks stands in single or double quotes. The file
# is read, not run: `$x` and backquotes are refused unless they stand in single quotes, where they are plain text.

# Prints one line and stops the script with status 2, that of a mistake in the call.
_options_fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# True when $1 (underscored) names an option of the sourcing script.
_options_known() {
  [[ $1 =~ ^[a-z][a-z0-9_]*$ && $1 != help_message && $1 != option_flags ]] && declare -p "$1" >/dev/null 2>&1
}

# Prints the number of single-letter edits between $1 and $2.
_options_distance() {
  local first=$1 second=$2 i j cost best corner above
  local -a row
  for ((j = 0; j <= ${#second}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#first}; i++)); do
    corner=${row[0]}
    row[0]=$i
    for ((j = 1; j <= ${#second}; j++)); do
      above=${row[j]}
      cost=1
      if [[ ${first:i-1:1} == "${second:j-1:1}" ]]; then cost=0; fi
      best=$((corner + cost))
      if ((above + 1 < best)); then best=$((above + 1)); fi
      if ((row[j - 1] + 1 < best)); then best=$((row[j - 1] + 1)); fi
      corner=$above
      row[j]=$best
    done
  done
  echo "${row[${#second}]}"
}

# Prints ` (did you mean --NAME?)` for the option nearest to $1, nothing when none is near.
_options_suggestion() {
  local wanted=$1 name distance nearest='' least=$((${#1} / 3 + 2))
  while read -r name; do
    _options_known "$name" || continue
    if [[ ${#wanted} -ge 3 && $name == "$wanted"* ]]; then distance=1; else distance=$(_options_distance "$wanted" "$name"); fi
    if ((distance < least)); then
      least=$distance
      nearest=$name
    fi
  done < <(compgen -v)
  if [[ -n $nearest ]]; then printf ' (did you mean --%s?)' "${nearest//_/-}"; fi
}

# _options_set WHERE NAME VALUE: stores the value; WHERE is '' for the command line, else FILE:LINE.
_options_set() {
  local _where=${1:+$1: } _name=$2 _value=$3 _dashed=${2//_/-}
  if [[ $(declare -p "$_name") =~ ^declare\ -[^\ ]*a ]]; then
    local -n _array=$_name
    if [[ " $_options_cleared " != *" $_name "* ]]; then
      _array=()
      _options_cleared+=" $_name"
    fi
    _array+=("$_value")
    return
  fi
  if [[ ${!_name-} == true || ${!_name-} == false ]] && [[ $_value != true && $_value != false ]]; then
    _options_fail "${_where}--$_dashed takes true or false, not '$_value'"
  fi
  printf -v "$_name" '%s' "$_value"
}

# _options_unquote WHERE TEXT: leaves the value that TEXT of a configuration file stands for in $_options_value.
_options_unquote() {
  local where=$1 text=$2 expands='[$`]'
  local single="^'([^']*)'[[:blank:]]*(#.*)?\$" double='^"([^"\]*)"[[:blank:]]*(#.*)?$'
  local bare='^([^[:blank:]"'"'"']*)([[:blank:]]+#.*|[[:blank:]]*)$'
  if [[ $text =~ $single ]]; then
    _options_value=${BASH_REMATCH[1]}
    return
  fi
  if [[ $text =~ $double || $text =~ $bare ]]; then
    _options_value=${BASH_REMATCH[1]}
  else
    _options_fail "$where: cannot read the value $text; put a value with blanks or quotes in quotes"
  fi
  if [[ $_options_value =~ $expands ]]; then
    _options_fail "$where: nothing is expanded in this file; write the value out, or in single quotes: $text"
  fi
}

# _options_config FILE: sets the variables that the file names.
_options_config() {
  local file=$1 line number=0 name _options_cleared=' ' _options_value
  local form='^[[:blank:]]*(export[[:blank:]]+|--)?([A-Za-z][A-Za-z0-9_-]*)(=|[[:blank:]]+)(.*)$'
  [[ -f $file && -r $file ]] || _options_fail "--config: cannot read the file '$file'"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    if [[ $line =~ ^[[:blank:]]*(#.*)?$ ]]; then continue; fi
    if ! [[ $line =~ $form ]] || [[ ${BASH_REMATCH[1]} != -- && ${BASH_REMATCH[3]} != = ]]; then
      _options_fail "$file:$number: expected name=value, found: $line"
    fi
    name=${BASH_REMATCH[2]//-/_}
    _options_unquote "$file:$number" "${BASH_REMATCH[4]}"
    if ! _options_known "$name"; then
      _options_fail "$file:$number: unknown option --${name//_/-}$(_options_suggestion "$name")"
    fi
    _options_set "$file:$number" "$name" "$_options_value"
  done <"$file"
}

# _options_parse WORD...: reads the options and leaves the other words in the array _options_rest.
_options_parse() {
  local _word _name _value _dashed _index _options_cleared=' '
  local -a _names=() _values=() _configs=()
  while (($#)); do
    case $1 in
      --)
        shift
        break
        ;;
      --help | -h)
        printf '%s\n' "${help_message:-${0##*/}: no help is written; its first lines say what it does}"
        exit 0
        ;;
      --*) ;;
      *) break ;;
    esac
    _word=${1%%=*}
    _dashed=${_word#--}
    _dashed=${_dashed//_/-}
    _name=${_dashed//-/_}
    if [[ $_name != config ]] && ! _options_known "$_name"; then
      _options_fail "unknown option $_word$(_options_suggestion "$_name"); --help lists the options"
    fi
    if [[ $1 == *=* ]]; then
      _value=${1#*=}
      shift
    elif [[ " ${option_flags-} " == *" $_name "* && ${2-} != true && ${2-} != false ]]; then
      _value=true
      shift
    elif (($# > 1)) && ! { [[ $2 == --?* ]] && _options_is_option "$2"; }; then
      _value=$2
      shift 2
    elif [[ ${!_name-} == true || ${!_name-} == false ]]; then
      _value=true
      shift
    elif (($# > 1)); then
      _options_fail "--$_dashed needs a value; the option $2 follows it (--$_dashed=$2 if that is the value)"
    else
      _options_fail "--$_dashed needs a value"
    fi
    if [[ $_name == config ]]; then
      _configs+=("$_value")
    else
      _names+=("$_name")
      _values+=("$_value")
    fi
  done
  _options_rest=("$@")
  for _value in ${_configs[@]+"${_configs[@]}"}; do _options_config "$_value"; done
  for _index in ${_names[@]+"${!_names[@]}"}; do _options_set '' "${_names[_index]}" "${_values[_index]}"; done
}

# True when the word $1 reads as one of the options.
_options_is_option() {
  local word=${1%%=*}
  word=${word#--}
  word=${word//-/_}
  [[ $word == config || $word == help ]] || _options_known "$word"
}

_options_rest=()
_options_parse "$@"
set -- ${_options_rest[@]+"${_options_rest[@]}"}
unset _options_rest
