"""Parts of recordings: Kaldi's `segments` (lines `utterance recording start end`, in seconds), and their audio."""

import math
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from etdnn.data.audio import BadAudio, decode, needs_program, open_audio, to_wave
from etdnn.data.datadir import read_table
from etdnn.errors import UserError

TO_END = -1.0
"""Kaldi's sign for a part that goes to the end of its recording."""
OVERSHOOT = 0.5
"""Seconds by which a part may go beyond its recording; it is then cut at the end (Kaldi's extract-segments)."""
_EXACT_SUBTYPES = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")


class Segment(NamedTuple):
    """A part of a recording, from `start` to `end` in seconds; `end` may be TO_END."""

    recording: str
    start: float
    end: float

    def within(self, seconds: float) -> "Segment":
        """Return the part inside a recording of `seconds`; ValueError when it goes beyond by more than OVERSHOOT."""
        if self.start >= seconds or self.end > seconds + OVERSHOOT:
            end = "its end" if self.end == TO_END else f"{self.end:g} s"
            raise ValueError(f"the part from {self.start:g} s to {end} is not in it, it has {seconds:.2f} s")
        return self._replace(end=seconds if self.end == TO_END else min(self.end, seconds))


def parse_times(start: str, end: str) -> tuple[float, float]:
    """Return the two times in seconds; ValueError unless 0 <= start < end, or end is -1."""
    try:
        times = float(start), float(end)
        if 0 <= times[0] < math.inf and (times[0] < times[1] < math.inf or times[1] == TO_END):
            return times
    except ValueError:
        pass
    raise ValueError(f"expected 0 <= start < end (seconds; end -1: to the recording's end), found '{start} {end}'")


def parse_segment(text: str) -> Segment:
    """Return the part that a line of `segments` names after the utterance; ValueError for another form or bad times."""
    columns = text.split()
    if len(columns) != 3:
        raise ValueError(f"expected 'recording start end' after the utterance, found '{text}'")
    return Segment(columns[0], *parse_times(*columns[1:]))


def read_segments(path: Path, recordings: Container[str]) -> dict[str, Segment]:
    """Read `segments`; UserError with file and line for a bad form or time, and for a recording without audio."""
    table: dict[str, Segment] = {}
    for number, (utterance, text) in enumerate(read_table(path).items(), 1):
        try:
            segment = parse_segment(text)
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from None
        if segment.recording not in recordings:
            raise UserError(f"{path}:{number}: recording '{segment.recording}' is not in {path.parent / 'wav.scp'}")
        table[utterance] = segment
    if not table:
        raise UserError(f"{path}: empty")
    return table


def segment_seconds(path: Path, segments: dict[str, Segment]) -> dict[str, float]:
    """Return utterance -> seconds; UserError for a part whose length only its recording knows."""
    for number, segment in enumerate(segments.values(), 1):
        if segment.end == TO_END:
            raise UserError(f"{path}:{number}: end -1 says no duration; write the time, or a utt2dur")
    return {utterance: round(segment.end - segment.start, 4) for utterance, segment in segments.items()}


class SegmentReader:
    """Audio of parts. Of files that allow it only the part is read; the rest (pipes, m4a, mp3, ogg) is decoded once.

    The last recording that was decoded whole is kept: parts of one recording should follow each other.
    """

    def __init__(self, rate: int = 16000) -> None:
        self._rate, self._held = rate, ""
        self._samples, self._found = np.empty((0, 1), np.float32), rate

    def read(self, entry: str, segment: Segment) -> np.ndarray:
        """Return the part's samples as `read_audio` gives those of a file cut at the nearest samples.

        `entry` is what wav.scp has for the recording; pipes are run. Raises BadAudio as `read_audio` does, and for a
        part that is not in its recording.
        """
        found = None if entry == self._held or needs_program(entry) else _read_part(entry, segment)
        if found is None:
            if entry != self._held:
                self._held = ""  # the one that was held may go before the next comes
                self._samples, self._found = decode(entry, self._rate, allow_pipes=True)
                self._held = entry
            start, stop = _bounds(entry, segment, len(self._samples), self._found)
            found = self._samples[start:stop], self._found
        return to_wave(*found, self._rate, entry)


class Recording:
    """The audio of a wav.scp entry, or a part of it, as an array that is read where it is sliced.

    `len()` counts samples of the file's own `rate`; slices are float32 in one dimension at int16 scale, channels
    averaged. Entries that cannot be read in parts (`reads_parts`) are decoded once, when the object is made; `rate` is
    what a program is asked for. Pipes are refused, and BadAudio is raised as by `read_audio`.
    """

    def __init__(self, entry: str, rate: int, segment: Segment | None = None) -> None:
        self.entry, self.rate = entry, rate
        self._samples: np.ndarray | None = None
        whole = needs_program(entry)
        if not whole:
            with open_audio(entry) as file:
                self.rate, length, whole = file.samplerate, file.frames, not _is_exact(file)
        if whole:
            self._samples, self.rate = decode(entry, rate)
            length = len(self._samples)
        self._start, self._stop = _bounds(entry, segment, length, self.rate) if segment else (0, length)
        if not len(self):
            raise BadAudio(f"{entry}: no samples in it")

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, span: slice) -> np.ndarray:
        first, last, _ = span.indices(len(self))
        first, last = self._start + first, self._start + last
        if self._samples is not None:
            samples = self._samples[first:last]
        else:
            with open_audio(self.entry) as file:
                samples = _read_range(file, self.entry, first, last)
        return to_wave(samples, self.rate, self.rate, self.entry)

    def __array__(self, dtype: type | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def reads_parts(path: str, rate: int) -> bool:
    """Say whether parts of a file can be read alone and are what they are when it is read whole at `rate`."""
    if needs_program(path):
        return False
    with open_audio(path) as file:
        return _is_exact(file) and file.samplerate == rate


def _read_part(path: str, segment: Segment) -> tuple[np.ndarray, int] | None:
    """Return the part's samples and their rate; None for a codec that gives others there than when it reads all."""
    with open_audio(path) as file:
        if not _is_exact(file):
            return None
        return _read_range(file, path, *_bounds(path, segment, file.frames, file.samplerate)), file.samplerate


def _is_exact(file: soundfile.SoundFile) -> bool:
    return file.subtype.startswith(_EXACT_SUBTYPES)


def _read_range(file: soundfile.SoundFile, path: str, start: int, stop: int) -> np.ndarray:
    file.seek(start)
    samples = file.read(stop - start, dtype="float32", always_2d=True)
    if len(samples) < stop - start:
        raise BadAudio(f"{path}: truncated (nothing at {(start + len(samples)) / file.samplerate:.2f} s)")
    return samples


def _bounds(entry: str, segment: Segment, samples: int, rate: int) -> tuple[int, int]:
    try:
        inside = segment.within(samples / rate)
    except ValueError as error:
        raise BadAudio(f"{entry}: {error}") from None
    return round(inside.start * rate), min(round(inside.end * rate), samples)
