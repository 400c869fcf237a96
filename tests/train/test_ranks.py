"""Which device a rank takes; test_phases.py trains on several ranks."""

import pytest
import torch

from etdnn.errors import UserError
from etdnn.train.ranks import Ranks


@pytest.fixture
def gpus(monkeypatch):
    """Let PyTorch see two GPUs; what is chosen of them is noted."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_rank_takes_a_gpu_of_its_own(gpus, monkeypatch, device):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Ranks(device).device == torch.device("cuda", 1) and gpus == [1]
    assert Ranks("cpu").device == torch.device("cpu")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_ranks_than_gpus_are_refused(gpus, monkeypatch, device):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="PyTorch sees 2, .* --num-ranks 2"):
        Ranks(device)


def test_a_gpu_asked_for_and_absent_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="sees no GPU here; use --device cpu"):
        Ranks("cuda")
    assert Ranks("auto").device == torch.device("cpu")
