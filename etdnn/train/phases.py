"""Training one phase from files to files: data directory and earlier phase in, supernet and head out."""

import dataclasses
from contextlib import closing
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
from etdnn.train.common import common_identity, load_head, noise_metadata, read_frontend, run, training_set
from etdnn.train.dataset import TrainingSet
from etdnn.train.loop import Stepper
from etdnn.train.losses import MarginHead
from etdnn.train.precision import settle_precision
from etdnn.train.ranks import Ranks
from etdnn.train.settings import Phase, TrainSettings
from etdnn.train.state import flatten
from etdnn.train.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class PhaseJob:
    """What a phase is made of: files, seed, machine; `init` is the folder of the phase before (None: from scratch).

    With `stage_to` the features are copied to that folder, on a disc of the machine, and read there. After `stop_after`
    minutes a checkpoint is written and InterruptedTrainingError raised, as after SIGTERM.
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
    stop_after: float | None = None


def train_phase(settings: TrainSettings, name: str, space: SearchSpace, job: PhaseJob) -> Path:
    """Train phase `name`; return the supernet file. Complete phases return at once, broken ones are resumed.

    Leaves `supernet.safetensors`, `head.safetensors`, `train.jsonl`, `training.json` (what it was made of) and
    `checkpoints/` in `job.out`. Raises UserError by name for what does not fit.
    """
    torch.set_num_threads(job.threads)
    phase = settings.phase(name)
    if phase.distillation.external and job.teacher_scp is None:
        raise UserError(f"phase {name}: distillation.external needs embeddings: --teacher-scp FILE")
    with closing(Ranks(job.device)) as ranks:
        settings = settle_precision(settings, ranks.device)
        data = training_set(settings, job.data, ranks)
        supernet, head = _begin(space, data, settings, job)
        identity = _identity(settings, name, space, data, ranks, job)
        if not job.force and _is_complete(job.out, identity):
            if ranks.first:
                print(f"phase {name} is complete")
            return job.out / "supernet.safetensors"
        supernet.to(ranks.device)
        head.to(ranks.device)
        drawn = phase.space(space)
        archs = drawn_archs(drawn, phase, job.seed)
        external = _external(phase, space, data, ranks, job)
        stepper = Stepper(supernet, archs, head, data, settings, phase, ranks, job.seed, external=external)
        if ranks.first:
            print(f"phase {name} draws from {drawn.count():,} subnets")
        run(stepper, job, job.out, identity, lambda: supernet.derive(space.largest))
        if ranks.first:
            _save(stepper, job, identity)
        ranks.wait()
    return job.out / "supernet.safetensors"


def _is_complete(folder: Path, identity: dict[str, Any]) -> bool:
    """Tell whether `folder` holds what the training of `identity` ends with; its checkpoints may have been removed."""
    paths = [folder / f"{name}.safetensors" for name in ("supernet", "head")]
    if not all(path.is_file() for path in paths):
        return False
    made = read_tensors(paths[0])[1].get("training", {})
    return {key: value for key, value in made.items() if key not in ("steps", "classes")} == identity


def _external(phase: Phase, space: SearchSpace, data: TrainingSet, ranks: Ranks, job: PhaseJob) -> Teacher | None:
    """Return the teacher of `--teacher-scp`, with the projection of the phase before; None without one."""
    if not phase.distillation.external:
        return None
    teacher = Teacher(job.teacher_scp, job.data, data.reader.keys, space.embedding, job.seed)
    before = job.init / "projection.safetensors" if job.init else None
    if before and before.is_file():
        teacher.load(before)
    if ranks.first:
        print(f"{teacher.known} of {len(data.reader.keys)} utterances have an embedding of {job.teacher_scp}")
    return teacher.to(ranks.device)


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


def _identity(
    settings: TrainSettings, name: str, space: SearchSpace, data: TrainingSet, ranks: Ranks, job: PhaseJob
) -> dict[str, Any]:
    """Return everything that the result depends on, flat, so that a difference can be named."""
    return flatten(
        {
            **common_identity(settings, data, ranks, job),
            "phase": dataclasses.asdict(settings.phase(name)),
            "settings": settings.lasting("finetune"),
            "space": space.hash,
            "frontend": read_frontend(job.data).get("key", ""),
            "init": hash_file(job.init / "supernet.safetensors") if job.init else "",
            "init_head": hash_file(job.init / "head.safetensors") if job.init else "",
            **({"teacher": hash_file(job.teacher_scp)} if settings.phase(name).distillation.external else {}),
        }
    )


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
