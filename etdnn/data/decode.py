"""m4a to what libsndfile reads: decoded once to FLAC, or as commands in wav.scp."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etdnn.data.audio import BadAudio, audio_info, ffmpeg_program, read_audio
from etdnn.data.corpus import Utterance, refuse_broken
from etdnn.errors import UserError
from etdnn.files import size_text

OLDEST_FFMPEG = 3
SAMPLE = 100
"""Files that are decoded first, from all over the corpus, to see how much room all of them take."""


def try_ffmpeg(path: str) -> None:
    """Decode `path` in memory; UserError when ffmpeg is missing, too old, or cannot read the file."""
    program = ffmpeg_program()
    result = subprocess.run([program, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    version = re.search(r"version n?(\d+)\.", result.stdout)
    if version and int(version[1]) < OLDEST_FFMPEG:
        raise UserError(f"{program}: version {version[1]} is too old for m4a; install package 'ffmpeg' 4 or newer")
    try:
        read_audio(path)
    except BadAudio as error:
        raise UserError(f"{program} cannot decode m4a (install package 'ffmpeg' 4 or newer): {error}") from None


def pipe(path: str, rate: int = 16000) -> str:
    """Return the wav.scp entry that decodes `path` each time it is read."""
    return f"ffmpeg -nostdin -v error -i {shlex.quote(path)} -ac 1 -ar {rate} -f wav - |"


def decode(
    utterances: Sequence[Utterance], folder: Path, *, jobs: int, say: Callable[[str], None], rate: int = 16000
) -> list[Utterance]:
    """Write each utterance to `folder`/SPEAKER/SESSION/ID.flac (16 bit, mono, `rate` Hz); return where they lie now.

    Files that are there are kept, so that an interrupted call goes on where it stopped. Broken files are said and left
    out; UserError when they are more than max(10, 0.1 %), and, before most are decoded, where the disc has no room.
    """
    targets = [folder / u.speaker / u.session / f"{u.id}.flac" for u in utterances]
    todo = [(u.path, target) for u, target in zip(utterances, targets, strict=True) if not target.exists()]
    say(f"decoding {len(todo)} m4a files to {folder}, {len(targets) - len(todo)} are there")
    for parent in {target.parent for _, target in todo}:
        parent.mkdir(parents=True, exist_ok=True)
    program = ffmpeg_program()
    broken: list[tuple[str, str]] = []
    sample = todo[:: len(todo) // SAMPLE + 1]
    with ThreadPoolExecutor(jobs) as pool:  # the work is in ffmpeg's processes
        list(pool.map(lambda job: _decode_one(program, *job, rate), sample))
        _check_room([target for _, target in sample], len(todo), folder)
        results = pool.map(lambda job: _decode_one(program, *job, rate), todo)
        for done, ((path, _), reason) in enumerate(zip(todo, results, strict=True), 1):
            if reason:
                broken.append((path, reason))
            if done % 50000 == 0:
                say(f"decoded {done} of {len(todo)}")
    for path, reason in broken[:10]:
        say(f"skipped {path}: {reason}")
    refuse_broken(broken, len(utterances), folder)
    left_out = {path for path, _ in broken}
    return [
        u._replace(path=str(target)) for u, target in zip(utterances, targets, strict=True) if u.path not in left_out
    ]


def _check_room(decoded: Sequence[Path], count: int, folder: Path) -> None:
    """Raise UserError when `count` files of the mean size of `decoded` do not fit on the disc of `folder`."""
    sizes = [path.stat().st_size for path in decoded if path.exists()]
    if not sizes:
        return
    wanted, free = sum(sizes) // len(sizes) * (count - len(sizes)), shutil.disk_usage(folder).free
    if wanted > free:
        raise UserError(
            f"{folder}: decoding needs {size_text(wanted)} more, {size_text(free)} are free "
            "(--decoded on another disc, or --m4a pipe)"
        )


def _decode_one(program: str, source: str, target: Path, rate: int) -> str:
    """Decode one file under a temporary name, unless it is there; return the reason when it is broken, else ''."""
    if target.exists():
        return ""
    temporary = target.with_name(f".{target.stem}.tmp{os.getpid()}.flac")
    options = ["-ac", "1", "-ar", str(rate), "-sample_fmt", "s16", "-y"]
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", source, *options, str(temporary)]
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    try:
        if result.returncode:
            lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
            return f"ffmpeg: {lines[-1] if lines else f'exit status {result.returncode}'}"
        audio_info(temporary)
        temporary.replace(target)
    except BadAudio as error:
        return str(error)
    finally:
        temporary.unlink(missing_ok=True)
    return ""
