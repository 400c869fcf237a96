"""The two workers of stage 4: one decides what to measure next or writes the results, the other measures."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etdnn.errors import UserError
from etdnn.files import atomic_path, write_text
from etdnn.model.arch import Arch
from etdnn.model.budget import Budget
from etdnn.model.latency import LatencyTable
from etdnn.model.space import SearchSpace
from etdnn.search.evaluate import EvaluationData, Evaluator
from etdnn.search.records import Appender, merge, read_evaluations
from etdnn.search.settings import SearchSettings
from etdnn.search.stage import CONFIRM, MEASURE, NotMeasured, Study, calibration_seed
from etdnn.search.summary import score_path, write_finding
from etdnn.settings import load_settings


@dataclass(frozen=True)
class Inputs:
    """What both workers are given on the command line."""

    supernet: Path
    data: Path
    folder: Path
    config: Path | None
    seed: int

    def settings(self) -> SearchSettings:
        """Return the validated options."""
        return load_settings(SearchSettings, self.config)

    def load(self):
        """Return the supernet and a function task -> EvaluationData (loaded once each)."""
        import torch

        from etdnn.model.checkpoint import load_supernet

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        supernet = load_supernet(self.supernet)
        for key in ("frontend", "normalisation"):
            if key not in supernet.metadata:
                raise UserError(f"{self.supernet}: its metadata have no '{key}'; train it again (stages 2 and 3)")
        loaded: dict[str, EvaluationData] = {}
        measurement = self.settings().measurement

        def data(task: str) -> EvaluationData:
            if task not in loaded:
                how = measurement if task == MEASURE else replace(measurement, dev_speakers=0)
                seed = calibration_seed(self.seed, task)
                loaded[task] = EvaluationData.load(self.data, supernet, how, seed=seed)
            return loaded[task]

        return supernet, data


def plan_search(inputs: Inputs, budgets: list[Budget], plan: Path, latency_table=None, say: Callable = print) -> int:
    """Merge what the jobs measured; write to `plan` what is missing, or, when nothing is, the results of all budgets.

    Returns the number of subnets to be measured (lines `measure|confirm ARCH` of the plan).
    """
    settings = inputs.settings()
    supernet, data = inputs.load()
    space = _search_space(settings, supernet.space, inputs.config)
    rows = merge(inputs.folder / "evaluations.tsv", sorted((inputs.folder / "jobs").glob("evaluations.*.tsv")))
    study = Study(
        folder=inputs.folder, space=space, supernet_space=supernet.space, settings=settings, seed=inputs.seed,
        protocols={task: data(task).protocol(supernet) for task in (MEASURE, CONFIRM)},
        known={(row.protocol, row.arch): row for row in rows},
        latency_table=LatencyTable.load(latency_table) if latency_table else None,
    )  # fmt: skip
    if study.latency_table and (other := study.latency_table.foreign()):
        say(f"warning: latency table {latency_table}: {other}")
    for line in (line for budget in budgets for line in study.limits(budget).idle()):
        say(f"warning: {line}")
    wanted, findings = {}, []
    for budget in budgets:
        try:
            findings.append(study.search(budget))
        except NotMeasured as missing:
            wanted.update(dict.fromkeys(missing.wanted))
    confirmed = [row for row in rows if row.protocol == study.protocols[CONFIRM]]
    for row in confirmed:  # scores lie beside the evaluations; without them it has to be measured again
        if row.status == "ok" and not score_path(inputs.folder, row).is_file():
            wanted[(CONFIRM, row.arch)] = None
    write_text(plan, "".join(f"{task} {arch}\n" for task, arch in wanted))
    if wanted:
        return len(wanted)
    for finding in findings:
        folder = write_finding(finding, data(CONFIRM))
        best = finding.best
        counts = f"{len(finding.evaluations)} subnets measured, {finding.predicted} predicted but not measured"
        say(f"{folder}/arch.txt: {best.arch}, mean dev EER {best.objective:.2f} %, {best.macs} MACs; {counts}")
    return 0


def _search_space(settings: SearchSettings, trained: SearchSpace, config: Path | None) -> SearchSpace:
    if settings.space is None:
        return trained
    space = SearchSpace.find(settings.space)
    if not trained.holds(space.largest) or (space.in_feats, space.embedding) != (trained.in_feats, trained.embedding):
        raise UserError(f"{config}: space: {space.name} goes beyond the largest net of the supernet, {trained.largest}")
    return space


def evaluate_plan(
    inputs: Inputs, plan: Path, job: int, jobs: int, *, device: str = "auto", say: Callable = print
) -> int:
    """Measure this job's share of `plan` (every jobs-th line), appending each to the job's own file; return how many.

    Subnets that a former run of the job has measured are passed over.
    """
    from etdnn.embed.extract import pick_device

    lines = [line.split() for line in plan.read_text(encoding="utf-8").splitlines()]
    share = lines[job - 1 :: jobs]
    supernet, data = inputs.load()
    path = inputs.folder / "jobs" / f"evaluations.{job}.tsv"
    appender = Appender(path)
    done = {(row.protocol, row.arch) for row in read_evaluations(path)}
    evaluators: dict[str, Evaluator] = {}
    for number, (task, arch) in enumerate(share, 1):
        if task not in evaluators:
            evaluators[task] = Evaluator(supernet, data(task), pick_device(device))
        if (data(task).protocol(supernet), arch) in done:
            continue
        evaluation, scores = evaluators[task].measure(Arch.parse(arch))
        if task == CONFIRM and scores is not None:
            with atomic_path(score_path(inputs.folder, evaluation)) as temporary, temporary.open("wb") as handle:
                np.savez(handle, **scores)
        appender.add(evaluation)
        result = f"{evaluation.status} mean EER {evaluation.objective:.3f} %"
        say(f"{number} of {len(share)}: {task} {arch} {result}", flush=True)
    appender.close()
    return len(share)
