"""egs/voxceleb/run_published.sh on look-alikes of the releases, with made-up weights in the authors' file form."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.parity import SUBNET, SUPERNET
from helpers.recipe import REPOSITORY
from helpers.voxceleb import write_lists, write_release

from etdnn.cli import main
from etdnn.deploy.published_results import Published, compare, read_published, show_comparison
from etdnn.model.arch import Arch
from etdnn.model.budget import show_count
from etdnn.model.cost import arch_macs

ARCH = "3-32-16-48-64-1-3-5-3-40"
HEADER = "model\tarch\tsupernet\tsubnet\teer\tmindcf\tasnorm_eer\tasnorm_mindcf\n"


@pytest.fixture(scope="module")
def look_alike(tmp_path_factory) -> Path:
    """A folder with vox1 (test part alone), vox2 (dev part), lists and weights."""
    root = tmp_path_factory.mktemp("published")
    write_release(root / "vox1" / "test" / "wav", first=10270)
    write_release(root / "vox2" / "dev" / "wav", first=12, speakers=6)
    write_lists(root / "lists", root / "vox1" / "test" / "wav")
    (root / "weights" / "depth").mkdir(parents=True)
    shutil.copy(SUPERNET, root / "weights" / "depth" / "depth.torchparams")
    shutil.copy(SUBNET, root / "weights" / "base.bn.tar")  # flat, as single downloads lie
    return root


def table(path: Path, figures: dict[str, float], arch: str = ARCH) -> Path:
    """Write a table of published results."""
    files = "depth/depth.torchparams\tdepth/base.bn.tar"
    row = f"base\t{arch}\t{files}\t{figures['cosine']}\t0.1\t{figures['asnorm']}\t0.1"
    path.write_text(f"# made up\n{HEADER}{row}\n")
    return path


def run(root: Path, *options: object) -> subprocess.CompletedProcess:
    """Call the script with the look-alike's folders, from `root`."""
    environment = os.environ | {"ETDNN_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    words = ["--voxceleb1", "vox1", "--trials-dir", "lists", "--weights", "weights", "--allow-partial", "true"]
    command = ["bash", REPOSITORY / "egs/voxceleb/run_published.sh", *words, "--nj", "2", "--dir", root / "out"]
    return subprocess.run(
        [*command, "--device", "cpu", *map(str, options)], cwd=root, env=environment, capture_output=True, text=True
    )


def measured(root: Path) -> dict[str, float]:
    header, *rows = [line.split("\t") for line in (root / "out/results.tsv").read_text().splitlines()]
    named = [dict(zip(header, row, strict=True)) for row in rows]
    assert all(row["arch"] == ARCH and row["trials"] == "vox1_O_cleaned" for row in named)
    return {row["backend"]: float(row["eer"]) for row in named}


def test_published_beside_measured(look_alike):
    root = look_alike
    first = run(root, "--published", table(root / "p.tsv", {"cosine": 99.0, "asnorm": 99.0}))
    assert first.returncode == 1, first.stderr
    assert "AS-norm is not measured without --voxceleb2" in first.stdout
    assert first.stdout.splitlines()[-1] == "0 of 1 PASS" and "of 37611 trials)" in first.stdout.splitlines()[-2]

    features = next(root.glob("out/fbank/*/test/fbank.1.ark"))
    made = features.stat().st_mtime_ns
    table(root / "p.tsv", {**measured(root), "asnorm": 99.0})
    both = run(root, "--published", "p.tsv", "--voxceleb2", "vox2", "--cohort-size", "10")
    assert both.returncode == 1, both.stderr
    assert both.stdout.splitlines()[-1] == "0 of 2 PASS", "a part of the list passes for the whole"
    assert features.stat().st_mtime_ns == made, "what was done is done again"
    cohort = (root / "out/data/cohort/utt2spk").read_text().split()[1::2]
    assert len(cohort) == 10 and not any(speaker.startswith("id10") for speaker in cohort)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--voxceleb1", ""], 2, "--voxceleb1 DIR is needed"),
        (["--weights", "nowhere"], 1, "--weights nowhere: no such file or folder"),
        (["--weights", "lists"], 1, "lists/depth/depth.torchparams is missing"),
        (["--models", "huge"], 2, "--models huge: not in"),
        (["--trials-dir", "weights"], 1, "none of the cleaned lists in it"),
        (["--allow-partial", "false"], 1, "deviations from the releases"),
        (["--voxceleb1", "vox2"], 1, "none of the 16 files of the trial lists is in VoxCeleb1"),
        (["wrong"], 2, "takes options only"),
    ],
)
def test_mistakes_are_one_line_before_anything_long(look_alike, tmp_path, options, status, message):
    published = table(tmp_path / "p.tsv", {"cosine": 1.0, "asnorm": 1.0})
    done = run(look_alike, "--published", published, "--dir", tmp_path / "out", *options)
    assert done.returncode == status
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "out" / "fbank").exists()


def test_weights_of_another_arch_are_refused(look_alike, tmp_path):
    published = table(tmp_path / "p.tsv", {"cosine": 1.0, "asnorm": 1.0}, arch="2-32-16-48-1-3-5-40")
    done = run(look_alike, "--published", published)
    assert done.returncode == 1
    assert f"holds subnet {ARCH}, not 2-32-16-48-1-3-5-40" in done.stderr


def test_tolerances_and_absent_results():
    published = Published("vox1_O_cleaned", "base", ARCH, "", "", {"cosine": (1.14, 0.1), "asnorm": (0.94, 0.1)})
    row = {"budget": "base", "backend": "cosine", "arch": ARCH, "eer": "1.170", "mindcf_0.01": "0.11"}
    row |= {"trials": "vox1_O_cleaned", "targets": "18802", "nontargets": "18809"}
    tolerances = {"cosine": 0.03, "asnorm": 0.1}
    assert [line.passed for line in compare([published], [row], tolerances)] == [True, False]
    assert not compare([published], [row | {"eer": "1.171"}], {"cosine": 0.03})[0].passed
    elsewhere = compare([published], [row | {"trials": "vox1_E_cleaned"}], {"cosine": 0.03})
    assert not elsewhere[0].passed and "none" in show_comparison(elsewhere)
    (part,) = compare([published], [row | {"nontargets": "18808"}], {"cosine": 0.03})
    assert not part.passed and show_comparison([part]).endswith("NONE (37610 of 37611 trials)")
    other = compare([published], [row | {"arch": "2-16-16-16-1-1-1-24"}], {"cosine": 0.03})
    assert not other[0].passed and "FAIL (arch 2-16-16-16-1-1-1-24" in show_comparison(other)


def test_a_table_without_models_does_not_pass(tmp_path, capsys):
    (tmp_path / "p.tsv").write_text(f"# made up\n{HEADER}")
    assert main(["compare-published", "--published", str(tmp_path / "p.tsv"), str(tmp_path / "results.tsv")]) == 1
    assert "p.tsv: no models below its header" in capsys.readouterr().err


def test_the_real_table_is_the_published_one():
    rows = read_published()
    assert {row.model: row.figures["cosine"][0] for row in rows} == {"base": 1.14, "mobile": 1.61, "small": 2.33}
    assert {row.model: row.figures["asnorm"][0] for row in rows} == {"base": 0.94, "mobile": 1.41, "small": 2.20}
    shown = [show_count(arch_macs(Arch.parse(row.arch), in_feats=80, embedding=192)) for row in rows]
    assert [text[:4] for text in shown] == ["1.45", "570.", "204."]
