"""Energy VAD as Kaldi's compute-vad decides: the log energy of frames, which of them are voiced, which are kept."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from etdnn.features.fbank import FbankOptions

LEAST_VOICED = 25
"""Voiced frames below which an utterance is left whole (0.25 s at 10 ms): it has no speech, or VAD does not fit it."""
_FLOOR = float(np.finfo(np.float32).eps)


def log_energy(wave: np.ndarray, options: "FbankOptions") -> np.ndarray:
    """Return the log energy float32 [frames] of samples at int16 scale, in the frames that `compute_fbank` takes.

    It is Kaldi's raw log energy, the first column of its features with --use-energy=true: of the frame without its
    mean, before pre-emphasis and window. Log-mels cannot give it: they are pre-emphasised and stop at the band's edges.
    """
    shift, window = options.shift_and_window
    frames = options.num_frames(len(wave))
    if frames == 0:
        return np.zeros(0, np.float32)
    mode, left = "symmetric", 0 if options.snip_edges else window // 2 - shift // 2
    if options.type == "efficienttdnn":
        mode, left = "reflect", window // 2
    right = max(0, (frames - 1) * shift + window - left - len(wave))
    padded = np.pad(np.asarray(wave, np.float32), (left, right), mode=mode)
    rows = np.lib.stride_tricks.sliding_window_view(padded, window)[::shift][:frames]
    energy = np.einsum("fs,fs->f", rows, rows, dtype=np.float64)
    if options.remove_dc_offset:
        energy -= rows.sum(axis=1, dtype=np.float64) ** 2 / window
    return np.log(np.maximum(energy, _FLOOR)).astype(np.float32)


def voiced_frames(energy: np.ndarray, options: "FbankOptions") -> np.ndarray:
    """Return bool [frames]: where enough of the frames around have a log energy above the utterance's threshold.

    The threshold is vad_energy_threshold + vad_energy_mean_scale times the mean; enough is the share
    vad_proportion_threshold of the frames up to vad_frames_context away. Source: Kaldi, ComputeVadEnergy.
    """
    if not len(energy):
        return np.zeros(0, bool)
    threshold = options.vad_energy_threshold + options.vad_energy_mean_scale * energy.mean(dtype=np.float64)
    above = np.concatenate([[0], np.cumsum(energy > np.float32(threshold))])
    place = np.arange(len(energy))
    first = np.maximum(place - options.vad_frames_context, 0)
    last = np.minimum(place + options.vad_frames_context + 1, len(energy))
    needed = (last - first).astype(np.float32) * np.float32(options.vad_proportion_threshold)
    return above[last] - above[first] >= needed


def frames_to_keep(wave: np.ndarray, options: "FbankOptions") -> np.ndarray:
    """Return bool [frames]: the voiced frames, or all of them where fewer than `LEAST_VOICED` are voiced."""
    voiced = voiced_frames(log_energy(wave, options), options)
    return voiced if has_speech(voiced) else np.ones_like(voiced)


def has_speech(voiced: np.ndarray) -> bool:
    """Tell whether there are voiced frames enough to leave the others out."""
    return int(voiced.sum()) >= LEAST_VOICED


def finds_speech(wave: np.ndarray, options: "FbankOptions") -> bool:
    """Tell whether VAD finds so many voiced frames in samples that it leaves the others out."""
    return has_speech(voiced_frames(log_energy(wave, options), options))
