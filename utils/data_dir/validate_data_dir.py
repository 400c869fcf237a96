"""Check a data directory; see the help text below."""

import argparse
import json
import math
import operator
from itertools import islice, pairwise
from pathlib import Path

from lists import check_lists
from reading import TableError, read_owners, read_table, shorten, table_blocks
from tables import (
    list_files,
    make_parser,
    recording_files,
    require_directory,
    run_script,
    say,
    speaker_files,
    utterance_files,
)

USAGE = "%(prog)s [--no-feats] [--no-wav] [--no-text] [--no-spk-sort] [--non-print] DATA"
HELP = """Checks a data directory: every file's form, order (LC_ALL=C) and unique ids; utt2spk against spk2utt;
the same utterances in wav.scp (or segments), feats.scp, utt2session, utt2dur, utt2num_frames, utt2uniq, vad.scp, text;
durations and frames above zero; utt2aug against augment.scp; the utterances of trials_* and enrol_*. Ends with
status 1 and one line with file and line number at the first fault."""

PARTIAL = ("utt2aug",)  # need not name every utterance


def main(words):
    """Run the checks that the command line asks for."""
    parser = make_parser(HELP, USAGE)
    parser.add_argument("--no-feats", action="store_true", help="feats.scp may be missing")
    parser.add_argument("--no-wav", action="store_true", help="wav.scp may be missing")
    parser.add_argument("--no-text", action="store_true", help="accepted for Kaldi's sake: text is never required")
    parser.add_argument("--no-spk-sort", action="store_true", help="utt2spk need not be sorted by speaker too")
    parser.add_argument("--non-print", action="store_true", help="ids may hold characters that cannot be printed")
    parser.add_argument("data", metavar="DATA")
    arguments = parser.parse_args(words)
    directory = require_directory(arguments.data)
    counts = validate(directory, arguments)
    say(f"{directory}: valid; {counts}")


def validate_written(temporary, destination, no_spk_sort=False):
    """Check a directory that a script has just written under a temporary name; faults name `destination`."""
    options = argparse.Namespace(no_feats=True, no_wav=True, no_spk_sort=no_spk_sort, non_print=True)
    try:
        validate(temporary, options)
    except TableError as error:
        raise TableError(str(error).replace(str(temporary), str(destination))) from None


def validate(directory, arguments):
    """Check everything; return what was found as text. Raises TableError at the first fault."""
    ids, speakers = read_owners(directory / "utt2spk")
    if not ids:
        raise TableError(f"{directory}/utt2spk: no utterances")
    check_speakers(directory, ids, speakers, arguments)
    required = [name for name, free in (("wav.scp", arguments.no_wav), ("feats.scp", arguments.no_feats)) if not free]
    for name in required:
        if not (directory / name).is_file():
            raise TableError(f"{directory}/{name}: no such file (--no-{name.split('.')[0]} if that is meant)")
    names, lists = utterance_files(directory)[1:], list_files(directory)
    known = set(ids) if lists or not set(PARTIAL).isdisjoint(names) else ()  # at millions of lines worth to do without
    for name in names:
        check_utterances(directory, name, ids, known)
    if (directory / "segments").is_file():
        check_segments(directory)
    for name in speaker_files(directory):
        check_ids(directory / name, read_table(directory / name)[0], sorted(set(speakers)), "spk2utt")
    for name in recording_files(directory)[1:]:
        read_table(directory / name)
    check_frontend(directory / "frontend.json")
    check_lists(directory, lists, known)
    return f"{len(ids)} utterances, {len(set(speakers))} speakers; {' '.join(['utt2spk spk2utt', *names, *lists])}"


def check_speakers(directory, ids, speakers, arguments):
    """Check utt2spk's order by speaker and that spk2utt says the same."""
    if not arguments.non_print and not all(map(str.isprintable, ids)):
        number = next(index for index, key in enumerate(ids, 1) if not key.isprintable())
        raise TableError(f"{directory}/utt2spk:{number}: a character that cannot be printed (--non-print allows it)")
    if not arguments.no_spk_sort and not all(map(operator.le, speakers, islice(speakers, 1, None))):
        for number, (left, right) in enumerate(pairwise(speakers), 2):
            if left > right:
                raise TableError(
                    f"{directory}/utt2spk:{number}: sorted by utterance but not by speaker ({right} after {left}); "
                    "begin utterance ids with the speaker id, or use --no-spk-sort"
                )
    path = directory / "spk2utt"
    if not path.is_file():
        raise TableError(f"{path}: no such file (fix_data_dir.sh makes it)")
    groups = {}
    for key, speaker in zip(ids, speakers, strict=True):
        groups.setdefault(speaker, []).append(key)
    for number, (speaker, utterances) in enumerate(zip(*read_table(path), strict=True), 1):
        if sorted(utterances.split()) != groups.pop(speaker, None):
            raise TableError(f"{path}:{number}: does not agree with utt2spk for the speaker {speaker}")
    if groups:
        raise TableError(f"{path}: the speaker {next(iter(groups))} of utt2spk is missing")


def check_utterances(directory, name, ids, known):
    """Check one file that has a line per utterance."""
    path, place = directory / name, 0
    sources = augment_sources(directory) if name == "utt2aug" else ()
    for first, found, values in table_blocks(path):
        if name in PARTIAL:
            if not known.issuperset(found):
                number, key = next((number, key) for number, key in enumerate(found, first) if key not in known)
                raise TableError(f"{path}:{number}: {key} is not in utt2spk")
        elif found != ids[place : place + len(found)]:
            place = -1
            break
        place += len(found)
        if name in ("utt2dur", "utt2num_frames"):
            kind = (float, "seconds") if name == "utt2dur" else (int, "a whole number of frames")
            check_lengths(path, first, values, *kind)
        if name == "wav.scp":
            check_audio(path, first, values)
        if name == "utt2aug":
            check_recipes(path, first, values, sources)
    if name not in PARTIAL and place != len(ids):
        check_ids(path, read_table(path)[0], ids, "utt2spk")


def check_ids(path, found, expected, reference):
    """Raise TableError unless the two sorted lists of ids are equal."""
    if found == expected:
        return
    missing, extra = set(expected) - set(found), set(found) - set(expected)
    if extra:
        first = min(extra)
        raise TableError(f"{path}:{found.index(first) + 1}: {first} is not in {reference} ({len(extra)} such lines)")
    raise TableError(f"{path}: {min(missing)} of {reference} is missing ({len(missing)} are)")


def check_lengths(path, first, values, convert, kind):
    """Raise TableError for the first value that is no number above zero."""
    try:
        if all(map(math.inf.__gt__, numbers := list(map(convert, values)))) and min(numbers, default=1) > 0:
            return
    except ValueError:
        pass
    for number, value in enumerate(values, first):
        if not is_positive(value, convert):
            raise TableError(f"{path}:{number}: expected {kind} above zero, found: {value}")


def is_positive(text, convert):
    """Return whether the text is a finite number above zero."""
    try:
        return 0 < convert(text) < math.inf
    except ValueError:
        return False


def check_audio(path, first, values):
    """Check the entries of wav.scp without opening any file."""
    if not any(value[0] in "~|" for value in values):
        return
    for number, value in enumerate(values, first):
        if value[0] == "~":
            raise TableError(f"{path}:{number}: ~ is not expanded; write the path out: {shorten(value)}")
        if value == "|":
            raise TableError(f"{path}:{number}: an empty command")


def check_segments(directory):
    """Check the times of segments and that wav.scp has their recordings and no others."""
    path = directory / "segments"
    recordings = read_table(directory / "wav.scp")[0] if (directory / "wav.scp").is_file() else None
    known = set(recordings or ())
    unused = set(known)
    if recordings:
        check_audio(directory / "wav.scp", 1, read_table(directory / "wav.scp")[1])
    for number, value in enumerate(read_table(path)[1], 1):
        recording, start, end = value.split()
        if recordings is not None and recording not in known:
            raise TableError(f"{path}:{number}: the recording {recording} is not in wav.scp")
        try:
            valid = 0 <= float(start) < float(end) < math.inf or (float(start) >= 0 and float(end) == -1)
        except ValueError:
            valid = False
        if not valid:
            raise TableError(f"{path}:{number}: expected 0 <= start < end (seconds), found: {start} {end}")
        unused.discard(recording)
    if unused:
        first = min(unused)
        number = recordings.index(first) + 1
        raise TableError(f"{directory}/wav.scp:{number}: no segment is of {first} (fix_data_dir.sh takes it out)")


def augment_sources(directory):
    """Return the ids of augment.scp."""
    path = directory / "augment.scp"
    return set(read_table(path)[0]) if path.is_file() else set()


def check_recipes(path, first, values, sources):
    """Check the form of utt2aug and that augment.scp has every source that it names."""
    for number, value in enumerate(values, first):
        for item in value.split():
            key, equals, setting = item.partition("=")
            if not (key and equals and setting):
                raise TableError(f"{path}:{number}: expected key=value, found: {shorten(item)}")
            if key in ("reverb", "noise", "music", "babble"):
                missing = [name for name in setting.partition("@")[0].split(",") if name not in sources]
                if missing:
                    raise TableError(f"{path}:{number}: {missing[0]} is not in augment.scp")


def check_frontend(path):
    """Check that frontend.json, if there, is JSON."""
    try:
        if Path(path).is_file():
            json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise TableError(f"{path}: not JSON: {error}") from None


if __name__ == "__main__":
    run_script(main)
