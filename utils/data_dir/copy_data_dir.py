"""Copy a data directory with changed ids; see the help text below."""

from pathlib import Path

from reading import TableError, read_table
from restrict import write_part
from tables import building, make_parser, require_directory, run_script, say
from validate_data_dir import validate_written

USAGE = "%(prog)s [--utt-prefix P] [--utt-suffix S] [--spk-prefix P] [--spk-suffix S] SOURCE DESTINATION"
HELP = """Copies the data directory SOURCE to DESTINATION with prefixes and suffixes added to the ids. With
changed utterance ids utt2uniq leads from the new ids to those of SOURCE. A speaker prefix without the same
utterance prefix usually breaks the rule that utt2spk is sorted by both; the copy is then refused, unless --no-
spk-sort is given."""


def main(words):
    """Copy as the command line says."""
    names = ("--utt-prefix", "--utt-suffix", "--spk-prefix", "--spk-suffix")
    parser = make_parser(HELP, USAGE, free_values=names)
    for name in names:
        parser.add_argument(name, default="", help="no blanks")
    parser.add_argument("--no-spk-sort", action="store_true", help="utt2spk need not be sorted by speaker too")
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("destination", metavar="DESTINATION")
    arguments = parser.parse_args(words)
    source, destination = require_directory(arguments.source), Path(arguments.destination)
    if destination.exists() and destination.samefile(source):
        raise TableError(f"{destination} is the source as well as the destination")
    affixes = (arguments.utt_prefix, arguments.utt_suffix, arguments.spk_prefix, arguments.spk_suffix)
    for affix in affixes:
        if affix and len(affix.split()) != 1 or affix != affix.strip():
            raise TableError(f"a prefix or suffix has no blanks: '{affix}'")
    ids, speakers = read_table(source / "utt2spk")
    rename = affixer(*affixes[:2])
    with building(destination) as target:
        write_part(source, target, set(ids), rename, affixer(*affixes[2:]))
        validate_written(target, destination, arguments.no_spk_sort)
    say(f"{destination}: copied {len(ids)} utterances of {len(set(speakers))} speakers from {source}")


def affixer(prefix, suffix):
    """Return the function that adds prefix and suffix; None when both are empty."""
    return (lambda key: f"{prefix}{key}{suffix}") if prefix or suffix else None


if __name__ == "__main__":
    run_script(main)
