"""Stage 7: scores of every test list, error rates with intervals, thresholds and calibration from dev alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.data.datadir import DataDir
from etdnn.errors import UserError
from etdnn.files import atomic_path, write_json, write_text
from etdnn.scoring.backends import ScoredTrials, Scorer
from etdnn.scoring.bootstrap import bootstrap, intervals, paired_difference, speaker_numbers
from etdnn.scoring.calibration import Calibration, bayes_threshold, cllr, fit_calibration
from etdnn.scoring.metrics import P_TARGETS, Curve, actual_dcf, det_points, thresholds

METRICS = ("eer", *(f"mindcf_{p:g}" for p in P_TARGETS))
"""Names of the bootstrap's metrics, in its order."""


def score_set(data: DataDir, scorer: Scorer, names: Sequence[str], allow_missing: bool) -> dict[str, ScoredTrials]:
    """Score the lists trials_NAME of one data directory; prints what was left out."""
    scored = {}
    for name in names:
        where = f"{data.path}/trials_{name}"
        result = scorer.score(data.trials(name), data.enrolments(name), allow_missing=allow_missing, where=where)
        if result.missing:
            left = f"{len(result.missing)} ids without embedding left out: {', '.join(result.missing[:5])}"
            print(f"{where}: {left}; {len(result.trials)} trials remain")
        scored[name] = result
    return scored


def dev_thresholds(scored: Mapping[str, ScoredTrials], backends: Sequence[str], prior: float) -> dict[str, Any]:
    """Return per back-end the calibration and decision thresholds of all dev lists pooled; JSON-ready.

    {backend: {calibration: {scale, offset, prior}, points: {eer, min_dcf_0.01, false_accept_0.01, ...:
    {threshold, miss, false_accept}}, eer, targets, nontargets}}; accept a trial if score >= threshold.
    """
    target = np.concatenate([one.trials.target for one in scored.values()])
    result = {}
    for backend in backends:
        scores = np.concatenate([one.scores[backend] for one in scored.values()])
        classes = scores[target], scores[~target]
        fitted = fit_calibration(*classes, prior)
        if not fitted.scale:
            print(f"{backend}: dev targets score no higher than nontargets; calibration gives every trial ratio 1")
        curve = Curve.of(*classes)
        result[backend] = {
            "calibration": {"scale": fitted.scale, "offset": fitted.offset, "prior": fitted.prior},
            "points": thresholds(*classes),
            "eer": curve.eer(),
            **{f"mindcf_{p:g}": curve.min_dcf(p) for p in P_TARGETS},
            "lists": sorted(scored),
            "targets": int(target.sum()),
            "nontargets": int((~target).sum()),
        }
    return result


def list_speakers(data: DataDir, name: str, one: ScoredTrials) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the speakers of both sides of a list as numbers; UserError where an enrolled name has two speakers."""
    utt2spk, enrolments = data.utt2spk, data.enrolments(name)
    speaker_of = dict(utt2spk)
    for enrolled, utterances in enrolments.items():
        speakers = {utt2spk[utterance] for utterance in utterances if utterance in utt2spk}
        if len(speakers) != 1:
            raise UserError(f"{data.path}/enrol_{name}: '{enrolled}' has utterances of {len(speakers)} known speakers")
        speaker_of[enrolled] = speakers.pop()
    unknown = next((entry for entry in (*one.trials.enrol, *one.trials.test) if entry not in speaker_of), None)
    if unknown is not None:
        raise UserError(f"{data.path}/trials_{name}: '{unknown}' is not in utt2spk, so its speaker is unknown")
    return speaker_numbers([speaker_of[e] for e in one.trials.enrol], [speaker_of[t] for t in one.trials.test])


def list_metrics(
    one: ScoredTrials,
    backends: Sequence[str],
    dev: Mapping[str, Any],
    speakers: tuple[np.ndarray, np.ndarray, int],
    *,
    seed: int,
    replicates: int,
) -> dict[str, dict[str, Any]]:
    """Return error rates of one test list per back-end; fractions, JSON-ready.

    actdcf and cllr need the calibration in `dev` and are left out where that has none. Each metric comes with its 95 %
    interval by bootstrap over speakers where there are at least 2 and `replicates` is not 0, and with the interval of
    its difference to the first back-end (paired: the same draws).
    """
    target = one.trials.target
    result: dict[str, dict[str, Any]] = {}
    for backend in backends:
        scores = one.scores[backend]
        curve = Curve.of(scores[target], scores[~target])
        result[backend] = {
            "targets": int(target.sum()),
            "nontargets": int((~target).sum()),
            "eer": curve.eer(),
            **{f"mindcf_{p:g}": curve.min_dcf(p) for p in P_TARGETS},
        }
        if backend in dev:
            llr = Calibration(**dev[backend]["calibration"]).apply(scores)
            classes = llr[target], llr[~target]
            result[backend] |= {f"actdcf_{p:g}": actual_dcf(*classes, bayes_threshold(p), p) for p in P_TARGETS}
            result[backend]["cllr"] = cllr(*classes)
    enrol, test, count = speakers
    if replicates and count >= 2:
        systems = [one.scores[backend] for backend in backends]
        draws = bootstrap(systems, target, enrol, test, seed=seed, replicates=replicates)
        for number, (backend, bounds) in enumerate(zip(backends, intervals(draws), strict=True)):
            for metric, bound in zip(METRICS, bounds, strict=True):
                result[backend][f"{metric}_interval"] = [bound.low, bound.high]
            if number:
                for metric, bound in zip(METRICS, paired_difference(draws, 0, number), strict=True):
                    result[backend][f"{metric}_minus_{backends[0]}"] = [bound.low, bound.high]
    return result


def write_scores(path: str | Path, one: ScoredTrials, scores: np.ndarray) -> None:
    """Write `enrol test score` lines (Kaldi's form), atomically."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", errors="surrogateescape") as handle:
        rows = zip(one.trials.enrol, one.trials.test, scores.tolist(), strict=True)
        handle.writelines(f"{enrol} {test} {score:.6f}\n" for enrol, test, score in rows)


def write_set(out: Path, set_name: str, scored: Mapping[str, ScoredTrials], dev: Mapping[str, Any]) -> None:
    """Write scores of every list and back-end; for test DET points too, and calibrated ones where `dev` has them."""
    for name, one in scored.items():
        for backend, scores in one.scores.items():
            write_scores(out / set_name / f"{name}.{backend}.scores", one, scores)
            if set_name == "dev":
                continue
            if backend in dev:
                calibrated = Calibration(**dev[backend]["calibration"]).apply(scores)
                write_scores(out / set_name / f"{name}.{backend}.llr", one, calibrated)
            points = det_points(scores[one.trials.target], scores[~one.trials.target])
            lines = [f"{accept:.8g}\t{miss:.8g}\n" for accept, miss in zip(*points, strict=True)]
            write_text(out / set_name / f"{name}.{backend}.det.tsv", "false_accept\tmiss\n" + "".join(lines))


def write_thresholds(out: Path, dev: Mapping[str, Any], top: int, cohort: int) -> None:
    """Write thresholds.json: per back-end the calibration and thresholds, all from dev."""
    write_json(out / "thresholds.json", {"from": "dev", "top_n": top, "cohort": cohort, "backends": dev})


def result_row(
    budget: str, model: Mapping[str, Any], name: str, backend: str, values: Mapping[str, Any]
) -> dict[str, str]:
    """Return one row of results.tsv; `model` is the metadata of the subnet, `values` one back-end of `list_metrics`."""
    row = {key: str(model[key]) for key in ("arch", "macs", "params")}
    row |= {"budget": budget, "model": model["weights"], "supernet": model.get("supernet", "")}
    row |= {"trials": name, "backend": backend}
    row |= {key: str(values[key]) for key in ("targets", "nontargets")}
    for metric in METRICS:
        scale, digits = (100, 3) if metric == "eer" else (1, 4)
        low, high = values.get(f"{metric}_interval", (None, None))
        for ending, number in (("", values[metric]), ("_low", low), ("_high", high)):
            row[metric + ending] = "" if number is None else f"{scale * number:.{digits}f}"
    return row | {name: f"{values[name]:.4f}" if name in values else "" for name in ("actdcf_0.01", "cllr")}
