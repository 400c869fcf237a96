"""Two ways of training a supernet at equal compute: published progressive phases, and sandwich steps with distillation.

python3 bench/strategies.py --data egs/own/data --out /tmp/strategies [--seeds 1] [--jobs 2] [--results FILE]

Both begin from the same largest network (per seed). `progressive`: the four published phases, a uniformly drawn
subnet per step; `sandwich` makes as many steps of [largest, random, smallest], the others taught by the largest, as
have the same sum of multiply-accumulates (forward and backward pass: three times the forward count of each crop).
Three subnets, the same from each, are derived and scored on all trial lists of the test set as derived and fine-tuned;
`alone` is each of them trained from scratch for as many steps as `progressive` has in all. Plain cosine. A last table
has the EER with enrolment by one subnet and test by another of the same supernet: are their embeddings comparable?

The space is scaled down for two CPU cores (32 to 96 channels). Every part is a process of one thread, `--jobs` at once;
what is complete is not made again, so a broken run goes on by the same command, and another --data, --stretch
or --quick is refused. The last lines are a Markdown table.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed.extract import embed_utterances
from etdnn.files import write_json, write_text
from etdnn.model.arch import Arch
from etdnn.model.checkpoint import read_subnet
from etdnn.model.cost import arch_macs
from etdnn.model.space import SearchSpace
from etdnn.scoring.cosine import cosine_scores, index_trials, length_normalise
from etdnn.scoring.metrics import eer
from etdnn.train.archs import drawn_archs
from etdnn.train.dataset import TrainingSet
from etdnn.train.schedule import count_steps
from etdnn.train.settings import load_train_settings

SPACE = {"depth": [2, 3], "kernel": [1, 3, 5], "width": [32, 48, 64, 96], "cat": [96, 144, 192, 288]}
QUICK_SPACE = {"depth": [1, 2], "kernel": [1, 3], "width": [8, 16], "cat": [16, 24]}
ELASTIC = {"kernel": "all", "depth": "all", "width": "all", "cat": "all"}
SHARED = {
    "batch": 64, "precision": "auto", "normalisation": "mean", "augmentation": 0.6, "checkpoint_epochs": 2, "keep": 1,
    "loss": {"kind": "aam", "margin": 0.2, "scale": 30},
    "optimiser": {"kind": "adamw", "weight_decay": 0.05, "decay_all": False, "clip": 5.0},
    "spec_augment": {"bins": 8, "frames": 10},
}  # fmt: skip


@dataclass
class Plan:
    """Lengths and subnets of the comparison; `stretch` multiplies every length."""

    quick: bool
    stretch: float
    crop: float = field(init=False)

    def __post_init__(self):
        self.crop = 0.4 if self.quick else 1.5

    @property
    def space(self) -> dict:
        return {"name": "strategies", **(QUICK_SPACE if self.quick else SPACE)}

    @property
    def archs(self) -> dict[str, str]:
        """The three budgets: uniform subnets, so that each is the largest of a space of its own when trained alone."""
        if self.quick:
            return {"small": "1-8-8-1-1-16", "middle": "1-16-16-3-3-16", "large": "2-16-16-16-3-3-3-24"}
        return {"small": "2-32-32-32-3-3-3-96", "middle": "3-64-64-64-64-3-3-3-3-192",
                "large": "3-96-96-96-96-5-5-5-5-288"}  # fmt: skip

    def _phase(self, name: str, epochs: float, rate: float, **choices) -> dict:
        schedule = {"kind": "cosine", "max": rate, "min": 1e-5, "warmup": 0.2}
        return {"name": name, "epochs": epochs * self.stretch, "crop": self.crop, "schedule": schedule, **choices}

    def largest(self) -> dict:
        ramp = [self.stretch * epoch for epoch in (1, 5)]
        return self._phase("largest", 8, 3e-3, margin_ramp=ramp)

    def progressive(self) -> list[dict]:
        widths, cats = self.space["width"][-2:], self.space["cat"][-2:]
        return [
            self._phase("kernel", 1, 1e-3, kernel="all"),
            self._phase("depth", 1, 1e-3, kernel="all", depth="all"),
            self._phase("width1", 2, 1.5e-3, kernel="all", depth="all", width=widths, cat=cats),
            self._phase("width2", 4, 1.5e-3, **ELASTIC),
        ]

    def sandwich(self, epochs: float) -> dict:
        phase = self._phase("elastic", 1, 1.5e-3, **ELASTIC)
        distillation = {"logits": 1.0, "embedding": 1.0}
        return {**phase, "epochs": epochs, "paths": ["largest", "random", "smallest"], "distillation": distillation}

    def alone(self, epochs: float) -> dict:
        return {**self.largest(), "name": "alone", "epochs": epochs}

    def finetune(self) -> dict:
        schedule = {"kind": "cosine", "max": 5e-4, "min": 1e-5, "warmup": 0.2}
        return {"epochs": 3 * self.stretch, "crop": 2 * self.crop, "margin": 0.3, "speed_copies": False,
                "schedule": schedule}  # fmt: skip


class Comparison:
    """The parts, each of which leaves `<out>/seed<N>/.../part.json` with its wall and CPU time when complete."""

    def __init__(self, data: Path, out: Path, plan: Plan):
        self.data, self.out, self.plan = data, out, plan
        made = {"data": str(data.resolve()), "quick": plan.quick, "stretch": plan.stretch}
        if (out / "plan.json").is_file() and (before := json.loads((out / "plan.json").read_text())) != made:
            raise SystemExit(f"{out}: what is complete there was made with {before}, not {made}; name another --out")
        write_json(out / "plan.json", made)
        items = TrainingSet(data / "train_all", SHARED["augmentation"]).items
        self.shared = {**SHARED, "batch": 8} if plan.quick else SHARED
        self.per_epoch = items / self.shared["batch"]
        write_text(out / "space.yaml", yaml.safe_dump(plan.space))
        self.space = SearchSpace.load(out / "space.yaml")
        self.progressive = [plan.largest(), *plan.progressive()]
        self._configure("progressive", self.progressive)
        self.steps, self.macs = {}, {}
        for phase in self.progressive:
            self.steps[phase["name"]], self.macs[phase["name"]] = self._count("progressive", phase["name"])
        self._configure("sandwich", [plan.largest(), plan.sandwich(self._equal_epochs())])
        self.steps["elastic"], self.macs["elastic"] = self._count("sandwich", "elastic")
        total = sum(self.steps[phase["name"]] for phase in self.progressive)
        self._configure("alone", [plan.alone(total / self.per_epoch)])

    def _configure(self, name: str, phases: list[dict]) -> None:
        settings = {**self.shared, "phases": phases, "finetune": self.plan.finetune()}
        write_text(self.out / f"{name}.yaml", yaml.safe_dump(settings))

    def _count(self, config: str, name: str, limit: float = float("inf"), seed: int = 0) -> tuple[int, float]:
        """Return steps and multiply-accumulates of a phase, from the archs that it draws; until `limit` is reached."""
        settings = load_train_settings(str(self.out / f"{config}.yaml"))
        phase = settings.phase(name)
        archs = drawn_archs(phase.space(self.space), phase, seed)
        _, steps = count_steps(phase.epochs, self.per_epoch, 1)
        total = 0.0
        for step in range(steps):
            cost = sum(arch_macs(arch, phase.frames) for arch in archs(step))
            if total >= limit:
                return step, total
            total += 3.0 * self.shared["batch"] * cost
        return steps, total

    def _equal_epochs(self) -> float:
        """Return the epochs of the sandwich phase whose multiply-accumulates are those of the elastic phases."""
        limit = sum(self.macs[phase["name"]] for phase in self.progressive[1:])
        self._configure("sandwich", [self.plan.largest(), self.plan.sandwich(1e4 / self.per_epoch + 100)])
        steps, _ = self._count("sandwich", "elastic", limit)
        return steps / self.per_epoch

    def _run(self, folder: Path, words: list[str | Path]) -> None:
        """Run one etdnn command as a process of one thread, unless `folder` says that it is done."""
        done = folder / "part.json"
        if done.is_file():
            return
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment |= {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
        began = time.monotonic()
        with (folder / "part.log").open("ab") as log:
            command = [sys.executable, "-m", "etdnn", *map(str, words)]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{folder}/part.log: the command failed; its last lines say why")
        write_json(done, {"wall": time.monotonic() - began, "cpu": usage.ru_utime + usage.ru_stime})
        print(f"{time.strftime('%H:%M:%S')} {folder.relative_to(self.out)} done", flush=True)

    def _train(self, seed: int, config: str, phase: str, folder: Path, init: Path | None, space: Path) -> None:
        words = ["train", "--config", self.out / f"{config}.yaml", "--space", space, "--phase", phase]
        words += ["--data", self.data / "train_all", "--out", folder, "--seed", seed, "--device", "cpu"]
        self._run(folder, words + (["--init", init] if init else []))

    def largest(self, seed: int) -> None:
        folder = self.out / f"seed{seed}" / "largest"
        self._train(seed, "progressive", "largest", folder, None, self.out / "space.yaml")

    def alone(self, seed: int, size: str) -> None:
        arch = self.plan.archs[size].split("-")
        depth = int(arch[0])
        own = {"depth": [depth], "kernel": [int(arch[-2])], "width": [int(arch[1])], "cat": [int(arch[-1])]}
        folder = self.out / f"seed{seed}" / f"alone-{size}"
        write_text(folder / "space.yaml", yaml.safe_dump({"name": size, **own}))
        self._train(seed, "alone", "alone", folder, None, folder / "space.yaml")

    def strategy(self, seed: int, name: str) -> None:
        before = self.out / f"seed{seed}" / "largest"
        phases = [phase["name"] for phase in self.progressive[1:]] if name == "progressive" else ["elastic"]
        for phase in phases:
            folder = self.out / f"seed{seed}" / phase
            self._train(seed, name, phase, folder, before, self.out / "space.yaml")
            before = folder

    def subnet(self, seed: int, source: str, size: str) -> None:
        """Derive, fine-tune where the source is a supernet, and score."""
        last = {"progressive": "width2", "sandwich": "elastic", "alone": f"alone-{size}"}[source]
        supernet, folder = self.out / f"seed{seed}" / last, self.out / f"seed{seed}" / f"{source}-{size}"
        crops = 32 if self.plan.quick else 1024
        frames = round(100 * self.plan.crop)
        model = folder / "derived/model.safetensors"
        self._run(model.parent, [
            "derive", "--supernet", supernet / "supernet.safetensors", "--arch", self.plan.archs[size], "--data",
            self.data / "train_all", "--crops", crops, "--frames", frames, "--out", model, "--device", "cpu",
        ])  # fmt: skip
        self._score(model)
        if source == "alone":
            return
        tuned = folder / "finetuned/model.safetensors"
        self._run(tuned.parent, [
            "finetune", "--config", self.out / f"{source}.yaml", "--model", model, "--head",
            supernet / "head.safetensors", "--data", self.data / "train_all", "--calibration",
            self.data / "train_all", "--out", tuned, "--seed", seed, "--device", "cpu",
        ])  # fmt: skip
        self._score(tuned)

    def _score(self, model: Path) -> None:
        """Write the EER in percent of every trial list of the test set beside the model."""
        if (model.parent / "scores.json").is_file():
            return
        net, metadata = read_subnet(model)
        test = DataDir(self.data / "test")
        reader = FeatureReader(test.path / "feats.scp")
        vectors = length_normalise(
            embed_utterances(net, reader, np.arange(len(reader)), metadata["normalisation"])
        )  # fmt: skip
        row = {name: number for number, name in enumerate(reader.keys)}
        np.save(model.with_name("test.npy"), vectors)
        found = {name: self._eer(name, row, vectors, vectors) for name in test.trial_names()}
        write_json(model.parent / "scores.json", found)

    def _eer(self, name: str, row: dict[str, int], enrol: np.ndarray, test: np.ndarray) -> float:
        """Return the EER in percent of trial list `name`, enrolment and test side embedded by two networks."""
        trials = DataDir(self.data / "test").trials(name)
        indexed = index_trials(trials.enrol, trials.test, row, row)
        scores = cosine_scores(enrol, test, indexed.enrol, indexed.test)
        return 100 * eer(scores[trials.target], scores[~trials.target])

    def matrices(self, seeds: list[int]) -> str:
        """Return the table of EER (list `main`, or the first) by subnet of enrolment and of test."""
        folder = DataDir(self.data / "test")
        name = "main" if "main" in folder.trial_names() else folder.trial_names()[0]
        row = {key: number for number, key in enumerate(FeatureReader(folder.path / "feats.scp").keys)}
        sizes = list(self.plan.archs)
        lines = [f"| EER {name}, %: enrolment by | {' | '.join(f'test by {size}' for size in sizes)} |"]
        lines.append("|---|" + "---|" * len(sizes))
        for source in ("progressive", "sandwich"):
            vectors = {
                (seed, size): np.load(self.out / f"seed{seed}/{source}-{size}/derived/test.npy")
                for seed in seeds for size in sizes
            }  # fmt: skip
            for enrol in sizes:
                cells = [
                    spread([self._eer(name, row, vectors[seed, enrol], vectors[seed, size]) for seed in seeds])
                    for size in sizes
                ]
                lines.append(f"| {source}, {enrol} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def time(self, seed: int, names: list[str]) -> tuple[float, float]:
        """Return wall and CPU minutes of parts of a seed."""
        parts = [json.loads((self.out / f"seed{seed}" / name / "part.json").read_text()) for name in names]
        return sum(part["wall"] for part in parts) / 60, sum(part["cpu"] for part in parts) / 60

    def table(self, seeds: list[int]) -> str:
        """Return the Markdown tables: compute of each strategy, EER of each subnet."""
        elastic = [phase["name"] for phase in self.progressive[1:]]
        lines = ["| strategy | steps | MACs, forward and backward | wall, min | CPU, min |", "|---|---|---|---|---|"]
        rows = {"largest (both)": ["largest"], "progressive": elastic, "sandwich": ["elastic"]}
        for name, phases in rows.items():
            wall, cpu = np.mean([self.time(seed, phases) for seed in seeds], axis=0)
            steps, macs = (sum(table[phase] for phase in phases) for table in (self.steps, self.macs))
            lines.append(f"| {name} | {steps} | {macs:.4g} | {wall:.1f} | {cpu:.1f} |")
        lists = DataDir(self.data / "test").trial_names()
        lines += ["", f"| strategy | subnet | MACs | {' | '.join(f'EER {name}, %' for name in lists)} |"]
        lines.append("|---|---|---|" + "---|" * len(lists))
        for size, arch in self.plan.archs.items():
            macs = arch_macs(Arch.parse(arch)) / 1e6
            for source, state in (("progressive", "derived"), ("progressive", "finetuned"), ("sandwich", "derived"),
                                  ("sandwich", "finetuned"), ("alone", "derived")):  # fmt: skip
                found = [
                    json.loads((self.out / f"seed{seed}/{source}-{size}/{state}/scores.json").read_text())
                    for seed in seeds
                ]
                shown = " | ".join(spread([row[name] for row in found]) for name in lists)
                name = source + (", fine-tuned" if state == "finetuned" else "")
                lines.append(f"| {name} | {size} {arch} | {macs:.1f}M | {shown} |")
        return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Return the mean, with the standard deviation over seeds where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data directories of an egs, after stage 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is trained")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--stretch", type=float, default=1.0, help="multiplies the length of everything (default 1)")
    parser.add_argument("--quick", action="store_true", help="very small networks, to see that it runs")
    parser.add_argument("--results", type=Path, help="also write the tables to this file")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    began = time.monotonic()
    comparison = Comparison(args.data, args.out, Plan(args.quick, args.stretch))
    seeds, sizes = list(range(args.seeds)), list(comparison.plan.archs)
    rounds = [
        [(comparison.largest, seed) for seed in seeds],
        [(comparison.strategy, seed, name) for seed in seeds for name in ("progressive", "sandwich")],
        [(comparison.alone, seed, size) for seed in seeds for size in reversed(sizes)],
        [(comparison.subnet, seed, source, size) for seed in seeds for size in reversed(sizes)
         for source in ("progressive", "sandwich", "alone")],
    ]  # fmt: skip
    with ThreadPoolExecutor(args.jobs) as pool:
        # those trained alone wait for nobody, so they fill the time in which a single seed's largest network is trained
        alone = [pool.submit(*call) for call in rounds[0]] + [pool.submit(*call) for call in rounds.pop(2)]
        for future in alone[: len(seeds)]:
            future.result()
        strategies = [pool.submit(*call) for call in rounds[1]]
        for future in [*alone, *strategies]:
            future.result()
        for future in [pool.submit(*call) for call in rounds[2]]:
            future.result()
    minutes = (time.monotonic() - began) / 60
    tables = f"{comparison.table(seeds)}\n\n{comparison.matrices(seeds)}\n"
    text = f"{args.seeds} seed(s), {minutes:.1f} min for this call\n\n{tables}"
    print(text)
    if args.results:
        write_text(args.results, text)


if __name__ == "__main__":
    main()
