"""Thresholds from a user's own recordings, kept in the model file."""

from pathlib import Path
from typing import Any

import numpy as np

from etdnn.data.trials import read_trials
from etdnn.deploy.listed_audio import ListedAudio
from etdnn.deploy.runtime import Embedder, load_model
from etdnn.errors import UserError
from etdnn.model.checkpoint import save_subnet
from etdnn.scoring.calibration import fit_calibration
from etdnn.scoring.metrics import P_TARGETS, Curve, thresholds


def calibrate(
    model_path: str | Path,
    trials_path: str | Path,
    out: str | Path,
    *,
    audio: ListedAudio | None = None,
    prior: float = 0.01,
    device: str = "cpu",
) -> dict[str, Any]:
    """Fit thresholds on the trials of a list and write the model with them (`thresholds.own`) to `out`; return them.

    The list's entries are ids of `audio`, or paths relative to the working folder or to the list's.
    UserError for what cannot be read, and for a list without both kinds of trials.
    """
    model = load_model(model_path, device)
    trials = read_trials(trials_path)
    names = sorted({*trials.enrol, *trials.test})
    vectors = _of_ids(model, names, Path(trials_path), audio) if audio else _of_paths(model, names, Path(trials_path))
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


def _of_ids(model: Embedder, names: list[str], trials: Path, audio: ListedAudio) -> dict[str, np.ndarray]:
    unknown = next((name for name in names if name not in audio), None)
    if unknown is not None:
        raise UserError(f"{trials}: '{unknown}' is not in {audio.path}")
    return {name: audio.extract(model, name).embedding for name in names}


def _of_paths(model: Embedder, names: list[str], trials: Path) -> dict[str, np.ndarray]:
    paths = {}
    for name in names:
        paths[name] = next((path for path in (Path(name), trials.parent / name) if path.is_file()), None)
        if paths[name] is None:
            raise UserError(f"{trials}: '{name}' is no file, neither here nor beside the list; give --wav-scp for ids")
    return {name: model.embed_file(path) for name, path in paths.items()}
