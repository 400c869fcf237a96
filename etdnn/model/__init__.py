"""The model room: archs and spaces, what they cost, the one network, the supernet, model files."""

from etdnn.model.arch import Arch
from etdnn.model.space import SearchSpace

__all__ = ["Arch", "SearchSpace"]
