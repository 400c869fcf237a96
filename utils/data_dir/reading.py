"""Reading the files of a Kaldi data directory: `id value...` lines, sorted by the bytes of the id.

Tables come block by block, so that what is held does not grow with them; everything is linear in the number of lines.
"""

import operator
import sys
from itertools import chain, islice, repeat
from pathlib import Path

# columns of a line with the id; None: any number from two on
COLUMNS = {
    "utt2spk": 2,
    "utt2session": 2,
    "utt2dur": 2,
    "utt2num_frames": 2,
    "utt2uniq": 2,
    "utt2lang": 2,
    "spk2gender": 2,
    "segments": 4,
    "reco2dur": 2,
}

BLOCK = 1 << 20  # bytes of a file that are held at once; more is slower, it falls out of the processor's cache
WORD_BYTES = bytes(code for code in range(1, 128) if not chr(code).isspace())


class TableError(Exception):
    """A fault in a file, as one line with file and line number."""


def byte_blocks(path):
    """Yield the bytes of a file in blocks of whole lines; the last line may lack its end."""
    rest = b""
    with Path(path).open("rb") as handle:
        while data := handle.read(BLOCK):
            head, newline, tail = data.rpartition(b"\n")
            if newline:
                yield rest + head + newline
                rest = tail
            else:
                rest += data
    if rest:
        yield rest


def text_blocks(path):
    """Yield (number of the first line, text) of a file in blocks of whole lines. Raises TableError unless UTF-8."""
    number = 1
    for block in byte_blocks(path):
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError as error:
            line = number + block.count(b"\n", 0, error.start)
            raise TableError(f"{path}:{line}: not UTF-8 text") from None
        yield number, text
        number += text.count("\n")


def numbered_lines(path):
    """Yield (number, line) of a text file. Raises TableError for bytes that are not UTF-8, zeros, Windows line ends."""
    for first, text in text_blocks(path):
        yield from lines_of(path, first, text)


def lines_of(path, first, text):
    """Yield (number, line) of a block; errors as numbered_lines."""
    lines = text.split("\n")
    cut_off = lines.pop()
    for number, line in enumerate(lines, first):
        if "\r" in line or "\0" in line:
            kind = "a carriage return (Windows line ends?)" if "\r" in line else "a zero byte"
            raise TableError(f"{path}:{number}: {kind}")
        yield number, line
    if cut_off:
        raise TableError(f"{path}:{first + len(lines)}: the last line has no end; the file may be cut off")


def read_lines(path):
    """Return the lines of a text file; errors as in numbered_lines."""
    return [line for _, line in numbered_lines(path)]


def table_blocks(path, columns=None):
    """Yield (number of the first line, ids, values) of a table, block by block; errors as read_table."""
    path = Path(path)
    columns = columns or COLUMNS.get(path.name)
    before = ""
    for first, text in text_blocks(path):
        ids, values = split_plain(text) if columns in (None, 2) else (None, None)
        if ids is None:
            ids, values = [], []
            for number, line in lines_of(path, first, text):
                part = line.split(None, 1)
                if len(part) != 2 or (columns and len(part[1].split()) != columns - 1):
                    raise TableError(f"{path}:{number}: {malformed(columns, line)}")
                ids.append(part[0])
                values.append(part[1].rstrip())
        check_order(path, first, before, ids)
        before = ids[-1]
        yield first, ids, values


def read_table(path, columns=None):
    """Return (ids, values) of a table: strictly increasing ids, at least two columns, exactly `columns` when given.

    Raises TableError with file and line.
    """
    ids, values = [], []
    for _, more, their_values in table_blocks(path, columns):
        ids += more
        values += their_values
    return ids, values


def read_owners(path):
    """Return (ids, values) as read_table; equal values are one string, of which utt2spk has many."""
    ids, values = [], []
    for _, more, their_values in table_blocks(path):
        ids += more
        values += map(sys.intern, their_values)
    return ids, values


def read_plain(path):
    """Return (ids, values) when every line is two words and one blank, whatever the order; else (None, None)."""
    ids, values = [], []
    try:
        for _, text in text_blocks(path):
            more, their_values = split_plain(text)
            if more is None:
                return None, None
            ids += more
            values += their_values
    except TableError:
        return None, None
    return ids, values


def split_plain(text):
    """Return (ids, values) when every line is two words and one blank, which is quick to tell; else (None, None)."""
    words = text.split()
    ids, values = words[::2], words[1::2]
    if text.isascii():  # what stands between the words tells as much as putting them together again, and sooner
        plain = text.endswith("\n") and text.encode().translate(None, WORD_BYTES) == b" \n" * len(ids)
    else:
        plain = "\0" not in text and "".join(chain.from_iterable(zip(ids, repeat(" "), values, repeat("\n")))) == text
    return (ids, values) if plain and len(words) % 2 == 0 else (None, None)


def malformed(columns, line):
    """Return what is wrong with a line that has not as many columns as it should."""
    expected = f"{columns} columns" if columns else "an id and a value"
    return f"expected {expected}, found: {shorten(line.strip()) or 'an empty line'}"


def is_increasing(ids):
    """Return whether the strings are strictly increasing."""
    return all(map(operator.lt, ids, islice(ids, 1, None)))


def check_order(path, first, before, ids):
    """Raise TableError unless `before` and the ids from line `first` on strictly increase by their bytes.

    They are compared as code points, which is the same.
    """
    if before < ids[0] and is_increasing(ids):
        return
    for number, (left, right) in enumerate(zip(chain([before], ids), ids, strict=False), first):
        if left == right:
            raise TableError(f"{path}:{number}: the id {right} is there twice")
        if left > right:
            raise TableError(f"{path}:{number}: not sorted: {right} comes after {left} (LC_ALL=C; see fix_data_dir.sh)")


def shorten(text, width=80):
    """Return the text cut to `width` letters."""
    return text if len(text) <= width else text[: width - 3] + "..."
