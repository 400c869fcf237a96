"""Small folders of recordings: tones over noise, cheap to write and different per speaker and utterance."""

from pathlib import Path

import numpy as np
import soundfile


def tone(speaker: int, utterance: int, seconds: float = 0.5, rate: int = 16000) -> np.ndarray:
    """Return a harmonic tone at the speaker's pitch over noise, float64 in +-1."""
    generator = np.random.default_rng([speaker, utterance])
    time = np.arange(int(seconds * rate)) / rate
    pitch = 90 + 12 * speaker
    wave = sum(np.sin(2 * np.pi * pitch * k * time + utterance) / k for k in range(1, 6))
    return 0.1 * wave + 0.01 * generator.standard_normal(len(time))


def write_recordings(
    root: Path,
    *,
    speakers: int,
    sessions: int = 2,
    utterances: int = 2,
    suffix: str = ".wav",
    first: int = 0,
    name: str = "spk{:02d}",
) -> list[Path]:
    """Write root/SPEAKER/sSESSION/NNNNN.wav; return the files."""
    files = []
    for speaker in range(first, first + speakers):
        for session in range(sessions):
            folder = root / name.format(speaker) / f"s{session}"
            folder.mkdir(parents=True, exist_ok=True)
            for utterance in range(utterances):
                files.append(folder / f"{utterance + 1:05d}{suffix}")
                soundfile.write(files[-1], tone(speaker, 10 * session + utterance), 16000)
    return files


def write_noises(root: Path) -> tuple[Path, Path]:
    """Write a folder in MUSAN's form and one in RIRS_NOISES' form; return both."""
    generator = np.random.default_rng(0)
    musan, rirs = root / "musan", root / "rirs"
    for kind, folder in (("noise", "free-sound"), ("music", "fma"), ("speech", "librivox")):
        (musan / kind / folder).mkdir(parents=True)
        for number in range(5):
            path = musan / kind / folder / f"{kind}-{folder}-{number:04d}.wav"
            soundfile.write(path, 0.1 * generator.standard_normal(8000), 16000)
    for room in ("smallroom", "mediumroom", "largeroom"):
        for number in range(4):
            folder = rirs / "simulated_rirs" / room / f"Room{number:03d}"
            folder.mkdir(parents=True)
            for place in range(2):
                response = generator.standard_normal(2000) * np.exp(-np.arange(2000) / 300)
                soundfile.write(folder / f"Room{number:03d}-{place:05d}.wav", 0.1 * response, 16000)
    return musan, rirs
