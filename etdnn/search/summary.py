"""What stage 4 leaves for one budget: arch.txt, pareto.tsv, progress.tsv, compared.tsv, search.yaml, summary.txt."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from etdnn.errors import UserError
from etdnn.files import write_text
from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import CONVENTION, split_rows
from etdnn.search.comparison import Compared, compare, comparison_lines, comparison_table
from etdnn.search.controls import count_fitting
from etdnn.search.evaluate import EvaluationData
from etdnn.search.limits import show_cost
from etdnn.search.population import archs_to_rows, sample_stratified
from etdnn.search.records import Evaluation
from etdnn.search.stage import CONFIRM, Finding, fitting_only
from etdnn.seeding import numpy_generator

CHOICE_SAMPLE = 4000
"""Fitting subnets over which mean predictions by choice are taken."""
MANY_CHOICES = 8
"""Beyond so many choices of a gene, its thirds are shown."""
LEAST_GROUP = 10
"""Choices of fewer subnets are not shown."""


def score_path(folder: Path, evaluation: Evaluation) -> Path:
    """Return where the trial scores of a confirming evaluation are kept."""
    return folder / "scores" / f"{evaluation.supernet}.{evaluation.calibration}.{evaluation.dev}.{evaluation.arch}.npz"


def write_finding(finding: Finding, data: EvaluationData) -> Path:
    """Write the files of one budget; return its folder. arch.txt comes last: where it is, all is."""
    study, best = finding.study, finding.best
    folder = study.folder / finding.budget.folder
    for old in folder.glob("compared_test.*"):  # of another choice, perhaps
        old.unlink()
    write_text(folder / "pareto.tsv", pareto_table(finding))
    write_text(folder / "progress.tsv", progress_table(finding))
    write_text(folder / "search.yaml", resolved(finding, data))
    compared = compare_finding(finding, data)
    write_text(folder / "compared.tsv", comparison_table(compared))
    write_text(folder / "summary.txt", summary(finding, data, compared))
    facts = f"macs {best.macs}\nparams {best.params}\nconvention {CONVENTION}\n"
    write_text(folder / "arch.txt", f"{best.arch}\n{facts}")
    return folder


def pareto_table(finding: Finding) -> str:
    """Return the measured subnets that fit and that no cheaper or equal one beats, cheap first."""
    fitting = fitting_only(finding.study.space, finding.limits, finding.evaluations)
    lines, best = ["arch\tmacs\tparams\tobjective\tsmooth\teer_clean\teer_cross"], float("inf")
    for row in sorted(fitting, key=lambda row: (row.macs, row.objective, row.arch)):
        if row.objective < best:
            best = row.objective
            lines.append(f"{row.arch}\t{row.macs}\t{row.params}\t{row.objective:.6f}\t{row.smooth:.6f}\t"
                         f"{row.eer_clean:.6f}\t{row.eer_cross:.6f}")  # fmt: skip
    return "\n".join(lines) + "\n"


def progress_table(finding: Finding) -> str:
    """Return the measured subnets in the order in which they were asked for; the report draws the course from it."""
    fitting = {row.arch for row in fitting_only(finding.study.space, finding.limits, finding.evaluations)}
    sampled = {row.arch for row in finding.sample}
    lines = ["arch\tmacs\tobjective\tfits\tsource"]
    for row in finding.evaluations:
        source = "sample" if row.arch in sampled else "search"
        lines.append(f"{row.arch}\t{row.macs}\t{row.objective:.6f}\t{int(row.arch in fitting)}\t{source}")
    return "\n".join(lines) + "\n"


def resolved(finding: Finding, data: EvaluationData) -> str:
    """Return search.yaml: every option, seed, split, counts, hashes, convention."""
    study = finding.study
    values = {
        "budget": asdict(finding.budget), "seed": study.seed, **asdict(study.settings),
        "space": {"name": study.space.name, "hash": study.space.hash, "count": study.space.count()},
        "split": f"dev speakers only (neither train nor test): {data.counts}",
        "latency_table": study.latency_table.about if study.latency_table else None,
        "measured": len(finding.evaluations), "predicted": finding.predicted,
        "convention": CONVENTION, "protocols": {name: asdict(value) for name, value in study.protocols.items()},
    }  # fmt: skip
    return yaml.safe_dump(_plain(values), sort_keys=False, allow_unicode=True, width=120)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def summary(finding: Finding, data: EvaluationData, compared: list[Compared]) -> str:
    """Return the explanation in words and tables; the same for the same search."""
    study, best, settings = finding.study, finding.best, finding.study.settings
    count, exact = count_fitting(study.space, finding.limits)
    failed = sum(row.status != "ok" for row in finding.evaluations)
    cost = finding.limits.cost_functions[0]
    needs = show_cost(cost(archs_to_rows([Arch.parse(best.arch)], study.space))[0], finding.budget.kind)
    lines = [
        f"Budget {finding.budget.name} ({finding.budget.kind}): arch {best.arch}",
        f"{show_count(best.macs)} MACs, {show_count(best.params)} parameters; needs {needs}",
        *([] if finding.budget.kind == "macs" else [f"convention of MACs: {CONVENTION}"]),
        "",
        f"Searched: space {study.space.name} ({study.space.count():,} subnets), of which "
        f"{'' if exact else 'about '}{count:,} keep the budget.",
        f"Measured: {len(finding.evaluations)} ({len(finding.sample)} sampled for all budgets, the rest in "
        f"{settings.rounds} rounds for this one; {failed} failed).",
        f"Predicted but not measured: {finding.predicted} ({settings.method}, last round).",
        f"Measured on {data.counts}.",
        f"Target of the predictor: {settings.target}; objective: mean EER (%) of the clean and the cross list.",
        "",
        *_quality(finding), "", *_finalists(finding), "",
        "Measured again with other calibration crops (mean EER %, 95 % interval by bootstrap over speakers; "
        "difference to the chosen one, paired):", *comparison_lines(compared), "", *_choices(finding),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _quality(finding: Finding) -> list[str]:
    notes = {"macs": "baseline: MACs alone", "linear": "baseline: linear in the choices"}
    count = len(finding.study.training_set(finding.sample)[1])
    lines = [f"Predictor on held-out evaluations (5 folds of the {count} sampled): Kendall tau, mean error"]
    for kind, quality in finding.study.quality(finding.sample).items():
        lines.append(f"  {kind:<18} {quality.tau:6.3f} {quality.error:8.3f}  {notes.get(kind, '')}".rstrip())
    return lines


def _finalists(finding: Finding) -> list[str]:
    lines = [f"Finalists (best {len(finding.finalists)} by the last fit; the choice is by measurement):",
             f"  {'predicted':>9} {'measured':>9} {'smooth':>7} {'MACs':>8}  arch"]  # fmt: skip
    target = finding.study.settings.target
    for row, predicted in finding.finalists:
        values = f"{predicted:9.3f} {getattr(row, target):9.3f} {row.smooth:7.3f} {show_count(row.macs):>8}"
        lines.append(f"  {values}  {row.arch}{'  <- chosen' if row is finding.best else ''}")
    return lines


def compare_finding(finding: Finding, data: EvaluationData) -> list[Compared]:
    """Compare the chosen subnet with its rivals, all measured again with calibration crops the search did not use."""
    study = finding.study
    compared = finding.compared()
    rows = dict(zip(compared, study.measured(compared.values(), CONFIRM), strict=True))
    if rows["chosen"].status != "ok":
        raise UserError(f"search: {rows['chosen'].arch} was finite in the search but not with other calibration crops")
    scores = {name: load_scores(study.folder, row) if row.status == "ok" else None for name, row in rows.items()}
    archs = {name: Arch.parse(text) for name, text in compared.items()}
    sizes = {"in_feats": study.space.in_feats, "embedding": study.space.embedding}
    return compare(archs, scores, data.trials, seed=study.seed, replicates=study.settings.bootstrap, sizes=sizes)


def load_scores(folder: Path, evaluation: Evaluation) -> dict[str, np.ndarray]:
    """Return the trial scores of a confirming evaluation by list."""
    with np.load(score_path(folder, evaluation), allow_pickle=False) as file:
        return dict(file)


def _choices(finding: Finding) -> list[str]:
    """Return mean predictions by choice of depth, each width, each kernel and cat among subnets that fit."""
    study = finding.study
    rng = numpy_generator(study.seed, "choices")
    rows = sample_stratified(study.space, 4 * CHOICE_SAMPLE, rng)
    rows = rows[finding.limits.admits(rows)][:CHOICE_SAMPLE]
    if len(rows) < 20:
        return ["Which choices matter: too few subnets keep the budget to say."]
    predicted = finding.predictor.predict(rows)
    depth, widths, kernels, cat = split_rows(rows)
    genes = {"depth": depth, **{f"w{i}": widths[:, i] for i in range(widths.shape[1])},
             **{f"k{i}": kernels[:, i] for i in range(kernels.shape[1])}, "cat": cat}  # fmt: skip
    means = {name: choice_means(values, predicted) for name, values in genes.items()}
    spreads = {name: max(found.values()) - min(found.values()) for name, found in means.items() if len(found) > 1}
    about = f"mean predicted {study.settings.target} by choice, over {len(rows)} subnets that fit"
    lines = [f"Which choices matter ({about}):"]
    for name, spread in sorted(spreads.items(), key=lambda entry: (-entry[1], entry[0])):
        shown = "  ".join(f"{choice}: {value:.3f}" for choice, value in means[name].items())
        lines.append(f"  {name:<6} {spread:6.3f}  {shown}")
    return lines


def choice_means(values: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the mean prediction per choice of one gene, by thirds if there are many; absent and rare ones are out."""
    choices = np.unique(values[values > 0])
    groups = {str(choice): values == choice for choice in choices}
    if len(choices) > MANY_CHOICES:
        low, high = np.quantile(values[values > 0], [1 / 3, 2 / 3])
        groups = {"low": (values > 0) & (values < low), "middle": (low <= values) & (values < high),
                  "high": values >= high}  # fmt: skip
    return {name: float(predicted[group].mean()) for name, group in groups.items() if group.sum() >= LEAST_GROUP}
