"""Kaldi's own scripts on our data directories, and Kaldi's run.pl in the place of ours; needs $KALDI_ROOT."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.recordings import write_noises, write_recordings

from etdnn.data.own import prepare_own

NEEDED = ("validate_data_dir.sh", "fix_data_dir.sh", "run.pl", "spk2utt_to_utt2spk.pl")
PLAN = "speed_factors: [0.9]\ncopies:\n  - {name: noise, mixture: {noise: 1}}\n  - {name: room, mixture: {reverb: 1}}\n"


@pytest.fixture(scope="module")
def kaldi() -> Path:
    """Kaldi's egs/wsj/s5, from where its scripts are called."""
    root = os.environ.get("KALDI_ROOT")
    if not root:
        pytest.skip(
            "KALDI_ROOT is not set: Kaldi's own validate_data_dir.sh, fix_data_dir.sh and run.pl were not tried"
        )
    recipe = Path(root) / "egs" / "wsj" / "s5"
    for name in NEEDED:
        assert (recipe / "utils" / name).is_file(), f"KALDI_ROOT={root} has no egs/wsj/s5/utils/{name}"
    return recipe


@pytest.fixture(scope="module")
def egs(kaldi, tmp_path_factory, repository) -> Path:
    """An egs folder whose data went through stages 0 and 1, the jobs of the latter run by Kaldi's run.pl."""
    root = tmp_path_factory.mktemp("kaldi")
    egs = root / "egs"
    (egs / "conf").mkdir(parents=True)
    for name in ("local", "utils"):
        (egs / name).symlink_to(repository / name)
    (egs / "conf" / "augment.yaml").write_text(PLAN)
    (egs / "conf" / "fbank.conf").write_text((repository / "egs/own/conf/fbank.conf").read_text())
    write_recordings(root / "corpus", speakers=10)
    musan, rirs = write_noises(root)
    prepare_own(
        root / "corpus", egs / "data", musan=musan, rirs=rirs, dev_speakers=3, test_speakers=3, say=lambda line: None
    )
    done = make_features(egs, kaldi, repository)
    assert done.returncode == 0, done.stderr
    return egs


def make_features(egs, kaldi, repository):
    """Call local/make_features.sh with Kaldi's run.pl."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(repository),
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C",
    }
    runner = f"{kaldi}/utils/run.pl --max-jobs-run 2 --mem 1G"
    command = ["local/make_features.sh", "--cmd", runner, "--nj", "2", "data", "fbank"]
    return subprocess.run(command, cwd=egs, env=environment, capture_output=True, text=True)


def call(kaldi, script, *words):
    """Call one of Kaldi's scripts from its own recipe folder."""
    return subprocess.run([f"utils/{script}", *map(str, words)], cwd=kaldi, capture_output=True, text=True)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_its_runner_leaves_its_logs(egs):
    logs = sorted(egs.glob("fbank/*/train_copies/log/make_fbank.*.log"))
    assert [log.name for log in logs] == ["make_fbank.1.log", "make_fbank.2.log"]
    for log in logs:
        text = log.read_text()
        assert text.startswith("# python3 -m etdnn make-fbank ") and "# Ended (code 0)" in text


@pytest.mark.parametrize("name", ["train", "train_copies", "train_all", "dev", "test"])
def test_its_validator_accepts(egs, kaldi, name):
    folder = egs / "data" / name
    if name in ("train_copies", "train_all", "dev"):
        assert (folder / "utt2uniq").is_file(), "the check that every utterance is in it would be no check"
    done = call(kaldi, "validate_data_dir.sh", "--no-text", folder)
    assert done.returncode == 0 and "Successfully validated" in done.stdout, done.stdout + done.stderr


def test_its_fix_finds_nothing_to_fix(egs, kaldi):
    folder = egs / "data" / "train_all"
    before = contents(folder)
    done = call(kaldi, "fix_data_dir.sh", folder)
    assert done.returncode == 0 and f"kept all {len(before['utt2spk'].splitlines())} utterances" in done.stdout
    assert contents(folder) == before


def test_its_validator_and_ours_refuse_the_same(egs, kaldi, repository, tmp_path):
    """The comparison has two sides: an incomplete utt2uniq, an utterance out of order, a speaker too many."""
    for number, (name, spoil) in enumerate(
        [
            ("utt2uniq", lambda lines: lines[1:]),
            ("wav.scp", lambda lines: [lines[1], lines[0], *lines[2:]]),
            ("spk2utt", lambda lines: [*lines, "zz zz-1\n"]),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file, content in contents(egs / "data" / "train_copies").items():
            (folder / file).write_bytes(content)
        (folder / name).write_text("".join(spoil((folder / name).read_text().splitlines(keepends=True))))
        assert call(kaldi, "validate_data_dir.sh", "--no-text", folder).returncode != 0, name
        ours = subprocess.run([repository / "utils/validate_data_dir.sh", "--no-text", folder], capture_output=True)
        assert ours.returncode != 0, name


def test_a_failed_job_under_its_runner_is_named(egs, kaldi, repository):
    """The last test: a folder stands where one job wants to write its ark."""
    ark = next(egs.glob("fbank/*/test/fbank.1.ark"))
    ark.unlink()
    (ark / "in the way").mkdir(parents=True)
    (egs / "data" / "test" / "feats.scp").unlink()
    done = make_features(egs, kaldi, repository)
    assert done.returncode != 0
    assert "run.pl: 1 / 2 failed, log is in" in done.stderr
    assert "make_features.sh: error: features of data/test: a job failed" in done.stderr
