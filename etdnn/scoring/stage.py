"""Stage 7 as one call: a model's embeddings to scores, thresholds, metrics, results.tsv and the model's metadata."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.data.datadir import DataDir
from etdnn.errors import UsageError, UserError
from etdnn.files import hash_file, write_json
from etdnn.model.checkpoint import read_subnet, read_tensors, save_subnet
from etdnn.model.cost import arch_macs, arch_params
from etdnn.scoring.asnorm import clamp_top
from etdnn.scoring.backends import Scorer
from etdnn.scoring.cosine import speaker_means
from etdnn.scoring.embeddings import Embeddings, read_embeddings, weights_hash
from etdnn.scoring.evaluate import (
    dev_thresholds,
    list_metrics,
    list_speakers,
    result_row,
    score_set,
    write_set,
    write_thresholds,
)
from etdnn.scoring.quality import add_quality
from etdnn.scoring.results import update_results

_NO_COHORT = np.zeros((0, 0), np.float32)


def score_model(
    model: str | Path,
    budget: str,
    test: str | Path,
    dev: str | Path | None,
    embeddings: str | Path,
    out: str | Path,
    results: str | Path,
    *,
    train: str | Path | None = None,
    names: Sequence[str] | None = None,
    backends: Sequence[str] = ("cosine", "mean", "asnorm"),
    top: int = 300,
    prior: float = 0.01,
    replicates: int = 1000,
    seed: int = 0,
    allow_missing: bool = False,
    qmf: bool = False,
) -> list[dict[str, str]]:
    """Score the lists `names` of `test` (default: all); return this budget's rows of results.tsv.

    Thresholds and calibration come from all lists of `dev`, never from `test`; without `dev` there are none. `train`
    (utt2spk) makes speaker means of the cohort, which plain cosine does without. `qmf` adds to every back-end one with
    durations in its score (`add_quality`; those stay out of the model file, which has no durations). Writes
    OUT/{test,dev}/LIST.BACKEND.{scores,llr,det.tsv}, OUT/thresholds.json, OUT/metrics.json, the rows of `results`, and
    the model file's metadata (thresholds, results), each atomically. UserError where something is missing or does not
    fit.
    """
    if qmf and not dev:
        raise UsageError("--qmf is fitted on dev trials: give --dev")
    net, metadata = read_subnet(model)
    sizes = {"in_feats": metadata["in_feats"], "embedding": metadata["embedding"]}
    described = {
        "arch": metadata["arch"],
        "macs": arch_macs(net.arch, **sizes),
        "params": arch_params(net.arch, **sizes),
        "weights": weights_hash(net),
        "supernet": metadata.get("supernet", ""),
    }
    folders = ({"dev": DataDir(dev)} if dev else {}) | {"test": DataDir(test)}
    lists = {side: _chosen(data, names if side == "test" else None) for side, data in folders.items()}
    cohort = _cohort(Path(embeddings), train) if set(backends) != {"cosine"} else Embeddings([], _NO_COHORT)
    used = clamp_top(top, len(cohort.ids)) if any(name.endswith("asnorm") for name in backends) else 0
    print(f"cohort: {len(cohort.ids)} embeddings" + (f", top-n {used} (asked for {top})" if used else ""))
    scored = {}
    for side in folders:
        scorer = Scorer(read_embeddings(Path(embeddings) / f"{side}.scp"), cohort, backends, used)
        scored[side] = score_set(folders[side], scorer, lists[side], allow_missing)
    quality = add_quality(scored, folders, backends, prior) if qmf else {}
    backends = [*backends, *quality]
    fitted = dev_thresholds(scored["dev"], backends, prior) if dev else {}
    for name, numbers in quality.items():
        fitted[name]["quality"] = numbers
    metrics: dict[str, Any] = {}
    for name, one in scored["test"].items():
        speakers = list_speakers(folders["test"], name, one)
        metrics[name] = list_metrics(one, backends, fitted, speakers, seed=seed, replicates=replicates)
        print(f"{folders['test'].path}/trials_{name}: {len(one.trials)} trials, {speakers[2]} speakers")
    out = Path(out)
    for side, lists_scored in scored.items():
        write_set(out, side, lists_scored, fitted)
    write_thresholds(out, fitted, used, len(cohort.ids))
    write_json(out / "metrics.json", metrics)
    rows = [
        result_row(budget, described, name, backend, values)
        for name, by_backend in metrics.items()
        for backend, values in by_backend.items()
    ]
    written = [
        row for row in update_results(results, rows, supernets_of(Path(results).parent)) if row["budget"] == budget
    ]
    own = {name: one for name, one in (metadata.get("thresholds") or {}).items() if name == "own"}  # etdnn calibrate
    plain = {name: one for name, one in fitted.items() if name not in quality}
    save_subnet(model, net, {**metadata, "thresholds": plain | own, "results": written})
    return written


def supernets_of(experiment: Path) -> set[str]:
    """Return the hashes of the supernets that results of `experiment` may be of; none when it has no supernet itself.

    Its own, and those of subnets that local/derive.sh did not make of its own: derived or imported elsewhere.
    """
    own = {hash_file(path) for path in experiment.glob("*/supernet.safetensors")}
    foreign = [path for path in experiment.glob("subnet/*/model.safetensors")
               if not path.with_name(".derive.stamp").is_file()]  # fmt: skip
    return own | {read_tensors(path)[1].get("supernet", "") for path in foreign} if own else set()


def _chosen(data: DataDir, names: Sequence[str] | None) -> list[str]:
    """Return the lists asked for (`trials_x` is x), all when none is; UserError when there are none."""
    chosen = list(dict.fromkeys(name.removeprefix("trials_") for name in names)) if names else data.trial_names()
    if not chosen:
        raise UserError(f"{data.path}: no trials_NAME in it; stage 0 makes trial lists")
    return chosen


def _cohort(embeddings: Path, train: str | Path | None) -> Embeddings:
    """Return the cohort's embeddings, or the means of its speakers when the training data is given."""
    cohort = read_embeddings(embeddings / "cohort.scp")
    return speaker_means(cohort, DataDir(train).utt2spk) if train else cohort
