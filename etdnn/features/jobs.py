"""Features of one part of a data directory: audio, recipe, fbank, ark. A finished part is recognised by its stamp."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etdnn.data.ark import ArkWriter
from etdnn.data.audio import BadAudio
from etdnn.data.audio_state import audio_state
from etdnn.data.datadir import DataDir
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.utterance_audio import UtteranceAudio
from etdnn.features.vad import finds_speech
from etdnn.files import hash_file, write_json, write_text

# raise when the same inputs would give other features than before
_VERSION = 1
_INPUTS = ("wav.scp", "segments", "utt2aug", "augment.scp")
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


def make_part(
    data: Path,
    prefix: Path,
    options: FbankOptions,
    *,
    compression: str,
    seed: int,
    force: bool = False,
    all_frames: bool = False,
    original_vad: bool = False,
    say: Say = print,
) -> int:
    """Write features of all utterances of data directory `data`; return the number of utterances that have them.

    Leaves PREFIX.ark, .scp, .utt2num_frames, .frontend.json, .failed (`utterance reason` of audio that cannot be used,
    listed and skipped) and, last, .done.json. Does nothing when that says that options and inputs (the audio by its
    sizes and times) are the same. With segments utterances are parts of the recordings of wav.scp. wav.scp may hold
    pipes: features are made of the user's own data directories. UserError for bad tables and recipes.

    Where the front end has VAD, PREFIX.vad.json counts the frames before and after it and names the utterances without
    speech, which are left whole. With `original_vad` it listens to copies before noise was added (training copies, as
    in Kaldi's recipes); with `all_frames` (noises) all frames are kept.
    """
    files, started = PartFiles(prefix), time.monotonic()
    inputs = {name: hash_file(data / name) for name in _INPUTS if (data / name).is_file()}
    stamp = {"version": _VERSION, "frontend": options.key, "compression": compression, "seed": seed, "inputs": inputs}
    stamp["audio"] = audio_state(data)
    if options.vad:
        stamp["vad"] = {"all_frames": all_frames, "original": original_vad}
    directory = DataDir(data)
    if not force and is_done(files, stamp):
        counts = files.named("utt2num_frames").read_bytes().count(b"\n")
        say(f"{prefix}: done before with the same inputs ({counts} utterances)")
        return counts
    for file in (files.done, files.named("vad.json")):
        file.unlink(missing_ok=True)
    counts, failed = {}, []
    seconds, odd = directory.utt2dur, []
    with ArkWriter(files.named("ark"), files.named("scp"), compression) as writer:
        audio = UtteranceAudio(directory, int(options.sample_frequency), seed)
        made = replace(options, vad=False) if all_frames else options
        progress, vad = _Progress(len(audio.keys), say), _VadCounts(made, original_vad)
        for key, features, frames in _features(audio, made, vad, failed, progress):
            writer.write(key, features)
            counts[key] = len(features)
            if key in seconds and abs(frames - seconds[key] * options.frames_per_second) > _DURATION_FRAMES:
                odd.append(f"{key}: {frames} frames, utt2dur says {seconds[key]} s")
    for line in odd[:5]:
        say(f"warning: {line}")
    for line in failed[:5]:
        say(f"warning: skipped {line}")
    write_text(files.named("utt2num_frames"), "".join(f"{key} {count}\n" for key, count in counts.items()))
    write_text(files.named("failed"), "".join(f"{line}\n" for line in failed))
    if made.vad:
        write_json(files.named("vad.json"), {"frames": vad.frames, "kept": vad.kept, "whole": vad.whole})
        say(f"{prefix}: {vad_line(vad.frames, vad.kept, len(vad.whole))}")
    write_json(files.named("frontend.json"), {"key": options.key, **options.to_dict()})
    write_json(files.done, stamp)
    say(
        f"{prefix}: {len(counts)} utterances, {len(failed)} skipped, {len(odd)} with frames unlike their duration, "
        f"{sum(counts.values()) / options.frames_per_second / 3600:.2f} h of features, "
        f"{time.monotonic() - started:.0f} s"
    )
    return len(counts)


def vad_line(frames: int, kept: int, whole: int) -> str:
    """Return in words what VAD did."""
    share = f" ({100 * kept / frames:.1f} %)" if frames else ""
    return f"VAD kept {kept} of {frames} frames{share}; {whole} utterances without speech are left whole"


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


class _VadCounts:
    """What VAD did to a part: frames before and after it, utterances without speech; `original`: where it listens."""

    def __init__(self, options: FbankOptions, original: bool) -> None:
        self._options, self.original = options, original
        self.frames, self.kept, self.whole = 0, 0, []

    def add(self, key: str, heard: np.ndarray, kept: int) -> None:
        """Count an utterance of which `kept` frames are features, VAD having `heard` these samples."""
        frames = self._options.num_frames(len(heard))
        self.frames, self.kept = self.frames + frames, self.kept + kept
        if frames == kept and not finds_speech(heard, self._options):
            self.whole.append(key)


def _features(
    audio: UtteranceAudio, options: FbankOptions, vad: _VadCounts, failed: list[str], progress: "_Progress"
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield (utterance, features [frames, dim], frames before VAD); utterances whose audio is bad go to `failed`."""
    import torch

    torch.set_num_threads(1)
    for key in audio.keys:
        try:
            timed = audio.timed(key)
            wave = audio.finished(key, timed)
            heard = timed if vad.original else wave
            features = compute_fbank(wave, options, heard)
            if not np.isfinite(features).all() or np.ptp(features, axis=0).max() == 0:
                raise BadAudio(f"{audio.entry(key)}: silent or constant in all frames")
            if options.vad:
                vad.add(key, heard, len(features))
            yield key, features, options.num_frames(len(wave)) if options.vad else len(features)
        except BadAudio as error:
            failed.append(f"{key} {error}")
        progress.step()


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
