#!/usr/bin/env python3
"""Measures the networks of a latency bundle on this device. Needs Python 3.8 or newer, numpy and onnxruntime.

Copy the whole folder here and run `python3 measure.py`; nothing else should run meanwhile. Bring measured.json back to
the machine that made the bundle: `etdnn latency --measured measured.json --out table.json` turns it into a table.
"""

import argparse
import json
import platform
import statistics
import sys
import time
import zipfile
from pathlib import Path

FORMAT = 1
MODELS, BUNDLE = "models.zip", "bundle.json"


def median_seconds(call, repeats, warmup=3):
    """Return the median seconds of `repeats` calls after `warmup` ones."""
    for _ in range(warmup):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def onnx_session(model, threads, provider="CPUExecutionProvider"):
    """Return an onnxruntime session of a model's bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=[provider])


def onnx_call(model, inputs, threads, provider="CPUExecutionProvider"):
    """Return a function that runs the model's bytes once on `inputs`."""
    session = onnx_session(model, threads, provider)
    given = {session.get_inputs()[0].name: inputs}
    return lambda: session.run(None, given)


def measure_bundle(folder, machine, threads, repeats, provider, say=print):
    """Return what measured.json holds: the bundle's own facts, seconds per model, and what they were measured with."""
    import numpy
    import onnxruntime

    bundle = json.loads((folder / BUNDLE).read_text(encoding="utf-8"))
    if bundle["format"] != FORMAT:
        raise ValueError(f"{folder}: format {bundle['format']} is not {FORMAT}; make the bundle again")
    draw, seconds = numpy.random.RandomState(0), {}
    with zipfile.ZipFile(folder / MODELS) as models:
        for number, (name, shape) in enumerate(bundle["models"].items(), 1):
            inputs = draw.standard_normal(shape).astype(numpy.float32)
            seconds[name] = median_seconds(onnx_call(models.read(name), inputs, threads, provider), repeats)
            if number % 25 == 0 or number == len(bundle["models"]):
                say(f"{number} of {len(bundle['models'])} measured")
    about = {
        "machine": machine,
        "backend": "onnxruntime",
        "device": provider.replace("ExecutionProvider", "").lower(),
        "threads": threads,
        "repeats": repeats,
        "versions": {"onnxruntime": onnxruntime.__version__},
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    return {**bundle, "seconds": seconds, "about": {**bundle["about"], **about}}


def main():
    """Measure the bundle that lies beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="measured.json", help="file to write (default measured.json)")
    parser.add_argument("--machine", default=platform.platform(), help="what to call this device (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15, help="timed calls per network, of which the median counts")
    parser.add_argument("--provider", default="CPUExecutionProvider", help="execution provider of onnxruntime")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    try:
        found = measure_bundle(folder, options.machine, options.threads, options.repeats, options.provider)
    except (ImportError, OSError, ValueError, KeyError) as error:
        print(f"measure.py: error: {error}", file=sys.stderr)
        return 1
    Path(options.out).write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"{options.out}: bring it back, then: etdnn latency --measured {options.out} --out table.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
