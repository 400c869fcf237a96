"""Speakers into train, dev and test: by a table, by the trials, or drawn."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etdnn.data.corpus import safe_speaker
from etdnn.data.datadir import read_lines
from etdnn.errors import UserError
from etdnn.files import write_text
from etdnn.seeding import numpy_generator

SETS = ("train", "dev", "test")
_GENDERS = {"male": "m", "man": "m", "female": "f", "woman": "f"}


@dataclass
class Split:
    """Speaker -> set ('train', 'dev', 'test'); where they are known, speaker -> gender and speaker -> age group."""

    sets: dict[str, str] = field(default_factory=dict)
    gender: dict[str, str] = field(default_factory=dict)
    age_group: dict[str, str] = field(default_factory=dict)

    @property
    def group(self) -> dict[str, str]:
        """Speaker -> gender and age group: non-target trials of one group are the hard ones."""
        known = self.gender.keys() | self.age_group.keys()
        return {speaker: f"{self.gender.get(speaker, '')} {self.age_group.get(speaker, '')}" for speaker in known}

    def of(self, name: str) -> set[str]:
        """Return the speakers of set `name`."""
        return {speaker for speaker, chosen in self.sets.items() if chosen == name}


def read_split(path: str | Path) -> Split:
    """Read a table of speakers: a header with columns `id` and `set` (train, dev, test), maybe `gender`, `age_group`.

    Columns are separated by tabs (or commas in a .csv). UserError with file and line for a missing column, an unknown
    set and a speaker in two sets.
    """
    lines = read_lines(path)
    rows = list(csv.reader(lines, delimiter="," if str(path).endswith(".csv") else "\t"))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    for name in ("id", "set"):
        if name not in header:
            raise UserError(f"{path}:1: no column '{name}' (columns: {', '.join(header) or 'none'}; tab between them)")
    split = Split()
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(header):
            raise UserError(f"{path}:{number}: {len(row)} columns, the header has {len(header)}")
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        speaker, chosen = safe_speaker(cells["id"]), cells["set"].lower()
        if chosen not in SETS:
            raise UserError(f"{path}:{number}: set '{cells['set']}' of '{cells['id']}' is none of {', '.join(SETS)}")
        if split.sets.setdefault(speaker, chosen) != chosen:
            raise UserError(f"{path}:{number}: speaker '{cells['id']}' is in {split.sets[speaker]} and in {chosen}")
        gender = cells.get("gender", cells.get("sex", "")).lower()
        if gender:
            split.gender[speaker] = _GENDERS.get(gender, gender)
        if cells.get("age_group"):
            split.age_group[speaker] = cells["age_group"].lower()
    return split


def cut_speakers(
    speakers: Iterable[str], count: int | None, *, seed: int, purpose: str, group: Mapping[str, str] | None = None
) -> set[str]:
    """Draw `count` of `speakers` (default: see `default_count`), each group in its share, the same for the same seed.

    UserError when fewer than 2 would be drawn or left.
    """
    speakers = sorted(speakers)
    count = default_count(len(speakers)) if count is None else count
    if count < 2 or len(speakers) - count < 2:
        raise UserError(
            f"{len(speakers)} speakers are too few to cut {count} for {purpose}: at least 2 must be drawn and 2 left"
        )
    order = numpy_generator(seed, "speakers", purpose).permutation(len(speakers))
    group = group or {}
    # the order by (share of its group already taken) interleaves the groups in their proportions
    totals: dict[str, int] = {}
    place: list[tuple[float, int, str]] = []
    for index in order:
        kind = group.get(speakers[index], "")
        totals[kind] = totals.get(kind, 0) + 1
        place.append((totals[kind], len(place), speakers[index]))
    shares = sorted(((rank - 0.5) / totals[group.get(name, "")], tie, name) for rank, tie, name in place)
    return {name for _, _, name in shares[:count]}


def default_count(speakers: int) -> int:
    """Return how many speakers are cut when nobody says: a tenth, at least 20 and at most 120, never over a quarter."""
    return max(2, min(max(round(0.1 * speakers), 20), 120, speakers // 4))


def write_split(path: str | Path, split: Split, utterances: Mapping[str, int]) -> None:
    """Write the table that `read_split` reads: id, set, gender and number of utterances of every speaker used."""
    rows = [
        f"{speaker}\t{split.sets[speaker]}\t{split.gender.get(speaker, '')}\t{utterances[speaker]}"
        for speaker in sorted(utterances)
    ]
    write_text(path, "\n".join(["id\tset\tgender\tutterances", *rows]) + "\n")
