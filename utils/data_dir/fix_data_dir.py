"""Sort the files of a data directory and drop what is incomplete; see the help text below."""

import math
import shutil
from pathlib import Path

from lists import change_lists
from reading import COLUMNS, TableError, is_increasing, read_plain, shorten
from tables import (
    invert,
    list_files,
    make_parser,
    recording_files,
    replacing,
    require_directory,
    run_script,
    say,
    select,
    speaker_files,
    utterance_files,
)

USAGE = "%(prog)s DATA"
HELP = """Sorts the files of DATA, drops repeated lines, entries that are not in utt2spk, utterances that are
missing from one of the files that should have them all (wav.scp or segments, feats.scp, utt2session, utt2dur,
utt2num_frames, vad.scp, text), their trials, and speakers without utterances; makes spk2utt anew. Says how many
were dropped and why; files as they were are in DATA/.backup. A malformed line of utt2spk, or an id with two
different values, is an error: what is right cannot be known here."""

PARTIAL = ("utt2aug", "utt2uniq")  # need not name every utterance
SAVED = set()  # names of the files that are in .backup as they were before this run


def main(words):
    """Fix the directory that the command line names."""
    parser = make_parser(HELP, USAGE)
    parser.add_argument("data", metavar="DATA")
    directory = require_directory(parser.parse_args(words).data)
    ids, speakers = read_loosely(directory / "utt2spk")
    names = utterance_files(directory)[1:]
    recordings = recording_files(directory)
    for name in [*speaker_files(directory), *recordings, *(name for name in PARTIAL if name in names)]:
        read_loosely(directory / name)  # what cannot be read is refused before anything is written
    if "segments" in names and "wav.scp" in recordings:
        drop_segments(directory)
    kept = keep_complete(directory, ids, [name for name in names if name not in PARTIAL])
    owners = {speaker for key, speaker in zip(ids, speakers, strict=True) if key in kept}
    changed = write_kept(directory, "utt2spk", kept, "")
    for name in names:
        changed += write_kept(directory, name, kept, "utt2spk")
    if "segments" in names:
        used = {value.split()[0] for value in read_loosely(directory / "segments", quiet=True)[1]}
        for name in recordings:
            changed += write_kept(directory, name, used, "segments")
    for name in speaker_files(directory):
        changed += write_kept(directory, name, owners, "spk2utt")
    changed += fix_spk2utt(directory)
    changed += fix_lists(directory, kept)
    what = (
        f"changed {' '.join(dict.fromkeys(changed))} (before: {directory}/.backup)" if changed else "nothing to change"
    )
    say(f"{directory}: kept {len(kept)} of {len(ids)} utterances, {len(owners)} speakers; {what}")


def read_loosely(path, quiet=False):
    """Return (ids, values) of a table, sorted by id, whatever its order; repeated and malformed lines are left out.

    These are counted in words unless `quiet`. Raises TableError for an id with two values, for bytes that are not
    UTF-8, and for a malformed line of utt2spk.
    """
    columns, is_value = COLUMNS.get(path.name), LENGTHS.get(path.name, bool)
    if columns in (None, 2):
        ids, values = read_plain(path)
        if ids is not None and is_increasing(ids) and all(map(is_value, values)):
            return ids, values
    table, repeated, bad = {}, [], []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text (byte {error.start})") from None
    for number, line in enumerate(lines, 1):
        part = line.split(None, 1)
        if not part:
            continue
        if len(part) != 2 or (columns and len(part[1].split()) != columns - 1) or not is_value(part[1].rstrip()):
            if path.name == "utt2spk":
                raise TableError(f"{path}:{number}: expected UTTERANCE SPEAKER, found: {shorten(line)}")
            bad.append(f"line {number}")
            continue
        key, value = part[0], part[1].rstrip()
        if key in table:
            if table[key] != value:
                raise TableError(f"{path}:{number}: {key} has another value than before: {shorten(value)}")
            repeated.append(f"line {number}")
        table[key] = value
    if not quiet:
        report(path.name, len(bad), "malformed lines", bad)
        report(path.name, len(repeated), "repeated lines", repeated)
    ids = sorted(table)
    return ids, [table[key] for key in ids]


def drop_segments(directory):
    """Drop segments whose recording is not in wav.scp."""
    recordings = set(read_loosely(directory / "wav.scp", quiet=True)[0])
    ids, values = read_loosely(directory / "segments")
    lost = [key for key, value in zip(ids, values, strict=True) if value.split()[0] not in recordings]
    if lost:
        report("segments", len(lost), "entries whose recording is not in wav.scp", lost)
        ids, values = select(ids, values, set(ids).difference(lost))
        write_text(directory, "segments", "".join(map("{} {}\n".format, ids, values)))


def is_duration(text):
    """Return whether the text is a number of seconds above zero."""
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def is_count(text):
    """Return whether the text is a whole number above zero."""
    return text.isdecimal() and int(text) > 0


LENGTHS = {"utt2dur": is_duration, "utt2num_frames": is_count}


def report(name, count, kind, examples):
    """Say what was dropped, if anything was."""
    if count:
        say(f"{name}: dropped {count} {kind}, first {examples[0]}")


def keep_complete(directory, ids, names):
    """Return the utterances that all files have. Raises TableError when none is left."""
    kept = set(ids)
    for name in names:
        # segments were read, and spoken about, before
        found = read_loosely(directory / name, quiet=name == "segments")[0]
        if found == ids:
            continue
        missing = sorted(kept.difference(found))
        report("utt2spk", len(missing), f"utterances that are not in {name}", missing)
        kept.difference_update(missing)
    if not kept:
        raise TableError(f"{directory}: no utterance is in all of utt2spk {' '.join(names)}")
    return kept


def write_kept(directory, name, kept, reference):
    """Write a table's entries that are in the set `kept`, sorted; count the others; return [name] when it changed."""
    ids, values = read_loosely(directory / name, quiet=True)
    extra = [] if kept.issuperset(ids) else [key for key in ids if key not in kept]
    if reference:
        report(name, len(extra), f"entries that are not in {reference}", extra)
    if extra:
        ids, values = select(ids, values, kept)
    return write_text(directory, name, "".join(map("{} {}\n".format, ids, values)))


def write_text(directory, name, text):
    """Write a file, after a copy to .backup, when its content is another; return [name] when it was, else []."""
    path = Path(directory) / name
    if path.is_file():
        if path.read_bytes() == text.encode():
            return []
        backup = path.parent / ".backup"
        backup.mkdir(exist_ok=True)
        if name not in SAVED:
            shutil.copyfile(path, backup / name)
            SAVED.add(name)
    with replacing(path) as handle:
        handle.write(text)
    return [name]


def fix_spk2utt(directory):
    """Make spk2utt from utt2spk; return [its name] when it changed."""
    groups = invert(*read_loosely(directory / "utt2spk", quiet=True))
    return write_text(directory, "spk2utt", "".join(f"{key} {' '.join(group)}\n" for key, group in groups.items()))


def fix_lists(directory, kept):
    """Drop the trials and enrolments of dropped utterances; return the names of the changed lists."""
    changed = []
    lists = change_lists(directory, list_files(directory), lambda key: key if key in kept else None)
    for name, (lines, before) in lists.items():
        if len(lines) < before:
            say(f"{name}: dropped {before - len(lines)} lines with utterances that are not in utt2spk")
        changed += write_text(directory, name, "".join(f"{line}\n" for line in lines))
    return changed


if __name__ == "__main__":
    run_script(main)
