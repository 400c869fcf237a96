"""Arrays and crops to the device that needs them: to a GPU the codes of crops travel, one or two bytes a value."""

import numpy as np
import torch
from torch import Tensor

from etdnn.data.ark import QuantisedCrops


def to_device(crops: QuantisedCrops, device: torch.device) -> Tensor:
    """Return the crops' values, float32 [n, length, dim], on `device`."""
    if device.type == "cpu":
        return torch.from_numpy(crops.to_float())
    return scale(*(send(part, device) for part in (crops.codes, crops.minimum, crops.step)))


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """Return `array` as a tensor: in the same memory on the CPU; to a GPU it is on its way, and nobody waits for it.

    What the same stream is given to do afterwards finds it there.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    with torch.cuda.device(device):  # pinned memory belongs to a context, and threads begin on the first GPU
        # The pinned copy is let go before it has been read, which is safe: PyTorch's allocator of pinned memory notes
        # the stream of every copy out of a block, and gives the block to no one else until that copy is done.
        return tensor.pin_memory().to(device, non_blocking=True)


def scale(codes: Tensor, minimum: Tensor, step: Tensor) -> Tensor:
    """Return minimum + step * code, float32 [n, length, dim]; equal to the bit to `QuantisedCrops.to_float`."""
    return codes.float().mul_(step[:, None, None]).add_(minimum[:, None, None])
