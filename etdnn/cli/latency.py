"""How fast a model embeds here; or a latency table for --latency-budget in stage 4, of this machine or of a device.

  etdnn latency model.safetensors                     milliseconds per utterance, share of the processor's peak
  etdnn latency --space conf/space.yaml --out latency.json --threads 1 --check 50

For a device that has numpy and onnxruntime only, write a bundle, run its measure.py there, bring measured.json back:

  etdnn latency --space conf/space.yaml --bundle bundle --check 50
  python3 measure.py                                                   (on the device, in the folder of the bundle)
  etdnn latency --measured measured.json --out latency.json
"""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", nargs="?", help="model file of stage 5 or of etdnn import, to measure as it is used")
    parser.add_argument("--space", help="search space: YAML file or published name")
    parser.add_argument("--out", help="table to write (JSON)")
    parser.add_argument("--bundle", metavar="DIR", help="write the networks and a runner for a device to DIR instead")
    parser.add_argument("--measured", metavar="FILE", help="what the runner measured on the device; nothing runs here")
    parser.add_argument("--backend", default="pytorch", help="of a table: pytorch (default) or onnxruntime")
    parser.add_argument("--device", default="cpu", help="of a table: cpu (default) or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--batch", type=int, default=1, help="utterances per call (default 1)")
    parser.add_argument("--frames", type=int, default=300, help="frames per utterance (default 300: 3 s)")
    parser.add_argument("--repeats", type=int, default=15, help="timed calls per size, of which the median counts")
    parser.add_argument("--check", type=int, default=0, metavar="N", help="measure N random nets beside the prediction")
    parser.add_argument("--json", action="store_true", help="print JSON: what was measured, and the checked nets")
    parser.add_argument("--seed", type=int, default=0, help="seed of the nets that correct and check the table")


def run(args: argparse.Namespace) -> None:
    """Print the speed of a model; or write the table or the bundle, with --check predictions beside measurements."""
    import sys

    from etdnn.errors import UsageError

    if args.model and (args.space or args.measured or args.out or args.bundle or args.check):
        raise UsageError("a model file is measured by itself: no --space, --measured, --out, --bundle or --check")
    if args.model:
        _show_speed(args)
        return
    if args.measured and not args.out or not (args.measured or args.space) or not (args.out or args.bundle):
        raise UsageError("give a model, or --space with --out or --bundle, or --measured with --out (see --help)")
    if args.measured:
        from etdnn.deploy.latency_bundle import read_measured

        table, checks = read_measured(args.measured)
    else:
        from etdnn.deploy.latency import Setting, check_table, measure_table
        from etdnn.embed.extract import pick_device
        from etdnn.model.space import SearchSpace

        space, device = SearchSpace.find(args.space), pick_device(args.device).type
        setting = Setting(args.backend, device, args.threads, args.batch, args.frames, args.repeats)
        if args.bundle:
            from etdnn.deploy.latency_bundle import write_bundle

            count = write_bundle(args.bundle, space, setting, check=args.check, seed=args.seed)
            if args.json:
                print(json.dumps({"bundle": args.bundle, "networks": count}))
                return
            print(f"{args.bundle}: {count} networks; copy it to the device and run `python3 measure.py` there")
            return
        stream = sys.stderr if args.json else sys.stdout
        table = measure_table(space, setting, seed=args.seed, say=lambda text: print(text, file=stream))
        checks = check_table(table, space, setting, args.check, args.seed)
    table.save(args.out)
    if args.json:
        nets = [{"arch": str(arch), "predicted": guess, "measured": found} for arch, guess, found in checks]
        about = {"table": args.out, **table.about, "scale": table.scale, "offset": table.offset, "checks": nets}
        print(json.dumps(about))
        return
    print(
        f"{args.out}: {table.about['machine']}, {table.about['threads']} threads, batch {table.about['batch']}, "
        f"{table.about['frames']} frames; sum of parts x {table.scale:.3f} + {table.offset * 1e3:.3f} ms"
    )
    if checks:
        _show(checks)


def _show(checks: list) -> None:
    import numpy as np

    print(f"{'predicted ms':>12} {'measured ms':>12} {'error':>7}  arch")
    for arch, guess, found in checks:
        print(f"{guess * 1e3:12.3f} {found * 1e3:12.3f} {100 * (guess / found - 1):+6.1f}%  {arch}")
    errors = [abs(guess / found - 1) for _, guess, found in checks]
    print(f"median error {100 * np.median(errors):.1f} %, largest {100 * max(errors):.1f} %, of {len(checks)} nets")


def _show_speed(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from etdnn.deploy.latency import Setting, about
    from etdnn.deploy.runtime import load_model
    from etdnn.deploy.speed import measure_front_end, measure_speed
    from etdnn.errors import UsageError

    if args.device != "cpu" or args.backend != "pytorch":
        raise UsageError("a model's speed is measured on the CPU with PyTorch; --device and --backend are for tables")
    setting = Setting(threads=args.threads, batch=args.batch, frames=args.frames, repeats=args.repeats)
    model = load_model(args.model)
    speeds, peaks = measure_speed(model.net, setting)
    front_end = measure_front_end(model.frontend, setting)
    length = args.frames * model.frontend.frame_shift / 1000
    factors = [(front_end + speed.seconds / args.batch) / length for speed in speeds]
    if args.json:
        rows = [{**asdict(speed), "real_time_factor": factor} for speed, factor in zip(speeds, factors, strict=True)]
        facts = {"model": args.model, **about(setting), "seconds_of_audio": length, "front_end_seconds": front_end}
        print(json.dumps({**facts, "peak_macs_per_second": peaks, "ways": rows}))
        return
    measured = "CPU time" if args.threads == 1 else "wall time"
    print(f"{args.model}: {model.net.arch}, {length:g} s ({args.frames} frames), batch {args.batch}")
    print(f"{about(setting)['machine']}, {args.threads} threads; {measured}, medians of {args.repeats}")
    shown = ", ".join(f"{name} {rate / 1e9:.0f} GMAC/s" for name, rate in peaks.items())
    print(f"peak of a matrix product: {shown}; features of an utterance: {1e3 * front_end:.2f} ms")
    print(f"{'network':10}{'ms/utterance':>14}{'real-time factor':>18}{'GMAC/s':>9}{'of peak':>9}{'against plain':>15}")
    for speed, factor in zip(speeds, factors, strict=True):
        print(
            f"{speed.way:10}{1e3 * speed.seconds / args.batch:14.2f}{factor:18.4f}"
            f"{speed.macs_per_second / 1e9:9.1f}{speed.share:9.0%}{speed.ratio:14.2f}x"
        )
    print("real-time factor: features and network; GMAC/s: convolutions and linears; peak: in the same precision")
