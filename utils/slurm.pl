#!/usr/bin/env python3
"""Run a job or an array of jobs through Slurm and wait for them; `slurm.pl --help` shows the form.

Every task of the array calls run.pl for its own number, so that logs look the same on a cluster and on one machine,
and a job can be run again alone: `sbatch --array=3 LOGDIR/q/NAME.sh`, or run.pl with JOB=3.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jobs import STOPPED, CallError, Interrupted, Signals, parse_call, report_failures

NAME = "slurm.pl"
CONFIG_HELP = "how options become sbatch's; default conf/slurm.conf where it exists"
DEFAULTS = """\
command sbatch --export=ALL
option num_threads=* --cpus-per-task=$0
option mem=0
option mem=* --mem=$0
option time=* --time=$0
option gpu=0
option gpu=* --gres=gpu:$0
option num_nodes=1
option num_nodes=* --nodes=$0 --ntasks-per-node=1
default num_threads=1
"""
# seconds between looks at the queue for jobs that ended without a word
QUEUE_INTERVAL = float(os.environ.get("ETDNN_SLURM_INTERVAL", "15"))
# Looks in a row at which a job without an exit code must be gone: a network file system shows a file that a node wrote
# up to a minute late (NFS: acdirmax), and a job on its way back into the queue may be seen between two states.
GONE_AFTER = 5
# Slurm's words for jobs that do not come back; squeue still lists them for a while (MinJobAge).
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT"}


def main():
    """Submit, wait, report; return the exit status."""
    try:
        call = parse_call(sys.argv[1:], NAME, CONFIG_HELP)
        options = dict(call.options)
        most = int(options.pop("max_jobs_run", 0))
        options.pop("grace_time", None)  # run.pl's, in every task
        sbatch = sbatch_words(options, options.pop("config", None))
    except CallError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2
    signals, job_id = Signals(), None
    try:
        script, done = write_script(call)
        job_id = submit(call, sbatch, script, most)
        failures = wait(call, job_id, done, signals)
    except Interrupted as event:
        signals.ignore()
        subprocess.run(["scancel", job_id], check=False)
        print(f"{NAME}: stopped; job {job_id} was cancelled, log: {call.log}", file=sys.stderr)
        return 128 + event.number
    except CallError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{NAME}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if failures:
        report_failures(NAME, call, failures)
        numbers = ",".join(str(job) for job, _ in failures)
        again = f"sbatch --array={numbers} {script}" if call.is_array else f"sbatch {script}"
        print(f"{NAME}: to run only what failed again: {again}", file=sys.stderr)
        return 1
    return 0


def sbatch_words(options, config):
    """Return the sbatch command for the options by the rules of a configuration file. Raises CallError.

    Its lines: `command sbatch WORDS`; `option NAME=VALUE WORDS` and `option NAME=* WORDS`, the first that fits is taken
    and $0 in it is the value; `default NAME=VALUE`. The rules above stand behind those of the file.
    """
    path = Path(config or "conf/slurm.conf")
    if config and not path.is_file():
        raise CallError(f"--config: no such file: {config}")
    lines = [(str(path), number, line) for number, line in enumerate_lines(path)] if path.is_file() else []
    lines += [("slurm.pl's defaults", number, line) for number, line in enumerate(DEFAULTS.splitlines(), 1)]
    command, rules, values = None, [], {}
    for place, number, line in lines:
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        setting = words[1] if len(words) > 1 else ""
        if words[0] == "command" and setting:
            command = command or words[1:]
        elif words[0] in ("option", "default") and re.fullmatch(r"[A-Za-z_]\w*=\S*", setting):
            name, _, value = setting.partition("=")
            if words[0] == "option":
                rules.append((name, value, words[2:]))
            else:
                values.setdefault(name, value)
        else:
            raise CallError(f"{place}:{number}: expected command, option NAME=VALUE or default NAME=VALUE: {line}")
    result = list(command)
    for name, value in {**values, **options}.items():
        rule = next((words for key, form, words in rules if key == name and form in ("*", value)), None)
        if rule is None:
            raise CallError(f"--{name.replace('_', '-')} {value}: no option line of {path} says what that means")
        result += [word.replace("$0", value) for word in rule]
    return result


def enumerate_lines(path):
    """Return the numbered lines of a text file."""
    return enumerate(path.read_text(encoding="utf-8").splitlines(), 1)


def write_script(call):
    """Write the batch script; return its path and the folder where each task leaves its exit code."""
    first_log = call.job_log(call.job_numbers()[0])
    name = Path(call.log.replace(call.variable, "") if call.is_array else call.log).stem.strip("._-") or "job"
    folder = first_log.parent / "q"
    done = folder / f"{name}.{os.getpid()}.done"
    done.mkdir(parents=True)
    runner = Path(__file__).resolve().with_name("run.pl")
    words = [str(runner), "--num-threads", call.options.get("num_threads", "1"), "--grace-time", str(call.grace_time)]
    words = " ".join(map(shlex.quote, words))
    if call.is_array:
        words += f" {call.variable}=$task"
    command = " ".join(shlex.quote(word) for word in call.command)
    script = folder / f"{name}.sh"
    script.write_text(
        "#!/usr/bin/env bash\n"
        f"# Made by {NAME}; one job alone: sbatch --array=NUMBER {shlex.quote(str(script))}\n"
        f"cd {shlex.quote(str(Path.cwd()))} || exit 1\n"
        "task=${SLURM_ARRAY_TASK_ID:-0}\n"
        # on several nodes the command runs on each, and their output goes to one log
        'launch=(); if [ "${SLURM_JOB_NUM_NODES:-1}" != 1 ]; then launch=(srun env); fi\n'
        # which srun no longer takes over by itself, since Slurm 22.05
        "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}\n"
        f'{words} {shlex.quote(call.log)} "${{launch[@]}}" {command}\n'
        "code=$?\n"
        # told to stop: a job that Slurm puts back into its queue has not ended, and one that it does not will be missed
        f"if [ $code = 143 ] || [ $code = {STOPPED} ]; then exit $code; fi\n"
        f"done={shlex.quote(str(done))}\n"
        'if [ -d "$done" ]; then echo $code > "$done/$task.part" && mv "$done/$task.part" "$done/$task"; fi\n'
        "exit $code\n",
        encoding="utf-8",
    )
    return script, done


def submit(call, sbatch, script, most):
    """Submit the script; return Slurm's job id. Raises CallError when sbatch refuses."""
    words = [*sbatch, "--parsable", "--open-mode=append", f"--job-name={script.stem}"]
    words.append(f"--output={script.with_suffix('')}.slurm.log")
    if call.is_array:
        words.append(f"--array={call.jobs[0]}-{call.jobs[-1]}" + (f"%{most}" if most else ""))
    try:
        result = subprocess.run([*words, str(script)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CallError(f"{words[0]} is not on this machine; cmd.sh chooses utils/run.pl for one machine") from None
    if result.returncode:
        raise CallError(f"{words[0]} refused the job: {' '.join(result.stderr.split())}")
    return result.stdout.strip().split(";")[0]


def wait(call, job_id, done, signals):
    """Wait until every job left its exit code or is gone from the queue; return [(job, event)] of the failed."""
    names = {str(job or 0): job for job in call.job_numbers()}
    absences, failures, pause = Absences(job_id), [], 0.1
    next_look = time.monotonic() + QUEUE_INTERVAL
    while names:
        for name in [path.name for path in done.iterdir() if path.name in names]:
            code = (done / name).read_text(encoding="utf-8").strip()
            job = names.pop(name)
            if code != "0":
                failures.append((job, f"code {last_code(call, job) or code}"))
            (done / name).unlink()
            pause = 0.1
        if names and time.monotonic() > next_look:
            for name, event in absences.look(list(names)).items():
                job = names.pop(name)
                stopped = last_code(call, job) == str(STOPPED)
                failures.append((job, f"code {STOPPED}, and Slurm has not queued it again" if stopped else event))
            next_look = time.monotonic() + QUEUE_INTERVAL
        with signals.heeded():
            time.sleep(min(pause, max(0.02, next_look - time.monotonic())))
        pause = min(2.0, pause * 1.3)
    shutil.rmtree(done, ignore_errors=True)  # the word of a job that was given up may have come in after all
    return sorted(failures, key=lambda failure: failure[0] or 0)


def last_code(call, job):
    """Return the exit code that the log of a job says, as text; '' where it says none."""
    try:
        text = call.job_log(job).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    ends = re.findall(r"^# Ended \(code (\d+)\)", text, re.MULTILINE)
    return ends[-1] if ends else ""


class Absences:
    """Which jobs without an exit code are gone from Slurm's queue, over several looks at it."""

    def __init__(self, job_id):
        self.job_id, self.looks, self.last = job_id, {}, {}

    def look(self, names):
        """Return {task: what happened} for those of the unfinished tasks that are gone for good.

        A task counts as absent when Slurm does not list it or says that it ended; whatever else Slurm says, and
        when Slurm does not answer, it may still come.
        """
        states, gone = task_states(self.job_id), {}
        for name in names:
            state = None if states is None else states.get(name, "")
            if state is None or (state and state not in ENDED):
                self.looks[name] = 0
                continue
            self.last[name] = state or self.last.get(name, "")
            self.looks[name] = self.looks.get(name, 0) + 1
            if self.looks[name] >= GONE_AFTER:
                word = f", Slurm says {self.last[name]}" if self.last[name] else ""
                gone[name] = f"job {self.job_id} left the queue without an end{word}"
        return gone


def task_states(job_id):
    """Return {array index or '0': Slurm's word} for the tasks that Slurm knows; None when Slurm does not answer."""
    words = ["squeue", "--noheader", "--array", "--states=all", "--jobs", job_id, "--format", "%K %T"]
    try:
        result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    if result.returncode:
        return {} if "Invalid job id" in result.stderr else None
    rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    return {"0" if row[0] == "N/A" else row[0]: row[1] for row in rows}


if __name__ == "__main__":
    sys.exit(main())
