import numpy as np
import pytest
import torch
from helpers.tiny_corpus import make_corpus, tiny_space

from etdnn.data.datadir import DataDir, read_table
from etdnn.embed import dev_set as dev_set_room
from etdnn.embed.batchnorm import reestimate
from etdnn.embed.dev_set import LISTS, DevSet
from etdnn.embed.extract import FixedCrops, embed_features
from etdnn.errors import UserError
from etdnn.model.supernet import Supernet


@pytest.fixture
def dev(tmp_path):
    make_corpus(tmp_path)
    return DataDir(tmp_path / "dev")


def calibrated():
    torch.manual_seed(0)
    net = Supernet(tiny_space()).derive("1-16-16-3-3-24")
    return reestimate(net, [torch.randn(8, 80, 40)])


def test_scores_are_cosines_of_the_mean_of_an_utterances_crops(dev):
    from etdnn.data.ark import FeatureReader

    dev_set, net = DevSet.load(dev, "mean", frames=30, crops=2), calibrated()
    scores = dev_set.scores(net)
    assert set(scores) == set(LISTS)
    trials = dev.trials("clean")
    reader = FeatureReader(dev.path / "feats.scp")

    def embedding(key):
        matrix = reader.read(key)
        two = [part - part.mean(0) for part in (matrix[:30], matrix[-30:])]
        vectors = embed_features(net, two, "none")
        mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(0)
        return mean / np.linalg.norm(mean)

    for number in (0, 100, 200):
        expected = embedding(trials.enrol[number]) @ embedding(trials.test[number])
        assert scores["clean"][number] == pytest.approx(expected, abs=1e-4)


def test_crops_beyond_the_bound_are_read_anew_and_score_alike(dev, monkeypatch):
    held, net = DevSet.load(dev, "mean", frames=30, crops=2), calibrated()
    monkeypatch.setattr(dev_set_room, "HELD_BYTES", 1000)
    streamed = DevSet.load(dev, "mean", frames=30, crops=2)
    assert isinstance(held.inputs, list) and isinstance(streamed.to("cpu").inputs, FixedCrops)
    for name, scores in held.scores(net).items():
        assert np.array_equal(streamed.scores(net)[name], scores)


def test_a_net_that_was_not_calibrated_is_refused(dev):
    with pytest.raises(UserError, match="never re-estimated"):
        DevSet.load(dev, "mean", frames=30, crops=1).scores(Supernet(tiny_space()).derive("1-16-16-3-3-24"))


def test_missing_features_are_named(dev):
    first = dev.trials("clean").enrol[0]
    table = read_table(dev.path / "feats.scp")
    lines = [f"{key} {value}\n" for key, value in table.items() if key != first]
    (dev.path / "feats.scp").write_text("".join(lines))
    with pytest.raises(UserError, match=f"no features of '{first}'"):
        DevSet.load(dev, "mean", frames=30, crops=1)
