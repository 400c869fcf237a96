import json
import pickle

import pytest
import torch
from helpers.archs import TINY
from safetensors.torch import save_file

import etdnn
from etdnn.errors import UserError
from etdnn.files import hash_file
from etdnn.model import Arch
from etdnn.model.checkpoint import FORMAT, load_supernet, read_subnet, read_tensors, save_subnet, save_supernet
from etdnn.model.supernet import Supernet
from etdnn.model.tdnn import Tdnn

ARCH = Arch.parse("2-16-24-16-1-3-5-24")
METADATA = {"frontend": {"num_mel_bins": 20}, "normalisation": "mean", "results": {"eer": 0.05}}


@pytest.fixture
def subnet(tmp_path):
    torch.manual_seed(0)
    net = Tdnn(ARCH, 20, 12).eval()
    save_subnet(tmp_path / "model.safetensors", net, METADATA)
    return net, tmp_path / "model.safetensors"


def test_subnet_round_trip_is_exact(subnet, tmp_path):
    net, path = subnet
    read, metadata = read_subnet(path)
    x = torch.randn(2, 20, 30)
    with torch.no_grad():
        assert torch.equal(read(x), net(x))
    assert not read.training and read.calibrated and read.arch == ARCH
    assert metadata["arch"] == str(ARCH) and metadata["format"] == FORMAT
    assert {key: metadata[key] for key in METADATA} == METADATA
    save_subnet(tmp_path / "again.safetensors", read, metadata)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_supernet_round_trip(tmp_path):
    torch.manual_seed(0)
    supernet = Supernet(TINY).eval()
    path = tmp_path / "supernet.safetensors"
    save_supernet(path, supernet, METADATA)
    read = etdnn.load_supernet(path)
    assert read.space == TINY and read.metadata["normalisation"] == "mean" and read.hash == hash_file(path)
    assert not read.training
    derived = read.derive(str(ARCH))
    x = torch.randn(2, 20, 30)
    with torch.no_grad():
        assert torch.equal(derived(x), supernet.derive(ARCH)(x))
    save_subnet(tmp_path / "derived.safetensors", derived, {})
    assert not read_subnet(tmp_path / "derived.safetensors")[0].calibrated


def rewrite(path, change) -> None:
    tensors, metadata = read_tensors(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata={"etdnn": json.dumps(metadata)})


def drop_tensor(tensors, _metadata):
    del tensors["stem.conv.weight"]


def widen_tensor(tensors, _metadata):
    tensors["stem.conv.weight"] = torch.zeros(16, 20, 3)


def add_tensor(tensors, _metadata):
    tensors["extra"] = torch.zeros(1)


def newer(_tensors, metadata):
    metadata["format"] = FORMAT + 1


def supernet_kind(_tensors, metadata):
    metadata["kind"] = "supernet"


def no_arch(_tensors, metadata):
    del metadata["arch"]


def bad_arch(_tensors, metadata):
    metadata["arch"] = "2-17"


@pytest.mark.parametrize(
    "change, message",
    [
        (drop_tensor, "stem.conv.weight"),
        (widen_tensor, "stem.conv.weight"),
        (add_tensor, "extra"),
        (newer, "another version"),
        (supernet_kind, "holds a supernet, a subnet is needed"),
        (no_arch, "no 'arch'"),
        (bad_arch, "needs 8 numbers"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_files_that_do_not_fit(subnet, change, message):
    _net, path = subnet
    rewrite(path, change)
    refused(path, message)


def test_damaged_and_foreign_files(subnet, tmp_path):
    _net, path = subnet
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "not a readable safetensors file")
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    refused(path, "not a readable safetensors file")
    save_file({"x": torch.zeros(2)}, path)
    refused(path, "not one of etdnn")
    save_file({"x": torch.zeros(2)}, path, metadata={"etdnn": "{"})
    refused(path, "not a readable safetensors file")
    refused(tmp_path / "absent.safetensors", "no such model file")
    refused(tmp_path, "a folder, not a model file")


def test_a_failed_write_keeps_the_old_file(subnet, monkeypatch):
    net, path = subnet
    before = path.read_bytes()

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("etdnn.model.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_subnet(path, net, METADATA)
    assert path.read_bytes() == before and [entry.name for entry in path.parent.iterdir()] == [path.name]


def refused(path, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        read_subnet(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    with pytest.raises(UserError):
        load_supernet(path)
