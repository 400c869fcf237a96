"""The chosen subnet of a budget and its rivals on the test trials, once the search is over: nothing is chosen here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
import yaml

from etdnn.data.datadir import DataDir
from etdnn.errors import UserError
from etdnn.files import write_text
from etdnn.model.checkpoint import load_supernet
from etdnn.model.supernet import Supernet
from etdnn.search.comparison import Compared, compare, comparison_lines, comparison_table, read_comparison
from etdnn.search.evaluate import EvaluationData, Evaluator
from etdnn.search.settings import Measurement
from etdnn.search.stage import CONFIRM, calibration_seed

FILE = "compared_test.tsv"
"""File of a budget's folder: the dev comparison of stage 4, then one for each test list, with the list in front; the
same in words, which the report shows, ends in .txt."""


def compare_on_test(
    supernet: Path,
    data: Path,
    search: Path,
    budgets: Sequence[str] = (),
    trials: Sequence[str] = (),
    *,
    frames: int = 0,
    device: str | torch.device = "cpu",
    say: Callable = print,
) -> list[Path]:
    """Measure on the test trials what stage 4 compared on dev; write and say both; return the files.

    `search` is stage 4's folder, `budgets` folders below it (all), `trials` test lists (all of single utterances). All
    subnets are derived alike: batch norm on the crops of stage 4's second measurement, whole test utterances (or, with
    `frames`, the middle crop of so many frames), cosine scores. UserError where the search was of another supernet.
    """
    net = load_supernet(supernet)
    test = DataDir(data / "test")
    trials = list(trials) or [name for name in test.trial_names() if not test.enrolments(name)]
    if not trials:
        raise UserError(f"{test.path}: no trial list of single utterances; stage 0 makes trial lists")
    folders = [search / name for name in budgets] or sorted(path.parent for path in search.glob("*/compared.tsv"))
    if not folders:
        raise UserError(f"{search}: no budget was searched here; stage 4 (local/search.sh) does it")

    @cache
    def evaluator(seed: int, measurement: Measurement) -> Evaluator:
        how = replace(measurement, dev_crops=1, dev_frames=frames, dev_speakers=0)
        crops = calibration_seed(seed, CONFIRM)
        return Evaluator(net, EvaluationData.load(data, net, how, seed=crops, evaluated="test", lists=trials), device)

    embedded = f"the middle {frames} frames of each utterance" if frames else "whole utterances"
    for folder in folders:
        on_dev, options = read_comparison(folder / "compared.tsv"), _options(folder / "search.yaml", net)
        measuring = evaluator(options["seed"], Measurement(**options["measurement"]))
        tables = {"dev": on_dev, **_on_lists(on_dev, measuring, options)}
        text = [
            f"Subnets of budget {folder.name} on dev and test ({embedded} of test, cosine; nothing is chosen here):"
        ]
        lines = []
        for name, rows in tables.items():
            text += [f"{name}: EER %, 95 % interval, difference to the chosen one", *comparison_lines(rows)]
            header, *body = comparison_table(rows).splitlines()
            lines += [f"{name}\t{line}" for line in body]
        say("\n".join(text))
        write_text(folder / FILE, "\n".join([f"list\t{header}", *lines]) + "\n")
        write_text((folder / FILE).with_suffix(".txt"), "\n".join(text) + "\n")
    return [folder / FILE for folder in folders]


def _on_lists(rows: Sequence[Compared], evaluator: Evaluator, options: dict) -> dict[str, list[Compared]]:
    """Return a comparison for each test list of `evaluator`."""
    archs = {row.name: row.arch for row in rows}
    measured = {arch: evaluator.scores(arch) for arch in dict.fromkeys(archs.values())}
    scores = {name: measured[arch] for name, arch in archs.items()}
    if scores[rows[0].name] is None:
        raise UserError(f"{rows[0].arch}: embeddings of the test utterances are not finite; train the supernet again")
    return {
        f"test {kind}": compare(
            archs, scores, {kind: part},
            seed=options["seed"], replicates=options["bootstrap"], sizes=evaluator.sizes,
        )
        for kind, part in evaluator.data.trials.items()
    }  # fmt: skip


def _options(path: Path, supernet: Supernet) -> dict:
    """Return the options that stage 4 wrote; UserError when they are not there or of another supernet."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; stage 4 makes it")
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    if options["protocols"][CONFIRM]["supernet"] != supernet.hash:
        raise UserError(f"{path}: found in another supernet than the one given; search again (stage 4)")
    return options
