"""A time limit stops a training, and changes nothing of what it ends with."""

import pytest

from etdnn.cli import main
from etdnn.files import hash_file
from etdnn.train.loop import INTERRUPTED, InterruptedTrainingError
from tests.train.test_phases import train

MOMENT = 1e-9
"""Minutes that are over before the first step."""


def test_stopped_at_every_step_a_phase_ends_as_the_unbroken_one(config, space, training_set, tmp_path):
    """Random subnets, a rate that moves, distillation: all follow the steps."""
    train(config, space, training_set, tmp_path / "whole", "all")
    for step in range(1, 9):
        with pytest.raises(InterruptedTrainingError, match=f"by the time limit after step {step}; start again"):
            train(config, space, training_set, tmp_path / "run", "all", stop_after=MOMENT)
    train(config, space, training_set, tmp_path / "run", "all", stop_after=MOMENT)
    for file in ("supernet", "head"):
        whole, run = (hash_file(tmp_path / name / f"{file}.safetensors") for name in ("whole", "run"))
        assert whole == run


def test_time_that_suffices_stops_nothing(config, space, training_set, tmp_path):
    assert train(config, space, training_set, tmp_path / "run", stop_after=1e9).is_file()


def test_the_command_ends_as_after_a_signal(config, space, training_set, tmp_path, capsys):
    words = ["--config", config, "--space", tmp_path / "space.yaml", "--phase", "largest", "--data", training_set]
    words += ["--out", tmp_path / "run", "--device", "cpu", "--stop-after", MOMENT]
    assert main(["train", *map(str, words)]) == INTERRUPTED
    assert "etdnn train: error: stopped by the time limit after step 1" in capsys.readouterr().err
    assert (tmp_path / "run/checkpoints/step-00000001.pt").is_file()
