"""Data directories with made-up features and a small supernet, so that stages 5 to 7 run in a second."""

import json
from pathlib import Path

import numpy as np
import torch

from etdnn.data.ark import ArkWriter
from etdnn.data.datadir import write_data_dir, write_table
from etdnn.data.trials import make_trials, write_trials
from etdnn.model.checkpoint import save_supernet
from etdnn.model.space import SearchSpace
from etdnn.model.supernet import Supernet

FRONTEND = {"type": "kaldi", "num_mel_bins": 80, "key": "tiny"}


def tiny_space() -> SearchSpace:
    """Return a space of 16 to 32 channels and one or two blocks."""
    return SearchSpace("tiny", depths=(1, 2), widths=(16, 24, 32), kernels=(1, 3), cats=(24, 48))


def make_set(folder: Path, prefix: str, *, speakers: int, utterances: int, seed: int, trials: tuple[str, ...] = ()):
    """Write one data directory; features of a speaker share an offset per bin, so that speakers can be told apart."""
    generator = np.random.default_rng(seed)
    utt2spk, utt2session, frames = {}, {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    with ArkWriter(folder / "fbank.ark", folder / "feats.scp") as writer:
        for number in range(speakers):
            voice = generator.normal(size=(4, 80)) * 2
            for take in range(utterances):
                session = f"{prefix}{number:02d}-s{2 * take // utterances}"
                name = f"{session}-{take:03d}"
                length = int(generator.integers(3, 6)) * 20
                weights = generator.random((length, 4))
                writer.write(name, (weights @ voice + generator.normal(size=(length, 80))).astype(np.float32))
                utt2spk[name], utt2session[name] = f"{prefix}{number:02d}", session
                frames[name] = length
    scp = {name: f"{name}.wav" for name in utt2spk}
    write_data_dir(folder, {"wav.scp": scp, "utt2spk": utt2spk, "utt2session": utt2session})
    write_table(folder / "utt2num_frames", frames)
    (folder / "frontend.json").write_text(json.dumps(FRONTEND))
    names = sorted(utt2spk)
    for purpose in trials:
        drawn = make_trials(utt2spk, enrol=names, test=names, seed=seed, purpose=purpose, targets=120, nontargets=240)
        write_trials(folder / f"trials_{purpose}", drawn)


def make_corpus(data: Path) -> None:
    """Write data/{train,dev,test}."""
    make_set(data / "train", "tr", speakers=6, utterances=8, seed=1)
    make_set(data / "dev", "dv", speakers=8, utterances=6, seed=2, trials=("clean", "cross"))
    make_set(data / "test", "te", speakers=8, utterances=6, seed=3, trials=("main", "cross"))


def make_supernet(path: Path) -> Supernet:
    """Write a supernet with random weights and odd batch-norm statistics."""
    torch.manual_seed(5)
    supernet = Supernet(tiny_space())
    for name, buffer in supernet.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_supernet(path, supernet, {"frontend": FRONTEND, "normalisation": "mean", "training": {"phase": "width2"}})
    return supernet
