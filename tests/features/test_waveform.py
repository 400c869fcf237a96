"""Crops read from audio: against the stored features and whole utterances, what is drawn, the processes, the errors."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.spoken_set import add_features, copy_tables, localise, make_spoken_set

from etdnn.data.ark import FeatureReader
from etdnn.data.audio import read_audio
from etdnn.data.datadir import DataDir, read_table, write_table
from etdnn.errors import UserError
from etdnn.features.augment import apply_recipe, reverberate, split_sources
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.plan import Additive, Waveform
from etdnn.features.waveform import Draw, WaveformBank
from etdnn.seeding import numpy_generator

OPTIONS = FbankOptions()
CPU = torch.device("cpu")
NOTHING = Draw({}, 0)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, data_root):
    return make_spoken_set(tmp_path_factory.mktemp("spoken"), data_root, OPTIONS)


def bank_of(directory, workers=0, **changes):
    reader = FeatureReader(directory / "feats.scp")
    mixture = {"noise": 1, "babble": 1, "reverb": 1, "reverb+noise": 1}
    settings = Waveform(**{"probability": 0.8, "mixture": mixture, "workers": workers} | changes)
    return WaveformBank(directory, reader.keys, settings), reader


def read(bank, reader, utterances, starts, frames, draws=None):
    draws = [NOTHING] * len(utterances) if draws is None else draws
    return bank.read(reader, np.array(utterances), np.array(starts), frames, draws, CPU).numpy()


def assert_like_stored(directory, tolerance):
    """Compare crops of many places, edges, whole utterances and wrapped crops with those of the stored features."""
    bank, reader = bank_of(directory)
    generator = np.random.default_rng(0)
    assert len(bank.eligible)
    for place in bank.eligible.tolist():
        rows = int(reader.num_frames[place])
        cases = [(0, rows), (0, 1), (rows - 1, 1), (rows - 30, 30), (1, 30), (0, rows + 20), (3, 2 * rows)]
        cases += [(int(generator.integers(rows - 40)), 40) for _ in range(3)]
        for start, frames in cases:
            ours = read(bank, reader, [place], [start], frames)
            stored = reader.read_crops([place], [start], frames)
            np.testing.assert_allclose(ours, stored, atol=tolerance, err_msg=f"{reader.keys[place]} {start} {frames}")


def test_without_augmentation_a_crop_is_that_of_the_stored_features(spoken):
    """FLAC read in parts, OGG read whole, speed copies of both; noisy copies are not drawn anew and not read."""
    assert_like_stored(spoken, 1e-4)
    bank, reader = bank_of(spoken)
    eligible = {reader.keys[place] for place in bank.eligible}
    assert {key for key in reader.keys if not key.endswith("-noise")} == eligible
    assert sum(key.startswith("sp0.9-") for key in eligible) == len(eligible) / 2


def test_parts_of_recordings_too(spoken, tmp_path):
    entries = DataDir(spoken.parent / "train").wav_scp
    target = tmp_path / "train"
    target.mkdir()
    write_table(target / "wav.scp", entries)
    write_table(target / "segments", {f"{key}-{part}": f"{key} {part * 0.4 + 0.1:g} {part * 0.4 + 1.2:g}"
                                      for key in entries for part in (0, 1)})  # fmt: skip
    write_table(target / "utt2spk", {key: key.split("-")[0] for key in read_table(target / "segments")})
    write_table(target / "spk2utt", {"x": "y"})
    copy_tables(spoken, tmp_path)
    add_features(target, OPTIONS)
    assert_like_stored(target, 1e-4)
    parts = read_table(target / "segments")
    first, *others = parts
    write_table(target / "segments", {**parts, first: "r0 0 1"})
    bank, reader = bank_of(target)
    with pytest.raises(UserError, match="train/segments: 'r0 0 1' is no 'recording start end' of") as caught:
        read(bank, reader, [0], [0], 50)
    assert "\n" not in str(caught.value)
    write_table(target / "segments", {key: parts[key] for key in others})
    with pytest.raises(UserError, match=f"train/segments: no line for '{first}', which .*/train/feats.scp has"):
        bank_of(target)


@pytest.mark.parametrize("key_prefix", ["id", "sp0.9-"])
def test_reverberation_is_that_of_the_whole_utterance(spoken, key_prefix):
    """What was said before the crop sounds on in it."""
    bank, reader = bank_of(spoken)
    rooms = read_table(spoken.parent / "noise/train/rir.scp")
    for index, (name, path) in enumerate(list(rooms.items())[:3]):
        key = [key for key in reader.keys if key.startswith(key_prefix) and not key.endswith("-noise")][index]
        speed = {"speed": "0.9"} if key.startswith("sp") else {}
        whole = apply_recipe(read_audio(DataDir(spoken).wav_scp[key]), speed, None, None)
        expected = compute_fbank(reverberate(whole, read_audio(path)), OPTIONS)
        place, start = reader.index(key), 60
        ours = read(bank, reader, [place], [start], 50, [Draw({"reverb": name}, 0)])[0]
        assert np.abs(ours - reader.read_range(place, start, 50)).mean() > 0.2
        difference = np.abs(ours - expected[start : start + 50])
        assert difference.max() < 0.02 and difference.mean() < 1e-4, "rounding, in bins that are nearly silent"


def test_a_whole_utterance_has_its_recipe_as_a_copy_would(spoken):
    bank, reader = bank_of(spoken)
    paths = {key: path for kind in ("noise", "babble", "rir")
             for key, path in read_table(spoken.parent / f"noise/train/{kind}.scp").items()}  # fmt: skip
    utterances = bank.eligible[:12]
    kinds = set()
    for draw, place in zip(bank.mixes(utterances, 3, "p", 0), utterances.tolist(), strict=True):
        key = reader.keys[place]
        speed = {"speed": "0.9"} if key.startswith("sp") else {}
        generator = numpy_generator(draw.seed, "augment")
        wave = apply_recipe(
            read_audio(DataDir(spoken).wav_scp[key]),
            speed | draw.recipe,
            lambda name: read_audio(paths[name]),
            generator,
        )
        expected = compute_fbank(wave, OPTIONS)
        ours = read(bank, reader, [place], [0], len(expected), [draw])[0]
        np.testing.assert_allclose(ours, expected, atol=0.02)
        kinds.add(" ".join(draw.recipe))
    assert len(kinds) >= 4


def test_draws_are_seeded_and_as_asked(spoken):
    bank, reader = bank_of(spoken, babble=Additive([10.0, 20.0], [3, 5]))
    utterances = np.zeros(2000, np.int64)
    drawn, again, other = (bank.mixes(utterances, 0, "p", step) for step in (3, 3, 4))
    assert drawn == again and drawn != other
    assert len({draw.seed for draw in drawn + other}) == 4000
    counts = Counter(" ".join(draw.recipe) for draw in drawn)
    assert counts.keys() == {"", "noise", "babble", "reverb", "reverb noise"}
    assert all(count / 2000 == pytest.approx(0.2, abs=0.03) for count in counts.values())
    for kind, snr, numbers in (("noise", (0, 15), {1}), ("babble", (10, 20), {3, 4, 5})):
        found = [split_sources(draw.recipe[kind]) for draw in drawn if kind in draw.recipe]
        levels = [level for _, level in found]
        assert snr[0] <= min(levels) and max(levels) <= snr[1] and np.ptp(levels) > 0.9 * (snr[1] - snr[0])
        assert {len(ids) for ids, _ in found} == numbers
        pool = read_table(spoken.parent / f"noise/train/{kind}.scp").keys()
        assert {name for ids, _ in found for name in ids} == pool
    assert {draw.recipe["reverb"] for draw in drawn if "reverb" in draw.recipe} == read_table(
        spoken.parent / "noise/train/rir.scp"
    ).keys()


def test_the_order_in_which_the_mixture_is_written_draws_nothing_else(spoken):
    """A resumed training compares its settings by name, and must go on with the same draws."""
    kinds = {"noise": 1, "reverb": 2, "babble": 1}
    utterances = np.zeros(50, np.int64)
    first, second = (bank_of(spoken, mixture=one)[0] for one in (kinds, dict(reversed(kinds.items()))))
    assert first.mixes(utterances, 0) == second.mixes(utterances, 0)


def test_the_number_of_processes_changes_nothing(spoken):
    alone, reader = bank_of(spoken)
    utterances = np.resize(alone.eligible, 30)
    starts = np.arange(30) % 7
    draws = alone.mixes(utterances, 0, "p", 0)
    expected = alone.read(reader, utterances, starts, 60, draws, CPU)
    half = alone.read(reader, utterances[10:20], starts[10:20], 60, draws[10:20], CPU)
    assert torch.equal(half, expected[10:20]), "the part of a rank"
    assert len({crop.numpy().tobytes() for crop in expected}) == 30
    shared, _ = bank_of(spoken, workers=3)
    for _ in range(2):
        assert torch.equal(shared.read(reader, utterances, starts, 60, draws, CPU), expected)
    assert torch.equal(shared.read(reader, utterances[:2], starts[:2], 60, draws[:2], CPU), expected[:2])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_breaks_in_mid_training_is_named(spoken, tmp_path, workers):
    directory = copy_tables(spoken, tmp_path)
    localise(directory, tmp_path / "audio")
    bank, reader = bank_of(directory, workers)
    entries = read_table(directory / "wav.scp")
    flac = [place for place in bank.eligible.tolist() if entries[reader.keys[place]].endswith(".flac")]
    utterances, starts = np.array(flac), np.full(len(flac), 100)
    draws = [NOTHING] * len(flac)
    assert bank.read(reader, utterances, starts, 50, draws, CPU).shape == (len(flac), 50, 80)
    names = [reader.keys[place] for place in flac]
    cut, other, gone, short = (tmp_path / f"audio/{name}.flac" for name in names[:4])
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 3])
    soundfile.write(other, np.zeros(8000), 8000)
    gone.unlink()
    soundfile.write(short, np.ones(20000), 16000)
    messages = (
        "(truncated|not audio)",
        "audio of 8000 Hz, features of 16000 Hz",
        "no such file",
        "125 frames, .*stage 1",
    )
    for name, message in zip(names, messages, strict=False):
        place = np.array([reader.index(name)])
        with pytest.raises(UserError, match=f"^utterance {name}: .*{name}.flac: {message}") as caught:
            bank.read(reader, place, starts[:1], 50, draws[:1], CPU)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=f"utterance {names[0]}: "):
        bank.read(reader, utterances, starts, 50, draws, CPU)
    assert bank.read(reader, utterances[4:], starts[4:], 50, draws[4:], CPU).shape[0] == len(flac) - 4


@pytest.mark.parametrize("workers", [0, 1])
def test_a_noise_without_samples_is_named(spoken, tmp_path, workers):
    directory, empty = copy_tables(spoken, tmp_path), tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 16000)
    write_table(tmp_path / "noise/train/noise.scp", {"n1": empty})
    bank, reader = bank_of(directory, workers)
    with pytest.raises(UserError, match=f"^utterance {reader.keys[0]}: .*empty.wav: no samples in it$"):
        read(bank, reader, [0], [0], 50, [Draw({"noise": "n1@5"}, 0)])


def test_what_cannot_begin_is_refused(spoken, tmp_path):
    directory = copy_tables(spoken, tmp_path)
    entries = read_table(directory / "wav.scp")
    key = next(iter(entries))
    write_table(directory / "wav.scp", entries | {key: "ffmpeg -i x.m4a -f wav - |"})
    with pytest.raises(UserError, match="'ffmpeg -i x.m4a -f wav - .' is a command"):
        bank_of(directory)
    write_table(directory / "wav.scp", {name: entry for name, entry in entries.items() if name != key})
    with pytest.raises(UserError, match=f"wav.scp: no line for '{key}'"):
        bank_of(directory)
    (directory / "wav.scp").unlink()
    with pytest.raises(UserError, match="wav.scp is missing; 'waveform'"):
        bank_of(directory)
    write_table(directory / "wav.scp", entries)
    frontend = (directory / "frontend.json").read_text()
    (directory / "frontend.json").write_text(json.dumps(FbankOptions(vad=True).to_dict()))
    with pytest.raises(UserError, match="voiced frames only .--vad=true.*train on stored copies"):
        bank_of(directory)
    (directory / "frontend.json").write_text(frontend)
    (tmp_path / "noise/train/rir.scp").unlink()
    bank, _ = bank_of(directory)
    assert "no rir.scp in" in bank.description and "6 noise" in bank.description
    assert not any("reverb" in draw.recipe for draw in bank.mixes(np.zeros(50, np.int64), 0))
    with pytest.raises(UserError, match="has no such audio"):
        bank_of(directory, mixture={"reverb": 1})
    for wrong, message in (
        ({"probability": 1.2}, "probability between 0 and 1"),
        ({"workers": -1}, "workers >= 0"),
        ({"mixture": {"tempo": 1}}, "'tempo' is not one of noise, music, babble, reverb"),
        ({"mixture": {}}, "weights above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Waveform(**wrong)


def test_a_speed_that_is_no_number_is_named(spoken, tmp_path):
    directory = copy_tables(spoken, tmp_path)
    write_table(directory / "utt2aug", {FeatureReader(directory / "feats.scp").keys[0]: "speed=fast"})
    with pytest.raises(UserError, match="utt2aug: could not convert string to float: 'fast', after 'speed='"):
        bank_of(directory)


def test_a_process_that_was_killed_is_an_error_in_one_line(spoken):
    bank, reader = bank_of(spoken, workers=2)
    some, before = bank.eligible[:2].tolist(), set(multiprocessing.active_children())
    assert read(bank, reader, some, [0, 0], 50).shape == (2, 50, 80)
    victim = (set(multiprocessing.active_children()) - before).pop()
    victim.kill()
    with pytest.raises(UserError, match="a process that reads audio .* has ended") as caught:
        read(bank, reader, some, [0, 0], 50)
    assert "\n" not in str(caught.value)


def test_processes_end_with_the_one_that_was_killed(spoken, repository):
    script = f"""
import multiprocessing, time, torch
from pathlib import Path
from etdnn.data.ark import FeatureReader
from etdnn.features.plan import Waveform
from etdnn.features.waveform import WaveformBank
if __name__ == "__main__":
    reader = FeatureReader({str(spoken / "feats.scp")!r})
    settings = Waveform(probability=0.5, mixture=dict(noise=1.0), workers=2)
    bank = WaveformBank(Path({str(spoken)!r}), reader.keys, settings)
    some = bank.eligible[:4]
    bank.read(reader, some, 0 * some, 30, bank.mixes(some, 0), torch.device("cpu"))
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=repository)
    pids = list(map(int, process.stdout.readline().split()))
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGTERM)  # as a cluster tells all processes of a job: the training is to end its step first
    assert all(map(is_running, pids))
    process.kill()
    process.wait()
    for _ in range(200):
        if not any(map(is_running, pids)):
            return
        time.sleep(0.05)
    pytest.fail("the processes live on")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
