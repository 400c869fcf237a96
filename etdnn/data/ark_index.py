"""Index of scp files in arrays: 3.6 million utterances without a Python object for each.

Memory per utterance: the key's bytes + 1, 8 (its place), 8 (offset), 4 (ark), and what the reader adds (17): about 70
bytes with 30-byte keys. Measured for 3.6 million utterances (bench/crops.py): 370 MB held, with what the allocator
keeps, 500 MB at the peak; a dict of strings needs over 1 GB.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import lt
from pathlib import Path

import numpy as np

from etdnn.errors import UserError

_BLOCK = 1 << 20
_NEWLINE, _SPACE, _TAB, _COLON, _ZERO = 10, 32, 9, 58, 48


class Keys(Sequence[str]):
    """Utterance ids held as one block of bytes; behaves as a read-only list, `index` and `in` are binary searches."""

    def __init__(self, blob: bytes, ends: np.ndarray) -> None:
        """Take ids joined by (and ending in) newlines and the positions after each newline."""
        self._blob, self._ends = blob, ends
        self._order = None if self._is_sorted() else self._sort()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes(index).decode()

    def __iter__(self) -> Iterator[str]:
        for part in self._parts():
            yield from map(bytes.decode, part)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Keys):
            return self._blob == other._blob
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) >= 0

    def index(self, key: str, *_) -> int:
        """Return the position of `key`; ValueError when it is not there."""
        position = self._find(key)
        if position < 0:
            raise ValueError(f"{key} is not in the list")
        return position

    def lengths(self) -> np.ndarray:
        """Return the bytes of every id, int64."""
        return np.diff(self._ends, prepend=0) - 1

    def ranks(self) -> np.ndarray:
        """Return the place of every id in sorted order."""
        if self._order is None:
            return np.arange(len(self))
        ranks = np.empty(len(self), np.int64)
        ranks[self._order] = np.arange(len(self))
        return ranks

    def positions_of(self, keys: "Keys") -> np.ndarray:
        """Return for each of `keys` its place in this list, -1 where it is absent, int64."""
        if self == keys:
            return np.arange(len(keys))
        if self._order is not None or keys._order is not None:
            return np.fromiter(map(self._find, keys), np.int64, len(keys))
        positions = np.full(len(keys), -1)
        others = enumerate(self)
        place, other = next(others)
        for index, key in enumerate(keys):  # both are sorted: one walk along the two
            while other < key:
                place, other = next(others, (-1, "\U0010ffff"))
            if other == key:
                positions[index] = place
        return positions

    def _find(self, key: str) -> int:
        wanted, low, high = key.encode(), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(self._place(middle)) < wanted:
                low = middle + 1
            else:
                high = middle
        return self._place(low) if low < len(self) and self._bytes(self._place(low)) == wanted else -1

    def _place(self, rank: int) -> int:
        return rank if self._order is None else int(self._order[rank])

    def _bytes(self, index: int) -> bytes:
        return self._blob[int(self._ends[index - 1]) if index else 0 : int(self._ends[index]) - 1]

    def _parts(self, size: int = 1 << 16) -> Iterator[list[bytes]]:
        """Yield the ids in lists of at most `size`, so that few exist as objects at a time."""
        for start in range(0, len(self), size):
            first = int(self._ends[start - 1]) if start else 0
            last = int(self._ends[min(start + size, len(self)) - 1])
            yield self._blob[first : last - 1].split(b"\n")

    def _is_sorted(self) -> bool:
        previous = b""
        for part in self._parts():
            if not (previous < part[0] and all(map(lt, part, part[1:]))):
                return False
            previous = part[-1]
        return True

    def _sort(self) -> np.ndarray:
        keys = self._blob[:-1].split(b"\n")
        order = sorted(range(len(keys)), key=keys.__getitem__)
        for before, after in zip(order, order[1:], strict=False):
            if keys[before] == keys[after]:
                raise UserError(f"duplicate utterance id {keys[after].decode()} in feature lists")
        return np.array(order, np.int32)


@dataclass
class ArkIndex:
    """Where each utterance's matrix is: `paths[ark[i]]` at byte `offset[i]`."""

    keys: Keys
    paths: list[str]
    ark: np.ndarray
    offset: np.ndarray


def read_scp_index(scps: Iterable[str | Path]) -> ArkIndex:
    """Index scp files of `KEY ARK:OFFSET` lines; pipes, matrix ranges and bad lines are a UserError with file:line."""
    keys, ends, offsets, arks, names = [], [], [], array("i"), {}
    total = 0
    for scp in scps:
        for block, lines in _blocks(Path(scp)):
            data = np.frombuffer(block, np.uint8)
            colons = np.flatnonzero(data == _COLON)
            nearest = np.searchsorted(colons, lines.end) - 1
            colon = colons[nearest] if len(colons) else np.zeros(len(nearest), np.int64)
            lines.check((nearest >= 0) & (colon > lines.key_end), "expected 'KEY ARK:OFFSET'")
            offsets.append(lines.numbers(data, colon + 1, "expected 'KEY ARK:OFFSET' without pipe or range"))
            blob, after = lines.keys(data)
            keys.append(blob)
            ends.append(after + total)
            total += len(blob)
            for start, end in zip((lines.key_end + 1).tolist(), colon.tolist(), strict=True):
                arks.append(names.setdefault(block[start:end], len(names)))
    if not total:
        raise UserError(f"{', '.join(map(str, scps))}: no utterances")
    paths = [name.decode().strip() for name in names]
    for path in paths:
        if path.startswith("|") or path.endswith("|"):
            raise UserError(f"{', '.join(map(str, scps))}: features are not read from a pipe ({path})")
    return ArkIndex(
        Keys(b"".join(keys), np.concatenate(ends)), paths, np.array(arks, np.int32), np.concatenate(offsets)
    )


def read_count_table(path: str | Path) -> tuple[Keys, np.ndarray]:
    """Read `KEY NUMBER` lines (utt2num_frames) into keys and an int32 array."""
    keys, ends, counts, total = [], [], [], 0
    for block, lines in _blocks(Path(path)):
        data = np.frombuffer(block, np.uint8)
        counts.append(lines.numbers(data, lines.key_end + 1, "expected 'KEY NUMBER'").astype(np.int32))
        blob, after = lines.keys(data)
        keys.append(blob)
        ends.append(after + total)
        total += len(blob)
    if not total:
        raise UserError(f"{path}: no utterances")
    return Keys(b"".join(keys), np.concatenate(ends)), np.concatenate(counts)


def read_word_table(
    path: str | Path, group: Callable[[bytes], bytes] = bytes.strip
) -> tuple[Keys, np.ndarray, list[str]]:
    """Read `KEY WORD` lines (utt2spk, utt2uniq); return keys, the number of each one's word (int32), and the words.

    The word is what `group` makes of the rest of the line.
    """
    keys, ends, codes, numbers, total = [], [], array("i"), {}, 0
    for block, lines in _blocks(Path(path)):
        data = np.frombuffer(block, np.uint8)
        blob, after = lines.keys(data)
        keys.append(blob)
        ends.append(after + total)
        total += len(blob)
        for start, end in zip((lines.key_end + 1).tolist(), lines.end.tolist(), strict=True):
            codes.append(numbers.setdefault(group(block[start:end]), len(numbers)))
    if not total:
        raise UserError(f"{path}: no utterances")
    words = [word.decode("utf-8", "surrogateescape") for word in numbers]
    return Keys(b"".join(keys), np.concatenate(ends)), np.frombuffer(codes, np.int32), words


def read_marks(path: str | Path, text: str) -> tuple[Keys, np.ndarray]:
    """Read `KEY VALUE` lines; return keys, and whether each one's value holds `text`, bool."""
    keys, ends, marks, total, wanted = [], [], [], 0, text.encode()
    for block, lines in _blocks(Path(path)):
        data = np.frombuffer(block, np.uint8)
        blob, after = lines.keys(data)
        keys.append(blob)
        ends.append(after + total)
        total += len(blob)
        spans = zip(lines.key_end.tolist(), lines.end.tolist(), strict=True)
        marks.append(np.fromiter((block.find(wanted, *span) >= 0 for span in spans), bool, len(after)))
    if not total:
        raise UserError(f"{path}: no utterances")
    return Keys(b"".join(keys), np.concatenate(ends)), np.concatenate(marks)


@dataclass
class _Lines:
    """Positions of the lines of one block: begin, end of the key (its separator), end (the newline)."""

    begin: np.ndarray
    key_end: np.ndarray
    end: np.ndarray
    path: Path
    first: int

    def check(self, good: np.ndarray, message: str) -> None:
        if not good.all():
            raise UserError(f"{self.path}:{self.first + int(np.argmin(good))}: {message}")

    def keys(self, data: np.ndarray) -> tuple[bytes, np.ndarray]:
        """Return the keys joined by newlines, and the position after each newline."""
        edges = np.zeros(len(data) + 1, np.int8)
        edges[self.begin] += 1
        edges[self.key_end + 1] -= 1
        keep = np.cumsum(edges, dtype=np.int8)[:-1].astype(bool)
        ends = np.cumsum(self.key_end + 1 - self.begin)
        blob = data[keep]
        blob[ends - 1] = _NEWLINE
        return blob.tobytes(), ends

    def numbers(self, data: np.ndarray, start: np.ndarray, message: str) -> np.ndarray:
        """Parse the decimal digits from `start` to the line's end."""
        digits = self.end - start
        self.check((digits > 0) & (digits < 19), message)
        value = np.zeros(len(start), np.int64)
        for place in range(int(digits.max())):
            more = place < digits
            digit = data[np.minimum(start + place, self.end)].astype(np.int64) - _ZERO
            self.check(~more | ((digit >= 0) & (digit <= 9)), message)
            value = np.where(more, value * 10 + digit, value)
        return value


def _blocks(path: Path) -> Iterator[tuple[bytes, _Lines]]:
    """Yield the file in blocks of whole lines with the positions of their parts."""
    try:
        handle = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    first, rest = 1, b""
    with handle:
        while chunk := handle.read(_BLOCK):
            block = rest + chunk
            cut = block.rfind(b"\n") + 1
            block, rest = block[:cut], block[cut:]
            if block:
                lines = _split(block, path, first)
                first += len(lines.end)
                yield block, lines
    if rest:
        raise UserError(f"{path}:{first}: the last line is cut off (no line end)")


def _split(block: bytes, path: Path, first: int) -> _Lines:
    data = np.frombuffer(block, np.uint8)
    end = np.flatnonzero(data == _NEWLINE)
    begin = np.concatenate([[0], end[:-1] + 1])
    separators = np.append(np.flatnonzero((data == _SPACE) | (data == _TAB)), len(data))
    key_end = separators[np.searchsorted(separators, begin)]
    lines = _Lines(begin, key_end, end, path, first)
    lines.check((key_end > begin) & (key_end < end), "expected a key, a space and a value")
    return lines
