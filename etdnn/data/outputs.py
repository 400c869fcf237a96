"""Directories that are complete or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def building(out: str | Path) -> Iterator[Path]:
    """Give a scratch directory in `out`; when the block ends well, what was made there replaces its namesakes in `out`.

    When the block fails, `out` keeps what it had. OSError as the system gives it (disc full, parent is a file, ...).
    """
    out = Path(out)
    work = out / ".prepare.tmp"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    try:
        yield work
        for made in sorted(work.iterdir()):
            if made.is_dir():
                replace_directory(made, out / made.name)
            else:
                made.replace(out / made.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def replace_directory(new: Path, final: Path) -> None:
    """Put finished directory `new` in the place of `final`; what was there goes only after `new` is in place."""
    old = final.with_name(f".{final.name}.old{os.getpid()}")
    if final.exists():
        final.rename(old)
    new.rename(final)
    if old.exists():
        shutil.rmtree(old)
