"""What stage 4 leaves for one budget: arch.txt, pareto.tsv, progress.tsv, search.yaml, summary.txt."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from etdnn.errors import UserError
from etdnn.files import write_text
from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import CONVENTION, split_rows
from etdnn.scoring.bootstrap import ScoredList, bootstrap_lists
from etdnn.search.controls import count_fitting
from etdnn.search.evaluate import EvaluationData
from etdnn.search.limits import show_cost
from etdnn.search.population import archs_to_rows, sample_stratified
from etdnn.search.predictor import Quality, cross_validate
from etdnn.search.records import Evaluation
from etdnn.search.stage import CONFIRM, Finding, fitting_only
from etdnn.seeding import numpy_generator

CHOICE_SAMPLE = 4000
"""Fitting subnets over which mean predictions by choice are taken."""


def score_path(folder: Path, evaluation: Evaluation) -> Path:
    """Return where the trial scores of a confirming evaluation are kept."""
    return folder / "scores" / f"{evaluation.supernet}.{evaluation.calibration}.{evaluation.dev}.{evaluation.arch}.npz"


def write_finding(finding: Finding, data: EvaluationData) -> Path:
    """Write the files of one budget; return its folder. arch.txt comes last: where it is, all is."""
    study, best = finding.study, finding.best
    folder = study.folder / finding.budget.folder
    write_text(folder / "pareto.tsv", pareto_table(finding))
    write_text(folder / "progress.tsv", progress_table(finding))
    write_text(folder / "search.yaml", resolved(finding, data))
    write_text(folder / "summary.txt", summary(finding, data))
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


def summary(finding: Finding, data: EvaluationData) -> str:
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
        *_quality(finding), "", *_finalists(finding), "", *_comparison(finding, data), "", *_choices(finding),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _quality(finding: Finding) -> list[str]:
    study = finding.study
    rows, targets = study.training_set(finding.sample)
    kinds = {study.settings.predictor: "", "macs": "baseline: MACs alone", "linear": "baseline: linear in the choices"}
    lines = [f"Predictor on held-out evaluations (5 folds of the {len(rows)} sampled): Kendall tau, mean error"]
    for kind, note in kinds.items():
        quality: Quality = cross_validate(kind, study.space, rows, targets, seed=study.seed)
        lines.append(f"  {kind:<18} {quality.tau:6.3f} {quality.error:8.3f}  {note}".rstrip())
    return lines


def _finalists(finding: Finding) -> list[str]:
    lines = [f"Finalists (best {len(finding.finalists)} by the last fit; the choice is by measurement):",
             f"  {'predicted':>9} {'measured':>9} {'smooth':>7} {'MACs':>8}  arch"]  # fmt: skip
    target = finding.study.settings.target
    for row, predicted in finding.finalists:
        values = f"{predicted:9.3f} {getattr(row, target):9.3f} {row.smooth:7.3f} {show_count(row.macs):>8}"
        lines.append(f"  {values}  {row.arch}{'  <- chosen' if row is finding.best else ''}")
    return lines


def _comparison(finding: Finding, data: EvaluationData) -> list[str]:
    """Return the chosen subnet against its rivals, all measured again with calibration crops the search did not use."""
    study = finding.study
    compared = finding.compared()
    rows = dict(zip(compared, study.measured(compared.values(), CONFIRM), strict=True))
    draws, intervals = _bootstrap(finding, data, rows)
    lines = ["Measured again with other calibration crops (mean EER %, 95 % interval by bootstrap over speakers; "
             "difference to the chosen one, paired):"]  # fmt: skip
    wins = []
    for name, row in rows.items():
        if row.status != "ok":
            lines.append(f"  {name:<20} failed  {row.arch}")
            continue
        low, high = intervals[name]
        text = f"  {name:<20} {row.objective:6.3f} [{low:.2f}, {high:.2f}]"
        if row.arch == rows["chosen"].arch:
            text += f" {'':>24}"
        else:
            low, high = np.quantile(draws[name] - draws["chosen"], [0.025, 0.975])
            text += f" {row.objective - rows['chosen'].objective:+7.3f} [{low:+.2f}, {high:+.2f}]"
            wins.append((name, low > 0))
        lines.append(f"{text} {show_count(row.macs):>8}  {row.arch}")
    beaten = [name for name, won in wins if won]
    level = [name for name, won in wins if not won]
    if beaten:
        lines.append(f"The chosen subnet is better, outside the interval, than: {', '.join(beaten)}.")
    if level:
        lines.append(f"No difference outside the interval can be shown from: {', '.join(level)}.")
    return lines


def _bootstrap(finding: Finding, data: EvaluationData, rows: dict[str, Evaluation]) -> tuple[dict, dict]:
    """Return per name the draws of the mean EER (%) and its 95 % interval; all subnets see the same draws."""
    study = finding.study
    good = {name: row for name, row in rows.items() if row.status == "ok"}
    if "chosen" not in good:
        raise UserError(f"search: {rows['chosen'].arch} was finite in the search but not with other calibration crops")
    scores = [load_scores(study.folder, row) for row in good.values()]
    lists = [
        ScoredList([one[name] for one in scores], part.target, part.enrol_speaker, part.test_speaker)
        for name, part in data.trials.items()
    ]
    draws = bootstrap_lists(lists, seed=study.seed, replicates=study.settings.bootstrap, p_targets=())
    mean = 100 * draws[..., 0].mean(axis=1)
    per_name = {name: mean[:, index] for index, name in enumerate(good)}
    return per_name, {name: np.quantile(draws, [0.025, 0.975]) for name, draws in per_name.items()}


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
    table = []
    for name, values in genes.items():
        present = values > 0
        middle = np.quantile(values[present], [1 / 3, 2 / 3]) if len(np.unique(values[present])) > 8 else None
        groups = values if middle is None else np.where(values > 0, np.digitize(values, middle) + 1, 0)
        words = {1: "low", 2: "middle", 3: "high"} if middle is not None else {}
        means = {
            words.get(int(value), str(int(value))): float(predicted[groups == value].mean())
            for value in np.unique(groups[present])
            if (groups == value).sum() >= 10
        }
        if len(means) > 1:
            table.append((max(means.values()) - min(means.values()), name, means))
    table.sort(key=lambda entry: (-entry[0], entry[1]))
    about = f"mean predicted {study.settings.target} by choice, over {len(rows)} subnets that fit"
    lines = [f"Which choices matter ({about}):"]
    for spread, name, means in table:
        lines.append(f"  {name:<6} {spread:6.3f}  " + "  ".join(f"{key}: {value:.3f}" for key, value in means.items()))
    return lines
