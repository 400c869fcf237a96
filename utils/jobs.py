"""What run.pl and slurm.pl share: the command line of a job runner, the commands of the jobs, their logs."""

import contextlib
import dataclasses
import difflib
import re
import shlex
import signal
import sys
from pathlib import Path

USAGE = """Usage: {name} [options] [JOB=FIRST:LAST] LOG COMMAND [ARGUMENT...]

Runs COMMAND, with its output in LOG; with JOB=1:N, N times, with JOB replaced by the number in LOG and in every word
of COMMAND (any name may stand for JOB). Ends with status 0 when all jobs ended with 0, else names the failed jobs'
logs and ends with 1, or with 85 when that is what each of those ended with: stopped on the way, its work saved.

Words of COMMAND reach the program as they are: nothing in them is expanded. The words | || && ; < > >> 2> 2>> 2>&1,
each standing alone, keep their meaning in the shell, and NAME=VALUE before the program sets its environment.

Options:
  --max-jobs-run N   at most N jobs at a time
  --num-threads N    threads of a job (default 1)
  --mem SIZE         memory of a job, as 4G
  --gpu N            GPUs of a job (default 0)
  --time T           time limit of a job
  --grace-time S     seconds in which the jobs may end (and save their work) when the runner is stopped, before they are
                     killed (default {grace})
  --config FILE      {config}
  --help
"""

GRACE_TIME = 30  # seconds
STOPPED = 85  # exit code of a job that was told to stop, or whose time was over, and that goes on when started again
# others are for a cluster's configuration to know; a name that is nearly one of these is a slip
OPTIONS = ("max_jobs_run", "num_threads", "mem", "gpu", "time", "grace_time", "num_nodes", "config")
OPERATORS = {"|", "||", "&&", ";", "<", ">", ">>", "2>", "2>>", "2>&1"}
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


class CallError(Exception):
    """A mistake in the call of the job runner."""


class Interrupted(Exception):  # noqa: N818, not an error
    """A signal asked this runner to end."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into Interrupted, but only where the runner can be left.

    A job that is being started is then never lost: the runner knows of it, or it does not exist.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self):
        self.heeding, self.pending = False, 0
        for number in self.NUMBERS:
            signal.signal(number, self.receive)

    def receive(self, number, _frame):
        """Raise Interrupted now or at the next place that heeds signals."""
        self.pending = number
        if self.heeding:
            raise Interrupted(number)

    @contextlib.contextmanager
    def heeded(self):
        """Let signals that came and that come end what is done here."""
        try:
            self.heeding = True
            if self.pending:
                raise Interrupted(self.pending)
            yield
        finally:
            self.heeding = False

    def ignore(self):
        """Let nothing disturb the ending of the jobs."""
        for number in self.NUMBERS:
            signal.signal(number, signal.SIG_IGN)


@dataclasses.dataclass
class Call:
    """A parsed command line. `jobs` is empty when no JOB=FIRST:LAST was given."""

    options: dict
    variable: str
    jobs: list
    log: str
    command: list

    @property
    def is_array(self):
        """True when JOB=FIRST:LAST was given."""
        return bool(self.jobs)

    @property
    def grace_time(self):
        """Seconds between asking jobs to end and killing them."""
        return int(self.options.get("grace_time", GRACE_TIME))

    def job_numbers(self):
        """Return the numbers of the jobs; [None] for a single one."""
        return self.jobs or [None]

    def job_log(self, job):
        """Return the log file of a job."""
        return Path(self.log if job is None else self.log.replace(self.variable, str(job)))

    def job_words(self, job):
        """Return the words of a job's command."""
        if job is None:
            return list(self.command)
        return [word.replace(self.variable, str(job)) for word in self.command]


def parse_call(arguments, name, config_help):
    """Read the words after the runner's name; print the help and exit for --help. Raises CallError."""
    words = list(arguments)
    options, variable, jobs = {}, "JOB", []
    while words:
        word = words[0]
        if word in ("--help", "-h"):
            print(USAGE.format(name=name, config=config_help, grace=GRACE_TIME), end="")
            sys.exit(0)
        if word.startswith("-"):
            words = read_option(words, options)
            continue
        match = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", word)
        if not match:
            break
        if jobs:
            raise CallError(f"two job ranges are given; the second is {word}")
        variable, first = match.group(1), int(match.group(2))
        last = int(match.group(3)) if match.group(3) else first
        if last < first:
            raise CallError(f"{word}: the last job is before the first")
        jobs = list(range(first, last + 1))
        words = words[1:]
    if len(words) < 2:
        raise CallError("expected LOG COMMAND after the options; --help shows the form")
    if re.fullmatch(r"[A-Za-z_]\w*=\d+:.*", words[0]):
        raise CallError(f"{words[0]} is not of the form JOB=1:20")
    call = Call(options, variable, jobs, words[0], words[1:])
    if len(jobs) > 1 and variable not in call.log:
        raise CallError(f"the log {call.log} is one for all jobs; put {variable} into its name")
    return call


def read_option(words, options):
    """Take one option with its value off the front of `words`; return the rest."""
    name, equals, value = words[0].partition("=")
    rest = words[1:]
    if not equals:
        if not rest:
            raise CallError(f"{name} needs a value; --help lists the options")
        value, rest = rest[0], rest[1:]
    key = name.lstrip("-").replace("-", "_")
    near = difflib.get_close_matches(key, OPTIONS, 1, 0.7)
    if near and key not in OPTIONS:
        nearest = near[0].replace("_", "-")
        raise CallError(f"unknown option {name} (did you mean --{nearest}?); --help lists the options")
    if key in ("max_jobs_run", "num_threads", "gpu", "grace_time") and not value.isdigit():
        raise CallError(f"{name} takes a whole number, not '{value}'")
    options[key] = value
    return rest


def shell_line(words):
    """Return the words as a line for the shell: quoted, but for operators and for assignments before the program."""
    line, before_program = [], True
    for word in words:
        assignment = ASSIGNMENT.fullmatch(word)
        if word in OPERATORS:
            line.append(word)
            before_program = word in ("|", "||", "&&", ";")
        elif before_program and assignment:
            line.append(f"{assignment.group(1)}={shlex.quote(assignment.group(2))}")
        else:
            line.append(shlex.quote(word))
            before_program = False
    return " ".join(line)


def last_line(log):
    """Return the last line of a log that the job itself wrote, cut to 300 letters; '' when there is none."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, log.stat().st_size - 20000))
            lines = handle.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    own = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    told = [line for line in own if ": error: " in line]  # torchrun frames a rank's error with lines of its own
    return (told or own)[-1][:300] if own else ""


def report_failures(name, call, failures, shown=5):
    """Print the logs of failed jobs to standard error. `failures` holds (job, what happened)."""
    count = len(call.job_numbers())
    if call.is_array:
        print(f"{name}: {len(failures)} of {count} jobs failed", file=sys.stderr)
    for job, event in failures[:shown]:
        log = call.job_log(job)
        label = "the job" if job is None else f"job {job}"
        print(f"{name}: {label} failed ({event}), its log is {log}", file=sys.stderr)
        line = last_line(log)
        if line:
            print(f"    {line}", file=sys.stderr)
    if len(failures) > shown:
        rest = " ".join(str(job) for job, _ in failures[shown:])
        print(f"{name}: also failed: jobs {rest}", file=sys.stderr)
