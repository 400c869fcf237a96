"""local/stages.sh: gates, options, refusals and the line that resumes a failed stage."""

import os
import shlex
import shutil
import time

import pytest
from helpers.fake_stages import FakeEgs

ALL = [
    "prepare_toy",
    "make_features",
    *["train_phase"] * 3,
    "search",
    *["derive"] * 3,
    *["embed"] * 3,
    *["score"] * 3,
    *["export"] * 3,
]


@pytest.fixture
def egs(tmp_path):
    return FakeEgs(tmp_path)


def names(egs):
    return [call[0] for call in egs.calls()]


def option(call, name):
    """Return the values that follow option `name` in a stage's call."""
    return [call[index + 1] for index, word in enumerate(call) if word == name]


def one_line(done, *parts):
    """Check that a call failed with one line on standard error that holds `parts`."""
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def test_all_stages_run_in_order_for_each_budget_and_the_largest(egs):
    done = egs.run()
    assert done.returncode == 0, done.stderr
    calls = egs.calls()
    assert [call[0] for call in calls] == [*ALL, "report"]
    assert [call[-3] for call in calls if call[0] == "train_phase"] == ["largest", "kernel", "depth"]
    for name in ("derive", "export"):
        assert [call[-1] for call in calls if call[0] == name] == ["204M", "571M", "largest"]
    assert option(calls[0], "--nj") == ["2"]
    assert option(next(call for call in calls if call[0] == "search"), "--macs-budget") == ["204M 571M"]


def test_a_training_of_one_phase_leaves_stage_3_nothing_to_do(egs):
    (egs.folder / "conf/train.yaml").write_text("phases:\n- {name: elastic, epochs: 1}\n")
    done = egs.run()
    assert done.returncode == 0, done.stderr
    assert [call[-3] for call in egs.calls() if call[0] == "train_phase"] == ["elastic"]
    assert "stage 3] nothing to do: elastic is the only phase of conf/train.yaml" in done.stdout


def test_it_runs_from_any_folder_and_finds_inputs_where_they_are_named(egs, tmp_path):
    (tmp_path / "my recordings").mkdir()
    done = egs.run("--stop-stage", "0", "--corpus", "my recordings", cwd=tmp_path, script="egs/toy/run.sh")
    assert done.returncode == 0, done.stderr
    assert option(egs.calls()[0], "--corpus") == [str(tmp_path / "my recordings")]


def test_it_runs_through_links_to_the_folder_and_to_the_script(egs, tmp_path):
    (tmp_path / "bin").mkdir()
    for link, target in (("bin/run-toy", egs.folder / "run.sh"), ("bin/toy", egs.folder)):
        (tmp_path / link).symlink_to(target)
    for script in ("run-toy", "toy/run.sh"):
        done = egs.run("--stop-stage", "0", "--corpus", "recordings", cwd=tmp_path / "bin", script=script)
        assert done.returncode == 0, done.stderr
        assert option(egs.calls()[0], "--corpus") == ["recordings"]


def test_what_may_not_be_read_or_written_is_one_line(egs):
    """Root may do all, so the call is made without that power."""
    through = () if os.geteuid() else ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    if through and not shutil.which("setpriv"):
        pytest.skip("the tests run as root, and setpriv (util-linux) is not there to take that power away")
    (egs.folder / "secret.conf").write_text("nj=1\n")
    (egs.folder / "secret.conf").chmod(0)
    (egs.folder / "closed" / "exp").mkdir(parents=True)
    for folder in ("closed/exp", "closed"):
        (egs.folder / folder).chmod(0o555)
    for options, said in (
        (["--config", "secret.conf"], "cannot read the file 'secret.conf'"),
        (["--expdir", "closed/new"], "'closed/new': Permission denied"),
        (["--expdir", "closed/exp"], "closed/exp is not writable"),
        (["--datadir", "closed/data"], "closed/data cannot be written"),
    ):
        one_line(egs.run(*options, through=through), said)
        assert names(egs) == []
    (egs.folder / "closed").chmod(0o755)


def test_stop_stage_says_how_to_go_on(egs):
    done = egs.run("--stop_stage=1", "--seed", "3")
    assert names(egs) == ["prepare_toy", "make_features"]
    assert done.stdout.splitlines()[-1] == "next: bash run.sh --seed 3 --stage 2"


def test_budgets_given_replace_the_default(egs):
    assert egs.run("--params-budget", "900K").returncode == 0
    calls = egs.calls()
    search = next(call for call in calls if call[0] == "search")
    assert option(search, "--macs-budget") == [""] and option(search, "--params-budget") == ["900K"]
    assert [call[-1] for call in calls if call[0] == "score"] == ["params-900K", "largest"]


def test_vad_is_stage_1s(egs):
    assert egs.run("--stop-stage", "1", "--vad", "true").returncode == 0
    assert [option(call, "--vad") for call in egs.calls()] == [[], ["true"]]


def test_fine_tuning_of_several_ranks_has_their_gpus(egs):
    assert egs.run("--stop-stage", "4").returncode == 0
    egs.calls()
    for options, expected in (
        (("--finetune", "true"), "utils/slurm.pl --mem 32G --gpu 4"),
        ((), "utils/slurm.pl --mem 8G --gpu 1"),
    ):
        words = ("--stage", "5", "--stop-stage", "5", "--num-ranks", "4", *options)
        assert egs.run(*words, through=("env", "ETDNN_CMD=slurm")).returncode == 0
        assert {option(call, "--cmd")[0] for call in egs.calls()} == {expected}


def test_imported_subnets_are_embedded_scored_and_exported(egs):
    model = egs.folder / "exp" / "toy" / "subnet" / "small" / "model.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    done = egs.run("--stage", "6", "--subnets", "small")
    assert done.returncode == 0, done.stderr
    calls = egs.calls()
    assert [call[0] for call in calls] == ["embed", "score", "export", "report"]
    assert {call[-1] for call in calls[:3]} == {"small"}
    one_line(egs.run("--stage", "5", "--subnets", "small"), "--subnets is for stages 6 to 8")


def test_trial_files_go_to_stage_0_and_their_names_to_stage_7(egs, tmp_path):
    (tmp_path / "trials_cross.txt").write_text("1 a b\n")
    done = egs.run("--trials", "trials_cross.txt", "--trials", "main", cwd=tmp_path, script="egs/toy/run.sh")
    assert done.returncode == 0, done.stderr
    calls = egs.calls()
    assert option(calls[0], "--trials") == [str(tmp_path / "trials_cross.txt"), "main"]
    assert option([call for call in calls if call[0] == "score"][-1], "--trials") == ["cross", "main"]


@pytest.mark.parametrize(
    ("stage", "missing", "maker"),
    [(1, "data/train/wav.scp", 0), (2, "data/train_all/feats.scp", 1), (4, "data/dev/feats.scp", 1),
     (5, "exp/toy/supernet", 3), (6, "exp/toy/subnet/204M/model.safetensors", 5),
     (7, "exp/toy/subnet/204M/embeddings/test.scp", 6), (8, "exp/toy/results.tsv", 7)],
)  # fmt: skip
def test_a_missing_input_names_the_stage_that_makes_it(egs, stage, missing, maker):
    one_line(
        egs.run("--stage", str(stage)), f"{missing} is missing", f"stage {maker} makes it: bash run.sh --stage {maker}"
    )
    assert names(egs) == []


def test_search_without_a_supernet_names_stage_3(egs):
    assert egs.run("--stop-stage", "1").returncode == 0
    one_line(egs.run("--stage", "4"), "exp/toy/supernet is missing; stage 3 makes it: bash run.sh --stage 3")
    one_line(egs.run("--stage", "4", "--phase", "kernel"), "exp/toy/kernel/supernet.safetensors is missing; stage 3")


def test_a_time_limit_is_each_trainings_and_stopped_by_it_the_same_command_goes_on(egs):
    (egs.folder / "fail").write_text("derive")
    (egs.folder / "status").write_text("85")
    done = egs.run("--stop-after", "90", "--finetune", "true")
    calls = egs.calls()
    assert [option(call, "--stop-after") for call in calls if call[0] in ("train_phase", "derive")] == [["90"]] * 4
    assert done.returncode == 85 and "stage 5 stopped with a checkpoint (local/derive.sh, status 85)" in done.stderr
    assert done.stderr.splitlines()[-1] == "  bash run.sh --stop-after 90 --finetune true --stage 5"


def test_a_failed_stage_prints_a_line_that_resumes_it(egs):
    (egs.folder / "fail").write_text("search")
    given = ["--macs-budget", "204M 571M", "--expdir=exp/it's", "--force", "true", "--stage", "0", "--nj", "1"]
    done = egs.run(*given)
    assert done.returncode == 3
    egs.calls()
    line = done.stderr.strip().splitlines()[-1]
    words = shlex.split(line)
    assert words == ["bash", "run.sh", "--macs-budget", "204M 571M", "--expdir=exp/it's", "--nj", "1", "--stage", "4"]
    (egs.folder / "fail").unlink()
    assert egs.run(*words[2:]).returncode == 0
    assert names(egs)[0] == "search"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--macs-bugdet", "204M"], ["--macs-bugdet", "--macs-budget"]),
        (["--stage"], ["--stage", "value"]),
        (["--stage", "four"], ["--stage 'four'"]),
        (["--stage", "9"], ["no stage 9"]),
        (["--stage", "4", "--stop-stage", "3"], ["nothing to do"]),
        (["--nj", "0"], ["--nj '0'"]),
        (["--nj", "abc"], ["--nj 'abc'"]),
        (["--seed", "-1"], ["--seed '-1'"]),
        (["--device", "gpu"], ["--device 'gpu'", "auto, cpu, cuda"]),
        (["--stop-after", "0"], ["--stop-after '0'"]),
        (["--stop-after", "1h"], ["--stop-after '1h'"]),
        (["extra"], ["'extra'"]),
        (["--macs-budget", "20M"], ["20M", "83752256"]),
        (["--macs-budget", "much"], ["'much'", "204M"]),
        (["--macs-budget", "5X"], ["'5X'", "204M"]),
        (["--macs-budget", "-5M"], ["'-5M'", "204M"]),
        (["--latency-budget", "8ms"], ["a latency budget needs a latency table"]),
        (["--latency-budget", "8ms", "--latency-table", "absent"], ["absent: no such latency table"]),
        (["--phase", "kernal"], ["--phase kernal", "largest, kernel, depth"]),
        (["--train-config", "conf/absent.yaml"], ["conf/absent.yaml"]),
        (["--train-config", "broken.yaml"], ["broken.yaml:2: not valid YAML: expected"]),
        (["--expdir", "conf/train.yaml/below"], ["conf/train.yaml is a file"]),
        (["--datadir", "conf/train.yaml/below"], ["conf/train.yaml is a file"]),
        (["--config", "absent.conf"], ["--config", "'absent.conf'"]),
    ],
)
def test_wrong_options_stop_with_one_line_before_any_stage(egs, options, parts):
    (egs.folder / "broken.yaml").write_text("phases: [\n")
    done = egs.run(*options)
    one_line(done, *parts)
    assert done.returncode == 2 or "--" not in parts[0]  # what is wrong in the call itself, as programs have it
    assert names(egs) == []


def test_options_from_a_file_lose_against_the_command_line(egs):
    (egs.folder / "my.conf").write_text("seed=5\nnj=1\n")
    assert egs.run("--stop-stage", "0", "--seed", "6", "--config", "my.conf").returncode == 0
    call = egs.calls()[0]
    assert option(call, "--seed") == ["6"] and option(call, "--nj") == ["1"]


def test_values_are_never_evaluated(egs):
    assert egs.run("--stop-stage", "0", "--corpus", "$(touch pwned)`touch pwned`").returncode == 0
    assert not (egs.folder / "pwned").exists()
    assert option(egs.calls()[0], "--corpus") == ["$(touch pwned)`touch pwned`"]


@pytest.mark.parametrize("egs_name", ["mini", "own", "voxceleb", "cnceleb"])
def test_help_lists_every_option(repository, egs_name):
    import re
    import subprocess

    run_sh = repository / "egs" / egs_name / "run.sh"
    text = subprocess.run(["bash", run_sh, "--help"], capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  --([a-z0-9-]+)", text, re.MULTILINE))
    sources = (repository / "local" / "stages.sh").read_text() + run_sh.read_text()
    variables = set(re.findall(r"^ {0,2}([a-z][a-z0-9_]*)=", sources, re.MULTILINE)) - {"help_message"}
    assert listed == {name.replace("_", "-") for name in variables} | {"config"}


def test_every_call_is_noted_for_the_report(egs):
    egs.run("--stop-stage", "0", "--macs-budget", "204M 571M")
    time, revision, command = (egs.folder / "exp" / "toy" / "commands.tsv").read_text().rstrip("\n").split("\t")
    assert time and revision and command == "bash run.sh --stop-stage 0 --macs-budget '204M 571M'"


@pytest.mark.parametrize(
    ("script", "first", "second"),
    [
        ("prepare_toy", ["--stop-stage", "0"], ["--stop-stage", "1", "--expdir", "exp/other"]),  # one data directory
        ("train_phase", ["--stage", "2", "--stop-stage", "2"], ["--stage", "2", "--stop-stage", "3"]),  # one experiment
    ],
)
def test_a_second_run_waits_for_what_a_killed_one_left_running(egs, tmp_path, script, first, second):
    assert egs.run("--stop-stage", "1").returncode == 0
    egs.calls()
    slow = egs.root / "local" / f"{script}.sh"
    hold = "touch started; while [ ! -e go ]; do sleep 0.1; done; printf '%s'"
    slow.write_text(slow.read_text().replace("printf '%s'", hold, 1))
    run = egs.start(tmp_path / "first", *first)
    wait_until((egs.folder / "started").exists)
    run.kill()  # run.sh alone, as kill -9 does it; the stage goes on
    run.wait()
    run = egs.start(tmp_path / "second", *second)
    wait_until(lambda: "waiting" in (tmp_path / "second").read_text())
    assert not (egs.folder / "calls").exists()
    (egs.folder / "go").touch()
    assert run.wait() == 0
    later = ["make_features"] if script == "prepare_toy" else ["train_phase", "train_phase"]
    assert names(egs) == [script, script, *later]


def wait_until(condition):
    while not condition():
        time.sleep(0.05)
