"""The VoxCeleb releases: folder layouts, expected counts, trial lists, meta files."""

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from etdnn.data.corpus import Utterance, scan_corpus
from etdnn.data.datadir import read_lines
from etdnn.data.decode import try_ffmpeg
from etdnn.errors import UserError
from etdnn.files import atomic_path

_SPEAKER = re.compile(r"id\d{5}")
# Utterances and speakers of the releases, as their pages state them.
EXPECTED = {
    ("VoxCeleb1", "all"): (153516, 1251),
    ("VoxCeleb1", "dev"): (148642, 1211),
    ("VoxCeleb1", "test"): (4874, 40),
    ("VoxCeleb2", "dev"): (1092009, 5994),
    ("VoxCeleb2", "test"): (36237, 118),
}


@dataclass(frozen=True)
class TrialList:
    """A published list: our name, the file's names, trials and files in it."""

    name: str
    files: tuple[str, ...]
    trials: int
    utterances: int


CLEANED = (
    TrialList("vox1_O_cleaned", ("veri_test2.txt", "vox1_O_cleaned.txt", "vox1_O_cleaned.trial"), 37611, 4708),
    TrialList("vox1_E_cleaned", ("list_test_all2.txt", "vox1_E_cleaned.txt", "vox1_E_cleaned.trial"), 579818, 145160),
    TrialList("vox1_H_cleaned", ("list_test_hard2.txt", "vox1_H_cleaned.txt", "vox1_H_cleaned.trial"), 550894, 137924),
)
TRIALS_URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"


@dataclass(frozen=True)
class Part:
    """A part of a release on disk: 'dev', 'test' or 'all', its folder of speakers, its files' ending."""

    name: str
    folder: Path
    suffix: str


def scan_releases(
    voxceleb1: str | Path, voxceleb2: str | Path | None, say: Callable[[str], None]
) -> dict[str, dict[str, list[Utterance]]]:
    """Return corpus -> part -> utterances of the releases in these folders.

    Says which layout was found, and decodes one m4a file of each part before anything long starts. UserError as
    `find_parts` and `scan_parts` raise it, for both corpora before either is scanned.
    """
    parts = {"VoxCeleb1": find_parts(voxceleb1, "VoxCeleb1")}
    if voxceleb2:
        parts["VoxCeleb2"] = find_parts(voxceleb2, "VoxCeleb2")
    for corpus, found in parts.items():
        for part in found:
            say(f"{corpus}: {part.name} part at {part.folder}, {part.suffix[1:]} files")
            if part.suffix == ".m4a":
                try_ffmpeg(str(next(part.folder.glob("id*/*/*.m4a"))))
    return {corpus: scan_parts(found) for corpus, found in parts.items()}


def find_parts(root: str | Path, corpus: str) -> list[Part]:
    """Find the layout of `corpus` below `root`: [dev|test]/[wav|aac]/idNNNNN, each level with or without.

    UserError for a folder without speakers, for one that holds several layouts at once, and for the names of speakers
    that VoxCeleb1 had before it had ids.
    """
    root = Path(root).absolute()
    if not root.is_dir():
        raise UserError(f"{root}: no such folder (expected {corpus})")
    parts: list[Part] = []
    for level in ("", "dev", "test"):
        for inner in ("wav", "aac", ""):
            folder = root / level / inner
            if folder.is_dir() and (speakers := _folders(folder)) and any(map(_SPEAKER.fullmatch, speakers)):
                odd = next((name for name in speakers if not _SPEAKER.fullmatch(name)), None)
                if odd and not (level == "" and odd in ("dev", "test", "wav", "aac")):
                    raise UserError(f"{folder / odd}: not a speaker's folder (idNNNNN) beside speakers' folders")
                parts.append(Part(level or "all", folder, _suffix(folder)))
    if not parts:
        names = _folders(root / "wav" if (root / "wav").is_dir() else root)
        hint = f"; folders such as '{names[0]}' are those of an older release without ids" if names else ""
        raise UserError(f"{root}: no {corpus} in it (looked for [dev|test]/[wav|aac]/idNNNNN{hint})")
    names = [part.name for part in parts]
    if len(set(names)) < len(names) or ("all" in names and len(names) > 1) or len({p.suffix for p in parts}) > 1:
        found = ", ".join(f"{part.folder} ({part.suffix[1:]})" for part in parts)
        raise UserError(f"{root}: a mixture of layouts: {found}; name a folder that holds one of them")
    return parts


def scan_parts(parts: Sequence[Part]) -> dict[str, list[Utterance]]:
    """Return part name -> utterances; UserError for a speaker in two parts."""
    scanned = {part.name: scan_corpus(part.folder, (part.suffix,)) for part in parts}
    seen: dict[str, str] = {}
    for name, utterances in scanned.items():
        for speaker in {utterance.speaker for utterance in utterances}:
            if speaker in seen:
                raise UserError(f"speaker {speaker} is in the {seen[speaker]} and in the {name} part")
            seen[speaker] = name
    return scanned


def count_deviation(corpus: str, part: str, utterances: Sequence[Utterance]) -> str:
    """Return what differs from the release in the number of utterances and speakers, '' when nothing does."""
    expected = EXPECTED.get((corpus, part))
    found = len(utterances), len({utterance.speaker for utterance in utterances})
    if expected is None or found == expected:
        return ""
    return (
        f"{corpus} {part}: {found[0]} utterances of {found[1]} speakers, the release has {expected[0]} of {expected[1]}"
    )


def find_trials(folders: Sequence[Path]) -> dict[str, Path]:
    """Return name -> file of the cleaned lists in the first folder that has any; {} when none has."""
    for folder in folders:
        found = {}
        for known in CLEANED:
            path = next((folder / name for name in known.files if (folder / name).is_file()), None)
            if path:
                found[known.name] = path
        if found:
            return found
    return {}


def download_trials(folder: Path, url: str = TRIALS_URL) -> dict[str, Path]:
    """Fetch the cleaned lists into `folder` (those that are not there); UserError that says what to do by hand.

    The publisher states no checksums; the counts of trials and files are checked when the lists are read.
    """
    found = {}
    for known in CLEANED:
        path = folder / known.files[0]
        if not path.is_file():
            try:
                with urllib.request.urlopen(f"{url}/{known.files[0]}", timeout=60) as answer:
                    text = answer.read()
            except (urllib.error.URLError, OSError) as error:
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"{url}/{known.files[0]}: cannot be fetched ({reason}); put "
                    f"{', '.join(known.files[0] for known in CLEANED)} into a folder and give --trials-dir"
                ) from None
            with atomic_path(path) as temporary:
                temporary.write_bytes(text)
        found[known.name] = path
    return found


def read_gender(folders: Sequence[Path], name: str) -> dict[str, str]:
    """Return speaker -> m or f from meta file `name` (vox1_meta.csv, vox2_meta.csv) in the first folder that has it.

    Its columns are separated by commas or tabs, with blanks around them in some releases. {} when there is none.
    """
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        return {}
    rows = [[cell.strip() for cell in re.split(r"[,\t]", line)] for line in read_lines(path) if line.strip()]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if "gender" not in header:
        raise UserError(f"{path}:1: no column 'Gender' (columns: {', '.join(header) or 'none'})")
    column = header.index("gender")
    return {row[0]: row[column] for row in rows[1:] if len(row) > column and row[column] in ("m", "f")}


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _suffix(folder: Path) -> str:
    """Return the ending of the audio files below `folder`, from the first speaker that has any; both is a mixture."""
    for speaker in sorted(folder.glob("id*")):
        endings = {path.suffix.lower() for path in speaker.glob("*/*")} & {".wav", ".m4a", ".flac"}
        if len(endings) > 1:
            raise UserError(f"{speaker}: a mixture of {' and '.join(sorted(endings))} files")
        if endings:
            return endings.pop()
    raise UserError(f"{folder}: no audio in it (a half-extracted archive?)")
