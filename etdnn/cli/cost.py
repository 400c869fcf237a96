"""Multiply-accumulates, parameters and peak activation memory of archs.

Archs are written as 3-512-512-512-512-5-3-3-3-1536: depth, widths w0..wD, kernels k0..kD, cat (dots and tuples are read
too). With --space and no arch, the largest and the smallest of the space are shown.
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("archs", nargs="*", metavar="ARCH", help="for example 2-256-256-256-3-3-3-400")
    parser.add_argument(
        "--frames", type=int, default=301, help="length of the input in frames of 10 ms (default 301: 3 s)"
    )
    parser.add_argument(
        "--space", help="a space (paper_coarse, paper_fine or a YAML file): says whether it holds the arch"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per arch and line")


def run(args: argparse.Namespace) -> None:
    """Print one line per arch."""
    from etdnn.errors import UsageError
    from etdnn.model import Arch, SearchSpace
    from etdnn.model.cost import CONVENTION, MEMORY_CONVENTION, PAPER_FRAMES, arch_macs, arch_memory, arch_params

    if args.frames < 1:
        raise UsageError(f"--frames {args.frames}: at least 1 is needed")
    space = SearchSpace.find(args.space) if args.space else None
    sizes = {"in_feats": space.in_feats, "embedding": space.embedding} if space else {}
    archs = [Arch.parse(text) for text in args.archs]
    if not archs and not space:
        raise UsageError("no arch given: write one as 2-256-256-256-3-3-3-400, or name a --space")
    rows = []
    for arch in archs or [space.largest, space.smallest]:
        row = {
            "macs": arch_macs(arch, args.frames, **sizes),
            "params": arch_params(arch, **sizes),
            "frames": args.frames,
            "macs_conv_linear": arch_macs(arch, args.frames, batch_norm=False, **sizes),
            "memory_bytes": arch_memory(arch, args.frames, in_feats=sizes.get("in_feats", 80)),
            "arch": str(arch),
        }
        if space:
            row["in_space"] = space.contains(arch)
        rows.append(row)
    convention = (
        CONVENTION if args.frames == PAPER_FRAMES else CONVENTION.replace("3 s (301 frames)", f"{args.frames} frames")
    )
    if args.json:
        for row in rows:
            print(json.dumps({**row, "convention": convention, "memory_convention": MEMORY_CONVENTION}))
        return
    _table(rows)
    print(f"convention: {convention}\nmemory: {MEMORY_CONVENTION}, at {args.frames} frames")


def _table(rows: list[dict]) -> None:
    from etdnn.model.budget import show_count
    from etdnn.text import aligned

    lines = [["arch", "MACs", "conv+linear only", "params", "memory", *(["in space"] if "in_space" in rows[0] else [])]]
    for row in rows:
        counts = [f"{row[key]:,} ({show_count(row[key])})" for key in ("macs", "macs_conv_linear", "params")]
        counts.append(f"{row['memory_bytes']:,} ({show_count(row['memory_bytes'])}B)")
        lines.append(
            [row["arch"], *counts, *({True: "yes", False: "no"}[row[key]] for key in row if key == "in_space")]
        )
    print(aligned(lines, right=True))
