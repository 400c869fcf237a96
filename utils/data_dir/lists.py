"""Trial lists and enrolment lists of a data directory: reading, checking, keeping those whose utterances are there."""

from pathlib import Path

from reading import TableError, read_lines, shorten

CLASSES = ("target", "nontarget")


def read_trials(path):
    """Return the trials as [enrol, test, class]. Raises TableError with file and line."""
    trials = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in CLASSES:
            raise TableError(f"{path}:{number}: expected ENROL TEST target|nontarget, found: {shorten(line)}")
        trials.append(fields)
    return trials


def read_enrolment(path):
    """Return {model: [utterances]}. Raises TableError with file and line."""
    models = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) < 2:
            raise TableError(f"{path}:{number}: expected MODEL UTTERANCE..., found: {shorten(line)}")
        if fields[0] in models:
            raise TableError(f"{path}:{number}: the model {fields[0]} is there twice")
        models[fields[0]] = fields[1:]
    return models


def enrolment_of(trials_path):
    """Return the path of the enrolment list that goes with trials: enrol_NAME with trials_NAME, existing or not."""
    path = Path(trials_path)
    return path.with_name("enrol_" + path.name.removeprefix("trials_"))


def check_lists(directory, names, utterances):
    """Raise TableError, with file and line, for the first utterance or model of a list that is not there."""
    for name in names:
        path = Path(directory) / name
        if name.startswith("enrol_"):
            for number, (model, members) in enumerate(read_enrolment(path).items(), 1):
                for utterance in members:
                    if utterance not in utterances:
                        raise TableError(f"{path}:{number}: {utterance} of the model {model} is not in utt2spk")
            continue
        enrolment = enrolment_of(path)
        models = read_enrolment(enrolment) if enrolment.is_file() else utterances
        for number, (enrol, test, _) in enumerate(read_trials(path), 1):
            if enrol not in models and enrol not in utterances:
                place = enrolment.name if enrolment.is_file() else "utt2spk"
                raise TableError(f"{path}:{number}: {enrol} is not in {place}")
            if test not in utterances:
                raise TableError(f"{path}:{number}: {test} is not in utt2spk")


def change_lists(directory, names, change):
    """Return {name: (lines, lines before)} of the lists with every utterance replaced by `change(utterance)`.

    An utterance that changes to None is gone: it leaves its model, and trials with it are left out, as are models
    without utterances and their trials.
    """
    directory, result, models = Path(directory), {}, {}
    for name in sorted(names):  # enrol_ comes before trials_
        if name.startswith("enrol_"):
            before = read_enrolment(directory / name)
            after = {model: [new for new in map(change, members) if new] for model, members in before.items()}
            models[name] = {model: members for model, members in after.items() if members}
            result[name] = ([f"{model} {' '.join(members)}" for model, members in models[name].items()], len(before))
            continue
        known = models.get(enrolment_of(name).name, {})
        trials = read_trials(directory / name)
        lines = []
        for enrol, test, kind in trials:
            new_enrol, new_test = enrol if enrol in known else change(enrol), change(test)
            if new_enrol and new_test:
                lines.append(f"{new_enrol} {new_test} {kind}")
        result[name] = (lines, len(trials))
    return result
