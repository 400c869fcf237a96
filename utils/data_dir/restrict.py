"""Write a part of a data directory: the files, restricted to some utterances and with ids renamed."""

import contextlib
import shutil
from pathlib import Path

from lists import change_lists
from reading import read_table
from tables import (
    WHOLE_FILES,
    list_files,
    recording_files,
    say,
    select,
    speaker_files,
    utterance_files,
    write_lines,
    write_sorted,
    write_spk2utt,
    write_table,
)


def write_part(source, target, chosen, rename=None, rename_speaker=None):
    """Write the utterances in the set `chosen` of the data directory `source` into the directory `target`.

    `rename` and `rename_speaker`, when given, make the new ids of utterances and speakers; utt2uniq then leads from the
    new ids to the first ones. Lists of trials lose what is not chosen, and their counts are printed.
    """
    source, target = Path(source), Path(target)
    new_id, new_speaker = rename or str, rename_speaker or str
    for name in utterance_files(source):
        ids, values = select(*read_table(source / name), chosen)
        if name == "utt2spk":
            originals, speakers = ids, set(values)
            values = list(map(new_speaker, values))
        if (rename and name == "utt2uniq") or (name in ("utt2aug", "utt2uniq") and not ids):
            continue
        write_sorted(target / name, list(map(new_id, ids)), values)
    write_spk2utt(target, *read_table(target / "utt2spk"))
    if rename:
        write_origins(source, target, originals, new_id)
    for name in speaker_files(source):
        ids, values = select(*read_table(source / name), speakers)
        write_sorted(target / name, list(map(new_speaker, ids)), values)
    write_recordings(source, target)
    for name in ("augment.scp", *WHOLE_FILES):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(source / name, target / name)
    for name, (lines, before) in change_lists(
        source, list_files(source), lambda key: new_id(key) if key in chosen else None
    ).items():
        if lines:
            write_lines(target / name, lines)
        if len(lines) < before:
            say(f"{name}: kept {len(lines)} of {before} lines")


def write_origins(source, target, ids, new_id):
    """Write utt2uniq for renamed ids: the utterance that each one is a copy of."""
    path = source / "utt2uniq"
    known = dict(zip(*read_table(path), strict=True)) if path.is_file() else {}
    write_sorted(target / "utt2uniq", list(map(new_id, ids)), [known.get(key, key) for key in ids])


def write_recordings(source, target):
    """Write the files of recordings, restricted to those that the segments in `target` name."""
    names = recording_files(source)
    if not names:
        return
    wanted = {value.split()[0] for value in read_table(target / "segments")[1]}
    for name in names:
        write_table(target / name, *select(*read_table(source / name), wanted))
