"""Kaldi's binary matrices as bytes: headers of FM, CM, CM2, CM3, and how their codes become float32.

A record in an ark is `KEY SPACE \\0B TYPE SPACE header data`; an scp's offset points to `\\0B`. FM, CM2 and CM3 hold
frames row by row; CM holds one column (mel bin) after the other, each with four percentiles (compressed-matrix.h).
"""

import struct
from dataclasses import dataclass

import numpy as np

FM, CM, CM2, CM3 = range(4)
NAMES = ("FM", "CM", "CM2", "CM3")
CODE_TYPES = (np.dtype("<f4"), np.dtype("u1"), np.dtype("<u2"), np.dtype("u1"))
# kaldiio's numbers of Kaldi's compression methods; "fm" is not compressed
COMPRESSION_METHODS = {"fm": None, "cm": 2, "cm2": 3, "cm3": 5}
BYTES_PER_VALUE = {"fm": 4, "cm": 1, "cm2": 2, "cm3": 1}
HEADER_BYTES = 22
VECTOR_HEAD = b"\0BFV \4"
_LARGEST_CODE = {CM: 65535.0, CM2: 65535.0, CM3: 255.0}
_TAGS = {b"\0BFM ": FM, b"\0BCM ": CM, b"\0BCM2 ": CM2, b"\0BCM3 ": CM3}


@dataclass(frozen=True)
class MatrixHeader:
    """Shape and scale of one matrix: value = minimum + step * code (FM: 0 and 1; CM: of its percentiles)."""

    kind: int
    rows: int
    cols: int
    minimum: float
    step: float

    @property
    def data_offset(self) -> int:
        """Bytes from the scp's offset to the first code."""
        if self.kind == FM:
            return 15
        return 21 + 8 * self.cols if self.kind == CM else 22

    @property
    def data_bytes(self) -> int:
        """Bytes of all codes."""
        return self.rows * self.cols * CODE_TYPES[self.kind].itemsize


def parse_header(raw: bytes) -> MatrixHeader:
    """Read a matrix header from its first `HEADER_BYTES` bytes; ValueError says what is wrong with it."""
    if len(raw) < 5:
        raise ValueError("truncated before the matrix header")
    kind = _TAGS.get(raw[:5], _TAGS.get(raw[:6]))
    if kind is None:
        raise ValueError(f"no binary FM, CM, CM2 or CM3 matrix here (found {raw[:6]!r})")
    try:
        if kind == FM:
            mark_rows, rows, mark_cols, cols = struct.unpack_from("<bibi", raw, 5)
            minimum, step, well = 0.0, 1.0, mark_rows == mark_cols == 4
        else:
            minimum, value_range, rows, cols = struct.unpack_from("<ffii", raw, len(NAMES[kind]) + 3)
            step = value_range / _LARGEST_CODE[kind]
            well = bool(np.isfinite(minimum) and np.isfinite(step)) and step >= 0
    except struct.error:
        raise ValueError("truncated inside the matrix header") from None
    if not well or rows <= 0 or cols <= 0:
        raise ValueError(f"corrupt {NAMES[kind]} header ({rows} frames, {cols} columns)")
    return MatrixHeader(kind, rows, cols, minimum, step)


def vector_record(key: str, vector: np.ndarray) -> tuple[bytes, int]:
    """Return the record of a float vector, and where in it the offset of an scp points."""
    lead = key.encode() + b" "
    values = np.ascontiguousarray(vector, "<f4")
    return lead + VECTOR_HEAD + np.array(values.size, "<i4").tobytes() + values.tobytes(), len(lead)


def scale_codes(codes: np.ndarray, minimum: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Turn codes [n, length, dim] into float32 values, crop by crop so that each stays in the cache."""
    out = np.empty(codes.shape, np.float32)
    for crop, code, low, unit in zip(out, codes, minimum, step, strict=True):
        np.multiply(code, unit, out=crop)
        crop += low
    return out


def decode_columns(codes: np.ndarray, percentiles: np.ndarray, minimum: float, step: float) -> np.ndarray:
    """Turn CM codes [dim, length] and their percentile codes [dim, 4] into float32 [length, dim].

    Codes up to 64 lie between the 0th and 25th percentile of the column, to 192 up to the 75th, above up to the 100th.
    """
    p0, p25, p75, p100 = (np.float32(minimum) + np.float32(step) * percentiles.astype(np.float32)).T[:, :, None]
    code = np.arange(256, dtype=np.float32)
    table = np.concatenate(
        [
            p0 + (p25 - p0) * (code[:65] / np.float32(64)),
            p25 + (p75 - p25) * ((code[65:193] - 64) / np.float32(128)),
            p75 + (p100 - p75) * ((code[193:] - 192) / np.float32(63)),
        ],
        axis=1,
    )
    column = np.arange(len(codes), dtype=np.intp)[:, None] << 8
    return np.ascontiguousarray(table.reshape(-1).take(codes + column).T)
