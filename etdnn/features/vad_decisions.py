"""VAD decisions of a data directory as Kaldi's vad.scp: for its tools, and to see what --vad would leave out."""

from collections.abc import Callable
from pathlib import Path

from etdnn.data.ark_format import vector_record
from etdnn.data.audio import BadAudio
from etdnn.data.datadir import DataDir
from etdnn.errors import UserError
from etdnn.features.fbank import FbankOptions
from etdnn.features.jobs import PartFiles
from etdnn.features.utterance_audio import UtteranceAudio
from etdnn.features.vad import has_speech, log_energy, voiced_frames
from etdnn.files import atomic_path, write_text


def write_decisions(data: Path, prefix: Path, options: FbankOptions, say: Callable[[str], None] = print) -> int:
    """Write PREFIX.ark and PREFIX.scp, for each utterance a float vector of 1 (voiced) and 0 a frame; return how many.

    Bad audio is left out, with a line; utterances without speech keep their zeros and are named. UserError for features
    that VAD cut already, and for features of other frames than these.
    """
    directory = DataDir(data)
    if directory.has("frontend.json") and directory.frontend.get("vad"):
        raise UserError(f"{data}: its features were made with --vad=true: they hold voiced frames only")
    stored = directory.utt2num_frames if directory.has("utt2num_frames") else {}
    audio, files = UtteranceAudio(directory, int(options.sample_frequency)), PartFiles(prefix)
    ark = files.named("ark").absolute()
    ark.parent.mkdir(parents=True, exist_ok=True)
    lines, silent, frames, kept = [], [], 0, 0
    with atomic_path(ark) as temporary, temporary.open("wb") as out:
        for key in audio.keys:
            try:
                voiced = voiced_frames(log_energy(audio.finished(key, audio.timed(key)), options), options)
            except BadAudio as error:
                say(f"warning: skipped {key} {error}")
                continue
            if stored.get(key, len(voiced)) != len(voiced):
                raise UserError(
                    f"{data}: {key}: {len(voiced)} frames, its features have {stored[key]}: give --config the front "
                    "end that made them"
                )
            record, place = vector_record(key, voiced)
            lines.append(f"{key} {ark}:{out.tell() + place}\n")
            out.write(record)
            frames, kept = frames + len(voiced), kept + int(voiced.sum())
            if not has_speech(voiced):
                silent.append(key)
    write_text(files.named("scp"), "".join(lines))
    for key in silent:
        say(f"no speech: {key}")
    say(f"{prefix}: {len(lines)} utterances; {kept} of {frames} frames are voiced; {len(silent)} have no speech")
    return len(lines)
