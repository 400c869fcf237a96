"""The audio that a wav.scp lists: whole files, or the parts of them that `segments` beside it names."""

from pathlib import Path

from etdnn.data.audio import INT16_SCALE
from etdnn.data.datadir import read_table
from etdnn.data.segments import SegmentReader, read_segments
from etdnn.deploy.runtime import Embedder, Extraction
from etdnn.errors import UserError
from etdnn.files import hash_file


class ListedAudio:
    """Utterances of `wav_scp` by their ids, for a model to embed.

    Where the list is named wav.scp and a file `segments` stands beside it, as in Kaldi's data directories, utterances
    are parts of its recordings; a list of any other name is taken alone. UserError for bad tables and for a command
    in the list: those are run in stages 0 and 1 only.
    """

    def __init__(self, wav_scp: str | Path) -> None:
        self.path = Path(wav_scp)
        self._entries = read_table(self.path)
        piped = next((name for name, entry in self._entries.items() if entry.endswith("|")), None)
        if piped is not None:
            raise UserError(f"{wav_scp}: {piped}: a command; commands in wav.scp are run in stages 0 and 1 only")
        beside = self.path.with_name("segments")
        found = self.path.name == "wav.scp" and beside.is_file()
        self._segments = read_segments(beside, self._entries) if found else {}
        self.hashes = {"wav_scp": hash_file(self.path), "segments": hash_file(beside) if found else ""}
        self._parts: SegmentReader | None = None

    @property
    def ids(self) -> list[str]:
        """Return the utterances in the order of their table."""
        return list(self._segments or self._entries)

    def __contains__(self, name: str) -> bool:
        return name in (self._segments or self._entries)

    def extract(self, model: Embedder, name: str) -> Extraction:
        """Embed an utterance as `model` embeds a file that holds it alone; raises BadAudio as it does."""
        if not self._segments:
            return model.extract_file(self._entries[name])
        if self._parts is None:
            self._parts = SegmentReader(model.rate)
        segment = self._segments[name]
        entry = self._entries[segment.recording]
        wave = self._parts.read(entry, segment)
        return model.extract(wave / INT16_SCALE, model.rate, f"{name} (part of {entry})")
