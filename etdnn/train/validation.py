"""Measuring a training on the dev trials: the largest network, batch norm re-estimated, mean EER of the dev lists.

All that is drawn comes from generators of its own, so training goes the same way with and without it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from etdnn.data.datadir import DataDir
from etdnn.embed.batchnorm import calibration_batches, reestimate
from etdnn.embed.dev_set import DevSet
from etdnn.embed.extract import check_frontend
from etdnn.errors import UserError
from etdnn.model.tdnn import Tdnn
from etdnn.scoring.metrics import eer
from etdnn.train.dataset import TrainingSet
from etdnn.train.settings import TrainSettings


class Validator:
    """Measures `derive()`, the static network of the moment, every `validation.epochs` epochs."""

    def __init__(
        self, settings: TrainSettings, directory: Path, data: TrainingSet, derive: Callable[[], Tdnn], seed: int
    ):
        """Read calibration crops from `data` (of `directory`) and the dev set from `dev` beside that directory."""
        options = settings.validation
        folder = directory.absolute().with_name("dev")
        if not (folder / "feats.scp").is_file():
            raise UserError(
                f"{folder}/feats.scp is missing, and 'validation' of the training configuration asks for it; stages "
                "0 and 1 make it, 'epochs: 0' there does without"
            )
        dev = DataDir(folder)
        check_frontend(DataDir(directory).frontend, dev.frontend, dev.path)
        self.derive = derive
        self.batches = calibration_batches(
            data.reader,
            settings.normalisation,
            seed=seed,
            crops=max(2, min(options.crops, len(data.reader))),
            frames=options.frames,
            noise=data.noises,
        )
        self.dev_set = DevSet.load(
            dev,
            settings.normalisation,
            frames=options.dev_frames,
            crops=options.dev_crops,
            speakers=options.dev_speakers,
            seed=seed,
        )

    def measure(self) -> dict[str, float]:
        """Return the EER in percent of each dev list (`eer_clean`, ...) and the mean (`eer`); infinite when broken."""
        net = self.derive()
        try:
            scores = self.dev_set.scores(reestimate(net, self.batches))
        except UserError:
            scores = None
        lists = self.dev_set.trials.items()
        if scores is None:
            return {"eer": float("inf"), **{f"eer_{name}": float("inf") for name, _ in lists}}
        found = {
            f"eer_{name}": 100 * eer(scores[name][part.target], scores[name][~part.target]) for name, part in lists
        }
        return {"eer": float(np.mean(list(found.values()))), **found}


def validation_due(epochs: float, step: int, total: int, steps_per_epoch: float) -> bool:
    """Tell whether to measure after `step` steps of `total`: every so many `epochs` (0: never), and at the end."""
    return bool(epochs) and (step == total or step % max(1, round(epochs * steps_per_epoch)) == 0)


def make_validator(
    settings: TrainSettings, directory: Path, data: TrainingSet, derive: Callable[[], Tdnn], seed: int, *, active: bool
) -> Validator | None:
    """Return the validator that the settings ask for; None without one, or on ranks that are not `active`."""
    if not settings.validation.epochs or not active:
        return None
    return Validator(settings, directory, data, derive, seed)
