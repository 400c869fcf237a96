import importlib.machinery
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.data_dirs import REPOSITORY, run_script
from hypothesis import given, settings
from hypothesis import strategies as st

RUN = (sys.executable, str(REPOSITORY / "utils" / "run.pl"))


def alive(marker: str) -> list[str]:
    """Process ids whose command line holds the marker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if marker in (folder / "cmdline").read_text().split("\0") and state != "Z":
                found.append(folder.name)
        except OSError:
            continue
    return found


def wait_until(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_log_has_command_start_accounting_and_code(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "er" / "x.log"
    result = run_script("run.pl", "--mem", "4G", "--time=2:00", log, "echo", "hello world")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = log.read_text().splitlines()
    assert lines[0] == "# echo 'hello world'"
    assert any(re.match(r"# Started at \w{3} \w{3} ", line) for line in lines)
    assert "hello world" in lines
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[-2])
    assert lines[-1].startswith("# Ended (code 0) at ")


def test_array_substitutes_everywhere(tmp_path: Path) -> None:
    for first, second in (("--max-jobs-run", "JOB=2:4"), ("JOB=2:4", "--max-jobs-run")):
        options = [first, "2", second] if first.startswith("--") else [first, second, "2"]
        assert run_script("run.pl", *options, tmp_path / "JOB/x.JOB.log", "echo", "part.JOB.scp").returncode == 0
        for job in (2, 3, 4):
            assert f"\npart.{job}.scp\n" in (tmp_path / f"{job}/x.{job}.log").read_text()
        assert not (tmp_path / "1").exists()
    assert run_script("run.pl", "LMWT=7:8", tmp_path / "y.LMWT.log", "echo", "LMWT").returncode == 0
    assert "\n8\n" in (tmp_path / "y.8.log").read_text()


def test_failed_jobs_are_named_and_the_others_run(tmp_path: Path) -> None:
    command = ["bash", "-c", 'echo "value $0 is bad"; [ $0 != 2 ] && [ $0 != 4 ]', "JOB"]
    result = run_script("run.pl", "JOB=1:4", tmp_path / "x.JOB.log", *command)
    assert result.returncode == 1
    assert "2 of 4 jobs failed" in result.stderr
    for job in (2, 4):
        assert f"job {job} failed (code 1), its log is {tmp_path}/x.{job}.log" in result.stderr
        assert f"value {job} is bad" in result.stderr
        assert "# Ended (code 1)" in (tmp_path / f"x.{job}.log").read_text()
    for job in (1, 3):
        assert f"x.{job}.log" not in result.stderr
        assert "# Ended (code 0)" in (tmp_path / f"x.{job}.log").read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [(["nosuchprogram"], 127), (["bash", "-c", "kill -KILL $$"], 137), (["false", "|", "cat"], 1),
     (["bash", "-c", "exit 85"], 85)],
)  # fmt: skip
def test_codes(tmp_path: Path, words: list[str], code: int) -> None:
    """85 is passed on: that of a training which was stopped and goes on when started again."""
    result = run_script("run.pl", tmp_path / "x.log", *words)
    assert result.returncode == (85 if code == 85 else 1)
    assert f"the job failed (code {code}), its log is {tmp_path}/x.log" in result.stderr


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), max_size=4))
def test_words_arrive_as_they_are(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    folder = tmp_path_factory.mktemp("quoting")
    operators = {"|", "||", "&&", ";", "<", ">", ">>", "2>", "2>>", "2>&1"}
    words = [word for word in words if word not in operators and "JOB" not in word]
    script = folder / "show.sh"
    script.write_text(f'printf "%s\\0" "$@" > {folder}/out\n')
    assert run_script("run.pl", folder / "x.log", "bash", script, "end", *words).returncode == 0
    assert (folder / "out").read_bytes().decode() == "\0".join(["end", *words, ""])


def test_shell_operators_and_assignments(tmp_path: Path) -> None:
    words = ["NAME=two words", "bash", "-c", "echo $NAME", "|", "tr", "o", "0", ">", tmp_path / "out"]
    assert run_script("run.pl", tmp_path / "x.log", *words).returncode == 0
    assert (tmp_path / "out").read_text() == "tw0 w0rds\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["JOB=1:3", "x.log", "true"], "the log x.log is one for all jobs; put JOB into its name"),
        (["JOB=3:1", "x.JOB.log", "true"], "JOB=3:1: the last job is before the first"),
        (["JOB=1:x", "x.JOB.log", "true"], "JOB=1:x is not of the form JOB=1:20"),
        (["x.log"], "expected LOG COMMAND"),
        ([], "expected LOG COMMAND"),
        (["--max-jobs-run", "many", "x.log", "true"], "--max-jobs-run takes a whole number, not 'many'"),
        (["--mem"], "--mem needs a value"),
        (["--max-job", "3", "x.log", "true"], "unknown option --max-job (did you mean --max-jobs-run?)"),
        (["file/x.log", "true"], "file/x.log: Not a directory"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "file").write_text("")
    result = run_script("run.pl", *words, cwd=tmp_path)
    assert result.returncode == (1 if words == ["file/x.log", "true"] else 2)
    assert result.stderr.startswith(f"run.pl: {message}")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_full_disk_is_said_in_one_line() -> None:
    result = run_script("run.pl", "/dev/full", "true")
    assert (result.returncode, result.stderr) == (1, "run.pl: /dev/full: No space left on device\n")


def most_at_once(folder: Path) -> int:
    events = sorted(line.split() for path in folder.glob("t.*") for line in path.read_text().splitlines())
    now = most = 0
    for _, step in events:
        now += int(step)
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    ("options", "limit"), [(["--max-jobs-run", "2"], 2), (["--num-threads", "1000"], 1), ([], None)]
)
def test_number_of_jobs_at_a_time(tmp_path: Path, options: list[str], limit: int | None) -> None:
    limit = limit or len(os.sched_getaffinity(0))
    body = f"echo $(date +%s.%N) +1 > {tmp_path}/t.JOB; sleep 0.3; echo $(date +%s.%N) -1 >> {tmp_path}/t.JOB"
    assert run_script("run.pl", *options, "JOB=1:5", tmp_path / "x.JOB.log", "bash", "-c", body).returncode == 0
    assert most_at_once(tmp_path) == min(limit, 5)


def test_gpus_are_shared_out(tmp_path: Path) -> None:
    words = ["--gpu", "2", "JOB=1:4", tmp_path / "x.JOB.log", "bash", "-c", "sleep 0.2; echo on $CUDA_VISIBLE_DEVICES"]
    assert run_script("run.pl", *words, CUDA_VISIBLE_DEVICES="3,5,6,7").returncode == 0
    used = [re.search(r"^on (.*)$", path.read_text(), re.M)[1] for path in sorted(tmp_path.glob("x.*.log"))]
    assert sorted(used) == ["3,5", "3,5", "6,7", "6,7"]
    result = run_script("run.pl", "--gpu", "2", tmp_path / "y.log", "true", CUDA_VISIBLE_DEVICES="0")
    assert result.returncode == 1
    assert "--gpu 2, but this machine shows 1" in result.stderr
    assert run_script("run.pl", *words, CUDA_VISIBLE_DEVICES="").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_end_the_jobs_and_their_children(tmp_path: Path, number: int) -> None:
    marker = f"{7000 + int(number)}.{os.getpid()}"
    command = [
        *RUN,
        "--max-jobs-run",
        "2",
        "JOB=1:3",
        tmp_path / "x.JOB.log",
        "bash",
        "-c",
        f"sleep {marker}; echo JOB",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: len(alive(marker)) == 2)
    process.send_signal(number)
    message = process.communicate(timeout=30)[1]
    assert wait_until(lambda: not alive(marker))
    assert not (tmp_path / "x.3.log").exists()
    if number == signal.SIGKILL:
        return
    assert process.returncode == 128 + number
    assert f"stopped by {signal.Signals(number).name}" in message
    assert "# Ended (code 143)" in (tmp_path / "x.1.log").read_text()


def test_jobs_that_ignore_the_signal_are_killed(tmp_path: Path) -> None:
    marker = f"7100.{os.getpid()}"
    body = f"trap '' TERM; echo ready; sleep {marker}; sleep {marker}"
    command = [*RUN, "--grace-time", "3", tmp_path / "x.log", "bash", "-c", body]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: alive(marker))
    process.terminate()
    message = process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert "1 jobs save their work; in 3 s they are killed" in message
    assert wait_until(lambda: not alive(marker))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_has_time_to_save_its_work(tmp_path: Path, number: int) -> None:
    """Also where the job is a pipe, whose shell ends at once."""
    body = f"trap 'sleep 2; echo saved >{tmp_path}/work.JOB; exit 9' TERM; echo ready >&2; while :; do sleep 0.1; done"
    log, jobs = tmp_path / "x.JOB.log", ["--max-jobs-run", "2", "JOB=1:2"]
    process = subprocess.Popen([*RUN, *jobs, log, "bash", "-c", body, "|", "cat"], stderr=subprocess.DEVNULL)
    logs = [tmp_path / f"x.{job}.log" for job in (1, 2)]
    assert wait_until(lambda: all(log.exists() and "\nready\n" in log.read_text() for log in logs))
    time.sleep(0.5)  # the runner notes a job just after it has started it
    process.send_signal(number)
    process.wait(timeout=30)
    if number == signal.SIGKILL:
        wait_until(lambda: (tmp_path / "work.1").exists() and (tmp_path / "work.2").exists())
    assert (tmp_path / "work.1").read_text() == (tmp_path / "work.2").read_text() == "saved\n"


def test_job_that_ended_as_the_signal_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status was taken from the system just before the signal left the loop: stopping must not wait for it."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "utils"))
    loader = importlib.machinery.SourceFileLoader("run_pl", RUN[1])
    run_pl = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_pl", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(run_pl)
    process = subprocess.Popen(["true"], start_new_session=True)
    process.wait()

    class EndedJob:
        code = None

        def end(self, code: int) -> None:
            self.code = code

    job = EndedJob()
    run_pl.stop_jobs({process.pid: job}, 5)
    assert job.code == -signal.SIGTERM
