"""Crops from codes to floats on the device that needs them: to a GPU the codes travel, one or two bytes a value."""

import torch
from torch import Tensor

from etdnn.data.ark import QuantisedCrops


def to_device(crops: QuantisedCrops, device: torch.device) -> Tensor:
    """Return the crops' values, float32 [n, length, dim], on `device`."""
    if device.type == "cpu":
        return torch.from_numpy(crops.to_float())
    with torch.cuda.device(device):  # pinned memory belongs to a context, and threads begin on the first GPU
        parts = [torch.from_numpy(part).pin_memory() for part in (crops.codes, crops.minimum, crops.step)]
        return scale(*(part.to(device, non_blocking=True) for part in parts))


def scale(codes: Tensor, minimum: Tensor, step: Tensor) -> Tensor:
    """Return minimum + step * code, float32 [n, length, dim]; equal to the bit to `QuantisedCrops.to_float`."""
    return codes.float().mul_(step[:, None, None]).add_(minimum[:, None, None])
