"""The audio of a data directory's utterances: files, pipes or parts of recordings, with what their recipes add."""

from collections import OrderedDict
from pathlib import Path

import numpy as np

from etdnn.data.audio import read_audio
from etdnn.data.datadir import DataDir
from etdnn.data.segments import SegmentReader
from etdnn.errors import UserError
from etdnn.features.augment import TIMING, apply_recipe, parse_recipe
from etdnn.seeding import numpy_generator

_CACHE_BYTES = 256 << 20


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


class UtteranceAudio:
    """Audio by utterance at `rate` Hz; `keys` are the utterances in the order of their table.

    wav.scp may hold pipes: they are run. `seed` draws what utt2aug leaves open. UserError for bad tables and recipes,
    BadAudio for audio that cannot be used.
    """

    def __init__(self, data: DataDir, rate: int, seed: int = 0) -> None:
        self._data, self._rate, self._seed = data, rate, seed
        self._originals, self._sources = AudioCache(rate, capacity=0), AudioCache(rate)
        self._parts = SegmentReader(rate)
        self._paths, self._recipes = data.augment_scp, data.utt2aug
        self.keys = list(data.segments or data.wav_scp)

    def entry(self, key: str) -> str:
        """Return what wav.scp has for the utterance or for its recording."""
        segments = self._data.segments
        return self._data.wav_scp[segments[key].recording if segments else key]

    def timed(self, key: str) -> np.ndarray:
        """Return the utterance with the changes of its length alone: no room and no noise is added yet."""
        segments, entry = self._data.segments, self.entry(key)
        wave = self._parts.read(entry, segments[key]) if segments else self._originals.load(entry)
        return self._apply(key, wave, timing=True)

    def finished(self, key: str, timed: np.ndarray) -> np.ndarray:
        """Return `timed` with the rest of the utterance's recipe."""
        return self._apply(key, timed, timing=False)

    def _apply(self, key: str, wave: np.ndarray, *, timing: bool) -> np.ndarray:
        if key not in self._recipes:
            return wave
        recipe = _recipe(self._data.path, key, self._recipes[key])
        recipe = {name: value for name, value in recipe.items() if (name in TIMING) is timing}
        return apply_recipe(wave, recipe, self._source, numpy_generator(self._seed, "augment", key), self._rate)

    def _source(self, name: str) -> np.ndarray:
        if name not in self._paths:
            raise UserError(f"{self._data.path}/augment.scp: no '{name}', which utt2aug names")
        return self._sources.load(self._paths[name])


def _recipe(data: Path, key: str, text: str) -> dict[str, str]:
    try:
        return parse_recipe(text)
    except ValueError as error:
        raise UserError(f"{data}/utt2aug: {key}: {error}") from None
