"""utils/compute_vad.sh: vad.scp of a data directory, whatever the number of jobs."""

import os
import shutil
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from helpers.data_dirs import REPOSITORY, run_script

from etdnn.data.datadir import write_data_dir


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng, keys = np.random.default_rng(0), [f"s{number // 2}-{number}" for number in range(5)]
    for number, key in enumerate(keys):
        wave = rng.normal(0, 0.1, 8000 + 1600 * number)
        wave[:4000] *= 0.001
        soundfile.write(tmp_path / f"{key}.wav", wave if number != 3 else 0.0001 * wave, 16000)
    tables = {"wav.scp": {key: tmp_path / f"{key}.wav" for key in keys}, "utt2spk": {key: key[:2] for key in keys}}
    write_data_dir(tmp_path / "set", tables)
    return tmp_path / "set"


def call(*words: object, cwd: Path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return run_script("compute_vad.sh", *words, cwd=cwd, PATH=path, PYTHONPATH=str(REPOSITORY))


def test_vectors_do_not_depend_on_the_jobs(data):
    runner = REPOSITORY / "utils/run.pl"
    one = call("--nj", "1", "--cmd", runner, "set", cwd=data.parent)
    assert one.returncode == 0, one.stderr
    assert one.stdout == "compute_vad.sh: set/vad.scp: 5 utterances\n"
    assert "no speech: s1-3" in one.stderr
    before = dict(kaldiio.load_scp_sequential(str(data / "vad.scp")))
    assert list(before) == ["s0-0", "s0-1", "s1-2", "s1-3", "s2-4"]
    assert [len(vector) for vector in before.values()] == [50, 60, 70, 80, 90]
    assert before["s0-0"][:22].sum() == 0 and before["s0-0"][28:].all() and not before["s1-3"].any()
    shutil.rmtree(data / "vad")
    three = call("--nj", "3", "--cmd", runner, "set", "elsewhere", cwd=data.parent)
    assert three.returncode == 0, three.stderr
    after = dict(kaldiio.load_scp_sequential(str(data / "vad.scp")))
    assert list(after) == list(before) and all(np.array_equal(after[key], before[key]) for key in before)
    assert not list(data.glob("split*")) and len(list((data.parent / "elsewhere").glob("vad_set.*.ark"))) == 3


def test_mistakes_are_one_line(data):
    (data.parent / "conf").write_text("--vad-frames-context=-1\n")
    kept = call("--cmd", REPOSITORY / "utils/run.pl", "set", cwd=data.parent)
    assert kept.returncode == 0
    before = (data / "vad.scp").read_bytes()
    for words, status, message in (
        ((), 2, "expected <data> [<vaddir>]"),
        (("nowhere",), 1, "nowhere/wav.scp is missing; stage 0 makes it"),
        (("--cmd", REPOSITORY / "utils/run.pl", "--fbank-config", "conf", "set"), 1, "must be at least 0"),
    ):
        result = call(*words, cwd=data.parent)
        assert result.returncode == status and message in result.stderr
    assert (data / "vad.scp").read_bytes() == before
