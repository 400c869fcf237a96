"""Named random generators: every draw is a function of (seed, purpose, step or utterance)."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_of(*purpose: int | str) -> int:
    """Return a 63-bit seed for `purpose`, e.g. `seed_of(seed, "arch", step)`; equal parts give equal seeds anywhere."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in purpose)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(*purpose: int | str) -> np.random.Generator:
    """Return a numpy generator seeded by `purpose`."""
    return np.random.Generator(np.random.PCG64(seed_of(*purpose)))


def torch_generator(*purpose: int | str) -> "torch.Generator":
    """Return a CPU torch generator seeded by `purpose`."""
    import torch

    return torch.Generator().manual_seed(seed_of(*purpose))
