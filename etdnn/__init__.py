"""EfficientTDNN: one elastic TDNN for speaker verification, and the best subnet of it for any budget."""

__version__ = "0.1.0"

_LAZY = {"load_model": "etdnn.deploy.runtime", "load_supernet": "etdnn.model.checkpoint"}


def __getattr__(name: str):
    """Resolve `load_model` and `load_supernet` on first use, so that importing etdnn does not import torch."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'etdnn' has no attribute '{name}'")
