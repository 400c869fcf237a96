"""What training a phase and fine-tuning a subnet have in common: data, head, identity, the way through the steps."""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.model.checkpoint import read_tensors
from etdnn.model.tdnn import Tdnn
from etdnn.train.dataset import TrainingSet
from etdnn.train.journal import Journal
from etdnn.train.loop import Stepper, train
from etdnn.train.losses import MarginHead
from etdnn.train.ranks import Ranks
from etdnn.train.settings import TrainSettings
from etdnn.train.state import check_identity
from etdnn.train.validation import make_validator

if TYPE_CHECKING:
    from etdnn.train.finetune import FineTuneJob
    from etdnn.train.phases import PhaseJob


def training_set(settings: TrainSettings, directory: Path, ranks: Ranks, *, speed_copies: bool = True) -> TrainingSet:
    """Return the training set of `directory`, augmented as the settings say; UserError where the batch does not fit."""
    with ranks.together():
        data = TrainingSet(
            directory, settings.augmentation,
            speed_copies=speed_copies, mel_noise=settings.mel_noise, waveform=settings.waveform,
        )  # fmt: skip
    _check_batch(settings, data, ranks)
    return data


def _check_batch(settings: TrainSettings, data: TrainingSet, ranks: Ranks) -> None:
    """Raise UserError when the batch does not divide over ranks and micro-batches or exceeds the training set."""
    parts = ranks.count * settings.accumulate
    if settings.batch % parts or settings.batch // parts < 2:
        raise UserError(
            f"batch {settings.batch} cannot be split over {ranks.count} ranks x {settings.accumulate} micro-batches: "
            "each needs the same number, at least 2"
        )
    if settings.batch > data.items:
        raise UserError(f"batch {settings.batch} is larger than the training set ({data.items} utterances); lower it")


def run(
    stepper: Stepper,
    job: "PhaseJob | FineTuneJob",
    folder: Path,
    identity: dict[str, Any],
    derive: Callable[[], Tdnn],
) -> None:
    """Take the steps of `stepper` that are left, with checkpoints, journal and `identity` in `folder`.

    `derive()` gives the network that is measured on dev. UserError where `folder` holds a training of another identity,
    InterruptedTrainingError after SIGTERM or SIGINT and when the minutes of `job.stop_after` are over.
    """
    until = math.inf if job.stop_after is None else time.monotonic() + 60 * job.stop_after
    settings, data, ranks = stepper.settings, stepper.data, stepper.ranks
    with ranks.together():
        if job.stage_to is not None:
            data.stage(job.stage_to)
        validator = make_validator(settings, job.data, data, derive, job.seed, active=ranks.first)
    journal = Journal(folder, stepper.phase.name, settings.batch, active=ranks.first, tensorboard=settings.tensorboard)
    if ranks.first:
        if job.force:
            _discard(folder)  # now that nothing else can be refused
        check_identity(folder / "training.json", identity, override=job.override)
        _announce(stepper)
    ranks.wait()
    train(stepper, folder, identity, journal, validator, until)


def _discard(folder: Path) -> None:
    """Remove what an earlier training left in `folder`, but for `log`: the runner writes there at this moment."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name != "log":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _announce(stepper: Stepper) -> None:
    """Print how many utterances, items and classes there are, how many utterances are wrapped, and what is mixed in."""
    data, phase = stepper.data, stepper.phase
    total = len(data.reader.keys)
    short = int((data.reader.num_frames < phase.frames).sum())
    print(f"{total} utterances in {data.items} items of {data.class_count()}")
    if short:
        print(
            f"{'warning: all' if short == total else short} of {total} utterances are shorter than the crop of "
            f"{phase.frames} frames and are wrapped"
        )
    if not stepper.settings.waveform:
        print(f"features are read from {', '.join(sorted({str(Path(path).parent) for path in data.reader.paths}))}")
    if data.noises is not None:
        print(data.noises.description)


def load_head(head: MarginHead, path: Path, data: TrainingSet) -> None:
    """Fill `head` from the file of an earlier phase; UserError when it is missing or knows other speakers."""
    tensors, metadata = read_tensors(path)
    if metadata["speakers"] != data.speakers:
        raise UserError(
            f"{path}: knows {len(metadata['speakers'])} speakers, the training data has {len(data.speakers)} or "
            "others; train all phases on the same data"
        )
    if tensors["weight"].shape != head.weight.shape:
        raise UserError(f"{path}: made for another number of sub-centres")
    head.load_state_dict(tensors)


def common_identity(
    settings: TrainSettings, data: TrainingSet, ranks: Ranks, job: "PhaseJob | FineTuneJob"
) -> dict[str, Any]:
    """Return what the result of any training depends on: seed, data and machine."""
    return {
        "seed": job.seed,
        "data": data.hash,
        "tables": _table_hashes(job.data, settings),
        "noises": {path.name: hash_file(path) for path in data.noises.tables} if data.noises else {},
        "ranks": ranks.count,
        "threads": job.threads,
        "device": ranks.device.type,
    }


def _table_hashes(directory: Path, settings: TrainSettings) -> dict[str, str]:
    """Return the hashes of the tables that say what the features were made of, or the crops that come from audio."""
    names = ("feats.scp", ".feats.made", "utt2num_frames", "utt2uniq", "utt2aug", "augment.scp")
    names += ("wav.scp", "segments") if settings.waveform else ()
    return {name: hash_file(directory / name) for name in names if (directory / name).is_file()}


def noise_metadata(settings: TrainSettings) -> dict[str, Any]:
    """Return what a model's file says of the augmentation that crops had anew: batch norm is measured with it."""
    mel_noise = dataclasses.asdict(settings.mel_noise) if settings.mel_noise.probability > 0 else {}
    found = {"mel_noise": mel_noise, "waveform": settings.waveform.lasting()}
    return {name: values for name, values in found.items() if values}


def read_frontend(directory: Path) -> dict[str, Any]:
    """Return the options of the front end that made the directory's features."""
    path = directory / "frontend.json"
    if not path.is_file():
        raise UserError(f"{path} is missing; stage 1 makes it: bash run.sh --stage 1")
    return json.loads(path.read_text(encoding="utf-8"))
