"""One embedding on one CPU thread: PyTorch eager, the fast order in fp32 and bf16, onnxruntime; and the EER of each.

python3 bench/embed.py [--archs small mobile base largest] [--rounds 15] [--frames 300]
python3 bench/embed.py --profile [--archs ...]                                    where the fast orders' time goes
python3 bench/embed.py --archs --model MODEL ... --data DATADIR --trials TRIALS ...      EER only

CPU time of one utterance from normalised features: the ways alternated, each called twice in a round of which the
second call counts, medians. GMAC/s count convolutions and linears; the peak is that of a matrix product in the same
precision in the same run. `--frames 2` shows what the calls cost before they compute much. The EER is that of cosine
scores of whole utterances. Four networks take about two minutes on a machine that does nothing else.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.data.trials import read_trials
from etdnn.deploy.export import FbankForm, build_graph, open_session
from etdnn.deploy.fast import accelerate
from etdnn.deploy.runtime import Embedder, load_model
from etdnn.deploy.speed import alternate, clock, compare, measured_peaks, ways
from etdnn.embed.extract import check_frontend, embed_utterances
from etdnn.features.fbank import FbankOptions
from etdnn.model import Arch, SearchSpace
from etdnn.model.cost import arch_macs
from etdnn.model.tdnn import Tdnn
from etdnn.scoring.cosine import cosine_scores, index_trials, length_normalise
from etdnn.scoring.metrics import eer

PRODUCTS = {"addmm", "mm", "linear", "_linear_pointwise"}
ARCHS = {
    "small": Arch.parse("2-256-256-256-3-3-3-400"),
    "mobile": Arch.parse("3-384-256-256-256-5-3-3-3-768"),
    "base": Arch.parse("3-512-512-512-512-5-3-3-3-1536"),
    "largest": SearchSpace.named("paper_coarse").largest,
}


def onnx_session(model: Embedder, folder: Path):
    """Return an onnxruntime session that takes features (n, frames, bins) before normalisation."""
    path = folder / f"{model.net.arch}.onnx"
    path.write_bytes(build_graph(FbankForm(model).eval(), "fbank", model.frontend.dim).SerializeToString())
    return open_session(path)


def timed_calls(arch: Arch, frames: int, folder: Path) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    net = Tdnn(arch).eval()
    model = Embedder(net, {"frontend": FbankOptions().to_dict(), "normalisation": "none", "arch": str(arch)})
    session = onnx_session(model, folder)
    features = np.random.default_rng(0).standard_normal((1, frames, 80)).astype(np.float32)
    calls = ways(net, torch.from_numpy(features).transpose(1, 2))
    return {**calls, "onnxruntime": lambda: session.run(None, {"x": features})}


def show_speeds(names: Sequence[str], frames: int, rounds: int, folder: Path) -> None:
    now = clock(1)
    peaks = measured_peaks(now)
    shown = ", ".join(f"{name} {rate / 1e9:.1f} GMAC/s" for name, rate in peaks.items())
    print(f"peak of a matrix product of 1024, one thread: {shown}; {frames} frames; torch {torch.__version__}")
    print(f"{'network':10}{'way':14}{'ms':>9}{'GMAC/s':>9}{'of peak':>9}{'against plain':>15}")
    for name in names:
        times = alternate(timed_calls(ARCHS[name], frames, folder), rounds, now)
        for speed in compare(times, arch_macs(ARCHS[name], frames, batch_norm=False), peaks):
            print(
                f"{name:10}{speed.way:14}{1e3 * speed.seconds:9.2f}{speed.macs_per_second / 1e9:9.1f}"
                f"{speed.share:9.0%}{speed.ratio:14.2f}x",
                flush=True,
            )


class OperationTimes(TorchFunctionMode):
    """CPU time of each operation inside, by name and shapes of its first operands; views are left out."""

    def __init__(self, now: Callable[[], float]):
        super().__init__()
        self.now, self.seconds, self.calls = now, defaultdict(float), defaultdict(int)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        began = self.now()
        result = func(*args, **(kwargs or {}))
        took = self.now() - began
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        if tensors and getattr(func, "__name__", "") not in ("view", "split", "flatten", "as_strided", "__get__"):
            shapes = ", ".join("x".join(map(str, each.shape)) for each in tensors[:3])
            key = (getattr(func, "__name__", str(func)), f"{shapes} {str(tensors[0].dtype).removeprefix('torch.')}")
            self.seconds[key] += took
            self.calls[key] += 1
        return result


def show_profile(names: Sequence[str], frames: int, rounds: int, top: int = 12) -> None:
    """Print where the time of both fast orders goes: medians over rounds, each operation timed in its place."""
    now = clock(1)
    peaks = measured_peaks(now)
    for name in names:
        torch.manual_seed(0)
        net, x = Tdnn(ARCHS[name]).eval(), torch.randn(1, 80, frames)
        for precision in ("fp32", "bf16"):
            quick = accelerate(net, precision)
            found, whole = defaultdict(list), []
            for round_ in range(rounds + 2):
                began = now()
                quick(x)
                took = now() - began
                with OperationTimes(now) as times:
                    quick(x)
                if round_ > 1:
                    whole.append(took)
                    for key, seconds in times.seconds.items():
                        found[key].append(seconds)
            medians = {key: 1e3 * statistics.median(each) for key, each in found.items()}
            products = sum(each for key, each in medians.items() if key[0] in PRODUCTS)
            least = 1e3 * arch_macs(net.arch, frames, batch_norm=False) / peaks[precision]
            print(
                f"{name} {precision}: {1e3 * statistics.median(whole):.2f} ms; products {products:.2f} ms (at the peak "
                f"{least:.2f}), other operations {sum(medians.values()) - products:.2f} ms"
            )
            for key in sorted(medians, key=medians.get, reverse=True)[:top]:
                print(f"  {medians[key]:8.3f} ms {times.calls[key]:4d} x {key[0]:18} {key[1]}", flush=True)


def show_errors(model_path: str, data: DataDir, lists: Sequence[str], folder: Path) -> None:
    """Print, for each way, the EER on each list and how far its embeddings are from the plain network's."""
    model = load_model(model_path)
    check_frontend(model.metadata["frontend"], data.frontend, data.path)
    trials = {Path(path).name: read_trials(path) for path in lists}
    ids = sorted({name for each in trials.values() for name in (*each.enrol, *each.test)})
    reader = FeatureReader(data.path / "feats.scp")
    rows = np.array([reader.index(name) for name in ids], np.int64)
    kind = model.metadata["normalisation"]
    session = onnx_session(model, folder)

    def by_onnx() -> np.ndarray:
        lengths = np.asarray(reader.num_frames)[rows]
        start = np.zeros(1, np.int64)
        pieces = [reader.read_crops(rows[i : i + 1], start, int(length)) for i, length in enumerate(lengths)]
        return np.concatenate([session.run(None, {"x": piece})[0] for piece in pieces])

    found = {"plain": embed_utterances(model.net, reader, rows, kind)}
    for precision in ("fp32", "bf16"):
        found[precision] = embed_utterances(accelerate(model.net, precision), reader, rows, kind)
    found["onnxruntime"] = by_onnx()
    index = {name: row for row, name in enumerate(ids)}
    plain = length_normalise(found["plain"])
    print(f"{model_path}: {model.net.arch}, {len(ids)} utterances")
    for way, embeddings in found.items():
        unit = length_normalise(embeddings)
        shown = []
        for name, each in trials.items():
            indexed = index_trials(each.enrol, each.test, index, index, where=name)
            scores = cosine_scores(unit, unit, indexed.enrol, indexed.test)
            shown.append(f"{name} EER {100 * eer(scores[each.target], scores[~each.target]):.3f} %")
        gap = np.abs(embeddings - found["plain"]).max()
        lowest = (unit * plain).sum(axis=1).min()
        print(f"  {way:12} {', '.join(shown)}; largest difference {gap:.1e}, lowest cosine {lowest:.7f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="*", choices=ARCHS, default=list(ARCHS), help="networks to time")
    parser.add_argument("--rounds", type=int, default=15, help="measured calls per way (default 15)")
    parser.add_argument("--frames", type=int, default=300, help="length of the utterance (default 300: 3 s)")
    parser.add_argument("--profile", action="store_true", help="show the fast orders' operations instead of speeds")
    parser.add_argument("--model", action="append", default=[], help="model file whose EER is wanted; repeatable")
    parser.add_argument("--data", help="data directory with the features of the trials' utterances")
    parser.add_argument("--trials", action="append", default=[], help="trial list; repeatable")
    args = parser.parse_args()
    if args.model and not (args.data and args.trials):
        parser.error("--model needs --data and --trials")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.profile:
            show_profile(args.archs, args.frames, args.rounds)
        elif args.archs:
            show_speeds(args.archs, args.frames, args.rounds, Path(folder))
        for path in args.model:
            show_errors(path, DataDir(args.data), args.trials, Path(folder))


if __name__ == "__main__":
    main()
