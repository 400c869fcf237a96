"""Files with the header of an m4a, and a stand-in for ffmpeg that reads them: no encoder is needed in the tests."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import soundfile

STAND_IN = """#!{python}
import io, sys
import soundfile
words = sys.argv[1:]
if words == ["-version"]:
    print("ffmpeg version {version} Copyright")
    sys.exit(0)
source, target = words[words.index("-i") + 1], words[-1]
payload = open(source, "rb").read().partition(b"mdat")[2]
try:
    wave, rate = soundfile.read(io.BytesIO(payload), dtype="int16")
except Exception:
    sys.exit(f"{{source}}: Invalid data found when processing input")
if target != "-":
    soundfile.write(target, wave, rate)
elif "f32le" in words:
    sys.stdout.buffer.write((wave / 32768).astype("<f4").tobytes())
else:
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format="WAV")
    sys.stdout.buffer.write(out.getvalue())
"""


def box(kind: bytes, body: bytes) -> bytes:
    """Return one box of ISO/IEC 14496-12."""
    return struct.pack(">I4s", len(body) + 8, kind) + body


def m4a_bytes(wave: np.ndarray, rate: int = 16000, *, priming: int = 1024) -> bytes:
    """Return a file with a complete header of one audio track; its samples are a WAV file where AAC would be."""
    movie = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, round(1000 * len(wave) / rate)) + bytes(80))
    media = box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, rate, len(wave) + priming, 0))
    entry = bytes(8) + bytes(8) + struct.pack(">HHI", 1, 16, 0) + struct.pack(">I", rate << 16)
    table = box(b"stsd", struct.pack(">II", 0, 1) + struct.pack(">I4s", len(entry) + 8, b"mp4a") + entry)
    track = box(b"trak", box(b"mdia", media + box(b"minf", box(b"stbl", table))))
    payload = io.BytesIO()
    soundfile.write(payload, wave, rate, format="WAV")
    return box(b"ftyp", b"M4A isom") + box(b"moov", movie + track) + box(b"mdat", payload.getvalue())


def install_ffmpeg(folder: Path, monkeypatch, version: str = "6.1") -> None:
    """Put the stand-in first on PATH."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(STAND_IN.format(python=sys.executable, version=version))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
