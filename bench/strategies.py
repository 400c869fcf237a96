"""Three ways of training a supernet at equal compute: published progressive phases, sandwich steps, one elastic phase.

python3 bench/strategies.py --data egs/own/data --out /tmp/strategies [--seeds 1] [--jobs 2] [--results FILE]

`progressive`: the five published phases, as there of equal length, a uniformly drawn subnet per step. `sandwich`: from
the same largest network, steps of [largest, random, smallest], the others taught by the largest. `one phase`: from
scratch, a subnet of the whole space per step. All make as many steps as have the same sum of multiply-accumulates
(forward and backward pass: three times the forward count of each crop), at the same rates.

Three subnets, the same from each, are derived and scored on all trial lists of the test set as derived and fine-tuned;
`alone` is each of them trained from scratch for as many steps as `progressive` has in all. Plain cosine. A last table
has the EER with enrolment by one subnet and test by another of the same supernet: are their embeddings comparable?

The space is scaled down for two CPU cores (32 to 96 channels). Every part is a process of one thread, `--jobs` at once;
what is complete is not made again, so a broken run goes on by the same command, and another --data, --stretch
or --quick is refused. The last lines are Markdown tables.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from parts import Parts, add_arguments, publish, spread

from etdnn.data.datadir import DataDir
from etdnn.files import write_text
from etdnn.model.arch import Arch
from etdnn.model.cost import arch_macs
from etdnn.model.space import SearchSpace
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

    def _phase(self, name: str, epochs: float, **choices) -> dict:
        schedule = {"kind": "cosine", "max": 3e-3, "min": 1e-5, "warmup": 0.2}
        return {"name": name, "epochs": epochs, "crop": self.crop, "schedule": schedule, **choices}

    def _first(self, name: str, epochs: float, **choices) -> dict:
        """A phase from scratch: the margin grows between an eighth and five eighths of it."""
        return self._phase(name, epochs, margin_ramp=[epochs / 8, epochs * 5 / 8], **choices)

    def progressive(self) -> list[dict]:
        """The published phases and their choices, each of the same length."""
        epochs, widths, cats = 2 * self.stretch, self.space["width"][-2:], self.space["cat"][-2:]
        return [
            self._first("largest", epochs),
            self._phase("kernel", epochs, kernel="all"),
            self._phase("depth", epochs, kernel="all", depth="all"),
            self._phase("width1", epochs, kernel="all", depth="all", width=widths, cat=cats),
            self._phase("width2", epochs, **ELASTIC),
        ]

    def sandwich(self, epochs: float) -> list[dict]:
        """The same largest network, then the three paths in every step."""
        taught = {"paths": ["largest", "random", "smallest"], "distillation": {"logits": 1.0, "embedding": 1.0}}
        return [self.progressive()[0], self._phase("elastic", epochs, **ELASTIC, **taught)]

    def one_phase(self, epochs: float) -> list[dict]:
        """The whole space from the first step on."""
        return [self._first("elastic", epochs, **ELASTIC)]

    def alone(self, epochs: float) -> list[dict]:
        """One network from scratch."""
        return [self._first("alone", epochs)]

    def finetune(self) -> dict:
        schedule = {"kind": "cosine", "max": 5e-4, "min": 1e-5, "warmup": 0.2}
        return {"epochs": 2 * self.stretch, "crop": self.crop, "margin": 0.3, "speed_copies": True,
                "schedule": schedule}  # fmt: skip


class Comparison:
    """The strategies of one call, at equal compute."""

    def __init__(self, data: Path, out: Path, plan: Plan):
        self.parts = Parts(data, out, {"quick": plan.quick, "stretch": plan.stretch})
        self.data, self.out, self.plan = data, out, plan
        items = TrainingSet(data / "train_all", SHARED["augmentation"]).items
        self.shared = {**SHARED, "batch": 8} if plan.quick else SHARED
        self.per_epoch = items / self.shared["batch"]
        write_text(out / "space.yaml", yaml.safe_dump(plan.space))
        self.space = SearchSpace.load(out / "space.yaml")
        self.phases = {"progressive": plan.progressive()}
        self._configure("progressive", self.phases["progressive"])
        counts = [self._count("progressive", phase["name"]) for phase in self.phases["progressive"]]
        steps, macs = (sum(column) for column in zip(*counts, strict=True))
        self.costs = {"progressive": (steps, macs)}
        self._equalise("sandwich", plan.sandwich, macs, *counts[0])
        self._equalise("one phase", plan.one_phase, macs)
        self._configure("alone", plan.alone(steps / self.per_epoch))

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

    def _equalise(self, name: str, plan, limit: float, steps: int = 0, macs: float = 0.0) -> None:
        """Give the last phase of a strategy the length at which all has `limit` multiply-accumulates.

        `steps` and `macs` are those of the phases before it. Counted for the archs that seed 0 draws.
        """
        self._configure(name, plan(1e4 / self.per_epoch + 100))
        last, cost = self._count(name, "elastic", limit - macs)
        self.phases[name] = plan(last / self.per_epoch)
        self._configure(name, self.phases[name])
        self.costs[name] = steps + last, macs + cost

    def folder(self, seed: int, strategy: str, phase: str) -> Path:
        """Return where a phase lies; the largest network is shared."""
        name = phase if phase == "largest" else f"{strategy}-{phase}".replace(" ", "-")
        return self.out / f"seed{seed}" / name

    def train(self, seed: int, strategy: str, phases: list[dict]) -> None:
        """Train phases of a strategy, each from the one before it."""
        everything = [phase["name"] for phase in self.phases[strategy]]
        for name in (phase["name"] for phase in phases):
            place = everything.index(name)
            init = self.folder(seed, strategy, everything[place - 1]) if place else None
            folder = self.folder(seed, strategy, name)
            self.parts.train(folder, self.out / f"{strategy}.yaml", name, self.out / "space.yaml", seed, init)

    def alone(self, seed: int, size: str) -> None:
        """Train one of the three subnets from scratch, as the largest network of a space of its own."""
        arch = self.plan.archs[size].split("-")
        own = {"depth": [int(arch[0])], "kernel": [int(arch[-2])], "width": [int(arch[1])], "cat": [int(arch[-1])]}
        folder = self.folder(seed, "alone", size)
        write_text(folder / "space.yaml", yaml.safe_dump({"name": size, **own}))
        self.parts.train(folder, self.out / "alone.yaml", "alone", folder / "space.yaml", seed)

    def model(self, seed: int, strategy: str, size: str, state: str = "derived") -> Path:
        """Return the file of a subnet."""
        return self.out / f"seed{seed}" / f"subnet-{strategy}-{size}".replace(" ", "-") / state / "model.safetensors"

    def subnet(self, seed: int, strategy: str, size: str) -> None:
        """Derive, fine-tune where the source is a supernet, and score."""
        alone = strategy == "alone"
        last = size if alone else self.phases[strategy][-1]["name"]
        supernet, model = self.folder(seed, strategy, last), self.model(seed, strategy, size)
        crops = 32 if self.plan.quick else 1024
        frames = round(100 * self.plan.crop)
        self.parts.derive(supernet / "supernet.safetensors", self.plan.archs[size], model, crops, frames)
        self.parts.score(model)
        if alone:
            return
        tuned = self.model(seed, strategy, size, "finetuned")
        self.parts.run(tuned.parent, [
            "finetune", "--config", self.out / f"{strategy}.yaml", "--model", model, "--head",
            supernet / "head.safetensors", "--data", self.data / "train_all", "--calibration",
            self.data / "train_all", "--out", tuned, "--seed", seed, "--device", "cpu",
        ])  # fmt: skip
        self.parts.score(tuned)

    def matrices(self, seeds: list[int]) -> str:
        """Return the table of EER (list `main`, or the first) by subnet of enrolment and of test."""
        names = DataDir(self.data / "test").trial_names()
        name = "main" if "main" in names else names[0]
        sizes = list(self.plan.archs)
        lines = [f"| EER {name}, %: enrolment by | {' | '.join(f'test by {size}' for size in sizes)} |"]
        lines.append("|---|" + "---|" * len(sizes))
        for source in self.phases:
            vectors = {
                (seed, size): np.load(self.model(seed, source, size).with_name("test.npy"))
                for seed in seeds for size in sizes
            }  # fmt: skip
            for enrol in sizes:
                cells = [
                    spread([self.parts.eer("test", name, vectors[seed, enrol], vectors[seed, size]) for seed in seeds])
                    for size in sizes
                ]
                lines.append(f"| {source}, {enrol} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def table(self, seeds: list[int]) -> str:
        """Return the Markdown tables: compute of each strategy, EER of each subnet."""
        lines = ["| strategy | steps | MACs, forward and backward | wall, min | CPU, min |", "|---|---|---|---|---|"]
        for name, (steps, macs) in self.costs.items():
            folders = [[self.folder(seed, name, phase["name"]) for phase in self.phases[name]] for seed in seeds]
            wall, cpu = np.mean([self.parts.minutes(folder) for folder in folders], axis=0)
            lines.append(f"| {name} | {steps} | {macs:.4g} | {wall:.1f} | {cpu:.1f} |")
        for size in self.plan.archs:
            wall, cpu = np.mean([self.parts.minutes([self.folder(seed, "alone", size)]) for seed in seeds], axis=0)
            macs = 3.0 * self.shared["batch"] * self.costs["progressive"][0] * self._macs(size, self.plan.crop)
            lines.append(f"| alone, {size} | {self.costs['progressive'][0]} | {macs:.4g} | {wall:.1f} | {cpu:.1f} |")
        lists = DataDir(self.data / "test").trial_names()
        lines += ["", f"| strategy | subnet | MACs | {' | '.join(f'EER {name}, %' for name in lists)} |"]
        lines.append("|---|---|---|" + "---|" * len(lists))
        for size, arch in self.plan.archs.items():
            for source, state in [*((name, state) for name in self.phases for state in ("derived", "finetuned")),
                                  ("alone", "derived")]:  # fmt: skip
                found = [self.parts.score(self.model(seed, source, size, state)) for seed in seeds]
                shown = " | ".join(spread([row[name] for row in found]) for name in lists)
                name = source + (", fine-tuned" if state == "finetuned" else "")
                lines.append(f"| {name} | {size} {arch} | {self._macs(size, 3.01) / 1e6:.1f}M | {shown} |")
        return "\n".join(lines)

    def _macs(self, size: str, seconds: float) -> float:
        return arch_macs(Arch.parse(self.plan.archs[size]), round(100 * seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--stretch", type=float, default=1.0, help="multiplies the length of everything (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    comparison = Comparison(args.data, args.out, Plan(args.quick, args.stretch))
    seeds, sizes = list(range(args.seeds)), list(comparison.plan.archs)
    rounds = [
        [(comparison.train, seed, "progressive", comparison.phases["progressive"][:1]) for seed in seeds],
        [(comparison.train, seed, name, phases) for seed in seeds for name, phases in comparison.phases.items()],
        [(comparison.alone, seed, size) for seed in seeds for size in reversed(sizes)],
        [(comparison.subnet, seed, source, size) for seed in seeds for size in reversed(sizes)
         for source in (*comparison.phases, "alone")],
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
    publish(text, args.results)


if __name__ == "__main__":
    main()
