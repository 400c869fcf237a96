#!/usr/bin/env bash
# Energy VAD of a data directory in several jobs; --help says what it leaves.
set -euo pipefail
export LC_ALL=C

help_message="Usage: utils/compute_vad.sh [options] <data> [<vaddir>]
e.g.: utils/compute_vad.sh --nj 8 data/test

Leaves <data>/vad.scp, for each utterance a vector of 1 (voiced) and 0 a frame, as Kaldi's steps/compute_vad_decision.sh;
the arks lie in <vaddir> [<data>/vad]. Options of VAD stand in the front end's configuration, Kaldi's syntax
(--vad-energy-threshold=5.5, ...). Stage 1 leaves silence out of the features by itself: local/make_features.sh --vad true.
Options:
  --nj N               jobs [2]
  --cmd COMMAND        runner of jobs [utils/run.pl]
  --fbank-config FILE  front end and VAD, Kaldi's syntax [<data>/frontend.json, else the default one]"

nj=2
cmd=utils/run.pl
fbank_config=
# shellcheck source=utils/parse_options.sh
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"

fail() {
  echo "compute_vad.sh: error: $1" >&2
  exit "${2:-1}"
}

[ $# -eq 1 ] || [ $# -eq 2 ] || fail "expected <data> [<vaddir>] (--help)" 2
data=$1
vaddir=${2:-$data/vad}
[ -f "$data/wav.scp" ] || fail "$data/wav.scp is missing; stage 0 makes it"
config=()
[ -z "$fbank_config" ] || config=(--config "$fbank_config")
read -ra run_jobs <<<"$cmd"
name=${data%/}
name=${name##*/}
parts=$("$(dirname "${BASH_SOURCE[0]}")/split_data.sh" --per-utt "$data" "$nj")
mkdir -p "$vaddir/log"
"${run_jobs[@]}" JOB=1:"$parts" "$vaddir/log/vad_$name.JOB.log" \
  python3 -m etdnn compute-vad "${config[@]}" "$data/split${parts}utt/JOB" "$vaddir/vad_$name.JOB" ||
  fail "VAD of $data: a job failed, its log is named above"
for ((job = 1; job <= parts; job++)); do
  cat "$vaddir/vad_$name.$job.scp"
  grep '^warning\|^no speech\|are voiced' "$vaddir/log/vad_$name.$job.log" | sed "s|^|compute_vad.sh: |" >&2 || true
done >"$data/.vad.scp.tmp"
mv "$data/.vad.scp.tmp" "$data/vad.scp"
rm -rf "$data/split${parts}utt"
echo "compute_vad.sh: $data/vad.scp: $(wc -l <"$data/vad.scp") utterances"
