"""Embeddings of a whole wav.scp, in parts, so that a broken run goes on where it stopped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from etdnn.data.audio import BadAudio
from etdnn.deploy.listed_audio import ListedAudio
from etdnn.deploy.runtime import Embedder
from etdnn.errors import UserError
from etdnn.files import atomic_path, write_json, write_text
from etdnn.scoring.embeddings import write_embeddings

PART = 500
"""Utterances per part: what a broken run loses at most."""


def embed_scp(
    model: Embedder, wav_scp: str | Path, ark: str | Path, scp: str | Path, *, say: Callable[[str], None] = print
) -> tuple[int, dict[str, str]]:
    """Write the embeddings of all utterances of `wav_scp` as Kaldi vectors; return how many, and the broken ones.

    Parts are kept in `SCP.parts` until all are there; with another model, precision or list they are made anew. Broken
    audio is left out, up to max(10, 0.1 %) of the list: more is a UserError. Utterances are parts of recordings where
    `segments` stands beside a wav.scp (see `ListedAudio`). Commands in wav.scp are not run.
    """
    audio = ListedAudio(wav_scp)
    folder = Path(f"{scp}.parts")
    _begin(folder, {"model": model.hash, "precision": model.precision, **audio.hashes, "part": PART}, say)
    ids = audio.ids
    parts = [ids[start : start + PART] for start in range(0, len(ids), PART)]
    broken: dict[str, str] = {}
    for number, part in enumerate(parts):
        done = folder / f"{number}.json"
        if not done.is_file():
            write_json(done, _embed_part(model, part, audio, folder / f"{number}.ark"))
            say(f"{min((number + 1) * PART, len(ids))} of {len(ids)} utterances")
        broken |= json.loads(done.read_text())
        limit = max(10, len(ids) // 1000)
        if len(broken) > limit:
            raise UserError(f"{wav_scp}: more than {limit} broken recordings: {', '.join(list(broken.values())[:3])}")
    _join([folder / f"{number}.ark" for number in range(len(parts))], Path(ark), Path(scp))
    shutil.rmtree(folder)
    return len(ids) - len(broken), broken


def _begin(folder: Path, stamp: dict[str, str | int], say: Callable[[str], None]) -> None:
    """Keep the parts of an earlier run with the same stamp; remove others."""
    kept = folder / "stamp.json"
    if folder.exists() and (not kept.is_file() or json.loads(kept.read_text()) != stamp):
        say(f"{folder}: made by another model or list; begun anew")
        shutil.rmtree(folder)
    if not folder.exists():
        write_json(kept, stamp)


def _embed_part(model: Embedder, names: list[str], audio: ListedAudio, ark: Path) -> dict[str, str]:
    """Write the embeddings of one part (a scp beside the ark); return the broken utterances with the reason."""
    rows, kept, broken = [], [], {}
    for name in names:
        try:
            rows.append(audio.extract(model, name).embedding)
            kept.append(name)
        except BadAudio as error:
            broken[name] = str(error)
    write_embeddings(
        ark, ark.with_suffix(".scp"), kept, np.stack(rows) if rows else np.zeros((0, model.dim), np.float32)
    )
    return broken


def _join(arks: list[Path], ark: Path, scp: Path) -> None:
    """Append the arks to one and shift the offsets of their scp files."""
    lines = []
    with atomic_path(ark) as whole, whole.open("wb") as target:
        for part in arks:
            base = target.tell()
            for line in part.with_suffix(".scp").read_text(encoding="utf-8").splitlines():
                name, place = line.split(" ", 1)
                lines.append(f"{name} {ark}:{base + int(place.rpartition(':')[2])}\n")
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
    write_text(scp, "".join(lines))
