"""The whole chain on a very small synthetic corpus, in an egs made by utils/new_egs.sh."""

import csv
import shutil

import pytest
from helpers.recipe import Recipe, make_corpus, make_egs

from etdnn.model import Arch
from etdnn.model.budget import Budget
from etdnn.model.cost import arch_macs

BUDGET, OTHER_BUDGET = "4M", "8M"
pytestmark = pytest.mark.timeout(3600)  # minutes where the machine is free, more where it is shared


@pytest.fixture(scope="module")
def recipe(repository, tmp_path_factory):
    """A new egs on a new corpus; nothing of it has run."""
    root = tmp_path_factory.mktemp("recipe")
    corpus = make_corpus(root / "corpus")
    folder = make_egs(root / "checkout with blanks", "toy")
    options = ["--corpus", corpus / "wav", "--split", corpus / "speakers.tsv", "--trials", corpus / "trials.txt",
               "--musan", corpus / "noise", "--rirs", corpus / "rirs", "--nj", "1", "--num-ranks", "1",
               "--macs-budget", BUDGET]  # fmt: skip
    return Recipe(folder, list(map(str, options)))


@pytest.fixture(scope="module")
def unbroken(recipe):
    """The outcome of all stages, run once without a break into exp/a."""
    done = recipe.run("--expdir", "exp/a")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done


def results(recipe, experiment):
    with (recipe.folder / experiment / "results.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def outcome(recipe, experiment):
    """Return the bytes that a seed decides: every arch.txt and results.tsv."""
    folder = recipe.folder / experiment
    paths = [*sorted(folder.glob("search/*/arch.txt")), folder / "results.tsv"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_all_stages_leave_what_they_promise(recipe, unbroken):
    folder = recipe.folder / "exp" / "a"
    text = (folder / "search" / BUDGET / "arch.txt").read_text()
    assert Budget.parse(BUDGET).admits(arch_macs(Arch.parse(text.splitlines()[0])))
    assert "301 frames" in text
    rows = results(recipe, "exp/a")
    assert {row["budget"] for row in rows} == {BUDGET, "largest"}
    assert {row["trials"] for row in rows} == {"main"}
    assert all(0 <= float(row["eer"]) <= 100 and 0 <= float(row["mindcf_0.01"]) <= 1 for row in rows)
    table = unbroken.stdout[unbroken.stdout.index("Results on") :]
    assert all(name in table for name in (BUDGET, "largest", "minDCF", "301 frames"))
    assert (folder / "report" / "report.md").is_file()
    card = (folder / "subnet" / BUDGET / "export" / "MODEL_CARD.md").read_text()
    assert "Licence of the corpus: not stated" in card and "| main |" in card
    for name in ("train", "train_copies", "train_all", "dev", "test"):
        assert (recipe.folder / "data" / name / "feats.scp").is_file()


def test_a_new_egs_copies_nothing_of_local_and_utils(recipe, unbroken):
    root = recipe.folder.parents[1]
    for name in ("local", "utils"):
        assert (recipe.folder / name).is_symlink()
        assert (recipe.folder / name).resolve() == root / name
    shared = {path.read_bytes() for name in ("local", "utils") for path in (root / name).rglob("*.*") if path.is_file()}
    own = [path for path in recipe.folder.iterdir() if path.is_file()]
    assert {path.name for path in own} == {"run.sh", "path.sh", "cmd.sh"}
    assert not [path for path in own if path.read_bytes() in shared]


def test_running_again_changes_nothing(recipe, unbroken):
    before = recipe.file_hashes("data", "fbank", "exp/a")
    done = recipe.run("--expdir", "exp/a")
    assert done.returncode == 0, done.stderr
    assert recipe.file_hashes("data", "fbank", "exp/a") == before


def test_training_that_was_killed_ends_as_an_unbroken_one(recipe, unbroken):
    folder = recipe.folder / "exp" / "killed"
    only = ("--expdir", "exp/killed", "--stage", "2", "--stop-stage", "2")
    assert recipe.kill_when(lambda: any(folder.glob("largest/checkpoints/*")), *only)
    assert not (folder / "largest" / "supernet.safetensors").exists()
    done = recipe.run(*only)
    assert done.returncode == 0, done.stderr
    ended = (folder / "largest" / "supernet.safetensors").read_bytes()
    assert ended == (recipe.folder / "exp" / "a" / "largest" / "supernet.safetensors").read_bytes()


def test_another_budget_needs_no_training(recipe, unbroken):
    done = recipe.run("--expdir", "exp/a", "--stage", "4", "--macs-budget", OTHER_BUDGET)
    assert done.returncode == 0, done.stderr
    assert {row["budget"] for row in results(recipe, "exp/a")} == {BUDGET, OTHER_BUDGET, "largest"}


# What is seen when a stage has just begun its work; the run is killed then and started again.
MOMENTS = {
    "0": "data/split.tsv",
    "1": "fbank/*/train_copies/log/*",
    "2": "exp/b/largest/checkpoints/*",
    "3": "exp/b/all/train.jsonl",
    "4": "exp/b/search/evaluations.tsv",
    "5": "exp/b/subnet/*/log/derive.log",
    "6": "exp/b/subnet/*/embeddings/log/*",
    "7": "exp/b/subnet/*/log/score.log",
}


@pytest.mark.slow
def test_a_run_killed_in_every_stage_gives_the_same_bytes_with_any_number_of_jobs(recipe, unbroken, tmp_path):
    folder = make_egs(tmp_path, "toy")
    again = Recipe(folder, [*recipe.options, "--nj", "2"])
    killed = [
        stage
        for stage, moment in MOMENTS.items()
        if again.kill_when(lambda moment=moment: any(folder.glob(moment)), "--expdir", "exp/b", "--stop-stage", stage)
    ]
    assert len(killed) >= 6, f"killed only in stages {killed}"
    done = again.run("--expdir", "exp/b")
    assert done.returncode == 0, done.stderr
    first, second = outcome(recipe, "exp/a"), outcome(again, "exp/b")
    assert second[f"search/{BUDGET}/arch.txt"] == first[f"search/{BUDGET}/arch.txt"]
    other = f"{OTHER_BUDGET}\t".encode()  # another test may have added it
    lines = [line for line in first["results.tsv"].splitlines() if not line.startswith(other)]
    assert without_supernet(second["results.tsv"].splitlines()) == without_supernet(lines)


def without_supernet(lines: list[bytes]) -> list[list[bytes]]:
    """Drop the hash of the supernet's file, which says what it was made of: archives of another number of jobs."""
    column = lines[0].split(b"\t").index(b"supernet")
    rows = [line.split(b"\t") for line in lines]
    return [row[:column] + row[column + 1 :] for row in rows]


@pytest.mark.slow
def test_two_ranks_run_too(recipe, unbroken):
    done = recipe.run("--expdir", "exp/ranks", "--stage", "2", "--num-ranks", "2")
    assert done.returncode == 0, done.stderr
    assert {row["budget"] for row in results(recipe, "exp/ranks")} == {BUDGET, "largest"}
    shutil.rmtree(recipe.folder / "exp" / "ranks")
