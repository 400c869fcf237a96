"""The benches of the search run from end to end on little work; their numbers are not looked at."""

import runpy
import sys

import pytest
import torch
from helpers.tiny_corpus import make_corpus, make_supernet


@pytest.fixture
def bench(repository, monkeypatch, capsys):
    """Return a function that runs bench/NAME.py with words and gives what it prints."""

    def run(name: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        runpy.run_path(str(repository / "bench" / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", ["cost", "finetune_ranking", "predictor", "ranking", "search"])
def test_help_says_how_it_is_called(bench, capsys, name):
    with pytest.raises(SystemExit) as ended:
        bench(name, "--help")
    assert ended.value.code == 0 and f"python3 bench/{name}.py" in capsys.readouterr().out


def test_cost_prints_a_ratio_to_the_loop(bench):
    out = bench("cost", "--archs", "5000", "--loop", "1")
    assert "loop over modules" in out and " x" in out


def test_predictor_compares_with_both_baselines(bench):
    out = bench("predictor", "--sizes", "1000", "--objectives", "1", "--seeds", "1", "--models", "macs", "linear")
    assert "1000  linear" in out and "1000  macs" in out


def test_search_counts_coarse_and_fine_cases(bench):
    out = bench("search", "--kinds", "additive", "--objectives", "1", "--seeds", "1", "--evaluations", "200",
                "--no-pymoo")  # fmt: skip
    assert "fine: better" in out and out.splitlines()[-1].startswith("8 cases")


def test_ranking_runs_on_an_experiment(bench, tmp_path):
    torch.set_num_threads(1)
    make_corpus(tmp_path / "data")
    (tmp_path / "exp" / "supernet").mkdir(parents=True)
    make_supernet(tmp_path / "exp" / "supernet" / "supernet.safetensors")
    out = bench("ranking", "--expdir", str(tmp_path / "exp"), "--data", str(tmp_path / "data"), "--archs", "4")
    assert "thorough again" in out and "4 of the speakers" in out and "cheapest within" in out
