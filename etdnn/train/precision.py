"""Which number format a training computes in, where its configuration leaves that to the machine."""

import dataclasses

import torch

from etdnn.train.settings import TrainSettings


def settle_precision(settings: TrainSettings, device: torch.device) -> TrainSettings:
    """Return `settings` with `precision: auto` replaced by `bf16` where `device` has bf16 matrix units, else `fp32`.

    Without such units (AMX on CPUs, tensor cores on GPUs) bf16 is emulated and slower than fp32.
    """
    if settings.precision != "auto":
        return settings
    return dataclasses.replace(settings, precision="bf16" if has_bf16_units(device) else "fp32")


def has_bf16_units(device: torch.device) -> bool:
    """Return whether `device` multiplies bf16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))
