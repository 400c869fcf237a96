"""Synthetic voices: espeak-ng through ctypes, one voice file per speaker.

espeak-ng comes inside the wheel `espeakng-loader` (extra `mini`; GPL-3.0-or-later, used at run time only). It keeps
state from one utterance to the next in static variables that neither `espeak_ng_SetRandSeed` nor initialising again
resets, so the samples depend on all that a process has said before: say the utterances of a speaker in one fixed order
in a process of their own, and the bytes are the same for any number of jobs.
"""

import ctypes
import math
import os
from pathlib import Path

import numpy as np
from scipy import signal

from etdnn.errors import UserError

RATE = 16000
SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback before espeak_Synth returns
PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}  # espeak_PARAMETER
CHARACTERS_UTF8 = 1
NO_EXIT = 0x8000  # initialisation reports a failure instead of ending the process
LONGEST_DATA_PATH = 130  # espeak-ng keeps the path of its data in a buffer of 160 characters
DATA_FILES = ("phontab", "phonindex", "phondata", "intonations", "en_dict")

ACCENTS = ("en", "en-us", "en-rp", "en-sc", "en-n", "en-wm", "en-wi")  # phoneme tables of English


def draw_voice(generator: np.random.Generator, gender: str) -> str:
    """Return the text of an espeak-ng voice file of a random synthetic speaker; `gender` is "m" or "f".

    Drawn are vocal tract length, each formant's frequency, strength and width, pitch and its range, breath, roughness,
    flutter, strength of consonants, spectral tone, rhythm and accent.
    """
    female = gender == "f"
    tract = generator.uniform(1.04, 1.18) if female else generator.uniform(0.88, 1.02)
    pitch = generator.uniform(140, 235) if female else generator.uniform(72, 135)
    accent = str(generator.choice(list(ACCENTS)))
    lines = [
        "language en",
        f"gender {'female' if female else 'male'}",
        f"phonemes {accent}",
        f"pitch {pitch:.0f} {pitch * generator.uniform(1.2, 1.6):.0f}",
        f"flutter {generator.integers(1, 12)}",
        f"roughness {generator.integers(0, 7)}",
        f"voicing {generator.integers(80, 121)}",
        f"consonants {generator.integers(60, 141)} {generator.integers(60, 141)}",
    ]
    for formant in range(9):
        shift = 0.05 if formant in (1, 2) else 0.08
        frequency = 100 * tract * (1 + generator.uniform(-shift, shift))
        lines.append(f"formant {formant} {frequency:.0f} {generator.integers(65, 141)} {generator.integers(70, 141)}")
    breath = generator.integers(0, 8) * generator.uniform(0.3, 1.0, 8)
    lines.append("breath " + " ".join(f"{value:.0f}" for value in breath))
    tone = [
        (600, generator.integers(140, 190)),
        (1200, generator.integers(110, 160)),
        (2000, generator.integers(90, 140)),
    ]
    lines.append("tone " + " ".join(f"{frequency} {amplitude}" for frequency, amplitude in tone))
    lines.append("stressAdd " + " ".join(f"{value}" for value in generator.integers(-20, 21, 8)))
    return "\n".join(lines) + "\n"


def write_engine_data(directory: Path, voices: dict[str, str]) -> None:
    """Fill an empty scratch `directory` with links to the wheel's data and one file per voice (name -> text).

    Raises UserError when espeakng-loader is not installed or the path is too long for espeak-ng.
    """
    source = Path(_loader().get_data_path())
    if len(os.fsencode(directory)) > LONGEST_DATA_PATH:
        raise UserError(f"{directory}: path too long for espeak-ng; set TMPDIR to a shorter folder")
    for name in DATA_FILES:
        (directory / name).symlink_to(source / name)
    (directory / "voices").mkdir()
    for name, text in voices.items():
        (directory / "voices" / name).write_text(f"name {name}\n{text}", encoding="ascii")


class Engine:
    """espeak-ng in this process, with the data and voices of a folder made by `write_engine_data`.

    The library allows one engine in a process. What it says depends on what it has said before (see the module).
    """

    def __init__(self, data: Path):
        self._library = ctypes.CDLL(_loader().get_library_path())
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only the bare pointer
        self.rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data), NO_EXIT)
        if self.rate <= 0:
            raise UserError(f"{data}: espeak-ng cannot read its data; reinstall: pip install 'etdnn[mini]'")
        self._library.espeak_SetSynthCallback(self._callback)
        common = math.gcd(RATE, self.rate)
        up, down = RATE // common, self.rate // common
        self._resampling = (up, down, signal.firwin(12 * max(up, down) + 1, 0.97 / max(up, down)))

    def say(
        self, voice: str, text: str, *, seed: int, rate: int = 170, pitch: int = 50, pitch_range: int = 50
    ) -> np.ndarray:
        """Return `text` spoken by `voice` at 16 kHz, float32 [samples] in +-1, without silence at either end.

        `rate` is in words a minute; `pitch` and `pitch_range` are 0 to 100 (50 is the voice's own). Raises UserError
        for an unknown voice, and when nothing is said.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"espeak-ng has no voice '{voice}'")
        for name, value in (("rate", rate), ("pitch", pitch), ("range", pitch_range)):
            self._library.espeak_SetParameter(PARAMETERS[name], value, 0)
        self._library.espeak_ng_SetRandSeed(seed % (1 << 31))
        self._chunks.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARACTERS_UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate([*self._chunks, np.zeros(0, np.int16)]) / np.float32(32768)
        loud = np.flatnonzero(np.abs(samples) > 1e-3)
        if not len(loud):
            raise UserError(f"espeak-ng said nothing for '{text}'")
        speech = samples[loud[0] : loud[-1] + 1]
        return signal.resample_poly(speech, *self._resampling[:2], window=self._resampling[2])

    def _receive(self, samples, count: int, _events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def _loader():
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "the synthetic corpus needs espeakng-loader, which is not installed: run tools/install.sh, or "
            "pip install 'etdnn[mini]'"
        ) from None
    return espeakng_loader
