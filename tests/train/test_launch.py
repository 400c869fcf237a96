"""How the launcher of several ranks ends; test_phases.py stops two real ones."""

import signal

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from etdnn.train import launch
from etdnn.train.loop import INTERRUPTED


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
    assert end_of(monkeypatch, ended(INTERRUPTED, INTERRUPTED)) == INTERRUPTED
    for codes in ((1,), (INTERRUPTED, 1), (-9,)):
        with pytest.raises(ChildFailedError):
            end_of(monkeypatch, ended(*codes))
