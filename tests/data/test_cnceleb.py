"""CN-Celeb's preparation on a look-alike of the releases, made of real recordings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.recordings import write_noises

from etdnn.cli import main
from etdnn.data.audio import read_audio
from etdnn.data.cnceleb import prepare_cnceleb
from etdnn.data.datadir import DataDir
from etdnn.errors import UserError

EVAL = ("id00800", "id00801", "id00802")
TESTS = ("singing-01-005", "vlog-02-001")
ENROLLED = ("interview-01-001", "interview-01-002", "speech-03-007")


@pytest.fixture(scope="module")
def waves(data_root):
    """One second each of utterances of eight real speakers."""
    folders = sorted((data_root / "realspeech" / "wav").iterdir())[:8]
    files = [sorted(path for path in folder.rglob("*") if path.is_file())[:8] for folder in folders]
    return [[read_audio(str(path))[:16000] / 32768 for path in paths] for paths in files]


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    musan, rirs = write_noises(tmp_path_factory.mktemp("noises"))
    return {"musan": musan, "rirs": rirs}


@pytest.fixture(scope="module")
def original(waves, tmp_path_factory):
    """Both archives extracted into one folder: names, folders and list forms of OpenSLR 82."""
    root = tmp_path_factory.mktemp("openslr82")
    one, two = root / "CN-Celeb_flac", root / "CN-Celeb2_flac"
    training = {one: [f"id{number:05d}" for number in range(8)], two: [f"id1{number:04d}" for number in range(4)]}
    for release, speakers in training.items():
        for number, speaker in enumerate(speakers):
            for take, name in enumerate(("drama-01-001", "drama-01-002", "interview-02-001", "play-01-001")):
                write(release / "data" / speaker / f"{name}.flac", waves[number % 8][take])
    (one / "dev").mkdir()
    (one / "dev" / "dev.lst").write_text("".join(f"{speaker}\n" for speaker in training[one]))
    (two / "spk.lst").write_text("".join(f"{speaker}\n" for speaker in training[two]))
    lists = one / "eval" / "lists"
    lists.mkdir(parents=True)
    for number, speaker in enumerate(EVAL):
        mine = waves[5 + number]
        for take, name in enumerate(ENROLLED):
            write(one / "data" / speaker / f"{name}.flac", mine[take])
        write(one / "eval" / "enroll" / f"{speaker}-enroll.flac", np.concatenate(mine[:3]))
        for take, name in enumerate(TESTS):
            write(one / "eval" / "test" / f"{speaker}-{name}.flac", mine[4 + take])
    tests = [f"test/{speaker}-{name}.wav" for speaker in EVAL for name in TESTS]
    rows = [f"{speaker}-enroll {test} {int(speaker in test)}\n" for speaker in EVAL for test in tests]
    (lists / "trials.lst").write_text("".join(rows))
    (lists / "test.lst").write_text("".join(f"{test}\n" for test in tests))
    (lists / "enroll.lst").write_text("".join(f"{s}-enroll enroll/{s}-enroll.wav\n" for s in EVAL))
    maps = [f"{s}-enroll " + " ".join(f"{s}/{name}.wav" for name in ENROLLED) + "\n" for s in EVAL]
    (lists / "enroll.map").write_text("".join(maps))
    return root


def write(path, wave):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16000)


@pytest.fixture
def release(original, tmp_path):
    return shutil.copytree(original, tmp_path / "openslr82")


def prepare(release, out, noises, **options):
    said = []
    options = {"cnceleb": release, "cnceleb2": release, "say": said.append, **noises} | options
    return prepare_cnceleb(out, **options), said


def test_sets_trials_and_enrolment_from_several_files(original, noises, waves, tmp_path):
    counts, said = prepare(original, tmp_path / "data", noises)
    assert counts == {
        "train": {"utterances": 36, "speakers": 9},
        "dev": {"utterances": 12, "speakers": 3},
        "test": {"utterances": 15, "speakers": 3},
    }
    sets = {name: DataDir(tmp_path / "data" / name) for name in counts}
    for data in sets.values():
        data.validate()
    test, trials = sets["test"], sets["test"].trials("main")
    enrolments = test.enrolments("main")
    assert (len(trials), int(trials.target.sum())) == (18, 6)
    assert enrolments["id00800-enroll"] == [f"id00800-enrol-{name}" for name in ENROLLED]
    assert set(trials.enrol) == set(enrolments) and set(trials.test) <= test.utt2spk.keys()
    for enrol, entry, target in zip(trials.enrol, trials.test, trials.target, strict=True):
        speakers = {test.utt2spk[key] for key in enrolments[enrol]}
        assert speakers == {enrol.removesuffix("-enroll")} and (test.utt2spk[entry] in speakers) == target
    heard = read_audio(test.wav_scp["id00801-enrol-speech-03-007"]) / 32768
    assert np.abs(heard - waves[6][2]).max() < 1e-4
    assert test.utt2session["id00800-singing-01-005"] == "id00800-singing-01"
    assert len({*sets["train"].utt2spk.values()} & {*sets["dev"].utt2spk.values()}) == 0
    assert any("test/enrol_main: 3 speakers enrolled with 9 files" in line for line in said)


def test_enrolment_from_the_concatenated_file(original, noises, waves, tmp_path):
    counts, _ = prepare(original, tmp_path / "data", noises, enrolment="concatenated", cnceleb2=None)
    assert counts["test"]["utterances"] == 9 and counts["train"]["speakers"] + counts["dev"]["speakers"] == 8
    test = DataDir(tmp_path / "data" / "test")
    (key,) = test.enrolments("main")["id00802-enroll"]
    assert test.utt2dur[key] == 3.0
    with pytest.raises(UserError, match="neither 'files' nor 'concatenated'"):
        prepare(original, tmp_path / "other", noises, enrolment="first")


def test_wav_and_the_archives_own_folder(release, noises, tmp_path):
    """Releases converted to wav, as several recipes do, named by their own folders."""
    for path in release.rglob("*.flac"):
        soundfile.write(path.with_suffix(".wav"), *soundfile.read(path))
        path.unlink()
    folders = {"cnceleb": release / "CN-Celeb_flac", "cnceleb2": release / "CN-Celeb2_flac"}
    counts, _ = prepare(release, tmp_path / "data", noises, **folders)
    assert counts["test"]["utterances"] == 15


def test_half_an_archive_is_told_and_passed_over_on_demand(release, noises, tmp_path):
    one = release / "CN-Celeb_flac"
    shutil.rmtree(one / "data" / "id00003")
    with pytest.raises(UserError, match=r"dev\.lst: 1 of 8 entries are not on disk, e\.g\. id00003"):
        prepare(release, tmp_path / "data", noises)
    counts, said = prepare(release, tmp_path / "data", noises, allow_partial=True)
    assert counts["train"]["speakers"] + counts["dev"]["speakers"] == 11
    (one / "eval" / "test" / "id00801-vlog-02-001.flac").unlink()
    shutil.rmtree(one / "data" / "id00800")
    with pytest.raises(UserError, match=r"dev\.lst: 1 of 8"):
        prepare(release, tmp_path / "again", noises)
    (one / "dev" / "dev.lst").write_text("".join(f"id{number:05d}\n" for number in (0, 1, 2, 4, 5, 6, 7)))
    with pytest.raises(UserError, match=r"eval: 4 of 9 entries are not on disk"):
        prepare(release, tmp_path / "again", noises)
    assert not (tmp_path / "again" / "test").exists()
    counts, said = prepare(release, tmp_path / "again", noises, allow_partial=True)
    assert "trials main: 8 of 18 have no audio, dropped" in said
    test = DataDir(tmp_path / "again" / "test")
    test.validate()
    assert list(test.enrolments("main")) == ["id00801-enroll", "id00802-enroll"] and len(test.trials("main")) == 10


def spoil_trials(one):
    (one / "eval" / "lists" / "trials.lst").write_text("id00800-enroll test/id00800-singing-01-005.wav target\n")


def spoil_map(one):
    (one / "eval" / "lists" / "enroll.map").write_text("id00800-enroll id00800/interview-01-001.wav\n")


def an_enrolled_speaker_to_train_on(one):
    with (one / "dev" / "dev.lst").open("a") as handle:
        handle.write("id00801\n")


def shared_speaker(one):
    shutil.copytree(one / "data" / "id00001", one.parent / "CN-Celeb2_flac" / "data" / "id00001")
    (one.parent / "CN-Celeb2_flac" / "spk.lst").unlink()


def twice(one):
    soundfile.write(one / "data" / "id00001" / "drama-01-001.wav", np.zeros(16000), 16000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil_trials, r"trials\.lst:1: expected 'idNNNNN-enroll test/FILE 1\|0'"),
        (spoil_map, r"enroll\.map: no line for 2 names of trials\.lst, e\.g\. id00801-enroll"),
        (an_enrolled_speaker_to_train_on, "1 speakers are in train and in test, e.g. id00801"),
        (shared_speaker, "1 speakers are in CN-Celeb and in CN-Celeb2, e.g. id00001"),
        (twice, "both become utterance id 'id00001-drama-01-001'"),
        (lambda one: shutil.rmtree(one / "data"), "no CN-Celeb in it"),
        (lambda one: (one / "dev" / "dev.lst").unlink(), r"dev\.lst: no such file"),
    ],
)
def test_faults_are_named(release, noises, tmp_path, change, message):
    change(release / "CN-Celeb_flac")
    with pytest.raises(UserError, match=message):
        prepare(release, tmp_path / "data", noises)


def test_windows_line_ends_are_accepted(release, noises, tmp_path):
    for path in (release / "CN-Celeb_flac").rglob("*.lst"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert prepare(release, tmp_path / "data", noises)[0]["test"]["speakers"] == 3


def test_the_command_ends_with_one_line(tmp_path, capsys):
    assert main(["prepare-cnceleb", "--cnceleb", str(tmp_path / "none"), str(tmp_path / "data")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_stage_0_of_the_egs(original, noises, tmp_path, repository):
    """The script in a copy of the egs folder: db.sh, validation of the sets, a second call does nothing."""
    egs = tmp_path / "egs"
    shutil.copytree(repository / "egs" / "cnceleb", egs, symlinks=True, ignore=lambda *_: ["data", "exp", "conf"])
    for name in ("local", "utils"):
        (egs / name).unlink()
        (egs / name).symlink_to(repository / name)
    folders = {"cnceleb": original, "cnceleb2": original, **noises}
    (egs / "db.sh").write_text("".join(f"{name}='{path}'\n" for name, path in folders.items()))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "LC_ALL": "C",
    }

    def call(*options):
        command = ["local/prepare_cnceleb.sh", *options, "data"]
        return subprocess.run(command, cwd=egs, env=environment, capture_output=True, text=True)

    made = call("--dev-speakers", "4")
    assert made.returncode == 0 and "4 dev speakers" in made.stdout, made.stderr
    assert made.stderr.count(": valid; ") == 3 and "trials_main" in made.stderr and "enrol_main" in made.stderr
    assert "up to date" in call("--dev-speakers=4").stdout
    for path in (repository / "egs" / "cnceleb" / "conf").iterdir():
        assert path.resolve().is_file(), path


def test_configurations_are_those_of_voxceleb(repository):
    conf = repository / "egs" / "cnceleb" / "conf"
    assert all(path.readlink() == Path("../../voxceleb/conf", path.name) for path in conf.iterdir())
    assert (conf / "train.yaml").is_file()
