"""Merge data directories; see the help text below."""

import json
import shutil
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

from reading import TableError, is_increasing, read_owners, read_table, table_blocks
from tables import (
    WHOLE_FILES,
    building,
    list_files,
    make_parser,
    recording_files,
    require_directory,
    run_script,
    say,
    speaker_files,
    utterance_files,
    write_spk2utt,
    write_table,
)
from validate_data_dir import validate_written

USAGE = "%(prog)s DESTINATION SOURCE..."
HELP = """Merges the SOURCE data directories into DESTINATION. An utterance that is in two of them is an error;
a speaker may be. A file of utterances that one source lacks is left out, with a word, but for utt2aug, and for
utt2uniq, where an utterance without entry stands for itself. feats.scp of different front ends (frontend.json)
are refused. Speaker tables, augment.scp and lists of trials are united; where they disagree they are refused."""


def main(words):
    """Merge as the command line says."""
    parser = make_parser(HELP, USAGE)
    parser.add_argument("destination", metavar="DESTINATION")
    parser.add_argument("sources", metavar="SOURCE", nargs="+")
    arguments = parser.parse_args(words)
    destination = Path(arguments.destination)
    sources = [require_directory(source) for source in arguments.sources]
    if destination.exists() and any(destination.samefile(source) for source in sources):
        raise TableError(f"{destination} is a source as well as the destination")
    check_segments(sources)
    with building(destination) as target:
        counts = merge_utterances(target, sources)
        merge_whole_files(target, sources)
        for name in sorted({name for source in sources for name in united_files(source)}):
            unite(target, name, [source / name for source in sources if (source / name).is_file()])
        copy_lists(target, sources)
        validate_written(target, destination)
    parts = " + ".join(f"{count} of {source}" for count, source in zip(counts, sources, strict=True))
    say(f"{destination}: {sum(counts)} utterances ({parts})")


def check_segments(sources):
    """Raise TableError when only some sources have segments: their wav.scp mean different things."""
    segmented = [source for source in sources if (source / "segments").is_file()]
    if segmented and len(segmented) < len(sources):
        raise TableError(f"{segmented[0]} has segments and another source has none; these cannot be merged")


def merge_utterances(target, sources):
    """Write the merged files of utterances; return the number of utterances of each source."""
    present = [set(utterance_files(source)) for source in sources]
    counts = []
    for name in ["utt2spk", *sorted(set.union(*present) - {"utt2spk"})]:
        missing = [source for source, names in zip(sources, present, strict=True) if name not in names]
        if missing and name not in ("utt2aug", "utt2uniq"):
            say(f"{name} is left out: {missing[0]} has none")
            continue
        if name == "utt2uniq":
            parts = [own_lines(source) if source in missing else table_lines(source / name) for source in sources]
        else:
            parts = [table_lines(source / name) for source in sources if source not in missing]
        written = write_merged(target / name, parts, sources)
        counts = counts or written
    write_spk2utt(target, *read_owners(target / "utt2spk"))
    return counts


def table_lines(path):
    """Yield the lines of a table in blocks, as `id value`."""
    for _, ids, values in table_blocks(path):
        yield list(map(" ".join, zip(ids, values, strict=True)))


def own_lines(source):
    """Yield the lines of a utt2uniq in which every utterance stands for itself."""
    for _, ids, _ in table_blocks(source / "utt2spk"):
        yield list(map(" ".join, zip(ids, ids, strict=True)))


def write_merged(path, parts, sources):
    """Write sorted lines that come in blocks from several places as one sorted table; return how many came from each.

    Raises TableError for an utterance that comes twice. What is held is a block of each place.
    """
    held, counts, before = [[] for _ in parts], [0] * len(parts), ""
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        while True:
            for number, part in enumerate(parts):
                if not held[number]:
                    held[number] = next(part, [])
                    counts[number] += len(held[number])
            if not any(held):
                return counts
            # a blank sorts before all that an id can hold, so the order of the lines is that of the ids
            bound = min(lines[-1] for lines in held if lines)
            block = []
            for number, lines in enumerate(held):
                cut = bisect_right(lines, bound)
                block += lines[:cut]
                held[number] = lines[cut:]
            block.sort()
            if path.name == "utt2spk":  # the other files are held against it at the end
                ids = [line.split(" ", 1)[0] for line in block]
                if not (before < ids[0] and is_increasing(ids)):
                    refuse_twice([before, *ids], sources)
                before = ids[-1]
            handle.write("\n".join(block) + "\n")


def refuse_twice(ids, sources):
    """Raise TableError naming the sources of the first id that is there twice."""
    twice = next(left for left, right in pairwise(ids) if left == right)
    places = [str(source) for source in sources if any(twice in ids for _, ids, _ in table_blocks(source / "utt2spk"))]
    raise TableError(f"the utterance {twice} is in {' and in '.join(places)}")


def merge_whole_files(target, sources):
    """Copy frontend.json and frame_shift, which must agree, when the features are merged."""
    if not (target / "feats.scp").is_file():
        return
    for name in WHOLE_FILES:
        holders = [source for source in sources if (source / name).is_file()]
        if not holders:
            continue
        values = [read_whole(source / name) for source in sources]
        for source, value in zip(sources, values, strict=True):
            if value != values[0]:
                raise TableError(f"{source}/{name} differs from {sources[0]}/{name}: features of two front ends")
        shutil.copyfile(holders[0] / name, target / name)


def read_whole(path):
    """Return the content of a file as parsed JSON or text; None when it is missing."""
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError:
        return text


def united_files(source):
    """Return the names of the files whose lines may be in several sources when they agree."""
    names = [*speaker_files(source), *recording_files(source)]
    return [*names, "augment.scp"] if (source / "augment.scp").is_file() else names


def unite(target, name, paths):
    """Write the union of tables. Raises TableError for an id with two values."""
    rows, origin = {}, {}
    for path in paths:
        for key, value in zip(*read_table(path), strict=True):
            if rows.setdefault(key, value) != value:
                raise TableError(f"{key} has one value in {origin[key]} and another in {path}")
            origin.setdefault(key, path)
    ids = sorted(rows)
    write_table(target / name, ids, [rows[key] for key in ids])


def copy_lists(target, sources):
    """Copy lists of trials and enrolments. Raises TableError when two sources have different ones of a name."""
    for source in sources:
        for name in list_files(source):
            copy = target / name
            if copy.is_file() and copy.read_bytes() != (source / name).read_bytes():
                raise TableError(f"{source}/{name} differs from the list of that name in another source; rename one")
            shutil.copyfile(source / name, copy)


if __name__ == "__main__":
    run_script(main)
