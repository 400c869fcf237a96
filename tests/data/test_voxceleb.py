import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.m4a import box, install_ffmpeg, m4a_bytes
from helpers.recordings import tone, write_noises
from helpers.voxceleb import SESSIONS, write_lists, write_release

from etdnn.cli import main
from etdnn.data import voxceleb_release
from etdnn.data.audio import BadAudio, audio_info, read_audio
from etdnn.data.datadir import DataDir
from etdnn.data.voxceleb import prepare_voxceleb
from etdnn.data.voxceleb_release import count_deviation
from etdnn.errors import UserError


@pytest.fixture(scope="module")
def waves(request):
    """Utterances of some real speakers, where the recordings are there; [] elsewhere (tones are used)."""
    try:
        root = request.getfixturevalue("data_root") / "realspeech" / "wav"
    except pytest.skip.Exception:
        return []
    speakers = [sorted((root / name / "so762").iterdir()) for name in ("id30001", "id30006", "id30003", "id30005")]
    return [[read_audio(str(path))[:16000] / 32768 for path in files[:4]] for files in speakers]


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    musan, rirs = write_noises(tmp_path_factory.mktemp("noises"))
    return {"musan": musan, "rirs": rirs}


@pytest.fixture
def releases(tmp_path, waves):
    """Look-alikes of both releases in the plain wav layout, VoxCeleb2 with its test part."""
    write_release(tmp_path / "vox1" / "wav", first=10270, waves=waves)
    write_release(tmp_path / "vox2" / "dev" / "wav", first=12, speakers=6, waves=waves)
    write_release(tmp_path / "vox2" / "test" / "wav", first=500, waves=waves)
    write_lists(tmp_path / "lists", tmp_path / "vox1" / "wav", ends="\r\n")
    return {"voxceleb1": tmp_path / "vox1", "voxceleb2": tmp_path / "vox2", "trials_dir": tmp_path / "lists"}


@pytest.fixture
def prepare(tmp_path, noises):
    def call(**options):
        said = []
        options = {"allow_partial": True, "say": said.append, **noises} | options
        counts = prepare_voxceleb(tmp_path / "data", **options)
        return counts, said

    return call


def test_the_published_experiment_on_a_look_alike(releases, prepare, tmp_path):
    (tmp_path / "vox2" / "vox2_meta.csv").write_text(
        "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \n"
        + "".join(f"id{n:05d} ,n{n} ,{'mf'[n % 2]} ,test \n" for n in range(520))
    )
    counts, said = prepare(**releases)
    assert counts == {
        "train": {"utterances": 24, "speakers": 6},
        "dev": {"utterances": 16, "speakers": 4},
        "test": {"utterances": 16, "speakers": 4},
    }
    train, dev, test = (DataDir(tmp_path / "data" / name) for name in ("train", "dev", "test"))
    for data in (train, dev, test):
        data.validate()
    assert test.trial_names() == ["vox1_E_cleaned", "vox1_H_cleaned", "vox1_O_cleaned"]
    assert len(test.trials("vox1_O_cleaned")) == 16 * 15 // 2
    assert (
        "id00012--5wTgD_fYl0-00001" in train.utt2spk and train.utt2session["id00012--5wTgD_fYl0-00001"] == SESSIONS[0]
    )
    clean = dev.trials("clean")
    for enrol, other, target in zip(clean.enrol, clean.test, clean.target, strict=True):
        assert not target or dev.utt2session[enrol] != dev.utt2session[other]
        assert dev.spk2gender[dev.utt2spk[enrol]] == dev.spk2gender[dev.utt2spk[other]]
    assert sum(line.startswith("deviation: ") for line in said) == 6
    assert "training has 6 classes (speakers)" in said
    rooms = (tmp_path / "data/noise/train/rir.scp").read_text()
    assert "smallroom" in rooms and "mediumroom" in rooms and "largeroom" not in rooms


def test_deviations_from_the_releases_are_named_and_refused(releases, prepare):
    with pytest.raises(
        UserError, match=r"6 deviations .*VoxCeleb1 all: 16 utterances of 4 speakers, the release has 153516"
    ):
        prepare(allow_partial=False, **releases)


def test_full_counts_are_no_deviation(releases, prepare, monkeypatch):
    expected = {("VoxCeleb1", "all"): (16, 4), ("VoxCeleb2", "dev"): (24, 6), ("VoxCeleb2", "test"): (16, 4)}
    monkeypatch.setattr(voxceleb_release, "EXPECTED", expected)
    known = tuple(voxceleb_release.TrialList(known.name, known.files, 120, 16) for known in voxceleb_release.CLEANED)
    monkeypatch.setattr("etdnn.data.voxceleb.CLEANED", known)
    _, said = prepare(allow_partial=False, **releases)
    assert not any("deviation" in line for line in said)
    assert count_deviation("VoxCeleb1", "all", []).endswith("the release has 16 of 4")


def test_a_speaker_in_two_parts_or_in_train_and_test_is_refused(releases, prepare, tmp_path):
    twice = tmp_path / "vox2" / "test" / "wav" / "id00012"
    shutil.copytree(tmp_path / "vox2" / "dev" / "wav" / "id00012", twice)
    with pytest.raises(UserError, match="speaker id00012 is in the dev and in the test part"):
        prepare(**releases)
    shutil.rmtree(twice)
    shutil.copytree(tmp_path / "vox1" / "wav" / "id10270", tmp_path / "vox2" / "dev" / "wav" / "id10270")
    with pytest.raises(UserError, match="1 speakers are in train and in test, e.g. id10270"):
        prepare(**releases)


def test_lists_of_another_release_are_refused(releases, prepare, tmp_path):
    (tmp_path / "lists" / "veri_test2.txt").write_text("1 Eartha_Kitt/x/1.wav Eartha_Kitt/x/2.wav\n")
    for name in ("list_test_all2.txt", "list_test_hard2.txt"):
        (tmp_path / "lists" / name).unlink()
    with pytest.raises(UserError, match="none of the 2 files of the trial lists is in VoxCeleb1"):
        prepare(**releases)
    (tmp_path / "lists" / "veri_test2.txt").unlink()
    with pytest.raises(UserError, match="none of the cleaned lists in it .looked for veri_test2.txt"):
        prepare(**releases)


def test_missing_test_files_are_dropped_with_allow_partial_only(releases, prepare, tmp_path):
    shutil.rmtree(tmp_path / "vox1" / "wav" / "id10270")
    counts, said = prepare(**releases)
    assert counts["test"] == {"utterances": 12, "speakers": 3}
    assert any("4 of 16 entries are not in test" in line and "54 trials dropped" in line for line in said)


def test_without_a_test_part_dev_speakers_are_cut_from_train(releases, prepare, tmp_path):
    shutil.rmtree(tmp_path / "vox2" / "test")
    counts, said = prepare(dev_speakers=2, **releases)
    assert counts["train"]["speakers"] == 4 and counts["dev"]["speakers"] == 2
    assert any("2 dev speakers are cut from training, 4 left" in line for line in said)


def test_voxceleb1_alone_trains_on_what_vox1_o_leaves(prepare, tmp_path):
    write_release(tmp_path / "vox1" / "wav", first=10270)
    write_lists(tmp_path / "vox1", tmp_path / "vox1" / "wav")
    with pytest.raises(UserError, match="give --voxceleb2, or Vox1-O alone"):
        prepare(voxceleb1=tmp_path / "vox1")
    write_release(tmp_path / "more", first=10001, speakers=5)
    for folder in (tmp_path / "more").iterdir():
        folder.rename(tmp_path / "vox1" / "wav" / folder.name)
    counts, _ = prepare(voxceleb1=tmp_path / "vox1", dev_speakers=2)
    assert [counts[name]["speakers"] for name in ("train", "dev", "test")] == [3, 2, 4]
    assert DataDir(tmp_path / "data/test").trial_names() == ["vox1_O_cleaned"]


@pytest.fixture
def m4a_releases(tmp_path, releases):
    """The same with VoxCeleb2 as it is distributed: m4a."""
    shutil.rmtree(tmp_path / "vox2")
    write_release(tmp_path / "vox2" / "dev" / "aac", first=12, speakers=6, suffix=".m4a")
    write_release(tmp_path / "vox2" / "test" / "aac", first=500, suffix=".m4a")
    return releases


def test_m4a_is_decoded_once_and_resumed(m4a_releases, prepare, tmp_path, monkeypatch):
    install_ffmpeg(tmp_path / "bin", monkeypatch)
    corrupt = tmp_path / "vox2/dev/aac/id00013" / SESSIONS[0] / "00001.m4a"
    corrupt.write_bytes(m4a_bytes(tone(1, 1)).replace(b"RIFF", b"????"))
    counts, said = prepare(jobs=2, **m4a_releases)
    assert counts["train"] == {"utterances": 23, "speakers": 6}
    assert any(line.startswith(f"skipped {corrupt}: ffmpeg: ") for line in said)
    train = DataDir(tmp_path / "data" / "train")
    expected = np.round(tone(12, 0) * 32768)
    assert np.abs(read_audio(train.wav_scp[f"id00012-{SESSIONS[0]}-00001"]) - expected).max() <= 1
    assert set(train.utt2dur.values()) == {0.5}
    _, said = prepare(**m4a_releases)
    assert any(line.startswith("decoding 1 m4a files") and line.endswith("23 are there") for line in said)


def test_a_disc_without_room_is_found_before_most_is_decoded(m4a_releases, prepare, tmp_path, monkeypatch):
    install_ffmpeg(tmp_path / "bin", monkeypatch)
    monkeypatch.setattr("etdnn.data.decode.SAMPLE", 3)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"decoding needs \d+ KB more, 1 KB are free .--decoded on another disc"):
        prepare(**m4a_releases)
    assert 0 < len(list((tmp_path / "data" / "decoded").rglob("*.flac"))) <= 4
    assert not (tmp_path / "data" / "train").exists()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg on PATH (apt install ffmpeg)")
def test_one_corrupt_m4a_among_200_with_the_real_ffmpeg(m4a_releases, prepare, tmp_path, data_root):
    shutil.rmtree(tmp_path / "vox2")
    names = []
    for number, speaker in enumerate(("id30001", "id30003", "id30005", "id30006")):
        source = next((data_root / "realspeech" / "wav" / speaker / "so762").iterdir())
        for part, first, count in (("dev", 12, 50), ("test", 500, 4)):
            folder = tmp_path / "vox2" / part / "aac" / f"id{first + number:05d}"
            names += [folder / SESSIONS[index % 2] / f"{index + 1:05d}.m4a" for index in range(count)]
            for name in names[-count:]:
                name.parent.mkdir(parents=True, exist_ok=True)
                if name == names[0] or name == names[-count]:
                    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", source, "-c:a", "aac", name]
                    subprocess.run(command, check=True)
                else:
                    shutil.copy(names[-count], name)
    corrupt = tmp_path / "vox2/dev/aac/id00013" / SESSIONS[0] / "00003.m4a"
    corrupt.write_bytes(corrupt.read_bytes()[:5000])
    counts, said = prepare(jobs=2, **m4a_releases)
    assert counts["train"] == {"utterances": 199, "speakers": 4}
    assert sum(line.startswith(f"skipped {corrupt}: ffmpeg: ") for line in said) == 1
    train = DataDir(tmp_path / "data" / "train")
    entry = train.wav_scp[f"id00012-{SESSIONS[0]}-00001"]
    assert abs(audio_info(entry).seconds - audio_info(str(names[0])).seconds) < 0.1


def test_m4a_as_pipes(m4a_releases, prepare, tmp_path, monkeypatch):
    install_ffmpeg(tmp_path / "bin", monkeypatch)
    prepare(m4a="pipe", **m4a_releases)
    train = DataDir(tmp_path / "data" / "train")
    train.validate()
    entry = train.wav_scp[f"id00012-{SESSIONS[0]}-00001"]
    assert entry.startswith("ffmpeg ") and entry.endswith("|")
    assert np.abs(read_audio(entry, allow_pipes=True) - np.round(tone(12, 0) * 32768)).max() <= 1
    assert set(train.utt2dur.values()) == {0.5}, "the header's length counts the encoder's first samples"


def test_ffmpeg_is_tried_before_anything_starts(m4a_releases, prepare, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install package 'ffmpeg'"):
        prepare(**m4a_releases)
    install_ffmpeg(tmp_path / "bin", monkeypatch, version="2.8")
    with pytest.raises(UserError, match="version 2 is too old"):
        prepare(**m4a_releases)
    assert not (tmp_path / "data" / "train").exists()


def test_lengths_of_m4a_come_from_the_header(tmp_path):
    path = tmp_path / "a.m4a"
    path.write_bytes(m4a_bytes(tone(1, 1, 0.25)))
    info = audio_info(path)
    assert (info.seconds, info.rate, info.channels) == (0.25, 16000, 1)
    whole = path.read_bytes()
    for damaged in (whole[:100], box(b"moov", b"") + b"x" * 20, struct.pack(">I4s", 4, b"moov"), b"", whole[:-5000]):
        path.write_bytes(damaged)
        with pytest.raises(BadAudio):
            audio_info(path)


def test_the_command_ends_with_one_line(releases, tmp_path, capsys):
    options = [word for name, path in releases.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    assert main(["prepare-voxceleb", *options, str(tmp_path / "d")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["prepare-voxceleb", "--voxceleb1", str(tmp_path), str(tmp_path / "d")]) == 1


def test_the_script_reads_db_sh_validates_and_skips(releases, noises, tmp_path, repository):
    egs = tmp_path / "egs"
    egs.mkdir()
    for name in ("local", "utils"):
        (egs / name).symlink_to(repository / name)
    settings = releases | noises
    (egs / "db.sh").write_text("".join(f"{name}='{path}'\n" for name, path in settings.items()))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "LC_ALL": "C",
    }

    def call(*options):
        command = ["local/prepare_voxceleb.sh", *options, "data"]
        return subprocess.run(command, cwd=egs, env=environment, capture_output=True, text=True)

    refused = call()
    assert refused.returncode == 1 and "--allow-partial goes on" in refused.stderr and not (egs / "data/train").exists()
    made = call("--allow-partial", "true")
    assert made.returncode == 0 and "test/trials_vox1_O_cleaned: " in made.stdout, made.stderr
    assert "up to date" in call("--allow-partial=true").stdout
    (tmp_path / "vox1" / "wav" / "id10270" / SESSIONS[0] / "00009.wav").write_bytes(b"")
    assert "up to date" not in call("--allow-partial=true").stdout, "a new file goes unnoticed"
