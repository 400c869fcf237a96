"""Log-mel front ends: Kaldi's (`--type=kaldi`) and the one of the EfficientTDNN authors (`--type=efficienttdnn`).

The options are a file in Kaldi's own syntax. Features of two front ends never mix: `FbankOptions.key` names the folder.
"""

import difflib
import importlib.machinery
import importlib.util
import json
import math
import sys
import types
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

from etdnn.data.audio import BadAudio
from etdnn.errors import UserError
from etdnn.features.vad import frames_to_keep
from etdnn.files import hash_text

_WINDOWS = ("hamming", "hanning", "povey", "rectangular", "blackman")
_MEL_FLOOR = 1e-6


@dataclass(frozen=True)
class FbankOptions:
    """Options of Kaldi's compute-fbank-feats under its names, plus `type`; defaults are this project's front end.

    Audio is at int16 scale. For type "efficienttdnn" the options are those of the authors' front end and only
    `num_mel_bins`, the frequencies, the frame, the pre-emphasis and VAD can be set. With `vad` only voiced frames are
    features; its options are compute-vad's, by default as in the conf/vad.conf of Kaldi's VoxCeleb recipes.
    """

    type: str = "kaldi"
    sample_frequency: float = 16000.0
    num_mel_bins: int = 80
    frame_length: float = 25.0
    frame_shift: float = 10.0
    window_type: str = "povey"
    low_freq: float = 20.0
    high_freq: float = -400.0
    snip_edges: bool = False
    dither: float = 0.0
    preemphasis_coefficient: float = 0.97
    remove_dc_offset: bool = True
    round_to_power_of_two: bool = True
    use_power: bool = True
    use_energy: bool = False
    energy_floor: float = 0.0
    raw_energy: bool = True
    blackman_coeff: float = 0.42
    vad: bool = False
    vad_energy_threshold: float = 5.5
    vad_energy_mean_scale: float = 0.5
    vad_frames_context: int = 2
    vad_proportion_threshold: float = 0.12

    def __post_init__(self) -> None:
        if self.type not in ("kaldi", "efficienttdnn"):
            raise ValueError(f"--type={self.type} is not one of kaldi, efficienttdnn")
        if self.window_type not in _WINDOWS:
            raise ValueError(f"--window-type={self.window_type} is not one of {', '.join(_WINDOWS)}")
        nyquist = self.sample_frequency / 2
        high = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not 0 <= self.low_freq < high <= nyquist:
            raise ValueError(
                f"--low-freq={self.low_freq:g} --high-freq={self.high_freq:g} are no band up to {nyquist:g} Hz"
            )
        for name in ("sample_frequency", "num_mel_bins", "frame_length", "frame_shift"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name.replace('_', '-')}={getattr(self, name)} must be above 0")
        for name in ("vad_energy_mean_scale", "vad_frames_context"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"--{name.replace('_', '-')}={getattr(self, name)} must be at least 0")
        if not 0 < self.vad_proportion_threshold < 1:
            raise ValueError(f"--vad-proportion-threshold={self.vad_proportion_threshold:g} must be between 0 and 1")
        if self.dither != 0:
            raise ValueError("--dither must be 0: features are a function of the audio and the seed")

    @property
    def dim(self) -> int:
        """Values per frame."""
        return self.num_mel_bins + int(self.use_energy and self.type == "kaldi")

    @property
    def frames_per_second(self) -> float:
        """Frames of one second of audio, edges left out."""
        return 1000.0 / self.frame_shift

    @property
    def key(self) -> str:
        """Folder name of this front end: type, bins and a hash of all options."""
        return f"{self.type}{self.num_mel_bins}-{hash_text(json.dumps(self.to_dict(), sort_keys=True))[:8]}"

    @property
    def shift_and_window(self) -> tuple[int, int]:
        """Samples from one frame to the next, and in one; Kaldi cuts parts of a sample off, the authors round."""
        whole = round if self.type == "efficienttdnn" else int
        # multiplied in torchaudio's order, so that rounding errors are cut off alike
        return tuple(whole(self.sample_frequency * span * 0.001) for span in (self.frame_shift, self.frame_length))

    def samples_of(self, start: int, frames: int, samples: int) -> tuple[int, int, int]:
        """Return which of `samples` samples (first, last) give frames `start` to `start + frames` as the whole does.

        The third number says how many frames of theirs come before. They reach a window beyond the crop on both sides,
        to the edges where these are nearer: so the edge's own padding is where the whole has it, and nowhere else.
        """
        shift, window = self.shift_and_window
        before = min(start, -(-window // shift))
        return (start - before) * shift, min(samples, (start + frames) * shift + window), before

    def num_frames(self, samples: int) -> int:
        """Return the frames that `samples` samples give before VAD (0 when too few)."""
        shift, window = self.shift_and_window
        if samples < window:
            return 0
        if self.type == "efficienttdnn":
            return 1 + samples // shift
        return 1 + (samples - window) // shift if self.snip_edges else (samples + shift // 2) // shift

    def to_dict(self) -> dict:
        """Return all options, for frontend.json and model files; those of VAD only where it is on."""
        return {name: value for name, value in asdict(self).items() if self.vad or not name.startswith("vad")}

    def to_conf(self) -> list[str]:
        """Return the lines of a configuration file that `read_fbank_conf` reads as these options."""
        usual = {field.name: field.default for field in fields(self)}
        if self.type == "efficienttdnn":
            usual |= {**AUTHORS, "type": "kaldi"}
        changed = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return [f"--{name.replace('_', '-')}={str(value).lower()}" for name, value in changed.items()]

    @classmethod
    def from_dict(cls, values: dict) -> "FbankOptions":
        """Make options from `to_dict`; keys that are no options (`key` of frontend.json) are left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


AUTHORS = {"window_type": "hamming", "low_freq": 20.0, "high_freq": 7600.0, "remove_dc_offset": False}
"""What `--type=efficienttdnn` fixes besides its type."""
_AUTHORS_MAY_SET = {
    "type", "sample_frequency", "num_mel_bins", "frame_length", "frame_shift", "low_freq", "high_freq", "dither",
    "preemphasis_coefficient", *(field.name for field in fields(FbankOptions) if field.name.startswith("vad")),
}  # fmt: skip


def read_fbank_conf(path: str | Path, *, vad: bool = False) -> FbankOptions:
    """Read `--name=value` lines (Kaldi's configuration syntax; `#` begins a comment); UserError with file and line.

    `vad` turns VAD on, whatever the file says of it.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    values, types_of = {}, {field.name: type(field.default) for field in fields(FbankOptions)}
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        name, equals, value = text.removeprefix("--").partition("=")
        option = name.strip().replace("-", "_")
        if not text.startswith("--"):
            raise UserError(f"{path}:{number}: expected --option=value, found '{text}'")
        if option not in types_of:
            near = difflib.get_close_matches(option, types_of, 1, 0.0)[0].replace("_", "-")
            raise UserError(f"{path}:{number}: unknown option --{name} (did you mean --{near}?)")
        try:
            values[option] = _parse(value.strip() if equals else "true", types_of[option])
        except ValueError:
            raise UserError(f"{path}:{number}: --{name}: '{value}' is no {types_of[option].__name__}") from None
    if values.get("type") == "efficienttdnn":
        if other := sorted(values.keys() - _AUTHORS_MAY_SET):
            raise UserError(f"{path}: --type=efficienttdnn has no option --{other[0].replace('_', '-')}")
        values = {**AUTHORS, **values}
    if vad:
        values["vad"] = True
    try:
        return FbankOptions(**values)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def compute_fbank(wave: np.ndarray, options: FbankOptions, heard: np.ndarray | None = None) -> np.ndarray:
    """Return float32 log-mel features [frames, dim] of float32 samples at int16 scale; BadAudio when too short.

    With `options.vad` only frames that are voiced in `heard`, as long as `wave` (default: in `wave` itself); all of
    them where next to nothing is (see `frames_to_keep`).
    """
    features = _all_frames(wave, options)
    if options.vad:
        features = features[frames_to_keep(wave if heard is None else heard, options)]
    return features


def _all_frames(wave: np.ndarray, options: FbankOptions) -> np.ndarray:
    import torch

    if options.num_frames(len(wave)) == 0:
        raise BadAudio(f"{len(wave)} samples are shorter than one window of {options.frame_length:g} ms")
    samples = torch.from_numpy(np.ascontiguousarray(wave, np.float32))
    with torch.inference_mode():
        if options.type == "efficienttdnn":
            return _authors_fbank(samples, options).numpy()
        arguments = {name: value for name, value in asdict(options).items() if not name.startswith(("type", "vad"))}
        return kaldi_compliance().fbank(samples[None], **arguments).numpy()


@cache
def kaldi_compliance() -> types.ModuleType:
    """Return torchaudio.compliance.kaldi, also where torchaudio itself does not load.

    torchaudio's wheel links CUDA libraries and its import raises OSError beside a CPU build of torch. The compliance
    module is plain Python: an empty package object with torchaudio's search path lets it be imported alone.
    """
    try:
        import torchaudio.compliance.kaldi as kaldi
    except OSError:
        kaldi = _import_without_package_init()
    except ImportError:
        raise UserError("the package torchaudio is missing (run tools/install.sh)") from None
    return kaldi


def _import_without_package_init() -> types.ModuleType:
    for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
        del sys.modules[name]
    spec = importlib.machinery.PathFinder.find_spec("torchaudio")
    package = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("torchaudio", None, is_package=True))
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["torchaudio"] = package
    import torchaudio.compliance.kaldi as kaldi

    return kaldi


def _parse(value: str, kind: type) -> object:
    if kind is bool:
        if value.lower() not in ("true", "false", "t", "f", "1", "0"):
            raise ValueError(value)
        return value.lower() in ("true", "t", "1")
    return kind(value)


def _authors_fbank(samples, options: FbankOptions):
    """Log of 1e-6 + HTK mel power: reflected pre-emphasis, centred Hamming frames, 512-point FFT (authors' code)."""
    import torch

    shift, window = options.shift_and_window
    points = 1 << (window - 1).bit_length()
    before = torch.cat([samples[1:2], samples[:-1]])
    spectrum = torch.stft(
        samples - options.preemphasis_coefficient * before, points, shift, window,
        torch.hamming_window(window), center=True, pad_mode="reflect", return_complex=True,
    )  # fmt: skip
    power = spectrum.real.square() + spectrum.imag.square()
    high = options.high_freq if options.high_freq > 0 else options.sample_frequency / 2 + options.high_freq
    mel = htk_mel(points, options.sample_frequency, options.num_mel_bins, options.low_freq, high)
    return (power.T @ torch.from_numpy(mel) + _MEL_FLOOR).log()


@cache
def htk_mel(points: int, rate: float, bins: int, low: float, high: float) -> np.ndarray:
    """Return triangular filters [points / 2 + 1, bins], equally spaced on the HTK mel scale, peak 1."""
    frequency = np.linspace(0, rate / 2, points // 2 + 1)
    mel = np.linspace(2595 * math.log10(1 + low / 700), 2595 * math.log10(1 + high / 700), bins + 2)
    edge = 700 * (10 ** (mel / 2595) - 1)
    rising = (frequency[:, None] - edge[:-2]) / (edge[1:-1] - edge[:-2])
    falling = (edge[2:] - frequency[:, None]) / (edge[2:] - edge[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
