"""Copies of training data as a data directory: the audio stays where it is, utt2aug says what features are made of.

What is drawn for a copy is a function of (seed, id of the copy, plan and noise lists), not of other utterances.
"""

import operator
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from etdnn.data.ark_index import Keys, read_marks, read_word_table
from etdnn.data.datadir import DataDir, read_table, speaker_to_utterances
from etdnn.errors import UserError
from etdnn.features.augment import ADDITIVE, format_recipe, length_factor, parse_recipe, sources_of
from etdnn.features.plan import CopySet, Plan
from etdnn.files import atomic_path
from etdnn.seeding import seed_of

_LISTS = {"noise": "noise.scp", "music": "music.scp", "babble": "babble.scp", "reverb": "rir.scp"}
_INHERITED = ("wav.scp", "segments", "utt2session")
_Copy = tuple[str, str, str]  # id, original, recipe
_Copies = tuple[list[str], list[str], list[str]]  # the same as columns, sorted by id
_generator = random.Random()  # seeded for each draw: to make one costs a second seeding


@dataclass(frozen=True)
class Material:
    """Ids to draw from by kind (noise, music, babble, reverb), and the audio file of every id."""

    ids: dict[str, list[str]]
    paths: dict[str, str]


def read_material(folder: Path | None, plan: Plan) -> Material:
    """Read the noise and impulse response lists of `folder` that a plan needs; what is missing is an empty list."""
    ids, paths = {}, {}
    for kind in sorted(plan.materials()):
        path = folder / _LISTS[kind] if folder else None
        table = read_table(path) if path and path.is_file() else {}
        for key, audio in table.items():
            if paths.setdefault(key, audio) != audio:
                raise UserError(f"{path}: id '{key}' stands for another file in another list of {folder}")
            if "," in key or "@" in key:
                raise UserError(f"{path}: id '{key}' may not hold ',' or '@'")
        ids[kind] = list(table)
    return Material(ids, paths)


def possible(plan: Plan, material: Material, folder: Path | None) -> tuple[Plan, list[str]]:
    """Return the plan without what there is no audio for, and a message for each part left out.

    UserError when a whole copy cannot be made.
    """
    messages, copies = [], []
    for copy in plan.copies:
        mixture = {}
        for effects, weight in copy.mixture.items():
            lacking = [effect for effect in effects.split("+") if not material.ids.get(effect, True)]
            if lacking:
                messages.append(f"copy '{copy.name}': no {_LISTS[lacking[0]]} in {folder}: '{effects}' is left out")
            else:
                mixture[effects] = weight
        if not mixture:
            raise UserError(
                f"copy '{copy.name}' of the plan needs {', '.join(copy.mixture)}, but {folder} has no such audio "
                "(give noises and rooms to stage 0, or take the copy out of the plan)"
            )
        copies.append(replace(copy, mixture=mixture))
    return replace(plan, copies=copies), messages


def draw_recipe(plan: Plan, copy: CopySet, material: Material, seed: int, utterance: str) -> dict[str, str] | None:
    """Draw what is done to `utterance` in `copy`; None when it is not in the copy's share."""
    generator = _generator
    generator.seed(seed_of(seed, "copy", copy.name, utterance))
    if generator.random() >= copy.share:
        return None
    effects = generator.choices(list(copy.mixture), list(copy.mixture.values()))[0].split("+")
    recipe = {}
    for effect in effects:
        if effect == "tempo":
            recipe[effect] = f"{generator.choice(plan.tempo_factors):g}"
        elif effect == "compand":
            recipe[effect] = "1"
        elif effect == "reverb":
            recipe[effect] = generator.choice(material.ids[effect])
        else:
            settings = plan.additive(effect)
            number = generator.randint(*settings.sources)
            pool = material.ids[effect]
            if number == 1:  # what sample draws, but sooner
                names = [generator.choice(pool)]
            else:
                names = generator.sample(pool, number) if number <= len(pool) else generator.choices(pool, k=number)
            recipe[effect] = f"{','.join(names)}@{generator.uniform(*settings.snr):.2f}"
    if plan.average_sources and recipe.keys() & set(ADDITIVE):
        recipe["average"] = "1"
    return recipe


def make_copies(
    source: Path, target: Path, plan: Plan, noise: Path | None, seed: int, say: Callable[[str], None] = print
) -> int:
    """Write the copies of data directory `source` as data directory `target`; return their number.

    Speed copies belong to new speakers `sp0.9-SPEAKER`, the others to the same speaker with the copy's name after the
    id. Leaves wav.scp, segments (where `source` has them), utt2spk, spk2utt, utt2session, utt2dur (of the copy),
    spk2gender, utt2aug, augment.scp and utt2uniq. With nothing to copy no directory is made.
    """
    data = DataDir(source)
    material = read_material(noise, plan)
    plan, messages = possible(plan, material, noise)
    for message in messages:
        say(f"warning: {message}")
    speakers = data.utt2spk
    keys, originals, recipes = copies = _columns(sorted(_all_copies(plan, material, seed, speakers)))
    if not keys:
        say(f"{source}: the plan makes no copies")
        return 0
    taken = next((key for key in keys if key in speakers), None)
    if taken is not None:
        raise UserError(f"{source}: utterance '{taken}' has the id that one of its copies would get (rename the copy)")
    _write_tables(target, copies, data, material)
    for name, number in _count(copies, plan).items():
        say(f"{target}: {number} copies '{name}'")
    return len(keys)


def _columns(rows: list[_Copy]) -> _Copies:
    """Return rows as columns, which take less memory and are written sooner."""
    return tuple([row[column] for row in rows] for column in range(3))


def _all_copies(plan: Plan, material: Material, seed: int, utterances: Iterable[str]) -> Iterator[_Copy]:
    """Yield (id of the copy, original, recipe)."""
    for speed in ("", *(f"{factor:g}" for factor in plan.speed_factors)):  # in long sorted runs, which sort quickly
        prefix, alone = (f"sp{speed}-", f"speed={speed}") if speed else ("", "")
        start = {"speed": speed} if speed else {}
        copies = [copy for copy in plan.copies if copy.of_speed_copies or not speed]
        for utterance in utterances:
            key = prefix + utterance
            if speed:
                yield key, utterance, alone
            for copy in copies:
                recipe = draw_recipe(plan, copy, material, seed, key)
                if recipe is not None:
                    yield f"{key}-{copy.name}", utterance, format_recipe(start | recipe)


def _write_tables(target: Path, copies: _Copies, data: DataDir, material: Material) -> None:
    """Write one table after the other, so that one at a time is in memory."""
    keys, originals, recipes = copies
    speakers = list(map(_speaker, recipes, map(data.utt2spk.__getitem__, originals)))
    _write(target / "utt2spk", keys, speakers)
    spk2utt = speaker_to_utterances(dict(zip(keys, speakers, strict=True)))
    _write(target / "spk2utt", spk2utt, map(" ".join, spk2utt.values()))
    _write(target / "utt2aug", keys, recipes)
    _write(target / "utt2uniq", keys, originals)
    for name in _INHERITED:
        table = data.table(name, required=name == "wav.scp")
        if name == "wav.scp" and data.segments:
            heard = {data.segments[original].recording for original in originals}
            kept = {key: entry for key, entry in table.items() if key in heard}
            _write(target / name, kept, kept.values())
        elif table:
            _write(target / name, keys, map(table.__getitem__, originals))
    if seconds := data.utt2dur:
        lengths = map(operator.mul, map(seconds.__getitem__, originals), map(_factor, recipes))
        _write(target / "utt2dur", keys, map("{:.6g}".format, lengths))
    if data.spk2gender:
        genders = dict(zip(speakers, map(data.utt2spk.__getitem__, originals), strict=True))
        genders = {new: data.spk2gender[old] for new, old in sorted(genders.items())}
        _write(target / "spk2gender", genders, genders.values())
    sounding = (recipe for recipe in recipes if "@" in recipe or "reverb=" in recipe)
    used = {name for recipe in sounding for name in sources_of(dict(word.split("=", 1) for word in recipe.split()))}
    _write(target / "augment.scp", sorted(used), map(material.paths.__getitem__, sorted(used)))


def _factor(recipe: str) -> float:
    """Return how many times longer a recipe makes an utterance; what changes the length stands in front."""
    if not recipe.startswith(("speed=", "tempo=")):
        return 1.0
    return _factor_of(*[word for word in recipe.split(" ", 2)[:2] if word.startswith(("speed=", "tempo="))])


@cache
def _factor_of(*words: str) -> float:
    return length_factor(parse_recipe(" ".join(words)))


def _speaker(recipe: str, speaker: str) -> str:
    """Return the speaker of a copy: another one at another speed."""
    return sys.intern(f"sp{recipe.split(None, 1)[0][6:]}-{speaker}") if recipe.startswith("speed=") else speaker


def _count(copies: _Copies, plan: Plan) -> dict[str, int]:
    """Return the number of copies of each kind (speed and name of the copy)."""
    names = [copy.name for copy in plan.copies]
    counts: dict[str, int] = {}
    for key, original, recipe in zip(*copies, strict=True):
        speed = recipe.split()[0] if recipe.startswith("speed=") else ""
        suffix = key[key.index(original) + len(original) + 1 :]
        name = " ".join(part for part in (speed, suffix if suffix in names else "") if part)
        counts[name] = counts.get(name, 0) + 1
    return counts


def recipes_with(directory: Path, keys: Keys, text: str) -> np.ndarray:
    """Return for each of `keys` whether its recipe in utt2aug holds `text`, bool; originals have no recipe.

    `speed=` marks copies at another speed, `@` (the SNR) copies with noise.
    """
    path = directory / "utt2aug"
    if not path.is_file():
        return np.zeros(len(keys), bool)
    known, marks = read_marks(path, text)
    positions = known.positions_of(keys)
    return (positions >= 0) & marks[positions]


def speeds_of(directory: Path, keys: Keys) -> np.ndarray:
    """Return the speed factor of each of `keys`, float64: 1 for originals, nan for copies that are more than that."""
    path = directory / "utt2aug"
    if not path.is_file():
        return np.ones(len(keys))
    known, codes, factors = read_word_table(path, _speed_alone)
    try:
        factors = np.array(factors, float)
    except ValueError as error:
        raise UserError(f"{path}: {error}, after 'speed='; make the copies again: stage 1") from None
    positions = known.positions_of(keys)
    return np.where(positions >= 0, factors[codes[positions]], 1.0)


def _speed_alone(recipe: bytes) -> bytes:
    recipe = recipe.strip()
    return recipe[6:] if recipe.startswith(b"speed=") and b" " not in recipe else b"nan"


def _write(path: Path, keys: Iterable[str], values: Iterable[str]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as handle:
        handle.writelines(map("{} {}\n".format, keys, values))
