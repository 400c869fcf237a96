"""Crops made from audio: the samples of their frames are read, augmented, and turned into fbank as in stage 1.

The work is shared by processes, since a crop takes milliseconds. It is a function of the crop's `Take` alone.
"""

import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context, util
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from etdnn.data.audio import BadAudio
from etdnn.data.segments import Recording, Segment, reads_parts
from etdnn.errors import UserError
from etdnn.features.augment import apply_recipe, direct_path, length_at_speed, read_at_speed, reverberate
from etdnn.features.fbank import FbankOptions, compute_fbank
from etdnn.features.utterance_audio import AudioCache
from etdnn.seeding import numpy_generator


class Take(NamedTuple):
    """A crop to be made: `frames` frames from `start` on of an utterance that has `rows`; a shorter one is wrapped."""

    utterance: str
    entry: str  # of wav.scp
    segment: Segment | None
    speed: float
    rows: int
    start: int
    frames: int
    recipe: dict[str, str]  # of reverb, noise, music, babble; empty: the crop is that of the stored features
    paths: dict[str, str]  # audio of the ids of the recipe
    seed: int  # of the places in the noises


class Renderer:
    """Makes crops in this process; noises and rooms that are read whole are kept, as far as 256 MB go."""

    def __init__(self, options: FbankOptions) -> None:
        self._options, self._rate = options, int(options.sample_frequency)
        self._whole = AudioCache(self._rate)
        self._in_parts: dict[str, bool] = {}

    def __call__(self, take: Take) -> np.ndarray:
        """Return log-mel features [frames, bins]; BadAudio that names the utterance."""
        try:
            return self._crop(take)
        except BadAudio as error:
            raise BadAudio(f"utterance {take.utterance}: {error}") from None

    def _crop(self, take: Take) -> np.ndarray:
        audio = Recording(take.entry, self._rate, take.segment)
        if audio.rate != self._rate:
            raise BadAudio(
                f"{take.entry}: audio of {audio.rate} Hz, features of {self._rate} Hz; crops are not resampled one by "
                "one: convert the corpus, or train on stored copies"
            )
        samples = length_at_speed(len(audio), take.speed)
        rows = self._options.num_frames(samples)
        if rows != take.rows:
            raise BadAudio(f"{take.entry}: {rows} frames, its features have {take.rows}: run stage 1 again")
        wrapped = take.start + take.frames > rows
        start, frames = (0, rows) if wrapped else (take.start, take.frames)
        first, last, before = self._options.samples_of(start, frames, samples)
        wave = self._augmented(audio, take, first, last, samples)
        features = compute_fbank(wave, self._options)[before : before + frames]
        return features[(take.start + np.arange(take.frames)) % rows] if wrapped else features

    def _augmented(self, audio: Recording, take: Take, first: int, last: int, samples: int) -> np.ndarray:
        """Return samples `first` to `last` of the utterance with their augmentation, which is at the SNR over them."""
        response, lead, tail = None, 0, 0
        if "reverb" in take.recipe:  # what was said before still sounds
            response = self._whole.load(take.paths[take.recipe["reverb"]])
            tail = direct_path(response)
            lead = len(response) - tail
        begin = max(0, first - lead)
        wave = read_at_speed(audio, take.speed, begin, min(samples, last + tail))
        if response is not None:
            wave = reverberate(wave, response)
        noise = {effect: value for effect, value in take.recipe.items() if effect != "reverb"}
        generator = numpy_generator(take.seed, "augment")
        return apply_recipe(
            wave[first - begin : last - begin], noise, lambda name: self._noise(take.paths[name]), generator, self._rate
        )

    def _noise(self, path: str) -> np.ndarray | Recording:
        if path not in self._in_parts:
            self._in_parts[path] = reads_parts(path, self._rate)
        return Recording(path, self._rate) if self._in_parts[path] else self._whole.load(path)


class Renderers:
    """`count` processes that make crops, begun when first needed; 0: the calling thread makes them.

    Crops come in the order of their takes and are the same whatever `count` is. The processes end with this object, and
    when the process that made it ends in whatever way.
    """

    def __init__(self, options: FbankOptions, count: int) -> None:
        self._options, self._count = options, count
        self._here = None if count else Renderer(options)
        self._connections: list[Connection] = []

    def crops(self, takes: Sequence[Take]) -> np.ndarray:
        """Return float32 [takes, frames, bins]; the error of the first take that has one."""
        made: list[np.ndarray | UserError] = [None] * len(takes)
        if self._here:
            made = _attempt(self._here, takes)
        else:
            self._begin()
            try:
                for place, connection in enumerate(self._connections):
                    connection.send(takes[place :: self._count])
                for place, connection in enumerate(self._connections):
                    made[place :: self._count] = connection.recv()
            except (EOFError, OSError):
                raise UserError(
                    "a process that reads audio (workers of 'waveform') has ended: killed, for want of memory perhaps, "
                    "or by the error above; start again to go on"
                ) from None
        for one in made:
            if isinstance(one, UserError):
                raise one
        return np.stack(made)

    def _begin(self) -> None:
        if self._connections:
            return
        context = get_context("forkserver")  # a plain fork would copy the locks of threads, and CUDA's state
        context.set_forkserver_preload([__name__, "torch", "scipy.signal"])  # loaded once, and in memory once
        processes = []
        for _ in range(self._count):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=_serve, args=(theirs, self._options)))
            processes[-1].start()
            theirs.close()
            self._connections.append(ours)
        # before multiprocessing waits, at exit, for processes that nobody tells to end
        util.Finalize(self, _end, (self._connections, processes), exitpriority=10)


def _end(connections: list[Connection], processes: list) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        process.join()


def _serve(connection: Connection, options: FbankOptions) -> None:
    """Make the crops that come through `connection` until its other end is closed, by the other process or its end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the training finishes its step and closes the connection
        signal.signal(number, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    renderer = Renderer(options)
    with suppress(EOFError, OSError):
        while True:
            connection.send(_attempt(renderer, connection.recv()))


def _attempt(renderer: Renderer, takes: Sequence[Take]) -> list[np.ndarray | UserError]:
    made: list[np.ndarray | UserError] = []
    for take in takes:
        try:
            made.append(renderer(take))
        except UserError as error:
            made.append(error)
    return made
