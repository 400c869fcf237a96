"""Embeddings on disk: Kaldi ark/scp of float vectors, and the table of ids and rows they are read into."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etdnn.data.ark_format import VECTOR_HEAD, vector_record
from etdnn.errors import UserError
from etdnn.files import atomic_path

if TYPE_CHECKING:
    import torch

_MARK = np.frombuffer(VECTOR_HEAD, np.uint8)


@dataclass(frozen=True)
class Embeddings:
    """`ids[i]` names row i of `matrix` (float32, [utterances, dimensions])."""

    ids: list[str]
    matrix: np.ndarray

    @cached_property
    def index(self) -> dict[str, int]:
        """Row number of each id."""
        return {name: row for row, name in enumerate(self.ids)}


def write_embeddings(ark: str | Path, scp: str | Path, ids: Sequence[str], matrix: np.ndarray) -> None:
    """Write rows of `matrix` as Kaldi binary float vectors to `ark`, and `id ark:offset` lines to `scp`, atomically.

    UserError if an id has white space or a value is not finite: Kaldi's readers would stumble over it later.
    """
    matrix = np.ascontiguousarray(matrix, dtype="<f4")
    wrong = [name for name, fine in zip(ids, np.isfinite(matrix).all(1), strict=True) if not fine]
    if wrong:
        raise UserError(f"{scp}: {len(wrong)} embeddings are not finite numbers (first: {wrong[0]}); check the model")
    offset, lines = 0, []
    with atomic_path(ark) as part, part.open("wb") as handle:
        for name, row in zip(ids, matrix, strict=True):
            if not name or name.split() != [name]:
                raise UserError(f"{scp}: '{name}' cannot be an utterance id: it is empty or has white space")
            record, place = vector_record(name, row)
            handle.write(record)
            lines.append(f"{name} {ark}:{offset + place}\n")
            offset += len(record)
    with atomic_path(scp) as part:
        part.write_text("".join(lines), encoding="utf-8")


def read_embeddings(scps: str | Path | Iterable[str | Path]) -> Embeddings:
    """Read scp files of float vectors (several are joined); 145,160 of 192 values take about a second.

    UserError with file and line for a missing file, a broken line, a doubled id, or vectors of unequal size.
    """
    scps = [scps] if isinstance(scps, str | Path) else list(scps)
    ids, rows, seen, arks = [], [], set(), {}
    for scp in scps:
        if not Path(scp).is_file():
            raise UserError(f"{scp}: no such embeddings; stage 6 (local/embed.sh) makes them")
        for number, line in enumerate(Path(scp).read_text(encoding="utf-8").splitlines(), 1):
            name, _, place = line.strip().partition(" ")
            ark, colon, offset = place.rpartition(":")
            if not colon or not offset.isdigit():
                raise UserError(f"{scp}:{number}: expected 'id ark:offset', got '{line}'")
            if name in seen:
                raise UserError(f"{scp}:{number}: '{name}' is there twice")
            seen.add(name)
            if ark not in arks:
                if not Path(ark).is_file():
                    raise UserError(f"{scp}:{number}: {ark}: no such file; run stage 6 again with --force")
                arks[ark] = np.memmap(ark, np.uint8, "r") if Path(ark).stat().st_size else np.zeros(0, np.uint8)
            row = _vector(arks[ark], int(offset))
            if row is None or (rows and row.size != rows[0].size):
                raise UserError(f"{scp}:{number}: no vector of the expected size at {place}; run stage 6 with --force")
            ids.append(name)
            rows.append(row)
    if not ids:
        raise UserError(f"{', '.join(map(str, scps))}: no embeddings in it; run stage 6 again with --force")
    return Embeddings(ids, np.stack(rows))


def _vector(data: np.ndarray, offset: int) -> np.ndarray | None:
    """Return the float vector at byte `offset` of an ark, None if there is none."""
    start = offset + _MARK.size + 4
    if start > data.size or not np.array_equal(data[offset : offset + _MARK.size], _MARK):
        return None
    size = int.from_bytes(data[start - 4 : start].tobytes(), "little")
    body = data[start : start + 4 * size]
    return np.frombuffer(body.tobytes(), "<f4") if body.size == 4 * size else None


def weights_hash(net: "torch.nn.Module") -> str:
    """Return 16 hex digits for the network that makes embeddings: all weights and statistics, no metadata."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
