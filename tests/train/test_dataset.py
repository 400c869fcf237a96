import contextlib

import numpy as np
import pytest
import torch

from etdnn.data.datadir import read_table, write_table
from etdnn.errors import UserError
from etdnn.features.plan import MelNoise, SpecAugment, Waveform
from etdnn.files import hash_text
from etdnn.train.dataset import TrainingSet, mask


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


def test_items_are_those_of_a_plain_grouping(training_set):
    """Copies of copies, copies without entry, an order of feats.scp of its own: against dictionaries."""
    origins = read_table(training_set / "utt2uniq")
    origins["s1-a-3-noise"], origins["s1-a-3"] = "s1-a-3", "s1-a-2"  # a copy of a copy
    del origins["s2-a-0-noise"]
    write_table(training_set / "utt2uniq", origins)
    lines = (training_set / "feats.scp").read_text().splitlines(keepends=True)
    (training_set / "feats.scp").write_text("".join(lines[::-1]))
    data = TrainingSet(training_set, 0.5)
    keys = list(data.reader.keys)
    groups = {}
    for key in keys:
        origin = origins.get(key, key)
        groups.setdefault(origins.get(origin, origin), []).append(key)
    expected = [sorted(group, key=lambda key: (len(key), key)) for group in groups.values()]
    bounds = zip(data._starts, data._starts[1:], strict=False)
    assert [[keys[number] for number in data._members[first:last]] for first, last in bounds] == expected
    assert ["s1-a-2", "s1-a-3", "s1-a-2-noise", "s1-a-3-noise"] in expected and ["s2-a-0-noise"] in expected
    utt2spk = read_table(training_set / "utt2spk")
    assert [data.speakers[label] for label in data.labels] == [utt2spk[key] for key in keys]
    assert data.hash == hash_text("\n".join(f"{key} {utt2spk[key]}" for key in keys))


def test_speed_copies_can_be_left_out(training_set):
    write_table(training_set / "utt2aug", {"s0-a-0-noise": "speed=0.9 noise=n@5", "s0-a-1-noise": "noise=n@5"})
    data = TrainingSet(training_set, speed_copies=False)
    visited = {data.reader.keys[number] for number in data._members}
    assert set(data.reader.keys) - visited == {"s0-a-0-noise"}


def test_noise_is_mixed_in_by_seed_and_step_but_not_into_noisy_copies(noisy_set):
    data, plain = (TrainingSet(noisy_set, 0.5, mel_noise=settings) for settings in (MelNoise(probability=1), None))
    assert plain.mixes(0, "p", 0, np.arange(3)) is None
    noisy = []
    for step in range(6):
        utterances, starts = data.draw(0, "p", step, 8, 30)
        mixes = data.mixes(0, "p", step, utterances)
        again = data.mixes(0, "p", step, utterances)
        assert np.array_equal(mixes.sources, again.sources) and np.array_equal(mixes.snr, again.snr)
        whole = data.read(utterances, starts, 30, "mean", mixes=mixes)
        half = data.read(utterances[4:], starts[4:], 30, "mean", mixes=mixes[4:])
        assert torch.equal(whole.crops[4:], half.crops), "the part of a rank"
        clean = plain.read(utterances, starts, 30, "mean")
        changed = (whole.crops != clean.crops).any(2).any(1).numpy()
        copies = np.array([data.reader.keys[number].endswith("-noise") for number in utterances])
        assert np.array_equal(changed, ~copies)
        noisy.append(mixes.sources)
    assert not np.array_equal(noisy[0], noisy[1]) and any((part < 0).all(1).any() for part in noisy)


def test_staged_features_are_read_where_they_were_copied_to(noisy_set, tmp_path):
    data = TrainingSet(noisy_set, 0.5, mel_noise=MelNoise(probability=1))
    utterances, starts = data.draw(0, "p", 0, 8, 30)
    mixes = data.mixes(0, "p", 0, utterances)
    before = data.read(utterances, starts, 30, "mean", mixes=mixes)
    data.stage(tmp_path / "local")
    for folder in (noisy_set, noisy_set.with_name("train_noise")):
        (folder / "feats.ark").write_bytes(b"")
    assert torch.equal(data.read(utterances, starts, 30, "mean", mixes=mixes).crops, before.crops)


def test_noises_that_were_not_stored_are_asked_for(training_set):
    with pytest.raises(UserError, match="store_noise: true"):
        TrainingSet(training_set, mel_noise=MelNoise(probability=0.5))


def test_crops_from_audio_are_of_originals_and_speed_copies(spoken_set):
    stored, data = TrainingSet(spoken_set), TrainingSet(spoken_set, waveform=Waveform(probability=0.5, workers=0))
    assert (stored.items, data.items, data.originals) == (36, 24, 12)
    assert TrainingSet(spoken_set, speed_copies=False, waveform=Waveform(probability=0.5, workers=0)).items == 12
    assert data.hash == stored.hash and data.class_count() == stored.class_count() == "4 x 2 = 8 classes"
    seen = np.concatenate([data.draw(0, "p", step, 8, 30)[0] for step in range(3)])
    assert len(set(seen)) == 24 and not any(data.reader.keys[place].endswith("-noise") for place in seen)
    utterances, starts = data.draw(0, "p", 5, 8, 30)
    mixes = data.mixes(0, "p", 5, utterances)
    assert mixes == data.mixes(0, "p", 5, utterances) != data.mixes(0, "p", 6, utterances)
    whole = data.read(utterances, starts, 30, "mean", mixes=mixes)
    half = data.read(utterances[4:], starts[4:], 30, "mean", mixes=mixes[4:])
    assert torch.equal(whole.crops[4:], half.crops) and torch.equal(whole.labels[4:], half.labels)
    plain = stored.read(utterances, starts, 30, "mean")
    changed = ((whole.crops - plain.crops).abs() > 1e-3).any(2).any(1)
    assert changed.tolist() == [bool(draw.recipe) for draw in mixes] and changed.any() and not changed.all()


def test_audio_is_not_staged(spoken_set, tmp_path):
    with pytest.raises(UserError, match="--stage-to copies features"):
        TrainingSet(spoken_set, waveform=Waveform(probability=0.5, workers=0)).stage(tmp_path)


@pytest.mark.parametrize(
    ("speeds", "text"), [((), "4 classes"), ((1,), "2 x 2 = 4 classes"), ((3,), "3 speakers and 1 speed copies")]
)
def test_classes_of_speed_copies_are_counted(training_set, speeds, text):
    speakers = {1: ("s2", "s3"), 3: ("s3",)}
    keys = [key for key in read_table(training_set / "utt2spk") for n in speeds if key.startswith(speakers[n])]
    write_table(training_set / "utt2aug", dict.fromkeys(keys, "speed=0.9") or {"x": "noise=n@5"})
    assert TrainingSet(training_set).class_count().startswith(text)


def test_speed_copies_do_not_lengthen_an_epoch_of_originals(training_set):
    fast = [key for key in TrainingSet(training_set).reader.keys if key.startswith("s3-")]
    write_table(training_set / "utt2aug", dict.fromkeys(fast, "speed=1.1"))
    data = TrainingSet(training_set, 0.5)
    assert (data.items, data.originals) == (24, 18)
    assert TrainingSet(training_set).originals == 36


class Elsewhere(torch.Tensor):
    """A tensor in this machine's memory that says it is in a GPU's."""

    device = torch.device("cuda")


def test_all_that_goes_to_a_gpu_is_pinned_and_nobody_waits_for_it(noisy_set, monkeypatch):
    """Crops, labels, noises and masks; what is computed there is what the CPU computes."""
    pinned, copies = [], []

    def pin(self):
        pinned.append(self.clone())
        return pinned[-1]

    def to(self, device, non_blocking=False):
        copies.append(non_blocking and any(self is tensor for tensor in pinned))
        return self.as_subclass(Elsewhere)

    data = TrainingSet(noisy_set, mel_noise=MelNoise(probability=1, kinds={"noise": 1}))
    utterances, starts = data.draw(0, "p", 0, 8, 30)
    mixes = data.mixes(0, "p", 0, utterances)

    def batch(device):
        read = data.read(utterances, starts, 30, "mean", mixes=mixes, device=device)
        return mask(read.crops, SpecAugment(3, 7), 0, "mask"), read.labels

    here = batch(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    there = batch(torch.device("cuda"))
    assert len(copies) > 10 and all(copies)
    for one, other in zip(here, there, strict=True):
        assert isinstance(other, Elsewhere) and torch.equal(one, other.as_subclass(torch.Tensor))
