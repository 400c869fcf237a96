"""A training killed outright at any moment and started again follows the unbroken run to the bit.

The trainings are forked from this process, so that a kill costs no start of Python; test_phases.py kills two ranks.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from etdnn.files import hash_file
from etdnn.train.phases import PhaseJob, train_phase
from etdnn.train.settings import load_train_settings
from etdnn.train.state import Checkpoints

PHASES = (("largest", None), ("all", "largest"))


def forked(work) -> int:
    """Start `work()` in a process of its own; return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


def trainer(config, space, data, folder, phase, init):
    job = PhaseJob(data, folder / phase, init and folder / init, 0, "cpu")
    return lambda: train_phase(load_train_settings(config), phase, space, job)


@pytest.fixture
def unbroken(config, space, training_set, tmp_path):
    """The folder of a run that nothing disturbed, and how long its phases took."""
    seconds = {}
    for phase, init in PHASES:
        began = time.monotonic()
        pid = forked(trainer(config, space, training_set, tmp_path / "whole", phase, init))
        assert os.waitpid(pid, 0)[1] == 0
        seconds[phase] = time.monotonic() - began
    return tmp_path / "whole", seconds


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_of_every_phase(config, space, training_set, tmp_path, unbroken, kills):
    whole, seconds = unbroken
    moments = random.Random(kills)
    for phase, init in PHASES:
        work = trainer(config, space, training_set, tmp_path / "killed", phase, init)
        for _ in range(kills):
            pid = forked(work)
            time.sleep(moments.uniform(0.1, 1.0) * seconds[phase])
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        work()
        for file in ("supernet", "head"):
            paths = [folder / phase / f"{file}.safetensors" for folder in (whole, tmp_path / "killed")]
            assert hash_file(paths[0]) == hash_file(paths[1])


def test_killed_inside_a_checkpoint_write(config, space, training_set, tmp_path, unbroken):
    work = trainer(config, space, training_set, tmp_path / "killed", *PHASES[0])

    def killed_while_writing():
        save, written = torch.save, []

        def broken(state, path):
            save(state, path)
            written.append(path)
            if len(written) == 2:
                with Path(path).open("r+b") as handle:
                    handle.truncate(Path(path).stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        torch.save = broken
        work()

    status = os.waitpid(forked(killed_while_writing), 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    checkpoints = Checkpoints(tmp_path / "killed/largest/checkpoints")
    assert len(checkpoints.steps()) == 1, "the half-written file has no name that counts"
    checkpoints.load(checkpoints.steps()[0], torch.device("cpu"))
    assert any(path.name.startswith(".step-") for path in checkpoints.directory.iterdir())
    work()
    assert not any(path.name.startswith(".") for path in checkpoints.directory.iterdir()), (
        "nothing is left to fill discs"
    )
    names = [folder / "largest/supernet.safetensors" for folder in (unbroken[0], tmp_path / "killed")]
    assert hash_file(names[0]) == hash_file(names[1])
