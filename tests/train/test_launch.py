"""How the launcher of several ranks ends; test_phases.py stops two real ones."""

import os
import signal
import subprocess
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from etdnn.train import launch
from etdnn.train.loop import INTERRUPTED
from tests.conftest import REPOSITORY


def ended(*codes: int) -> ChildFailedError:
    """Return torchrun's error for ranks that ended with `codes`."""
    failures = {rank: ProcessFailure(rank, 1000 + rank, code, "<NA>") for rank, code in enumerate(codes)}
    return ChildFailedError("training", failures)


def end_of(monkeypatch, error: Exception | None) -> int:
    def run():
        if error:
            raise error

    monkeypatch.setattr(launch.run, "main", run)
    return launch.main()


def test_stopped_ranks_are_told_from_ended_and_from_failed_ones(monkeypatch):
    assert end_of(monkeypatch, None) == 0
    assert end_of(monkeypatch, SignalException("to torchrun", signal.SIGTERM)) == INTERRUPTED
    for codes, status in (((85, 85), INTERRUPTED), ((1,), 1), ((85, 1), 1), ((-9, 85), 137)):
        assert end_of(monkeypatch, ended(*codes)) == status


def test_a_mistake_has_no_traceback(tmp_path):
    words = ["--standalone", "--nproc-per-node", "2", "-m", "etdnn", "train", "--config", "absent.yaml"]
    words += ["--space", "paper_coarse", "--phase", "x", "--data", "x", "--out", "x"]
    done = subprocess.run(
        [sys.executable, "-m", "etdnn.train.launch", *words],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "etdnn train: error: absent.yaml: no such configuration file" in done.stderr
