"""Reading audio: any file that libsndfile knows, m4a through ffmpeg, pipes where they are allowed."""

import io
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from etdnn.errors import UserError
from etdnn.files import named_errors

INT16_SCALE = 32768.0
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
_FFMPEG_SUFFIXES = (".m4a", ".aac", ".mp4")
_said: set[str] = set()


class BadAudio(UserError):  # noqa: N818 (the name says what it is about: the audio)
    """An audio entry that cannot be used: one line with the entry and the reason."""


@dataclass(frozen=True)
class AudioInfo:
    """What a header says: length in seconds, sampling rate in Hz, channels."""

    seconds: float
    rate: int
    channels: int


def read_audio(entry: str, rate: int = 16000, *, allow_pipes: bool = False) -> np.ndarray:
    """Return the samples of a wav.scp entry: float32, one dimension, `rate` Hz, at int16 scale (full scale 32768).

    Channels are averaged and other rates resampled (a note on standard error once per kind and process). An entry that
    ends in `|` is run by the shell only with `allow_pipes`: data directories of others must not run commands.
    Raises BadAudio for a missing, empty, truncated or unreadable file and for samples that are not finite.
    """
    return to_wave(*decode(entry, rate, allow_pipes=allow_pipes), rate, entry)


def decode(entry: str, rate: int, *, allow_pipes: bool = False) -> tuple[np.ndarray, int]:
    """Return all samples of an entry [samples, channels], full scale 1, and their rate: that of the file, m4a `rate`.

    Raises BadAudio as `read_audio` does, but not for what the samples are.
    """
    if entry.endswith("|"):
        return _read_pipe(entry, allow_pipes)
    if entry.lower().endswith(_FFMPEG_SUFFIXES):
        return _read_ffmpeg(entry, rate), rate
    return _read_file(entry)


def to_wave(samples: np.ndarray, found: int, rate: int, entry: str) -> np.ndarray:
    """Return decoded samples of rate `found` as `read_audio` gives them; `entry` names them in messages."""
    if samples.size == 0:
        raise BadAudio(f"{entry}: no samples in it")
    if samples.shape[1] > 1:
        _note(f"{samples.shape[1]} channels are averaged to one", entry)
    wave = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(wave).all():
        raise BadAudio(f"{entry}: samples that are not finite numbers")
    if found != rate:
        _note(f"audio of {found} Hz is resampled to {rate} Hz", entry)
        wave = _resample(wave, found, rate)
    return wave * np.float32(INT16_SCALE)


@contextmanager
def open_audio(path: str) -> Iterator[soundfile.SoundFile]:
    """Open a file that libsndfile reads; BadAudio for what goes wrong with it while it is open."""
    _check_there(path)
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except soundfile.SoundFileError as error:
        raise BadAudio(f"{path}: {_reason(error)}") from None


def needs_program(entry: str) -> bool:
    """Say whether a wav.scp entry is read through a program: a pipe, or m4a."""
    return entry.endswith("|") or entry.lower().endswith(_FFMPEG_SUFFIXES)


def audio_info(path: str | Path) -> AudioInfo:
    """Return what the header says without decoding; BadAudio as in `read_audio`, found from header and last sample."""
    path = str(path)
    if path.lower().endswith(_FFMPEG_SUFFIXES):
        from etdnn.data.mp4 import mp4_info

        _check_there(path)
        return mp4_info(path)
    with open_audio(path) as file:
        info = AudioInfo(file.frames / file.samplerate, file.samplerate, file.channels)
        # a FLAC cut short keeps its header: only going to its end tells
        if file.format == "FLAC" and file.frames and not _reaches_end(file):
            raise BadAudio(f"{path}: truncated (its header promises {info.seconds:.2f} s)")
    if info.seconds <= 0:
        raise BadAudio(f"{path}: no samples in it")
    return info


def audio_seconds(path: str | Path) -> float:
    """Return the length in seconds that the header states."""
    return audio_info(path).seconds


def probe(paths: Sequence[str], jobs: int = 1, cache: Path | None = None) -> list[AudioInfo | str]:
    """Return for each path its AudioInfo, or the reason why it is broken; long lists in `jobs` processes.

    With `cache`, what is found is noted there as it comes, and an interrupted call goes on where it stopped: whole
    files are looked up in it, broken ones are looked at again.
    """
    known = _read_cache(cache) if cache else {}
    todo = [path for path in paths if path not in known] if known else paths
    size = max(500, min(20000, math.ceil(len(todo) / (4 * jobs))))
    chunks = [todo[start : start + size] for start in range(0, len(todo), size)]
    parallel = jobs > 1 and len(todo) >= 2000
    with ProcessPoolExecutor(jobs) if parallel else nullcontext() as pool:
        results = pool.map(_probe_chunk, chunks) if parallel else map(_probe_chunk, chunks)
        found = []
        for chunk, infos in zip(chunks, results, strict=True):
            found += infos
            if cache:
                _append_cache(cache, chunk, infos)
    if not known:
        return found
    fresh = iter(found)
    return [known[path] if path in known else next(fresh) for path in paths]


def ffmpeg_program() -> str:
    """Return the path of ffmpeg; UserError that says how to get it when there is none."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError("m4a audio is read through the program ffmpeg, which is not on PATH (install package 'ffmpeg')")
    return program


def _probe_chunk(paths: Sequence[str]) -> list[AudioInfo | str]:
    results: list[AudioInfo | str] = []
    for path in paths:
        try:
            results.append(audio_info(path))
        except BadAudio as error:
            results.append(str(error).removeprefix(f"{path}: "))
    return results


def _read_cache(cache: Path) -> dict[str, AudioInfo]:
    """Read what an interrupted `probe` noted; the line it was writing when it stopped does not count."""
    if not cache.is_file():
        return {}
    known = {}
    for line in cache.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]:
        path, *numbers = line.rsplit("\t", 3)
        if len(numbers) == 3:
            known[path] = AudioInfo(float(numbers[0]), int(numbers[1]), int(numbers[2]))
    return known


def _append_cache(cache: Path, paths: Sequence[str], infos: Sequence[AudioInfo | str]) -> None:
    rows = (
        f"{path}\t{info.seconds!r}\t{info.rate}\t{info.channels}\n"
        for path, info in zip(paths, infos, strict=True)
        if not isinstance(info, str)
    )
    cache.parent.mkdir(parents=True, exist_ok=True)
    with named_errors(cache), cache.open("ab") as handle:
        handle.write("".join(rows).encode("utf-8", "surrogateescape"))


def _check_there(path: str) -> None:
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise BadAudio(f"{path}: {error.strerror.lower()}") from None
    if size == 0:
        raise BadAudio(f"{path}: empty file")


def _read_file(path: str) -> tuple[np.ndarray, int]:
    with open_audio(path) as file:
        samples = file.read(dtype="float32", always_2d=True)
        # the length in an MP3's header is an estimate, in the others a promise
        if len(samples) < file.frames and file.format != "MP3":
            lengths = f"{file.frames / file.samplerate:.2f} s promised, {len(samples) / file.samplerate:.2f} s there"
            raise BadAudio(f"{path}: truncated ({lengths})")
        return samples, file.samplerate


def _read_pipe(entry: str, allowed: bool) -> tuple[np.ndarray, int]:
    command = entry[:-1].strip()
    if not allowed:
        raise UserError(f"{entry}: commands in wav.scp are run in stages 0 and 1 only, not here")
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise BadAudio(f"{entry}: exit status {result.returncode}: {_last_line(result.stderr)}")
    try:
        return soundfile.read(io.BytesIO(result.stdout), dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        said = _last_line(result.stderr)
        raise BadAudio(f"{entry}: {len(result.stdout)} bytes came that are no audio: {said}") from None


def _read_ffmpeg(path: str, rate: int) -> np.ndarray:
    _check_there(path)
    command = [
        ffmpeg_program(),
        "-nostdin",
        "-v",
        "error",
        "-i",
        path,
        "-ac",
        "1",
        "-ar",
        str(rate),
        "-f",
        "f32le",
        "-",
    ]
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise BadAudio(f"{path}: ffmpeg: {_last_line(result.stderr)}")
    return np.frombuffer(result.stdout, "<f4").astype(np.float32)[:, None]


def _resample(wave: np.ndarray, found: int, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly  # its import takes longer than reading a file

    divisor = math.gcd(found, rate)
    return resample_poly(wave, rate // divisor, found // divisor).astype(np.float32)


def _reaches_end(file: soundfile.SoundFile) -> bool:
    """True when the last sample that the header promises can be read."""
    try:
        file.seek(file.frames - 1)
        return len(file.read(1)) == 1
    except soundfile.SoundFileError:
        return False


def _reason(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return f"not audio that can be read ({' '.join(text.split())})"


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


def _note(what: str, entry: str) -> None:
    if what not in _said:
        _said.add(what)
        print(f"note: {what} (first: {entry})", file=sys.stderr)
