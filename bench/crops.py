"""Training crops per second of one core: range reads against kaldiio's whole matrices and against wav + fbank.

python3 bench/crops.py [--quick] [--folder DIR]

Crops of 300 x 80 from synthetic utterances of 4 to 12 s, one thread, CPU time, medians of runs that take turns. Prints
crops/s, ratios against both baselines (aims: 2.5x and 25x; 20k crops/s from CM2), the same with the page cache emptied
for the arks (wall time), memory over 100k crops, and start-up time and memory with an index of 3.6 million utterances.

`ranges` are floats, as a training on CPU takes them; `codes` are the bytes that travel to a GPU, which scales them. All
are compared with kaldiio's values first (2e-5 is allowed). Ratios are medians of the runs' own ratios.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import kaldiio
import numpy as np
import soundfile

from etdnn.data.ark import ArkWriter, FeatureReader
from etdnn.features.fbank import FbankOptions, compute_fbank

FORMATS = ("fm", "cm2", "cm3", "cm")
FRAMES, BATCH = 300, 64


def make_arks(folder, utterances):
    generator = np.random.default_rng(0)
    lengths = generator.integers(400, 1200, utterances)
    for compression in FORMATS:
        with ArkWriter(folder / f"{compression}.ark", folder / f"{compression}.scp", compression) as writer:
            for number, length in enumerate(lengths.tolist()):
                writer.write(f"utt{number:06d}", generator.normal(12, 4, (length, 80)).astype(np.float32))
    return lengths


def make_waves(folder, number=40):
    generator, paths = np.random.default_rng(1), []
    for index in range(number):
        paths.append(str(folder / f"{index}.wav"))
        soundfile.write(paths[-1], generator.normal(0, 0.1, 128000), 16000, subtype="PCM_16")
    return paths


def draw(generator, lengths, number):
    indices = generator.integers(0, len(lengths), number)
    return indices, (generator.random(number) * (lengths[indices] - FRAMES)).astype(np.int64)


def largest_difference(folder, lengths, number=100):
    """Return the largest difference to kaldiio over crops of all formats."""
    worst = 0.0
    for name in FORMATS:
        reader, table = FeatureReader(folder / f"{name}.scp"), kaldiio.load_scp(str(folder / f"{name}.scp"))
        indices, starts = draw(np.random.default_rng(2), lengths, number)
        for crop, index, first in zip(reader.read_crops(indices, starts, FRAMES), indices, starts, strict=True):
            whole = table[reader.keys[int(index)]]
            worst = max(worst, float(np.abs(crop - whole[first : first + FRAMES]).max()))
    return worst


def range_crops(reader, lengths, number, generator, read, clock=time.process_time):
    indices, starts = draw(generator, lengths, number)
    start = clock()
    for begin in range(0, number, BATCH):
        getattr(reader, read)(indices[begin : begin + BATCH], starts[begin : begin + BATCH], FRAMES)
    return number / (clock() - start)


def kaldiio_crops(scp, lengths, number, generator, clock=time.process_time):
    table = kaldiio.load_scp(str(scp), max_cache_fd=8)
    keys = list(table)
    indices, starts = draw(generator, lengths, number)
    start = clock()
    for begin in range(0, number, BATCH):
        pairs = zip(indices[begin : begin + BATCH].tolist(), starts[begin : begin + BATCH].tolist(), strict=True)
        np.stack([table[keys[index]][first : first + FRAMES] for index, first in pairs])
    return number / (clock() - start)


def wave_crops(paths, number, generator):
    options, samples = FbankOptions(), FRAMES * 160
    compute_fbank(np.zeros(samples, np.float32), options)
    start = time.process_time()
    for _ in range(number):
        first = int(generator.integers(0, 128000 - samples))
        wave, _rate = soundfile.read(paths[int(generator.integers(len(paths)))], samples, first, dtype="int16")
        compute_fbank(wave.astype(np.float32), options)
    return number / (time.process_time() - start)


def forget(path):
    """Take a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def megabytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def start_up(folder, utterances):
    """Time and memory of a reader over a synthetic list, in a process of its own."""
    scp, counts = folder / "feats.scp", folder / "utt2num_frames"
    with scp.open("w") as index, counts.open("w") as frames:
        for number in range(utterances):
            key = f"id{number // 200:05d}-1zcIwhmdeo4-{number:07d}"
            index.write(
                f"{key} /disc/fbank/kaldi80/train/fbank.{1 + number * 64 // utterances}.ark:{number * 130000}\n"
            )
            frames.write(f"{key} {400 + number % 800}\n")
    code = f"""
import json, time
from etdnn.data.ark import FeatureReader

def memory(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) / 1e3

before, start = memory("VmRSS"), time.process_time()
reader = FeatureReader({str(scp)!r})
total = int(reader.num_frames.sum())
seconds = time.process_time() - start
held, peak = memory("VmRSS") - before, memory("VmHWM") - before
start = time.process_time()
for number in range(0, len(reader), max(1, len(reader) // 1000)):
    assert reader.keys.index(reader.keys[number]) == number
lookup = (time.process_time() - start) / 1000
print(json.dumps([seconds, held, peak, before, lookup * 1e6]))
"""
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def compare(folder, lengths, paths, runs, crops):
    """Return name -> crops/s of each run; baselines and readers take turns."""
    results = {}
    readers = {name: FeatureReader(folder / f"{name}.scp") for name in FORMATS}
    for run in range(runs + 1):  # the first warms the page cache
        generator = np.random.default_rng(run)
        rates = {"wav + fbank": wave_crops(paths, max(20, crops // 100), generator)}
        for name in FORMATS:
            rates[f"{name} kaldiio"] = kaldiio_crops(folder / f"{name}.scp", lengths, crops // 8, generator)
            rates[f"{name} ranges"] = range_crops(readers[name], lengths, crops, generator, "read_crops")
            rates[f"{name} codes"] = range_crops(readers[name], lengths, crops, generator, "read_quantised")
        if run:
            for name, rate in rates.items():
                results.setdefault(name, []).append(rate)
    return results


def ratio(rates, others):
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


def cold_rates(folder, name, lengths, number):
    """Return crops/s by ranges and by kaldiio, each with the ark out of the page cache."""
    forget(folder / f"{name}.ark")
    reader = FeatureReader(folder / f"{name}.scp")
    ours = range_crops(reader, lengths, number, np.random.default_rng(9), "read_crops", time.perf_counter)
    forget(folder / f"{name}.ark")
    peer = kaldiio_crops(folder / f"{name}.scp", lengths, number, np.random.default_rng(9), time.perf_counter)
    return ours, peer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds instead of minutes")
    parser.add_argument("--folder", type=Path, help="where to make the arks [a temporary folder]")
    args = parser.parse_args()
    utterances, runs, crops, index = (150, 2, 640, 100_000) if args.quick else (2000, 5, 6400, 3_600_000)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        lengths, paths = make_arks(folder, utterances), make_waves(folder)
        print(f"largest difference to kaldiio, all formats: {largest_difference(folder, lengths):.1e}")
        rates = compare(folder, lengths, paths, runs, crops)
        median = {name: statistics.median(values) for name, values in rates.items()}
        fly = rates["wav + fbank"]
        print(f"crops of {FRAMES} x 80 per second, one thread, page cache warm")
        print(f"wav + fbank on the fly: {median['wav + fbank']:.0f}")
        print(f"{'format':8}{'ranges':>9}{'codes':>9}{'kaldiio':>9}{'ratio':>8}{'to wav':>8}")
        for name in FORMATS:
            ours, codes, peer = (f"{name} {kind}" for kind in ("ranges", "codes", "kaldiio"))
            print(
                f"{name:8}{median[ours]:9.0f}{median[codes]:9.0f}{median[peer]:9.0f}"
                f"{ratio(rates[ours], rates[peer]):7.1f}x{ratio(rates[ours], fly):7.1f}x"
            )
        for name in FORMATS:
            ours, peer = cold_rates(folder, name, lengths, crops // 8)
            print(f"{name} page cache emptied: {ours:.0f}, kaldiio {peer:.0f}, {ours / peer:.1f}x")
        reader, generator = FeatureReader(folder / "cm2.scp"), np.random.default_rng(3)
        range_crops(reader, lengths, crops, generator, "read_crops")
        before, many = megabytes(), 3200 if args.quick else 100_000
        range_crops(reader, lengths, many, generator, "read_crops")
        print(f"memory before and after {many} crops: {before:.0f} and {megabytes():.0f} MB")
        seconds, held, peak, base, lookup = start_up(folder, index)
        print(
            f"index of {index} utterances: {seconds:.1f} s, {held:.0f} MB held, {peak:.0f} MB at the peak "
            f"(without: {base:.0f} MB), a look-up by key {lookup:.0f} us"
        )


if __name__ == "__main__":
    main()
