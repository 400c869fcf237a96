"""Augmentation on the fly: each crop is read from audio and gets a noise, babble, music or a room of its own, or none.

What is done to a crop is drawn as for a stored copy (`etdnn.features.copies`), but anew each time the crop is visited.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from etdnn.data.ark import FeatureReader
from etdnn.data.ark_index import Keys, read_word_table
from etdnn.data.datadir import DataDir
from etdnn.data.noises import KINDS
from etdnn.data.segments import Segment, parse_segment
from etdnn.errors import UserError
from etdnn.features.augment import sources_of
from etdnn.features.copies import draw_recipe, possible, read_material, speeds_of
from etdnn.features.dequantise import send
from etdnn.features.fbank import FbankOptions
from etdnn.features.plan import Waveform
from etdnn.features.render import Renderers, Take
from etdnn.seeding import seed_of


class Draw(NamedTuple):
    """What is done to one crop, and the seed of what the recipe leaves open."""

    recipe: dict[str, str]
    seed: int


class WaveformBank:
    """The audio of the utterances `keys` of data directory `directory`, and the noises and rooms of training.

    Those are the lists that stage 0 leaves in `noise/train` beside the directory (dev's are in `noise/dev`). Stored
    copies that are more than faster or slower are not `eligible`: what they hold is drawn anew here. UserError when
    wav.scp is missing, lacks an utterance or holds commands, when there is audio for no part of the mixture, and where
    VAD took frames out of the features.
    """

    purpose = "waveform"

    def __init__(self, directory: Path, keys: Keys, settings: Waveform, *, workers: int | None = None) -> None:
        self._noise = directory.absolute().parent / "noise" / "train"
        plan = settings.plan()
        self._material = read_material(self._noise, plan)
        self._plan, self._missing = possible(plan, self._material, self._noise)
        _refuse_commands(self._noise, self._material.paths.values())
        self._speeds = speeds_of(directory, keys)
        self.eligible = np.flatnonzero(~np.isnan(self._speeds))
        self._audio = _Audio(directory, keys, self.eligible)
        options = FbankOptions.from_dict(DataDir(directory).frontend)
        if options.vad:
            raise UserError(
                f"{directory}: its features are of voiced frames only (--vad=true), and 'waveform' of the training "
                "configuration reads crops as they stand in the audio: train on stored copies"
            )
        self._renderers = Renderers(options, settings.workers if workers is None else workers)

    @property
    def tables(self) -> list[Path]:
        """The lists that draws are made from."""
        paths = [self._noise / f"{kind}.scp" for kind in KINDS]
        return [path for path in paths if path.is_file()]

    @property
    def description(self) -> str:
        """What the log of a training says."""
        counts = ", ".join(f"{len(ids)} {kind}" for kind, ids in self._material.ids.items())
        lines = [f"warning: {message}" for message in self._missing]
        return "\n".join([*lines, f"crops are read from audio and augmented from {self._noise}: {counts}"])

    def mixes(self, utterances: np.ndarray, *purpose: int | str) -> list[Draw]:
        """Draw what is done to each crop of a batch; a function of `purpose` (seed, step, ...) and the place in it."""
        draws = []
        for place in range(len(utterances)):
            seed = seed_of(*purpose, place)
            recipe = draw_recipe(self._plan, self._plan.copies[0], self._material, seed, "")
            draws.append(Draw(recipe or {}, seed))
        return draws

    def read(
        self,
        reader: FeatureReader,
        utterances: np.ndarray,
        starts: np.ndarray,
        frames: int,
        mixes: Sequence[Draw],
        device: torch.device,
    ) -> Tensor:
        """Return log-mel crops [n, frames, bins] of eligible utterances with what was drawn for them, on `device`.

        Without a recipe a crop is that of `reader.read_crops`, but for the rounding of stored features. BadAudio names
        the utterance.
        """
        paths, rows, takes = self._material.paths, reader.num_frames, []
        for place, start, draw in zip(utterances.tolist(), starts.tolist(), mixes, strict=True):
            key, used = reader.keys[place], {name: paths[name] for name in sources_of(draw.recipe)}
            entry, segment = self._audio.of(place)
            speed, whole = float(self._speeds[place]), int(rows[place])
            takes.append(Take(key, entry, segment, speed, whole, start, frames, draw.recipe, used, draw.seed))
        return send(self._renderers.crops(takes), device)


class _Audio:
    """Where the audio of the utterances is; what copies have in common with their original is held once."""

    def __init__(self, directory: Path, keys: Keys, wanted: np.ndarray) -> None:
        self._table, parts = directory / "wav.scp", directory / "segments"
        if not self._table.is_file():
            raise UserError(f"{self._table} is missing; 'waveform' of the training configuration reads the audio")
        listed, codes, self._entries = read_word_table(self._table)
        _refuse_commands(self._table, self._entries)
        self._recordings: Keys | None = None
        if parts.is_file():
            self._table, self._recordings, self._recorded = parts, listed, codes
            listed, codes, self._segments = read_word_table(parts)
        places = listed.positions_of(keys)
        for place in wanted[places[wanted] < 0][:1].tolist():
            raise UserError(f"{self._table}: no line for '{keys[place]}', which {directory}/feats.scp has")
        self._codes = codes[places]

    def of(self, place: int) -> tuple[str, Segment | None]:
        """Return the entry of wav.scp, and the part of that recording that the utterance is (None: all of it)."""
        code = self._codes[place]
        if self._recordings is None:
            return self._entries[code], None
        text = self._segments[code]
        try:
            segment = parse_segment(text)
            recording = self._recordings.index(segment.recording)
        except ValueError:
            raise UserError(f"{self._table}: '{text}' is no 'recording start end' of a recording in wav.scp") from None
        return self._entries[self._recorded[recording]], segment


def _refuse_commands(where: Path, entries: Iterable[str]) -> None:
    for entry in entries:
        if entry.endswith("|"):
            raise UserError(
                f"{where}: '{entry}' is a command, and 'waveform' of the training configuration reads files only: "
                "decode the corpus once (stage 0), or train on stored copies"
            )
