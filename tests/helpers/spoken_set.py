"""A training directory of real speech as stages 0 and 1 leave it: audio, noises, copies, features."""

import shutil
from pathlib import Path

from helpers.data_dirs import run_script

from etdnn.data.datadir import DataDir, write_data_dir, write_table
from etdnn.features.copies import make_copies
from etdnn.features.fbank import FbankOptions
from etdnn.features.jobs import make_part
from etdnn.features.merge import merge_parts
from etdnn.features.plan import CopySet, Plan

KINDS = {"noise": "musan_like/noise/esc10", "babble": "musan_like/speech/so762", "rir": "rirs/simulated/largeroom"}


def make_spoken_set(folder: Path, recordings: Path, options: FbankOptions, utterances: int = 3) -> Path:
    """Write folder/{train,train_copies,train_all,noise/train} of four speakers; return train_all.

    Two speakers are FLAC, two are OGG; every utterance has a copy at 0.9 times its speed, and a noisy copy. Features
    are not compressed.
    """
    speakers = sorted((recordings / "realspeech/wav").glob("*/so762"))
    flac = [speaker for speaker in speakers if list(speaker.glob("*.flac"))][:2]
    ogg = [speaker for speaker in speakers if list(speaker.glob("*.ogg"))][:2]
    tables = {"wav.scp": {}, "utt2spk": {}}
    for speaker in flac + ogg:
        for path in sorted(path for path in speaker.iterdir() if path.suffix in (".flac", ".ogg"))[:utterances]:
            key = f"{speaker.parent.name}-{path.stem}"
            tables["wav.scp"][key], tables["utt2spk"][key] = path, speaker.parent.name
    write_data_dir(folder / "train", tables)
    for kind, place in KINDS.items():
        sounds = {path.stem: path for path in sorted((recordings / place).glob("*.flac"))[:6]}
        write_table(folder / "noise/train" / f"{kind}.scp", sounds)
    plan = Plan(speed_factors=[0.9], copies=[CopySet("noise", {"noise": 1})])
    make_copies(folder / "train", folder / "train_copies", plan, folder / "noise/train", 0, say=lambda _: None)
    for name in ("train", "train_copies"):
        add_features(folder / name, options)
    done = run_script("combine_data.sh", folder / "train_all", folder / "train", folder / "train_copies")
    assert done.returncode == 0, done.stderr
    return folder / "train_all"


def add_features(directory: Path, options: FbankOptions) -> None:
    """Give a data directory features as stage 1 makes them, not compressed."""
    prefix = directory / "fbank/fbank.1"
    prefix.parent.mkdir(exist_ok=True)
    make_part(directory, prefix, options, compression="fm", seed=0, say=lambda _: None)
    merge_parts(directory, [prefix], 0)


def copy_tables(directory: Path, target: Path) -> Path:
    """Copy the tables of a spoken set to `target`, to be changed there; arks and audio stay where they are."""
    shutil.copytree(directory, target / directory.name, ignore=shutil.ignore_patterns("fbank"))
    shutil.copytree(directory.parent / "noise", target / "noise")
    return target / directory.name


def localise(directory: Path, folder: Path) -> None:
    """Copy the audio of a data directory to `folder` and let wav.scp name it there, so that a test may break it."""
    folder.mkdir()
    paths = {key: folder / f"{key}{Path(path).suffix}" for key, path in DataDir(directory).wav_scp.items()}
    for key, path in DataDir(directory).wav_scp.items():
        shutil.copy(path, paths[key])
    write_table(directory / "wav.scp", paths)
