"""Embeddings do not depend on their neighbours, and nets or features that do not fit are refused."""

import numpy as np
import pytest
import torch
from helpers.tiny_corpus import FRONTEND, make_set, tiny_space

from etdnn.data.ark import FeatureReader
from etdnn.embed import extract
from etdnn.embed.batchnorm import calibration_batches, reestimate
from etdnn.embed.extract import (
    FixedCrops,
    check_frontend,
    embed_crops,
    embed_features,
    embed_utterances,
    equal_length_batches,
    pick_device,
)
from etdnn.errors import UserError
from etdnn.features.normalise import normalise
from etdnn.model.tdnn import Tdnn


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "test"
    make_set(folder, "te", speakers=5, utterances=6, seed=0)
    return FeatureReader(folder / "feats.scp")


@pytest.fixture(scope="module")
def net(reader):
    torch.manual_seed(0)
    return reestimate(Tdnn(tiny_space().largest), calibration_batches(reader, "mean", seed=0, crops=20, frames=40))


def alone(net, features, normalisation="mean"):
    with torch.no_grad():
        return net.eval()(torch.from_numpy(normalise(features, normalisation, 0).T[None])).numpy()[0]


@pytest.mark.parametrize("normalisation", ["mean", "mean_variance", "none"])
@pytest.mark.parametrize("batch_frames", [1, 130, 100_000])
def test_neighbours_change_nothing(net, reader, normalisation, batch_frames):
    indices = np.random.default_rng(0).permutation(len(reader))[:17]
    got = embed_utterances(net, reader, indices, normalisation, batch_frames=batch_frames)
    features = [reader.read(int(index)) for index in indices]
    assert np.array_equal(got, embed_features(net, features, normalisation, batch_frames=batch_frames))
    want = np.stack([alone(net, one, normalisation) for one in features])
    assert np.abs(got - want).max() < 1e-5 * max(1, np.abs(want).max())


def test_batches_hold_one_length_each():
    lengths = np.array([5, 9, 5, 5, 9, 2000])
    batches = [batch.tolist() for batch in equal_length_batches(lengths, 10)]
    assert batches == [[0, 2], [3], [1], [4], [5]]


def test_crops_are_first_and_last_frames(net, reader):
    indices = np.array([3, 0])
    [(places, crops)] = FixedCrops(reader, indices, "mean", 40, 2)
    assert places.tolist() == [0, 1, 2, 3]
    whole = reader.read(3)
    assert crops.shape == (4, 80, 40)
    assert np.allclose(crops[0].numpy(), normalise(whole[:40], "mean", 0).T, atol=1e-5)
    assert np.allclose(crops[1].numpy(), normalise(whole[-40:], "mean", 0).T, atol=1e-5)
    got = embed_crops(net, crops, batch_frames=80)
    assert np.allclose(got[1], alone(net, whole[-40:]), atol=1e-4)


def test_short_utterances_wrap(reader):
    [(_, crops)] = FixedCrops(reader, np.array([0]), "none", 150, 1)
    whole = reader.read(0)
    assert np.array_equal(crops[0, :, len(whole)].numpy(), whole[0])


@pytest.mark.parametrize("crops", [1, 2, 3])
def test_blocks_of_crops_are_parts_of_the_whole_and_embed_alike(net, reader, crops, monkeypatch):
    """To the bit: the crops, and on a CPU, whose batches they do not cut, the embeddings."""
    indices = np.random.default_rng(1).integers(len(reader), size=23)
    everything = FixedCrops(reader, indices, "mean", 40, crops)
    [(_, whole)] = everything
    monkeypatch.setattr(extract, "CPU_BATCH_FRAMES", 100)  # two crops
    monkeypatch.setattr(extract, "GPU_BATCH_FRAMES", 350)  # three of the CPU's batches
    blocks = list(everything)
    assert {len(tensor) for _, tensor in blocks[:-1]} == {6} and len(blocks) == -(-23 * crops // 6)
    assert np.array_equal(np.concatenate([places for places, _ in blocks]), np.arange(len(whole)))
    assert torch.equal(torch.cat([tensor for _, tensor in blocks]), whole)
    assert everything.bytes == whole.numel() * whole.element_size()
    apart = np.concatenate([embed_crops(net, tensor) for _, tensor in blocks])
    assert np.array_equal(apart, embed_crops(net, whole))


def test_uncalibrated_net_is_refused(reader):
    net = Tdnn(tiny_space().smallest)
    net.calibrated = False
    for call in (
        lambda: embed_utterances(net, reader, np.array([0]), "mean"),
        lambda: embed_features(net, [reader.read(0)], "mean"),
        lambda: embed_crops(net, torch.zeros(1, 80, 10)),
    ):
        with pytest.raises(UserError, match="stage 5"):
            call()


def test_other_front_end_is_refused():
    check_frontend(FRONTEND, FRONTEND | {"key": "another name"}, "data/test")
    with pytest.raises(UserError, match=r"num_mel_bins 40 \(model: 80\).*--stage 1"):
        check_frontend(FRONTEND, FRONTEND | {"num_mel_bins": 40}, "data/test")
    with pytest.raises(UserError, match="does not say"):
        check_frontend({}, FRONTEND, "data/test")


def test_devices():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="not one of"):
        pick_device("tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_agrees_with_cpu(net, reader):
    indices = np.arange(len(reader))
    want = embed_utterances(net, reader, indices, "mean")
    try:
        got = embed_utterances(net.cuda(), reader, indices, "mean")
    finally:
        net.cpu()
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (got, want)]
    assert np.abs(unit[0] - unit[1]).max() < 5e-3
