"""slurm.pl against programs that stand in for Slurm's; test_slurm.py runs it on a real one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY, run_script

SBATCH = """#!/usr/bin/env python3
import os, subprocess, sys
folder = os.environ["STAND_IN"]
open(folder + "/calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
if "--refuse=1" in sys.argv:
    sys.exit("sbatch: error: invalid partition")
array = [word.split("=")[1] for word in sys.argv if word.startswith("--array=")]
lost = os.environ.get("LOSE", "")
print("77")
if not array:
    subprocess.Popen(["bash", sys.argv[-1]], stdout=subprocess.DEVNULL)
for task in range(*[int(x) + i for i, x in enumerate(array[0].split("%")[0].split("-"))]) if array else []:
    if str(task) != lost:
        os.environ["SLURM_ARRAY_TASK_ID"] = str(task)
        subprocess.Popen(["bash", sys.argv[-1]], stdout=subprocess.DEVNULL)
"""
SQUEUE = "#!/bin/sh\nexit 0\n"
# answers one line of the file `answers` after the other, the last one again and again
REPLAY = """#!/bin/sh
cd $STAND_IN || exit 1
answer=$(head -n 1 answers)
[ "$(wc -l < answers)" = 1 ] || sed -i 1d answers
echo "$answer" >> looks
case $answer in
  nothing) ;;
  unknown) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;
  silence) echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1 ;;
  *) echo "N/A $answer" ;;
esac
"""
SCANCEL = '#!/bin/sh\necho "$@" > $STAND_IN/cancelled\n'


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "STAND_IN": str(tmp_path), "ETDNN_SLURM_INTERVAL": "0.3"}


def test_options_become_sbatchs(tmp_path: Path, cluster: dict[str, str]) -> None:
    options = ["--mem", "4G", "--num-threads", "2", "--gpu", "1", "--time", "1:00:00", "--max-jobs-run", "3"]
    words = [*options, "JOB=1:4", "log/x.JOB.log", "echo", "part JOB"]
    result = run_script("slurm.pl", *words, cwd=tmp_path, **cluster)
    assert (result.returncode, result.stderr) == (0, "")
    call = (tmp_path / "calls").read_text().split()
    for word in ("--mem=4G", "--cpus-per-task=2", "--gres=gpu:1", "--time=1:00:00", "--array=1-4%3", "--export=ALL"):
        assert word in call
    for job in range(1, 5):
        text = (tmp_path / f"log/x.{job}.log").read_text()
        assert f"\npart {job}\n" in text
        assert "# Ended (code 0)" in text


def test_single_job(tmp_path: Path, cluster: dict[str, str]) -> None:
    result = run_script("slurm.pl", "--gpu", "0", "log/x.log", "echo", "$HOME 'q'", cwd=tmp_path, **cluster)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\n$HOME 'q'\n" in (tmp_path / "log/x.log").read_text()
    assert "--array" not in (tmp_path / "calls").read_text()
    assert "--gres" not in (tmp_path / "calls").read_text()


def test_failed_jobs_are_named_and_run_again_alone(tmp_path: Path, cluster: dict[str, str]) -> None:
    words = ["JOB=1:3", "log/x.JOB.log", "bash", "-c", "echo try; [ $0 != 2 ] || [ -e fixed ]", "JOB"]
    result = run_script("slurm.pl", *words, cwd=tmp_path, **cluster)
    assert result.returncode == 1
    assert "job 2 failed (code 1), its log is log/x.2.log" in result.stderr
    assert "x.1.log" not in result.stderr
    (tmp_path / "fixed").write_text("")
    stamp = (tmp_path / "log/x.1.log").stat().st_mtime_ns
    again = result.stderr.strip().splitlines()[-1].split(": ", 2)[2]
    assert again == "sbatch --array=2 log/q/x.sh"
    environment = {**os.environ, **cluster, "SLURM_ARRAY_TASK_ID": "2"}
    subprocess.run(["bash", "log/q/x.sh"], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert "# Ended (code 0)" in (tmp_path / "log/x.2.log").read_text()
    assert (tmp_path / "log/x.1.log").stat().st_mtime_ns == stamp


def test_a_lost_job_is_named(tmp_path: Path, cluster: dict[str, str]) -> None:
    words = ["JOB=1:3", "log/x.JOB.log", "true"]
    result = run_script("slurm.pl", *words, cwd=tmp_path, LOSE="3", **cluster)
    assert result.returncode == 1
    assert "job 3 failed (job 77 left the queue without an end), its log is log/x.3.log" in result.stderr


def replay(programs: Path, answers: list[str]) -> None:
    (programs / "squeue").write_text(REPLAY)
    (programs.parent / "answers").write_text("".join(f"{answer}\n" for answer in answers))
    (programs / "sbatch").write_text("#!/bin/sh\necho 77\n")


ABSENT = ["nothing", "unknown", "FAILED", "COMPLETED"]


@pytest.mark.parametrize("back", ["COMPLETING", "PENDING", "REQUEUED", "SPECIAL_EXIT", "RUNNING", "silence"])
def test_a_job_on_its_way_back_into_the_queue_is_waited_for(tmp_path: Path, cluster: dict[str, str], back: str) -> None:
    """Fewer looks than five in a row at which it is away do not end a job that is there again."""
    answers = ["RUNNING", *ABSENT, back, *ABSENT, back, "PENDING"]
    replay(tmp_path / "programs", answers)
    call = [REPOSITORY / "utils/slurm.pl", "log/x.log", "true"]
    environment = {**os.environ, **cluster, "ETDNN_SLURM_INTERVAL": "0"}
    process = subprocess.Popen(call, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    looks, deadline = tmp_path / "looks", time.monotonic() + 60
    while not (looks.exists() and looks.read_text().count("\n") > len(answers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    subprocess.run(["bash", tmp_path / "log/q/x.sh"], cwd=tmp_path, env=environment, check=True)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert looks.read_text().split()[: len(answers)] == answers


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["RUNNING", "nothing"], "without an end)"),
        (["RUNNING", "unknown"], "without an end)"),
        (["PENDING", "FAILED"], "without an end, Slurm says FAILED)"),
        (["COMPLETING", "PREEMPTED"], "without an end, Slurm says PREEMPTED)"),
        (["RUNNING", "OUT_OF_MEMORY", "unknown"], "without an end, Slurm says OUT_OF_MEMORY)"),
    ],
)
def test_a_job_that_stays_away_is_named_with_slurms_word(
    tmp_path: Path, cluster: dict[str, str], answers: list[str], words: str
) -> None:
    replay(tmp_path / "programs", answers)
    result = run_script("slurm.pl", "log/x.log", "true", cwd=tmp_path, **{**cluster, "ETDNN_SLURM_INTERVAL": "0"})
    assert result.returncode == 1
    assert f"job failed (job 77 left the queue {words}, its log is log/x.log" in result.stderr
    assert len((tmp_path / "looks").read_text().split()) == 6


def test_interruption_cancels(tmp_path: Path, cluster: dict[str, str]) -> None:
    command = [REPOSITORY / "utils/slurm.pl", "log/x.log", "sleep", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **cluster}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "log/x.log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert "job 77 was cancelled" in message
    assert (tmp_path / "cancelled").read_text() == "77\n"


@pytest.mark.parametrize(("stop", "code"), [("kill -TERM $PPID; sleep 9", 143), ("exit 85", 85)])
def test_a_job_told_to_stop_may_be_queued_again(tmp_path: Path, cluster: dict[str, str], stop: str, code: int) -> None:
    """The whole job, as by preemption, or a training alone, which has saved its work (RequeueExit=85)."""
    programs = tmp_path / "programs"
    again = f'subprocess.Popen(["bash", "-c", "bash $0; test $? = {code} && sleep 1.5 && bash $0", sys.argv[-1]],'
    (programs / "sbatch").write_text(SBATCH.replace('subprocess.Popen(["bash", sys.argv[-1]],', again))
    (programs / "squeue").write_text("#!/bin/sh\necho N/A PENDING\n")
    job = f"if test -e once; then echo went on; else touch once; {stop}; fi"
    result = run_script("slurm.pl", "log/x.log", "bash", "-c", job, cwd=tmp_path, **cluster)
    assert (result.returncode, result.stderr) == (0, "")
    assert "went on" in (tmp_path / "log/x.log").read_text()


def test_a_stopped_job_that_is_not_queued_again_is_named(tmp_path: Path, cluster: dict[str, str]) -> None:
    (tmp_path / "programs/squeue").write_text("#!/bin/sh\necho N/A FAILED\n")
    result = run_script("slurm.pl", "log/x.log", "bash", "-c", "echo saved; exit 85", cwd=tmp_path, **cluster)
    assert result.returncode == 1
    assert "failed (code 85, and Slurm has not queued it again), its log is log/x.log\n    saved" in result.stderr


def test_configuration_file(tmp_path: Path, cluster: dict[str, str]) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text(
        "# ours\ncommand sbatch --partition=long\noption gpu=* --partition=gpu --gres=gpu:a100:$0\n"
        "option bad=1 --refuse=1\ndefault time=3-0\n"
    )
    assert run_script("slurm.pl", "--gpu", "2", "x.log", "true", cwd=tmp_path, **cluster).returncode == 0
    call = (tmp_path / "calls").read_text().split()
    assert call[0] == "--partition=long" and "--gres=gpu:a100:2" in call and "--time=3-0" in call
    result = run_script("slurm.pl", "--bad", "1", "y.log", "true", cwd=tmp_path, **cluster)
    assert (result.returncode, result.stderr) == (
        1,
        "slurm.pl: sbatch refused the job: sbatch: error: invalid partition\n",
    )
    result = run_script("slurm.pl", "--colour", "red", "y.log", "true", cwd=tmp_path, **cluster)
    assert "--colour red: no option line of conf/slurm.conf" in result.stderr
    (tmp_path / "conf/slurm.conf").write_text("command sbatch\nnonsense\n")
    result = run_script("slurm.pl", "z.log", "true", cwd=tmp_path, **cluster)
    assert "conf/slurm.conf:2: expected command, option" in result.stderr


def test_without_slurm_one_line(tmp_path: Path, cluster: dict[str, str]) -> None:
    (tmp_path / "my.conf").write_text("command sbatch-is-not-here\n")
    result = run_script("slurm.pl", "--config", "my.conf", "x.log", "true", cwd=tmp_path, **cluster)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "sbatch-is-not-here is not on this machine" in result.stderr
