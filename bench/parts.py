"""Trainings of a comparison as processes of one thread, each made once; shared by strategies.py and recipes.py."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed.extract import embed_utterances
from etdnn.files import write_json, write_text
from etdnn.model.checkpoint import read_subnet
from etdnn.scoring.cosine import cosine_scores, index_trials, length_normalise
from etdnn.scoring.metrics import eer


class Parts:
    """Runs the parts of a comparison over the data directories of an egs; each leaves `part.json` when complete.

    `made` says what the parts depend on: a folder that was made with something else is refused. What is complete is
    not made again, so a broken run goes on by the same command.
    """

    def __init__(self, data: Path, out: Path, made: dict):
        self.data, self.out = data, out
        if not (data / "train_all/feats.scp").is_file():
            raise SystemExit(
                f"{data}/train_all/feats.scp is missing; --data is a folder that stage 1 of an egs has filled"
            )
        made = {"data": str(data.resolve()), **made}
        out.mkdir(parents=True, exist_ok=True)
        if (out / "plan.json").is_file() and (before := json.loads((out / "plan.json").read_text())) != made:
            raise SystemExit(f"{out}: what is complete there was made with {before}, not {made}; name another --out")
        write_json(out / "plan.json", made)

    def run(self, folder: Path, words: list[str | Path]) -> None:
        """Run one etdnn command, unless `folder` says that it is done; its wall and CPU time go to part.json.

        Of a training that was broken off and goes on, they are those of the last call.
        """
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

    def train(self, folder: Path, config: Path, phase: str, space: Path, seed: int, init: Path | None = None) -> None:
        """Train one phase from scratch, or from the folder of another one."""
        words = ["train", "--config", config, "--space", space, "--phase", phase, "--data", self.data / "train_all"]
        words += ["--out", folder, "--seed", seed, "--device", "cpu"]
        self.run(folder, words + (["--init", init] if init else []))

    def derive(self, supernet: Path, arch: str, model: Path, crops: int, frames: int) -> None:
        """Derive `arch`, batch norms measured on crops of the training data, copies included."""
        self.run(model.parent, [
            "derive", "--supernet", supernet, "--arch", arch, "--data", self.data / "train_all", "--crops", crops,
            "--frames", frames, "--out", model, "--device", "cpu",
        ])  # fmt: skip

    def score(self, model: Path, name: str = "test") -> dict[str, float]:
        """Return the EER in percent of every trial list of data directory `name`; kept beside the model."""
        kept = model.with_name(f"{name}.json")
        if not kept.is_file():
            net, metadata = read_subnet(model)
            reader = FeatureReader(self.data / name / "feats.scp")
            vectors = length_normalise(
                embed_utterances(net, reader, np.arange(len(reader)), metadata["normalisation"])
            )  # fmt: skip
            np.save(model.with_name(f"{name}.npy"), vectors)
            lists = DataDir(self.data / name).trial_names()
            write_json(kept, {trials: self.eer(name, trials, vectors, vectors) for trials in lists})
        return json.loads(kept.read_text())

    def eer(self, name: str, trials: str, enrol: np.ndarray, test: np.ndarray) -> float:
        """Return the EER in percent of a trial list of directory `name`, its two sides embedded by two networks."""
        folder = DataDir(self.data / name)
        row = {key: number for number, key in enumerate(FeatureReader(folder.path / "feats.scp").keys)}
        listed = folder.trials(trials)
        indexed = index_trials(listed.enrol, listed.test, row, row)
        scores = cosine_scores(enrol, test, indexed.enrol, indexed.test)
        return 100 * eer(scores[listed.target], scores[~listed.target])

    def minutes(self, folders: list[Path]) -> tuple[float, float]:
        """Return the sums of wall and of CPU minutes of parts."""
        parts = [json.loads((folder / "part.json").read_text()) for folder in folders]
        return sum(part["wall"] for part in parts) / 60, sum(part["cpu"] for part in parts) / 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that every comparison has."""
    parser.add_argument("--data", type=Path, required=True, help="data directories of an egs, after stage 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is trained")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds (default 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--quick", action="store_true", help="very small networks, to see that it runs")
    parser.add_argument("--results", type=Path, help="also write the tables to this file")


def publish(text: str, results: Path | None) -> None:
    """Print `text`, and write it to `results` where that is asked for."""
    print(text)
    if results:
        write_text(results, text)


def spread(values: list[float], *, signed: bool = False) -> str:
    """Return the mean, with the standard deviation over seeds where there are several."""
    mean = f"{np.mean(values):+.2f}" if signed else f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}"
