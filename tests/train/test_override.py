"""Going on with another configuration: what can change takes effect, what cannot is refused."""

import pytest
import torch

from etdnn.errors import UserError
from tests.train.test_phases import train


@pytest.fixture
def broken(config, space, training_set, tmp_path):
    """The folder of a phase that has its last third before it."""
    train(config, space, training_set, tmp_path / "run")
    (tmp_path / "run/checkpoints/step-00000009.pt").unlink()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("old", "new", "key", "value"),
    [
        ("weight_decay: 1.0e-4", "weight_decay: 0.5", "weight_decay", 0.5),
        ("kind: adam,", "kind: adamw,", "decoupled_weight_decay", True),
        ("batch: 8", "batch: 8\nprecision: fp16", "weight_decay", 1e-4),
    ],
)
def test_what_is_overridden_holds_from_there(config, space, training_set, broken, old, new, key, value):
    config.write_text(config.read_text().replace(old, new))
    train(config, space, training_set, broken, override=True)
    state = torch.load(broken / "checkpoints/step-00000009.pt", weights_only=True)
    assert [group[key] for group in state["optimiser"]["param_groups"]] == [value]
    assert bool(state["scaler"]) == ("fp16" in new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: adam,", "kind: sgd,", "its optimiser is of another kind"),
        ("weight_decay: 1.0e-4", "weight_decay: 1.0e-4, decay_all: false", "spares other parameters"),
        ("", "", "size mismatch"),
    ],
)
def test_what_no_override_makes_fit_is_refused(config, space, training_set, broken, old, new, message):
    begun, changed = config.read_text(), space if old else space.restrict(widths=[8])
    config.write_text(begun.replace(old, new))
    with pytest.raises(UserError, match=f"step-00000006.pt: does not fit this training .*{message}"):
        train(config, changed, training_set, broken, override=True)
    config.write_text(begun)
    (broken / "supernet.safetensors").unlink()  # as of a phase that was stopped
    train(config, space, training_set, broken)
    assert (broken / "checkpoints/step-00000009.pt").is_file(), "as begun it goes on without --override"
