"""Vox1-O alone, and a cohort for AS-norm: what a model that is already trained is scored on."""

from collections.abc import Callable
from pathlib import Path

from etdnn.data.corpus import write_set
from etdnn.data.outputs import building
from etdnn.data.own import check_trials
from etdnn.data.trials import write_trials
from etdnn.data.voxceleb import check_deviations, read_lists, readable, say_counts
from etdnn.data.voxceleb_release import scan_releases
from etdnn.errors import UserError
from etdnn.seeding import numpy_generator

LIST = "vox1_O_cleaned"


def prepare_test(
    out: str | Path,
    *,
    voxceleb1: str | Path,
    voxceleb2: str | Path | None = None,
    trials_dir: str | Path | None = None,
    cohort_size: int = 6000,
    m4a: str = "decode",
    decoded: str | Path | None = None,
    allow_partial: bool = False,
    seed: int = 0,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, int]:
    """Make `out`/test with trials_vox1_O_cleaned, and from `voxceleb2` `out`/cohort; return set -> utterances.

    VoxCeleb1's test part is enough. The cohort is `cohort_size` utterances drawn from VoxCeleb2's dev part by `seed`;
    only these are decoded. Deviations and errors as in `prepare_voxceleb`.
    """
    out = Path(out)
    scanned = scan_releases(voxceleb1, voxceleb2, say)
    lists, deviations = read_lists(voxceleb1, trials_dir, (), out)
    if LIST not in lists:
        raise UserError(f"{trials_dir or voxceleb1}: no list of Vox1-O in it (veri_test2.txt)")
    deviations = [text for text in deviations if LIST in text]
    check_deviations(say_counts(scanned, say) + deviations, allow_partial, say)

    trials = lists[LIST]
    entries = {*trials.enrol, *trials.test}
    members = {"test": [u for rows in scanned["VoxCeleb1"].values() for u in rows if u.id in entries]}
    if not members["test"]:
        raise UserError(
            f"none of the {len(entries)} files of the trial lists is in VoxCeleb1 (lists of another release?)"
        )
    if voxceleb2:
        pool = scanned["VoxCeleb2"].get("dev") or scanned["VoxCeleb2"].get("all")
        if pool is None:
            raise UserError(f"{voxceleb2}: only the test part is there; the cohort comes from the dev part")
        order = numpy_generator(seed, "cohort", "published").permutation(len(pool))[:cohort_size]
        members["cohort"] = sorted(pool[number] for number in order)
        common = {u.speaker for u in members["cohort"]} & {u.speaker for u in members["test"]}
        if common:
            raise UserError(f"{len(common)} speakers are in the cohort and in test, e.g. {min(common)}")
    members, seconds = readable(members, out, m4a=m4a, decoded=decoded, jobs=jobs, say=say)
    checked = {"train": [], "dev": [], **members}
    trials = check_trials(trials, LIST, checked, allow_missing=allow_partial, say=say)
    with building(out) as work:
        for name, rows in members.items():
            write_set(work / name, rows, seconds)
            hours = sum(seconds[utterance.id] for utterance in rows) / 3600
            say(f"{name}: {len(rows)} utterances of {len({u.speaker for u in rows})} speakers, {hours:.2f} h")
        write_trials(work / "test" / f"trials_{LIST}", trials)
        say(f"test/trials_{LIST}: {len(trials)} trials")
    return {name: len(rows) for name, rows in members.items()}
