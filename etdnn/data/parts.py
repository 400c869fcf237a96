"""Utterances that are parts of a corpus's files, from a list of one's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

from etdnn.data.corpus import Utterance, id_of_path, safe_name
from etdnn.data.datadir import read_lines
from etdnn.data.segments import TO_END, Segment, parse_times
from etdnn.errors import UserError


def read_parts(path: str | Path, files: Sequence[Utterance], say: Callable[[str], None] = print) -> list[Utterance]:
    """Read lines `FILE START END [NAME]` and return the parts as utterances, sorted by id.

    FILE is a path below the corpus or an id; times are seconds, END -1 is the end of the file. Columns are parted by
    tabs in lines that have any, else by blanks. The id is that of the file, `-` and NAME, or the times in milliseconds:
    `ann-mon-1-0001500-0004250`. Files that no line names are left out, as with Kaldi's segments, and counted. UserError
    with file and line for a bad form or time, a file that the corpus lacks, and two parts with one id.
    """
    of = {file.id: file for file in files}
    parts: dict[str, Utterance] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if not 3 <= len(columns) <= 4:
            raise UserError(f"{path}:{number}: expected 'FILE START END [NAME]', found {line[:60]!r}")
        try:
            times = parse_times(*columns[1:3])
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from None
        file = of.get(id_of_path(columns[0]))
        if file is None:
            raise UserError(f"{path}:{number}: '{columns[0]}' is no file SPEAKER/SESSION/UTTERANCE of the corpus")
        key = f"{file.id}-{safe_name(columns[3]) if len(columns) == 4 else '-'.join(map(_milliseconds, times))}"
        if key in parts:
            raise UserError(f"{path}:{number}: a second part with the id '{key}'")
        parts[key] = file._replace(id=key, segment=Segment(file.id, *times))
    if not parts:
        raise UserError(f"{path}: no lines 'FILE START END'")
    named = {part.path for part in parts.values()}
    say(f"{path}: {len(parts)} parts of {len(named)} files")
    if unnamed := [file.path for file in files if file.path not in named]:
        say(f"left out: {len(unnamed)} files that {path} does not name, e.g. {unnamed[0]}")
    return [parts[key] for key in sorted(parts)]


def _milliseconds(time: float) -> str:
    return "end" if time == TO_END else f"{round(1000 * time):07d}"
