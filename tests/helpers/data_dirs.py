"""Small Kaldi data directories written by hand, and the calling of scripts of utils/."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def write_rows(path: Path, rows: dict[str, str]) -> None:
    """Write `id value` lines, sorted by id."""
    path.write_text("".join(f"{key} {rows[key]}\n" for key in sorted(rows)), encoding="utf-8")


def write_data_dir(path: Path, speakers: dict[str, int], feats: bool = True) -> list[str]:
    """Write a valid data directory with the given numbers of utterances of each speaker; return the utterances."""
    path.mkdir(parents=True)
    utterances = {
        f"{name}-s{index % 2}-{index:04d}": name for name, count in speakers.items() for index in range(count)
    }
    write_rows(path / "utt2spk", utterances)
    groups = {name: " ".join(sorted(key for key, owner in utterances.items() if owner == name)) for name in speakers}
    write_rows(path / "spk2utt", {name: group for name, group in groups.items() if group})
    write_rows(path / "wav.scp", {key: f"corpus/with blank/{key}.wav" for key in utterances})
    write_rows(path / "utt2session", {key: key.rsplit("-", 1)[0] for key in utterances})
    write_rows(path / "utt2dur", {key: f"{2 + index % 5}.5" for index, key in enumerate(sorted(utterances))})
    if feats:
        write_rows(path / "feats.scp", {key: f"fbank/a.ark:{index}" for index, key in enumerate(sorted(utterances))})
        write_rows(path / "utt2num_frames", {key: f"{250 + index}" for index, key in enumerate(sorted(utterances))})
        (path / "frontend.json").write_text('{"key": "abc"}\n', encoding="utf-8")
    return sorted(utterances)


def run_script(name: str, *words: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Call a script of utils/ and return what came of it."""
    command = [str(REPOSITORY / "utils" / name), *map(str, words)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LC_ALL": "C", **environment}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False)


def read_files(path: Path) -> dict[str, str]:
    """Return the names and contents of the visible files in a directory."""
    return {file.name: file.read_text() for file in path.iterdir() if file.is_file() and file.name[0] != "."}


def keys(path: Path) -> list[str]:
    """Return the ids of a table."""
    return [line.split()[0] for line in path.read_text().splitlines()]
