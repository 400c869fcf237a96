"""Stages 5 to 7 through the command line and through local/*.sh on made-up features."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from helpers.tiny_corpus import make_corpus, make_supernet

from etdnn.cli import main
from etdnn.data.ark import FeatureReader
from etdnn.data.datadir import DataDir, read_table, write_table
from etdnn.embed.extract import embed_utterances
from etdnn.embed.jobs import cohort_ids
from etdnn.errors import UserError
from etdnn.model.checkpoint import read_subnet, save_subnet
from etdnn.scoring.embeddings import read_embeddings
from etdnn.scoring.results import read_results

ARCH = "2-24-16-32-3-1-3-48"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Data directories and a supernet; tests work on copies or write beside it."""
    root = tmp_path_factory.mktemp("stages")
    make_corpus(root / "data")
    make_supernet(root / "exp" / "supernet" / "supernet.safetensors")
    return root


def derive(base, out, *options):
    words = ["--supernet", base / "exp/supernet/supernet.safetensors", "--data", base / "data/train", "--out", out]
    words += ["--frames", 40, "--arch", ARCH, *options]
    return main(["derive", *map(str, words)])


@pytest.fixture(scope="module")
def model(base):
    assert derive(base, base / "model.safetensors") == 0
    return base / "model.safetensors"


def test_derived_weights_are_the_supernets_and_statistics_are_not(base, model):
    from etdnn.model.checkpoint import load_supernet

    net, metadata = read_subnet(model)
    raw = load_supernet(base / "exp/supernet/supernet.safetensors").derive(ARCH).state_dict()
    for name, tensor in net.state_dict().items():
        measured = "running" in name or "num_batches" in name
        assert torch.equal(tensor, raw[name]) != measured, name
    assert net.calibrated and metadata["calibrated"]
    assert {"arch", "space", "frontend", "normalisation", "training", "supernet", "macs", "params"} <= metadata.keys()
    assert metadata["calibration"]["crops"] == 48  # clamped to one per utterance
    assert metadata["training"] == {"phase": "width2"}


def test_derive_is_repeatable_and_takes_all_forms_of_an_arch(base, model, tmp_path, capsys):
    (tmp_path / "arch.txt").write_text(f"{ARCH}\n# macs 123\n")
    assert derive(base, tmp_path / "again", "--arch", tmp_path / "arch.txt") == 0
    assert (tmp_path / "again").read_bytes() == model.read_bytes()
    assert derive(base, tmp_path / "largest", "--arch", "largest") == 0
    assert read_subnet(tmp_path / "largest")[1]["arch"] == "2-32-32-32-3-3-3-48"
    assert derive(base, tmp_path / "other", "--seed", 1) == 0
    assert (tmp_path / "other").read_bytes() != model.read_bytes()
    assert "convention: MACs of 3 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--arch", "exp/search/204M/arch.txt"], "stage 4 makes it"), (["--arch", "2-64-64-64-3-3-3-48"], "does not fit"),
     (["--supernet", "none"], "no such model file"), (["--crops", "1"], "at least 2 crops")],
)  # fmt: skip
def test_derive_says_what_is_wrong(base, tmp_path, capsys, options, part):
    assert derive(base, tmp_path / "model", *options) != 0
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_derive_refuses_another_front_end(base, tmp_path, capsys):
    shutil.copytree(base / "data" / "train", tmp_path / "train")
    (tmp_path / "train" / "frontend.json").write_text(json.dumps({"type": "efficienttdnn", "num_mel_bins": 80}))
    assert derive(base, tmp_path / "model", "--data", tmp_path / "train") == 1
    assert "type efficienttdnn (model: kaldi)" in capsys.readouterr().err


def extract(base, model, out, *options, data="test"):
    words = ["--model", model, "--data", base / "data" / data, "--out", out, *options]
    return main(["extract", *map(str, words)])


def test_jobs_give_what_one_process_gives(base, model, tmp_path, capsys):
    assert extract(base, model, tmp_path / "one") == 0
    for job in (1, 2, 3):
        assert extract(base, model, tmp_path / "test", "--job", f"{job}/3") == 0
    assert main(["extract", "--out", str(tmp_path / "test"), "--join", "3"]) == 0
    one, three = (read_embeddings(tmp_path / f"{name}.scp") for name in ("one", "test"))
    assert one.ids == three.ids == sorted(DataDir(base / "data/test").utt2spk)
    assert np.allclose(one.matrix, three.matrix, atol=1e-4)
    assert np.array_equal(kaldiio.load_scp(str(tmp_path / "test.scp"))[three.ids[7]], three.matrix[7])
    net, _ = read_subnet(model)
    reader = FeatureReader(base / "data/test/feats.scp")
    assert np.array_equal(one.matrix, embed_utterances(net, reader, np.arange(len(reader)), "mean"))
    capsys.readouterr()
    assert extract(base, model, tmp_path / "test", "--job", "2/3") == 0
    assert "are there already" in capsys.readouterr().out


def test_join_names_the_job_that_is_missing_or_of_another_model(base, model, tmp_path, capsys):
    extract(base, model, tmp_path / "test", "--job", "1/2")
    assert main(["extract", "--out", str(tmp_path / "test"), "--join", "2"]) == 1
    assert "job 2 of 2 has not finished" in capsys.readouterr().err
    derive(base, tmp_path / "other", "--seed", "9")
    extract(base, tmp_path / "other", tmp_path / "test", "--job", "2/2")
    assert main(["extract", "--out", str(tmp_path / "test"), "--join", "2"]) == 1
    assert "another model" in capsys.readouterr().err
    assert not (tmp_path / "test.scp").exists()


def test_utterance_list(base, model, tmp_path, capsys):
    ids = sorted(DataDir(base / "data/test").utt2spk)[::5]
    (tmp_path / "list").write_text("".join(f"{name}\n" for name in ids))
    assert extract(base, model, tmp_path / "some", "--utt-list", tmp_path / "list") == 0
    assert read_embeddings(tmp_path / "some.scp").ids == ids
    (tmp_path / "list").write_text(f"{ids[0]}\nnobody\n")
    assert extract(base, model, tmp_path / "some", "--utt-list", tmp_path / "list") == 1
    assert "list:2: 'nobody' is no utterance" in capsys.readouterr().err


def test_uncalibrated_model_is_refused(base, model, tmp_path, capsys):
    net, metadata = read_subnet(model)
    net.calibrated = False
    save_subnet(tmp_path / "raw", net, metadata)
    assert extract(base, tmp_path / "raw", tmp_path / "test") == 1
    assert "stage 5" in capsys.readouterr().err


def test_cohort_is_seeded_and_without_copies(base, tmp_path):
    shutil.copytree(base / "data" / "train", tmp_path / "train")
    data = DataDir(tmp_path / "train")
    copies = dict.fromkeys(sorted(data.utt2spk)[::4], "noise=n1@10")
    write_table(tmp_path / "train" / "utt2aug", copies)
    data = DataDir(tmp_path / "train")
    drawn = cohort_ids(data, "utterances", 20, seed=1)
    assert len(drawn) == 20 and drawn == sorted(drawn) and not copies.keys() & set(drawn)
    assert drawn == cohort_ids(data, "utterances", 20, seed=1) != cohort_ids(data, "utterances", 20, seed=2)
    by_speaker = cohort_ids(data, "speakers", 2, seed=1)
    assert len(by_speaker) == 12 and {data.utt2spk[name] for name in by_speaker} == set(data.utt2spk.values())
    with pytest.raises(UserError, match="neither utterances nor speakers"):
        cohort_ids(data, "sessions", 2, seed=1)


@pytest.fixture
def embedded(base, model, tmp_path):
    shutil.copy(model, tmp_path / "model.safetensors")
    for name in ("test", "dev"):
        assert extract(base, model, tmp_path / "embeddings" / name, data=name) == 0
    cohort = ["--cohort", "utterances", "--cohort-size", "30"]
    assert extract(base, model, tmp_path / "embeddings" / "cohort", *cohort, data="train") == 0
    return tmp_path


def score(base, folder, *options):
    words = ["--model", folder / "model.safetensors", "--budget", "1M", "--test", base / "data/test", "--dev",
             base / "data/dev", "--train", base / "data/train", "--embeddings", folder / "embeddings", "--out",
             folder / "scores", "--results", folder / "results.tsv", "--replicates", "50", *options]  # fmt: skip
    return main(["score", *map(str, words)])


def test_scores_results_and_metadata(base, embedded, capsys):
    assert score(base, embedded) == 0
    printed = capsys.readouterr().out
    assert "top-n 30 (asked for 300)" in printed and "convention: MACs of 3 s" in printed
    rows = read_results(embedded / "results.tsv")
    assert [(row["trials"], row["backend"]) for row in rows] == [
        (name, backend) for name in ("cross", "main") for backend in ("asnorm", "cosine", "mean")
    ]
    assert all(float(row["eer_low"]) <= float(row["eer"]) <= float(row["eer_high"]) < 60 for row in rows)
    first = (embedded / "scores" / "test" / "main.cosine.scores").read_text().splitlines()
    trials = (base / "data/test/trials_main").read_text().splitlines()
    assert [line.split()[:2] for line in first] == [line.split()[:2] for line in trials]
    _, metadata = read_subnet(embedded / "model.safetensors")
    assert metadata["results"] == rows
    saved = json.loads((embedded / "scores" / "thresholds.json").read_text())
    assert saved["from"] == "dev" and saved["backends"] == metadata["thresholds"]
    assert saved["backends"]["cosine"]["lists"] == ["clean", "cross"]
    results, before = (embedded / "results.tsv").read_bytes(), (embedded / "model.safetensors").read_bytes()
    assert score(base, embedded) == 0  # a second time: the same bytes, nothing doubled
    assert (embedded / "results.tsv").read_bytes() == results
    assert (embedded / "model.safetensors").read_bytes() == before
    net, metadata = read_subnet(embedded / "model.safetensors")
    own = {**metadata["thresholds"]["cosine"], "from": "own recordings"}
    save_subnet(embedded / "model.safetensors", net, {**metadata, "thresholds": {**metadata["thresholds"], "own": own}})
    assert score(base, embedded) == 0
    assert read_subnet(embedded / "model.safetensors")[1]["thresholds"]["own"] == own, "a user's own stay"


def test_back_ends_with_durations_stand_beside_the_others(base, embedded, tmp_path, capsys):
    assert score(base, embedded, "--backends", "cosine asnorm") == 0
    plain = (embedded / "scores/test/main.asnorm.llr").read_bytes()
    shutil.copytree(base / "data", tmp_path / "data")
    for name in ("test", "dev"):
        names = read_table(tmp_path / "data" / name / "utt2spk")
        write_table(tmp_path / "data" / name / "utt2dur", {one: 1 + n % 7 for n, one in enumerate(names)})
    assert score(tmp_path, embedded, "--backends", "cosine asnorm", "--qmf") == 0
    assert (embedded / "scores/test/main.asnorm.llr").read_bytes() == plain
    rows = read_results(embedded / "results.tsv")
    assert [row["backend"] for row in rows] == ["asnorm", "asnorm+qmf", "cosine", "cosine+qmf"] * 2
    saved = json.loads((embedded / "scores" / "thresholds.json").read_text())["backends"]
    assert saved["asnorm+qmf"]["quality"]["score"] > 0 and "quality" not in saved["asnorm"]
    # what it gives are likelihood ratios already: calibrating them again changes nothing
    assert saved["asnorm+qmf"]["calibration"]["scale"] == pytest.approx(1, abs=0.01)
    assert list(read_subnet(embedded / "model.safetensors")[1]["thresholds"]) == ["asnorm", "cosine"]
    assert main(["score", "--model", "m", "--budget", "1M", "--test", "t", "--qmf", "--embeddings", "e", "--out", "o",
                 "--results", "r.tsv"]) == 2  # fmt: skip
    assert "--qmf is fitted on dev trials: give --dev" in capsys.readouterr().err


def test_the_test_set_has_no_say_in_thresholds(base, embedded, tmp_path):
    assert score(base, embedded) == 0
    before = (embedded / "scores" / "thresholds.json").read_bytes()
    shutil.copytree(base / "data", tmp_path / "data")
    for name in ("main", "cross"):
        path = tmp_path / "data" / "test" / f"trials_{name}"
        lines = [line.split() for line in path.read_text().splitlines()]
        other = {"target": "nontarget", "nontarget": "target"}
        path.write_text("".join(f"{enrol} {test} {other[label]}\n" for enrol, test, label in lines))
    assert score(tmp_path, embedded) == 0
    assert (embedded / "scores" / "thresholds.json").read_bytes() == before
    assert float(read_results(embedded / "results.tsv")[0]["eer"]) > 50


def test_chosen_lists_enrolments_and_speaker_means(base, embedded, tmp_path):
    shutil.copytree(base / "data", tmp_path / "data")
    data = tmp_path / "data" / "test"
    utt2spk = read_table(data / "utt2spk")
    groups = {}
    for name, speaker in utt2spk.items():
        groups.setdefault(f"{speaker}-model", []).append(name)
    write_table(data / "enrol_models", {name: " ".join(group[:3]) for name, group in groups.items()})
    tests = [group[-1] for group in groups.values()]
    lines = [f"{m} {t} {'target' if m.startswith(utt2spk[t]) else 'nontarget'}\n" for m in groups for t in tests]
    (data / "trials_models").write_text("".join(lines))
    options = ["--trials", "models", "--cohort-means", "--backends", "cosine,mean-asnorm"]
    assert score(tmp_path, embedded, *options) == 0
    rows = read_results(embedded / "results.tsv")
    assert [(row["trials"], row["backend"]) for row in rows] == [("models", "cosine"), ("models", "mean-asnorm")]
    assert (rows[0]["targets"], rows[0]["nontargets"]) == ("8", "56")


def test_missing_embeddings_and_lists(base, embedded, capsys):
    scp = embedded / "embeddings" / "test.scp"
    lines = scp.read_text().splitlines(keepends=True)
    scp.write_text("".join(lines[3:]))
    assert score(base, embedded) == 1
    assert "3 ids have no embedding: te00-s0-000" in capsys.readouterr().err
    assert not (embedded / "results.tsv").exists()
    assert score(base, embedded, "--allow-missing") == 0
    assert "3 ids without embedding left out" in capsys.readouterr().out
    assert score(base, embedded, "--trials", "none") == 1
    assert "no such trial list (there are: cross, main)" in capsys.readouterr().err


@pytest.fixture
def egs(base, tmp_path, repository):
    """A folder as an egs, whose stages run from prepared data and supernet."""
    folder = tmp_path / "egs"
    folder.mkdir()
    shutil.copytree(base / "exp", folder / "exp")
    for name in ("local", "utils"):
        (folder / name).symlink_to(repository / name)
    (folder / "data").symlink_to(base / "data")
    arch = folder / "exp" / "search" / "1M" / "arch.txt"
    arch.parent.mkdir(parents=True)
    arch.write_text(f"{ARCH}\n")
    return folder


def shell(folder, repository, script, *words):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    command = ["bash", f"local/{script}.sh", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


STAGES = (("derive", "--frames", "40"), ("embed", "--nj", "1", "--cohort-size", "30"), ("score", "--replicates", "20"))


def test_scripts_run_skip_and_redo(egs, repository):
    for script, *options in STAGES:
        done = shell(egs, repository, script, *options, "data", "exp", "1M")
        assert done.returncode == 0, done.stdout + done.stderr
    assert "EER %" in done.stdout and "1M" in done.stdout
    results = (egs / "exp" / "results.tsv").read_bytes()
    for script, *options in STAGES:
        done = shell(egs, repository, script, *options, "data", "exp", "1M")
        assert done.returncode == 0 and "up to date" in done.stdout, done.stdout + done.stderr
    redone = shell(egs, repository, *STAGES[0], "--force", "true", "data", "exp", "1M")
    assert "up to date" not in redone.stdout and redone.returncode == 0
    assert "up to date" in shell(egs, repository, *STAGES[1], "data", "exp", "1M").stdout  # the same model came out
    assert "up to date" not in shell(egs, repository, *STAGES[2], "data", "exp", "1M").stdout  # it lost its thresholds
    assert (egs / "exp" / "results.tsv").read_bytes() == results
    assert read_subnet(egs / "exp/subnet/1M/model.safetensors")[1]["thresholds"]


def test_features_of_other_audio_are_seen(egs, base, repository):
    (egs / "data").unlink()
    shutil.copytree(base / "data", egs / "data")
    for script, *options in STAGES[:2]:
        assert shell(egs, repository, script, *options, "data", "exp", "1M").returncode == 0
    (egs / "data/test/.feats.made").write_text("option audio of another day\n")
    assert "up to date" in shell(egs, repository, *STAGES[0], "data", "exp", "1M").stdout
    assert "up to date" not in shell(egs, repository, *STAGES[1], "data", "exp", "1M").stdout
    logs = {path.name[:-6]: path.read_text() for path in (egs / "exp/subnet/1M/embeddings/log").glob("*.1.log")}
    assert {name: "there already" in text for name, text in logs.items()} == {
        "test": False,
        "dev": True,
        "cohort": True,
    }
    (egs / "data/train_noise").mkdir()
    (egs / "data/train_noise/feats.scp").write_text("n ark:1\n")
    assert "up to date" not in shell(egs, repository, *STAGES[0], "data", "exp", "1M").stdout


def test_scripts_name_the_stage_that_is_missing(egs, repository):
    for script, stage in (("embed", "stage 5"), ("score", "stage 6")):
        done = shell(egs, repository, script, "data", "exp", "1M")
        assert done.returncode != 0 and stage in done.stderr and done.stderr.count("\n") == 1
    done = shell(egs, repository, "derive", "data", "exp", "2M")
    assert done.returncode != 0 and "search/2M/arch.txt is missing; stage 4" in done.stderr
    assert shell(egs, repository, "derive", "--help").returncode == 0
