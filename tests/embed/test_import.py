"""The authors' checkpoints in the stages: a supernet enters the search, a subnet embedding, scoring and export."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.parity import SUBNET, SUPERNET
from helpers.tiny_corpus import make_corpus

from etdnn.cli import main
from etdnn.features.fbank import AUTHORS, FbankOptions, read_fbank_conf
from etdnn.model.checkpoint import load_supernet, read_subnet
from etdnn.scoring.results import read_results

PAPER = FbankOptions(type="efficienttdnn", **AUTHORS)
SEARCH = """
samples: 10
rounds: 1
measurement: {calibration_crops: 16, calibration_frames: 40, dev_crops: 1, dev_frames: 40}
"""


@pytest.fixture(scope="module")
def egs(tmp_path_factory, repository):
    """A folder as an egs with features that claim the authors' front end, and the two checkpoints imported."""
    folder = tmp_path_factory.mktemp("import")
    make_corpus(folder / "data")
    for path in folder.glob("data/*/frontend.json"):
        path.write_text(json.dumps(PAPER.to_dict()))
    for name in ("local", "utils"):
        (folder / name).symlink_to(repository / name)
    (folder / "search.yaml").write_text(SEARCH)
    for words in ([], ["--subnet", str(SUBNET), "--name", "small"]):
        done = shell(folder, repository, "import", *words, str(SUPERNET), "exp")
        assert done.returncode == 0, done.stderr
    return folder


def shell(folder, repository, script, *words):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = ["bash", f"local/{script}.sh", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def search(folder, command, *options):
    words = ["--supernet", folder / "exp/supernet/supernet.safetensors", "--data", folder / "data", "--dir",
             folder / "exp/search", "--search-config", folder / "search.yaml", "--plan", folder / "plan.txt",
             ]  # fmt: skip
    return main([command, *map(str, [*words, *options])])


def test_a_supernet_is_searched(egs):
    assert (egs / "exp/supernet").readlink() == Path("supernet_small")
    assert search(egs, "search", "--macs-budget", "10M") == 0
    planned = (egs / "plan.txt").read_text().splitlines()
    assert len(planned) == 12
    (egs / "plan.txt").write_text("\n".join(planned[:2]) + "\n")
    assert search(egs, "evaluate-subnets", "--job", "1/1", "--device", "cpu") == 0
    measured = (egs / "exp/search/jobs/evaluations.1.tsv").read_text()
    assert all(line.split()[1] in measured for line in planned[:2])


def test_other_features_are_refused_with_the_line_that_makes_the_right_ones(egs, tmp_path, capsys):
    shutil.copytree(egs / "data", tmp_path / "data")
    for path in (tmp_path / "data").glob("*/frontend.json"):
        path.write_text(json.dumps(FbankOptions().to_dict()))
    assert search(egs, "search", "--macs-budget", "10M", "--data", str(tmp_path / "data")) == 1
    error = capsys.readouterr().err
    line = "bash run.sh --stage 1 --stop-stage 1 --fbank-config FILE, FILE holding --type=efficienttdnn"
    assert error.count("\n") == 1 and line in error
    (tmp_path / "fbank.conf").write_text("--type=efficienttdnn\n")
    assert (
        read_fbank_conf(tmp_path / "fbank.conf")
        == PAPER
        == FbankOptions.from_dict(load_supernet(egs / "exp/supernet/supernet.safetensors").metadata["frontend"])
    )


def test_a_subnet_is_embedded_scored_and_exported(egs, repository):
    for script, *options in (
        ("embed", "--nj", "1", "--cohort-size", "30"),
        ("score", "--replicates", "20"),
        ("export", "--precisions", "fp32", "--title", "toy", "--licence", "CC0"),
    ):
        for said in ("small", "up to date"):
            done = shell(egs, repository, script, *options, "data", "exp", "small")
            assert done.returncode == 0 and said in done.stdout + done.stderr, done.stdout + done.stderr
    assert {row["budget"] for row in read_results(egs / "exp/results.tsv")} == {"small"}
    card = (egs / "exp/subnet/small/export/MODEL_CARD.md").read_text()
    for part in ("published checkpoint", "efficienttdnn", "CC0", "| main |", "9.99"):
        assert part in card
    assert read_subnet(egs / "exp/subnet/small/model.safetensors")[1]["thresholds"]["cosine"]["lists"]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["absent.torchparams", "exp"], "absent.torchparams: no such checkpoint"),
     (["--name", "a/b", str(SUPERNET), "exp"], "--name 'a/b'"), ([str(SUBNET), "exp2"], "not a published supernet")],
)  # fmt: skip
def test_what_cannot_be_imported_is_named(egs, repository, words, message):
    done = shell(egs, repository, "import", *words)
    assert done.returncode != 0 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (egs / "exp2").exists() or not list((egs / "exp2").rglob("*.safetensors"))
