"""Sort the files of a data directory and drop what is incomplete; see the help text below."""

import math
import shutil
from collections import Counter
from pathlib import Path

from lists import change_lists
from tables import (
    COLUMNS,
    TableError,
    invert,
    is_increasing,
    list_files,
    make_parser,
    recording_files,
    replacing,
    require_directory,
    run_script,
    say,
    shorten,
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


def main(words):
    """Fix the directory that the command line names."""
    parser = make_parser(HELP, USAGE)
    parser.add_argument("data", metavar="DATA")
    directory = require_directory(parser.parse_args(words).data)
    speakers = read_loosely(directory / "utt2spk")
    names = utterance_files(directory)[1:]
    tables = {name: read_loosely(directory / name) for name in names}
    records = {name: read_loosely(directory / name) for name in recording_files(directory)}
    if "wav.scp" in records and "segments" in tables:
        lost = [key for key, value in tables["segments"].items() if value.split()[0] not in records["wav.scp"]]
        report("segments", len(lost), "entries whose recording is not in wav.scp", lost)
        for key in lost:
            del tables["segments"][key]
    if "utt2uniq" in tables:  # Kaldi wants every utterance in it; one without entry stands for itself
        tables["utt2uniq"] = {key: key for key in speakers} | tables["utt2uniq"]
    kept = keep_complete(directory, speakers, tables)
    owners = {speakers[key] for key in kept}
    changed = write_changed(directory, "utt2spk", {key: speakers[key] for key in kept})
    for name, table in tables.items():
        changed += write_changed(directory, name, restrict(name, table, kept, "utt2spk"))
    if "segments" in tables:
        used = {tables["segments"][key].split()[0] for key in kept}
        for name, table in records.items():
            changed += write_changed(directory, name, restrict(name, table, used, "segments"))
    for name in speaker_files(directory):
        changed += write_changed(directory, name, restrict(name, read_loosely(directory / name), owners, "spk2utt"))
    changed += fix_spk2utt(directory, {key: speakers[key] for key in sorted(kept)})
    changed += fix_lists(directory, kept)
    what = f"changed {' '.join(changed)} (before: {directory}/.backup)" if changed else "nothing to change"
    say(f"{directory}: kept {len(kept)} of {len(speakers)} utterances, {len(owners)} speakers; {what}")


def read_loosely(path):
    """Return {id: value} of a table, in any order; repeated and malformed lines are dropped and counted.

    Raises TableError for an id with two values, for bytes that are not UTF-8, and for a malformed line of utt2spk.
    """
    columns, table, repeated, bad = COLUMNS.get(path.name), {}, [], []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text (byte {error.start})") from None
    for number, line in enumerate(lines, 1):
        part = line.split(None, 1)
        if not part:
            continue
        if len(part) != 2 or (columns and len(part[1].split()) != columns - 1) or not has_length(path.name, part[1]):
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
    report(path.name, len(bad), "malformed lines", bad)
    report(path.name, len(repeated), "repeated lines", repeated)
    return table


def has_length(name, text):
    """Return False for a duration or number of frames that is no number above zero."""
    if name not in ("utt2dur", "utt2num_frames"):
        return True
    try:
        return 0 < (float if name == "utt2dur" else int)(text) < math.inf
    except ValueError:
        return False


def report(name, count, kind, examples):
    """Say what was dropped, if anything was."""
    if count:
        say(f"{name}: dropped {count} {kind}, first {examples[0]}")


def keep_complete(directory, speakers, tables):
    """Return the utterances that all files have. Raises TableError when none is left."""
    reasons, examples, kept = Counter(), {}, set()
    complete = [(name, table) for name, table in tables.items() if name not in PARTIAL]
    for key in speakers:
        for name, table in complete:
            if key not in table:
                reasons[name] += 1
                examples.setdefault(name, []).append(key)
                break
        else:
            kept.add(key)
    for name, count in reasons.items():
        report("utt2spk", count, f"utterances that are not in {name}", examples[name])
    if not kept:
        raise TableError(f"{directory}: no utterance is in all of utt2spk {' '.join(name for name, _ in complete)}")
    return kept


def restrict(name, table, kept, reference):
    """Return the table without entries that are not in `kept`, which are counted."""
    extra = [key for key in table if key not in kept]
    report(name, len(extra), f"entries that are not in {reference}", extra)
    return {key: value for key, value in table.items() if key in kept} if extra else table


def write_changed(directory, name, table):
    """Write a table, sorted, when the file says anything else; return the list of the names of changed files."""
    keys = list(table) if is_increasing(list(table)) else sorted(table)
    return write_text(directory, name, "".join(f"{key} {table[key]}\n" for key in keys))


def write_text(directory, name, text):
    """Write a file, after a copy to .backup, when its content is another; return [name] when it was, else []."""
    path = Path(directory) / name
    if path.is_file():
        if path.read_bytes() == text.encode():
            return []
        backup = path.parent / ".backup"
        backup.mkdir(exist_ok=True)
        shutil.copyfile(path, backup / name)
    with replacing(path) as handle:
        handle.write(text)
    return [name]


def fix_spk2utt(directory, speakers):
    """Make spk2utt from utt2spk; return [its name] when it changed."""
    groups = invert(list(speakers), list(speakers.values()))
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
