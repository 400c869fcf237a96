"""What a report says, gathered from the files that the stages left; rendering is another module's work."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from etdnn.data.datadir import count_set
from etdnn.errors import UserError
from etdnn.scoring.results import read_results

LIBRARIES = ("torch", "torchaudio", "numpy", "scipy", "soundfile")
COUNTED = ("train", "train_all", "dev", "test")
COUNTS = ("speakers", "utterances", "hours")


@dataclass(frozen=True)
class Search:
    """One searched budget: its folder name, the found arch, and the text that stage 4 wrote about it."""

    budget: str
    arch: str
    summary: str


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from: git revision now, versions, the calls of run.sh, and the configurations used."""

    revision: str
    versions: dict[str, str]
    commands: list[tuple[str, str, str]]
    configurations: dict[str, str]


@dataclass(frozen=True)
class Report:
    """Everything a report shows. `results` are the rows of results.tsv, `data` is set name -> (speakers, ...)."""

    title: str
    experiment: str
    results: list[dict[str, str]]
    data: dict[str, tuple[int, int, float]]
    searches: list[Search]
    provenance: Provenance


def collect(title: str, data: str | Path, experiment: str | Path) -> Report:
    """Gather the report of folder `experiment` trained on `data`; UserError when stage 7 has left no results."""
    data, experiment = Path(data), Path(experiment)
    results = read_results(experiment / "results.tsv")
    if not results:
        raise UserError(f"{experiment / 'results.tsv'} has no results; stage 7 makes them")
    return Report(
        title=title,
        experiment=str(experiment),
        results=results,
        data={name: count_set(data / name) for name in COUNTED if (data / name / "utt2spk").is_file()},
        searches=read_searches(experiment),
        provenance=Provenance(git_revision(), versions(), read_commands(experiment), read_configurations(experiment)),
    )


def read_searches(experiment: Path) -> list[Search]:
    """Return the searched budgets, by name."""
    searches = []
    for path in sorted(experiment.glob("search/*/arch.txt")):
        arch, *facts = path.read_text(encoding="utf-8").splitlines() or [""]
        if not arch.strip():
            raise UserError(f"{path}:1: expected an arch; remove the file, and stage 4 writes it again")
        summary = path.with_name("summary.txt")
        text = summary.read_text(encoding="utf-8") if summary.is_file() else "\n".join(facts)
        on_test = path.with_name("compared_test.txt")  # where compare-subnets was called
        if on_test.is_file():
            text = f"{text.strip()}\n\n{on_test.read_text(encoding='utf-8')}"
        searches.append(Search(path.parent.name, arch.strip(), text.strip()))
    return searches


def read_commands(experiment: Path) -> list[tuple[str, str, str]]:
    """Return (time, git revision, command line) of every call of run.sh, as the driver noted them."""
    path = experiment / "commands.tsv"
    if not path.is_file():
        return []
    rows = [line.split("\t", 2) for line in path.read_text(encoding="utf-8").splitlines()]
    return [tuple(row) for row in rows if len(row) == 3]


def read_configurations(experiment: Path) -> dict[str, str]:
    """Return path -> text of the resolved configurations that were saved with the phases and searches."""
    paths = sorted([*experiment.glob("*/*.yaml"), *experiment.glob("search/*/*.yaml")])
    paths = [path for path in paths if not path.parent.is_symlink()]
    return {str(path.relative_to(experiment)): path.read_text(encoding="utf-8").strip() for path in paths}


def git_revision() -> str:
    """Return the checkout's revision, `-dirty` if it has changes, `unknown` outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide about numbers."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
