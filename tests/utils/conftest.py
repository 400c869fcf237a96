"""A Slurm of this machine, started once for all tests that ask for it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.slurm import missing, running_slurm


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment for calls of Slurm's programs; the test is skipped by name where none can be started."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with running_slurm(tmp_path_factory.mktemp("slurm")) as environment:
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment["ETDNN_SLURM_INTERVAL"] = "1"
        yield environment
