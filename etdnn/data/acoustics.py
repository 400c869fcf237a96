"""Synthetic acoustics: noises and room impulse responses for recipes that have no recorded ones.

Everything is drawn from named generators, so the same seed gives the same files, byte for byte. What is made here is
synthetic and is called so; recorded noises (MUSAN) and measured rooms are better where they are at hand.
"""

import io
from pathlib import Path

import numpy as np
import soundfile
from scipy import fft, signal

from etdnn.errors import UserError
from etdnn.files import atomic_path
from etdnn.seeding import numpy_generator

RATE = 16000
SPEED_OF_SOUND = 343.0  # m/s


def make_noises(out_dir: str | Path, *, seed: int, count: int, seconds: float = 6.0) -> list[tuple[str, Path]]:
    """Write `count` synthetic noises (FLAC, 16 kHz, mono) into `out_dir`; return (id, path) in sorted order.

    The kinds of `NOISE_KINDS` take turns, so any slice of the list is varied. The same seed gives the same bytes, and
    noise number i does not depend on `count`. Raises UserError for a count or a length that is not positive.
    """
    _check_positive(count=count, seconds=seconds)
    return [
        _write(
            out_dir, f"noise-synthetic-{index:04d}", draw_noise(numpy_generator(seed, "noise", index), seconds, index)
        )
        for index in range(count)
    ]


def make_rirs(out_dir: str | Path, *, seed: int, count: int) -> list[tuple[str, Path]]:
    """Write `count` synthetic room impulse responses (FLAC, 16 kHz, mono) into `out_dir`; return sorted (id, path).

    The same seed gives the same bytes, and room number i does not depend on `count`. Raises UserError for a count that
    is not positive.
    """
    _check_positive(count=count)
    return [
        _write(out_dir, f"rir-synthetic-{index:04d}", draw_rir(numpy_generator(seed, "rir", index)))
        for index in range(count)
    ]


def draw_noise(generator: np.random.Generator, seconds: float, kind: int | None = None) -> np.ndarray:
    """Return one noise of `seconds`, float32 [samples] at 16 kHz, root mean square 0.1 or less (no peak above 0.9).

    `kind` counts modulo the number of kinds; None draws it.
    """
    makers = list(NOISE_KINDS.values())
    kind = int(generator.integers(len(makers))) if kind is None else kind
    noise = makers[kind % len(makers)](generator, max(1, round(seconds * RATE)))
    noise = noise - noise.mean()
    scale = min(0.1 / (np.sqrt(np.mean(noise**2)) + 1e-12), 0.9 / (np.abs(noise).max() + 1e-12))
    return (noise * scale).astype(np.float32)


def draw_rir(generator: np.random.Generator, reverberation_time: float | None = None) -> np.ndarray:
    """Return the impulse response of one random shoebox room, float32 [samples] at 16 kHz, largest value 0.9.

    Direct path and early reflections are image sources up to the third order; the tail is noise that decays
    exponentially in four bands, each with its own reverberation time (high bands decay faster, as in real rooms).
    The response begins near the direct path, so that it does not delay the speech. `reverberation_time` (seconds, at
    500 Hz) is drawn from 0.15 to 0.7 when it is None.
    """
    size = generator.uniform([2.2, 2.2, 2.2], [9.0, 7.0, 3.6])
    source, microphone = (generator.uniform(0.12, 0.88, 3) * size for _ in range(2))
    time = float(generator.uniform(0.15, 0.7)) if reverberation_time is None else reverberation_time
    length = int(1.15 * time * RATE) + 400
    delays, gains, orders = _image_sources(size, source, microphone, time)
    tilt = generator.uniform(0.15, 0.6)  # the walls' low-pass: how much of the treble each reflection loses
    start = delays.min()
    early = np.zeros(length)
    for order in range(orders.max() + 1):
        chosen = orders == order
        arrivals = _place(delays[chosen] - start + 8, gains[chosen], length)
        for _ in range(order):
            arrivals = signal.lfilter([1 - tilt], [1, -tilt], arrivals) * (1 + 0.3 * tilt)
        early += arrivals
    tail = _diffuse_tail(generator, length, time)
    # the tail takes over as the images run out, at a level below the early part that grows with the distance
    onset = 8 + int(np.quantile(delays - start, 0.3))
    tail *= np.clip((np.arange(length) - onset) / (0.012 * RATE), 0, 1)
    direct_to_tail = 10 ** (-generator.uniform(-2, 9) / 20)
    tail *= direct_to_tail * np.sqrt(np.sum(early**2) / (np.sum(tail**2) + 1e-12))
    response = early + tail
    return (0.9 * response / np.abs(response).max()).astype(np.float32)


def flac_bytes(audio: np.ndarray) -> bytes:
    """Return float audio [samples] in +-1 as a 16-bit FLAC file of 16 kHz; same audio, same bytes.

    Files are encoded in memory, so that a full disc is the OSError of an ordinary write.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def coloured(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Return stationary noise [samples] with a random spectral slope (-7 to +3 dB an octave) and random bumps."""
    size = fft.next_fast_len(max(samples, 2), real=True)
    spectrum = np.fft.rfft(generator.standard_normal(size))
    octaves = np.log2(np.maximum(np.arange(len(spectrum)) * RATE / size, 100.0) / 1000)
    gain = generator.uniform(-7, 3) * octaves
    for _ in range(int(generator.integers(1, 5))):
        centre, width = generator.uniform(-3, 3), generator.uniform(0.15, 0.8)
        gain += generator.uniform(-15, 15) * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    return np.fft.irfft(spectrum * 10 ** (gain / 20), size)[:samples]


def _modulated(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Noise that swells and fades: wind, surf, traffic."""
    speed = 10 ** generator.uniform(-0.5, 1.0)  # changes per second
    depth = generator.uniform(6, 20)  # dB
    return coloured(generator, samples) * 10 ** (depth * _slow(generator, samples, speed) / 20)


def _impulsive(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Clicks and knocks at random times, each a decaying burst, over a low floor: dishes, footsteps, typing."""
    rate = 10 ** generator.uniform(0.0, 1.4)  # bursts per second
    count = max(1, int(generator.poisson(rate * samples / RATE)))
    impulses = _place(generator.uniform(0, samples - 1, count), 10 ** (generator.uniform(-20, 0, count) / 20), samples)
    decay = generator.uniform(0.004, 0.08)
    burst = coloured(generator, int(6 * decay * RATE)) * np.exp(-np.arange(int(6 * decay * RATE)) / (decay * RATE))
    bursts = signal.oaconvolve(impulses, burst)[:samples]
    return _unit(bursts) + 10 ** (generator.uniform(-30, -12) / 20) * _unit(coloured(generator, samples))


def _hum(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Harmonics of a slowly drifting tone over a noise floor: mains, fans, engines."""
    tone = float(generator.choice([50.0, 60.0, 100.0, 120.0, generator.uniform(30, 400)]))
    drift = 0.02 * generator.uniform(0, 1) * _slow(generator, samples, 1.0)
    carrier = np.exp(2j * np.pi * np.cumsum(tone * (1 + drift)) / RATE)
    harmonics = min(int(generator.integers(4, 25)), int(7000 / tone))
    slope = generator.uniform(0.3, 1.5)
    hum, power = np.zeros(samples), np.ones(samples, complex)
    for harmonic in range(1, harmonics + 1):
        power *= carrier
        level = generator.uniform(0.2, 1) * harmonic**-slope
        hum += (level * np.exp(2j * np.pi * generator.uniform()) * power).imag
    return _unit(hum) + 10 ** (generator.uniform(-15, 3) / 20) * _unit(coloured(generator, samples))


def _machine(generator: np.random.Generator, samples: int) -> np.ndarray:
    """The same short sound again and again with a little jitter: printers, trains, motors, rattling."""
    period = RATE / 10 ** generator.uniform(0.2, 1.5)  # samples between beats
    beats = np.arange(0, samples, period) + generator.uniform(0, 0.1) * period
    beats = beats + generator.uniform(-0.03, 0.03, len(beats)) * period
    impulses = _place(np.clip(beats, 0, samples - 1), generator.uniform(0.5, 1, len(beats)), samples)
    length = int(generator.uniform(0.3, 1.0) * period) + 8
    sound = coloured(generator, length) * np.hanning(length) ** generator.uniform(0.3, 2)
    train = signal.oaconvolve(impulses, sound)[:samples]
    return _unit(train) + 10 ** (generator.uniform(-25, -8) / 20) * _unit(coloured(generator, samples))


def _sweeping(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Noise whose colour moves between two spectra: passing cars, doors, taps."""
    mix = 0.5 + 0.5 * np.tanh(1.5 * _slow(generator, samples, 10 ** generator.uniform(-0.4, 0.5)))
    return mix * _unit(coloured(generator, samples)) + (1 - mix) * _unit(coloured(generator, samples))


NOISE_KINDS = {
    "coloured": coloured,
    "modulated": _modulated,
    "impulsive": _impulsive,
    "hum": _hum,
    "machine": _machine,
    "sweeping": _sweeping,
}


def _slow(generator: np.random.Generator, samples: int, speed: float) -> np.ndarray:
    """Return a random curve [samples] of about unit variance that changes about `speed` times a second."""
    knots = generator.standard_normal(int(np.ceil(samples / RATE * speed)) + 4)
    return np.interp(np.arange(samples) * speed / RATE, np.arange(len(knots)), knots)


def _unit(wave: np.ndarray) -> np.ndarray:
    return wave / (np.sqrt(np.mean(wave**2)) + 1e-12)


def _image_sources(
    size: np.ndarray, source: np.ndarray, microphone: np.ndarray, time: float, most: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return delays (samples), gains and reflection counts of the images of `source` with at most `most` reflections.

    The image method of Allen and Berkley (1979); the walls' reflection follows from the reverberation time by Sabine.
    """
    cells = np.stack(np.meshgrid(*[np.arange(-most, most + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    orders = np.abs(cells).sum(1)
    cells, orders = cells[orders <= most], orders[orders <= most]
    images = np.where(cells % 2 == 0, cells * size + source, (cells + 1) * size - source)
    distances = np.maximum(np.sqrt(((images - microphone) ** 2).sum(1)), 0.1)
    surface = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    absorption = min(0.95, 0.161 * size.prod() / (surface * time))
    return distances / SPEED_OF_SOUND * RATE, np.sqrt(1 - absorption) ** orders / distances, orders


def _place(times: np.ndarray, gains: np.ndarray, length: int) -> np.ndarray:
    """Return [length] samples with impulses of `gains` at fractional `times`; what lies outside is dropped."""
    line = np.zeros(length + 1)
    left = np.floor(times).astype(int)
    inside = (left >= 0) & (left < length)
    left, part, gains = left[inside], (times - np.floor(times))[inside], gains[inside]
    np.add.at(line, left, gains * (1 - part))
    np.add.at(line, left + 1, gains * part)
    return line[:length]


def _diffuse_tail(generator: np.random.Generator, length: int, time: float) -> np.ndarray:
    """Return exponentially decaying noise [length] whose bands decay with factors 1.1 down to 0.4 of `time`."""
    noise = generator.standard_normal(length)
    factors = np.array([generator.uniform(1.0, 1.3), 1.0, generator.uniform(0.7, 1.0), generator.uniform(0.4, 0.75)])
    edges = [400, 1500, 3500]
    bands = np.fft.rfft(noise)
    index = np.searchsorted(np.array(edges) * length / RATE, np.arange(len(bands)))
    seconds = np.arange(length) / RATE
    tail = np.zeros(length)
    for band, factor in enumerate(factors):
        tail += np.fft.irfft(bands * (index == band), length) * np.exp(-6.908 * seconds / (factor * time))
    return tail


def _write(out_dir: str | Path, name: str, audio: np.ndarray) -> tuple[str, Path]:
    path = Path(out_dir) / f"{name}.flac"
    with atomic_path(path) as temporary:
        temporary.write_bytes(flac_bytes(audio))
    return name, path


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"synthetic acoustics: {name} is {value}, must be above 0")
