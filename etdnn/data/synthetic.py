"""The synthetic corpus of egs/mini: espeak-ng voices in synthetic rooms and noises, in VoxCeleb's folder form.

No person speaks in it: it shows that the chain works, and numbers from it say nothing about real speech. Layout:

    wav/idNNNNN/session-N/NNNNN.flac   16 kHz, one room, noise, microphone, speaking style and level per session
    speakers.tsv                       id, gender, set (train, dev, test)
    sessions.tsv                       what was drawn for each session
    trials.txt                         `label enrol test` over the test speakers, always across sessions
    noise/{noise,speech}/synthetic/    noises, and speakers who are in no set (babble): MUSAN's folder form
    rirs/simulated/shoebox/            room impulse responses
    corpus.json                        options and counts; says that the speech is synthetic

Every draw is seeded by what it is for, so neither jobs nor the number of speakers change what a speaker says.
Rooms and noises for augmentation are drawn apart from those in the sessions: no room or noise is heard in both.
"""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import signal

from etdnn.data import acoustics, espeak
from etdnn.data.fresh_processes import run_in_fresh_processes
from etdnn.data.sentences import draw_sentence
from etdnn.errors import UserError
from etdnn.files import hash_text, write_json, write_text
from etdnn.seeding import numpy_generator, seed_of

SETS = {"train": 1, "dev": 2, "test": 3}  # the set is the first digit of the speaker number
BABBLE = "babble"
DESCRIPTION = "SYNTHETIC speech (espeak-ng) in synthetic rooms and noises; results say nothing about real speakers"
NOISE_SECONDS = 5.0
MOST_TARGETS = 3000
NONTARGETS_PER_TARGET = 3
LEAST = {
    "train_speakers": 2, "dev_speakers": 4, "test_speakers": 4, "sessions": 2, "utterances": 1, "noises": 2,
    "rooms": 2, "babble_speakers": 0, "seed": 0,
}  # fmt: skip


@dataclass(frozen=True)
class CorpusOptions:
    """Size and seed of the synthetic corpus; `sessions` per speaker, `utterances` per session."""

    train_speakers: int = 160
    dev_speakers: int = 20
    test_speakers: int = 20
    sessions: int = 3
    utterances: int = 4
    noises: int = 60
    rooms: int = 60
    babble_speakers: int = 12
    seed: int = 0

    def check(self) -> None:
        """Raise UserError for a size of which no trials can be made (below `LEAST`)."""
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)}, must be at least {least}")


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker: id, gender "m" or "f", set."""

    id: str
    gender: str
    set: str


def speakers_of(options: CorpusOptions) -> list[Speaker]:
    """Return the speakers of all sets, sorted by id, women and men in turn."""
    counts = {"train": options.train_speakers, "dev": options.dev_speakers, "test": options.test_speakers}
    return [
        Speaker(f"id{SETS[name]}{number:04d}", "fm"[number % 2], name)
        for name, count in counts.items()
        for number in range(1, count + 1)
    ]


@dataclass(frozen=True)
class Session:
    """What one session of a speaker sounds like; see `draw_session`."""

    rate: int  # words a minute
    pitch: int  # espeak-ng's 0 to 100, 50 is the voice's own; so is the range
    pitch_range: int
    snr: float  # dB
    level: float  # root mean square of the recording, dB below full scale
    reverberation_time: float  # seconds
    microphone: tuple[float, ...]  # gain in dB at 0, 1, .. 8 kHz


def draw_session(seed: int, speaker: str, session: int) -> Session:
    """Return the drawn properties of session number `session` (from 1) of `speaker`."""
    generator = numpy_generator(seed, "session", speaker, session)
    return Session(
        rate=int(generator.integers(140, 216)),
        pitch=int(generator.integers(42, 59)),
        pitch_range=int(generator.integers(30, 71)),
        snr=float(generator.uniform(8, 28)),
        level=float(generator.uniform(-32, -20)),
        reverberation_time=float(generator.uniform(0.15, 0.5)),
        microphone=tuple(float(gain) for gain in np.cumsum(generator.normal(0, 1.2, 9))),
    )


def synthesise_corpus(out_dir: str | Path, options: CorpusOptions, *, jobs: int = 1, force: bool = False) -> dict:
    """Make the synthetic corpus in `out_dir`, unless it is there and current; return the counts of its corpus.json.

    It is built beside `out_dir` and renamed at the end, so a broken run leaves the earlier corpus as it was. Raises
    UserError for impossible options, a folder that is not a synthetic corpus, and a missing or failing espeak-ng.
    """
    options.check()
    out_dir = Path(out_dir)
    wanted = {"description": DESCRIPTION, "options": asdict(options), "generator": generator_version()}
    found = _read_description(out_dir)
    if not force and found is not None and {key: found.get(key) for key in wanted} == wanted:
        counts = dict(found["counts"], made=False)
        if sum(1 for _ in out_dir.glob("wav/*/*/*.flac")) == counts["utterances"]:
            return counts
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        counts = _build(partial, options, jobs)
        write_json(partial / "corpus.json", dict(wanted, counts=counts))
        _replace(out_dir, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return dict(counts, made=True)


def generator_version() -> str:
    """Return a hash of this generator's sources and of the versions of the libraries that decide about the bytes."""
    sources = [Path(__file__).with_name(f"{name}.py") for name in ("synthetic", "espeak", "sentences", "acoustics")]
    try:
        libraries = [f"{name}={version(name)}" for name in ("numpy", "scipy", "soundfile", "espeakng-loader")]
    except PackageNotFoundError as missing:
        libraries = [f"{missing.name} is missing"]
    return hash_text("\n".join([*libraries, *(source.read_text(encoding="utf-8") for source in sources)]))


def _build(directory: Path, options: CorpusOptions, jobs: int) -> dict:
    speakers = speakers_of(options)
    babble = [Speaker(f"babble{n:04d}", "fm"[n % 2], BABBLE) for n in range(1, options.babble_speakers + 1)]
    voices = {
        speaker.id: espeak.draw_voice(numpy_generator(options.seed, "voice", speaker.id), speaker.gender)
        for speaker in [*speakers, *babble]
    }
    with tempfile.TemporaryDirectory(prefix="espeak") as scratch:
        espeak.write_engine_data(Path(scratch), voices)
        tasks = {speaker.id: (scratch, directory, speaker, options) for speaker in [*speakers, *babble]}
        run_in_fresh_processes(speak, tasks, jobs)
    acoustics.make_noises(directory / "noise/noise/synthetic", seed=options.seed, count=options.noises)
    acoustics.make_rirs(directory / "rirs/simulated/shoebox", seed=options.seed, count=options.rooms)
    rows = [f"{speaker.id}\t{speaker.gender}\t{speaker.set}\n" for speaker in speakers]
    write_text(directory / "speakers.tsv", "id\tgender\tset\n" + "".join(rows))
    write_text(directory / "sessions.tsv", _sessions_table(speakers, options))
    trials = make_trials([speaker for speaker in speakers if speaker.set == "test"], options)
    write_text(directory / "trials.txt", "".join(f"{label} {enrol} {test}\n" for label, enrol, test in trials))
    return {
        "speakers": len(speakers),
        "sessions": len(speakers) * options.sessions,
        "utterances": len(speakers) * options.sessions * options.utterances,
        "targets": sum(label for label, _, _ in trials),
        "nontargets": sum(1 - label for label, _, _ in trials),
    }


def speak(scratch: str, directory: Path, speaker: Speaker, options: CorpusOptions) -> None:
    """Write all utterances of `speaker` below `directory`: the work of one process (see `espeak`)."""
    engine = espeak.Engine(Path(scratch))
    if speaker.set == BABBLE:
        folder = directory / "noise/speech/synthetic"
        folder.mkdir(parents=True, exist_ok=True)
        generator = numpy_generator(options.seed, BABBLE, speaker.id)
        speech = _say(engine, options.seed, speaker.id, 0, 0, draw_sentence(generator, 30), 170, 50, 50)
        audio = 0.1 * speech / np.sqrt(np.mean(speech**2))
        audio *= min(1.0, 0.9 / np.abs(audio).max())
        (folder / f"speech-synthetic-{speaker.id}.flac").write_bytes(acoustics.flac_bytes(audio))
        return
    for number in range(1, options.sessions + 1):
        session = draw_session(options.seed, speaker.id, number)
        scene = _scene(numpy_generator(options.seed, "scene", speaker.id, number), session)
        folder = directory / "wav" / speaker.id / f"session-{number}"
        folder.mkdir(parents=True)
        for utterance in range(1, options.utterances + 1):
            generator = numpy_generator(options.seed, "utterance", speaker.id, number, utterance)
            words = round(generator.uniform(1.7, 3.0) * session.rate / 60)
            text = draw_sentence(generator, words)
            style = (session.rate, session.pitch, session.pitch_range)
            speech = _say(engine, options.seed, speaker.id, number, utterance, text, *style)
            audio = _record(generator, speech, scene, session)
            (folder / f"{utterance:05d}.flac").write_bytes(acoustics.flac_bytes(audio))


def _say(engine, seed, speaker, session, utterance, text, rate, pitch, pitch_range) -> np.ndarray:
    drawn = seed_of(seed, "espeak", speaker, session, utterance)
    return engine.say(speaker, text, seed=drawn, rate=rate, pitch=pitch, pitch_range=pitch_range)


def _scene(generator, session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Return room and noise of a session, both as its microphone hears them, float32 [samples]."""
    room = acoustics.draw_rir(generator, session.reverberation_time)
    noise = acoustics.draw_noise(generator, NOISE_SECONDS)
    microphone = signal.firwin2(65, np.arange(9) / 8, 10 ** (np.array(session.microphone) / 20)).astype(np.float32)
    return signal.oaconvolve(room, microphone), signal.oaconvolve(noise, microphone, mode="same")


def _record(generator, speech: np.ndarray, scene: tuple[np.ndarray, np.ndarray], session: Session) -> np.ndarray:
    """Return `speech` [samples] as recorded in a session: its room, its noise from a random point on, its level."""
    room, noise = scene
    before, after = (int(generator.uniform(0.05, 0.2) * acoustics.RATE) for _ in range(2))
    reverberant = signal.fftconvolve(np.pad(speech, (before, after)), room)[: before + len(speech) + after]
    background = np.resize(np.roll(noise, -int(generator.integers(len(noise)))), len(reverberant))
    gain = np.sqrt(np.mean(reverberant**2) / (np.mean(background**2) + 1e-12)) * 10 ** (-session.snr / 20)
    audio = reverberant + gain * background
    audio *= 10 ** ((session.level + generator.uniform(-2, 2)) / 20) / np.sqrt(np.mean(audio**2))
    return audio * min(1.0, 0.9 / np.abs(audio).max())


def make_trials(speakers: list[Speaker], options: CorpusOptions) -> list[tuple[int, str, str]]:
    """Return seeded trials (label, enrol, test; paths below wav/) across sessions, non-targets of the same gender.

    All target pairs across sessions, or `MOST_TARGETS` drawn from them, and `NONTARGETS_PER_TARGET` times as many
    non-targets where there are that many; sorted by paths.
    """
    generator = numpy_generator(options.seed, "trials")
    names = {
        speaker.id: [
            [f"{speaker.id}/session-{s}/{u:05d}.flac" for u in range(1, options.utterances + 1)]
            for s in range(1, options.sessions + 1)
        ]
        for speaker in speakers
    }
    targets = [
        (1, enrol, test)
        for sessions in names.values()
        for first, second in combinations(sessions, 2)
        for enrol in first
        for test in second
    ]
    targets = _draw(generator, targets, MOST_TARGETS)
    flat = {speaker: [name for session in sessions for name in session] for speaker, sessions in names.items()}
    nontargets = [
        (0, enrol, test)
        for a, b in combinations(speakers, 2)
        if a.gender == b.gender
        for enrol in flat[a.id]
        for test in flat[b.id]
        if enrol.split("/")[1] != test.split("/")[1]
    ]
    nontargets = _draw(generator, nontargets, NONTARGETS_PER_TARGET * len(targets))
    return sorted([*targets, *nontargets], key=lambda trial: trial[1:])


def _draw(generator: np.random.Generator, items: list, most: int) -> list:
    return [items[index] for index in generator.permutation(len(items))[:most]]


def _sessions_table(speakers: list[Speaker], options: CorpusOptions) -> str:
    lines = ["id\tsession\twords_per_minute\tpitch\tpitch_range\tsnr_db\tlevel_db\treverberation_time_s\n"]
    for speaker in speakers:
        for number in range(1, options.sessions + 1):
            s = draw_session(options.seed, speaker.id, number)
            lines.append(
                f"{speaker.id}\tsession-{number}\t{s.rate}\t{s.pitch}\t{s.pitch_range}\t{s.snr:.1f}\t{s.level:.1f}\t"
                f"{s.reverberation_time:.2f}\n"
            )
    return "".join(lines)


def _read_description(out_dir: Path) -> dict | None:
    """Return the corpus.json of an earlier corpus, None if there is nothing; UserError if the folder is another's."""
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return None
    try:
        found = json.loads((out_dir / "corpus.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("description") != DESCRIPTION:
        raise UserError(f"{out_dir}: exists and is not a synthetic corpus; move it away or give another folder")
    return found


def _replace(out_dir: Path, partial: Path) -> None:
    """Put `partial` in the place of `out_dir`."""
    old = out_dir.with_name(f".{out_dir.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out_dir.exists():
        out_dir.rename(old)
    partial.rename(out_dir)
    shutil.rmtree(old, ignore_errors=True)
