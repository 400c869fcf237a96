"""The dev set's two trial lists: as recorded, and across rooms and noises that training never hears."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etdnn.data.corpus import Utterance, audio_tables
from etdnn.data.trials import Trials, make_trials
from etdnn.errors import UserError
from etdnn.seeding import numpy_generator

SNR_RANGE = (5.0, 15.0)  # dB


@dataclass(frozen=True)
class DevLists:
    """Trials, and the rows that the cross copies add to the tables of data/dev."""

    clean: Trials
    cross: Trials
    extra: dict[str, dict[str, object]]


def make_dev_lists(
    utterances: Sequence[Utterance],
    seconds: Mapping[str, float],
    noises: Mapping[str, Mapping[str, str]],
    *,
    seed: int,
    group: Mapping[str, str] | None = None,
    targets: int = 5000,
    nontargets: int = 10000,
    per_speaker: int = 50,
) -> DevLists:
    """Draw trials_clean and trials_cross of the dev speakers.

    Both draw on at most `per_speaker` utterances of a speaker. In the cross list the enrolment is as recorded and the
    test side a copy (`ID-cross`, made when features are) of another utterance in a room and noise of `noises`, kind ->
    id -> path of what was kept out of training. Non-targets are of one `group` (speaker -> gender, say). UserError when
    the speakers have too few utterances, or when there is neither a noise nor a room.
    """
    chosen = _choose(utterances, per_speaker, seed)
    rows = {utterance.id: utterance for utterance in chosen}
    utt2spk = {key: utterance.speaker for key, utterance in rows.items()}
    utt2session = {key: utterance.session for key, utterance in rows.items()}
    common = {"seed": seed, "utt2session": utt2session, "group": group, "targets": targets, "nontargets": nontargets}
    clean = make_trials(utt2spk, enrol=list(rows), test=list(rows), purpose="dev clean", **common)

    original = {f"{key}-cross": key for key in rows}
    both = utt2spk | {copy: utt2spk[key] for copy, key in original.items()}
    cross = make_trials(both, enrol=list(rows), test=list(original), purpose="dev cross", original=original, **common)
    used = {copy: original[copy] for copy in sorted(set(cross.test))}
    recipes, sources = _recipes(used, noises, seed)
    extra: dict[str, dict[str, object]] = {
        **audio_tables({copy: rows[key] for copy, key in used.items()}),
        "utt2spk": {copy: rows[key].speaker for copy, key in used.items()},
        "utt2session": {copy: f"{rows[key].session}-cross" for copy, key in used.items()},
        "utt2dur": {copy: seconds[key] for copy, key in used.items()},
        "utt2uniq": {utterance.id: utterance.id for utterance in utterances} | used,
        "utt2aug": recipes,
        "augment.scp": sources,
    }
    return DevLists(clean, cross, extra)


def _choose(utterances: Sequence[Utterance], per_speaker: int, seed: int) -> list[Utterance]:
    """Take at most `per_speaker` of each speaker, turn by turn from its sessions."""
    sessions: dict[str, dict[str, list[Utterance]]] = {}
    for utterance in utterances:
        sessions.setdefault(utterance.speaker, {}).setdefault(utterance.session, []).append(utterance)
    chosen: list[Utterance] = []
    for speaker, by_session in sorted(sessions.items()):
        ranked = []
        for members in by_session.values():
            order = numpy_generator(seed, "dev utterances", speaker, members[0].session).permutation(len(members))
            ranked += [(turn, members[index]) for turn, index in enumerate(order)]
        chosen += [utterance for _, utterance in sorted(ranked)[:per_speaker]]
    return sorted(chosen)


def _recipes(
    copies: Mapping[str, str], noises: Mapping[str, Mapping[str, str]], seed: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Return copy -> recipe (a room, then a noise or music), and the files that the recipes name."""
    rooms = sorted(noises.get("rir", {}))
    sounds = [(kind, key) for kind in ("noise", "music") for key in sorted(noises.get(kind, {}))]
    if not rooms and not sounds:
        raise UserError("no room and no noise is kept for dev: the cross list needs at least one (give more files)")
    recipes: dict[str, str] = {}
    used: dict[str, str] = {}
    for copy in copies:
        generator = numpy_generator(seed, "dev cross copy", copy)
        steps = []
        if rooms:
            room = rooms[generator.integers(len(rooms))]
            used[room] = noises["rir"][room]
            steps.append(f"reverb={room}")
        if sounds:
            kind, key = sounds[generator.integers(len(sounds))]
            used[key] = noises[kind][key]
            steps.append(f"{kind}={key}@{generator.uniform(*SNR_RANGE):.1f}")
        recipes[copy] = " ".join(steps)
    return recipes, used
