"""Features of parts, their restart, the merge and its limits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from etdnn.cli import main
from etdnn.data.ark import FeatureReader
from etdnn.data.audio import read_audio
from etdnn.data.datadir import DataDir, read_table, write_data_dir, write_table
from etdnn.errors import UserError
from etdnn.features.augment import apply_recipe, parse_recipe
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.jobs import make_part
from etdnn.features.merge import check_disc, check_features, expected_bytes, merge_parts
from etdnn.seeding import numpy_generator

OPTIONS = FbankOptions()


def quiet(_: str) -> None:
    pass


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Data directory `set` of 30 short files with spaces in their paths, two noises, a room, and some recipes."""
    rng, audio = np.random.default_rng(0), tmp_path / "audio files"
    audio.mkdir()
    tables = {name: {} for name in ("wav.scp", "utt2spk", "utt2dur", "utt2aug", "augment.scp", "spk2gender")}
    for number in range(30):
        key, seconds = f"s{number // 10}-{number:02d}", 0.3 + 0.02 * number
        soundfile.write(audio / f"{key}.wav", rng.normal(0, 0.1, int(16000 * seconds)), 16000)
        tables["wav.scp"][key], tables["utt2spk"][key] = audio / f"{key}.wav", key[:2]
        tables["utt2dur"][key], tables["spk2gender"][key[:2]] = seconds, "m"
    for name, seconds in (("n1", 3.0), ("n2", 0.1), ("r1", 0.2)):
        soundfile.write(audio / f"{name}.flac", rng.normal(0, 0.1, int(16000 * seconds)), 16000)
        tables["augment.scp"][name] = audio / f"{name}.flac"
    tables["utt2aug"] = {"s0-01": "noise=n1@10", "s0-02": "reverb=r1 babble=n1,n2@15", "s1-15": "tempo=1.1"}
    write_data_dir(tmp_path / "set", tables)
    return tmp_path / "set"


def part(data: Path, prefix: Path, **changes) -> int:
    return make_part(data, prefix, OPTIONS, **{"compression": "cm2", "seed": 4, "say": quiet} | changes)


def subset(data: Path, target: Path, keys: set[str]) -> Path:
    tables = {path.name: read_table(path) for path in data.iterdir() if path.name.startswith(("utt2", "wav"))}
    write_data_dir(target, {name: {k: v for k, v in rows.items() if k in keys} for name, rows in tables.items()})
    shutil.copy(data / "augment.scp", target)
    return target


def test_features_are_those_of_the_audio_with_its_recipe(corpus, tmp_path):
    assert part(corpus, tmp_path / "ark/fbank.1", compression="fm") == 30
    reader, paths = FeatureReader(tmp_path / "ark/fbank.1.scp"), read_table(corpus / "augment.scp")
    for key, recipe in {**dict.fromkeys(["s0-00", "s2-29"], ""), **read_table(corpus / "utt2aug")}.items():
        wave = read_audio(str(corpus.parent / "audio files" / f"{key}.wav"))
        generator = numpy_generator(4, "augment", key)
        wave = apply_recipe(wave, parse_recipe(recipe), lambda name: read_audio(paths[name]), generator)
        assert np.array_equal(reader.read(key), compute_fbank(wave, OPTIONS))
    front = json.loads((tmp_path / "ark/fbank.1.frontend.json").read_text())
    assert front["key"] == OPTIONS.key and FbankOptions.from_dict(front) == OPTIONS


def test_parts_give_the_same_features_as_the_whole(corpus, tmp_path):
    part(corpus, tmp_path / "fbank.1")
    keys = list(read_table(corpus / "utt2spk"))
    part(subset(corpus, tmp_path / "half", set(keys[1::2])), tmp_path / "fbank.2")
    whole, half = FeatureReader(tmp_path / "fbank.1.scp"), FeatureReader(tmp_path / "fbank.2.scp")
    for key in half.keys:
        assert np.array_equal(whole.read(key), half.read(key))


def test_finished_part_is_recognised(corpus, tmp_path):
    part(corpus, tmp_path / "fbank.1")
    before = (tmp_path / "fbank.1.ark").stat()
    said = []
    assert part(corpus, tmp_path / "fbank.1", say=said.append) == 30
    assert "done before" in said[0]
    assert (tmp_path / "fbank.1.ark").stat() == before
    for change in ({"seed": 5}, {"compression": "cm3"}, {"force": True}):
        inode = (tmp_path / "fbank.1.ark").stat().st_ino
        part(corpus, tmp_path / "fbank.1", **change)
        assert (tmp_path / "fbank.1.ark").stat().st_ino != inode, change
    recipes = (corpus / "utt2aug").read_text()
    (corpus / "utt2aug").write_text(recipes.replace("@10", "@11"))
    said.clear()
    part(corpus, tmp_path / "fbank.1", force=False, seed=5, say=said.append)
    assert not any("done before" in line for line in said)


def test_unfinished_part_is_made_again(corpus, tmp_path):
    part(corpus, tmp_path / "fbank.1")
    (tmp_path / "fbank.1.scp").unlink()
    part(corpus, tmp_path / "fbank.1")
    assert len(FeatureReader(tmp_path / "fbank.1.scp")) == 30
    with pytest.raises(UserError, match=r"fbank.2: this part is not finished"):
        merge_parts(corpus, [tmp_path / "fbank.1", tmp_path / "fbank.2"], say=quiet)


def spoil(corpus: Path, number: int) -> list[str]:
    """Replace audio files by what is no audio, too short, silent, missing; return the utterances."""
    files = sorted((corpus.parent / "audio files").glob("s*.wav"))[3 : 3 + number]
    for index, path in enumerate(files):
        if index % 4 == 0:
            path.write_text("this is text")
        elif index % 4 == 1:
            soundfile.write(path, np.ones(160) * 0.1, 16000)
        elif index % 4 == 2:
            soundfile.write(path, np.zeros(8000), 16000)
        else:
            path.unlink()
    return [path.stem for path in files]


def test_bad_audio_is_listed_and_dropped_below_the_limit(corpus, tmp_path):
    spoiled = spoil(corpus, 1)
    (corpus / "spk2gender").write_text("s0 m\ns1 f\ns2 m\n")
    assert part(corpus, tmp_path / "fbank.1") == 29
    failed = (tmp_path / "fbank.1.failed").read_text().splitlines()
    assert [line.split()[0] for line in failed] == spoiled and "not audio that can be read" in failed[0]
    assert merge_parts(corpus, [tmp_path / "fbank.1"], say=quiet) == 29
    data = DataDir(corpus)
    data.validate(feats=True)
    assert spoiled[0] not in data.wav_scp and len(data.utt2spk) == 29
    assert data.frontend["key"] == OPTIONS.key


def test_dev_trials_of_dropped_utterances_go_and_others_stay(corpus, tmp_path):
    spoiled = spoil(corpus, 1)[0]
    good = [key for key in read_table(corpus / "utt2spk") if key != spoiled][:3]
    lines = [f"{good[0]} {good[1]} target", f"{good[0]} {spoiled} target", f"{good[1]} {good[2]} nontarget"]
    (corpus / "trials_clean").write_text("\n".join(lines) + "\n")
    part(corpus, tmp_path / "fbank.1")
    said = []
    merge_parts(corpus, [tmp_path / "fbank.1"], say=said.append, trials_too=True)
    assert (corpus / "trials_clean").read_text().splitlines() == [lines[0], lines[2]]
    assert any("dropped 1 of 3 trials" in line for line in said)


@pytest.mark.parametrize("table", ["wav.scp", "utt2dur", "spk2utt", "spk2gender", "utt2spk"])
def test_a_merge_broken_off_while_dropping_is_made_good_by_the_next(corpus, tmp_path, monkeypatch, table):
    spoiled = spoil(corpus, 1)[0]
    good = [key for key in read_table(corpus / "utt2spk") if key != spoiled][:2]
    (corpus / "trials_clean").write_text(f"{good[0]} {good[1]} target\n{good[0]} {spoiled} nontarget\n")
    (corpus / "spk2gender").write_text("s0 m\ns1 f\ns2 m\n")
    part(corpus, tmp_path / "fbank.1")

    def write(path, rows):
        if path.name == table:
            raise KeyboardInterrupt
        write_table(path, rows)

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr("etdnn.features.merge.write_table", write)
        merge_parts(corpus, [tmp_path / "fbank.1"], say=quiet, trials_too=True)
    merge_parts(corpus, [tmp_path / "fbank.1"], say=quiet, trials_too=True)
    DataDir(corpus).validate(feats=True)
    assert (corpus / "trials_clean").read_text().splitlines() == [f"{good[0]} {good[1]} target"]


def test_features_for_under_95_percent_stop_and_change_nothing(corpus, tmp_path):
    spoil(corpus, 4)
    before = {path.name: path.read_bytes() for path in corpus.iterdir()}
    part(corpus, tmp_path / "fbank.1")
    reasons = (tmp_path / "fbank.1.failed").read_text()
    for reason in ("not audio", "shorter than one window", "silent or constant", "no such file"):
        assert reason in reasons
    words = ["merge-features", str(corpus), str(tmp_path / "fbank.1")]
    with pytest.raises(UserError, match=r"4 of 30 utterances have no features, e.g. s0-03 .*fbank.1.failed"):
        merge_parts(corpus, [tmp_path / "fbank.1"], say=quiet)
    assert main(words) == 1
    assert {path.name: path.read_bytes() for path in corpus.iterdir()} == before


def test_merge_joins_parts_in_order(corpus, tmp_path):
    keys = list(read_table(corpus / "utt2spk"))
    for number, share in enumerate((keys[20:], keys[:20]), 1):
        part(subset(corpus, tmp_path / f"split/{number}", set(share)), tmp_path / f"fbank.{number}")
    merge_parts(corpus, [tmp_path / "fbank.1", tmp_path / "fbank.2"], check=-1, say=quiet)
    assert list(read_table(corpus / "feats.scp")) == keys
    reader = FeatureReader(corpus / "feats.scp")
    assert reader.num_frames.tolist() == [int(n) for n in read_table(corpus / "utt2num_frames").values()]


def test_merge_refuses_parts_that_do_not_belong_together(corpus, tmp_path):
    part(corpus, tmp_path / "fbank.1")
    part(corpus, tmp_path / "fbank.2")
    with pytest.raises(UserError, match="is in another part too"):
        merge_parts(corpus, [tmp_path / "fbank.1", tmp_path / "fbank.2"], say=quiet)
    small = subset(corpus, tmp_path / "small", {"s0-00", "s0-05"})
    with pytest.raises(UserError, match="which is not in utt2spk"):
        merge_parts(small, [tmp_path / "fbank.1"], say=quiet)
    make_part(small, tmp_path / "fbank.3", FbankOptions(num_mel_bins=40), compression="cm2", seed=0, say=quiet)
    with pytest.raises(UserError, match="different front ends"):
        merge_parts(corpus, [tmp_path / "fbank.1", tmp_path / "fbank.3"], say=quiet)


def test_check_reads_back(corpus, tmp_path):
    part(corpus, tmp_path / "fbank.1")
    assert check_features([tmp_path / "fbank.1.scp"], 5).startswith("read back 5 of 30 utterances: mean ")
    with (tmp_path / "fbank.1.ark").open("r+b") as handle:
        handle.truncate(20000)
    with pytest.raises(UserError, match=r"fbank.1.ark: s\d-\d\d: truncated"):
        merge_parts(corpus, [tmp_path / "fbank.1"], say=quiet)
    assert not (corpus / "feats.scp").exists()


def test_faults_of_the_tables_name_the_utterance(corpus, tmp_path):
    (corpus / "utt2aug").write_text("s0-01 noise=n9@10\n")
    with pytest.raises(UserError, match=r"set/augment.scp: no 'n9', which utt2aug names"):
        part(corpus, tmp_path / "fbank.1")
    (corpus / "utt2aug").write_text("s0-01 echo=3\n")
    with pytest.raises(UserError, match=r"set/utt2aug: s0-01: 'echo=3' is not one effect=value"):
        part(corpus, tmp_path / "fbank.1")
    assert not list(tmp_path.glob("fbank.1*")) and not list(tmp_path.glob(".fbank.1*"))


def test_pipes_are_run_in_this_stage(corpus, tmp_path):
    path = corpus.parent / "audio files" / "s0-00.wav"
    (corpus / "wav.scp").write_text((corpus / "wav.scp").read_text().replace(str(path), f'cat "{path}" |'))
    assert part(corpus, tmp_path / "fbank.1") == 30


@pytest.mark.parametrize("compression", ["fm", "cm2", "cm3", "cm"])
def test_expected_disc_space_is_near_the_truth(corpus, tmp_path, compression):
    part(corpus, tmp_path / "fbank.1", compression=compression)
    size = sum(path.stat().st_size for path in tmp_path.glob("fbank.1.*"))
    seconds = DataDir(corpus).utt2dur.values()
    assert 0.75 * size < expected_bytes(seconds, OPTIONS, compression) < 1.5 * size


def test_disc_that_is_too_small(corpus, tmp_path, monkeypatch):
    assert "30 utterances" in check_disc([corpus], tmp_path / "not/yet", OPTIONS, "cm2")[0]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"features need 2\d\d KB more, 1 KB are free"):
        check_disc([corpus], tmp_path / "not/yet", OPTIONS, "cm2")


def test_full_disc_while_writing(corpus, tmp_path):
    import multiprocessing

    child = multiprocessing.get_context("fork").Process(target=_part_with_limit, args=(corpus, tmp_path / "fbank.1"))
    child.start()
    child.join()
    assert child.exitcode == 17
    assert not list(tmp_path.glob("*fbank.1*"))


def _part_with_limit(corpus: Path, prefix: Path) -> None:
    import os
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
    try:
        part(corpus, prefix)
    except UserError as error:
        os._exit(17 if "File too large" in str(error) else 1)
    os._exit(0)


def segment(corpus: Path, target: Path, keys: list[str]) -> Path:
    """Write a data directory whose `keys` are parts of one long recording; recipes as in `corpus`."""
    tables = {name: {} for name in ("segments", "utt2spk", "utt2aug")}
    waves, start = [], 0
    for key in keys:
        wave = soundfile.read(corpus.parent / "audio files" / f"{key}.wav", dtype="int16")[0]
        tables["segments"][key] = f"long {start / 16000} {(start + len(wave)) / 16000}"
        tables["utt2spk"][key] = key[:2]
        waves.append(wave)
        start += len(wave)
    path = corpus.parent / "long recording.wav"
    soundfile.write(path, np.concatenate(waves), 16000)
    tables["wav.scp"] = {"long": path, "unused": corpus.parent / "none.wav"}
    tables["utt2aug"] = {key: recipe for key, recipe in read_table(corpus / "utt2aug").items() if key in keys}
    write_data_dir(target, tables)
    shutil.copy(corpus / "augment.scp", target)
    return target


def test_features_of_segments_are_those_of_files_of_the_same_samples(corpus, tmp_path):
    keys = list(read_table(corpus / "utt2spk"))[:20]
    data = segment(corpus, tmp_path / "segmented", keys)
    part(corpus, tmp_path / "files.1", compression="fm")
    assert part(data, tmp_path / "parts.1", compression="fm") == 20
    files, parts = FeatureReader(tmp_path / "files.1.scp"), FeatureReader(tmp_path / "parts.1.scp")
    assert list(parts.keys) == keys
    for key in keys:
        assert np.array_equal(files.read(key), parts.read(key)), key
    text = (data / "segments").read_text()
    (data / "segments").write_text(text.replace(text.split()[3], "0.25", 1))
    said = []
    part(data, tmp_path / "parts.1", say=said.append)
    assert not any("done before" in line for line in said)


def test_segments_beyond_their_recording_are_listed_and_dropped(corpus, tmp_path):
    keys = list(read_table(corpus / "utt2spk"))
    data = segment(corpus, tmp_path / "segmented", keys)
    lines = (data / "segments").read_text().splitlines()
    lines[-1] = f"{keys[-1]} long 5 1000"
    (data / "segments").write_text("\n".join(lines) + "\n")
    assert part(data, tmp_path / "parts.1") == 29
    failed = (tmp_path / "parts.1.failed").read_text()
    assert failed.startswith(keys[-1]) and "the part from 5 s to 1000 s is not in it" in failed
    assert merge_parts(data, [tmp_path / "parts.1"], say=quiet) == 29
    DataDir(data).validate(feats=True)
    assert list(read_table(data / "segments")) == keys[:-1] and list(read_table(data / "wav.scp")) == ["long"]


def test_faults_of_segments_stop_before_anything_is_written(corpus, tmp_path):
    (corpus / "segments").write_text("s0-00 recording 0 1\n")
    with pytest.raises(UserError, match="segments:1: recording 'recording' is not in"):
        part(corpus, tmp_path / "segmented")
    assert not list(tmp_path.glob("*segmented*"))
