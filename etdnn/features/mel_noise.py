"""Noise mixed into log-mel crops: in every mel bin the power of the noise is added to that of the speech.

That is the mixture of the waveforms but for the product of speech and noise, which is zero on average: the phases that
would tell it are not in the features. A room cannot be made this way; stored copies do that.

The SNR is that of the waveforms over the crop. Mel filters sum to one between the outermost centres, so that the sum
over bins is the power of the pre-emphasised signal; each bin is weighed by what pre-emphasis left of it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etdnn.data.ark import FeatureReader
from etdnn.data.ark_index import Keys, read_word_table
from etdnn.data.datadir import DataDir
from etdnn.errors import UserError
from etdnn.features.augment import ADDITIVE
from etdnn.features.copies import recipes_with
from etdnn.features.dequantise import send, to_device
from etdnn.features.fbank import FbankOptions, htk_mel
from etdnn.features.plan import MelNoise
from etdnn.seeding import numpy_generator

_SILENCE = 1.0
"""Mean power of a bin at int16 scale below which a source is silent: under the rounding to 16 bits."""
_POINTS = 4096


@dataclass(frozen=True)
class Mixes:
    """What is mixed into each crop of a batch; `mixes[first:last]` is the part of some crops."""

    sources: np.ndarray  # int64 [batch, most]: position of a noise in the bank, -1 for none; filled from the left
    places: np.ndarray  # float64 [batch, most]: where in the source its crop begins, 0 to 1
    snr: np.ndarray  # float32 [batch], dB

    def __getitem__(self, crops: slice) -> "Mixes":
        return Mixes(self.sources[crops], self.places[crops], self.snr[crops])

    def without(self, crops: np.ndarray) -> "Mixes":
        """Return the mixes with nothing for the crops where bool [batch] is true."""
        return Mixes(np.where(crops[:, None], -1, self.sources), self.places, self.snr)


class NoiseBank:
    """The stored fbanks of a data directory of noises, whose utt2spk says of which kind each is.

    Kinds without a noise are left out (`missing` names them). `noisy` says of every utterance of the speech whether it
    has noise already. UserError when no kind is left, and when the features are not those of `frontend` (frontend.json
    of the speech).
    """

    noisy: np.ndarray | None = None
    purpose = "mel noise"

    def __init__(self, directory: Path, settings: MelNoise, frontend: dict[str, Any]) -> None:
        if not (directory / "feats.scp").is_file():
            raise UserError(
                f"{directory}/feats.scp is missing, mel_noise needs it: set 'store_noise: true' in conf/augment.yaml "
                "and run stage 1"
            )
        self.settings, self._directory = settings, directory
        self.reader = FeatureReader(directory / "feats.scp")
        known, codes, names = read_word_table(directory / "utt2spk")
        positions = known.positions_of(self.reader.keys)
        if (positions < 0).any():
            raise UserError(f"{directory}/utt2spk: no line for '{self.reader.keys[int(np.argmin(positions))]}'")
        pools = {kind: np.flatnonzero(codes[positions] == code) for code, kind in enumerate(names)}
        self.missing = [kind for kind in settings.kinds if kind not in pools]
        # not in the order in which the settings have them, which no training knows again
        chosen = [kind for kind in ADDITIVE if kind in settings.kinds and kind in pools]
        if not chosen:
            raise UserError(f"{directory}: no noises of kind {', '.join(settings.kinds)}, which mel_noise asks for")
        self._draw_from(chosen, pools)
        self._weights = waveform_weights(_mel_options(directory, frontend))

    @classmethod
    def beside(cls, directory: Path, keys: Keys, settings: MelNoise) -> "NoiseBank":
        """Return the bank for the utterances `keys` of a training directory: stage 1 puts `train_noise` beside it."""
        bank = cls(noise_directory(directory), settings, DataDir(directory).frontend)
        bank.noisy = recipes_with(directory, keys, "@")
        return bank

    @property
    def eligible(self) -> np.ndarray:
        """Positions of the utterances that crops are made of: all."""
        return np.arange(len(self.noisy))

    @property
    def tables(self) -> list[Path]:
        """The tables that say what the noises are."""
        paths = [self._directory / name for name in ("feats.scp", ".feats.made", "utt2spk")]
        return [path for path in paths if path.is_file()]

    @property
    def description(self) -> str:
        """What the log of a training says."""
        left_out = f"; none of kind {', '.join(self.missing)}" if self.missing else ""
        return f"noise is mixed into crops from {len(self.reader)} stored noises{left_out}"

    def read(
        self,
        reader: FeatureReader,
        utterances: np.ndarray,
        starts: np.ndarray,
        frames: int,
        mixes: Mixes,
        device: torch.device,
    ) -> Tensor:
        """Return stored crops [n, frames, bins] of `reader` with `mixes` in them, on `device`."""
        return self.add(to_device(reader.read_quantised(utterances, starts, frames), device), mixes)

    def mixes(self, utterances: np.ndarray, *purpose: int | str) -> Mixes:
        """Draw the mixes of a batch of `utterances`, nothing for those that are noisy already."""
        drawn = self.draw(len(utterances), *purpose)
        return drawn if self.noisy is None else drawn.without(self.noisy[utterances])

    def _draw_from(self, kinds: list[str], pools: dict[str, np.ndarray]) -> None:
        additive = [self.settings.additive(kind) for kind in kinds]
        weights = np.array([self.settings.kinds[kind] for kind in kinds])
        self._shares = np.cumsum(weights / weights.sum())[:-1]
        self._pool = np.concatenate([pools[kind] for kind in kinds])
        self._sizes = np.array([len(pools[kind]) for kind in kinds])
        self._firsts = np.cumsum(self._sizes) - self._sizes
        self._snr = np.array([one.snr for one in additive], np.float32)
        self._counts = np.array([one.sources for one in additive])

    def draw(self, batch: int, *purpose: int | str) -> Mixes:
        """Draw the mixes of `batch` crops; a function of `purpose` (seed, step, ...) and the bank alone."""
        generator = numpy_generator(*purpose)
        chance, kind, count, level = generator.random((4, batch))
        most = int(self._counts.max())
        which, places = generator.random((2, batch, most))
        kind = np.searchsorted(self._shares, kind, side="right")
        fewest, more = self._counts[kind, 0], np.diff(self._counts[kind], axis=1)[:, 0]
        number = fewest + (count * (more + 1)).astype(np.int64)
        number[chance >= self.settings.probability] = 0
        sources = self._pool[self._firsts[kind][:, None] + (which * self._sizes[kind][:, None]).astype(np.int64)]
        sources[np.arange(most) >= number[:, None]] = -1
        low, high = self._snr[kind].T
        return Mixes(sources, places, low + level.astype(np.float32) * (high - low))

    def add(self, crops: Tensor, mixes: Mixes) -> Tensor:
        """Mix into log-mel `crops` [n, frames, bins], in place, on their device; without sources they stay the same.

        Each source is scaled to the SNR, as in `augment.add_noise`; silent ones add nothing.
        """
        rows = np.flatnonzero(mixes.sources[:, 0] >= 0)
        if not len(rows):
            return crops
        mixes = Mixes(mixes.sources[rows], mixes.places[rows], mixes.snr[rows])
        where = send(rows, crops.device)
        power = crops[where].exp_()
        wanted = self._level(power) * send(10.0 ** (-mixes.snr / 10), crops.device)
        if self.settings.average_sources:
            wanted /= send((mixes.sources >= 0).sum(1), crops.device).square()
        noise = torch.zeros_like(power)
        for slot in range(mixes.sources.shape[1]):
            mine = np.flatnonzero(mixes.sources[:, slot] >= 0)
            if not len(mine):
                break
            source = self._read(mixes.sources[mine, slot], mixes.places[mine, slot], crops).exp_()
            level, places = self._level(source), send(mine, crops.device)
            gain = torch.where(level < _SILENCE, 0.0, wanted[places] / level)
            noise.index_add_(0, places, source.mul_(gain[:, None, None]))
        crops[where] += noise.div_(power).log1p_()
        return crops

    def _level(self, power: Tensor) -> Tensor:
        """Return the mean power of the waveforms [n] behind mel powers [n, frames, bins]."""
        return (power @ send(self._weights, power.device)).mean(1)

    def _read(self, sources: np.ndarray, places: np.ndarray, crops: Tensor) -> Tensor:
        """Read as many frames as `crops` have of each source from its place on; too short ones are repeated."""
        frames, rows = crops.shape[1], self.reader.num_frames[sources]
        choices = np.where(rows > frames, rows - frames + 1, rows)
        return to_device(self.reader.read_quantised(sources, (places * choices).astype(np.int64), frames), crops.device)


def noise_directory(directory: Path) -> Path:
    """Return the data directory of noises that belongs to a training directory."""
    return directory.absolute().with_name("train_noise")


def waveform_weights(options: FbankOptions) -> np.ndarray:
    """Return what each mel bin's power counts, float32 [bins], for the power before pre-emphasis; their mean is 1."""
    high = options.high_freq if options.high_freq > 0 else options.sample_frequency / 2 + options.high_freq
    filters = htk_mel(_POINTS, options.sample_frequency, options.num_mel_bins, options.low_freq, high)
    turn = np.exp(-1j * np.linspace(0, np.pi, len(filters)))
    emphasis = np.abs(1 - options.preemphasis_coefficient * turn) ** 2
    weights = filters.sum(0) / (emphasis @ filters)
    return (weights / weights.mean()).astype(np.float32)


def _mel_options(directory: Path, frontend: dict[str, Any]) -> FbankOptions:
    """Return the front end of a bank; UserError when the speech has another, or when its powers cannot be added."""
    mine = DataDir(directory).frontend
    if mine.get("key") != frontend.get("key"):
        raise UserError(f"{directory}: features of front end {mine.get('key')}, those of the speech are of "
                        f"{frontend.get('key')}; run stage 1 again")  # fmt: skip
    options = FbankOptions.from_dict(mine)
    if options.use_energy or not options.use_power:
        raise UserError(f"{directory}: mel_noise adds powers of mel bins; the front end has --use-energy=true or "
                        "--use-power=false")  # fmt: skip
    return options
