"""Decide by energy which frames are voiced, as Kaldi's compute-vad: float vectors that its tools read as vad.scp.

etdnn compute-vad data/test vad/test      leaves vad/test.ark and vad/test.scp: cp vad/test.scp data/test/vad.scp
Several jobs and data/test/vad.scp at once: utils/compute_vad.sh. Stage 1 leaves silence out by itself: --vad true.

The energies are those of the audio in the frames of the front end (Kaldi's raw log energy): log-mel features have no
energy column. Vectors are as long as the features of that front end without VAD. Copies (utt2aug) are heard as they
are; Kaldi's recipes give them the vad.scp of their originals.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

OPTIONS = ("vad_energy_threshold", "vad_energy_mean_scale", "vad_frames_context", "vad_proportion_threshold")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, help="front end, Kaldi's syntax (default: DATA/frontend.json, or ours)")
    parser.add_argument("--vad-energy-threshold", type=float, help="constant of the threshold (default 5.5)")
    parser.add_argument("--vad-energy-mean-scale", type=float, help="share of the mean log energy in it (default 0.5)")
    parser.add_argument("--vad-frames-context", type=int, help="frames on each side that are asked too (default 2)")
    parser.add_argument("--vad-proportion-threshold", type=float, help="share that must be above it (default 0.12)")
    parser.add_argument("data", type=Path, metavar="DATA", help="data directory")
    parser.add_argument("prefix", type=Path, metavar="PREFIX", help="outputs are PREFIX.ark and PREFIX.scp")


def run(args: Namespace) -> int:
    """Write the decisions."""
    from dataclasses import replace
    from functools import partial

    from etdnn.data.datadir import DataDir
    from etdnn.errors import UsageError
    from etdnn.features.fbank import FbankOptions, read_fbank_conf
    from etdnn.features.vad_decisions import write_decisions

    if args.config:
        options = read_fbank_conf(args.config)
    else:
        data = DataDir(args.data)
        options = FbankOptions.from_dict(data.frontend if data.has("frontend.json") else {})
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    try:
        options = replace(options, **given)
    except ValueError as error:
        raise UsageError(str(error)) from None
    write_decisions(args.data, args.prefix, options, partial(print, flush=True))
    return 0
