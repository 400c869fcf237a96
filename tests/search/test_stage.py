"""Stage 4 on a corpus of made-up features: the two workers, as local/search.sh calls them."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny_corpus import make_corpus, make_set, make_supernet

from etdnn.cli import main
from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir
from etdnn.embed import dev_set
from etdnn.embed.batchnorm import reestimate
from etdnn.embed.extract import WholeUtterances, embed_utterances
from etdnn.errors import UserError
from etdnn.model.arch import Arch
from etdnn.model.budget import Budget
from etdnn.model.checkpoint import load_supernet, save_supernet
from etdnn.model.cost import arch_macs, arch_memory
from etdnn.report.collect import read_searches
from etdnn.scoring.metrics import eer
from etdnn.search import stage
from etdnn.search.comparison import Compared, comparison_lines, comparison_table, read_comparison
from etdnn.search.evaluate import EvaluationData, Evaluator, gaussian_eer
from etdnn.search.population import archs_to_rows, blocks
from etdnn.search.records import Appender, merge, read_evaluations, to_line
from etdnn.search.settings import Measurement, SearchSettings
from etdnn.search.stage import MEASURE
from etdnn.search.work import Inputs, evaluate_plan, plan_search
from etdnn.settings import load_settings

CONFIG = {
    "samples": 25,
    "rounds": 2,
    "candidates": 4,
    "finalists": 3,
    "evaluations": 400,
    "bootstrap": 50,
    "measurement": {"calibration_crops": 16, "calibration_frames": 40, "calibration_batch": 8, "dev_frames": 40},
}
BUDGETS = "4M 6M"
RESULTS = ("arch.txt", "pareto.tsv", "search.yaml", "summary.txt")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stage4")
    torch.set_num_threads(1)
    make_corpus(folder / "data")
    make_supernet(folder / "supernet.safetensors")
    (folder / "search.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def inputs_in(corpus: Path, name: str, seed: int = 0) -> Inputs:
    return Inputs(corpus / "supernet.safetensors", corpus / "data", corpus / name, corpus / "search.yaml", seed)


def macs_budgets(text: str) -> list[Budget]:
    return [Budget.parse(word) for word in text.split()]


def run_stage(
    inputs: Inputs, budgets: str | list[Budget] = BUDGETS, jobs: int = 1, table: str | None = None, say=lambda *_: None
) -> list[int]:
    """Do what local/search.sh does; return the number of subnets measured in each round."""
    budgets = macs_budgets(budgets) if isinstance(budgets, str) else budgets
    counts, plan = [], inputs.folder / "plan.txt"
    while missing := plan_search(inputs, budgets, plan, table, say=say):
        counts.append(missing)
        for job in range(1, jobs + 1):
            evaluate_plan(inputs, plan, job, jobs, device="cpu", say=lambda *_, **__: None)
        assert len(counts) < 9
    return counts


def results(folder: Path, budgets: str = BUDGETS) -> dict[str, bytes]:
    return {f"{budget}/{name}": (folder / budget / name).read_bytes() for budget in budgets.split() for name in RESULTS}


@pytest.fixture(scope="module")
def finished(corpus) -> Path:
    run_stage(inputs_in(corpus, "one"))
    return corpus / "one"


def test_results_hold_the_budget_and_explain_themselves(corpus, finished):
    for budget, limit in (("4M", 4_000_000), ("6M", 6_000_000)):
        first, *facts = (finished / budget / "arch.txt").read_text().splitlines()
        arch = Arch.parse(first)
        assert arch_macs(arch) <= limit and f"macs {arch_macs(arch)}" in facts
        assert any(line.startswith("convention MACs of 3 s") for line in facts)
        text = (finished / budget / "summary.txt").read_text()
        for part in (
            "keep the budget",
            "Predicted but not measured",
            "Kendall tau",
            "<- chosen",
            "largest that fits",
            "best of the sample",
            "uniform scaling",
            "Which choices matter",
            "bootstrap over speakers",
        ):
            assert part in text
        options = yaml.safe_load((finished / budget / "search.yaml").read_text())
        assert options["seed"] == 0 and options["samples"] == 25 and options["protocols"][MEASURE]["dev"]
        front = [line.split("\t") for line in (finished / budget / "pareto.tsv").read_text().splitlines()[1:]]
        costs, values = [int(row[1]) for row in front], [float(row[3]) for row in front]
        assert costs == sorted(costs) and values == sorted(values, reverse=True) and costs[-1] <= limit


def test_choice_is_the_best_measured_finalist_and_counts_are_exact(corpus, finished):
    text = (finished / "4M" / "summary.txt").read_text()
    table = text.split("Finalists")[1].split("\n\n")[0].splitlines()[2:]
    measured = [float(line.split()[1]) for line in table]
    assert "<- chosen" in table[int(np.argmin(measured))]
    space = load_supernet(corpus / "supernet.safetensors").space
    rows = np.concatenate(list(blocks(space)))
    fits = sum(arch_macs(arch) <= 4_000_000 for arch in stage._archs(rows))
    assert f"({space.count():,} subnets), of which {fits:,} keep the budget" in text


def test_two_jobs_give_the_same_bytes_as_one(corpus, finished):
    run_stage(inputs_in(corpus, "two"), jobs=2)
    assert results(corpus / "two") == results(finished)
    assert (corpus / "two" / "evaluations.tsv").read_bytes() == (finished / "evaluations.tsv").read_bytes()


def test_budgets_one_after_the_other_give_the_same_and_share_the_sample(corpus, finished):
    inputs = inputs_in(corpus, "apart")
    counts = run_stage(inputs, "6M")
    more = run_stage(inputs, "4M")
    assert counts[0] >= 25 and max(more) < 15
    assert results(corpus / "apart") == results(finished)


def test_killed_in_the_middle_and_resumed(corpus, finished, monkeypatch):
    inputs, plan = inputs_in(corpus, "killed"), corpus / "killed" / "plan.txt"
    asked = plan_search(inputs, macs_budgets(BUDGETS), plan)
    measure, count = Evaluator.measure, iter(range(100))

    def dying(self, arch):
        if next(count) == 6:
            raise KeyboardInterrupt
        return measure(self, arch)

    monkeypatch.setattr(Evaluator, "measure", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate_plan(inputs, plan, 1, 1, device="cpu", say=lambda *_, **__: None)
    monkeypatch.undo()
    part = corpus / "killed" / "jobs" / "evaluations.1.tsv"
    assert len(read_evaluations(part)) == 6
    part.write_bytes(part.read_bytes()[:-9])  # the kill tore the last line
    counts = run_stage(inputs)
    assert counts[0] == asked - 5
    assert results(corpus / "killed") == results(finished)


def test_never_reads_the_test_set(corpus, finished):
    moved = corpus / "elsewhere"
    shutil.move(corpus / "data" / "test", moved)
    try:
        run_stage(inputs_in(corpus, "blind"))
    finally:
        shutil.move(moved, corpus / "data" / "test")
    assert results(corpus / "blind") == results(finished)


def test_evaluations_of_another_calibration_are_not_mixed_in(corpus, finished):
    shutil.copytree(finished, corpus / "reseeded")
    counts = run_stage(inputs_in(corpus, "reseeded", seed=1))
    assert counts[0] >= 25
    protocols = {row.protocol for row in read_evaluations(corpus / "reseeded" / "evaluations.tsv")}
    assert len(protocols) == 4


def test_measuring_is_the_eer_of_a_recalibrated_subnet(corpus):
    """Against the steps by hand: derive, re-estimate, embed whole batch, cosine, EER."""
    supernet = load_supernet(corpus / "supernet.safetensors")
    data = EvaluationData.load(
        corpus / "data",
        supernet,
        Measurement(calibration_crops=16, calibration_frames=40, calibration_batch=8, dev_frames=40),
        seed=0,
    )
    arch = Arch.parse("2-24-16-32-3-1-3-48")
    row, _ = Evaluator(supernet, data).measure(arch)
    net = reestimate(supernet.derive(arch), data.batches).eval()
    ((places, crops),) = data.dev_set.inputs
    assert places.tolist() == list(range(len(crops)))
    with torch.inference_mode():
        vectors = torch.nn.functional.normalize(net(crops)).numpy()
    dev = DataDir(corpus / "data" / "dev")
    names = sorted({name for kind in ("clean", "cross") for name in (*dev.trials(kind).enrol, *dev.trials(kind).test)})
    place = {name: index for index, name in enumerate(names)}
    errors = []
    for kind in ("clean", "cross"):
        trials = dev.trials(kind)
        scores = np.array(
            [vectors[place[a]] @ vectors[place[b]] for a, b in zip(trials.enrol, trials.test, strict=True)]
        )
        errors.append(100 * eer(scores[trials.target], scores[~trials.target]))
    assert [row.eer_clean, row.eer_cross] == pytest.approx(errors, abs=0.3)
    assert row.objective == (row.eer_clean + row.eer_cross) / 2 and row.status == "ok"


def test_whole_utterances_are_measured_in_batches_of_equal_length(corpus, monkeypatch):
    """Against one utterance at a time, and those held in memory against those read anew."""
    supernet = load_supernet(corpus / "supernet.safetensors")
    how = Measurement(calibration_crops=8, calibration_frames=20, calibration_batch=4, dev_frames=0, dev_crops=3)
    data = EvaluationData.load(corpus / "data", supernet, how, seed=0)
    lengths = [tensor.shape[2] for _, tensor in data.dev_set.inputs]
    assert len(set(lengths)) == len(lengths) == 3  # the corpus has three lengths
    evaluator, arch = Evaluator(supernet, data), Arch.parse("2-24-16-32-3-1-3-48")
    net = reestimate(supernet.derive(arch), data.batches).eval()
    reader = FeatureReader(corpus / "data" / "dev" / "feats.scp")
    assert sorted(np.concatenate([places for places, _ in data.dev_set.inputs]).tolist()) == list(
        range(len(reader.keys))
    )
    vectors = embed_utterances(net, reader, np.arange(len(reader.keys)), supernet.metadata["normalisation"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    part = data.trials["clean"]
    expected = (vectors[part.enrol] * vectors[part.test]).sum(axis=1)
    scores = evaluator.scores(arch)["clean"]
    assert np.allclose(scores, expected, atol=1e-5)
    monkeypatch.setattr(dev_set, "HELD_BYTES", 1000)
    streamed = EvaluationData.load(corpus / "data", supernet, how, seed=0)
    assert isinstance(streamed.dev_set.inputs, WholeUtterances) and isinstance(data.dev_set.inputs, list)
    assert (streamed.dev, streamed.counts) == (data.dev, data.counts)
    assert np.array_equal(Evaluator(supernet, streamed).scores(arch)["clean"], scores)


def test_compared_subnets_are_measured_on_the_test_trials_afterwards(corpus, finished, capsys):
    shutil.copytree(finished, corpus / "after")
    call = ["compare-subnets", "--supernet", str(corpus / "supernet.safetensors"), "--data", str(corpus / "data"),
            "--search", str(corpus / "after"), "--device", "cpu"]  # fmt: skip
    assert main([*call, "4M"]) == 0
    out = capsys.readouterr().out
    assert "Subnets of budget 4M" in out and "\ntest main: EER" in out and "\ntest cross: EER" in out
    assert (corpus / "after" / "4M" / "compared_test.txt").read_text() in out
    header, *lines = (corpus / "after" / "4M" / "compared_test.tsv").read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    on_dev = [row for row in rows if row["list"] == "dev"]
    assert {row["list"] for row in rows} == {"dev", "test main", "test cross"} and len(rows) == 3 * len(on_dev)
    assert on_dev[0]["name"] == "chosen" and "largest that fits" in {row["name"] for row in on_dev}
    chosen = Arch.parse((corpus / "after" / "4M" / "arch.txt").read_text().splitlines()[0])
    assert {row["arch"] for row in rows if row["name"] == "chosen"} == {str(chosen)}
    assert all(0 <= float(row["eer_low"]) <= float(row["eer_high"]) <= 100 for row in rows)
    assert not (corpus / "after" / "6M" / "compared_test.tsv").exists()
    (corpus / "after-report").mkdir()
    (corpus / "after-report" / "search").symlink_to(corpus / "after")
    report = read_searches(corpus / "after-report")[0]
    assert report.budget == "4M" and "Which choices matter" in report.summary and "test main: EER" in report.summary
    assert main([*call, "7M"]) == 1 and "7M/compared.tsv: no such file; stage 4" in capsys.readouterr().err
    assert main([*call, "4M", "--trials", "hard"]) == 1 and "there are: cross, main" in capsys.readouterr().err


def test_comparison_survives_its_file(tmp_path):
    chosen, other, broken = (Arch.parse(f"1-{width}-16-1-1-24") for width in (16, 24, 32))
    rows = [
        Compared("chosen", chosen, 1, 5.0, (4.0, 6.0), None),
        Compared("uniform scaling", other, 2, 7.0, (6.0, 8.0), (2.0, 0.5, 3.0)),
        Compared("best of the sample", other, 2, 5.1, (4.0, 6.0), (0.1, -0.5, 0.7)),
    ]
    (tmp_path / "compared.tsv").write_text(comparison_table(rows))
    assert read_comparison(tmp_path / "compared.tsv") == rows
    text = comparison_lines([*rows, Compared("published", broken, 3, float("nan"), None, None)])
    assert text[-2:] == [
        "The chosen subnet is better, outside the interval, than: uniform scaling.",
        "No difference outside the interval can be shown from: best of the sample.",
    ]
    assert text[3].split() == ["published", "failed", str(broken)]
    (tmp_path / "compared.tsv").write_text("nonsense\n")
    with pytest.raises(UserError, match="not a comparison"):
        read_comparison(tmp_path / "compared.tsv")


def test_gaussian_eer_of_gaussians():
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(1.5, 0.5, 20000), rng.normal(0, 1, 20000)
    assert gaussian_eer(targets, nontargets) == pytest.approx(eer(targets, nontargets), abs=0.005)


def test_broken_subnets_are_recorded_as_failed(corpus, tmp_path):
    supernet = load_supernet(corpus / "supernet.safetensors")
    with torch.no_grad():
        next(supernet.parameters()).fill_(float("nan"))
    save_supernet(tmp_path / "supernet.safetensors", supernet, dict(supernet.metadata))
    inputs = Inputs(tmp_path / "supernet.safetensors", corpus / "data", tmp_path / "search", corpus / "search.yaml", 0)
    with pytest.raises(UserError, match="0 of .* measured subnets have finite values"):
        run_stage(inputs)
    assert {row.status for row in read_evaluations(tmp_path / "search" / "evaluations.tsv")} == {"failed"}


def test_records_merge_without_doubles_and_drop_a_torn_line(finished, tmp_path):
    rows = read_evaluations(finished / "evaluations.tsv")
    first, second = tmp_path / "evaluations.1.tsv", tmp_path / "evaluations.2.tsv"
    first.write_text("".join(map(to_line, rows[:6])))
    second.write_text("".join(map(to_line, rows[3:9])) + to_line(rows[10])[:40])
    merged = merge(tmp_path / "all.tsv", [first, second])
    assert sorted(map(to_line, merged)) == sorted(map(to_line, rows[:9]))
    assert read_evaluations(tmp_path / "all.tsv") == merged and not first.exists()
    torn = tmp_path / "torn.tsv"
    torn.write_text(to_line(rows[0]) + to_line(rows[1])[:25])
    appender = Appender(torn)
    appender.add(rows[2])
    appender.close()
    assert read_evaluations(torn) == [rows[0], rows[2]]
    torn.write_text("nonsense\n" + to_line(rows[0]))
    with pytest.raises(UserError, match=r"torn\.tsv:1: not an evaluation"):
        read_evaluations(torn)


def test_dev_sets_that_do_not_serve(corpus, tmp_path):
    supernet = load_supernet(corpus / "supernet.safetensors")
    shutil.copytree(corpus / "data", tmp_path / "data")
    dev = tmp_path / "data" / "dev"
    lines = (dev / "trials_clean").read_text().splitlines(keepends=True)

    def load():
        return EvaluationData.load(tmp_path / "data", supernet, Measurement(dev_frames=40), seed=0)

    (dev / "trials_clean").write_text("".join(line for line in lines if line.endswith(" target\n")))
    with pytest.raises(UserError, match="trials_clean: 120 target and 0 nontarget trials"):
        load()
    (dev / "trials_clean").write_text("")
    with pytest.raises(UserError, match="trials_clean: no trials"):
        load()
    (dev / "trials_clean").write_text("dv00-s0-000 nobody target\n")
    with pytest.raises(UserError, match="'nobody' is not in"):
        load()
    (dev / "trials_clean").unlink()
    with pytest.raises(UserError, match="no such trial list"):
        load()
    shutil.rmtree(dev)
    make_set(dev, "dv", speakers=2, utterances=4, seed=2, trials=("clean", "cross"))
    for name in ("clean", "cross"):
        own = [
            line for line in (dev / f"trials_{name}").read_text().splitlines(keepends=True) if line.count("dv00") == 2
        ]
        (dev / f"trials_{name}").write_text("".join(own))
    with pytest.raises(UserError, match="one speaker only"):
        load()


def test_fewer_dev_speakers_are_a_seeded_choice(corpus):
    supernet = load_supernet(corpus / "supernet.safetensors")
    how = Measurement(dev_speakers=5, dev_frames=40, calibration_crops=4, calibration_frames=20)
    one, two = (EvaluationData.load(corpus / "data", supernet, how, seed=seed) for seed in (0, 0))
    assert one.dev == two.dev and one.counts.startswith("5 dev speakers")


def test_options_are_checked(tmp_path, corpus, capsys):
    bad = tmp_path / "search.yaml"
    bad.write_text("sample: 10\n")
    with pytest.raises(UserError, match="unknown key 'sample' .did you mean 'samples'"):
        load_settings(SearchSettings, bad)
    bad.write_text("samples: 3\n")
    with pytest.raises(UserError, match="samples = 3 is below 10"):
        load_settings(SearchSettings, bad)
    options = [
        "--supernet",
        str(corpus / "supernet.safetensors"),
        "--data",
        str(corpus / "data"),
        "--dir",
        str(tmp_path / "s"),
        "--search-config",
        str(corpus / "search.yaml"),
        "--plan",
        str(tmp_path / "plan"),
    ]
    assert main(["search", *options, "--macs-budget", "1M"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "below the smallest subnet" in error
    assert main(["search", *options]) == 1 and "no budget" in capsys.readouterr().err
    assert main(["evaluate-subnets", *options, "--job", "3"]) == 2 and "2/8" in capsys.readouterr().err


def test_rivals_fit_and_are_what_they_say(corpus):
    from etdnn.search.controls import largest_that_fits, uniform_scaling
    from etdnn.search.limits import Limits

    space = load_supernet(corpus / "supernet.safetensors").space
    limits = Limits.make(space, macs=5_000_000)
    archs = stage._archs(np.concatenate(list(blocks(space))))
    most = max(cost for cost in map(arch_macs, archs) if cost <= 5_000_000)
    assert arch_macs(largest_that_fits(space, limits)) == most
    scaled = uniform_scaling(space, limits)
    assert limits.admits(archs_to_rows([scaled], space))[0] and len(set(scaled.widths)) == len(set(scaled.kernels)) == 1


def test_budgets_of_the_other_kinds(corpus, tmp_path):
    """A table in which latency is the number of blocks and wide stems: the choice keeps it; a strange machine warns."""
    from etdnn.model.latency import Grid, LatencyTable

    axes = {
        "stem": ((16, 32), (1, 3)),
        "block": ((16, 32), (16, 32), (1, 3)),
        "aggregation": ((16, 64), (24, 48)),
        "pooling": ((24, 48),),
        "embedding": ((24, 48),),
    }
    seconds = {name: 1e-3 * np.meshgrid(*values, indexing="ij")[0] / 16 for name, values in axes.items()}
    table = LatencyTable({name: Grid(values, seconds[name]) for name, values in axes.items()}, {"machine": "Phone"})
    table.save(tmp_path / "table.json")
    inputs, said = inputs_in(corpus, "latency"), []
    wanted = {"macs": "4M", "params": "25K", "latency": "8ms", "memory": "550KB"}
    budgets = [Budget.parse(text, kind) for kind, text in wanted.items()]
    run_stage(inputs, budgets, table=str(tmp_path / "table.json"), say=said.append)
    assert any("warning: latency table" in line and "Phone" in line for line in said)
    arch = Arch.parse((inputs.folder / "latency-8ms" / "arch.txt").read_text().splitlines()[0])
    space = load_supernet(corpus / "supernet.safetensors").space
    assert table.predict(archs_to_rows([arch], space))[0] <= 8e-3
    assert "ms" in (inputs.folder / "latency-8ms" / "summary.txt").read_text()
    proposals = set((inputs.folder / "proposals").iterdir())
    replace(table, scale=1.2).save(tmp_path / "slower.json")
    run_stage(inputs, [budgets[2]], table=str(tmp_path / "slower.json"))
    assert set((inputs.folder / "proposals").iterdir()) > proposals  # not those made for the other table
    small = Arch.parse((inputs.folder / "memory-550KB" / "arch.txt").read_text().splitlines()[0])
    assert arch_memory(small) <= 550_000
    assert int((inputs.folder / "params-25K" / "arch.txt").read_text().split("params ")[1].split()[0]) <= 25_000


def test_script_names_the_stage_that_makes_what_is_missing(corpus, repository, tmp_path):
    for name in ("utils", "local"):
        (tmp_path / name).symlink_to(repository / name)
    environment = {**os.environ, "PYTHONPATH": str(repository), "LC_ALL": "C"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def search(*options: str) -> str:
        call = ["bash", "local/search.sh", *options]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode != 0
        return done.stderr

    assert "stages 2 and 3" in search("--macs-budget", "4M", "data", "exp")
    (tmp_path / "exp" / "supernet").mkdir(parents=True)
    (tmp_path / "exp" / "supernet" / "supernet.safetensors").symlink_to(corpus / "supernet.safetensors")
    assert "stage 1" in search("--macs-budget", "4M", "data", "exp")
    (tmp_path / "data").symlink_to(corpus / "data")
    assert "conf/search.yaml: no such file" in search("--macs-budget", "4M", "data", "exp")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "search.yaml").symlink_to(corpus / "search.yaml")
    assert "no budget is given" in search("data", "exp")
    assert "unknown option" in search("--macs-budjet", "4M", "data", "exp").lower()


def test_a_changed_space_file_is_searched_anew(repository, tmp_path):
    for name in ("utils", "local"):
        (tmp_path / name).symlink_to(repository / name)
    inputs = ["exp/supernet/supernet.safetensors", "search.yaml", "data/train/feats.scp", "data/dev/feats.scp",
              "data/dev/trials_clean", "data/dev/trials_cross", "space.yaml"]  # fmt: skip
    for name in [*inputs, "exp/search/4M/arch.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("made\n")
    (tmp_path / "search.yaml").write_text("samples: 20\nspace: 'space.yaml'  # ours\n")
    environment = {**os.environ, "PYTHONPATH": str(repository), "LC_ALL": "C"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def bash(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["bash", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    stamp = 'source utils/stamp.sh; stamp_write exp/search/4M/.stamp "search seed=0" "$@"'
    assert bash("-c", stamp, "stamp", *inputs).returncode == 0
    call = ["local/search.sh", "--search-config", "search.yaml", "--macs-budget", "4M", "data", "exp"]
    assert "4M/arch.txt is up to date" in bash(*call).stdout
    (tmp_path / "space.yaml").write_text("changed\n")
    again = bash(*call)  # the supernet of this test is none, so no search ends well
    assert again.returncode != 0 and "up to date" not in again.stdout
