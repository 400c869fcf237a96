import numpy as np
import pytest
import torch

from etdnn.data.datadir import read_table, write_table
from etdnn.errors import UserError
from etdnn.train.dataset import TrainingSet, mask
from etdnn.train.settings import SpecAugment


def test_a_batch_is_a_function_of_seed_and_step(training_set):
    one, two = TrainingSet(training_set, 0.5), TrainingSet(training_set, 0.5)
    for step in (7, 3, 100):
        for a, b in zip(one.draw(1, "p", step, 8, 30), two.draw(1, "p", step, 8, 30), strict=True):
            assert np.array_equal(a, b)
    assert not np.array_equal(one.draw(1, "p", 3, 8, 30)[0], one.draw(2, "p", 3, 8, 30)[0])


@pytest.mark.parametrize("augmentation", [-1.0, 0.0, 0.5, 1.0])
def test_an_epoch_visits_every_item_once(training_set, augmentation):
    data = TrainingSet(training_set, augmentation)
    assert data.items == (48 if augmentation < 0 else 24)
    seen = np.concatenate([data.draw(0, "p", step, 8, 30)[0] for step in range(data.items // 8)])
    names = [data.reader.keys[number] for number in seen]
    assert len({name if augmentation < 0 else name.removesuffix("-noise") for name in names}) == data.items
    copies = sum(name.endswith("-noise") for name in names)
    expected = {-1.0: (24, 24), 0.0: (0, 0), 0.5: (4, 20), 1.0: (24, 24)}[augmentation]
    assert expected[0] <= copies <= expected[1]


def test_crops_are_inside_or_wrapped_and_normalised(training_set):
    data = TrainingSet(training_set)
    utterances, starts = data.draw(0, "p", 0, 40, 30)
    frames = data.reader.num_frames[utterances]
    assert np.all((starts + 30 <= frames) | (starts == 0))
    batch = data.read(utterances, starts, 30, "mean")
    assert batch.crops.shape == (40, 8, 30) and batch.crops.dtype == torch.float32
    assert batch.crops.mean(2).abs().max() < 1e-5
    utt2spk = read_table(training_set / "utt2spk")
    for number, label in zip(utterances, batch.labels, strict=True):
        assert data.speakers[label] == utt2spk[data.reader.keys[number]]


def test_masks_are_seeded_bands_of_zeros():
    crops = torch.ones(50, 8, 30)
    masked = mask(crops.clone(), SpecAugment(3, 7), 0, "mask", 1)
    assert torch.equal(masked, mask(crops.clone(), SpecAugment(3, 7), 0, "mask", 1))
    assert not torch.equal(masked, mask(crops.clone(), SpecAugment(3, 7), 0, "mask", 2))
    bands = (masked == 0).all(2).sum(1)
    spans = (masked == 0).all(1).sum(1)
    assert bands.max() == 3 and bands.min() == 0 and spans.max() <= 7 and spans.float().mean() > 1
    assert torch.equal(mask(crops.clone(), SpecAugment(), 0), crops)


def test_a_missing_label_is_named(training_set):
    labels = read_table(training_set / "utt2spk")
    del labels["s1-a-2"]
    write_table(training_set / "utt2spk", labels)
    with pytest.raises(UserError, match="s1-a-2"):
        TrainingSet(training_set)


def test_one_speaker_is_refused(training_set):
    labels = dict.fromkeys(read_table(training_set / "utt2spk"), "s0")
    write_table(training_set / "utt2spk", labels)
    with pytest.raises(UserError, match="at least two"):
        TrainingSet(training_set)


def test_missing_features_name_the_stage(tmp_path):
    with pytest.raises(UserError, match="--stage 1"):
        TrainingSet(tmp_path)
