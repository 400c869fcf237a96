"""The benches of training run in a small form and print what they promise."""

import json
import re
import subprocess
import sys

import pytest
from helpers.tiny_corpus import make_corpus, make_set


def run(repository, *words):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_strategies_compares_at_equal_compute_and_goes_on_where_it_was(tmp_path, repository):
    make_corpus(tmp_path / "data")
    make_set(tmp_path / "data/train_all", "tr", speakers=6, utterances=8, seed=1)
    words = ("bench/strategies.py", "--data", tmp_path / "data", "--out", tmp_path / "out", "--quick", "--stretch", 0.5)
    text = run(repository, *words, "--results", tmp_path / "table.md")
    names = "progressive|sandwich|one phase"
    costs = {row[0]: float(row[1]) for row in re.findall(rf"\| ({names}) \| \d+ \| (\S+) \|", text)}
    assert len(costs) == 3
    assert all(abs(cost / costs["progressive"] - 1) < 0.2 for cost in costs.values()), "to one step of the sandwich"
    assert len(re.findall(rf"(?m)^\| (?:{names}|alone)(?:, fine-tuned)? \| (?:small|middle|large) ", text)) == 21
    assert len(re.findall(rf"(?m)^\| (?:{names}), (?:small|middle|large) \|", text)) == 9
    assert (tmp_path / "table.md").read_text() in text
    again = run(repository, *words)
    assert (
        " done" not in again
        and again.splitlines()[2:] == [line for line in text.splitlines() if not line.endswith(" done")][2:]
    )


def test_recipes_compares_one_change_at_a_time(tmp_path, repository):
    make_corpus(tmp_path / "data")
    make_set(tmp_path / "data/train_all", "tr", speakers=6, utterances=8, seed=1)
    words = ["bench/recipes.py", "--data", tmp_path / "data", "--out", tmp_path / "out", "--quick", "--epochs", 0.4]
    text = run(repository, *words, "--only", "crops of 3 s", "--results", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() in text
    number = r"[+-]?\d+\.\d\d"
    rows = re.findall(rf"(?m)^\| (recommended|crops of 3 s) \| ({number}) \|(?: {number} \|)+ \d+\.\d \|$", text)
    assert [row[0] for row in rows] == ["recommended", "crops of 3 s"]
    steps = [
        json.loads((tmp_path / f"out/seed0/{name}/trained/train.jsonl").read_text().splitlines()[-1])["step"]
        for name in ("recommended", "crops_of_3_s")
    ]
    assert steps[1] == pytest.approx(steps[0] * 2 / 3, abs=1), "as many crops times their length"


def test_strategies_does_not_go_on_with_another_plan(tmp_path, repository):
    make_set(tmp_path / "data/train_all", "tr", speakers=2, utterances=2, seed=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/plan.json").write_text('{"stretch": 1.0}')
    words = ["bench/strategies.py", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--quick"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=repository)
    assert done.returncode == 1 and "was made with {'stretch': 1.0}, not" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.json"]


def test_train_gpu_runs_on_a_cpu_in_a_small_form(tmp_path, repository):
    results = tmp_path / "results/train.md"
    words = ("bench/train_gpu.py", "--device", "cpu", "--quick", "--batch", 4, "--steps", 2, "--workers", 1)
    text = run(repository, *words, "--results", results)
    rows = re.findall(
        r"(?m)^\| (published|ours|ours, batch x 4) \| (largest|drawn) \| (\d+) \| (\d+) \|", results.read_text()
    )
    assert len(rows) == 6 and all(int(speed) > 0 for *_, speed in rows)
    assert {row[2] for row in rows} == {"4", "16"}
    assert "peak of a matrix product: fp32" in text and text.count("%; ") >= 6


def test_supernet_step_compares_slices_with_static_networks(repository):
    words = ("--rounds", 1, "--sizes", "smallest", "drawn", "--batch", 2, "--frames", 20)
    text = run(repository, "bench/supernet_step.py", *words)
    rows = [line.split() for line in text.splitlines()[2:]]
    assert [row[0] for row in rows] == ["smallest", "drawn"] and all(float(row[-1]) > 0 for row in rows)
