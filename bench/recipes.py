"""Training recipes of one static network, changed in one thing at a time: what does each change do to the EER?

python3 bench/recipes.py --data egs/own/data --out /tmp/recipes [--seeds 2] [--jobs 2] [--only NAME ...]

`recommended` is egs/voxceleb/conf/train_recommended.yaml with its lengths scaled down from 150 epochs; every other row
changes it in what its name says and nothing else, at an equal number of crops seen times their length. The network is
3-64-64-64-64-3-3-3-3-192 (39.6 M MACs), its batch norms measured on training crops with copies, plain cosine, whole
utterances. Choices are to be made on dev (mean EER of its lists); test stands beside. Differences are those of equal
seeds: mean, and standard deviation.

Every training is a process of one thread, `--jobs` at once; what is complete is not made again, so a broken run goes on
by the same command. The last lines are a Markdown table.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml
from parts import Parts, add_arguments, publish, spread

from etdnn.data.datadir import DataDir
from etdnn.files import write_text

ROOT = Path(__file__).resolve().parent.parent
ARCH, QUICK_ARCH = "3-64-64-64-64-3-3-3-3-192", "2-8-8-8-3-3-3-16"
BATCH, QUICK_BATCH = 64, 8
PUBLISHED_EPOCHS = 150
CHANGES: dict[str, dict] = {
    "recommended": {},
    "exponential instead of cosine": {"phase.schedule.kind": "exponential"},
    "rate 4 times higher": {"rate_batch": 0},
    "rate 4 times lower": {"phase.schedule.max": 0.025},
    "AdamW, 3e-3 to 1e-5, cosine": {
        "optimiser": {"kind": "adamw", "weight_decay": 0.05, "decay_all": False},
        "phase.schedule": {"kind": "cosine", "max": 3e-3, "min": 1e-5}, "rate_batch": 0,
    },
    "Adam, 1e-3, triangular2 (published)": {
        "optimiser": {"kind": "adam", "weight_decay": 2e-5, "decay_all": True},
        "phase.schedule": {"kind": "triangular2", "max": 1e-3, "min": 1e-8, "half_cycle": 1 / 8}, "rate_batch": 0,
    },
    "gradients clipped at 5": {"optimiser.clip": 5.0},
    "decay on norms too": {"optimiser.decay_all": True},
    "last checkpoint, no mean": {"average": 0},
    "SpecAugment 8 bins, 10 frames": {"spec_augment": {"bins": 8, "frames": 10}},
    "margin from the beginning": {"phase.margin_ramp": []},
    "margin 0.3": {"loss.margin": 0.3},
    "AM": {"loss.kind": "am"},
    "3 sub-centres": {"loss.subcentres": 3},
    "inter-topk 5": {"loss.topk": 5},
    "copies in 3 of 10 draws": {"augmentation": 0.3},
    "copies in 9 of 10 draws": {"augmentation": 0.9},
    "mean and variance normalised": {"normalisation": "mean_variance"},
    "crops of 3 s": {"phase.crop": 3.0},
    "batch twice as large, half as many steps": {"batches": 2},
}  # fmt: skip
"""Row of the table -> settings that differ; times in parts of the phase; `batches` multiplies the batch."""


def base(epochs: float, batch: int) -> dict:
    """Return the recommended settings with one phase of `epochs` passes over the training data and its speed copies."""
    settings = yaml.safe_load((ROOT / "egs/voxceleb/conf/train_recommended.yaml").read_text())
    phase = dict(settings["phases"][0])
    scale = 1 / PUBLISHED_EPOCHS
    phase |= {"epochs": 1.0, "margin_ramp": [scale * epoch for epoch in phase["margin_ramp"]]}
    phase["schedule"] = {**phase["schedule"], "warmup": scale * phase["schedule"]["warmup"]}
    kept = {
        key: settings[key] for key in ("rate_batch", "normalisation", "augmentation", "loss", "optimiser", "average")
    }
    checkpoint = max(epochs / PUBLISHED_EPOCHS, 1e-3)
    return {**kept, "batch": batch, "precision": "auto", "checkpoint_epochs": checkpoint, "phase": phase}


def changed(settings: dict, changes: dict, epochs: float) -> dict:
    """Return `settings` with `changes` (dotted keys), the phase's times in epochs, at equal crops times length."""
    settings = yaml.safe_load(yaml.safe_dump(settings))
    crop = settings["phase"]["crop"]
    settings["batch"] *= changes.get("batches", 1)
    for key, value in changes.items():
        if key == "batches":
            continue
        *way, last = key.split(".")
        place = settings
        for step in way:
            place = place[step]
        place[last] = value
    phase = settings.pop("phase")
    length = epochs * crop / phase["crop"]
    phase["epochs"] = length
    phase["margin_ramp"] = [part * length for part in phase["margin_ramp"]]
    schedule = {"warmup": 0.04, **phase["schedule"]}
    phase["schedule"] = {
        **schedule,
        **{key: schedule[key] * length for key in ("warmup", "half_cycle") if key in schedule},
    }
    return {**settings, "phases": [phase]}


class Recipes:
    """The trainings of one call."""

    def __init__(self, args: argparse.Namespace, names: list[str]):
        self.parts = Parts(args.data, args.out, {"epochs": args.epochs, "quick": args.quick})
        self.names, self.epochs, self.quick = names, args.epochs, args.quick
        self.arch = QUICK_ARCH if args.quick else ARCH
        words = self.arch.split("-")
        own = {"depth": [int(words[0])], "kernel": [int(words[-2])], "width": [int(words[1])], "cat": [int(words[-1])]}
        write_text(args.out / "space.yaml", yaml.safe_dump({"name": "recipes", **own}))

    def folder(self, name: str, seed: int) -> Path:
        return self.parts.out / f"seed{seed}" / "".join(letter if letter.isalnum() else "_" for letter in name)

    def one(self, seed: int, name: str) -> None:
        """Train, derive and score one recipe."""
        folder = self.folder(name, seed)
        settings = changed(base(self.epochs, QUICK_BATCH if self.quick else BATCH), CHANGES[name], self.epochs)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "train.yaml", yaml.safe_dump(settings))
        phase = settings["phases"][0]["name"]
        self.parts.train(folder / "trained", folder / "train.yaml", phase, self.parts.out / "space.yaml", seed)
        model = folder / "derived/model.safetensors"
        crops = 32 if self.quick else 2048
        self.parts.derive(folder / "trained/supernet.safetensors", self.arch, model, crops, 200)
        for test in ("dev", "test"):
            self.parts.score(model, test)

    def table(self, seeds: list[int]) -> str:
        """Return the Markdown table: EER of the first row, differences to it of the others."""
        columns = [
            (name, trials) for name in ("dev", "test") for trials in DataDir(self.parts.data / name).trial_names()
        ]
        found = {}
        for name in self.names:
            rows = []
            for seed in seeds:
                model = self.folder(name, seed) / "derived/model.safetensors"
                rows.append([self.parts.score(model, test)[trials] for test, trials in columns])
            rows = np.array(rows)
            dev = [number for number, (test, _) in enumerate(columns) if test == "dev"]
            minutes = np.mean([self.parts.minutes([self.folder(name, seed) / "trained"])[1] for seed in seeds])
            found[name] = np.column_stack([rows[:, dev].mean(axis=1), rows]), minutes
        titles = ["dev, mean"] + [f"{test} {trials}" for test, trials in columns]
        lines = [f"| recipe | {' | '.join(f'{title}, %' for title in titles)} | CPU, min |"]
        lines.append("|---|" + "---|" * (len(titles) + 1))
        first = self.names[0]
        for name, (rows, minutes) in found.items():
            values = rows if name == first else rows - found[first][0]
            cells = [spread(list(column), signed=name != first) for column in values.T]
            lines.append(f"| {name} | {' | '.join(cells)} | {minutes:.1f} |")
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--epochs", type=float, default=6.0, help="passes over the training data (default 6)")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), help="these rows beside the first (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, (first, *others), seeds = time.monotonic(), CHANGES, list(range(args.seeds))
    recipes = Recipes(args, [first, *(name for name in others if not args.only or name in args.only)])
    with ThreadPoolExecutor(args.jobs) as pool:
        for done in [pool.submit(recipes.one, seed, name) for seed in seeds for name in recipes.names]:
            done.result()
    minutes = (time.monotonic() - began) / 60
    text = f"{args.seeds} seed(s), {args.epochs:g} epochs, {minutes:.1f} min for this call\n\n{recipes.table(seeds)}\n"
    publish(text, args.results)


if __name__ == "__main__":
    main()
