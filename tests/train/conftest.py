"""A very small training set: noise whose spread per bin is the speaker, with copies."""

import numpy as np
import pytest
from helpers.spoken_set import copy_tables, make_spoken_set

from etdnn.data.ark import ArkWriter
from etdnn.data.datadir import read_table, write_table
from etdnn.features.fbank import FbankOptions
from etdnn.files import write_json, write_text
from etdnn.model.space import SearchSpace

SPACE = """
name: tiny
depth: [1, 2]
kernel: [1, 3]
width: [8, 16]
cat: [16, 24]
in_feats: 8
embedding: 12
"""

TRAINING = """
batch: 8
augmentation: 0.5
checkpoint_epochs: 1
spec_augment: {bins: 2, frames: 5}
optimiser: {kind: adam, weight_decay: 1.0e-4}
phases:
  - name: largest
    epochs: 3
    crop: 0.3
    margin_ramp: [0, 1]
    schedule: {kind: cosine, max: 1.0e-2, min: 1.0e-4, warmup: 0.5}
  - name: all
    epochs: 3
    crop: 0.3
    depth: all
    kernel: all
    width: all
    cat: all
    paths: [largest, random, smallest]
    distillation: {logits: 0.5, embedding: 0.5}
    schedule: {kind: triangular2, max: 1.0e-2, half_cycle: 1}
"""


def make_training_set(directory, speakers=4, utterances=6, bins=8, lengths=(20, 60)):
    """Write a data directory with features of `speakers`, and one noisy copy of every utterance."""
    generator = np.random.default_rng(0)
    directory.mkdir(parents=True, exist_ok=True)
    utt2spk, utt2uniq, frames = {}, {}, {}
    with ArkWriter(directory / "feats.ark", directory / "feats.scp", compression="fm") as writer:
        for speaker in range(speakers):
            spread = np.exp(generator.normal(size=bins))  # the mean would not survive normalisation
            for utterance in range(utterances):
                for suffix in ("", "-noise"):
                    key = f"s{speaker}-a-{utterance}{suffix}"
                    matrix = generator.normal(0, spread, (generator.integers(*lengths), bins)).astype(np.float32)
                    writer.write(key, matrix)
                    utt2spk[key], frames[key] = f"s{speaker}", str(len(matrix))
                    if suffix:
                        utt2uniq[key] = key.removesuffix(suffix)
    write_table(directory / "utt2spk", utt2spk)
    write_table(directory / "utt2uniq", utt2uniq)
    write_table(directory / "utt2num_frames", frames)
    write_json(directory / "frontend.json", {"type": "test", "key": "test8"})
    return directory


@pytest.fixture
def training_set(tmp_path):
    return make_training_set(tmp_path / "data")


@pytest.fixture
def noisy_set(training_set):
    """The training set with a recipe for every copy, and the stored fbanks of three noises beside it."""
    folder = training_set.with_name("train_noise")
    frontend = {"key": "test8", **FbankOptions(num_mel_bins=8).to_dict()}
    generator = np.random.default_rng(3)
    folder.mkdir()
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for index in range(3):
            writer.write(f"noise-{index}", generator.normal(2, 1, (50, 8)).astype(np.float32))
    write_table(folder / "utt2spk", {f"noise-{index}": "noise" for index in range(3)})
    copies = list(read_table(training_set / "utt2uniq"))
    write_table(training_set / "utt2aug", dict.fromkeys(copies, "noise=n@5"))
    for directory in (folder, training_set):
        write_json(directory / "frontend.json", frontend)
    return training_set


@pytest.fixture(scope="session")
def spoken_original(tmp_path_factory, data_root):
    return make_spoken_set(tmp_path_factory.mktemp("spoken"), data_root, FbankOptions(num_mel_bins=8))


@pytest.fixture
def spoken_set(spoken_original, tmp_path):
    """Real speech of four speakers with speed copies and noisy copies, and noises and rooms beside it."""
    return copy_tables(spoken_original, tmp_path / "spoken")


@pytest.fixture
def space(tmp_path):
    write_text(tmp_path / "space.yaml", SPACE)
    return SearchSpace.load(tmp_path / "space.yaml")


@pytest.fixture
def config(tmp_path):
    write_text(tmp_path / "train.yaml", TRAINING)
    return tmp_path / "train.yaml"
