"""A real egs on a very small synthetic corpus: made by utils/new_egs.sh, run, killed, compared."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CORPUS = {"train-speakers": 8, "dev-speakers": 4, "test-speakers": 4, "sessions": 2, "utterances": 3, "noises": 4,
          "rooms": 4, "babble-speakers": 2}  # fmt: skip

CONFIGURATIONS = {
    "space.yaml": """
name: toy
depth: [1, 2]
kernel: [1, 3]
width: [8, 16, 24, 32]
cat: [24, 48, 72, 96]
""",
    "train.yaml": """
batch: 16
checkpoint_epochs: 1
phases:
- {name: largest, epochs: 6, crop: 1.0, schedule: {kind: cosine, max: 3.0e-3, min: 1.0e-5}}
- {name: all, epochs: 2, crop: 1.0, kernel: all, depth: all, width: all, cat: all,
   schedule: {kind: cosine, max: 1.0e-3, min: 1.0e-5}}
""",
    "augment.yaml": """
copies:
  - name: aug
    mixture: {noise: 1, reverb: 1}
noise: {snr: [5, 15], sources: [1, 1]}
""",
    "search.yaml": """
samples: 12
rounds: 1
candidates: 2
finalists: 2
evaluations: 200
bootstrap: 20
measurement: {calibration_crops: 32, calibration_frames: 100, dev_crops: 1, dev_frames: 100}
""",
}


def environment() -> dict[str, str]:
    """Return the environment of a recipe: one thread per process, this package."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def make_corpus(folder: Path) -> Path:
    """Synthesise the very small corpus; return its folder."""
    words = [word for name, count in CORPUS.items() for word in (f"--{name}", str(count))]
    command = [sys.executable, "-m", "etdnn", "synthesise-corpus", "--nj", "2", *words, str(folder)]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return folder


def make_egs(root: Path, name: str) -> Path:
    """Make `root`/egs/NAME by new_egs.sh in a copy of this checkout's shell half; return the folder.

    The package and tools/ are this checkout's own; conf/ is made small.
    """
    if not (root / "utils").exists():
        for part in ("local", "utils", "egs/own"):
            shutil.copytree(REPOSITORY / part, root / part, symlinks=True,
                            ignore=shutil.ignore_patterns("data", "exp", "fbank"))  # fmt: skip
        for part in ("etdnn", "tools", "setup.py"):
            (root / part).symlink_to(REPOSITORY / part)
    folder = root / "egs" / name
    subprocess.run(["bash", root / "utils/new_egs.sh", folder], env=environment(), check=True, capture_output=True)
    for file, text in CONFIGURATIONS.items():
        (folder / "conf" / file).write_text(text)
    return folder


class Recipe:
    """An egs folder and the options every call of its run.sh gets."""

    def __init__(self, folder: Path, options: list[str]):
        self.folder, self.options = folder, options

    def call(self, *options: str) -> list[str]:
        """Return the command line of run.sh with `options`."""
        return ["bash", str(self.folder / "run.sh"), *self.options, *options]

    def run(self, *options: str) -> subprocess.CompletedProcess:
        """Run run.sh from a folder that is not the egs."""
        process = self._start(*options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate()
        finally:
            _kill_session(process)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def kill_when(self, condition, *options: str, patience: float = 600) -> bool:
        """Start run.sh, kill it and all it started as soon as `condition()`; return False if it ended before."""
        process = self._start(*options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + patience
        try:
            while process.poll() is None and not condition() and time.monotonic() < deadline:
                time.sleep(0.02)
            return process.poll() is None
        finally:
            _kill_session(process)

    def _start(self, *options: str, **streams) -> subprocess.Popen:
        return subprocess.Popen(
            self.call(*options), cwd=self.folder.parent, env=environment(), start_new_session=True, **streams
        )

    def file_hashes(self, *folders: str) -> dict[str, str]:
        """Return path -> hash of every file below `folders`, but for logs, calls and reports (which show the calls)."""
        files = [path for folder in folders for path in (self.folder / folder).rglob("*") if path.is_file()]
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if not {"log", "report"} & set(path.parts) and path.name != "commands.tsv"
        }


def _kill_session(process: subprocess.Popen) -> None:
    """Kill what is left of the session that `process` began: run.sh, its runners and their jobs."""
    while members := _session(process.pid):
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.poll()
        time.sleep(0.02)
    process.wait()


def _session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(entry.name))
    return found
