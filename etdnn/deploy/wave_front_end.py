"""The front ends as one network, so that an exported model takes the waveform itself.

Everything up to the spectrum is linear in a frame: mean removal, pre-emphasis, window and Fourier transform are one
strided convolution. What is left are powers, the mel filters and the logarithm.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etdnn.deploy.audio import INT16_SCALE
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions, htk_mel, kaldi_compliance

_KALDI_FLOOR = float(np.finfo(np.float32).eps)
_AUTHORS_FLOOR = 1e-6


class WaveFrontEnd(nn.Module):
    """Waveforms (batch, samples) within -1..1 to log-mel features (batch, frames, bins): `compute_fbank` as a network.

    UserError for options that it has not (VAD; of Kaldi's front end snip-edges, use-energy, magnitudes).
    """

    def __init__(self, options: FbankOptions):
        super().__init__()
        if options.vad:
            raise UserError(
                "front end with --vad=true: no waveform form of it, which the page of etdnn demo needs too; export the "
                "form 'fbank'"
            )
        self.options = options
        rate = options.sample_frequency
        self.shift, self.window = options.shift_and_window
        points = 1 << (self.window - 1).bit_length()
        high = options.high_freq if options.high_freq > 0 else rate / 2 + options.high_freq
        if options.type == "efficienttdnn":
            analysis = np.diag(np.hamming(self.window + 1)[:-1])
            # the window stands in the middle of the transform's points; where it starts changes no power
            mel = htk_mel(points, rate, options.num_mel_bins, options.low_freq, high)
            self.floor = _AUTHORS_FLOOR
        else:
            _refuse_unsupported(options)
            kaldi = kaldi_compliance()
            shape = kaldi._feature_window_function(
                options.window_type, self.window, options.blackman_coeff, torch.device("cpu"), torch.float64
            )
            analysis = np.diag(shape.numpy()) @ _pre_emphasis(self.window, options.preemphasis_coefficient)
            if options.remove_dc_offset:
                analysis = analysis @ (np.eye(self.window) - 1 / self.window)
            filters, _centres = kaldi.get_mel_banks(
                options.num_mel_bins, points, rate, options.low_freq, options.high_freq, 100.0, -500.0, 1.0
            )
            mel = F.pad(filters, (0, 1)).T.numpy()
            self.floor = _KALDI_FLOOR
        spectrum = _fourier(points)[:, : self.window] @ analysis
        self.register_buffer("spectrum", torch.from_numpy(spectrum.astype(np.float32))[:, None])
        self.register_buffer("mel", torch.from_numpy(np.ascontiguousarray(mel, np.float32)))

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, bins)."""
        wave = wave * INT16_SCALE
        if self.options.type == "efficienttdnn":
            before = torch.cat([wave[:, 1:2], wave[:, :-1]], dim=1)
            wave = wave - self.options.preemphasis_coefficient * before
            side = (1 << (self.window - 1).bit_length()) // 2
            lead = (2 * side - self.window) // 2
            wave = F.pad(wave[:, None], (side, side), mode="reflect")[:, :, lead : -(2 * side - self.window - lead)]
        else:
            # Kaldi mirrors the signal with its edge sample; these lengths give (samples + shift / 2) // shift frames
            left, right = self.window // 2 - self.shift // 2, self.window // 2
            wave = torch.cat([wave[:, :left].flip(1), wave, wave[:, -right:].flip(1)], dim=1)[:, None]
        real, imaginary = F.conv1d(wave, self.spectrum, stride=self.shift).chunk(2, dim=1)
        energy = (real.square() + imaginary.square()).transpose(1, 2) @ self.mel
        if self.options.type == "efficienttdnn":
            return (energy + self.floor).log()
        return energy.clamp(min=self.floor).log()


def _refuse_unsupported(options: FbankOptions) -> None:
    wanted = {"snip_edges": False, "use_energy": False, "use_power": True, "round_to_power_of_two": True}
    for name, value in wanted.items():
        if getattr(options, name) != value:
            raise UserError(
                f"front end with --{name.replace('_', '-')}={getattr(options, name)}: no waveform form of it"
            )


def _pre_emphasis(size: int, coefficient: float) -> np.ndarray:
    """Return the matrix x[t] - c x[t - 1] within a frame, the first sample standing before itself (Kaldi)."""
    matrix = np.eye(size) - coefficient * np.eye(size, k=-1)
    matrix[0, 0] = 1 - coefficient
    return matrix


def _fourier(points: int) -> np.ndarray:
    """Return real parts, then imaginary parts, of the transform's first half: [2 * (points / 2 + 1), points]."""
    angle = 2 * math.pi / points * np.outer(np.arange(points // 2 + 1), np.arange(points))
    return np.concatenate([np.cos(angle), -np.sin(angle)])
