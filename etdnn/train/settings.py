"""Training configuration: conf/train*.yaml as dataclasses; every key checked, every default stated here."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from etdnn.errors import UserError
from etdnn.features.plan import MelNoise, SpecAugment, Waveform
from etdnn.model.space import SearchSpace
from etdnn.settings import load_settings

FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class Loss:
    """Classification loss: `aam` (angle plus margin) or `am` (cosine minus margin) of `scale` and `margin`.

    `subcentres` per class (the nearest counts); `topk` hardest other classes are pushed by `topk_margin`.
    """

    kind: Literal["aam", "am"] = "aam"
    margin: float = 0.2
    scale: float = 30.0
    subcentres: int = 1
    topk: int = 0
    topk_margin: float = 0.06

    def __post_init__(self):
        if not 0 <= self.margin < 1.5 or self.scale <= 0 or self.subcentres < 1 or min(self.topk, self.topk_margin) < 0:
            raise ValueError("loss: margin in [0, 1.5), scale > 0, subcentres >= 1, topk, topk_margin >= 0 are needed")


@dataclass(frozen=True)
class Optimiser:
    """`adam`, `adamw` or `sgd`; `decay_all` lets weight decay reach batch norms, biases and kernel matrices too."""

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 2e-5
    decay_all: bool = True
    momentum: float = 0.9
    nesterov: bool = True
    clip: float = 0.0

    def __post_init__(self):
        if self.weight_decay < 0 or self.clip < 0 or not 0 <= self.momentum < 1:
            raise ValueError("optimiser: weight_decay >= 0, clip >= 0 and momentum in [0, 1) are needed")


@dataclass(frozen=True)
class Schedule:
    """Learning rate as a function of the step: `triangular2`, `cosine`, `exponential` or `constant`.

    `triangular2` climbs from `min` to `max` in `half_cycle` epochs and falls back, the peak halving each cycle; the
    others begin with `warmup` epochs of linear climbing and end at `min`.
    """

    kind: Literal["triangular2", "cosine", "exponential", "constant"] = "triangular2"
    max: float = 1e-3
    min: float = 1e-8
    warmup: float = 0.0
    half_cycle: float = 8.0

    def __post_init__(self):
        if not 0 <= self.min <= self.max or self.warmup < 0 or self.half_cycle <= 0:
            raise ValueError("schedule: 0 <= min <= max, warmup >= 0 and half_cycle > 0 are needed")
        if self.kind == "exponential" and self.min == 0:
            raise ValueError("schedule: exponential needs min > 0")


@dataclass(frozen=True)
class Distillation:
    """Weights of what is learned from others: `logits` (class posteriors of margin-free cosines) and `embedding` from
    the largest network of the same step, `external` from the embeddings of another model (--teacher-scp).
    """

    logits: float = 0.0
    embedding: float = 0.0
    external: float = 0.0

    def __post_init__(self):
        if min(self.logits, self.embedding, self.external) < 0:
            raise ValueError("distillation: logits, embedding and external >= 0 are needed")

    def __bool__(self) -> bool:
        return bool(self.logits or self.embedding)


@dataclass(frozen=True)
class Draw:
    """How the random subnets of a step are drawn.

    `uniform`: as published (every dimension uniformly: middling sizes are common, both ends rare). `macs`: a number of
    MACs between the smallest and the largest subnet is drawn, and of `tries` uniformly drawn subnets the nearest is
    taken. `budgets`: the same with one of the `budgets` that the supernet is to serve. A share `uniform_share` of the
    draws stays uniform.
    """

    kind: Literal["uniform", "macs", "budgets"] = "uniform"
    budgets: list[str | int] = field(default_factory=list)
    tries: int = 16
    uniform_share: float = 0.0

    def __post_init__(self):
        if self.tries < 1 or not 0 <= self.uniform_share <= 1:
            raise ValueError("draw: tries >= 1 and uniform_share in [0, 1] are needed")
        if (self.kind == "budgets") != bool(self.budgets):
            raise ValueError("draw: kind 'budgets' and a list of budgets go together")


@dataclass(frozen=True)
class Validation:
    """Measuring the largest network on the dev trials every `epochs` epochs and at the end of each phase; 0: never.

    Batch norm is re-estimated on `crops` training crops of `frames` frames, dev utterances are embedded by `dev_crops`
    crops of `dev_frames`; above 0, `dev_speakers` bounds the number of dev speakers. The best checkpoint is kept;
    with `take_best` the phase ends with it.
    """

    epochs: float = 0.0
    crops: int = 512
    frames: int = 200
    dev_crops: int = 1
    dev_frames: int = 300
    dev_speakers: int = 0
    take_best: bool = False

    def __post_init__(self):
        if min(self.epochs, self.dev_speakers) < 0 or self.crops < 2:
            raise ValueError("validation: epochs >= 0, dev_speakers >= 0 and crops >= 2 are needed")
        if min(self.frames, self.dev_crops, self.dev_frames) < 1:
            raise ValueError("validation: frames, dev_crops and dev_frames >= 1 are needed")
        if self.take_best and not self.epochs:
            raise ValueError("validation: take_best needs epochs > 0")


@dataclass(frozen=True)
class Phase:
    """One phase: which choices are drawn, from which archs each step is made, for how long and how fast.

    `depth`, `width`, `kernel`, `cat`: a list of choices, `largest` (only the largest) or `all`. `paths`: the subnets of
    each step, `draw`: how the random ones are drawn. `epochs` may be a fraction; `crop` is in seconds; `margin_ramp`
    gives the epochs between which the margin grows from 0.
    """

    name: str
    epochs: float
    crop: float = 2.0
    depth: list[int] | str = "largest"
    width: list[int] | str = "largest"
    kernel: list[int] | str = "largest"
    cat: list[int] | str = "largest"
    paths: list[Literal["random", "largest", "smallest"]] = field(default_factory=lambda: ["random"])
    draw: Draw = field(default_factory=Draw)
    schedule: Schedule = field(default_factory=Schedule)
    margin_ramp: list[float] = field(default_factory=list)
    distillation: Distillation = field(default_factory=Distillation)

    def __post_init__(self):
        if self.epochs <= 0 or self.crop < 0.1 or not self.paths:
            raise ValueError(f"phase {self.name}: epochs > 0, crop >= 0.1 s and at least one path are needed")
        if self.margin_ramp and (len(self.margin_ramp) != 2 or not 0 <= self.margin_ramp[0] <= self.margin_ramp[1]):
            raise ValueError(f"phase {self.name}: margin_ramp is [first epoch, last epoch]")
        if self.distillation and self.paths[0] != "largest":
            raise ValueError(f"phase {self.name}: distillation needs 'largest' as the first of its paths")

    @property
    def frames(self) -> int:
        """Frames of a training crop."""
        return round(self.crop * FRAMES_PER_SECOND)

    def space(self, whole: SearchSpace) -> SearchSpace:
        """Return the part of `whole` that this phase draws from; UserError for a choice that is not in it."""
        choices = {}
        for key, mine in (("depth", "depths"), ("width", "widths"), ("kernel", "kernels"), ("cat", "cats")):
            value = getattr(self, key)
            if value == "largest":
                choices[mine] = (getattr(whole, mine)[-1],)
            elif value == "all":
                choices[mine] = None
            elif isinstance(value, str):
                raise UserError(f"phase {self.name}: {key} '{value}' is not a list, 'largest' or 'all'")
            else:
                choices[mine] = value
        return whole.restrict(**choices, name=f"{whole.name}/{self.name}")


@dataclass(frozen=True)
class FineTune:
    """Fine-tuning of one derived subnet (stage 5): longer crops, a larger margin, a low rate, usually no speed copies.

    All classes of the head are kept; with `speed_copies` false only utterances at their own speed are visited. With
    `distillation` the subnet learns from the largest network of its supernet too. `average` is its own, as that of the
    phases: fine-tuning is short, and a mean of as many checkpoints would count its first epochs like its last.
    """

    epochs: float = 5.0
    crop: float = 6.0
    margin: float = 0.5
    speed_copies: bool = False
    schedule: Schedule = field(default_factory=lambda: Schedule("exponential", max=1e-4, min=2.5e-5))
    distillation: Distillation = field(default_factory=Distillation)
    average: int = 0

    def phase(self) -> Phase:
        """Return the phase that this is; raises ValueError for what a phase does not allow."""
        paths = ["largest"]  # there is one network only; the name lets the phase have a teacher
        return Phase(
            "finetune", self.epochs, self.crop, paths=paths, schedule=self.schedule, distillation=self.distillation
        )

    def __post_init__(self):
        self.phase()
        if not 0 <= self.margin < 1.5 or self.average < 0:
            raise ValueError("finetune: margin in [0, 1.5) and average >= 0 are needed")
        if self.distillation.external:
            raise ValueError("finetune: distillation.external is for phases; here the supernet can teach")


@dataclass(frozen=True)
class TrainSettings:
    """The whole training: what all phases share, and the phases in order.

    `batch` is the number of crops of a step over all ranks together, so that the number of ranks changes neither the
    rate nor the schedule; `accumulate` splits each rank's share into that many micro-batches. `augmentation`: the
    chance that a stored copy stands in for its original; negative: every copy is an utterance of its own, as published.
    `precision` of the network's forward and backward pass (weights and statistics stay fp32): `auto` is bf16 where the
    machine has matrix units for it, else fp32.
    `mel_noise` mixes stored fbanks of noises into crops that no stored copy has made noisy. `waveform` reads crops from
    audio and augments them anew, instead of both.
    `epoch`: how many crops an epoch of the phases is: as many as there are items to visit, speed copies included
    (`all`), or as there are items at their own speed (`originals`; speed copies are visited all the same).
    `rate_batch`: the batch that the rates of the schedules are stated for; at another one they are multiplied by
    the ratio (SGD) or its square root (Adam, AdamW); 0: rates hold as they stand.
    `average`: that many last checkpoints are averaged at the end of a phase (0: the last one is taken). The
    newest `keep` stay. `tensorboard` writes its event files beside the journal (extra `tensorboard`).
    """

    phases: list[Phase]
    batch: int = 128
    rate_batch: int = 0
    epoch: Literal["all", "originals"] = "all"
    accumulate: int = 1
    normalisation: Literal["mean", "mean_variance", "none"] = "mean"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    augmentation: float = -1.0
    mel_noise: MelNoise = field(default_factory=MelNoise)
    waveform: Waveform = field(default_factory=Waveform)
    loss: Loss = field(default_factory=Loss)
    optimiser: Optimiser = field(default_factory=Optimiser)
    spec_augment: SpecAugment = field(default_factory=SpecAugment)
    finetune: FineTune = field(default_factory=FineTune)
    checkpoint_minutes: float = 10.0
    checkpoint_epochs: float = 1.0
    keep: int = 2
    average: int = 0
    validation: Validation = field(default_factory=Validation)
    tensorboard: bool = False

    def __post_init__(self):
        if self.validation.take_best and (self.average or self.finetune.average):
            raise ValueError("training ends with the best checkpoint (take_best) or with a mean (average), not both")
        if self.waveform and (self.mel_noise.probability > 0 or self.augmentation > 0):
            raise ValueError("waveform draws everything anew: leave out mel_noise and augmentation (stored copies)")
        if self.rate_batch < 0 or min(self.checkpoint_epochs, self.checkpoint_minutes) <= 0:
            raise ValueError("rate_batch >= 0, checkpoint_epochs > 0 and checkpoint_minutes > 0 are needed")
        if self.batch < 2 or self.accumulate < 1 or self.keep < 1 or self.average < 0 or self.augmentation > 1:
            raise ValueError("batch >= 2, accumulate >= 1, keep >= 1, average >= 0 and augmentation <= 1 are needed")
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) != len(names):
            raise ValueError("phases: at least one, each with a name of its own")

    def lasting(self, *without: str) -> dict[str, Any]:
        """Return the settings that the weights depend on, phases and `without` apart, as JSON-ready values."""
        values = dataclasses.asdict(self)
        for key in ("phases", "keep", "checkpoint_minutes", "tensorboard", *without):
            del values[key]
        values["waveform"] = self.waveform.lasting()
        if not self.validation.take_best:
            del values["validation"]
        return values

    def phase(self, name: str) -> Phase:
        """Return the phase `name`; UserError that lists the names."""
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise UserError(f"no phase is named '{name}': {', '.join(phase.name for phase in self.phases)}")


def load_train_settings(path: str) -> TrainSettings:
    """Read conf/train*.yaml; see `etdnn.settings.load_settings` for the errors."""
    return load_settings(TrainSettings, path)
