"""Lists of noises and rooms, split so that what dev hears was not heard in training."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from etdnn.data.audio import SUFFIXES, probe
from etdnn.data.corpus import refuse_broken, safe_name
from etdnn.data.datadir import read_table, write_table
from etdnn.errors import UserError
from etdnn.seeding import numpy_generator

KINDS = ("noise", "music", "babble", "rir")
ROOMS = ("smallroom", "mediumroom", "largeroom")
DEV_SHARE = 0.2
SYNTHETIC_NOISES = 120
SYNTHETIC_RIRS = 100


def prepare_noises(
    out: Path,
    *,
    final: Path,
    musan: Path | None,
    rirs: Path | None,
    seed: int,
    jobs: int = 1,
    rooms: Sequence[str] = ROOMS,
    say: Callable[[str], None] = print,
) -> None:
    """Write `out`/{train,dev}/{noise,music,babble,rir}.scp, where `out` will be renamed to `final`.

    `musan` has folders noise, music, speech (babble is made of speech); `rirs` has simulated_rirs/ROOM or
    simulated/ROOM with ROOM of `rooms`. Without a folder, synthetic material is made below `out`/synthetic, and said
    so. A fifth of each kind, drawn by `seed`, goes to dev; where impulse responses come in folders of one room each,
    whole rooms go. UserError for a folder of another form, and for too many broken files.
    """
    lists = _musan(musan) if musan else {"noise": _synthetic("noise", out, final, seed)}
    lists["rir"] = _rirs(rirs, rooms) if rirs else _synthetic("rir", out, final, seed)
    if not musan:
        say(f"no noise folder is given: {len(lists['noise'])} synthetic noises are made")
    if not rirs:
        say(f"no folder of impulse responses is given: {len(lists['rir'])} synthetic rooms are made")
    for kind, files in lists.items():
        if (musan and kind != "rir") or (rirs and kind == "rir"):
            files = _readable(files, jobs, kind, say)
        train, dev = _divide(files, seed, kind)
        write_table(out / "train" / f"{kind}.scp", train)
        write_table(out / "dev" / f"{kind}.scp", dev)
        say(f"{kind}: {len(train)} files for train, {len(dev)} for dev")


def read_noises(directory: str | Path, kinds: Sequence[str] = KINDS) -> dict[str, dict[str, str]]:
    """Return kind -> id -> path of a noise directory; a missing or empty list is {}."""
    directory = Path(directory)
    paths = {kind: directory / f"{kind}.scp" for kind in kinds}
    return {kind: read_table(path) if path.is_file() else {} for kind, path in paths.items()}


def _musan(root: Path) -> dict[str, dict[str, str]]:
    """Return kind -> id -> path of a folder in MUSAN's form."""
    lists = {}
    for kind, folder in (("noise", "noise"), ("music", "music"), ("babble", "speech")):
        lists[kind] = _audio_below(root / folder, kind) if (root / folder).is_dir() else {}
    if not any(lists.values()):
        raise UserError(f"{root}: no audio in noise/, music/ or speech/ (expected MUSAN's folder form)")
    return lists


def _rirs(root: Path, rooms: Sequence[str]) -> dict[str, str]:
    """Return id -> path of the simulated rooms below `root`; of everything below it where there are no such folders."""
    for top in (root / "simulated_rirs", root / "simulated", root):
        folders = [top / room for room in rooms if (top / room).is_dir()]
        if folders:
            return {key: path for folder in folders for key, path in _audio_below(folder, f"rir-{folder.name}").items()}
    found = _audio_below(root, "rir") if root.is_dir() else {}
    if not found:
        raise UserError(f"{root}: no impulse responses in it (looked for simulated_rirs/{{{','.join(rooms)}}}/*.wav)")
    return found


def _audio_below(root: Path, prefix: str) -> dict[str, str]:
    """Return id -> path of all audio below `root`; the id is made of the path, so it is unique and stays the same."""
    found: dict[str, str] = {}
    for top, folders, files in os.walk(root, followlinks=True):
        folders.sort()
        inner = os.path.relpath(top, root).replace(os.sep, "-")
        for name in sorted(files):
            stem, ending = os.path.splitext(name)  # noqa: PTH122 (60,000 of these in RIRS_NOISES)
            if ending.lower() not in SUFFIXES or name.startswith("."):
                continue
            key = safe_name(f"{prefix}-{stem}" if inner == "." else f"{prefix}-{inner}-{stem}")
            path = os.path.join(top, name)  # noqa: PTH118
            if key in found:
                raise UserError(f"{found[key]} and {path}: both become id '{key}'")
            found[key] = path
    return found


def _synthetic(kind: str, out: Path, final: Path, seed: int) -> dict[str, str]:
    """Make synthetic files below `out`; return id -> where they will lie when `out` has become `final`."""
    from etdnn.data.acoustics import make_noises, make_rirs

    folder = out / "synthetic" / kind
    if kind == "noise":
        made = make_noises(folder, seed=seed, count=SYNTHETIC_NOISES)
    else:
        made = make_rirs(folder, seed=seed, count=SYNTHETIC_RIRS)
    return {key: str(final / Path(path).relative_to(out)) for key, path in made}


def _readable(files: dict[str, str], jobs: int, kind: str, say: Callable[[str], None]) -> dict[str, str]:
    """Return `files` without the broken ones, which are said, or refused when they are too many."""
    keys = sorted(files)
    results = probe([files[key] for key in keys], jobs)
    broken = [(files[key], result) for key, result in zip(keys, results, strict=True) if isinstance(result, str)]
    for path, reason in broken[:10]:
        say(f"skipped {kind} file {path}: {reason}")
    refuse_broken(broken, len(keys), Path(f"the {kind} folder"))
    return {key: files[key] for key, result in zip(keys, results, strict=True) if not isinstance(result, str)}


def _divide(files: dict[str, str], seed: int, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Draw a fifth for dev, by folder where impulse responses lie in ten folders or more; one file goes to train."""
    by_folder: dict[str, list[str]] = {}
    for key in sorted(files):
        by_folder.setdefault(str(Path(files[key]).parent), []).append(key)
    groups = list(by_folder.values())
    if kind != "rir" or len(groups) < 10:
        groups = [[key] for key in sorted(files)]
    order = numpy_generator(seed, "noise split", kind).permutation(len(groups))
    count = max(1, round(DEV_SHARE * len(groups))) if len(groups) > 1 else 0
    dev = {key: files[key] for index in order[:count] for key in groups[index]}
    return {key: path for key, path in files.items() if key not in dev}, dev
