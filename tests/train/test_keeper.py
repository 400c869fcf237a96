"""Which checkpoints a phase ends with, whatever happened on the way."""

import pytest

from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.train.loop import Stepper
from tests.train.test_phases import train


def test_the_mean_after_a_kill_is_of_the_same_checkpoints(config, space, training_set, tmp_path, monkeypatch):
    """Also with checkpoints in between, which time alone calls for: here after every step."""
    config.write_text(config.read_text() + "average: 2\nkeep: 1\n")
    train(config, space, training_set, tmp_path / "whole")
    config.write_text(config.read_text() + "checkpoint_minutes: 1.0e-9\n")
    take = Stepper.take

    def killed(self, step, batches):
        if step == 7:
            raise SystemError
        return take(self, step, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "take", killed)
        with pytest.raises(SystemError):
            train(config, space, training_set, tmp_path / "killed")
    left = sorted(path.name for path in (tmp_path / "killed/checkpoints").iterdir())
    assert left == [f"step-{step:08d}.pt" for step in (3, 6, 7)]
    train(config, space, training_set, tmp_path / "killed")
    for name in ("whole", "killed"):
        assert (tmp_path / name / "averaged.txt").read_text() == "6\n9\n"
    for file in ("supernet", "head"):
        whole, killed_ = (hash_file(tmp_path / name / f"{file}.safetensors") for name in ("whole", "killed"))
        assert whole == killed_


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(config, space, training_set, tmp_path):
    train(config, space, training_set, tmp_path / "whole")
    made = train(config, space, training_set, tmp_path / "run")
    made.unlink()
    newest = tmp_path / "run/checkpoints/step-00000009.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(UserError, match="step-00000009.pt: damaged checkpoint .* from the one before"):
        train(config, space, training_set, tmp_path / "run")
    newest.unlink()
    assert hash_file(train(config, space, training_set, tmp_path / "run")) == hash_file(
        tmp_path / "whole/supernet.safetensors"
    )
