#!/usr/bin/env python3
"""Run a job or an array of jobs on this machine, each with its log; `run.pl --help` shows the form.

The name and the interface are those that speech recipes call as $cmd; the language is not perl.
"""

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from jobs import STOPPED, CallError, Interrupted, Signals, parse_call, report_failures, shell_line

NAME = "run.pl"
NOTE_AFTER = 2.0  # seconds of waiting for jobs to end after which that is said


class JobTable(dict):
    """Jobs at work by process id, also known to a watcher that ends them should this runner be killed outright."""

    def __init__(self, grace_time):
        super().__init__()
        reader, self.writer = os.pipe()
        if os.fork() == 0:
            os.close(self.writer)
            watch(reader, grace_time)
            os._exit(0)
        os.close(reader)

    def add(self, job):
        """Enter a job that was started."""
        self[job.process.pid] = job
        os.write(self.writer, b"+%d\n" % job.process.pid)

    def remove(self, pid):
        """Take out and return the job of a process that ended; None when the process was no job."""
        os.write(self.writer, b"-%d\n" % pid)
        return self.pop(pid, None)


def watch(reader, grace_time):
    """Follow the process ids on a pipe; when its other end is gone, end the groups of those still at work."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    alive = set()
    with os.fdopen(reader) as lines:
        for line in lines:
            (alive.add if line[0] == "+" else alive.discard)(int(line[1:]))
    if alive:
        signal_groups(alive, signal.SIGTERM)
        deadline = time.monotonic() + grace_time
        while alive and time.monotonic() < deadline:
            alive = {group for group in alive if is_at_work(group)}
            time.sleep(0.1)
        signal_groups(alive, signal.SIGKILL)


def main():
    """Parse the call, run the jobs, return the exit status."""
    try:
        call = parse_call(sys.argv[1:], NAME, "accepted and not used, as --mem and --time")
    except CallError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2
    signals, running = Signals(), JobTable(call.grace_time)
    try:
        failures = run_jobs(call, running, signals)
    except Interrupted as event:
        signals.ignore()
        stop_jobs(running, call.grace_time)
        print(f"{NAME}: stopped by {signal.Signals(event.number).name}; log: {call.log}", file=sys.stderr)
        return 128 + event.number
    except OSError as error:
        signals.ignore()
        stop_jobs(running, call.grace_time)
        print(f"{NAME}: {error.filename or call.log}: {error.strerror}", file=sys.stderr)
        return 1
    if failures:
        report_failures(NAME, call, failures)
        return STOPPED if all(event == f"code {STOPPED}" for _, event in failures) else 1
    return 0


def run_jobs(call, running, signals):
    """Run all jobs, not more at a time than the machine carries; return [(job, event)] of the failed ones.

    `running` holds the jobs at work; it is the caller's, who must stop them when this is left early.
    """
    slots = places(call)
    free, waiting, failures = list(range(len(slots))), list(reversed(call.job_numbers())), []
    while waiting or running:
        while waiting and free:
            slot = free.pop(0)
            job = Job(call, waiting.pop(), slot, slots[slot])
            running.add(job)
        with signals.heeded():
            pid, status = os.wait()
        job = running.remove(pid)
        if job is None:
            continue
        code = job.end(os.waitstatus_to_exitcode(status))
        free.append(job.slot)
        if code:
            failures.append((job.number, f"code {code}"))
    return sorted(failures, key=lambda failure: failure[0] or 0)


def places(call):
    """Return the environment additions of every place where a job may run at one time.

    Without --max-jobs-run there are as many as the usable CPUs allow with --num-threads; with --gpu as many as the
    visible GPUs allow, each with GPUs of its own (a machine without GPUs is treated by its CPUs).
    """
    threads = max(1, int(call.options.get("num_threads", 1)))
    wanted = int(call.options.get("gpu", 0))
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    slots = [{} for _ in range(max(1, cpus // threads))]
    devices = visible_gpus() if wanted else []
    if devices:
        if wanted > len(devices):
            raise OSError(0, f"--gpu {wanted}, but this machine shows {len(devices)}", "GPUs")
        groups = [devices[start : start + wanted] for start in range(0, len(devices) - wanted + 1, wanted)]
        slots = [{"CUDA_VISIBLE_DEVICES": ",".join(group)} for group in groups]
    most = int(call.options.get("max_jobs_run", 0))
    if most:
        slots = [slots[index % len(slots)] for index in range(most)]
    return slots[: len(call.job_numbers())]


def visible_gpus():
    """Return the GPUs' names for CUDA_VISIBLE_DEVICES, [] when there are none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index, line in enumerate(line for line in listing.splitlines() if line.startswith("GPU "))]


class Job:
    """One process at work, with its log."""

    def __init__(self, call, number, slot, environment):
        """Write the head of the log and start the process, in a process group of its own."""
        self.number, self.slot, self.threads = number, slot, call.options.get("num_threads", "1")
        self.log = call.job_log(number)
        with contextlib.suppress(FileExistsError):  # opening the log says that a parent is a file
            self.log.parent.mkdir(parents=True, exist_ok=True)
        line = shell_line(call.job_words(number))
        self.handle = self.log.open("w", encoding="utf-8")
        self.handle.write(f"# {line}\n# Running on {socket.gethostname()}\n# Started at {time.ctime()}\n#\n")
        self.handle.flush()
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=self.handle,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            process_group=0,
        )

    def end(self, code):
        """Write the foot of the log; return the shell's form of the exit code (128 + number of a signal)."""
        code = 128 - code if code < 0 else code
        self.process.returncode = code
        self.handle.seek(0, os.SEEK_END)
        seconds = math.ceil(time.monotonic() - self.start)
        try:
            self.handle.write(f"# Accounting: time={seconds} threads={self.threads}\n")
            self.handle.write(f"# Ended (code {code}) at {time.ctime()}, elapsed time {seconds} seconds\n")
            self.handle.close()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.log)) from error
        return code


def stop_jobs(running, grace_time):
    """Ask the process groups of all jobs to end, kill what is left after `grace_time` s, and close their logs."""
    signal_groups(running, signal.SIGTERM)
    start = time.monotonic()
    deadline, note = start + grace_time, start + NOTE_AFTER
    left, groups = dict(running), set(running)
    while groups:
        for pid in list(left):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # it ended in the moment of the signal that brought us here
                ended, status = pid, signal.SIGTERM
            if ended:
                with contextlib.suppress(OSError):
                    left.pop(pid).end(os.waitstatus_to_exitcode(status))
        # of a pipe or a list of commands, the shell that leads the group ends before those that have work to save
        groups = {group for group in groups if group in left or is_at_work(group)}
        if groups and time.monotonic() > deadline:
            signal_groups(groups, signal.SIGKILL)
            deadline = math.inf
        if groups and time.monotonic() > note:
            print(f"{NAME}: {len(groups)} jobs save their work; in {grace_time} s they are killed", file=sys.stderr)
            note = math.inf
        time.sleep(0.02)


def is_at_work(group):
    """True while a process of the group is left that has not ended."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    states = []
    for path in Path("/proc").glob("[0-9]*/stat"):  # nobody may be there to take the status of orphans that ended
        with contextlib.suppress(OSError):
            state, _, owner = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
            states += [state] if int(owner) == group else []
    return not states or any(state != "Z" for state in states)


def signal_groups(pids, number):
    """Send a signal to the process groups that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


if __name__ == "__main__":
    sys.exit(main())
