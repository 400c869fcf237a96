#!/usr/bin/env bash
# The authors' released checkpoints, put where stage 4 looks for a supernet, or stages 6 to 8 for a subnet.
set -euo pipefail
export LC_ALL=C

help_message="Usage: local/import.sh [options] <supernet.torchparams> <expdir>
e.g.: local/import.sh --name width2 width2.torchparams exp/published
      local/import.sh --name small --subnet small.bn.tar width2.torchparams exp/published
The first writes <expdir>/NAME/supernet.safetensors, to which <expdir>/supernet then points; stage 4 searches it:
  bash run.sh --stage 4 --expdir <expdir> --macs-budget 204M
The second writes <expdir>/subnet/NAME/model.safetensors; stages 6 to 8 embed, score and export it:
  bash run.sh --stage 6 --expdir <expdir> --subnets NAME
Both need features of the authors' front end: bash run.sh --stage 1 --stop-stage 1 --fbank-config FILE, where FILE holds
--type=efficienttdnn (egs/voxceleb/conf/fbank_paper.conf does).
Options:
  --name NAME    folder name of the supernet or subnet [that of the file up to its first dot]
  --subnet FILE  the published subnet file (.bn.tar) [import the supernet]"

name=
subnet=
. utils/parse_options.sh
. utils/stamp.sh
. local/lib/stage.sh

expect "<supernet.torchparams> <expdir>" "$@"
supernet=$1 expdir=$2

file=${subnet:-$supernet}
file=${file##*/}
name=${name:-${file%%.*}}
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "--name '$name': letters, digits, dots, - and _ only"
for file in "$supernet" ${subnet:+"$subnet"}; do
  [ -f "$file" ] || fail "$file: no such checkpoint"
done

if [ -n "$subnet" ]; then
  dir=$expdir/subnet/$name
  rm -f "$dir/.derive.stamp" "$dir/.score.stamp"
  python3 -m etdnn import "$supernet" --subnet "$subnet" "$dir/model.safetensors"
  stamp_write "$dir/.derive.stamp" "imported" "$supernet" "$subnet"
else
  python3 -m etdnn import "$supernet" "$expdir/$name/supernet.safetensors"
  if [ "$name" != supernet ]; then
    [ ! -e "$expdir/supernet" ] || [ -L "$expdir/supernet" ] || fail "$expdir/supernet is a folder; use another <expdir>"
    ln -sfn "$name" "$expdir/.supernet.new"
    mv -fT "$expdir/.supernet.new" "$expdir/supernet"
  fi
fi
