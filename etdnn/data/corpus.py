"""Corpora on disk: the walk over SPEAKER/SESSION/UTTERANCE, utterance ids, lengths, broken files."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from etdnn.data.audio import SUFFIXES, AudioInfo, probe
from etdnn.data.datadir import write_data_dir
from etdnn.data.segments import Segment
from etdnn.errors import UserError

_ODD = re.compile(r"[^A-Za-z0-9._-]")
BROKEN_LIMIT = 10
BROKEN_SHARE = 0.001


class Utterance(NamedTuple):
    """One audio file of a corpus, or a part of one: its safe names, and where it lies."""

    id: str
    speaker: str
    session: str
    path: str
    segment: Segment | None = None


@lru_cache(maxsize=65536)
def safe_name(name: str) -> str:
    """Return `name` in letters that an id may hold: odd ASCII becomes `_`, the rest its code points (`u5f20`)."""
    return _ODD.sub(lambda odd: "_" if ord(odd[0]) < 128 else f"u{ord(odd[0]):04x}", name) or "_"


@lru_cache(maxsize=65536)
def safe_speaker(name: str) -> str:
    """Return a speaker's safe name, without `-`: so ids sort by speaker, whatever the names (a, a-b)."""
    return safe_name(name).replace("-", "_")


def utterance_id(speaker: str, session: str, utterance: str) -> str:
    """Return `speaker-session-utterance` from the names of the folders and of the file without its ending."""
    return f"{safe_speaker(speaker)}-{safe_name(session)}-{safe_name(utterance)}"


def id_of_path(path: str) -> str:
    """Return the id of `.../SPEAKER/SESSION/UTTERANCE.wav` as trial lists write it; other text as it is."""
    parts = path.replace("\\", "/").split("/")
    if len(parts) < 3:
        return path
    stem, ending = os.path.splitext(parts[-1])  # noqa: PTH122 (called for every trial)
    return utterance_id(parts[-3], parts[-2], stem if ending.lower() in SUFFIXES else parts[-1])


def scan_corpus(root: str | Path, suffixes: Sequence[str] = SUFFIXES) -> list[Utterance]:
    """Return the utterances below `root`/SPEAKER/SESSION/, sorted by id.

    Hidden files and files with other endings are passed over. UserError for a missing or empty folder, for audio at
    another depth, and where two speakers or two files come to the same id.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder")
    found: list[Utterance] = []
    elsewhere: list[str] = []
    for speaker in _entries(root):
        if not speaker.is_dir():
            elsewhere += [speaker.path] if speaker.name.lower().endswith(tuple(suffixes)) else []
            continue
        for session in _entries(speaker.path):
            if not session.is_dir():
                elsewhere += [session.path] if session.name.lower().endswith(tuple(suffixes)) else []
                continue
            prefix = f"{safe_speaker(speaker.name)}-{safe_name(session.name)}-"
            names = safe_speaker(speaker.name), safe_name(session.name)
            for file in _entries(session.path):
                stem, ending = os.path.splitext(file.name)  # noqa: PTH122 (a million of these)
                if ending.lower() in suffixes:
                    found.append(Utterance(prefix + safe_name(stem), *names, file.path))
                elif file.is_dir():
                    elsewhere += _audio_below(file.path, suffixes)
    if elsewhere:
        raise UserError(
            f"{root}: {len(elsewhere)} audio files do not lie at SPEAKER/SESSION/UTTERANCE, e.g. {elsewhere[0]}"
        )
    if not found:
        raise UserError(f"{root}: no audio in it (looked for SPEAKER/SESSION/UTTERANCE.{{{_endings(suffixes)}}})")
    _refuse_collisions(found)
    found.sort()
    return found


def measure(
    utterances: Sequence[Utterance], *, jobs: int, min_seconds: float, report: Path, say: Callable[[str], None]
) -> tuple[list[Utterance], dict[str, float]]:
    """Read all headers; return the usable utterances and their seconds by id.

    What cannot be read is listed in `report`/broken.txt, what is shorter than `min_seconds` in `report`/short.txt.
    Parts of files end with their file at the latest; one that lies beyond it is listed as broken. UserError when more
    than max(10, 0.1 %) are broken, or when none is left. A call that was interrupted goes on where it stopped.
    """
    cache = report / ".durations.tmp"
    paths = list(dict.fromkeys(utterance.path for utterance in utterances))
    results = dict(zip(paths, probe(paths, jobs, cache), strict=True))
    broken = [(path, result) for path, result in results.items() if isinstance(result, str)]
    kept: list[Utterance] = []
    seconds: dict[str, float] = {}
    short: list[tuple[str, str]] = []
    for utterance in utterances:
        info = results[utterance.path]
        if isinstance(info, str):
            continue
        length = info.seconds
        if utterance.segment:
            try:
                segment = utterance.segment.within(info.seconds)
            except ValueError as error:
                broken.append((utterance.path, str(error)))
                continue
            utterance, length = utterance._replace(segment=segment), segment.end - segment.start
        if length < min_seconds:
            short.append((utterance.path, f"{length:.3f} s"))
            continue
        kept.append(utterance)
        seconds[utterance.id] = round(length, 4)
    _list(report / "broken.txt", broken)
    _list(report / "short.txt", short)
    refuse_broken(broken, len(utterances), report / "broken.txt")
    cache.unlink(missing_ok=True)
    if broken:
        say(f"skipped {len(broken)} broken files ({report / 'broken.txt'}): {broken[0][0]}: {broken[0][1]}, ...")
    if short:
        say(f"skipped {len(short)} files shorter than {min_seconds:g} s ({report / 'short.txt'})")
    if not kept:
        raise UserError(f"no usable audio: {len(broken)} files broken, {len(short)} shorter than {min_seconds:g} s")
    _say_kinds([info for info in results.values() if isinstance(info, AudioInfo)], say)
    return kept, seconds


def refuse_broken(broken: Sequence[tuple[str, str]], total: int, listed: Path) -> None:
    """Raise UserError when more than max(10, 0.1 %) of `total` files are broken."""
    limit = max(BROKEN_LIMIT, int(BROKEN_SHARE * total))
    if len(broken) > limit:
        path, reason = broken[0]
        raise UserError(
            f"{len(broken)} of {total} audio files are broken, at most {limit} are skipped: {path}: {reason}, ... "
            f"(all in {listed}; mend or remove them)"
        )


def write_set(
    path: Path,
    utterances: Iterable[Utterance],
    seconds: Mapping[str, float],
    gender: Mapping[str, str] | None = None,
    extra: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    """Write a data directory of `utterances`; `extra` are rows to add to its tables, or tables of their own.

    spk2gender is written where the gender (m or f) of every speaker is known, as Kaldi wants it.
    """
    utterances = list(utterances)
    tables: dict[str, dict[str, object]] = {
        **audio_tables({u.id: u for u in utterances}),
        "utt2spk": {u.id: u.speaker for u in utterances},
        "utt2session": {u.id: u.session for u in utterances},
        "utt2dur": {u.id: seconds[u.id] for u in utterances},
    }
    for name, rows in (extra or {}).items():
        tables.setdefault(name, {}).update(rows)
    speakers = set(tables["utt2spk"].values())
    if gender and all(gender.get(speaker) in ("m", "f") for speaker in speakers):
        tables["spk2gender"] = {speaker: gender[speaker] for speaker in speakers}
    write_data_dir(path, tables)


def audio_tables(audio: Mapping[str, Utterance]) -> dict[str, dict[str, object]]:
    """Return wav.scp of id -> utterance that it sounds like; with segments, where utterances are parts of files."""
    if not any(utterance.segment for utterance in audio.values()):
        return {"wav.scp": {key: utterance.path for key, utterance in audio.items()}}
    segments = {key: utterance.segment for key, utterance in audio.items()}
    return {
        "wav.scp": {segments[key].recording: utterance.path for key, utterance in audio.items()},
        "segments": {key: " ".join(map(str, segment)) for key, segment in segments.items()},
    }


def _entries(path: str | Path) -> list[os.DirEntry]:
    with os.scandir(path) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _audio_below(path: str, suffixes: Sequence[str]) -> list[str]:
    return [str(Path(top) / f) for top, _, files in os.walk(path) for f in files if f.lower().endswith(tuple(suffixes))]


def _endings(suffixes: Sequence[str]) -> str:
    return ",".join(suffix.lstrip(".") for suffix in suffixes)


def _refuse_collisions(found: Sequence[Utterance]) -> None:
    folders: dict[str, str] = {}
    files: dict[str, str] = {}
    for utterance in found:
        folder = utterance.path.rsplit(os.sep, 2)[0]
        if folders.setdefault(utterance.speaker, folder) != folder:
            raise UserError(f"{folders[utterance.speaker]} and {folder}: both become speaker id '{utterance.speaker}'")
        if utterance.id in files:
            raise UserError(f"{files[utterance.id]} and {utterance.path}: both become utterance id '{utterance.id}'")
        files[utterance.id] = utterance.path


def _list(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write `path<TAB>reason` lines; an empty list leaves no file of an earlier run behind."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}\t{reason}\n" for name, reason in rows)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _say_kinds(infos: Sequence[AudioInfo], say: Callable[[str], None]) -> None:
    rates: dict[int, int] = {}
    for info in infos:
        rates[info.rate] = rates.get(info.rate, 0) + 1
    for rate, count in sorted(rates.items()):
        if rate < 16000:
            say(f"warning: {count} files of {rate} Hz are resampled to 16000 Hz and hold nothing above {rate // 2} Hz")
        elif rate > 16000:
            say(f"{count} files of {rate} Hz are resampled to 16000 Hz")
    channels = sum(info.channels > 1 for info in infos)
    if channels:
        say(f"{channels} files of several channels are averaged to one")
