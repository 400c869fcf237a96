"""Feature archives on a local disc: copied once per machine, used by all its processes and by later runs."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from etdnn.errors import UserError
from etdnn.files import hash_text, size_text

SPARE_BYTES = 1 << 28
"""Left free on the local disc: other programs of the machine need it too."""
_SAY_SECONDS = 20.0
Say = Callable[[str], None]


def stage_arks(paths: Sequence[str], folder: Path, say: Say = print) -> list[str]:
    """Copy the archives `paths` into `folder`, return where the copies lie.

    A copy of the same size and time of change is used as it is; a copy gets its name when it is complete, so that a
    killed run goes on where it stopped. Of several processes one copies while the others wait. UserError when the disc
    has too little room (before anything is copied), is full, or an archive is missing or changes meanwhile.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror} (--stage-to another folder)") from None
    targets = [folder / f"{hash_text(os.path.realpath(path))}-{Path(path).name}" for path in paths]
    with _locked(folder):
        pairs = list(zip(map(Path, paths), targets, strict=True))
        todo = [(source, target) for source, target in pairs if not _is_copy(source, target)]
        if todo:
            for left in folder.glob(".*.part"):  # of a killed run: nobody else copies while the lock is ours
                left.unlink(missing_ok=True)
            _copy_all(todo, folder, say)
            say(f"{folder}: {len(todo)} archives copied, {len(targets) - len(todo)} were there")
    return [str(target) for target in targets]


def _copy_all(todo: Sequence[tuple[Path, Path]], folder: Path, say: Say) -> None:
    sizes = [source.stat().st_size for source, _ in todo]
    total, done, begun = sum(sizes), 0, time.monotonic()
    room = shutil.disk_usage(folder).free + sum(target.stat().st_size for _, target in todo if target.exists())
    if total + SPARE_BYTES > room:
        raise UserError(
            f"{folder}: {size_text(total)} of features are to be copied, {size_text(room)} are free (remove what "
            "earlier trainings left there, --stage-to another disc, or train without it)"
        )
    said = begun
    for (source, target), size in zip(todo, sizes, strict=True):
        _copy(source, target, size)
        done += size
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            left = (said - begun) * (total - done) / max(done, 1)
            say(f"{folder}: copied {size_text(done)} of {size_text(total)}, about {left:.0f} s left")


def _copy(source: Path, target: Path, size: int) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        target.unlink(missing_ok=True)
        times = source.stat()
        shutil.copyfile(source, part)
        os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
        found = part.stat().st_size
        if found != size or not _is_copy(source, part):
            raise UserError(f"{source}: changed while it was copied to {target.parent} ({size} bytes, {found} copied)")
        part.replace(target)
    except OSError as error:
        advice = "; remove what is not needed there or --stage-to another disc" if error.errno == errno.ENOSPC else ""
        raise UserError(f"{target.parent}: copying {source} failed: {error.strerror}{advice}") from None
    finally:
        part.unlink(missing_ok=True)


def _is_copy(source: Path, target: Path) -> bool:
    """Say whether `target` has the size and the time of `source`; discs keep times to the second at least."""
    try:
        there = source.stat()
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}; run stage 1 again") from None
    if not target.is_file():
        return False
    here = target.stat()
    return here.st_size == there.st_size and int(here.st_mtime) == int(there.st_mtime)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system gives it up when the process ends, however it ends."""
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
