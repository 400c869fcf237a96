"""Mean (and variance) normalisation per bin over the frames given: the crop in training, the utterance in test."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

KINDS = ("mean", "mean_variance", "none")
_EPSILON = 1e-5
Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def normalise(features: Array, kind: str, axis_time: int) -> Array:
    """Return features with zero mean (and unit variance: biased, 1e-5 added) over `axis_time`; numpy or torch.

    Kinds are "mean", "mean_variance" and "none". Raises ValueError for any other.
    """
    if kind not in KINDS:
        raise ValueError(f"normalisation '{kind}' is not one of {', '.join(KINDS)}")
    if kind == "none":
        return features
    if isinstance(features, np.ndarray):
        centred = features - features.mean(axis_time, keepdims=True, dtype=features.dtype)
        power = np.mean(np.square(centred), axis_time, keepdims=True) if kind == "mean_variance" else None
    else:
        centred = features - features.mean(axis_time, keepdim=True)
        power = centred.square().mean(axis_time, keepdim=True) if kind == "mean_variance" else None
    return centred if power is None else centred / (power + _EPSILON) ** 0.5
