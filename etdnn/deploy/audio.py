"""Waveforms as users have them, made fit for a front end; long files in windows, so that memory stays bounded."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etdnn.data.audio import BadAudio, ffmpeg_program
from etdnn.errors import UserError

INT16_SCALE = 32768.0
MIN_SECONDS = 0.5
"""Shorter audio is refused: what would come out says little about the speaker."""
WINDOW_SECONDS = 30.0
"""Length of the windows that a long recording is cut into."""
WHOLE_SECONDS = 60.0
"""Up to this length an embedding is of the whole recording; above, the mean over windows."""
REST_SECONDS = 10.0
"""A rest shorter than this at the end joins the window before it."""
SILENT_PEAK = 4.0
"""Audio whose samples all lie within this many int16 steps of each other carries no speech (-78 dB)."""
_FLOAT_LIMIT = 8.0
_FFMPEG_SUFFIXES = (".m4a", ".aac", ".mp4")


def prepare_wave(wave: np.ndarray, rate: float, wanted: int, where: str = "audio") -> np.ndarray:
    """Return mono float32 samples at int16 scale and `wanted` Hz.

    `wave` holds floats within -1..1 or int16, int32 or uint8 samples; (samples,), (samples, channels) or
    (channels, samples): the shorter side is the channels, which are averaged. Raises BadAudio for anything else, for
    samples that are not finite, and for floats far outside -1..1.
    """
    samples = np.asarray(wave)
    if samples.ndim == 2:
        samples = samples if samples.shape[0] >= samples.shape[1] else samples.T
    elif samples.ndim != 1:
        raise BadAudio(f"{where}: expected (samples,) or (samples, channels), got shape {samples.shape}")
    if not samples.size:
        raise BadAudio(f"{where}: no samples in it")
    if not np.isfinite(rate) or rate <= 0 or rate != int(rate):
        raise BadAudio(f"{where}: a sampling rate of {rate} Hz cannot be: give whole Hz")
    samples = _scaled(samples, where)
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise BadAudio(f"{where}: samples that are not finite numbers")
    if int(rate) != wanted:
        from scipy.signal import resample_poly

        divisor = np.gcd(int(rate), wanted)
        samples = resample_poly(samples, wanted // divisor, int(rate) // divisor)
    return np.ascontiguousarray(samples, np.float32)


def check_speech(wave: np.ndarray, rate: int, where: str = "audio") -> None:
    """Refuse (BadAudio) audio at int16 scale that is too short or silent."""
    if len(wave) < MIN_SECONDS * rate - 1:
        raise BadAudio(f"{where}: {len(wave) / rate:.2f} s of audio; at least {MIN_SECONDS:g} s are needed")
    if is_silent(wave):
        raise BadAudio(f"{where}: silence; there is no speech in it")


def is_silent(wave: np.ndarray) -> bool:
    """Tell whether audio at int16 scale never moves by more than `SILENT_PEAK` steps (a constant offset is silence)."""
    return float(np.ptp(wave)) <= SILENT_PEAK


def file_windows(path: str | Path, rate: int) -> Iterator[np.ndarray]:
    """Yield the windows (see `merge_rest`) of an audio file: mono float32 at `rate` Hz and int16 scale.

    No more than three windows are in memory at a time. Raises BadAudio for what is missing, truncated or no audio.
    """
    path = str(path)
    if not Path(path).is_file():
        raise BadAudio(f"{path}: {'a folder, not an audio file' if Path(path).is_dir() else 'no such audio file'}")
    if path.lower().endswith(_FFMPEG_SUFFIXES):
        found, blocks = rate, _ffmpeg_blocks(path, rate)
    else:
        import soundfile

        try:
            file = soundfile.SoundFile(path)
        except soundfile.SoundFileError as error:
            raise BadAudio(f"{path}: not audio that can be read ({_reason(error)})") from None
        found, blocks = file.samplerate, _file_blocks(file, path)
    for window in merge_rest(blocks, found):
        yield prepare_wave(window, found, rate, path)


def wave_windows(wave: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Yield the windows of a wave in memory."""
    size = round(WINDOW_SECONDS * rate)
    return merge_rest((wave[start : start + size] for start in range(0, len(wave), size)), rate)


def merge_rest(pieces: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Join pieces of `WINDOW_SECONDS` (the last may be shorter; time is the first axis) into windows.

    What is no longer than `WHOLE_SECONDS` in all becomes one window; a rest shorter than `REST_SECONDS` joins the
    window before it.
    """
    held: list[np.ndarray] = []
    whole = True
    for piece in pieces:
        held.append(piece)
        whole = whole and sum(map(len, held)) <= WHOLE_SECONDS * rate
        while not whole and len(held) > 2:
            yield held.pop(0)
    if held and (whole or len(held[-1]) < REST_SECONDS * rate):
        yield np.concatenate(held)
    else:
        yield from held


def _file_blocks(file, path: str) -> Iterator[np.ndarray]:
    """Yield float32 [samples, channels] of `WINDOW_SECONDS` each; an error when the header promised more."""
    import soundfile

    size, count = round(WINDOW_SECONDS * file.samplerate), 0
    with file:
        try:
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                count += len(block)
                yield block
        except soundfile.SoundFileError as error:
            raise BadAudio(f"{path}: not audio that can be read ({_reason(error)})") from None
        # the length in an MP3's header is an estimate, in the others a promise
        if count < file.frames and file.format != "MP3":
            promised, there = file.frames / file.samplerate, count / file.samplerate
            raise BadAudio(f"{path}: truncated ({promised:.2f} s promised, {there:.2f} s there)")
        if not count:
            raise BadAudio(f"{path}: no samples in it")


def _ffmpeg_blocks(path: str, rate: int) -> Iterator[np.ndarray]:
    options = ["-nostdin", "-v", "error", "-i", path, "-ac", "1", "-ar", str(rate), "-f", "f32le", "-"]
    size = 4 * round(WINDOW_SECONDS * rate)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [ffmpeg_program(), *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        )
        try:
            while data := process.stdout.read(size):
                yield np.frombuffer(data, "<f4").astype(np.float32)
        finally:
            process.stdout.close()
            status = process.wait()
        if status:
            said.seek(0)
            raise BadAudio(f"{path}: ffmpeg: {' '.join(said.read().decode('utf-8', 'replace').split())[:200]}")


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "error_string", "") or error).split()).rstrip(".")


def _scaled(samples: np.ndarray, where: str) -> np.ndarray:
    """Return float32 samples at int16 scale."""
    kind = samples.dtype
    if kind == np.int16:
        return samples.astype(np.float32)
    if kind == np.int32:
        return (samples / 65536.0).astype(np.float32)
    if kind == np.uint8:
        return (samples.astype(np.float32) - 128) * 256
    if kind.kind != "f":
        raise UserError(f"{where}: samples of type {kind}; give floats within -1..1 or int16")
    peak = float(np.max(np.abs(samples), initial=0.0))
    if np.isfinite(peak) and peak > _FLOAT_LIMIT:
        raise UserError(f"{where}: float samples up to {peak:.0f}; give floats within -1..1, or int16")
    return samples.astype(np.float32) * np.float32(INT16_SCALE)
