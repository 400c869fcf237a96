"""The number format of a training: left to the machine or stated."""

import json

import pytest
import torch

from etdnn.model.checkpoint import read_tensors
from etdnn.train.phases import PhaseJob, train_phase
from etdnn.train.precision import has_bf16_units, settle_precision
from etdnn.train.settings import load_train_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize(("units", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_follows_the_machine(config, monkeypatch, units, precision):
    config.write_text("precision: auto\n" + config.read_text())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    assert settle_precision(load_train_settings(str(config)), CPU).precision == precision


def test_what_is_stated_stays(config):
    config.write_text("precision: fp16\n" + config.read_text())
    assert settle_precision(load_train_settings(str(config)), CPU).precision == "fp16"


def test_a_machine_that_tells_nothing_has_no_units(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bf16_units(CPU)


def test_bf16_repeats_to_the_bit_and_says_so(config, space, training_set, tmp_path):
    config.write_text("precision: bf16\n" + config.read_text())
    settings = load_train_settings(str(config))
    weights = []
    for name in ("one", "two"):
        path = train_phase(settings, "largest", space, PhaseJob(training_set, tmp_path / name, None, 0, "cpu"))
        weights.append(read_tensors(path)[0])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert json.loads((tmp_path / "one/training.json").read_text())["settings.precision"] == "bf16"
    losses = [json.loads(line)["loss"] for line in (tmp_path / "one/train.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
