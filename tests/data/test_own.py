import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.recordings import tone, write_noises, write_recordings

from etdnn.cli import main
from etdnn.data.audio import read_audio
from etdnn.data.corpus import scan_corpus
from etdnn.data.datadir import DataDir
from etdnn.data.noises import read_noises
from etdnn.data.own import prepare_own
from etdnn.data.split import read_split
from etdnn.errors import UserError


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    musan, rirs = write_noises(tmp_path_factory.mktemp("noises"))
    return {"musan": musan, "rirs": rirs}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus of mine")
    write_recordings(root, speakers=12)
    return root


@pytest.fixture
def corpus(recordings, tmp_path):
    return shutil.copytree(recordings, tmp_path / "corpus of mine")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_without_a_table_speakers_are_split_and_trials_made(recordings, noises, tmp_path):
    out = tmp_path / "data"
    said = []
    counts = prepare_own(recordings, out, say=said.append, **noises)
    assert {name: row["speakers"] for name, row in counts.items()} == {"train": 7, "dev": 2, "test": 3}
    sets = {name: DataDir(out / name) for name in ("train", "dev", "test")}
    speakers = [set(data.utt2spk.values()) for data in sets.values()]
    assert not (speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2])
    for data in sets.values():
        data.validate()
        for entry in data.wav_scp.values():
            assert read_audio(entry).shape == (8000,)
    assert sets["test"].trial_names() == ["main"] and sets["dev"].trial_names() == ["clean", "cross"]
    for data, name in ((sets["test"], "main"), (sets["dev"], "clean"), (sets["dev"], "cross")):
        trials = data.trials(name)
        assert {*trials.enrol, *trials.test} <= data.utt2spk.keys()
        same = [data.utt2spk[e] == data.utt2spk[t] for e, t in zip(trials.enrol, trials.test, strict=True)]
        assert same == trials.target.tolist() and 0 < sum(same) < len(same)
    assert any("train: " in line and "utterances" in line for line in said)


def test_the_cross_list_has_copies_in_rooms_and_noises_that_train_never_hears(recordings, noises, tmp_path):
    out = tmp_path / "data"
    prepare_own(recordings, out, say=lambda _: None, **noises)
    dev, heard = DataDir(out / "dev"), read_noises(out / "noise" / "train")
    trials = dev.trials("cross")
    assert all(test in dev.utt2aug for test in trials.test) and not any(e in dev.utt2aug for e in trials.enrol)
    assert all(dev.utt2uniq[t] != e for e, t in zip(trials.enrol, trials.test, strict=True))
    assert dev.utt2uniq.keys() == dev.utt2spk.keys(), "Kaldi demands a row for every utterance"
    paths = {path for files in heard.values() for path in files.values()}
    for copy, recipe in dev.utt2aug.items():
        assert dev.wav_scp[copy] == dev.wav_scp[dev.utt2uniq[copy]]
        steps = dict(step.split("=") for step in recipe.split())
        sounds = [steps["reverb"]] + [steps[kind].split("@")[0] for kind in ("noise", "music") if kind in steps]
        assert len(sounds) == 2
        assert all(dev.augment_scp[sound] not in paths for sound in sounds)
        snr = float(next(iter(steps[kind] for kind in ("noise", "music") if kind in steps)).split("@")[1])
        assert 5 <= snr <= 15


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split(recordings, noises, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        prepare_own(recordings, tmp_path / name / "data", seed=seed, say=lambda _: None, **noises)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert (tmp_path / "a/data/split.tsv").read_text() != (tmp_path / "c/data/split.tsv").read_text()


def test_table_and_trials_are_followed(recordings, noises, tmp_path):
    table = tmp_path / "speakers.tsv"
    rows = [(f"spk{n:02d}", "mf"[n % 2], "test" if n >= 8 else "train") for n in range(12)]
    table.write_text("id\tgender\tset\n" + "".join("\t".join(row) + "\n" for row in rows))
    (tmp_path / "trials.txt").write_bytes(
        b"1 spk08/s0/00001.wav spk08/s1/00001.wav\r\n0 spk08/s0/00001.wav spk09/s0/00002.wav\r\n"
    )
    (tmp_path / "trials_far.txt").write_text(
        "spk10-s0-00001 spk10-s0-00002 target\nspk10-s0-00001 spk08-s1-00001 nontarget\n"
    )
    lists = [tmp_path / "trials.txt", tmp_path / "trials_far.txt"]
    prepare_own(recordings, tmp_path / "d", split=table, trials=lists, dev_speakers=4, say=lambda _: None, **noises)
    test, dev, train = (DataDir(tmp_path / "d" / name) for name in ("test", "dev", "train"))
    assert test.trial_names() == ["far", "main"]
    assert test.trials("main").enrol == ["spk08-s0-00001"] * 2 and test.trials("main").target.tolist() == [True, False]
    assert set(test.utt2spk.values()) == {"spk08", "spk09", "spk10", "spk11"}
    assert len(dev.spk2utt) == 4 and len(train.spk2utt) == 4
    assert sorted(dev.spk2gender.values()) == ["f", "f", "m", "m"], "dev does not keep the shares of the genders"
    clean = dev.trials("clean")
    for enrol, other in zip(clean.enrol, clean.test, strict=True):
        assert dev.spk2gender[dev.utt2spk[enrol]] == dev.spk2gender[dev.utt2spk[other]]
    with (tmp_path / "d" / "split.tsv").open() as handle:
        written = {row["id"]: row["set"] for row in csv.DictReader(handle, delimiter="\t")}
    assert written["spk08"] == "test" and list(written.values()).count("dev") == 4
    assert read_split(tmp_path / "d" / "split.tsv").sets == written, "the written split cannot be given again"


def test_trials_alone_name_the_test_speakers(recordings, noises, tmp_path):
    (tmp_path / "t.txt").write_text("1 spk00/s0/00001 spk00/s1/00001\n0 spk00/s0/00001.wav spk03/s0/00001.wav\n")
    prepare_own(recordings, tmp_path / "d", trials=[tmp_path / "t.txt"], say=lambda _: None, **noises)
    assert set(DataDir(tmp_path / "d/test").utt2spk.values()) == {"spk00", "spk03"}


def test_without_noises_and_rooms_synthetic_ones_are_made_and_said(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr("etdnn.data.noises.SYNTHETIC_NOISES", 4)
    monkeypatch.setattr("etdnn.data.noises.SYNTHETIC_RIRS", 3)
    said = []
    prepare_own(recordings, tmp_path / "d", say=said.append)
    assert sum("synthetic" in line for line in said) == 2
    for part, count in (("train", 5), ("dev", 2)):
        files = [path for kind in read_noises(tmp_path / "d/noise" / part).values() for path in kind.values()]
        assert len(files) == count and all(np.abs(read_audio(path)).max() > 0 for path in files)


def test_broken_files_are_listed_and_skipped_up_to_a_limit(corpus, noises, tmp_path):
    files = sorted(corpus.rglob("*.wav"))
    files[0].write_text("text")
    soundfile.write(files[1], tone(0, 0)[:160], 16000)
    soundfile.write(files[2].with_suffix(".flac"), tone(0, 5, 2.0), 16000)
    whole = files[2].with_suffix(".flac").read_bytes()
    files[2].with_suffix(".flac").write_bytes(whole[: len(whole) // 2])
    files[2].unlink()
    out, said = tmp_path / "d", []
    counts = prepare_own(corpus, out, say=said.append, **noises)
    assert sum(row["utterances"] for row in counts.values()) == len(files) - 3
    broken = (out / "broken.txt").read_text().splitlines()
    assert len(broken) == 2 and broken[0].startswith(f"{files[0]}\tnot audio")
    assert (out / "short.txt").read_text() == f"{files[1]}\t0.010 s\n"
    assert any("skipped 2 broken files" in line for line in said)
    before = contents(out)
    for path in files[3:13]:
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"12 of 48 audio files are broken, at most 10 are skipped"):
        prepare_own(corpus, out, say=said.append, **noises)
    after = contents(out)
    assert {k: v for k, v in after.items() if "/" in k} == {k: v for k, v in before.items() if "/" in k}


def test_8_khz_and_stereo_are_said(corpus, noises, tmp_path):
    files = sorted(corpus.rglob("*.wav"))
    soundfile.write(files[0], tone(0, 0, 1.0, 8000), 8000)
    soundfile.write(files[1], np.stack([tone(0, 0)] * 2, 1), 16000)
    said = []
    prepare_own(corpus, tmp_path / "d", say=said.append, **noises)
    assert any("1 files of 8000 Hz are resampled" in line and "nothing above 4000 Hz" in line for line in said)
    assert any("1 files of several channels" in line for line in said)


def empty(corpus):
    shutil.rmtree(corpus)
    corpus.mkdir()


def one_speaker(corpus):
    for folder in sorted(corpus.iterdir())[1:]:
        shutil.rmtree(folder)


def too_few(corpus):
    for folder in sorted(corpus.iterdir())[4:]:
        shutil.rmtree(folder)


def same_speaker_id(corpus):
    (corpus / "spk00").rename(corpus / "a-b")
    (corpus / "spk01").rename(corpus / "a_b")


def same_utterance_id(corpus):
    soundfile.write(corpus / "spk00/s0/00001.flac", tone(0, 0), 16000)


def too_shallow(corpus):
    (corpus / "spk00/s0/00001.wav").rename(corpus / "spk00/00001.wav")


def too_deep(corpus):
    (corpus / "spk00/s0/more").mkdir()
    (corpus / "spk00/s0/00001.wav").rename(corpus / "spk00/s0/more/00001.wav")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (empty, "no audio in it"),
        (shutil.rmtree, "no such folder"),
        (one_speaker, "only one speaker"),
        (too_few, "4 speakers are too few|speakers are too few to cut"),
        (same_speaker_id, "a-b and .*a_b: both become speaker id 'a_b'"),
        (same_utterance_id, "both become utterance id 'spk00-s0-00001'"),
        (too_shallow, "1 audio files do not lie at SPEAKER/SESSION/UTTERANCE"),
        (too_deep, "1 audio files do not lie at SPEAKER/SESSION/UTTERANCE"),
    ],
)
def test_corpora_that_cannot_be_used_are_refused_by_name(corpus, noises, tmp_path, damage, said):
    damage(corpus)
    with pytest.raises(UserError, match=said) as caught:
        prepare_own(corpus, tmp_path / "d", say=lambda _: None, **noises)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "d" / "train").exists()


def test_missing_trial_entries_are_counted_listed_and_refused(recordings, noises, tmp_path):
    lines = ["1 spk00/s0/00001.wav spk00/s1/00001.wav", "0 spk00/s0/00001.wav spk01/s0/00001.wav"]
    lines += [f"0 spk00/s0/00001.wav gone{number}/s0/00001.wav" for number in range(7)]
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
    arguments = {"trials": [tmp_path / "t.txt"], "say": lambda _: None, **noises}
    with pytest.raises(UserError, match=r"7 of 10 entries are not in test, e.g. gone0-s0-00001, .*gone4-s0-00001 \("):
        prepare_own(recordings, tmp_path / "d", **arguments)
    prepare_own(recordings, tmp_path / "d", allow_missing=True, **arguments)
    assert len(DataDir(tmp_path / "d/test").trials("t")) == 2


@pytest.mark.parametrize(("kind", "said"), [("target", "no non-target trial"), ("nontarget", "no target trial")])
def test_a_list_of_one_class_is_refused_before_hours_of_training(recordings, noises, tmp_path, kind, said):
    prepare_own(recordings, tmp_path / "data", say=lambda _: None, **noises)
    lines = (tmp_path / "data" / "test" / "trials_main").read_text().splitlines(keepends=True)
    (tmp_path / "one.txt").write_text("".join(line for line in lines if line.endswith(f" {kind}\n")))
    with pytest.raises(UserError, match=f"trials one: {said} in it"):
        prepare_own(recordings, tmp_path / "data", trials=[tmp_path / "one.txt"], say=lambda _: None, **noises)


def test_trials_over_training_speakers_are_refused(recordings, noises, tmp_path):
    (tmp_path / "s.tsv").write_text(
        "id\tset\n" + "".join(f"spk{n:02d}\t{'test' if n > 8 else 'train'}\n" for n in range(12))
    )
    (tmp_path / "t.txt").write_text("1 spk00/s0/00001.wav spk00/s1/00001.wav\n")
    with pytest.raises(UserError, match=r"2 entries are utterances of (train|dev)"):
        prepare_own(
            recordings,
            tmp_path / "d",
            split=tmp_path / "s.tsv",
            trials=[tmp_path / "t.txt"],
            say=lambda _: None,
            **noises,
        )


def test_the_command_prints_counts_or_one_line(recordings, noises, tmp_path, capsys):
    options = ["--musan", str(noises["musan"]), "--rirs", str(noises["rirs"]), "--dev-speakers", "3"]
    assert main(["prepare-own", str(recordings), str(tmp_path / "d"), *options]) == 0
    assert "dev: 12 utterances of 3 speakers" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["prepare-own", str(recordings), str(tmp_path / "file" / "d"), *options]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_script_makes_validates_and_skips(recordings, noises, tmp_path, repository):
    for name in ("local", "utils"):
        (tmp_path / name).symlink_to(repository / name)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "LC_ALL": "C",
    }

    def call(*options):
        command = ["local/prepare_own.sh", "--corpus", str(recordings), "--musan", str(noises["musan"])]
        command += ["--rirs", str(noises["rirs"]), *options, "data"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    first = call("--nj=2")
    assert first.returncode == 0, first.stderr
    made = contents(tmp_path / "data")
    again = call()
    assert again.returncode == 0 and "up to date" in again.stdout and contents(tmp_path / "data") == made
    other = call("--seed", "5")
    assert other.returncode == 0 and "up to date" not in other.stdout and contents(tmp_path / "data") != made
    failed = call("--split", "/nowhere.tsv")
    assert failed.returncode == 1 and failed.stderr.strip().endswith("--split /nowhere.tsv: no such file")


def test_real_recordings(data_root, tmp_path):
    source = data_root / "realspeech"
    said = []
    counts = prepare_own(
        source,
        tmp_path / "d",
        split=source / "speakers.tsv",
        trials=[source / "trials.txt", source / "trials_cross.txt"],
        musan=data_root / "musan_like",
        rirs=data_root / "rirs",
        say=said.append,
    )
    assert counts["test"] == {"utterances": 1000, "speakers": 50} and counts["dev"] == {
        "utterances": 400,
        "speakers": 20,
    }
    assert counts["train"] == {"utterances": 3200, "speakers": 160}
    test, dev = DataDir(tmp_path / "d/test"), DataDir(tmp_path / "d/dev")
    assert (len(test.trials("main")), int(test.trials("cross").target.sum())) == (4500, 4500)
    assert len(dev.trials("clean")) > 5000 and len(dev.trials("cross")) > 5000
    assert not any("noisy" in session for session in DataDir(tmp_path / "d/train").utt2session.values())
    assert len(scan_corpus(source / "wav")) == 4600


def test_names_enrolled_with_several_files(recordings, noises, tmp_path):
    files = [path.relative_to(recordings) for path in sorted(recordings.glob("*/*/*.wav"))]
    first, second, other = ([path for path in files if path.parts[0] == f"spk{number:02d}"] for number in (0, 1, 2))
    names = {"anna": first[:2], "bert": second[:3]}
    rows = [("1", "anna", first[3]), ("0", "anna", other[0]), ("1", "bert", second[3]), ("0", "bert", first[3])]
    (tmp_path / "trials_x.txt").write_text("".join(f"{label} {name} {path}\n" for label, name, path in rows))
    lines = [f"{name} {' '.join(map(str, paths))}\n" for name, paths in names.items()]
    (tmp_path / "enrol_x.txt").write_text("".join(lines))
    options = {"trials": [tmp_path / "trials_x.txt"], "enrol": [tmp_path / "enrol_x.txt"], "dev_speakers": 3, **noises}
    prepare_own(recordings, tmp_path / "data", **options)
    test = DataDir(tmp_path / "data" / "test")
    assert {name: len(ids) for name, ids in test.enrolments("x").items()} == {"anna": 2, "bert": 3}
    assert set(test.utt2spk.values()) == {"spk00", "spk01", "spk02"}
    assert test.trials("x").enrol == ["anna", "anna", "bert", "bert"]
    for text, said in [
        (lines[0], "trials x: 1 of 5 entries are not in test, e.g. bert"),
        (lines[0] + lines[0], "enrol_x.txt:2: 'anna' is enrolled twice"),
        ("anna\n" + lines[1], "enrol_x.txt:1: expected NAME UTTERANCE..., found 'anna'"),
        (f"anna {first[0]} {second[0]}\n" + lines[1], "'anna' has utterances of several speakers"),
        (f"anna {first[0]} nowhere\n" + lines[1], "1 utterances are not in test, e.g. nowhere"),
    ]:
        (tmp_path / "enrol_x.txt").write_text(text)
        with pytest.raises(UserError, match=said):
            prepare_own(recordings, tmp_path / "other", **options)
    (tmp_path / "enrol_x.txt").rename(tmp_path / "enrol_y.txt")
    with pytest.raises(UserError, match="enrolment y: no trial list of that name"):
        prepare_own(recordings, tmp_path / "other", **(options | {"enrol": [tmp_path / "enrol_y.txt"]}))


def test_parts_of_files_are_the_utterances(recordings, noises, tmp_path):
    files = [path.relative_to(recordings) for path in sorted(recordings.glob("*/*/*.wav"))]
    lines = [f"{path.with_suffix('')} 0.063 0.45\n" for path in files[:-2]]
    lines += [f"{path} 0.1 0.8 the\\end\n" for path in files[:-2]]
    (tmp_path / "parts").write_text("".join(lines) + "spk00-s0-00001 0 -1\n\n")
    (tmp_path / "t.txt").write_text(
        "1 spk00-s0-00001-0000063-0000450 spk00/s1/00001-the_end\n0 spk00-s0-00001-0000000-end spk01/s0/00001-the_end\n"
    )
    options = {"trials": [tmp_path / "t.txt"], "dev_speakers": 3, **noises}
    said = []
    prepare_own(recordings, tmp_path / "d", segments=tmp_path / "parts", say=said.append, **options)
    assert f"{tmp_path / 'parts'}: 93 parts of 46 files" in said
    assert any(line.startswith("left out: 2 files that ") and "spk11/s1/00001.wav" in line for line in said)
    data = {name: DataDir(tmp_path / "d" / name) for name in ("train", "dev", "test")}
    for directory in data.values():
        directory.validate()
    test = data["test"]
    assert len(test.segments) == 17 and len(test.wav_scp) == 8
    assert test.segments["spk00-s0-00001-0000063-0000450"] == ("spk00-s0-00001", 0.063, 0.45)
    assert test.segments["spk00-s0-00001-the_end"] == ("spk00-s0-00001", 0.1, 0.5), "not clipped at the file's end"
    assert test.utt2dur["spk00-s0-00001-the_end"] == 0.4 and test.utt2dur["spk00-s0-00001-0000000-end"] == 0.5
    dev = data["dev"]
    for copy in set(dev.trials("cross").test):
        assert dev.segments[copy] == dev.segments[copy.removesuffix("-cross")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("spk00/s0/00001.wav 0.3 0.2", "parts:2: expected 0 <= start < end"),
        ("spk00/s0/00009.wav 0 0.2", "parts:2: 'spk00/s0/00009.wav' is no file"),
        ("spk00/s0/00001.wav 0", "parts:2: expected 'FILE START END"),
        ("spk00/s0/00001.wav 0 0.4", "parts:2: a second part with the id 'spk00-s0-00001-0000000-0000400'"),
    ],
)
def test_faults_of_the_list_of_parts(recordings, noises, tmp_path, line, message):
    (tmp_path / "parts").write_text(f"spk00/s0/00001.wav 0 0.4\n{line}\n")
    with pytest.raises(UserError, match=message):
        prepare_own(recordings, tmp_path / "d", segments=tmp_path / "parts", say=lambda _: None, **noises)
    assert not (tmp_path / "d").exists()


def test_parts_beyond_their_files_are_listed_and_many_refused(recordings, noises, tmp_path):
    files = [path.relative_to(recordings) for path in sorted(recordings.glob("*/*/*.wav"))]
    lines = [f"{path} 0 0.5" for path in files]
    for count in (3, 11):
        late = [f"{path} 0 1.2" for path in files[:count]]
        (tmp_path / "parts").write_text("\n".join(lines + late) + "\n")
        if count == 11:
            with pytest.raises(UserError, match="11 of 59 .*the part from 0 s to 1.2 s is not in it, it has 0.50 s"):
                prepare_own(recordings, tmp_path / "e", segments=tmp_path / "parts", say=lambda _: None, **noises)
        else:
            prepare_own(recordings, tmp_path / "d", segments=tmp_path / "parts", say=lambda _: None, **noises)
            assert len((tmp_path / "d/broken.txt").read_text().splitlines()) == 3
