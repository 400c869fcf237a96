"""Fine-tuning of a derived subnet: the static network goes on alone, with the head of the phase it came from."""

import copy
import dataclasses
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from etdnn.data.ark import FeatureReader
from etdnn.embed.batchnorm import calibration_batches, calibration_hash, calibration_noise, reestimate
from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.model.arch import Arch
from etdnn.model.checkpoint import load_supernet, read_subnet, save_subnet
from etdnn.model.tdnn import Tdnn
from etdnn.scoring.embeddings import weights_hash
from etdnn.train.common import common_identity, load_head, noise_metadata, read_frontend, run, training_set
from etdnn.train.dataset import TrainingSet
from etdnn.train.loop import Stepper
from etdnn.train.losses import MarginHead
from etdnn.train.precision import settle_precision
from etdnn.train.ranks import Ranks
from etdnn.train.settings import TrainSettings
from etdnn.train.state import flatten


@dataclass(frozen=True)
class FineTuneJob:
    """Files of one fine-tuning: `model` (derived subnet) and `head` (of the last phase) in, `out` (a model file) made.

    `data` is the training data with copies, `calibration` the one that batch norm is measured on; `teacher` is the
    supernet that the subnet comes from, needed for distillation only.
    """

    model: Path
    head: Path
    data: Path
    calibration: Path
    out: Path
    seed: int
    device: str = "auto"
    threads: int = 1
    override: bool = False
    stage_to: Path | None = None
    teacher: Path | None = None
    force: bool = False
    stop_after: float | None = None


class OneArch(nn.Module):
    """A static network behind the interface of a supernet: whatever arch is asked for, it is this one."""

    def __init__(self, net: Tdnn):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, _arch: Arch) -> Tensor:
        """(batch, in_feats, frames) to (batch, embedding)."""
        return self.net(x)


def finetune(settings: TrainSettings, job: FineTuneJob) -> Path:
    """Train the subnet of `job.model` on as `settings.finetune` says, measure its batch norms anew, write `job.out`.

    The inter-topk penalty is off, as in the usual large-margin fine-tuning. Resumes like a phase; its checkpoints and
    journal lie in `finetune/` beside `job.out`. UserError when the model has no head, another front end or other
    speakers.
    """
    torch.set_num_threads(job.threads)
    if not job.head.is_file():
        raise UserError(
            f"{job.head}: no such head; fine-tuning needs the class directions that the supernet was trained with, "
            "which a subnet file does not hold: keep the folder of the last phase"
        )
    net, metadata = read_subnet(job.model)
    for key in ("calibration", "normalisation", "frontend"):
        if key not in metadata:
            raise UserError(f"{job.model}: its metadata has no '{key}'; only subnets of stage 5 can be fine-tuned")
    if metadata["frontend"].get("key") != read_frontend(job.data).get("key"):
        raise UserError(f"{job.data}: its features are of another front end than {job.model}; make them with stage 1")
    options = settings.finetune
    loss = dataclasses.replace(settings.loss, margin=options.margin, topk=0)
    settings = dataclasses.replace(
        settings, loss=loss, normalisation=metadata["normalisation"], average=options.average
    )
    with closing(Ranks(job.device)) as ranks:
        settings = settle_precision(settings, ranks.device)
        data = training_set(settings, job.data, ranks, speed_copies=options.speed_copies)
        head = MarginHead(net.embedding.out_features, len(data.speakers), loss)
        load_head(head, job.head, data)
        network = OneArch(net).to(ranks.device)
        head.to(ranks.device)
        teacher = _teacher(job, ranks, net) if options.distillation else None
        identity = _identity(settings, data, ranks, job)
        stepper = Stepper(
            network, lambda _step: [net.arch], head, data, settings, options.phase(), ranks, job.seed, teacher
        )
        run(stepper, job, job.out.parent / "finetune", identity, lambda: copy.deepcopy(net).eval())
        if ranks.first:
            kept = {name: value for name, value in metadata.items() if name not in ("mel_noise", "waveform")}
            _save(net.cpu(), kept | noise_metadata(settings), identity, job)
        ranks.wait()
    return job.out


def _teacher(job: FineTuneJob, ranks: Ranks, net: Tdnn) -> Callable[[Tensor], Tensor]:
    """Return the largest network of the supernet, with the statistics of each batch as in its own training."""
    if job.teacher is None:
        raise UserError("finetune.distillation needs the supernet that the subnet comes from: --teacher FILE")
    supernet = load_supernet(job.teacher).requires_grad_(False).to(ranks.device).train()
    if supernet.space.embedding != net.embedding.out_features or supernet.space.in_feats != net.stem.conv.in_channels:
        raise UserError(f"{job.teacher}: its networks have other inputs or embeddings than {job.model}")
    return lambda crops: supernet(crops, supernet.space.largest)


def _identity(settings: TrainSettings, data: TrainingSet, ranks: Ranks, job: FineTuneJob) -> dict:
    return flatten(
        {
            **common_identity(settings, data, ranks, job),
            "settings": settings.lasting(),
            "model": hash_file(job.model),
            "head": hash_file(job.head),
            "teacher": hash_file(job.teacher) if settings.finetune.distillation else "",
        }
    )


def _save(net: Tdnn, metadata: dict, identity: dict, job: FineTuneJob) -> None:
    """Measure the batch norms on the crops that the derived subnet was measured on, and write the file."""
    crops = metadata["calibration"]
    reader = FeatureReader(job.calibration / "feats.scp")
    batches = calibration_batches(
        reader,
        metadata["normalisation"],
        seed=crops["seed"],
        crops=crops["crops"],
        frames=crops["frames"],
        batch=crops["batch"],
        noise=calibration_noise(job.calibration, reader.keys, metadata),
    )
    reestimate(net.eval(), batches)
    # what was measured of the embeddings before is not so of these
    kept = {key: value for key, value in metadata.items() if key not in ("embedding_space", "alignment")}
    changed = {
        "calibration": {**crops, "hash": calibration_hash(batches)},
        "weights": weights_hash(net),
        "finetuning": identity,
        "results": [],
        "thresholds": {},
    }
    save_subnet(job.out, net, {**kept, **changed})
