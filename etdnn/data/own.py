"""Data directories from a folder of one's own recordings."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from etdnn.data.audio import ffmpeg_program
from etdnn.data.corpus import Utterance, id_of_path, measure, safe_name, scan_corpus, write_set
from etdnn.data.datadir import write_table
from etdnn.data.devset import make_dev_lists
from etdnn.data.enrolments import check_enrolments, read_enrolments
from etdnn.data.noises import prepare_noises, read_noises
from etdnn.data.outputs import building
from etdnn.data.parts import read_parts
from etdnn.data.split import SETS, Split, cut_speakers, read_split, write_split
from etdnn.data.trials import Trials, make_trials, read_trials, write_trials
from etdnn.errors import UserError

MIN_SECONDS = 0.3


def prepare_own(
    corpus: str | Path,
    out: str | Path,
    *,
    segments: str | Path | None = None,
    split: str | Path | None = None,
    trials: Sequence[str | Path] = (),
    enrol: Sequence[str | Path] = (),
    dev_speakers: int | None = None,
    test_speakers: int | None = None,
    musan: str | Path | None = None,
    rirs: str | Path | None = None,
    seed: int = 0,
    jobs: int = 1,
    min_seconds: float = MIN_SECONDS,
    allow_missing: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, int]]:
    """Make `out`/{train,dev,test,noise} from `corpus`/SPEAKER/SESSION/UTTERANCE.{wav,flac,ogg,opus,mp3,m4a}.

    `segments` lists parts of the files, which then are the utterances (see `read_parts`). `split` is a table of
    speakers (see `read_split`); without it test are the speakers of `trials`, or drawn. Dev speakers are cut from train
    where the table names none. `trials` are lists over test (entries are ids, or paths below `corpus`); without,
    trials_main is drawn. `enrol` are lists of names enrolled with several utterances each, for the trials of the same
    name (enrol_x.txt for trials_x.txt). Dev gets trials_clean and trials_cross. `musan` and `rirs`: see
    `prepare_noises`. Returns set -> counts. A failure leaves what an earlier run made. UserError for everything that
    the corpus, the table or the lists get wrong.
    """
    out = Path(out)
    root = _wav_level(Path(corpus).absolute())
    utterances = scan_corpus(root)
    total = len({utterance.speaker for utterance in utterances})
    say(f"{root}: {len(utterances)} files of {total} speakers")
    if total < 2:
        raise UserError(f"{root}: only one speaker: verification needs other speakers to compare with")
    if segments:
        utterances = read_parts(segments, utterances, say)
    if any(utterance.path.lower().endswith(".m4a") for utterance in utterances):
        ffmpeg_program()
    lists = {trials_name(path): read_trials(path).renamed(id_of_path) for path in unique_names(trials)}
    models = {trials_name(path, "enrol"): read_enrolments(path) for path in enrol}
    alone = models.keys() - lists.keys()
    if alone:
        raise UserError(f"enrolment {min(alone)}: no trial list of that name is given (trials_{min(alone)}.txt)")
    chosen = choose_sets(
        utterances,
        split,
        lists,
        [key for names in models.values() for ids in names.values() for key in ids],
        dev_speakers=dev_speakers,
        test_speakers=test_speakers,
        seed=seed,
        say=say,
    )
    utterances, seconds = measure(utterances, jobs=jobs, min_seconds=min_seconds, report=out, say=say)
    members = {name: [u for u in utterances if chosen.sets.get(u.speaker) == name] for name in SETS}
    if not lists:
        lists = {"main": _drawn_trials(members["test"], chosen.group, seed)}
    for name, listed in lists.items():
        enrolled = models.get(name, {})
        lists[name] = check_trials(listed, name, members, enrolled, allow_missing=allow_missing, say=say)
        if enrolled:
            check_enrolments(enrolled, name, lists[name], members)

    with building(out) as work:
        prepare_noises(
            work / "noise",
            final=out.absolute() / "noise",
            musan=_absolute(musan),
            rirs=_absolute(rirs),
            seed=seed,
            jobs=jobs,
            say=say,
        )
        write_sets(work, members, seconds, chosen, lists, seed=seed, say=say)
        for name, enrolled in models.items():
            write_table(work / "test" / f"enrol_{name}", {key: " ".join(ids) for key, ids in enrolled.items()})
            say(f"test/enrol_{name}: {len(enrolled)} names enrolled with {sum(map(len, enrolled.values()))} utterances")
    return {
        name: {"utterances": len(rows), "speakers": len({u.speaker for u in rows})} for name, rows in members.items()
    }


def choose_sets(
    utterances: Iterable[Utterance],
    table: str | Path | None,
    lists: Mapping[str, Trials],
    enrolled: Iterable[str] = (),
    *,
    dev_speakers: int | None,
    test_speakers: int | None,
    seed: int,
    say: Callable[[str], None],
) -> Split:
    """Return which speaker is in which set, from the table, the trials and the seed, in this order."""
    speakers = {utterance.speaker for utterance in utterances}
    split = read_split(table) if table else Split()
    absent = split.sets.keys() - speakers
    if absent:
        say(f"{table}: {len(absent)} speakers have no audio, e.g. {min(absent)}")
    unnamed = speakers - split.sets.keys()
    if table and unnamed:
        say(f"left out: {len(unnamed)} speakers that {table} does not name, e.g. {min(unnamed)}")
    split.sets = {speaker: name for speaker, name in split.sets.items() if speaker in speakers}
    if not table:
        of = {utterance.id: utterance.speaker for utterance in utterances}
        entries = {entry for listed in lists.values() for entry in (*listed.enrol, *listed.test)}.union(enrolled)
        named = {of[entry] for entry in entries if entry in of}
        test = named if lists else cut_speakers(speakers, test_speakers, seed=seed, purpose="test")
        split.sets = {speaker: "test" if speaker in test else "train" for speaker in speakers}
    if not split.of("dev"):
        for speaker in cut_speakers(split.of("train"), dev_speakers, seed=seed, purpose="dev", group=split.group):
            split.sets[speaker] = "dev"
    elif dev_speakers is not None:
        raise UserError(f"{table}: names dev speakers already; leave out --dev-speakers, or the dev rows")
    for name in SETS:
        if len(split.of(name)) < 2:
            raise UserError(
                f"{table or 'the split'}: set {name} has {len(split.of(name))} speakers with audio, needs 2"
            )
    return split


def check_trials(
    trials: Trials,
    name: str,
    members: Mapping[str, Sequence[Utterance]],
    enrolled: Collection[str] = (),
    *,
    allow_missing: bool,
    say: Callable[[str], None],
) -> Trials:
    """Return `trials` when every entry is an utterance of test; with `allow_missing`, those trials for which it is so.

    UserError that counts the missing entries and lists five, and that names entries of train or dev speakers.
    """
    known = {utterance.id for utterance in members["test"]}.union(enrolled)
    entries = {*trials.enrol, *trials.test}
    for other in ("train", "dev"):
        leaked = entries & {utterance.id for utterance in members[other]}
        if leaked:
            raise UserError(f"trials {name}: {len(leaked)} entries are utterances of {other}, e.g. {min(leaked)}")
    missing = sorted(entries - known)
    if not missing:
        return _two_classes(trials, name)
    text = f"trials {name}: {len(missing)} of {len(entries)} entries are not in test, e.g. {', '.join(missing[:5])}"
    if not allow_missing:
        raise UserError(f"{text} (--allow-missing drops their trials)")
    keep = np.array([e in known and t in known for e, t in zip(trials.enrol, trials.test, strict=True)], bool)
    if not keep.any():
        raise UserError(f"{text}: no trial is left")
    say(f"{text}: {int((~keep).sum())} trials dropped")
    return _two_classes(trials.kept(keep), name)


def _two_classes(trials: Trials, name: str) -> Trials:
    """Return `trials`; UserError unless it has targets and non-targets, without which there is no EER."""
    for kind, there in (("target", trials.target.any()), ("non-target", not trials.target.all())):
        if not there:
            raise UserError(f"trials {name}: no {kind} trial in it; an EER needs targets and non-targets")
    return trials


def write_sets(
    work: Path,
    members: Mapping[str, Sequence[Utterance]],
    seconds: Mapping[str, float],
    split: Split,
    lists: Mapping[str, Trials],
    *,
    seed: int,
    say: Callable[[str], None],
    targets: int = 5000,
    nontargets: int = 10000,
) -> None:
    """Write `work`/{train,dev,test} with their trials and split.tsv; `work`/noise must be there. Says the counts."""
    noises = read_noises(work / "noise" / "dev")
    dev = make_dev_lists(
        members["dev"], seconds, noises, seed=seed, group=split.group, targets=targets, nontargets=nontargets
    )
    for name, rows in members.items():
        write_set(work / name, rows, seconds, split.gender, dev.extra if name == "dev" else None)
        hours = sum(seconds[utterance.id] for utterance in rows) / 3600
        say(f"{name}: {len(rows)} utterances of {len({u.speaker for u in rows})} speakers, {hours:.2f} h")
    listed = {("dev", "clean"): dev.clean, ("dev", "cross"): dev.cross}
    listed |= {("test", name): trials for name, trials in lists.items()}
    for (directory, name), trials in listed.items():
        write_trials(work / directory / f"trials_{name}", trials)
        count = int(trials.target.sum())
        say(f"{directory}/trials_{name}: {count} targets, {len(trials) - count} non-targets")
    counts: dict[str, int] = {}
    for rows in members.values():
        for utterance in rows:
            counts[utterance.speaker] = counts.get(utterance.speaker, 0) + 1
    write_split(work / "split.tsv", split, counts)


def set_counts(utterances: Sequence[Utterance]) -> dict[str, int]:
    """Return the numbers of utterances and speakers."""
    return {"utterances": len(utterances), "speakers": len({utterance.speaker for utterance in utterances})}


def trials_name(path: str | Path, kind: str = "trials") -> str:
    """Return NAME of trials_NAME for a trial file: its stem without a leading `trials_`; `main` for trials.txt.

    With `kind` enrol the same for enrol_NAME.
    """
    stem = Path(path).stem
    return "main" if stem == kind else safe_name(stem.removeprefix(f"{kind}_"))


def unique_names(trials: Sequence[str | Path]) -> Sequence[str | Path]:
    """Return `trials`; UserError when two files would get one name."""
    names: dict[str, str | Path] = {}
    for path in trials:
        name = trials_name(path)
        if name in names:
            raise UserError(f"{names[name]} and {path}: both would be trials_{name}; rename one")
        names[name] = path
    return trials


def _drawn_trials(test: Sequence[Utterance], group: Mapping[str, str], seed: int) -> Trials:
    return make_trials(
        {utterance.id: utterance.speaker for utterance in test},
        enrol=[utterance.id for utterance in test],
        test=[utterance.id for utterance in test],
        utt2session={utterance.id: utterance.session for utterance in test},
        group=group,
        seed=seed,
        purpose="test",
    )


def _wav_level(root: Path) -> Path:
    """Return `root`/wav where `root` holds that folder and no other: VoxCeleb's form."""
    if not root.is_dir():
        return root
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return folders[0] if len(folders) == 1 and folders[0].name == "wav" else root


def _absolute(path: str | Path | None) -> Path | None:
    return Path(path).absolute() if path else None
