"""Split a data directory for parallel jobs; see the help text below."""

import contextlib
import os
import shutil
from itertools import accumulate, groupby

from reading import TableError, read_table
from restrict import write_recordings
from tables import (
    WHOLE_FILES,
    make_parser,
    require_directory,
    run_script,
    say,
    select,
    speaker_files,
    utterance_files,
    write_spk2utt,
    write_table,
)

USAGE = "%(prog)s [--per-utt] DATA NUMBER"
HELP = """Splits DATA into NUMBER parts, DATA/splitNUMBER/1 to NUMBER, of about as many utterances each; every
speaker stays whole. With --per-utt speakers may be cut and the parts are in DATA/splitNUMBERutt. A NUMBER above
that of the speakers (utterances) is lowered, with a warning. Standard output is the number of parts that were
made, and nothing else:

    nj=$(utils/split_data.sh data/train 32)
"""


def main(words):
    """Split as the command line says."""
    parser = make_parser(HELP, USAGE)
    parser.add_argument("--per-utt", action="store_true", help="speakers may be cut")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("number", metavar="NUMBER", type=int)
    arguments = parser.parse_args(words)
    if arguments.number < 1:
        parser.error(f"NUMBER must be 1 or more, not {arguments.number}")
    directory = require_directory(arguments.data)
    ids, speakers = read_table(directory / "utt2spk")
    if not ids:
        raise TableError(f"{directory}/utt2spk: no utterances")
    owners = ids if arguments.per_utt else speakers
    available = len(set(owners))
    number = min(arguments.number, available)
    if number < arguments.number:
        kind = "utterances" if arguments.per_utt else "speakers"
        say(f"warning: {directory} has {available} {kind}: {number} parts instead of {arguments.number}")
    part_of = assign(owners, number)
    target = directory / f"split{number}{'utt' if arguments.per_utt else ''}"
    temporary = directory / f".{target.name}.tmp{os.getpid()}"
    try:
        write_parts(directory, temporary, ids, speakers, part_of, number)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"{target}: {number} parts of {len(ids)} utterances of {len(set(speakers))} speakers")
    print(number)


def assign(owners, number):
    """Return the part, 0 to number - 1, of every entry of `owners`; entries of one owner share it; no part is empty.

    The owners are laid out in order and cut where the sum of their entries comes nearest to equal shares.
    """
    sizes = {}
    for owner in owners:
        sizes[owner] = sizes.get(owner, 0) + 1
    parts, part, total = {}, 0, len(owners)
    left, filled = len(sizes), 0
    for (owner, size), end in zip(sizes.items(), accumulate(sizes.values()), strict=True):
        middle = end - size / 2
        must_move = number - 1 - part >= left  # as many owners are left as parts that wait for one
        if filled and part < number - 1 and (must_move or middle * number >= (part + 1) * total):
            part, filled = part + 1, 0
        parts[owner] = part
        filled += 1
        left -= 1
    return [parts[owner] for owner in owners]


def write_parts(directory, target, ids, speakers, part_of, number):
    """Write the parts' files under `target`, one file of `directory` at a time."""
    folders = [target / str(index) for index in range(1, number + 1)]
    for folder in folders:
        folder.mkdir(parents=True)
    place, whole = dict(zip(ids, part_of, strict=True)), runs(part_of)
    for name in utterance_files(directory):
        keys, values = read_table(directory / name)
        divided = whole if keys == ids else runs(map(place.get, keys))
        write_divided(name, folders, list(map("{} {}\n".format, keys, values)), divided)
    members = [([], []) for _ in folders]
    for key, speaker, part in zip(ids, speakers, part_of, strict=True):
        members[part][0].append(key)
        members[part][1].append(speaker)
    for folder, (part_ids, part_speakers) in zip(folders, members, strict=True):
        write_spk2utt(folder, part_ids, part_speakers)
        for name in (*WHOLE_FILES, "augment.scp"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(directory / name, folder / name)
        write_recordings(directory, folder)
        for name in speaker_files(directory):
            write_table(folder / name, *select(*read_table(directory / name), set(part_speakers)))


def runs(parts):
    """Return (part, start, stop) of the stretches of equal parts."""
    found, start = [], 0
    for part, stretch in groupby(parts):
        stop = start + len(list(stretch))
        found.append((part, start, stop))
        start = stop
    return found


def write_divided(name, folders, lines, divided):
    """Write each stretch of a table's lines into the folder of its part; those of no part are left out."""
    chosen = [[] for _ in folders]
    for part, start, stop in divided:
        if part is not None:
            chosen[part] += lines[start:stop]
    for folder, part_lines in zip(folders, chosen, strict=True):
        if part_lines or name not in ("utt2aug", "utt2uniq"):
            (folder / name).write_text("".join(part_lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run_script(main)
