#!/usr/bin/env bash
# Stage 8: everything of one subnet that travels, in one folder: ONNX files, an example, the model card.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/export.sh [options] <data> <expdir> <budget>
e.g.: local/export.sh --licence 'CC BY 4.0' data exp/main 204M
Writes <expdir>/subnet/<budget>/export/: model.onnx (from fbank, for sherpa-onnx), model.wave.onnx (from samples), the same
in fp16 and int8, example.py, MODEL_CARD.md, precisions.json (bytes, ms, EER), int8_layers.txt; for a front end with VAD
neither model.wave.onnx nor example.py. Every file is checked against PyTorch. Notes in the model file whether its
embeddings are comparable with the largest network's, so that galleries can be shared. Without the extra onnx only the
card is written. Does nothing when all is up to date.
Options:
  --precisions LIST  of fp32, fp16, int8; int8 is calibrated on <data>/dev [fp32 fp16 int8]
  --title TEXT       what the corpus is; noted in model file and card [name of <expdir>]
  --licence TEXT     licence of the corpus; noted there too [not stated]
  --cmd COMMAND      how the job is run [utils/run.pl]
  --nj N             taken for the stages' common form; this is one job [1]
  --seed N           taken for the stages' common form; nothing is drawn anew [0]
  --force BOOL       redo what is up to date [false]"

precisions="fp32 fp16 int8"
title=
licence=
cmd=utils/run.pl
# shellcheck disable=SC2034  # see --help
nj=1
# shellcheck disable=SC2034  # see --help
seed=0
force=false
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

expect "<data> <expdir> <budget>" "$@"
data=$1 expdir=$2 budget=$3

dir=$expdir/subnet/$budget
out=$dir/export
[ -f "$dir/.score.stamp" ] || fail "$dir has no scores; stage 7 (local/score.sh) makes them"
title=${title:-${expdir##*/}}
missing=$(python3 -c 'from importlib.util import find_spec
print(*(name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None))')

inputs=("$dir/.derive.stamp" "$dir/.score.stamp")
# galleries of aligned subnets are shared: measured against the largest network
largest=$expdir/subnet/largest
reference=()
if [ -f "$largest/embeddings/dev.scp" ] && [ -f "$dir/embeddings/dev.scp" ]; then
  reference=(--reference "$largest")
  inputs+=("$largest/.embed.stamp")
fi
options="export precisions=$precisions title=$title licence=$licence missing=$missing"
if [ "$force" = false ] && [ -f "$out/MODEL_CARD.md" ] && stamp_current "$dir/.export.stamp" "$options" "${inputs[@]}"; then
  echo "local/export.sh: $out is up to date"
  exit 0
fi
rm -f "$dir/.export.stamp"
mkdir -p "$dir/log"
$cmd "$dir/log/export.log" python3 -m etdnn package "$dir/model.safetensors" "$out" --precisions "$precisions" \
  --data "$data" --title "$title" --licence "$licence" ${reference[@]+"${reference[@]}"}
if [ -n "$missing" ]; then
  echo "local/export.sh: $out: MODEL_CARD.md only; ONNX needs the extra onnx: bash tools/install.sh --extras onnx"
else
  grep -E '^(fp32|fp16|int8): ' "$dir/log/export.log" | sed "s|^|local/export.sh: $out: |"
fi
stamp_write "$dir/.export.stamp" "$options" "${inputs[@]}"
