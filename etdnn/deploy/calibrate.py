"""Thresholds from a user's own recordings, kept in the model file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etdnn.data.trials import read_trials
from etdnn.deploy.runtime import load_model
from etdnn.errors import UserError
from etdnn.model.checkpoint import save_subnet
from etdnn.scoring.calibration import fit_calibration
from etdnn.scoring.metrics import P_TARGETS, Curve, thresholds


def calibrate(
    model_path: str | Path,
    trials_path: str | Path,
    out: str | Path,
    *,
    recordings: Mapping[str, str] | None = None,
    prior: float = 0.01,
    device: str = "cpu",
) -> dict[str, Any]:
    """Fit thresholds on the trials of a list and write the model with them (`thresholds.own`) to `out`; return them.

    The list's entries are ids of `recordings` (a wav.scp), or paths relative to the working folder or to the list's.
    UserError for what cannot be read, and for a list without both kinds of trials.
    """
    model = load_model(model_path, device)
    trials = read_trials(trials_path)
    paths = {name: _find(name, Path(trials_path), recordings) for name in sorted({*trials.enrol, *trials.test})}
    vectors = {name: model.embed_file(path) for name, path in paths.items()}
    # one by one, as verify does it: a threshold that is a trial's own score must accept this trial
    pairs = zip(trials.enrol, trials.test, strict=True)
    scores = np.array([model.similarity(vectors[enrol], vectors[test]) for enrol, test in pairs])
    classes = scores[trials.target], scores[~trials.target]
    curve, fitted = Curve.of(*classes), fit_calibration(*classes, prior)
    own = {
        "from": "own recordings",
        "lists": [Path(trials_path).name],
        "calibration": {"scale": fitted.scale, "offset": fitted.offset, "prior": fitted.prior},
        "points": thresholds(*classes),
        "eer": curve.eer(),
        **{f"mindcf_{p:g}": curve.min_dcf(p) for p in P_TARGETS},
        "targets": int(trials.target.sum()),
        "nontargets": int((~trials.target).sum()),
    }
    known = model.metadata.get("thresholds") or {}
    save_subnet(out, model.net, {**model.metadata, "thresholds": {**known, "own": own}})
    return own


def _find(name: str, trials: Path, recordings: Mapping[str, str] | None) -> str:
    if recordings is not None:
        if name not in recordings:
            raise UserError(f"{trials}: '{name}' is not in the wav.scp")
        return recordings[name]
    for path in (Path(name), trials.parent / name):
        if path.is_file():
            return str(path)
    raise UserError(f"{trials}: '{name}' is no file, neither here nor beside the list; give --wav-scp for ids")
