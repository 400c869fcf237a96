"""Enrolment from several files: lists `NAME UTTERANCE...` beside a trial list, whose first side says NAME."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from etdnn.data.corpus import Utterance, id_of_path
from etdnn.data.datadir import read_lines
from etdnn.data.trials import Trials, split_columns
from etdnn.errors import UserError


def read_enrolments(path: str | Path) -> dict[str, list[str]]:
    """Return name -> utterance ids of a list whose lines are `NAME UTTERANCE...`, utterances as ids or as paths.

    UserError with file and line for a name without utterances or one that comes twice.
    """
    models: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, *utterances = split_columns(line) or [""]
        if not utterances:
            raise UserError(f"{path}:{number}: expected NAME UTTERANCE..., found '{line[:60]}'")
        if name in models:
            raise UserError(f"{path}:{number}: '{name}' is enrolled twice; put its utterances on one line")
        models[name] = [id_of_path(utterance) for utterance in utterances]
    return models


def check_enrolments(
    models: Mapping[str, Sequence[str]], name: str, trials: Trials, members: Mapping[str, Sequence[Utterance]]
) -> None:
    """Raise UserError unless enrolled utterances are of test, of one speaker a name, and trials name enrolled ones."""
    speaker_of = {utterance.id: utterance.speaker for utterance in members["test"]}
    absent = sorted({key for ids in models.values() for key in ids if key not in speaker_of})
    if absent:
        raise UserError(f"enrolment {name}: {len(absent)} utterances are not in test, e.g. {', '.join(absent[:5])}")
    mixed = next((model for model, ids in models.items() if len({speaker_of[key] for key in ids}) > 1), None)
    if mixed is not None:
        raise UserError(f"enrolment {name}: '{mixed}' has utterances of several speakers")
    unknown = sorted(set(trials.enrol) - models.keys())
    if unknown:
        raise UserError(f"trials {name}: {len(unknown)} names are not enrolled, e.g. {', '.join(unknown[:5])}")
