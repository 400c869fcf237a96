"""Feature archives: a writer, and a reader that takes from disc only the frames of a crop."""

import contextlib
import os
import resource
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.data import ark_format
from etdnn.data.ark_format import CM, CODE_TYPES, COMPRESSION_METHODS, HEADER_BYTES, MatrixHeader
from etdnn.data.ark_index import Keys, read_count_table, read_scp_index
from etdnn.errors import UserError
from etdnn.files import write_text

_UNKNOWN = 255
_CM_SPAN_FRAMES = 4096


class ArkWriter:
    """Write matrices to `ark` and byte offsets to `scp`; both appear under their names only when all went well.

    `compression`: "cm2" (16 bit, half of float32), "cm3" (8 bit, one range), "cm" (8 bit, Kaldi's percentiles) or "fm".
    The scp holds the ark's absolute path. Raises UserError for a bad key or matrix and for a full disc.
    """

    def __init__(self, ark: str | Path, scp: str | Path, compression: str = "cm2") -> None:
        if compression not in COMPRESSION_METHODS:
            raise UserError(f"compression '{compression}' is not one of {', '.join(COMPRESSION_METHODS)}")
        self.ark, self.scp = Path(ark).absolute(), Path(scp)
        self._method = COMPRESSION_METHODS[compression]
        self._temporary = self.ark.with_name(f".{self.ark.name}.tmp{os.getpid()}")
        self._lines: list[str] = []

    def __enter__(self) -> "ArkWriter":
        self.ark.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary.open("wb")
        return self

    def write(self, key: str, matrix: np.ndarray) -> None:
        """Append float32 `matrix` [frames, dim] under `key`."""
        import kaldiio

        if not key or key.split() != [key]:
            raise UserError(f"{self.ark}: '{key}' cannot be an utterance id (empty or with a space)")
        if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
            raise UserError(f"{self.ark}: {key}: features of shape {matrix.shape} are empty or not finite")
        self._lines.append(f"{key} {self.ark}:{self._file.tell() + len(key.encode()) + 1}\n")
        try:
            kaldiio.save_ark(
                self._file, {key: np.ascontiguousarray(matrix, np.float32)}, compression_method=self._method
            )
        except OSError as error:
            raise UserError(f"{self.ark}: {error.strerror or error}") from None

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._temporary.replace(self.ark)
                write_text(self.scp, "".join(self._lines))
        except OSError as error:
            raise UserError(f"{self.ark}: {error.strerror or error}") from None
        finally:
            with contextlib.suppress(OSError):  # the disc is full: what was buffered is lost with the temporary file
                self._file.close()
            self._temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class QuantisedCrops:
    """Crops as they lie on disc: value = minimum + step * code. Scale them where floats are needed (on the GPU)."""

    codes: np.ndarray  # [n, length, dim]; uint16 (CM2), uint8 (CM3) or float32
    minimum: np.ndarray  # float32 [n]
    step: np.ndarray  # float32 [n]

    def to_float(self) -> np.ndarray:
        """Return float32 values [n, length, dim]."""
        if self.codes.dtype == np.float32:
            return self.codes
        return ark_format.scale_codes(self.codes, self.minimum, self.step)


class FeatureReader:
    """Read utterances or crops from the arks that one or several scp files point to.

    Arks are opened when first used, in each process for itself, and read by position, so that a reader may be made
    before a fork and shared by threads; `paths` names them, and copies elsewhere may take their places there.
    `utt2num_frames` beside each scp gives the numbers of frames; without it every matrix header is read once. Entries
    are never unpickled, pipes never run. A truncated or corrupt matrix is a UserError that names ark and key. Equal to
    kaldiio to 2e-5.
    """

    def __init__(self, scp: str | Path | Sequence[str | Path]) -> None:
        self.scps = [Path(path) for path in ([scp] if isinstance(scp, str | Path) else scp)]
        index = read_scp_index(self.scps)
        self.keys: Keys = index.keys
        self.paths, self._ark, self._offset = index.paths, index.ark, index.offset
        self._kind = np.full(len(self.keys), _UNKNOWN, np.uint8)
        self._minimum = np.zeros(len(self.keys), np.float32)
        self._step = np.ones(len(self.keys), np.float32)
        self._rows, self._counted = self._read_counts(), False
        self._pid, self._descriptors = os.getpid(), {}
        self._dim: int | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_descriptors": {}}

    def __del__(self) -> None:
        if getattr(self, "_pid", None) == os.getpid():
            self.close()

    def close(self) -> None:
        """Close the arks; a later read opens them again."""
        descriptors, self._descriptors = self._descriptors, {}
        for descriptor in descriptors.values():
            os.close(descriptor)

    @property
    def dim(self) -> int:
        """Values per frame."""
        if self._dim is None:
            self._dim = self._read_header(0).cols
        return self._dim

    @property
    def num_frames(self) -> np.ndarray:
        """Frames of each utterance, int32, in the order of `keys`."""
        if not self._counted:
            for index in np.flatnonzero(self._rows < 0).tolist():
                self._header(index)
            self._counted = True
        return self._rows

    def index(self, key: str) -> int:
        """Return the position of utterance `key`; UserError when it has no features."""
        try:
            return self.keys.index(key)
        except ValueError:
            raise UserError(f"{self.scps[0]}: no features of utterance {key}") from None

    def read(self, which: int | str) -> np.ndarray:
        """Return the whole utterance (by key or position), float32 [frames, dim]."""
        index = self.index(which) if isinstance(which, str) else int(which)
        return self._read_frames(index, 0, self._header(index).rows)

    def read_range(self, index: int, start: int, length: int) -> np.ndarray:
        """Return frames `start` to `start + length` of an utterance, float32 [length, dim]; ValueError outside it."""
        rows = self._header(index).rows
        if start < 0 or length < 1 or start + length > rows:
            raise ValueError(f"{self.keys[index]}: frames {start} to {start + length} of {rows}")
        return self._read_frames(index, start, length)

    def read_crops(self, indices: Iterable[int], starts: Iterable[int], length: int) -> np.ndarray:
        """Return float32 [n, length, dim]: frame j of crop i is frame (starts[i] + j) mod frames of its utterance."""
        return self.read_quantised(indices, starts, length).to_float()

    def read_quantised(self, indices: Iterable[int], starts: Iterable[int], length: int) -> QuantisedCrops:
        """Return the crops of `read_crops` as codes where all lie in the same of CM2, CM3, FM; else as float32."""
        indices, starts = np.asarray(indices, np.int64), np.asarray(starts, np.int64)
        if len(indices) != len(starts) or length < 1 or (starts < 0).any():
            raise ValueError(f"{len(indices)} indices, {len(starts)} starts (none below 0), length {length}")
        unknown = indices[self._kind[indices] == _UNKNOWN]
        self._ask_for(self._ark[unknown], self._offset[unknown], HEADER_BYTES)
        for index in unknown.tolist():
            self._header(index)
        kinds = self._kind[indices]
        if not len(kinds) or kinds[0] == CM or (kinds != kinds[0]).any():
            return self._float_crops(indices, starts, length)
        rows = self._rows[indices]
        codes = np.empty((len(indices), length, self.dim), CODE_TYPES[kinds[0]])
        view = memoryview(codes).cast("B")
        size = len(view) // len(codes)
        width = size // length
        offsets = self._offset[indices] + (15 if kinds[0] == ark_format.FM else 22) + starts * width
        arks, wrapped = self._ark[indices], starts + length > rows
        self._ask_for(arks, offsets, size)
        for place, offset in enumerate(offsets.tolist()):
            if wrapped[place]:
                index = int(indices[place])
                whole = self._read_codes(index, self._header(index), 0, int(rows[place]))
                codes[place] = whole[(starts[place] + np.arange(length)) % rows[place]]
            elif os.preadv(self._open(int(arks[place])), [view[place * size : (place + 1) * size]], offset) != size:
                raise self._fault(int(indices[place]), "truncated")
        return QuantisedCrops(codes, self._minimum[indices], self._step[indices])

    def _ask_for(self, arks: np.ndarray, offsets: np.ndarray, size: int) -> None:
        """Announce what is read next: a cold or distant disc then serves the batch at once, not crop after crop."""
        if hasattr(os, "posix_fadvise"):
            for ark, offset in zip(arks.tolist(), offsets.tolist(), strict=True):
                os.posix_fadvise(self._open(ark), offset, size, os.POSIX_FADV_WILLNEED)

    def _float_crops(self, indices: np.ndarray, starts: np.ndarray, length: int) -> QuantisedCrops:
        crops = np.empty((len(indices), length, self.dim), np.float32)
        for place, (index, start) in enumerate(zip(indices.tolist(), starts.tolist(), strict=True)):
            rows = self._header(index).rows
            if start + length <= rows:
                crops[place] = self._read_frames(index, start, length)
            else:
                crops[place] = self._read_frames(index, 0, rows)[(start + np.arange(length)) % rows]
        return QuantisedCrops(crops, np.zeros(len(crops), np.float32), np.ones(len(crops), np.float32))

    def _read_frames(self, index: int, start: int, length: int) -> np.ndarray:
        header = self._header(index)
        if header.kind == CM:
            return self._read_columns(index, header, start, length)
        codes = self._read_codes(index, header, start, length)
        return QuantisedCrops(codes[None], self._minimum[[index]], self._step[[index]]).to_float()[0]

    def _read_codes(self, index: int, header: MatrixHeader, start: int, length: int) -> np.ndarray:
        codes = np.empty((length, header.cols), CODE_TYPES[header.kind])
        self._pread_into(index, codes, int(self._offset[index]) + header.data_offset + start * codes[0].nbytes)
        return codes

    def _read_columns(self, index: int, header: MatrixHeader, start: int, length: int) -> np.ndarray:
        """Read a crop from column-major CM; columns shorter than a page are not worth a read each."""
        begin = int(self._offset[index])
        percentiles = np.empty((header.cols, 4), "<u2")
        self._pread_into(index, percentiles, begin + 21)
        begin += header.data_offset + start
        if header.rows <= _CM_SPAN_FRAMES:
            span = np.empty((header.cols - 1) * header.rows + length, np.uint8)
            self._pread_into(index, span, begin)
            codes = np.lib.stride_tricks.as_strided(span, (header.cols, length), (header.rows, 1))
        else:
            codes = np.empty((header.cols, length), np.uint8)
            for column in range(header.cols):
                self._pread_into(index, codes[column], begin + column * header.rows)
        return ark_format.decode_columns(codes, percentiles, header.minimum, header.step)

    def _pread_into(self, index: int, target: np.ndarray, offset: int) -> None:
        if os.preadv(self._open(int(self._ark[index])), [memoryview(target).cast("B")], offset) != target.nbytes:
            raise self._fault(index, "truncated")

    def _header(self, index: int) -> MatrixHeader:
        """Return the header, from memory when it was read before."""
        kind = int(self._kind[index])
        if kind == _UNKNOWN:
            return self._read_header(index)
        scale = float(self._minimum[index]), float(self._step[index])
        return MatrixHeader(kind, int(self._rows[index]), self.dim, *scale)

    def _read_header(self, index: int) -> MatrixHeader:
        descriptor, offset = self._open(int(self._ark[index])), int(self._offset[index])
        try:
            header = ark_format.parse_header(os.pread(descriptor, HEADER_BYTES, offset))
        except ValueError as error:
            raise self._fault(index, str(error)) from None
        if self._dim is None:
            self._dim = header.cols
        if header.cols != self._dim:
            raise self._fault(index, f"{header.cols} values per frame where others have {self._dim}")
        if self._rows[index] not in (-1, header.rows):
            raise self._fault(index, f"{header.rows} frames where utt2num_frames says {self._rows[index]}")
        if os.fstat(descriptor).st_size < offset + header.data_offset + header.data_bytes:
            raise self._fault(index, "truncated")
        self._rows[index], self._minimum[index], self._step[index] = header.rows, header.minimum, header.step
        self._kind[index] = header.kind
        return header

    def _open(self, ark: int) -> int:
        if self._pid != os.getpid():
            self._pid, self._descriptors = os.getpid(), {}
        descriptor = self._descriptors.get(ark)
        if descriptor is None:
            self._allow_descriptors()
            try:
                descriptor = self._descriptors[ark] = os.open(self.paths[ark], os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise UserError(f"{self.paths[ark]}: {error.strerror} (named in {self.scps[0]})") from None
        return descriptor

    def _allow_descriptors(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = len(self.paths) + 256
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else hard
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, most), hard))

    def _fault(self, index: int, reason: str) -> UserError:
        return UserError(f"{self.paths[self._ark[index]]}: {self.keys[index]}: {reason}; make its features again")

    def _read_counts(self) -> np.ndarray:
        """Return frames by utt2num_frames where a list has one, -1 elsewhere."""
        tables = [path.with_name("utt2num_frames") for path in self.scps]
        if not any(table.is_file() for table in tables):
            return np.full(len(self.keys), -1, np.int32)
        found = [read_count_table(table) for table in dict.fromkeys(tables) if table.is_file()]
        if len(found) == 1 and found[0][0] == self.keys:
            return found[0][1]
        counts = {key: count for keys, values in found for key, count in zip(keys, values.tolist(), strict=True)}
        return np.fromiter((counts.get(key, -1) for key in self.keys), np.int32, len(self.keys))
