"""utils/slurm.pl on a real Slurm of this machine, which these tests start and stop."""

import subprocess
import time
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY, run_script

pytestmark = pytest.mark.xdist_group("slurm")


def test_array_runs_and_logs_as_on_one_machine(tmp_path: Path, slurm: dict[str, str]) -> None:
    words = ["--mem", "100M", "--num-threads", "1", "--max-jobs-run", "3", "JOB=1:4", "log/x.JOB.log"]
    command = ["bash", "-c", 'echo "part $0 is task $SLURM_ARRAY_TASK_ID, $1"', "JOB", "a b $(id)"]
    result = run_script("slurm.pl", *words, *command, cwd=tmp_path, **slurm)
    assert (result.returncode, result.stderr) == (0, "")
    for job in range(1, 5):
        text = (tmp_path / f"log/x.{job}.log").read_text()
        assert f"\npart {job} is task {job}, a b $(id)\n" in text
        assert "# Ended (code 0)" in text


def test_single_job(tmp_path: Path, slurm: dict[str, str]) -> None:
    result = run_script("slurm.pl", "log/x.log", "echo", "alone", cwd=tmp_path, **slurm)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\nalone\n" in (tmp_path / "log/x.log").read_text()


def test_failed_job_is_named_and_runs_again_alone(tmp_path: Path, slurm: dict[str, str]) -> None:
    body = 'if [ "$0" = 2 ] && [ ! -e fixed ]; then echo bad input; exit 3; fi; echo done $0 > part.$0'
    words = ["JOB=1:4", "log/x.JOB.log", "bash", "-c", body, "JOB"]
    result = run_script("slurm.pl", *words, cwd=tmp_path, **slurm)
    assert result.returncode == 1
    assert "job 2 failed (code 3), its log is log/x.2.log\n    bad input" in result.stderr
    assert sorted(path.name for path in tmp_path.glob("part.*")) == ["part.1", "part.3", "part.4"]
    (tmp_path / "fixed").write_text("")
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part.*")}
    again = result.stderr.strip().splitlines()[-1].split("again: ")[1].split()
    assert again == ["sbatch", "--array=2", "log/q/x.sh"]
    subprocess.run([again[0], "--wait", *again[1:]], cwd=tmp_path, env=slurm, check=True, timeout=120)
    assert (tmp_path / "part.2").read_text() == "done 2\n"
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_killed_job_is_named(tmp_path: Path, slurm: dict[str, str]) -> None:
    # another name than JOB, which would be replaced in Slurm's variable too
    body = 'echo $SLURM_ARRAY_JOB_ID > new.$0; mv new.$0 id.$0; [ "$0" != 3 ] || exec sleep 300'
    command = [REPOSITORY / "utils/slurm.pl", "PART=1:4", "log/x.PART.log", "bash", "-c", body, "PART"]
    process = subprocess.Popen(command, cwd=tmp_path, env=slurm, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "id.3").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    subprocess.run(["scancel", (tmp_path / "id.3").read_text().strip() + "_3"], env=slurm, check=True)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "1 of 4 jobs failed" in message
    assert "slurm.pl: job 3 failed (" in message
    assert "its log is log/x.3.log" in message


def test_a_requeued_job_runs_again_and_counts_once(tmp_path: Path, slurm: dict[str, str]) -> None:
    """As after preemption: the job is stopped, goes back to the queue, and its second run is the one that counts."""
    body = (
        'echo run >> runs; echo $SLURM_JOB_ID > new; mv new id; [ "${SLURM_RESTART_COUNT:-0}" = 1 ] || exec sleep 300'
    )
    command = [REPOSITORY / "utils/slurm.pl", "log/x.log", "bash", "-c", body]
    process = subprocess.Popen(command, cwd=tmp_path, env=slurm, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "id").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    job = (tmp_path / "id").read_text().strip()
    subprocess.run(["scontrol", "requeue", job], env=slurm, check=True)
    state = ["squeue", "-h", "-j", job, "-o", "%T"]
    while subprocess.run(state, env=slurm, capture_output=True, text=True).stdout.strip() != "PENDING":
        assert process.poll() is None and time.monotonic() < deadline + 60
        time.sleep(0.1)
    # Slurm holds a requeued job back for two minutes, in which the nodes forget that its credential was revoked. A new
    # one is accepted as soon as it is of a later second than the revocation; in the same second the job is killed.
    time.sleep(2)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=slurm, check=True)
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 0
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_stopping_the_runner_cancels_its_jobs(tmp_path: Path, slurm: dict[str, str]) -> None:
    command = [REPOSITORY / "utils/slurm.pl", "log/x.log", "bash", "-c", "echo started > up; sleep 300"]
    process = subprocess.Popen(command, cwd=tmp_path, env=slurm, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    assert "was cancelled" in process.communicate(timeout=60)[1]
    assert process.returncode == 143
    deadline = time.monotonic() + 60
    queue = ["squeue", "-h"]
    while time.monotonic() < deadline and subprocess.run(queue, env=slurm, capture_output=True, text=True).stdout:
        time.sleep(0.5)
    assert subprocess.run(queue, env=slurm, capture_output=True, text=True).stdout == ""


def test_refused_options_are_one_line(tmp_path: Path, slurm: dict[str, str]) -> None:
    (tmp_path / "my.conf").write_text("command sbatch --partition=nowhere\n")
    result = run_script("slurm.pl", "--config", "my.conf", "x.log", "true", cwd=tmp_path, **slurm)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "sbatch refused the job: " in result.stderr and "partition" in result.stderr
