"""What can be done to a waveform: speed, tempo, companding, reverberation, noise; and recipes that name it.

A recipe is the rest of a line of utt2aug: `key=value` words. Its effects are applied in the order of `EFFECTS`,
whatever order they stand in; all draws (which part of a noise) come from the generator of the utterance.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from etdnn.data.audio import BadAudio

if TYPE_CHECKING:
    from etdnn.data.segments import Recording

EFFECTS = ("speed", "tempo", "compand", "reverb", "noise", "music", "babble")
ADDITIVE = ("noise", "music", "babble")
TIMING = ("speed", "tempo")
"""Effects that change the length; they come first, and draw nothing."""
Recipe = Mapping[str, str]

_KNEE_DB = 6.0
_DECAY_SECONDS = 0.5
# sox's tempo: milliseconds of a segment, of the search for the best place to join, of the cross-fade
_SEGMENT_MS, _SEARCH_MS, _OVERLAP_MS = 82.0, 14.68, 12.0


def parse_recipe(text: str) -> dict[str, str]:
    """Return effect -> value of a utt2aug entry; ValueError for what is no recipe."""
    recipe: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if name not in (*EFFECTS, "average") or not equals or not value or name in recipe:
            raise ValueError(f"'{word}' is not one effect=value of {', '.join(EFFECTS)}, average")
        recipe[name] = value
    for name in TIMING:
        if name in recipe and not 0.25 <= float(recipe[name]) <= 4:
            raise ValueError(f"{name}={recipe[name]} is not between 0.25 and 4")
    for name in ADDITIVE:
        if name in recipe:
            split_sources(recipe[name])
    return recipe


def format_recipe(recipe: Recipe) -> str:
    """Return the utt2aug entry of a recipe, effects in the order in which they are applied."""
    return " ".join([f"{name}={recipe[name]}" for name in (*EFFECTS, "average") if name in recipe])


def split_sources(value: str) -> tuple[list[str], float]:
    """Return ids and SNR (dB) of `ID1,ID2@SNR`; ValueError when it has another form."""
    names, at, snr = value.rpartition("@")
    ids = names.split(",")
    if not at or not all(ids):
        raise ValueError(f"'{value}' is not ID,ID@SNR")
    return ids, float(snr)


def sources_of(recipe: Recipe) -> list[str]:
    """Return the ids of every noise and impulse response that a recipe uses."""
    additive = [name for effect in ADDITIVE if effect in recipe for name in split_sources(recipe[effect])[0]]
    return ([recipe["reverb"]] if "reverb" in recipe else []) + additive


def length_factor(recipe: Recipe) -> float:
    """Return how many times longer the recipe makes an utterance."""
    return 1 / (float(recipe.get("speed", 1)) * float(recipe.get("tempo", 1)))


def apply_recipe(
    wave: np.ndarray,
    recipe: Recipe,
    load: "Callable[[str], np.ndarray | Recording]",
    generator: np.random.Generator,
    rate: int = 16000,
) -> np.ndarray:
    """Return the waveform (float32, int16 scale) with all effects of a recipe; `load` gives the audio of an id."""
    if "speed" in recipe:
        wave = change_speed(wave, float(recipe["speed"]))
    if "tempo" in recipe:
        wave = change_tempo(wave, float(recipe["tempo"]), rate)
    if recipe.get("compand", "0") != "0":
        wave = compand(wave, rate)
    if "reverb" in recipe:
        wave = reverberate(wave, load(recipe["reverb"]))
    for effect in ADDITIVE:
        if effect in recipe:
            ids, snr = split_sources(recipe[effect])
            sources = [fit_length(load(name), len(wave), generator) for name in ids]
            wave = add_noise(wave, sources, snr, average=recipe.get("average", "0") != "0")
    return np.ascontiguousarray(wave, np.float32)


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Play faster (factor above 1) or slower by resampling, as sox's `speed`: length and pitch change."""
    from scipy.signal import resample_poly

    ratio = _speed_ratio(factor)
    return resample_poly(wave, ratio.denominator, ratio.numerator).astype(np.float32)


def _speed_ratio(factor: float) -> Fraction:
    return Fraction(factor).limit_denominator(100)


def length_at_speed(length: int, factor: float) -> int:
    """Return the samples that `change_speed` makes of `length` samples."""
    ratio = _speed_ratio(factor)
    return -(-length * ratio.denominator // ratio.numerator)


def read_at_speed(source: "np.ndarray | Recording", factor: float, first: int, last: int) -> np.ndarray:
    """Return samples `first` to `last` of `change_speed(source, factor)`, reading the part of `source` they need."""
    if factor == 1:
        return source[first:last]
    ratio = _speed_ratio(factor)
    up, down = ratio.denominator, ratio.numerator
    reach = 10 * max(up, down) // up + 2  # half the length of resample_poly's filter, in samples of the source
    # begun at whole periods of the ratio, the filter meets the samples in the same phases as in the whole
    period = max(0, first // up - -(-reach // down))
    piece = source[period * down : -(-last * down // up) + reach]
    return change_speed(piece, factor)[first - period * up : last - period * up]


def change_tempo(wave: np.ndarray, factor: float, rate: int = 16000) -> np.ndarray:
    """Change the length by 1 / factor and keep the pitch: waveform-similarity overlap-add with sox's segment lengths.

    Each segment is taken near its due place where it fits the tail of the output best (normalised correlation).
    """
    segment, search, overlap = (round(rate * ms / 1000) for ms in (_SEGMENT_MS, _SEARCH_MS, _OVERLAP_MS))
    wanted = round(len(wave) / factor)
    hop = segment - overlap
    source = np.concatenate([wave, np.zeros(segment + search + overlap, np.float32)]).astype(np.float32)
    fade = np.linspace(0, 1, overlap, dtype=np.float32)
    out = np.zeros(wanted + 2 * segment, np.float32)
    out[:segment] = source[:segment]
    place = hop
    while place < wanted:
        due = min(round(place * factor), len(wave))
        begin = due + _best_join(source[due : due + search + overlap], out[place : place + overlap])
        piece = source[begin : begin + segment]
        out[place : place + overlap] += fade * (piece[:overlap] - out[place : place + overlap])
        out[place + overlap : place + len(piece)] = piece[overlap:]
        place += hop
    return out[:wanted]


def _best_join(region: np.ndarray, tail: np.ndarray) -> int:
    """Return the offset in `region` at which it resembles `tail` most."""
    product = np.correlate(region, tail, "valid")
    squares = np.concatenate([[0.0], np.cumsum(np.square(region, dtype=np.float64))])
    power = squares[len(tail) :] - squares[: -len(tail)]
    return int(np.argmax(product / np.sqrt(np.maximum(power, 1e-3))))


def compand(wave: np.ndarray, rate: int = 16000) -> np.ndarray:
    """Compress the dynamics as sox's `compand 0,0.5 6:-6,-3`: 3 dB louder, the loudest parts less.

    The level follows rises at once and falls with 0.5 s; below -12 dB of full scale the gain is 3 dB, from there to
    0 dB it falls along the parabola that the soft knee of 6 dB about the point (-6, -3) is, above by half the level.
    """
    scaled = np.abs(wave) / np.float32(32768)
    decay = 1 - np.exp(-1 / (_DECAY_SECONDS * rate))
    level, levels = 0.0, []
    for value in scaled.tolist():
        level = value if value > level else level + (value - level) * decay
        levels.append(level)
    decibels = 20 * np.log10(np.maximum(levels, 1e-9))
    above = np.clip(decibels + 2 * _KNEE_DB, 0, 2 * _KNEE_DB)
    gain = _KNEE_DB / 2 - 0.5 * np.square(above) / (4 * _KNEE_DB) - 0.5 * np.maximum(decibels, 0)
    return (wave * 10 ** (gain / 20)).astype(np.float32)


def reverberate(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with a room impulse response of unit energy; direct path at its place, cut to the wave's length."""
    from scipy.signal import fftconvolve

    energy = float(np.sqrt(np.sum(np.square(response, dtype=np.float64))))
    if not energy > 0:
        raise BadAudio("impulse response is silent")
    direct = direct_path(response)
    wet = fftconvolve(wave.astype(np.float64), response / energy)
    return wet[direct : direct + len(wave)].astype(np.float32)


def direct_path(response: np.ndarray) -> int:
    """Return the sample of an impulse response at which the direct sound arrives."""
    return int(np.argmax(np.abs(response)))


def fit_length(source: "np.ndarray | Recording", length: int, generator: np.random.Generator) -> np.ndarray:
    """Return `length` samples of a source from a drawn place on; a source that is too short is repeated."""
    if len(source) > length:
        start = int(generator.integers(len(source) - length + 1))
        return source[start : start + length]
    start = int(generator.integers(len(source)))
    return np.take(source, np.arange(start, start + length), mode="wrap")


def add_noise(wave: np.ndarray, sources: list[np.ndarray], snr: float, *, average: bool = False) -> np.ndarray:
    """Add sources, each scaled to `snr` dB below the wave's mean power; their sum, or with `average` their mean.

    Silent sources add nothing.
    """
    power = np.mean(np.square(wave, dtype=np.float64))
    total = np.zeros(len(wave))
    for source in sources:
        own = np.mean(np.square(source, dtype=np.float64))
        if own > 0:
            total += source * np.sqrt(power / own * 10 ** (-snr / 10))
    return (wave + total / (len(sources) if average else 1)).astype(np.float32)
