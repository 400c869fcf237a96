"""Data directories from CN-Celeb (OpenSLR 82) as it lies on disk, with or without CN-Celeb2."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etdnn.data.audio import SUFFIXES
from etdnn.data.corpus import Utterance, measure, safe_name, safe_speaker
from etdnn.data.datadir import read_lines, write_table
from etdnn.data.noises import prepare_noises
from etdnn.data.outputs import building
from etdnn.data.own import MIN_SECONDS, set_counts, write_sets
from etdnn.data.split import Split, cut_speakers
from etdnn.data.trials import Trials
from etdnn.errors import UserError

_SPEAKER = re.compile(r"id\d{5}")
FOLDERS = {"CN-Celeb": ("CN-Celeb_flac", "CN-Celeb_wav", "CN-Celeb"), "CN-Celeb2": ("CN-Celeb2_flac", "CN-Celeb2_wav")}


@dataclass(frozen=True)
class Evaluation:
    """The evaluation part: its utterances by id, enrolment name -> ids of its utterances, and the trials."""

    utterances: dict[str, Utterance]
    enrolments: dict[str, list[str]]
    trials: Trials


def prepare_cnceleb(
    out: str | Path,
    *,
    cnceleb: str | Path,
    cnceleb2: str | Path | None = None,
    enrolment: str = "files",
    dev_speakers: int | None = None,
    allow_partial: bool = False,
    musan: str | Path | None = None,
    rirs: str | Path | None = None,
    seed: int = 0,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, int]]:
    """Make `out`/{train,dev,test,noise}: test is the evaluation part, train the speakers of dev.lst and of CN-Celeb2.

    Dev speakers are cut from train. `enrolment`: a speaker of trials_main is enrolled with the 'files' that enroll.map
    names (their embeddings are averaged; test/enrol_main), or with the one 'concatenated' file of eval/enroll. What the
    lists name and is not there is a UserError, unless `allow_partial`. A failure leaves what an earlier run made.
    Returns set -> counts.
    """
    out, root = Path(out), find_release(cnceleb, "CN-Celeb")
    train = _training(root, "dev/dev.lst", allow_partial, say)
    if cnceleb2:
        more = _training(find_release(cnceleb2, "CN-Celeb2"), "spk.lst", allow_partial, say)
        _refuse_common(train, more, "CN-Celeb", "CN-Celeb2")
        train += more
    evaluation = read_evaluation(root, enrolment, allow_partial=allow_partial, say=say)
    test = sorted(evaluation.utterances.values())
    _refuse_common(train, test, "train", "test")
    speakers = {utterance.speaker for utterance in train}
    dev = cut_speakers(speakers, dev_speakers, seed=seed, purpose="dev")
    say(f"{len(dev)} dev speakers are cut from training, {len(speakers) - len(dev)} left")
    members = {
        "train": [utterance for utterance in train if utterance.speaker not in dev],
        "dev": [utterance for utterance in train if utterance.speaker in dev],
        "test": test,
    }
    everything = [utterance for rows in members.values() for utterance in rows]
    kept, seconds = measure(everything, jobs=jobs, min_seconds=MIN_SECONDS, report=out, say=say)
    left = {utterance.id for utterance in kept}
    members = {name: [utterance for utterance in rows if utterance.id in left] for name, rows in members.items()}
    evaluation = restrict(evaluation, left, allow_partial=allow_partial, say=say)
    split = Split({utterance.speaker: name for name, rows in members.items() for utterance in rows})
    with building(out) as work:
        prepare_noises(
            work / "noise",
            final=out.absolute() / "noise",
            musan=Path(musan).absolute() if musan else None,
            rirs=Path(rirs).absolute() if rirs else None,
            seed=seed,
            jobs=jobs,
            say=say,
        )
        write_sets(work, members, seconds, split, {"main": evaluation.trials}, seed=seed, say=say)
        models = evaluation.enrolments
        write_table(work / "test" / "enrol_main", {name: " ".join(ids) for name, ids in models.items()})
        files = sum(map(len, models.values()))
        say(f"test/enrol_main: {len(models)} speakers enrolled with {files} files")
    return {name: set_counts(rows) for name, rows in members.items()}


def find_release(root: str | Path, corpus: str) -> Path:
    """Return the folder of `corpus` that holds data/: `root`, or the archive's own folder in it."""
    root = Path(root).absolute()
    for folder in (root, *(root / name for name in FOLDERS[corpus])):
        if (folder / "data").is_dir():
            return folder
    if not root.is_dir():
        raise UserError(f"{root}: no such folder (expected {corpus})")
    raise UserError(f"{root}: no {corpus} in it (looked for data/idNNNNN, also below {', '.join(FOLDERS[corpus])})")


def scan_speakers(data: Path, speakers: Iterable[str]) -> list[Utterance]:
    """Return the utterances `data`/SPEAKER/GENRE-SESSION-NUMBER.{flac,wav} of `speakers`, sorted.

    UserError for a file twice (as flac and as wav).
    """
    found: dict[str, Utterance] = {}
    for speaker in speakers:
        with os.scandir(data / speaker) as entries:
            for entry in entries:
                stem, ending = os.path.splitext(entry.name)  # noqa: PTH122 (half a million of these)
                if ending.lower() in SUFFIXES and not entry.name.startswith("."):
                    _add(found, _utterance(speaker, stem, entry.path))
    return sorted(found.values())


def read_evaluation(root: Path, enrolment: str, *, allow_partial: bool, say: Callable[[str], None]) -> Evaluation:
    """Read eval/lists; trials are lines `idNNNNN-enroll test/idNNNNN-GENRE-SESSION-NUMBER.wav 1|0`.

    The lists write .wav whatever the release holds. UserError with file and line for a malformed line, and for files
    that are not there, unless `allow_partial`.
    """
    lists = root / "eval" / "lists"
    utterances: dict[str, Utterance] = {}
    absent: list[str] = []
    tests: dict[str, str] = {}
    enrol, test, target = [], [], []
    names: dict[str, str] = {}
    for number, line in enumerate(read_lines(lists / "trials.lst"), 1):
        columns = line.split()
        if len(columns) != 3 or columns[2] not in ("0", "1"):
            raise UserError(f"{lists / 'trials.lst'}:{number}: expected 'idNNNNN-enroll test/FILE 1|0', found {line!r}")
        if columns[1] not in tests:
            stem = _stem(columns[1])
            speaker, _, rest = stem.partition("-")
            tests[columns[1]] = f"{safe_speaker(speaker)}-{safe_name(rest)}"
            path = _audio(root / "eval" / "test" / stem)
            if path:
                _add(utterances, _utterance(speaker, rest, path))
            else:
                absent.append(columns[1])
        enrol.append(names.setdefault(columns[0], columns[0]))
        test.append(tests[columns[1]])
        target.append(columns[2] == "1")
    models, missing = _enrolments(root, enrolment, names)
    for rows in models.values():
        for utterance in rows:
            _add(utterances, utterance)
    say(f"{root}/eval: {len(target)} trials of {len(names)} enrolled speakers against {len(tests)} files")
    _tell_absent(f"{root}/eval", [*absent, *missing], len(tests) + len(models), allow_partial, say)
    enrolments = {name: [utterance.id for utterance in rows] for name, rows in models.items() if rows}
    evaluation = Evaluation(utterances, enrolments, Trials(enrol, test, np.array(target, bool)))
    return restrict(evaluation, utterances.keys(), allow_partial=allow_partial, say=say)


def restrict(
    evaluation: Evaluation, present: Iterable[str], *, allow_partial: bool, say: Callable[[str], None]
) -> Evaluation:
    """Return `evaluation` over the utterances in `present`; trials that lose a side are a UserError, or are dropped."""
    present = set(present)
    enrolments = {name: [key for key in ids if key in present] for name, ids in evaluation.enrolments.items()}
    enrolments = {name: ids for name, ids in enrolments.items() if ids}
    trials = evaluation.trials
    keep = np.array([e in enrolments and t in present for e, t in zip(trials.enrol, trials.test, strict=True)], bool)
    if not keep.all():
        text = f"trials main: {int((~keep).sum())} of {len(trials)} have no audio"
        if not allow_partial or not keep.any():
            raise UserError(f"{text} (--allow-partial drops them)" if keep.any() else f"{text}: no trial is left")
        say(f"{text}, dropped")
        trials = trials.kept(keep)
    utterances = {key: utterance for key, utterance in evaluation.utterances.items() if key in present}
    return Evaluation(utterances, enrolments, trials)


def _enrolments(root: Path, enrolment: str, names: Iterable[str]) -> tuple[dict[str, list[Utterance]], list[str]]:
    """Return enrolment name -> utterances (ids apart from those of the test files), and the files that are absent."""
    if enrolment not in ("files", "concatenated"):
        raise UserError(f"enrolment '{enrolment}' is neither 'files' nor 'concatenated'")
    path = root / "eval" / "lists" / ("enroll.map" if enrolment == "files" else "enroll.lst")
    named: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, *entries = line.replace(",", " ").split() or [""]
        if not entries or name in named:
            raise UserError(f"{path}:{number}: expected a name of its own and files, found {line[:80]!r}")
        named[name] = entries
    unknown = [name for name in names if name not in named]
    if unknown:
        raise UserError(f"{path}: no line for {len(unknown)} names of trials.lst, e.g. {unknown[0]}")
    models: dict[str, list[Utterance]] = {}
    absent: list[str] = []
    for name in names:
        models[name] = []
        for entry in named[name]:
            stem = _stem(entry)
            if enrolment == "files":
                speaker = entry.replace("\\", "/").split("/")[-2] if "/" in entry else stem.partition("-")[0]
                audio, rest = _audio(root / "data" / speaker / stem), f"enrol-{stem}"
            else:
                speaker, audio, rest = stem.partition("-")[0], _audio(root / "eval" / "enroll" / stem), "enrol-all-0"
            if audio:
                models[name].append(_utterance(speaker, rest, audio))
            else:
                absent.append(entry)
    return models, absent


def _training(root: Path, listed: str, allow_partial: bool, say: Callable[[str], None]) -> list[Utterance]:
    """Return the utterances of the speakers that `root`/`listed` names; without the list (CN-Celeb2), of all."""
    data = root / "data"
    there = {entry.name for entry in data.iterdir() if _SPEAKER.fullmatch(entry.name) and entry.is_dir()}
    wanted = sorted(there)
    if (root / listed).is_file() or listed == "dev/dev.lst":
        wanted = sorted({line.strip() for line in read_lines(root / listed)} - {""})
        absent = [speaker for speaker in wanted if speaker not in there]
        _tell_absent(f"{root / listed}", absent, len(wanted), allow_partial, say)
        wanted = [speaker for speaker in wanted if speaker in there]
    utterances = scan_speakers(data, wanted)
    if not utterances:
        raise UserError(f"{data}: no audio of the training speakers (looked for idNNNNN/GENRE-SESSION-NUMBER.flac)")
    say(f"{root}: {len(utterances)} training utterances of {len({u.speaker for u in utterances})} speakers")
    return utterances


def _tell_absent(where: str, absent: list[str], total: int, allow_partial: bool, say: Callable[[str], None]) -> None:
    if not absent:
        return
    text = f"{where}: {len(absent)} of {total} entries are not on disk, e.g. {', '.join(absent[:5])}"
    if not allow_partial:
        raise UserError(f"{text} (half extracted? --allow-partial goes on)")
    say(text)


def _refuse_common(first: Iterable[Utterance], second: Iterable[Utterance], *names: str) -> None:
    common = {utterance.speaker for utterance in first} & {utterance.speaker for utterance in second}
    if common:
        raise UserError(f"{len(common)} speakers are in {names[0]} and in {names[1]}, e.g. {min(common)}")


def _utterance(speaker: str, rest: str, path: str) -> Utterance:
    """Return the utterance GENRE-SESSION-NUMBER of `speaker`; its session is GENRE-SESSION."""
    speaker, rest = safe_speaker(speaker), safe_name(rest)
    return Utterance(f"{speaker}-{rest}", speaker, f"{speaker}-{rest.rpartition('-')[0] or rest}", path)


def _add(found: dict[str, Utterance], utterance: Utterance) -> None:
    known = found.setdefault(utterance.id, utterance)
    if known.path != utterance.path:
        raise UserError(f"{known.path} and {utterance.path}: both become utterance id '{utterance.id}'")


def _stem(entry: str) -> str:
    """Return the name of a listed file without folders and without the ending of an audio file."""
    name = entry.replace("\\", "/").rpartition("/")[2]
    stem, ending = os.path.splitext(name)  # noqa: PTH122
    return stem if ending.lower() in SUFFIXES else name


def _audio(base: Path) -> str:
    """Return the audio file `base`.flac, .wav, ...; '' when there is none."""
    return next((path for suffix in (".flac", *SUFFIXES) if os.path.isfile(path := f"{base}{suffix}")), "")  # noqa: PTH113
