"""Trial lists: reading both published forms, writing Kaldi's, drawing new ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from etdnn.data.datadir import read_lines, speaker_to_utterances
from etdnn.errors import UserError
from etdnn.files import atomic_path
from etdnn.seeding import numpy_generator

_KALDI = {"target": True, "nontarget": False}
_VOXCELEB = {"1": True, "0": False}


@dataclass(frozen=True)
class Trials:
    """A trial list: `enrol[i]` (an utterance or an enrolment name) against utterance `test[i]`; `target` is bool."""

    enrol: list[str]
    test: list[str]
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.enrol)

    def renamed(self, name_of: Callable[[str], str]) -> "Trials":
        """Return the list with every entry mapped by `name_of`."""
        return Trials([name_of(name) for name in self.enrol], [name_of(name) for name in self.test], self.target)

    def kept(self, keep: np.ndarray) -> "Trials":
        """Return the trials where boolean array `keep` holds."""
        index = np.flatnonzero(keep)
        return Trials([self.enrol[i] for i in index], [self.test[i] for i in index], self.target[index])


def read_trials(path: str | Path) -> Trials:
    """Read `enrol test target|nontarget` (Kaldi) or `1|0 enrol test` (VoxCeleb) lines; the first line decides which.

    Columns are separated by blanks, or by tabs alone where a line has tabs (names with spaces). Windows line ends are
    accepted. A malformed line or an empty file is a UserError with file and line.
    """
    lines = read_lines(path)
    if not lines:
        raise UserError(f"{path}: no trials in it")
    first = split_columns(lines[0])
    kaldi = len(first) == 3 and first[2] in _KALDI
    labels, place = (_KALDI, 2) if kaldi else (_VOXCELEB, 0)
    enrol: list[str] = []
    test: list[str] = []
    target = np.zeros(len(lines), bool)
    for number, line in enumerate(lines):
        columns = split_columns(line)
        if len(columns) != 3 or columns[place] not in labels:
            form = "'enrol test target|nontarget'" if kaldi else "'1|0 enrol test' or 'enrol test target|nontarget'"
            raise UserError(f"{path}:{number + 1}: expected {form}, found {line[:80]!r}")
        target[number] = labels[columns.pop(place)]
        enrol.append(columns[0])
        test.append(columns[1])
    return Trials(enrol, test, target)


def write_trials(path: str | Path, trials: Trials) -> None:
    """Write `enrol test target|nontarget` lines in the list's order, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape") as handle:
        words = ("nontarget", "target")
        rows = zip(trials.enrol, trials.test, trials.target.tolist(), strict=True)
        handle.writelines(f"{enrol} {test} {words[label]}\n" for enrol, test, label in rows)


def make_trials(
    utt2spk: Mapping[str, str],
    *,
    enrol: Sequence[str],
    test: Sequence[str],
    seed: int,
    purpose: str,
    utt2session: Mapping[str, str] | None = None,
    original: Mapping[str, str] | None = None,
    group: Mapping[str, str] | None = None,
    targets: int = 5000,
    nontargets: int = 10000,
) -> Trials:
    """Draw trials of `enrol` against `test` utterances, the same for the same (seed, purpose).

    Targets pair utterances of a speaker from two sessions where the speaker has several, else any two; speakers share
    `targets` evenly as far as their utterances go. Non-targets pair speakers of one `group` (speaker -> gender; None:
    any two). No pair comes twice in either order, and none joins an utterance with a copy of itself (`original`:
    copy -> original). Fewer are returned when there are no more. UserError when a class would be empty.
    """
    original = original or {}
    maker = _Pairs(utt2session or {}, original)
    enrol_of = speaker_to_utterances({utterance: utt2spk[utterance] for utterance in enrol})
    test_of = speaker_to_utterances({utterance: utt2spk[utterance] for utterance in test})
    generator = numpy_generator(seed, "trials", purpose)
    pairs = _targets(maker, enrol_of, test_of, targets, generator)
    count = len(pairs)
    if not count:
        raise UserError(f"trials {purpose}: no speaker has two utterances to make a target trial of")
    pairs += _nontargets(maker, enrol_of, test_of, group or {}, nontargets, generator)
    if len(pairs) == count:
        raise UserError(f"trials {purpose}: no two speakers (of one gender) to make a non-target trial of")
    target = np.zeros(len(pairs), bool)
    target[:count] = True
    order = generator.permutation(len(pairs))
    return Trials([pairs[i][0] for i in order], [pairs[i][1] for i in order], target[order])


class _Pairs:
    """What may be paired, and what has been."""

    def __init__(self, utt2session: Mapping[str, str], original: Mapping[str, str]):
        self.session = utt2session
        self.original = original
        self.seen: set[tuple[str, str]] = set()

    def same_source(self, enrol: str, test: str) -> bool:
        return self.original.get(enrol, enrol) == self.original.get(test, test)

    def other_session(self, enrol: str, test: str) -> bool:
        return self.session.get(self.original.get(enrol, enrol)) != self.session.get(self.original.get(test, test))

    def take(self, enrol: str, test: str) -> bool:
        """Note the pair; False when it was taken before, in either order, or joins an utterance with itself."""
        key = (enrol, test) if enrol < test else (test, enrol)
        if key in self.seen or self.same_source(enrol, test):
            return False
        self.seen.add(key)
        return True


def _targets(maker: _Pairs, enrol_of: dict, test_of: dict, wanted: int, generator: np.random.Generator) -> list:
    """Round after round one pair of every speaker that still has one, so that the classes stay balanced."""
    queues = []
    for speaker in sorted(enrol_of.keys() & test_of.keys()):
        left, right = enrol_of[speaker], test_of[speaker]
        sessions = {maker.session.get(maker.original.get(u, u)) for u in left}
        # all pairs of a speaker with thousands of utterances would be quadratic: some thousand draws are plenty
        limit = max(1000, 8 * wanted // len(enrol_of))
        if len(left) * len(right) <= limit:
            pairs = [(e, t) for e in left for t in right]
            generator.shuffle(pairs)
        else:
            rows = generator.integers(len(left), size=limit), generator.integers(len(right), size=limit)
            pairs = [(left[i], right[j]) for i, j in zip(*rows, strict=True)]
        across = [pair for pair in pairs if maker.other_session(*pair)] if len(sessions) > 1 else pairs
        queues.append(iter(across))
    taken: list[tuple[str, str]] = []
    while queues and len(taken) < wanted:
        alive = []
        for queue in queues:
            pair = next((tuple(pair) for pair in queue if maker.take(*pair)), None)
            if pair is None:
                continue
            alive.append(queue)
            if len(taken) < wanted:
                taken.append(pair)
        queues = alive
    return taken


def _nontargets(
    maker: _Pairs, enrol_of: dict, test_of: dict, group: Mapping[str, str], wanted: int, generator: np.random.Generator
) -> list:
    """Draw pairs of different speakers of one group, then an utterance of each; go through all where they are few."""
    by_group: dict[str, list[str]] = {}
    for speaker in test_of:
        by_group.setdefault(group.get(speaker, ""), []).append(speaker)
    rivals = {speaker: by_group.get(group.get(speaker, ""), []) for speaker in enrol_of}
    total = sum(len(enrol_of[first]) * len(test_of[second]) for first in rivals for second in rivals[first])
    if total <= max(100_000, 4 * wanted):
        pairs = [
            (left, right)
            for first, others in rivals.items()
            for second in others
            if second != first
            for left in enrol_of[first]
            for right in test_of[second]
        ]
        shuffled = (pairs[index] for index in generator.permutation(len(pairs)))
        return list(islice((pair for pair in shuffled if maker.take(*pair)), wanted))
    candidates = [speaker for speaker, others in rivals.items() if others and others != [speaker]]
    taken: list[tuple[str, str]] = []
    for _ in range(20 * wanted if candidates else 0):
        if len(taken) == wanted:
            break
        first = candidates[generator.integers(len(candidates))]
        second = rivals[first][generator.integers(len(rivals[first]))]
        left, right = enrol_of[first], test_of[second]
        pair = left[generator.integers(len(left))], right[generator.integers(len(right))]
        if second != first and maker.take(*pair):
            taken.append(pair)
    return taken


def split_columns(line: str) -> list[str]:
    """Return the columns of a line: between tabs where it has any (names with spaces), else between blanks."""
    return [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
