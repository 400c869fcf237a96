"""Features of one part of a data directory: audio, recipe, fbank, ark. A finished part is recognised by its stamp."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.data.ark import ArkWriter
from etdnn.data.audio import BadAudio, read_audio
from etdnn.data.audio_state import audio_state
from etdnn.data.datadir import DataDir
from etdnn.data.segments import SegmentReader
from etdnn.errors import UserError
from etdnn.features.augment import apply_recipe, parse_recipe
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.files import hash_file, write_json, write_text
from etdnn.seeding import numpy_generator

# raise when the same inputs would give other features than before
_VERSION = 1
_INPUTS = ("wav.scp", "segments", "utt2aug", "augment.scp")
_CACHE_BYTES = 256 << 20
_REPORT_SECONDS = 10.0
_DURATION_FRAMES = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class PartFiles:
    """What a part leaves, all beginning with one prefix."""

    prefix: Path

    def named(self, suffix: str) -> Path:
        """Return `PREFIX.suffix`."""
        return self.prefix.with_name(f"{self.prefix.name}.{suffix}")

    @property
    def done(self) -> Path:
        """The stamp, written last."""
        return self.named("done.json")


class AudioCache:
    """Audio by path, the least recently used given up when more than `capacity` bytes are held."""

    def __init__(self, rate: int, capacity: int = _CACHE_BYTES) -> None:
        self._rate, self._capacity, self._held = rate, capacity, 0
        self._waves: OrderedDict[str, np.ndarray] = OrderedDict()

    def load(self, path: str) -> np.ndarray:
        """Return the samples of an audio file or pipe at int16 scale."""
        if path in self._waves:
            self._waves.move_to_end(path)
            return self._waves[path]
        wave = self._waves[path] = read_audio(path, self._rate, allow_pipes=True)
        self._held += wave.nbytes
        while self._held > self._capacity and len(self._waves) > 1:
            self._held -= self._waves.popitem(last=False)[1].nbytes
        return wave


def make_part(
    data: Path,
    prefix: Path,
    options: FbankOptions,
    *,
    compression: str,
    seed: int,
    force: bool = False,
    say: Say = print,
) -> int:
    """Write features of all utterances of data directory `data`; return the number of utterances that have them.

    Leaves PREFIX.ark, .scp, .utt2num_frames, .frontend.json, .failed (`utterance reason` of audio that cannot be used,
    listed and skipped) and, last, .done.json. Does nothing when that says that options and inputs (the audio by its
    sizes and times) are the same. With segments utterances are parts of the recordings of wav.scp. wav.scp may hold
    pipes: features are made of the user's own data directories. Raises UserError for bad tables and recipes.
    """
    files, started = PartFiles(prefix), time.monotonic()
    inputs = {name: hash_file(data / name) for name in _INPUTS if (data / name).is_file()}
    stamp = {"version": _VERSION, "frontend": options.key, "compression": compression, "seed": seed, "inputs": inputs}
    stamp["audio"] = audio_state(data)
    directory = DataDir(data)
    if not force and is_done(files, stamp):
        counts = files.named("utt2num_frames").read_bytes().count(b"\n")
        say(f"{prefix}: done before with the same inputs ({counts} utterances)")
        return counts
    files.done.unlink(missing_ok=True)
    counts, failed = {}, []
    seconds, odd = directory.utt2dur, []
    with ArkWriter(files.named("ark"), files.named("scp"), compression) as writer:
        progress = _Progress(len(directory.segments or directory.wav_scp), say)
        for key, features in _features(directory, options, seed, failed, progress):
            writer.write(key, features)
            counts[key] = len(features)
            if key in seconds and abs(len(features) - seconds[key] * options.frames_per_second) > _DURATION_FRAMES:
                odd.append(f"{key}: {len(features)} frames, utt2dur says {seconds[key]} s")
    for line in odd[:5]:
        say(f"warning: {line}")
    for line in failed[:5]:
        say(f"warning: skipped {line}")
    write_text(files.named("utt2num_frames"), "".join(f"{key} {count}\n" for key, count in counts.items()))
    write_text(files.named("failed"), "".join(f"{line}\n" for line in failed))
    write_json(files.named("frontend.json"), {"key": options.key, **options.to_dict()})
    write_json(files.done, stamp)
    say(
        f"{prefix}: {len(counts)} utterances, {len(failed)} skipped, {len(odd)} with frames unlike their duration, "
        f"{sum(counts.values()) / options.frames_per_second / 3600:.2f} h of features, "
        f"{time.monotonic() - started:.0f} s"
    )
    return len(counts)


def is_done(files: PartFiles, stamp: dict | None = None) -> bool:
    """Say whether a part is complete (and, with `stamp`, made of the same inputs with the same options)."""
    wanted = ("ark", "scp", "utt2num_frames", "failed", "frontend.json")
    if not all(files.named(suffix).is_file() for suffix in wanted):
        return False
    try:
        found = json.loads(files.done.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stamp is None or found == stamp


def _features(
    data: DataDir, options: FbankOptions, seed: int, failed: list[str], progress: "_Progress"
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (utterance, features [frames, dim]); utterances whose audio is bad go to `failed`."""
    import torch

    torch.set_num_threads(1)
    rate = int(options.sample_frequency)
    originals, sources = AudioCache(rate, capacity=0), AudioCache(rate)
    paths, recipes = data.augment_scp, data.utt2aug
    entries, segments, parts = data.wav_scp, data.segments, SegmentReader(rate)

    def source(name: str) -> np.ndarray:
        if name not in paths:
            raise UserError(f"{data.path}/augment.scp: no '{name}', which utt2aug names")
        return sources.load(paths[name])

    for key in segments or entries:
        entry = entries[segments[key].recording if segments else key]
        try:
            wave = parts.read(entry, segments[key]) if segments else originals.load(entry)
            if key in recipes:
                recipe = _recipe(data.path, key, recipes[key])
                wave = apply_recipe(wave, recipe, source, numpy_generator(seed, "augment", key), rate)
            features = compute_fbank(wave, options)
            if not np.isfinite(features).all() or np.ptp(features, axis=0).max() == 0:
                raise BadAudio(f"{entry}: silent or constant in all frames")
            yield key, features
        except BadAudio as error:
            failed.append(f"{key} {error}")
        progress.step()


def _recipe(data: Path, key: str, text: str) -> dict[str, str]:
    try:
        return parse_recipe(text)
    except ValueError as error:
        raise UserError(f"{data}/utt2aug: {key}: {error}") from None


class _Progress:
    """Says every few seconds how many are done and how long it will last."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say, self._done = total, say, 0
        self._start = self._last = time.monotonic()

    def step(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._done == 1:
            self._start = now  # the first utterance waits for the imports
        elif now - self._last >= _REPORT_SECONDS:
            self._last = now
            left = (now - self._start) * (self._total - self._done) / (self._done - 1)
            self._say(f"progress {self._done} of {self._total} utterances, about {left:.0f} s left")
