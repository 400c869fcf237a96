"""Stages on a real Slurm of this machine: training on two ranks and on two nodes, features with one job killed."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import soundfile
from helpers.data_dirs import REPOSITORY
from helpers.recordings import tone
from helpers.tiny_corpus import make_set

from etdnn.data.datadir import write_data_dir
from etdnn.files import hash_file

pytestmark = pytest.mark.xdist_group("slurm")

SPACE = "name: tiny\ndepth: [1, 2]\nkernel: [1, 3]\nwidth: [8, 16]\ncat: [16, 24]\n"
TRAINING = """
batch: 8
phases:
  - {name: largest, epochs: 1, crop: 0.3, schedule: {kind: cosine, max: 1.0e-2, min: 1.0e-4}}
"""
# the second partition of the test's Slurm has two nodes
CONF = "option num_nodes=* --partition=two --nodes=$0 --ntasks-per-node=1\n"
WORDS = "test -e fixed || {{ : > started; sleep 300; }}; cat {}"


@pytest.fixture
def egs(tmp_path: Path) -> Path:
    """An egs folder: links to the stages, a very small space and training, the cluster's options."""
    folder = tmp_path / "egs"
    (folder / "conf").mkdir(parents=True)
    for name in ("local", "utils"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "conf/space.yaml").write_text(SPACE)
    (folder / "conf/train.yaml").write_text(TRAINING)
    (folder / "conf/slurm.conf").write_text(CONF)
    return folder


def environment(slurm: dict[str, str]) -> dict[str, str]:
    """Return the environment of path.sh."""
    paths = {"PYTHONPATH": str(REPOSITORY), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **slurm, **paths}


def test_training_on_two_ranks_and_on_two_nodes_is_the_same(egs: Path, slurm: dict[str, str]) -> None:
    make_set(egs / "data", "tr", speakers=4, utterances=6, seed=1)
    hashes = []
    for name, words in (("ranks", ["--num-ranks", "2"]), ("nodes", ["--num-ranks", "1", "--num-nodes", "2"])):
        command = ["local/train_phase.sh", "--cmd", "utils/slurm.pl --mem 500M", *words, "--device", "cpu"]
        command += ["largest", "data", f"exp/{name}"]
        done = subprocess.run(command, cwd=egs, env=environment(slurm), capture_output=True, text=True)
        log = egs / f"exp/{name}/largest/log/train.log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.is_file() else "")
        hashes.append(hash_file(egs / f"exp/{name}/largest/supernet.safetensors"))
    assert "--num-nodes 2" in log.read_text().splitlines()[0]
    assert hashes[0] == hashes[1]


def test_features_with_one_of_four_jobs_killed_and_run_again_alone(egs: Path, slurm: dict[str, str]) -> None:
    ids = [f"s{number}-a-0" for number in range(8)]
    for number, name in enumerate(ids):
        soundfile.write(egs / f"{name}.wav", tone(number, 0, 1.0), 16000)
    entries = {name: str(egs / f"{name}.wav") for name in ids}
    entries[ids[5]] = WORDS.format(entries[ids[5]]) + " |"  # in the third part of four
    tables = {"wav.scp": entries, "utt2spk": {name: name[:2] for name in ids}}
    write_data_dir(egs / "data/train", tables | {"utt2dur": dict.fromkeys(ids, "1.0")})
    for name in ("fbank.conf", "augment.yaml"):
        (egs / "conf" / name).write_text((REPOSITORY / "egs/mini/conf" / name).read_text())
    words = ["local/make_features.sh", "--cmd", "utils/slurm.pl --mem 500M", "--nj", "4", "--only", "train"]
    call = {"cwd": egs, "env": environment(slurm), "text": True}
    process = subprocess.Popen([*words, "data", "fbank"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, **call)
    deadline = time.monotonic() + 300
    log = None
    while time.monotonic() < deadline and not (log and (egs / "started").exists()):
        assert process.poll() is None, process.communicate()
        log = next((path.parent for path in egs.glob("fbank/*/train/fbank.*.done.json")), None)
        time.sleep(0.2)
    others = [1, 2, 4]
    while time.monotonic() < deadline and not all((log / f"fbank.{job}.done.json").exists() for job in others):
        time.sleep(0.2)
    jobs = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], capture_output=True, **call).stdout.split()
    subprocess.run(["scancel", next(job for job in jobs if job.endswith("_3"))], check=True, **call)
    message = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "1 of 4 jobs failed" in message and "make_fbank.3.log" in message
    again = next(line for line in message.splitlines() if "again: " in line).split("again: ")[1].split()
    assert again[:2] == ["sbatch", "--array=3"]

    (egs / "fixed").write_text("")
    stamps = {job: (log / f"fbank.{job}.ark").stat().st_mtime_ns for job in others}
    subprocess.run([again[0], "--wait", *again[1:]], check=True, timeout=300, **call)
    assert (log / "fbank.3.done.json").exists()
    done = subprocess.run([*words, "data", "fbank"], capture_output=True, **call)
    assert done.returncode == 0, done.stderr
    assert len((egs / "data/train/feats.scp").read_text().splitlines()) == 8
    assert {job: (log / f"fbank.{job}.ark").stat().st_mtime_ns for job in others} == stamps
