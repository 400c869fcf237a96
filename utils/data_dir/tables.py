"""The scripts' frame, the files of a Kaldi data directory by kind, and their writing; reading.py reads them.

The scripts of utils/ need nothing but bash and python3, so that they also serve outside the installed package.
"""

import argparse
import contextlib
import difflib
import gc
import os
import shutil
import sys
from itertools import compress
from pathlib import Path

from reading import TableError, is_increasing

WHOLE_FILES = ("frontend.json", "frame_shift")


def run_script(main):
    """Run `main(words)`; print a TableError or OSError as one line and exit with 1."""
    gc.disable()  # millions of small objects and no cycles among them: half of the time would go to looking for some
    try:
        sys.exit(main(sys.argv[1:]))
    except TableError as error:
        say(error)
    except OSError as error:
        say(f"{error.filename or 'output'}: {error.strerror}")
    sys.exit(1)


def say(text):
    """Print a line of what was done to standard error, after the name of the shell script that stands before this."""
    print(f"{Path(sys.argv[0]).stem}.sh: {text}", file=sys.stderr)


def make_parser(description, usage, free_values=()):
    """Return an argument parser; the values of the options `free_values` may begin with a dash."""
    parser = Parser(prog=f"{Path(sys.argv[0]).stem}.sh", description=description, usage=usage, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.free_values = free_values
    return parser


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and to which underscores in options are dashes, as Kaldi's are."""

    free_values = ()

    def parse_args(self, words):
        """Parse words."""
        dashed = []
        for word in words:
            name, equals, value = word.partition("=")
            if dashed and dashed[-1] in self.free_values:
                dashed[-1] += f"={word}"
            else:
                dashed.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
        return super().parse_args(dashed)

    def error(self, message):
        """Print the message, with the option nearest to an unknown one, and exit with 2."""
        unknown = message.removeprefix("unrecognized arguments: ").partition(" ")[0]
        if unknown.startswith("--"):
            near = difflib.get_close_matches(unknown, self._option_string_actions, 1)
            message = f"unknown option {unknown}" + (f" (did you mean {near[0]}?)" if near else "")
        print(f"{self.prog}: {message}; --help shows the form", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def replacing(path):
    """Open a temporary file beside `path` for writing and rename it to `path` at the end; remove it on failure."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as handle:
            yield handle
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def building(destination):
    """Give an empty temporary directory; at the end its files replace all data files of `destination`.

    Splits of what was there go too; files that are no part of a data directory stay. On failure nothing changes.
    """
    destination = Path(destination)
    with contextlib.suppress(FileExistsError):
        destination.mkdir(parents=True, exist_ok=True)
    temporary = destination / f".new{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary
        stale = [*utterance_files(destination), *recording_files(destination), *speaker_files(destination)]
        for name in {*stale, *list_files(destination), "spk2utt", "augment.scp", "wav.scp", *WHOLE_FILES}:
            (destination / name).unlink(missing_ok=True)
        for split in destination.glob("split[0-9]*"):
            shutil.rmtree(split)
        for path in temporary.iterdir():
            path.replace(destination / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_table(path, ids, values):
    """Write `id value` lines as they come."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(map("{} {}\n".format, ids, values))


def write_sorted(path, ids, values):
    """Write `id value` lines, sorted by id when they are not."""
    if not is_increasing(ids):
        order = sorted(range(len(ids)), key=ids.__getitem__)
        ids, values = [ids[index] for index in order], [values[index] for index in order]
    write_table(path, ids, values)


def select(ids, values, chosen):
    """Return the rows whose id is in the set `chosen`, as two lists."""
    mask = [key in chosen for key in ids]
    return list(compress(ids, mask)), list(compress(values, mask))


def write_lines(path, lines):
    """Write lines."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(f"{line}\n" for line in lines)


def invert(ids, values):
    """Return {value: [ids]} with the values sorted and the ids in their order."""
    groups = {}
    for key, value in zip(ids, values, strict=True):
        groups.setdefault(value, []).append(key)
    return dict(sorted(groups.items()))


def write_spk2utt(directory, ids, speakers):
    """Write spk2utt from the columns of utt2spk."""
    groups = invert(ids, speakers)
    write_table(Path(directory) / "spk2utt", groups, map(" ".join, groups.values()))


def utterance_files(directory):
    """Return the names of the directory's files that have a line per utterance, utt2spk first."""
    directory = Path(directory)
    names = {path.name for path in directory.glob("utt2*") if path.is_file()}
    names |= {name for name in ("feats.scp", "vad.scp", "text", "segments") if (directory / name).is_file()}
    if "segments" not in names and (directory / "wav.scp").is_file():
        names.add("wav.scp")
    names.discard("utt2spk")
    return ["utt2spk", *sorted(names)]


def recording_files(directory):
    """Return the names of the files that have a line per recording (only where there are segments)."""
    directory = Path(directory)
    names = ("wav.scp", "reco2dur", "reco2file_and_channel") if (directory / "segments").is_file() else ()
    return [name for name in names if (directory / name).is_file()]


def speaker_files(directory):
    """Return the names of the files, without spk2utt, that have a line per speaker."""
    directory = Path(directory)
    names = {path.name for path in directory.glob("spk2*") if path.is_file()} - {"spk2utt"}
    return sorted(names | ({"cmvn.scp"} if (directory / "cmvn.scp").is_file() else set()))


def list_files(directory):
    """Return the names of the trial lists and enrolment lists."""
    directory = Path(directory)
    return sorted(p.name for form in ("trials_*", "enrol_*") for p in directory.glob(form) if p.is_file())


def require_directory(path):
    """Return the path of a data directory. Raises TableError when it or its utt2spk is missing."""
    path = Path(path)
    if not path.is_dir():
        raise TableError(f"{path}: no such directory")
    if not (path / "utt2spk").is_file():
        raise TableError(f"{path}/utt2spk: no such file")
    return path
