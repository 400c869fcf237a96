"""Measure this machine's latency table for a search space, for --latency-budget in stage 4.

etdnn latency --space conf/space.yaml --out latency.json --threads 1 --check 50
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--space", required=True, help="search space: YAML file or published name")
    parser.add_argument("--out", required=True, help="table to write (JSON)")
    parser.add_argument("--backend", default="pytorch", help="pytorch (default) or onnxruntime")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--batch", type=int, default=1, help="utterances per call (default 1)")
    parser.add_argument("--frames", type=int, default=300, help="frames per utterance (default 300: 3 s)")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls per size, of which the median counts")
    parser.add_argument("--check", type=int, default=0, metavar="N", help="measure N random nets beside the prediction")
    parser.add_argument("--seed", type=int, default=0, help="seed of the nets that correct and check the table")


def run(args: argparse.Namespace) -> None:
    """Write the table; with --check print predictions beside measurements."""
    import numpy as np

    from etdnn.deploy.latency import Setting, check_table, measure_table
    from etdnn.embed.extract import pick_device
    from etdnn.model.space import SearchSpace

    space = SearchSpace.find(args.space)
    setting = Setting(args.backend, pick_device(args.device).type, args.threads, args.batch, args.frames, args.repeats)
    table = measure_table(space, setting, seed=args.seed)
    table.save(args.out)
    print(
        f"{args.out}: space {space.name} on {table.about['machine']}, {setting.threads} threads, "
        f"batch {setting.batch}, {setting.frames} frames; sum of parts x {table.scale:.3f} + "
        f"{table.offset * 1e3:.3f} ms"
    )
    if args.check:
        checks = check_table(table, space, setting, args.check, args.seed)
        print(f"{'predicted ms':>12} {'measured ms':>12} {'error':>7}  arch")
        for arch, guess, found in checks:
            print(f"{guess * 1e3:12.3f} {found * 1e3:12.3f} {100 * (guess / found - 1):+6.1f}%  {arch}")
        errors = [abs(guess / found - 1) for _, guess, found in checks]
        print(f"median error {100 * np.median(errors):.1f} %, largest {100 * max(errors):.1f} %, of {len(checks)} nets")
