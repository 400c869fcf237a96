import json
import os
import pickle

import numpy as np
import pytest
import torch
from helpers.parity import SUBNET, SUPERNET, arrays

import etdnn
from etdnn.cli import main
from etdnn.deploy.published import import_subnet, import_supernet
from etdnn.errors import UserError
from etdnn.features.fbank import AUTHORS, FbankOptions, compute_fbank
from etdnn.features.normalise import normalise
from etdnn.model import Arch
from etdnn.model.checkpoint import read_subnet, save_tensors


@pytest.fixture(scope="module")
def supernet():
    return import_supernet(SUPERNET)


def test_space_of_an_imported_supernet(supernet):
    assert str(supernet.space.largest) == "4-64-64-64-64-64-5-5-5-5-5-96"
    assert supernet.space.contains(Arch.parse("2-16-16-16-1-1-1-24"))
    assert (supernet.space.in_feats, supernet.space.embedding) == (80, 192)


def test_subnet_has_the_authors_outputs(supernet):
    expected = arrays("subnet_small")
    net, said = import_subnet(SUBNET, supernet)
    assert net.calibrated and str(net.arch) == "3-32-16-48-64-1-3-5-3-40"
    assert said["EER (%) w/o AS-Norm"] == 9.99
    with torch.no_grad():
        out = net(torch.from_numpy(expected["input"]))
    torch.testing.assert_close(out, torch.from_numpy(expected["eval"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["", "module.", "module.__S__.", "__S__."])
def test_keys_with_or_without_prefix(supernet, tmp_path, prefix):
    file = torch.load(SUBNET, weights_only=True)
    file["bn"] = {prefix + key: value for key, value in file["bn"].items()}
    torch.save(file, tmp_path / "subnet.bn.tar")
    net, _said = import_subnet(tmp_path / "subnet.bn.tar", supernet)
    assert torch.equal(net.stem.norm.running_mean, file["bn"][prefix + "layer1.bn.running_mean"])


def change_state(tmp_path, change):
    file = torch.load(SUPERNET, weights_only=True)
    change(file["state_dict"])
    torch.save(file, tmp_path / "changed.torchparams")
    return tmp_path / "changed.torchparams"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("module.__S__.blocks.1.se.reduce.linear.bias"), "missing network.blocks.1.se.squeeze"),
        (lambda state: state.update({"module.__S__.extra.weight": torch.zeros(1)}), "unexpected network.extra.weight"),
        (
            lambda state: state.update({"module.__S__.bnpool.bn.bias": torch.zeros(3)}),
            r"network.pooling_norm.bias has shape \(3,\), not \(192,\)",
        ),
        (lambda state: state.pop("module.__S__.layer1.conv.conv.weight"), "not a published supernet"),
        (
            lambda state: state.update({"module.__S__.layer1.conv.conv.weight": torch.zeros(3)}),
            "not a published supernet",
        ),
        (lambda state: state.update(note="text"), "not a published supernet"),
    ],
    ids=["missing", "unexpected", "shape", "no stem", "flat stem", "no tensor"],
)
def test_every_key_is_accounted_for(tmp_path, change, message):
    refused(change_state(tmp_path, change), message)


def test_truncated_and_foreign_files(tmp_path):
    path = tmp_path / "damaged.torchparams"
    whole = SUPERNET.read_bytes()
    for size in (0, 3, 1000, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        refused(path, "refused")
    path.write_text("just text\n")
    refused(path, "refused")
    save_tensors(tmp_path / "whole.safetensors", {"x": torch.zeros(99)}, {"kind": "head"})
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-9])
    refused(tmp_path / "cut.safetensors", "refused")
    torch.save([1, 2], path)
    refused(path, "not a published supernet")
    refused(tmp_path / "absent", "no such checkpoint")
    refused(tmp_path, "no such checkpoint")
    refused(SUBNET, "not a published supernet")


def test_subnet_files_that_do_not_fit(supernet, tmp_path):
    path = tmp_path / "subnet.bn.tar"
    for change, message in [
        (lambda file: file["bn"].pop("layer1.bn.bias"), "missing stem.norm.bias"),
        (lambda file: file["bn"].update({"layer1.bn.bias": torch.zeros(5)}), "has shape"),
        (lambda file: file.pop("subnet"), "not a published subnet file"),
        (lambda file: file.update(subnet=(3, [32, 16, 48], [1, 3, 5, 3], 40)), "needs 10 numbers"),
        (lambda file: file.update(subnet=(3, [72, 16, 48, 64], [1, 3, 5, 3], 40)), "does not fit in the supernet"),
    ]:
        file = torch.load(SUBNET, weights_only=True)
        change(file)
        torch.save(file, path)
        with pytest.raises(UserError, match=message) as raised:
            import_subnet(path, supernet)
        assert "\n" not in str(raised.value)


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, form):
    marker, path = tmp_path / "ran", tmp_path / "evil.torchparams"
    file = {"state_dict": {"x": Payload(marker)}}
    if form == "zip":
        torch.save(file, path)
    else:
        path.write_bytes(pickle.dumps(file, protocol=2))
    refused(path, "refused")
    assert not marker.exists()


def refused(path, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        import_supernet(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_the_authors_front_end():
    expected = arrays("frontend")
    options = FbankOptions(type="efficienttdnn", **AUTHORS)
    features = normalise(compute_fbank(expected["wav"].astype(np.float32), options), "mean_variance", 0)
    assert np.abs(features.T - expected["features"]).mean() < 1e-3


def test_command_writes_a_supernet_that_derives(tmp_path, capsys):
    out = tmp_path / "supernet.safetensors"
    assert main(["import", str(SUPERNET), str(out)]) == 0
    assert "supernet" in capsys.readouterr().out
    supernet = etdnn.load_supernet(out)
    assert supernet.metadata["normalisation"] == "mean_variance"
    assert FbankOptions.from_dict(supernet.metadata["frontend"]) == FbankOptions(type="efficienttdnn", **AUTHORS)
    assert not supernet.derive("2-16-16-16-1-1-1-24").calibrated


def test_command_writes_a_calibrated_subnet(tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(["import", str(SUPERNET), "--subnet", str(SUBNET), str(out), "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)
    assert metadata["published"]["EER (%) w/o AS-Norm"] == 9.99 and metadata["calibrated"]
    net, read = read_subnet(out)
    assert read == metadata and net.calibrated


def test_command_refuses_in_one_line_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(["import", str(SUBNET), str(out)]) == 1
    assert capsys.readouterr().err.count("\n") == 1 and not out.exists()
