"""Data directories from VoxCeleb1 and VoxCeleb2 as they lie on disk."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from etdnn.data.corpus import Utterance, id_of_path, measure
from etdnn.data.decode import decode, pipe
from etdnn.data.noises import prepare_noises
from etdnn.data.outputs import building
from etdnn.data.own import check_trials, trials_name, unique_names, write_sets
from etdnn.data.split import Split, cut_speakers
from etdnn.data.trials import Trials, read_trials
from etdnn.data.voxceleb_release import (
    CLEANED,
    count_deviation,
    download_trials,
    find_trials,
    read_gender,
    scan_releases,
)
from etdnn.errors import UserError

ROOMS = ("smallroom", "mediumroom")


def prepare_voxceleb(
    out: str | Path,
    *,
    voxceleb1: str | Path,
    voxceleb2: str | Path | None = None,
    trials_dir: str | Path | None = None,
    trials: Sequence[str | Path] = (),
    meta_dir: str | Path | None = None,
    musan: str | Path | None = None,
    rirs: str | Path | None = None,
    m4a: str = "decode",
    decoded: str | Path | None = None,
    dev_speakers: int | None = None,
    allow_partial: bool = False,
    seed: int = 0,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, int]]:
    """Make `out`/{train,dev,test,noise} for the published experiment.

    Train is VoxCeleb2 dev, test the utterances of VoxCeleb1 that the trial lists name; dev is VoxCeleb2's test part, or
    `dev_speakers` cut from train. Without `voxceleb2`, train is what Vox1-O leaves of VoxCeleb1. Lists: the files
    `trials`, else the cleaned O, E, H in `trials_dir`, else in `voxceleb1`, else fetched. m4a files are decoded once
    into `decoded` ('decode') or at each reading ('pipe'). Deviations from the releases' counts are said, and are a
    UserError unless `allow_partial`. A failure leaves what an earlier run made. Returns set -> counts.
    """
    out = Path(out)
    scanned = scan_releases(voxceleb1, voxceleb2, say)
    lists, deviations = read_lists(voxceleb1, trials_dir, trials, out)
    if not voxceleb2 and not trials and "vox1_O_cleaned" in lists:
        lists = {"vox1_O_cleaned": lists["vox1_O_cleaned"]}  # E and H test the speakers that are left to train on
    check_deviations(say_counts(scanned, say) + deviations, allow_partial, say)

    members, split = _sets(scanned, lists, dev_speakers, seed, say)
    folders = [Path(folder) for folder in (meta_dir, voxceleb2, voxceleb1) if folder]
    split.gender = read_gender(folders, "vox1_meta.csv") | read_gender(folders, "vox2_meta.csv")
    if not split.gender:
        say("no vox1_meta.csv or vox2_meta.csv is found: non-target trials of dev are of any genders")
    members, seconds = readable(members, out, m4a=m4a, decoded=decoded, jobs=jobs, say=say)
    for name, listed in lists.items():
        lists[name] = check_trials(listed, name, members, allow_missing=allow_partial, say=say)
    with building(out) as work:
        prepare_noises(
            work / "noise",
            final=out.absolute() / "noise",
            musan=Path(musan).absolute() if musan else None,
            rirs=Path(rirs).absolute() if rirs else None,
            seed=seed,
            jobs=jobs,
            rooms=ROOMS,
            say=say,
        )
        write_sets(work, members, seconds, split, lists, seed=seed, targets=10000, nontargets=20000, say=say)
    classes = len({utterance.speaker for utterance in members["train"]})
    say(f"training has {classes} classes (speakers)")
    return {
        name: {"utterances": len(rows), "speakers": len({u.speaker for u in rows})} for name, rows in members.items()
    }


def say_counts(scanned: Mapping[str, Mapping[str, Sequence[Utterance]]], say: Callable[[str], None]) -> list[str]:
    """Say the counts; return the deviations from the releases. VoxCeleb1's parts count together when both are there."""
    deviations = []
    for corpus, by_part in scanned.items():
        parts = dict(by_part)
        if corpus == "VoxCeleb1" and {"dev", "test"} <= parts.keys():
            parts = {"all": [*parts["dev"], *parts["test"]]}
        if corpus == "VoxCeleb2" and "all" in parts:
            parts = {"dev": parts["all"]}
        for part, rows in parts.items():
            say(f"{corpus} {part}: {len(rows)} utterances of {len({u.speaker for u in rows})} speakers")
            deviations.append(count_deviation(corpus, part, rows))
    return [deviation for deviation in deviations if deviation]


def check_deviations(deviations: Sequence[str], allow_partial: bool, say: Callable[[str], None]) -> None:
    """Say what differs from the releases; it is a UserError unless `allow_partial`."""
    for deviation in deviations:
        say(f"deviation: {deviation}")
    if deviations and not allow_partial:
        raise UserError(f"{len(deviations)} deviations from the releases: {deviations[0]} (--allow-partial goes on)")


def read_lists(
    voxceleb1: str | Path, trials_dir: str | Path | None, trials: Sequence[str | Path], out: Path
) -> tuple[dict[str, Trials], list[str]]:
    """Return name -> trials with ids of ours, and what differs from the published lists."""
    if trials:
        return {trials_name(path): read_trials(path).renamed(id_of_path) for path in unique_names(trials)}, []
    found = find_trials([Path(trials_dir)] if trials_dir else [Path(voxceleb1), Path(voxceleb1) / "meta"])
    if trials_dir and not found:
        names = ", ".join(known.files[0] for known in CLEANED)
        raise UserError(f"{trials_dir}: none of the cleaned lists in it (looked for {names})")
    if not found:
        found = download_trials(out / "trial_lists")
    lists, deviations = {}, []
    for known in CLEANED:
        if known.name not in found:
            continue
        lists[known.name] = listed = read_trials(found[known.name]).renamed(id_of_path)
        counts = len(listed), len({*listed.enrol, *listed.test})
        if counts != (known.trials, known.utterances):
            deviations.append(
                f"{found[known.name]}: {counts[0]} trials of {counts[1]} files, "
                f"{known.name} has {known.trials} of {known.utterances}"
            )
    return lists, deviations


def _sets(
    scanned: Mapping[str, Mapping[str, list[Utterance]]],
    lists: Mapping[str, Trials],
    dev_speakers: int | None,
    seed: int,
    say: Callable[[str], None],
) -> tuple[dict[str, list[Utterance]], Split]:
    """Return the utterances of train, dev, test, and the split; UserError when train and test share a speaker."""
    vox1 = [utterance for rows in scanned["VoxCeleb1"].values() for utterance in rows]
    entries = {entry for listed in lists.values() for entry in (*listed.enrol, *listed.test)}
    test = [utterance for utterance in vox1 if utterance.id in entries]
    if not test:
        raise UserError(
            f"none of the {len(entries)} files of the trial lists is in VoxCeleb1 (lists of another release?)"
        )
    tested = {utterance.speaker for utterance in test}
    if "VoxCeleb2" in scanned:
        vox2 = scanned["VoxCeleb2"]
        train = vox2.get("dev") or vox2.get("all")
        if train is None:
            raise UserError("VoxCeleb2: only its test part is there; training needs the dev part")
    else:
        vox2 = {}
        train = [utterance for utterance in vox1 if utterance.speaker not in tested]
        say(f"no VoxCeleb2: training on what the trial lists leave of VoxCeleb1, {len(train)} utterances")
        if not train:
            raise UserError("the trial lists name every speaker of VoxCeleb1: give --voxceleb2, or Vox1-O alone")
    speakers = {utterance.speaker for utterance in train}
    common = speakers & tested
    if common:
        raise UserError(f"{len(common)} speakers are in train and in test, e.g. {min(common)}")
    if "dev" in vox2 and "test" in vox2:
        dev = vox2["test"]
    else:
        cut = cut_speakers(speakers, dev_speakers, seed=seed, purpose="dev")
        dev = [utterance for utterance in train if utterance.speaker in cut]
        train = [utterance for utterance in train if utterance.speaker not in cut]
        say(
            f"no test part of VoxCeleb2: {len(cut)} dev speakers are cut from training, {len(speakers) - len(cut)} left"
        )
    if {utterance.speaker for utterance in dev} & tested:
        raise UserError("dev and test share speakers")
    members = {"train": train, "dev": dev, "test": test}
    return members, Split({utterance.speaker: name for name, rows in members.items() for utterance in rows})


def readable(
    members: Mapping[str, list[Utterance]],
    out: Path,
    *,
    m4a: str,
    decoded: str | Path | None,
    jobs: int,
    say: Callable[[str], None],
) -> tuple[dict[str, list[Utterance]], dict[str, float]]:
    """Return the sets with the utterances whose audio can be read, and utterance -> seconds.

    m4a files are decoded into `decoded` (default `out`/decoded) where `m4a` is 'decode', else become commands. Broken
    files are listed in `out` and left out as `measure` says.
    """
    if m4a == "decode":
        folder = Path(decoded).absolute() if decoded else out.absolute() / "decoded"
        members = {name: _decode_all(rows, folder, jobs, say) for name, rows in members.items()}
    everything = [utterance for rows in members.values() for utterance in rows]
    kept, seconds = measure(everything, jobs=jobs, min_seconds=0.0, report=out, say=say)
    left = {utterance.id for utterance in kept}
    return {name: [_as_pipe(u) for u in rows if u.id in left] for name, rows in members.items()}, seconds


def _decode_all(rows: list[Utterance], folder: Path, jobs: int, say: Callable[[str], None]) -> list[Utterance]:
    """Return `rows` with their m4a files decoded into `folder`."""
    m4a = [utterance for utterance in rows if utterance.path.endswith(".m4a")]
    if not m4a:
        return rows
    return sorted([u for u in rows if not u.path.endswith(".m4a")] + decode(m4a, folder, jobs=jobs, say=say))


def _as_pipe(utterance: Utterance) -> Utterance:
    """Return an m4a file as the command that decodes it, anything else as it is."""
    return utterance._replace(path=pipe(utterance.path)) if utterance.path.endswith(".m4a") else utterance
