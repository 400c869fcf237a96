"""Training the full-size supernet on one GPU: the authors' settings against ours, and what bounds each.

python3 bench/train_gpu.py [--batch 128] [--steps 40] [--workers N] [--results FILE] [--device cpu --quick]

Crops of 3 s, 5,994 x 3 classes, synthetic audio and features (no corpus is needed). `published`: fp32 without TF32,
WAV read, cropped and mixed with noise in loader processes, mel features on the device, Adam one tensor at a time,
anomaly detection on; but through our network. `ours`: crops from a CM2 ark, de-quantised on the device, bf16 autocast,
fused Adam, gradients in one buffer; also with a batch four times as large. Each with the largest subnet in every step,
and with a drawn one.

TFLOP/s: six operations per multiply-accumulate (convolutions and linears, forward and backward pass) of the subnets
stepped; `peak` is that of a square matrix product in the same number format on the same device, measured here.
`busy`: share of the time in which the device computes (PyTorch's profiler); `wait`: share spent waiting for the loader.
Far below 1, `busy` says that launching kernels bounds the step; near 1, the kernels listed after the table do.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from etdnn.data.ark import ArkWriter
from etdnn.data.datadir import write_table
from etdnn.features.augment import add_noise, fit_length
from etdnn.features.fbank import htk_mel
from etdnn.files import write_json, write_text
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs
from etdnn.model.space import SearchSpace
from etdnn.model.supernet import Supernet
from etdnn.seeding import numpy_generator
from etdnn.train.archs import drawn_archs
from etdnn.train.dataset import TrainingSet
from etdnn.train.loop import Stepper
from etdnn.train.losses import MarginHead
from etdnn.train.ranks import Ranks
from etdnn.train.settings import Loss, Phase, TrainSettings

RATE, WARM_UP = 16000, 5


@dataclass(frozen=True)
class Size:
    """How large the comparison is."""

    space: SearchSpace
    seconds: float
    speakers: int
    files: int

    @classmethod
    def of(cls, quick: bool) -> "Size":
        if quick:
            space = SearchSpace("quick", depths=(1, 2), widths=(8, 16), kernels=(1, 3), cats=(16, 24))
            return cls(space, 0.4, 12, 24)
        return cls(SearchSpace.named("paper_coarse"), 3.0, 5994 * 3, 512)


class Waves(torch.utils.data.IterableDataset):
    """Batches of crops read from WAV files and mixed with noise, as a recipe without stored features makes them."""

    def __init__(self, folder: Path, size: Size, batch: int):
        self.paths, self.size, self.batch = sorted(map(str, folder.glob("*.wav"))), size, batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        generator = numpy_generator("waves", worker.id if worker else 0)
        samples = round(self.size.seconds * RATE)
        while True:
            crops = np.stack([self._crop(generator, samples) for _ in range(self.batch)])
            yield torch.from_numpy(crops), torch.from_numpy(generator.integers(0, self.size.speakers, self.batch))

    def _crop(self, generator: np.random.Generator, samples: int) -> np.ndarray:
        speech, noise = (self._read(self.paths[int(generator.integers(len(self.paths)))]) for _ in range(2))
        crop = fit_length(speech, samples, generator)
        return add_noise(crop, [fit_length(noise, samples, generator)], generator.uniform(0, 15), average=True)

    def _read(self, path: str) -> np.ndarray:
        return soundfile.read(path, dtype="float32")[0] * np.float32(32768)


class FrontEnd(nn.Module):
    """The authors' log-mel features on the device, mean and variance normalised: (batch, samples) to (batch, 80, n)."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hamming_window(400))
        self.register_buffer("mel", torch.from_numpy(htk_mel(512, RATE, 80, 20, 7600)))

    @torch.no_grad()
    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        waves = waves - 0.97 * torch.cat([waves[:, 1:2], waves[:, :-1]], dim=1)
        spectrum = torch.stft(waves, 512, 160, 400, self.window, pad_mode="reflect", return_complex=True)
        features = (self.mel.T @ spectrum.abs().square() + 1e-6).log()
        return nn.functional.instance_norm(features)


class Published:
    """One step as the authors' script makes it, but through our network."""

    def __init__(self, folder: Path, size: Size, batch: int, workers: int, device: torch.device, archs: Callable):
        self.device, self.archs, self.batch = device, archs, batch
        loader = torch.utils.data.DataLoader(
            Waves(folder, size, batch), batch_size=None, num_workers=workers, pin_memory=device.type == "cuda"
        )
        self.batches = iter(loader)
        self.front_end, self.supernet = FrontEnd().to(device), Supernet(size.space).to(device).train()
        self.head = MarginHead(size.space.embedding, size.speakers, Loss()).to(device)
        self.head.reset(None)
        parameters = [*self.supernet.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.Adam(parameters, weight_decay=2e-5, foreach=False)

    def step(self, number: int) -> float:
        """Make a step; return the seconds spent waiting for its crops."""
        began = time.perf_counter()
        waves, labels = next(self.batches)
        waited = time.perf_counter() - began
        with torch.autograd.set_detect_anomaly(True):
            features = self.front_end(waves.to(self.device, non_blocking=True))
            cosines = self.head.cosines(self.supernet(features, self.archs(number)[0]))
            loss = self.head(cosines, labels.to(self.device), 0.2)
            self.optimiser.zero_grad()
            loss.backward()
        self.optimiser.step()
        loss.item()
        return waited

    def close(self) -> None:
        del self.batches


class Ours:
    """The training loop's own steps, crops one step ahead in a thread."""

    def __init__(self, folder: Path, size: Size, batch: int, device: torch.device, phase: Phase, precision: str):
        self.batch, self.phase = batch, phase
        settings = TrainSettings([phase], batch=batch, precision=precision)
        data = TrainingSet(folder)
        data.labels = np.arange(len(data.labels)) % size.speakers
        supernet = Supernet(size.space).to(device)
        head = MarginHead(size.space.embedding, size.speakers, settings.loss).to(device)
        head.reset(None)
        archs = drawn_archs(phase.space(size.space), phase, 0)
        self.stepper = Stepper(supernet.train(), archs, head, data, settings, phase, Ranks(device.type), 0)
        self.pool = ThreadPoolExecutor(1)
        self.ahead = self.pool.submit(self.stepper.batches, 0)

    def step(self, number: int) -> float:
        """Make a step; return the seconds spent waiting for its crops."""
        began = time.perf_counter()
        batches = self.ahead.result()
        self.ahead = self.pool.submit(self.stepper.batches, number + 1)
        waited = time.perf_counter() - began
        self.stepper.take(number, batches)
        return waited

    def close(self) -> None:
        self.pool.shutdown()


def write_corpus(folder: Path, size: Size) -> None:
    """Write WAV files of 8 s, and an ark with a directory of as many utterances as there are items to a batch."""
    generator = np.random.default_rng(0)
    utt2spk = {}
    length = max(8.0, 2 * size.seconds)
    with ArkWriter(folder / "feats.ark", folder / "feats.scp", compression="cm2") as writer:
        for number in range(max(size.files, 512)):
            key = f"u{number:06d}"
            writer.write(key, generator.normal(12, 4, (round(100 * length), 80)).astype(np.float32))
            utt2spk[key] = f"s{number % 8}"
            if number < size.files:
                soundfile.write(folder / f"{key}.wav", generator.normal(0, 0.1, round(RATE * length)), RATE, "PCM_16")
    write_table(folder / "utt2spk", utt2spk)
    write_json(folder / "frontend.json", {"type": "bench", "key": "bench"})


def peak(device: torch.device, kind: torch.dtype, size: int) -> float:
    """Return TFLOP/s of a square matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    for _ in range(3):
        a @ b
    synchronise(device)
    began, count = time.perf_counter(), 20
    for _ in range(count):
        a @ b
    synchronise(device)
    return 2 * size**3 * count / (time.perf_counter() - began) / 1e12


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(run, archs: Callable[[int], list[Arch]], frames: int, steps: int, device: torch.device) -> dict:
    """Return utterances/s, TFLOP/s, shares of waiting and of the device's work, and the costliest kernels."""
    for number in range(WARM_UP):
        run.step(number)
    synchronise(device)
    began, waited = time.perf_counter(), 0.0
    for number in range(WARM_UP, WARM_UP + steps):
        waited += run.step(number)
    synchronise(device)
    seconds = time.perf_counter() - began
    macs = sum(arch_macs(archs(number)[0], frames, batch_norm=False) for number in range(WARM_UP, WARM_UP + steps))
    busy, kernels = profile(run, WARM_UP + steps, min(10, steps), device)
    return {"speed": steps * run.batch / seconds, "tflops": 6 * macs * run.batch / seconds / 1e12,
            "wait": waited / seconds, "busy": busy, "kernels": kernels}  # fmt: skip


def profile(run, first: int, steps: int, device: torch.device) -> tuple[float, list[str]]:
    """Return the share of wall time in which the device computes, and the five operators with most of it."""
    on_gpu = device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])
    synchronise(device)
    began = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as profiler:
        for number in range(first, first + steps):
            run.step(number)
        synchronise(device)
    wall = 1e6 * (time.perf_counter() - began)
    rows = [(row.self_device_time_total if on_gpu else row.self_cpu_time_total, row.key)
            for row in profiler.key_averages()]  # fmt: skip
    total = sum(time_ for time_, _ in rows)
    top = [f"{name[:60]} {100 * time_ / max(total, 1e-9):.0f} %" for time_, name in sorted(rows, reverse=True)[:5]]
    return total / wall, top


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--workers", type=int, default=8, help="loader processes of the published settings (default 8)")
    parser.add_argument("--quick", action="store_true", help="very small networks and crops, to see that it runs")
    parser.add_argument("--results", type=Path, help="also write what is printed to this file")
    args = parser.parse_args()
    device, size = Ranks(args.device).device, Size.of(args.quick)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    lines = [f"{name}, {time.strftime('%Y-%m-%d')}, torch {torch.__version__}, crops of {size.seconds:g} s", ""]
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    side = 128 if args.quick else 8192
    peaks = {"fp32": peak(device, torch.float32, side), "bf16": peak(device, torch.bfloat16, side)}
    lines.append("peak of a matrix product: " + ", ".join(f"{key} {value:.3g} TFLOP/s" for key, value in peaks.items()))
    lines += ["", "| settings | subnets | batch | utterances/s | TFLOP/s | of peak | wait | busy |", "|" + "---|" * 8]
    frames, kernels = round(100 * size.seconds), []
    phases = {"largest": Phase("largest", 1, size.seconds),
              "drawn": Phase("drawn", 1, size.seconds, depth="all", width="all", kernel="all", cat="all")}  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder, size)
        for subnets, phase in phases.items():
            archs = drawn_archs(phase.space(size.space), phase, 0)
            runs = {
                "published": (lambda archs=archs: Published(folder, size, args.batch, args.workers, device, archs)),
                "ours": (lambda phase=phase: Ours(folder, size, args.batch, device, phase, "bf16")),
                "ours, batch x 4": (lambda phase=phase: Ours(folder, size, 4 * args.batch, device, phase, "bf16")),
            }
            for settings, make in runs.items():
                ours = settings != "published"
                torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32 if ours else (False,) * 2
                run = make()
                found = measure(run, archs, frames, args.steps, device)
                run.close()
                share = found["tflops"] / peaks["bf16" if ours else "fp32"]
                lines.append(
                    f"| {settings} | {subnets} | {run.batch} | {found['speed']:.0f} | {found['tflops']:.3g} | "
                    f"{100 * share:.0f} % | {100 * found['wait']:.0f} % | {100 * found['busy']:.0f} % |"
                )
                kernels.append(f"- {settings}, {subnets}: {'; '.join(found['kernels'])}")
                print(lines[-1], flush=True)
    text = "\n".join([*lines, "", "Most of the device's time:", "", *kernels]) + "\n"
    print("\n" + text)
    if args.results:
        write_text(args.results, text)


if __name__ == "__main__":
    main()
