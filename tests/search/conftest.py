"""Shared by the search tests: objectives of bench/, a small space, a corpus with a supernet."""

import sys
from pathlib import Path

import pytest

from etdnn.model.space import SearchSpace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))


@pytest.fixture(scope="session")
def small_space() -> SearchSpace:
    """Return a space of 9,288 subnets, small enough for an exhaustive oracle."""
    return SearchSpace("small", depths=(1, 2, 3), widths=(16, 32, 64), kernels=(1, 3), cats=(48, 64, 96, 128, 192, 256))


@pytest.fixture(scope="session")
def coarse() -> SearchSpace:
    return SearchSpace.named("paper_coarse")


@pytest.fixture(scope="session")
def fine() -> SearchSpace:
    return SearchSpace.named("paper_fine")
