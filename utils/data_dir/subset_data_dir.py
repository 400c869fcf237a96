"""Make a data directory from a part of another; see the help text below."""

import random
from itertools import accumulate
from pathlib import Path

from reading import TableError, read_lines, read_table
from restrict import write_part
from tables import building, invert, make_parser, require_directory, run_script, say

USAGE = """%(prog)s [--first|--last|--shortest|--speakers|--per-spk] SOURCE NUMBER DESTINATION
       %(prog)s --spk-list FILE | --utt-list FILE SOURCE DESTINATION"""
HELP = """Makes DESTINATION from NUMBER utterances of SOURCE: evenly spread over the directory, or
  --first, --last   the first or last ones
  --shortest        the shortest ones (by utt2num_frames, else utt2dur)
  --speakers        all utterances of speakers drawn at random (--seed) until NUMBER is reached
  --per-spk         NUMBER of every speaker (all when there are fewer), evenly spread
or from those whose speaker or whose own id is the first word of a line of FILE. Trials of other utterances are left
out and counted."""

WAYS = ("first", "last", "shortest", "speakers", "per-spk")


def main(words):
    """Choose and write."""
    parser = make_parser(HELP, USAGE)
    ways = parser.add_mutually_exclusive_group()
    for name in WAYS:
        ways.add_argument(f"--{name}", dest="way", action="store_const", const=name)
    ways.add_argument("--spk-list", metavar="FILE")
    ways.add_argument("--utt-list", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="for --speakers (default 0)")
    parser.add_argument("words", metavar="WORD", nargs="+", help="SOURCE [NUMBER] DESTINATION")
    arguments = parser.parse_args(words)
    by_list = arguments.spk_list or arguments.utt_list
    if len(arguments.words) != (2 if by_list else 3):
        parser.error("expected " + ("SOURCE DESTINATION" if by_list else "SOURCE NUMBER DESTINATION"))
    source, destination = require_directory(arguments.words[0]), Path(arguments.words[-1])
    if destination.exists() and destination.samefile(source):
        raise TableError(f"{destination} is the source as well as the destination")
    ids, speakers = read_table(source / "utt2spk")
    if by_list:
        chosen = choose_listed(ids, speakers, arguments)
    else:
        text = arguments.words[1]
        if not text.isdecimal() or int(text) < 1:
            parser.error(f"NUMBER must be a whole number above 0, not '{text}'")
        chosen = choose(source, ids, speakers, int(text), arguments)
    with building(destination) as target:
        write_part(source, target, chosen)
    count = len({speaker for key, speaker in zip(ids, speakers, strict=True) if key in chosen})
    say(f"{destination}: {len(chosen)} of {len(ids)} utterances, {count} of {len(set(speakers))} speakers")


def choose_listed(ids, speakers, arguments):
    """Return the utterances that a file lists by themselves or by speaker; names that are not there are counted."""
    path = arguments.spk_list or arguments.utt_list
    listed = {line.split()[0] for line in read_lines(path) if line.strip()}
    owners = speakers if arguments.spk_list else ids
    unknown = listed - set(owners)
    if unknown:
        kind = "speakers" if arguments.spk_list else "utterances"
        say(f"warning: {len(unknown)} of {len(listed)} {kind} in {path} are not in the source, as {min(unknown)}")
    chosen = {key for key, owner in zip(ids, owners, strict=True) if owner in listed}
    if not chosen:
        raise TableError(f"{path}: lists nothing that is in {arguments.words[0]}")
    return chosen


def choose(source, ids, speakers, number, arguments):
    """Return `number` utterances (per speaker with --per-spk) chosen the way that the command line says."""
    way = arguments.way
    if way == "per-spk":
        groups = invert(ids, speakers).values()
        return {key for group in groups for key in spread(group, min(number, len(group)))}
    if number > len(ids):
        raise TableError(f"{source} has {len(ids)} utterances, fewer than {number}")
    if way == "first":
        return set(ids[:number])
    if way == "last":
        return set(ids[-number:])
    if way == "shortest":
        return set(sorted(ids, key=read_lengths(source, ids))[:number])
    if way == "speakers":
        groups = invert(ids, speakers)
        order = list(groups)
        random.Random(arguments.seed).shuffle(order)
        totals = accumulate(len(groups[speaker]) for speaker in order)
        count = next(count for count, total in enumerate(totals, 1) if total >= number)
        return {key for speaker in order[:count] for key in groups[speaker]}
    return set(spread(ids, number))


def spread(items, number):
    """Return `number` of the items, evenly spaced."""
    return [items[index * len(items) // number] for index in range(number)]


def read_lengths(source, ids):
    """Return a function from utterance to length, in whichever unit the directory has."""
    for name in ("utt2num_frames", "utt2dur"):
        if (source / name).is_file():
            keys, values = read_table(source / name)
            if keys != ids:
                raise TableError(f"{source}/{name}: has not the utterances of utt2spk (see fix_data_dir.sh)")
            return dict(zip(keys, map(float, values), strict=True)).__getitem__
    raise TableError(f"{source}: --shortest needs utt2num_frames or utt2dur")


if __name__ == "__main__":
    run_script(main)
