"""Options of stage 4: conf/search.yaml."""

from dataclasses import dataclass, field
from typing import Literal

from etdnn.search.methods import METHODS


@dataclass(frozen=True)
class Measurement:
    """How a subnet is measured: batch norm on `calibration_*` training crops, then crops of the dev utterances.

    `dev_crops` crops of `dev_frames` frames each are embedded of every dev utterance; 0 frames: the whole utterance.
    `dev_speakers` bounds the dev speakers used (a seeded draw; 0: all), so that a large dev set stays affordable.
    """

    calibration_crops: int = 512
    calibration_frames: int = 200
    calibration_batch: int = 32
    dev_crops: int = 1
    dev_frames: int = 300
    dev_speakers: int = 0

    def __post_init__(self):
        for name, least in (
            ("calibration_crops", 2), ("calibration_frames", 1), ("calibration_batch", 2), ("dev_crops", 1),
            ("dev_frames", 0), ("dev_speakers", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} is below {least}")


@dataclass(frozen=True)
class SearchSettings:
    """How stage 4 searches.

    `samples` subnets are measured first, whatever the budget (`sampling`: spread evenly over MACs, or as published).
    Then, per budget, `rounds` times: the predictor is fitted, the `method` looks through `evaluations` predictions and
    the `candidates` that look best are measured. The arch is chosen by measurement among the `finalists` that the last
    fit ranks best. `target` is what the predictor learns: the mean EER, or the smoother EER of two Gaussians.
    `space` searches another space than the supernet was trained in (a name or a YAML file), the fine one, say.
    """

    samples: int = 1000
    sampling: Literal["stratified", "uniform"] = "stratified"
    rounds: int = 2
    candidates: int = 16
    finalists: int = 5
    method: Literal["evolution", "random", "grid", "exhaustive"] = "evolution"
    evaluations: int = 20000
    predictor: Literal["gaussian_process", "one_hot_mlp", "ensemble"] = "gaussian_process"
    target: Literal["objective", "smooth"] = "objective"
    space: str | None = None
    bootstrap: int = 1000
    measurement: Measurement = field(default_factory=Measurement)

    def __post_init__(self):
        for name, least in (
            ("samples", 10), ("rounds", 0), ("candidates", 1), ("finalists", 1), ("evaluations", 100),
            ("bootstrap", 10),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)} is below {least}")
        assert self.method in METHODS
