"""Whether audio is still what it was: sizes and times of the files behind data directories, their content unread."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TextIO

from etdnn.errors import UserError

_THREADS = 16
"""Questions to the file system at once: a network disc answers each in a fraction of a millisecond or more."""
_CHUNK = 2000


def audio_state(directory: str | Path) -> str:
    """Return 16 hex digits for path, size and time of change (whole seconds) of all audio that features are made of.

    Files are those of wav.scp and, for copies, augment.scp. Of a pipe, every word that begins with `/` is looked at as
    a file: the recording that `ffmpeg -i /corpora/a.m4a ... |` decodes counts. What is not there counts as absent; what
    a pipe reads otherwise is not seen. Seconds, because network discs keep and show fractions differently. UserError
    without wav.scp.
    """
    entries: dict[str, None] = {}  # copies of a recording name it again
    for path in (Path(directory) / "wav.scp", Path(directory) / "augment.scp"):
        if path.name == "wav.scp" or path.is_file():
            with _opened(path) as lines:
                entries |= dict.fromkeys("".join(line.split(None, 1)[1:]).strip() for line in lines)
    paths = iter(dict.fromkeys(file for entry in entries for file in _files(entry)))
    digest = hashlib.sha256()
    chunks = iter(lambda: list(islice(paths, _CHUNK)), [])
    with ThreadPoolExecutor(_THREADS) as pool:
        for text in pool.map(_states, chunks):
            digest.update(text)
    return digest.hexdigest()[:16]


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror} (stage 0 makes it)") from None


def _files(entry: str) -> Iterable[str]:
    if not entry.endswith("|"):
        return (entry,)
    return (word.strip("'\"") for word in entry.split() if word.startswith(("/", "'/", '"/')))


def _states(paths: Sequence[str]) -> bytes:
    """Return a line per file: its path, size and time, or its path alone when it cannot be looked at."""
    lines = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 (a million of these)
            lines.append(f"{path}\t{found.st_size}\t{int(found.st_mtime)}\n")
        except OSError:
            lines.append(f"{path}\n")
    return "".join(lines).encode("utf-8", "surrogateescape")
