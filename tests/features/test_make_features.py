"""Stage 1 as a script: what it leaves, killed and run again, independent of the number of jobs, bad audio."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir, write_data_dir, write_table
from etdnn.features.fbank import FbankOptions

PLAN = """
speed_factors: [1.1]
store_noise: true
copies:
  - name: aug
    mixture: {noise: 1, reverb+noise: 1}
"""


@pytest.fixture
def egs(tmp_path, repository) -> Path:
    """A folder with links to local and utils, conf/, and data/ as stage 0 leaves it; a space in its path."""
    folder = tmp_path / "my egs"
    rng = np.random.default_rng(2)
    (folder / "conf").mkdir(parents=True)
    (folder / "local").symlink_to(repository / "local")
    (folder / "utils").symlink_to(repository / "utils")
    (folder / "conf/augment.yaml").write_text(PLAN)
    (folder / "conf/fbank.conf").write_text("--num-mel-bins=80\n")

    def write(name: str, seconds: float) -> Path:
        path = folder / "audio" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, int(16000 * seconds)), 16000)
        return path

    for name, count in (("train", 40), ("dev", 1)):
        keys = [f"{name}{n // 4:02d}-{n:02d}" for n in range(count)]
        tables = {
            "wav.scp": {key: write(key, 0.5) for key in keys},
            "utt2spk": {key: key.split("-")[0] for key in keys},
            "utt2dur": dict.fromkeys(keys, 0.5),
        }
        write_data_dir(folder / "data" / name, tables)
    for part in ("train", "dev"):
        for kind in ("noise", "rir"):
            files = {f"{kind}{part}{i}": write(f"{kind}{part}{i}", 0.3) for i in range(3)}
            write_table(folder / f"data/noise/{part}/{kind}.scp", files)
    return folder


def environment(repository: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(repository), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}


def command(*options: str) -> list[str]:
    return ["local/make_features.sh", *options, "data", "fbank"]


def stage(egs: Path, repository: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(*options), cwd=egs, env=environment(repository), capture_output=True, text=True)


def features(egs: Path) -> dict[str, bytes]:
    reader = FeatureReader(egs / "data/train_all/feats.scp")
    return {key: reader.read(key).tobytes() for key in reader.keys}


def test_killed_stage_goes_on_and_jobs_do_not_matter(egs, repository):
    (egs / "audio/train03-13.wav").write_text("no audio")
    process = subprocess.Popen(command("--nj", "2"), cwd=egs, env=environment(repository), start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(egs.glob("fbank/*/train_copies/fbank.*.ark")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (egs / "data/train_all").exists()
    second = stage(egs, repository, "--nj", "2")
    assert second.returncode == 0, second.stderr
    assert "train has its features: 39 utterances" in second.stdout
    assert "data/train_all: 117 utterances of 20 speakers" in second.stdout
    assert "are needed" in second.stderr and "are free" in second.stderr
    for name in ("train", "train_copies", "train_all", "dev"):
        DataDir(egs / "data" / name).validate(feats=True)
        assert DataDir(egs / "data" / name).frontend["num_mel_bins"] == 80
    assert DataDir(egs / "data/train_all").utt2uniq["sp1.1-train00-00"] == "train00-00"
    noises = DataDir(egs / "data/train_noise")
    noises.validate(feats=True)
    assert noises.utt2spk == {f"noisetrain{i}": "noise" for i in range(3)}, "no rooms, none of dev's"
    assert noises.frontend == DataDir(egs / "data/train").frontend
    broken = features(egs)

    third = stage(egs, repository, "--nj", "2")
    assert third.returncode == 0 and "jobs, logs in" not in third.stdout
    made = (egs / "data/train_all/.feats.made").read_bytes()
    os.utime(egs / "audio/train00-00.wav", (1e9, 1e9))
    accepted = stage(egs, repository, "--nj", "2", "--accept-audio", "true")
    assert accepted.returncode == 0 and "jobs, logs in" not in accepted.stdout
    assert "audio of data/train has other sizes or times than when its features were made; accepted" in accepted.stdout
    third = stage(egs, repository, "--nj", "2")
    assert third.returncode == 0 and "other sizes" not in third.stdout and "jobs, logs in" not in third.stdout
    assert (egs / "data/train_all/.feats.made").read_bytes() == made, "what is accepted costs nothing later"

    shutil.rmtree(egs / "data/dev")
    fourth = stage(egs, repository, "--nj", "1", "--force", "true")
    assert fourth.returncode == 0, fourth.stderr
    assert features(egs) == broken and len(broken) == 117
    assert not list(egs.glob("fbank/*/*/fbank.2.*")), "parts of an earlier run with more jobs stay"


def test_new_audio_under_an_old_path_is_noticed(egs, repository):
    first = stage(egs, repository, "--nj", "2")
    assert first.returncode == 0, first.stderr
    before = features(egs)
    lists = {name: (egs / "data/train_all" / name).read_bytes() for name in ("feats.scp", ".feats.made")}
    path = egs / "audio/train00-02.wav"
    soundfile.write(path, np.random.default_rng(9).normal(0, 0.1, 8000), 16000)
    os.utime(path, (2e9, 2e9))
    second = stage(egs, repository, "--nj", "2")
    assert second.returncode == 0, second.stderr
    assert "features of 40 utterances of data/train in 2 jobs" in second.stdout
    assert "data/dev has its features" in second.stdout and "--accept-audio true" in second.stdout
    after = features(egs)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {key for key in before if "train00-02" in key} and len(changed) == 3
    assert (egs / "data/train_all/feats.scp").read_bytes() == lists["feats.scp"], "which does not tell"
    assert (egs / "data/train_all/.feats.made").read_bytes() != lists[".feats.made"], "by which later stages see it"
    log = next(egs.glob("fbank/*/train/log/make_fbank.2.log")).read_text()
    assert "done before with the same inputs (20 utterances)" in log, "only the part that holds it is made again"


def test_voiced_frames_only(egs, repository):
    """With --vad true: another front end and folder, silence gone from every set but the noises, an utterance named."""
    rng = np.random.default_rng(5)
    for index, level in enumerate((0.1, 0.0001)):
        wave = np.concatenate([rng.normal(0, 0.0001, 8000), rng.normal(0, level, 8000)])
        soundfile.write(egs / f"audio/train00-0{index}.wav", wave, 16000)
    (egs / "conf/fbank.conf").write_text("--num-mel-bins=80\n--vad-energy-threshold=6 # of VAD\n")
    result = stage(egs, repository, "--nj", "1", "--vad", "true")
    assert result.returncode == 0, result.stderr
    train = DataDir(egs / "data/train")
    assert train.frontend["vad"] is True and train.frontend["vad_energy_threshold"] == 6
    key = train.frontend["key"]
    assert key != FbankOptions().key and (egs / "fbank" / key).is_dir()
    combined = DataDir(egs / "data/train_all")
    frames, recipes = combined.utt2num_frames, combined.utt2aug
    copies = [name for name, original in combined.utt2uniq.items() if original == "train00-00" != name]
    assert sorted("noise" in recipes[name] for name in copies) == [False, True]
    for name in ("train00-00", *copies):
        half = 50 / 1.1 if "speed" in recipes.get(name, "") else 50
        assert half - 2 <= frames[name] <= half + 6, "the second half, also of a copy with noise in the first"
    assert frames["train00-01"] == 100 and (egs / "data/train/no_speech").read_text() == "train00-01\n"
    assert "data/train: VAD kept " in result.stdout
    assert "; 1 utterances without speech are left whole, listed in data/train/no_speech" in result.stdout
    noises = DataDir(egs / "data/train_noise")
    assert set(noises.utt2num_frames.values()) == {30} and noises.frontend == train.frontend
    plain = stage(egs, repository, "--nj", "1", "--only", "train")
    assert plain.returncode == 0 and "features of 40 utterances of data/train in 1 jobs" in plain.stdout
    train = DataDir(egs / "data/train")
    assert train.frontend["key"] == FbankOptions().key and not (egs / "data/train/no_speech").exists()
    assert train.utt2num_frames["train00-00"] == 100


def test_too_much_bad_audio_stops_with_one_line(egs, repository):
    for number in range(12, 16):
        (egs / f"audio/train03-{number}.wav").write_text("no audio")
    result = stage(egs, repository, "--nj", "1")
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if "error" in line]
    assert len(errors) == 1 and "4 of 40 utterances have no features" in errors[0]
    assert not (egs / "data/train_all").exists()


@pytest.mark.parametrize(
    ("options", "spoil", "message"),
    [
        (["--fbank-conf", "x"], None, "unknown option --fbank-conf (did you mean --fbank-config?)"),
        (["--fbank-config", "conf/none.conf"], None, "conf/none.conf: no such configuration"),
        (["--compression", "zip"], None, "--compression zip is not one of fm, cm, cm2, cm3"),
        ([], "data/train/wav.scp", "data/train/wav.scp is missing; stage 0 makes it"),
        ([], "data/noise/train/rir.scp", "no rir.scp in data/noise/train: 'reverb+noise' is left out"),
    ],
)
def test_wrong_options_and_missing_inputs(egs, repository, options, spoil, message):
    if spoil:
        (egs / spoil).unlink()
    if "left out" in message:  # goes on: stop it where copies are made
        options = [*options, "--fbank-config", "data/train/utt2spk"]
    result = stage(egs, repository, *options)
    assert result.returncode != 0 and message in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not list(egs.glob("data/*/feats.scp"))


def test_folder_of_another_data_directory_is_refused(egs, repository):
    folder = next(iter(_keys(egs, repository)))
    (egs / "fbank" / folder / "train").mkdir(parents=True)
    (egs / "fbank" / folder / "train/owner").write_text("/somebody/else/data/train\n")
    result = stage(egs, repository)
    assert result.returncode == 1
    assert "holds features of /somebody/else/data/train" in result.stderr


def _keys(egs: Path, repository: Path) -> list[str]:
    words = [
        sys.executable,
        "-m",
        "etdnn",
        "feature-disk",
        "--config",
        "conf/fbank.conf",
        "--featdir",
        "fbank",
        "data/train",
    ]
    return subprocess.run(words, cwd=egs, env=environment(repository), capture_output=True, text=True).stdout.split()
