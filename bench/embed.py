"""One embedding on one CPU thread: PyTorch eager, eager in bfloat16, onnxruntime; against eager of the same network.

python3 bench/embed.py [--archs small mobile base largest] [--rounds 15] [--frames 300]

CPU time of one utterance from normalised features, variants alternated, medians; GMAC/s by convolutions and linears;
share of the peak that a large fp32 matrix product reaches in the same run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from etdnn.deploy.export import FbankForm, build_graph, open_session
from etdnn.deploy.runtime import Embedder
from etdnn.features.fbank import FbankOptions
from etdnn.model import Arch, SearchSpace
from etdnn.model.cost import arch_macs
from etdnn.model.tdnn import Tdnn

ARCHS = {
    "small": Arch.parse("2-256-256-256-3-3-3-400"),
    "mobile": Arch.parse("3-384-256-256-256-5-3-3-3-768"),
    "base": Arch.parse("3-512-512-512-512-5-3-3-3-1536"),
    "largest": SearchSpace.named("paper_coarse").largest,
}


def cpu_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def measured_peak(size: int = 1024) -> float:
    """Return multiply-accumulates per second of an fp32 matrix product, the best of ten."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return size**3 / min(cpu_seconds(lambda: a @ b) for _ in range(10))


def variants(arch: Arch, frames: int, folder: Path) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    net = Tdnn(arch).eval()
    model = Embedder(net, {"frontend": FbankOptions().to_dict(), "normalisation": "none", "arch": str(arch)})
    path = folder / f"{arch}.onnx"
    path.write_bytes(build_graph(FbankForm(model).eval(), "fbank", 80).SerializeToString())
    session = open_session(path)
    features = np.random.default_rng(0).standard_normal((1, frames, 80)).astype(np.float32)
    x = torch.from_numpy(features).transpose(1, 2).contiguous()

    def eager() -> None:
        with torch.inference_mode():
            net(x)

    def bfloat16() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            net(x)

    return {"eager": eager, "eager bf16": bfloat16, "onnxruntime": lambda: session.run(None, {"x": features})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", choices=ARCHS, default=list(ARCHS))
    parser.add_argument("--rounds", type=int, default=15, help="runs per variant (default 15)")
    parser.add_argument("--frames", type=int, default=300, help="length of the utterance (default 300: 3 s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    peak = measured_peak()
    print(f"peak: {peak / 1e9:.1f} GMAC/s (fp32 matrix product of 1024, one thread)")
    print(f"{'network':10}{'variant':14}{'ms':>9}{'GMAC/s':>9}{'of peak':>9}{'against eager':>15}")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.archs:
            calls = variants(ARCHS[name], args.frames, Path(folder))
            times: dict[str, list[float]] = {key: [] for key in calls}
            for round_ in range(args.rounds + 2):
                for key, call in calls.items():
                    seconds = cpu_seconds(call)
                    if round_ >= 2:
                        times[key].append(seconds)
            count = arch_macs(ARCHS[name], args.frames, batch_norm=False)
            for key, values in times.items():
                ratio = statistics.median(a / b for a, b in zip(times["eager"], values, strict=True))
                rate = count / statistics.median(values)
                shown = f"{1e3 * statistics.median(values):9.2f}{rate / 1e9:9.1f}{rate / peak:9.0%}{ratio:14.2f}x"
                print(f"{name:10}{key:14}{shown}")


if __name__ == "__main__":
    main()
