"""Training one phase from files to files: data directory and earlier phase in, supernet and head out."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.model.checkpoint import load_supernet, read_tensors, save_supernet, save_tensors
from etdnn.model.space import SearchSpace
from etdnn.model.supernet import Supernet
from etdnn.seeding import seed_of, torch_generator
from etdnn.train.archs import drawn_archs
from etdnn.train.dataset import TrainingSet
from etdnn.train.journal import Journal
from etdnn.train.loop import Stepper, train
from etdnn.train.losses import MarginHead
from etdnn.train.precision import settle_precision
from etdnn.train.ranks import Ranks
from etdnn.train.settings import Phase, TrainSettings
from etdnn.train.state import check_identity, flatten
from etdnn.train.teacher import Teacher
from etdnn.train.validation import make_validator


@dataclasses.dataclass(frozen=True)
class PhaseJob:
    """What a phase is made of: files, seed, machine; `init` is the folder of the phase before (None: from scratch).

    With `stage_to` the features are copied to that folder, on a disc of the machine, and read there.
    """

    data: Path
    out: Path
    init: Path | None
    seed: int
    device: str = "auto"
    threads: int = 1
    override: bool = False
    force: bool = False
    stage_to: Path | None = None
    teacher_scp: Path | None = None


def train_phase(settings: TrainSettings, name: str, space: SearchSpace, job: PhaseJob) -> Path:
    """Train phase `name`; return the supernet file. Complete phases return at once, broken ones are resumed.

    Leaves `supernet.safetensors`, `head.safetensors`, `train.jsonl`, `training.json` (what it was made of) and
    `checkpoints/` in `job.out`. Raises UserError by name for what does not fit.
    """
    torch.set_num_threads(job.threads)
    phase = settings.phase(name)
    ranks = Ranks(job.device)
    settings = settle_precision(settings, ranks.device)
    try:
        with ranks.together():
            data = training_set(settings, job.data)
        check_batch(settings, data, ranks)
        supernet, head = _begin(space, data, settings, job)
        identity = identity_of(settings, name, space, data, ranks, job)
        if not job.force and _is_complete(job.out, identity):
            if ranks.first:
                print(f"phase {name} is complete")
            return job.out / "supernet.safetensors"
        supernet.to(ranks.device)
        head.to(ranks.device)
        external = _external(phase, space, data, ranks, job)
        with ranks.together():
            if job.stage_to is not None:
                data.stage(job.stage_to)
            validator = make_validator(
                settings, job.data, data, lambda: supernet.derive(space.largest), job.seed, active=ranks.first
            )
        drawn = phase.space(space)
        archs = drawn_archs(drawn, phase, job.seed)
        stepper = Stepper(supernet, archs, head, data, settings, phase, ranks, job.seed, external=external)
        journal = Journal(job.out, name, settings.batch, active=ranks.first, tensorboard=settings.tensorboard)
        if ranks.first:
            if job.force:
                discard(job.out)  # now that nothing else can be refused
            check_identity(job.out / "training.json", identity, override=job.override)
            announce(stepper)
            print(f"phase {name} draws from {drawn.count():,} subnets")
        ranks.wait()
        train(stepper, job.out, identity, journal, validator)
        if ranks.first:
            _save(stepper, job, identity)
        ranks.wait()
    finally:
        ranks.close()
    return job.out / "supernet.safetensors"


def _is_complete(folder: Path, identity: dict[str, Any]) -> bool:
    """Tell whether `folder` holds what the training of `identity` ends with; its checkpoints may have been removed."""
    paths = [folder / f"{name}.safetensors" for name in ("supernet", "head")]
    if not all(path.is_file() for path in paths):
        return False
    made = read_tensors(paths[0])[1].get("training", {})
    return {key: value for key, value in made.items() if key not in ("steps", "classes")} == identity


def discard(folder: Path) -> None:
    """Remove what an earlier training left in `folder`, but for `log`: the runner writes there at this moment."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name != "log":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def training_set(settings: TrainSettings, directory: Path, *, speed_copies: bool = True) -> TrainingSet:
    """Return the training set of `directory`, augmented as the settings say."""
    return TrainingSet(
        directory, settings.augmentation,
        speed_copies=speed_copies, mel_noise=settings.mel_noise, waveform=settings.waveform,
    )  # fmt: skip


def _external(phase: Phase, space: SearchSpace, data: TrainingSet, ranks: Ranks, job: PhaseJob) -> Teacher | None:
    """Return the teacher of `--teacher-scp`, with the projection of the phase before; None without one."""
    if not phase.distillation.external:
        return None
    if job.teacher_scp is None:
        raise UserError(f"phase {phase.name}: distillation.external needs embeddings: --teacher-scp FILE")
    teacher = Teacher(job.teacher_scp, job.data, data.reader.keys, space.embedding, job.seed)
    before = job.init / "projection.safetensors" if job.init else None
    if before and before.is_file():
        teacher.load(before)
    if ranks.first:
        print(f"{teacher.known} of {len(data.reader.keys)} utterances have an embedding of {job.teacher_scp}")
    return teacher.to(ranks.device)


def check_batch(settings: TrainSettings, data: TrainingSet, ranks: Ranks) -> None:
    """Raise UserError when the batch does not divide over ranks and micro-batches or exceeds the training set."""
    parts = ranks.count * settings.accumulate
    if settings.batch % parts or settings.batch // parts < 2:
        raise UserError(
            f"batch {settings.batch} cannot be split over {ranks.count} ranks x {settings.accumulate} micro-batches: "
            "each needs the same number, at least 2"
        )
    if settings.batch > data.items:
        raise UserError(f"batch {settings.batch} is larger than the training set ({data.items} utterances); lower it")


def _begin(
    space: SearchSpace, data: TrainingSet, settings: TrainSettings, job: PhaseJob
) -> tuple[Supernet, MarginHead]:
    """Return supernet and head with the weights of the phase before, or drawn from the seed."""
    head = MarginHead(space.embedding, len(data.speakers), settings.loss)
    if job.init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(job.seed, "weights"))
            supernet = Supernet(space)
        head.reset(torch_generator(job.seed, "head"))
        return supernet, head
    supernet = load_supernet(job.init / "supernet.safetensors")
    if supernet.space.hash != space.hash:
        raise UserError(
            f"{job.init}/supernet.safetensors: made for space {supernet.space.to_dict()}, not {space.to_dict()}"
        )
    load_head(head, job.init / "head.safetensors", data)
    return supernet, head


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


def identity_of(
    settings: TrainSettings, name: str, space: SearchSpace, data: TrainingSet, ranks: Ranks, job: PhaseJob
) -> dict[str, Any]:
    """Return everything that the result depends on, flat, so that a difference can be named."""
    return flatten(
        {
            "seed": job.seed,
            "phase": dataclasses.asdict(settings.phase(name)),
            "settings": settings.lasting("finetune"),
            "space": space.hash,
            "data": data.hash,
            "tables": table_hashes(job.data, settings),
            "noises": noise_hashes(data),
            "frontend": read_frontend(job.data).get("key", ""),
            "init": hash_file(job.init / "supernet.safetensors") if job.init else "",
            "init_head": hash_file(job.init / "head.safetensors") if job.init else "",
            "ranks": ranks.count,
            "threads": job.threads,
            "device": ranks.device.type,
            **({"teacher": hash_file(job.teacher_scp)} if settings.phase(name).distillation.external else {}),
        }
    )


def table_hashes(directory: Path, settings: TrainSettings) -> dict[str, str]:
    """Return the hashes of the tables that say what the features were made of, or the crops that come from audio."""
    names = ("feats.scp", ".feats.made", "utt2num_frames", "utt2uniq", "utt2aug", "augment.scp")
    names += ("wav.scp", "segments") if settings.waveform else ()
    return {name: hash_file(directory / name) for name in names if (directory / name).is_file()}


def noise_hashes(data: TrainingSet) -> dict[str, str]:
    """Return the hashes of the tables of the noises that the training mixes in."""
    return {path.name: hash_file(path) for path in data.noises.tables} if data.noises else {}


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


def announce(stepper: Stepper) -> None:
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


def _save(stepper: Stepper, job: PhaseJob, identity: dict[str, Any]) -> None:
    metadata = {
        "frontend": read_frontend(job.data),
        "normalisation": stepper.settings.normalisation,
        "training": {**identity, "steps": stepper.total, "classes": len(stepper.data.speakers)},
    }
    if stepper.external is not None:
        stepper.external.save(job.out / "projection.safetensors")
    metadata |= noise_metadata(stepper.settings)
    head = {"format": 1, "kind": "head", "speakers": stepper.data.speakers}
    save_tensors(job.out / "head.safetensors", stepper.head.state_dict(), head)
    save_supernet(job.out / "supernet.safetensors", stepper.network, metadata)
