"""Kaldi data directories: tables of `id value` lines sorted under LC_ALL=C, read strictly and written atomically.

Every function is linear and made for lists of a million lines: a table is one dict, a file is read in one go.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from etdnn.errors import UserError
from etdnn.files import atomic_path

if TYPE_CHECKING:
    from etdnn.data.segments import Segment
    from etdnn.data.trials import Trials

# Tables that hold exactly the utterances of utt2spk (Kaldi's own validator demands it of utt2uniq and utt2dur too).
FULL_TABLES = ("wav.scp", "feats.scp", "utt2session", "utt2dur", "utt2num_frames", "utt2uniq")


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file without their ends (Unix or Windows); UserError when it cannot be read.

    Bytes that are not UTF-8 (old file names) survive reading and writing as they are.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    lines = text.removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line[:-1] if line.endswith("\r") else line for line in lines] if "\r" in text else lines


def read_table(path: str | Path, *, intern_values: bool = False) -> dict[str, str]:
    """Read `id value` lines into a dict in the file's order.

    The value is the rest of the line (paths may hold spaces). `intern_values` shares equal values, which saves most of
    the memory of tables such as utt2spk. An empty line, a missing value, a repeated id or an id out of LC_ALL=C order
    is a UserError with file and line.
    """
    table: dict[str, str] = {}
    previous = ""
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split(None, 1)
        if len(columns) != 2 or line[0].isspace():
            raise UserError(f"{path}:{number}: expected 'id value', found {line[:60]!r}")
        key, value = columns
        if key <= previous:
            if key in table:
                raise UserError(f"{path}:{number}: id '{key}' stands there twice")
            raise UserError(f"{path}:{number}: '{key}' is out of order (sort the file with LC_ALL=C sort)")
        value = value.rstrip()
        table[key] = sys.intern(value) if intern_values else value
        previous = key
    return table


def write_table(path: str | Path, table: Mapping[str, object]) -> None:
    """Write `table` as `id value` lines sorted as LC_ALL=C sorts, atomically; floats keep their shortest exact form."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as handle:
        handle.writelines(f"{key} {table[key]}\n" for key in sorted(table))


def speaker_to_utterances(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Return speaker -> sorted utterances, speakers sorted."""
    speakers: dict[str, list[str]] = {}
    for utterance in sorted(utt2spk):
        speakers.setdefault(utt2spk[utterance], []).append(utterance)
    return dict(sorted(speakers.items()))


def write_data_dir(path: str | Path, tables: Mapping[str, Mapping[str, object]]) -> None:
    """Write a data directory from file name -> table; spk2utt is made from utt2spk."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(path / name, table)
    speakers = speaker_to_utterances(tables["utt2spk"])
    write_table(path / "spk2utt", {speaker: " ".join(utterances) for speaker, utterances in speakers.items()})


class DataDir:
    """One data directory; tables are read on first use and kept.

    Files that Kaldi requires raise UserError when absent; the others (utt2session, utt2aug, ...) are then empty.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such data directory (stage 0 makes it)")

    def __repr__(self) -> str:
        return f"DataDir({str(self.path)!r})"

    def has(self, name: str) -> bool:
        """Say whether file `name` is in the directory."""
        return (self.path / name).is_file()

    def table(self, name: str, *, required: bool = True, intern_values: bool = False) -> dict[str, str]:
        """Read table `name`; {} when it is absent and not required."""
        if not required and not self.has(name):
            return {}
        return read_table(self.path / name, intern_values=intern_values)

    @cached_property
    def wav_scp(self) -> dict[str, str]:
        """Utterance -> audio file or `command |`; where there are segments, recording -> the same."""
        return self.table("wav.scp")

    @cached_property
    def segments(self) -> "dict[str, Segment]":
        """Utterance -> part of a recording of wav.scp ({} when absent: utterances are whole recordings)."""
        from etdnn.data.segments import read_segments

        return read_segments(self.path / "segments", self.wav_scp) if self.has("segments") else {}

    @cached_property
    def feats_scp(self) -> dict[str, str]:
        """Utterance -> `ark:offset`."""
        if not self.has("feats.scp"):
            raise UserError(f"{self.path}/feats.scp: no such file (stage 1 makes it)")
        return self.table("feats.scp")

    @cached_property
    def utt2spk(self) -> dict[str, str]:
        """Utterance -> speaker."""
        return self.table("utt2spk", intern_values=True)

    @cached_property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker -> utterances."""
        return {speaker: line.split() for speaker, line in self.table("spk2utt").items()}

    @cached_property
    def utt2session(self) -> dict[str, str]:
        """Utterance -> session ({} when absent)."""
        return self.table("utt2session", required=False, intern_values=True)

    @cached_property
    def utt2dur(self) -> dict[str, float]:
        """Utterance -> seconds (from segments when utt2dur is absent; {} when both are)."""
        if self.has("segments") and not self.has("utt2dur"):
            from etdnn.data.segments import segment_seconds

            return segment_seconds(self.path / "segments", self.segments)
        return self._numbers("utt2dur", float)

    @cached_property
    def utt2num_frames(self) -> dict[str, int]:
        """Utterance -> frames ({} when absent)."""
        return self._numbers("utt2num_frames", int)

    @cached_property
    def utt2aug(self) -> dict[str, str]:
        """Copy -> recipe ({} when absent)."""
        return self.table("utt2aug", required=False)

    @cached_property
    def augment_scp(self) -> dict[str, str]:
        """Noise or impulse response -> audio file ({} when absent)."""
        return self.table("augment.scp", required=False)

    @cached_property
    def utt2uniq(self) -> dict[str, str]:
        """Utterance -> the original it was made from, an original -> itself ({} when absent)."""
        return self.table("utt2uniq", required=False)

    @cached_property
    def spk2gender(self) -> dict[str, str]:
        """Speaker -> gender as the corpus writes it ({} when absent)."""
        return self.table("spk2gender", required=False, intern_values=True)

    @cached_property
    def frontend(self) -> dict:
        """The front end that made feats.scp (frontend.json)."""
        path = self.path / "frontend.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file (stage 1 makes it)") from None
        except ValueError as error:
            raise UserError(f"{path}: not valid JSON: {error}") from None

    def trial_names(self) -> list[str]:
        """Return the NAMEs of the directory's trials_NAME files, sorted."""
        return sorted(path.name.removeprefix("trials_") for path in self.path.glob("trials_*"))

    def trials(self, name: str) -> "Trials":
        """Read trials_NAME; UserError that lists the names there are when it is absent."""
        from etdnn.data.trials import read_trials

        if not self.has(f"trials_{name}"):
            names = ", ".join(self.trial_names()) or "none"
            raise UserError(f"{self.path}/trials_{name}: no such trial list (there are: {names})")
        return read_trials(self.path / f"trials_{name}")

    def enrolments(self, name: str) -> dict[str, list[str]]:
        """Return enrolment name -> utterances from enrol_NAME ({} when absent: trials then name utterances)."""
        table = self.table(f"enrol_{name}", required=False)
        return {key: utterances.split() for key, utterances in table.items()}

    def validate(self, *, feats: bool = False) -> None:
        """Check the directory as a whole; UserError with file and id at the first contradiction.

        Same ids in every table, spk2utt the inverse of utt2spk, utterances sorted by speaker, durations above 0, at
        least one utterance; `feats` demands feats.scp and utt2num_frames as well.
        """
        if not self.utt2spk:
            raise UserError(f"{self.path}/utt2spk: empty")
        demanded = {"wav.scp"} | ({"feats.scp", "utt2num_frames"} if feats else set())
        if self.has("feats.scp") and not self.has("wav.scp"):
            demanded.discard("wav.scp")
        if self.has("segments"):
            self._same_ids("segments", self.segments)
        for name in FULL_TABLES:
            if (name in demanded or self.has(name)) and not (name == "wav.scp" and self.segments):
                self._same_ids(name, self.table(name))
        if self.spk2utt != speaker_to_utterances(self.utt2spk):
            raise UserError(f"{self.path}/spk2utt: does not agree with utt2spk (run utils/fix_data_dir.sh)")
        self._speakers_in_order()
        for name, numbers in (("utt2dur", self.utt2dur), ("utt2num_frames", self.utt2num_frames)):
            bad = next((utterance for utterance, value in numbers.items() if not value > 0), None)
            if bad is not None:
                raise UserError(f"{self.path}/{name}: '{bad}' has {numbers[bad]}, expected a number above 0")

    def _numbers(self, name: str, kind: type) -> dict:
        table = self.table(name, required=False)
        try:
            return {key: kind(value) for key, value in table.items()}
        except ValueError:
            number, key = next((n, k) for n, (k, v) in enumerate(table.items(), 1) if not _is(kind, v))
            raise UserError(f"{self.path}/{name}:{number}: '{key}' has {table[key]!r}, expected a number") from None

    def _same_ids(self, name: str, table: Iterable[str]) -> None:
        ids = set(table)
        if ids == self.utt2spk.keys():
            return
        for found, where, absent in (
            (ids - self.utt2spk.keys(), name, "utt2spk"),
            (self.utt2spk.keys() - ids, "utt2spk", name),
        ):
            if found:
                raise UserError(
                    f"{self.path}: {len(found)} ids of {where} are not in {absent}, e.g. '{min(found)}' "
                    "(run utils/fix_data_dir.sh)"
                )

    def _speakers_in_order(self) -> None:
        previous = ""
        for utterance, speaker in self.utt2spk.items():
            if speaker < previous:
                raise UserError(
                    f"{self.path}/utt2spk: sorted by utterance, speaker '{speaker}' follows '{previous}' "
                    f"at '{utterance}': make the speaker the prefix of the utterance id"
                )
            previous = speaker


def count_set(folder: str | Path) -> tuple[int, int, float]:
    """Return speakers, utterances and hours of a data directory (hours of originals and copies alike)."""
    folder, speakers, utterances = Path(folder), set(), 0
    with (folder / "utt2spk").open(encoding="utf-8") as lines:
        for line in lines:
            speakers.add(line.split()[1])
            utterances += 1
    seconds = 0.0
    if (folder / "utt2dur").is_file():
        with (folder / "utt2dur").open(encoding="utf-8") as lines:
            seconds = sum(float(line.split()[1]) for line in lines)
    return len(speakers), utterances, seconds / 3600


def _is(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
