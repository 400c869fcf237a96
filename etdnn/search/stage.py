"""Stage 4 as a function that is called until nothing is left to measure.

What is found for a budget depends on (seed, options, supernet, dev data, budget) alone: the evaluations file is a
cache, so neither the order of budgets, nor the number of jobs, nor a kill changes the result.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from etdnn.errors import UserError
from etdnn.files import hash_text, write_json, write_text
from etdnn.model.arch import Arch
from etdnn.model.budget import Budget
from etdnn.model.latency import LatencyTable
from etdnn.model.space import SearchSpace
from etdnn.search.controls import controls
from etdnn.search.limits import Limits
from etdnn.search.methods import METHODS
from etdnn.search.population import ArchRows, Genome, archs_to_rows, sample_digits, sample_stratified, unique
from etdnn.search.predictor import Predictor, Quality, cross_validate, fit_predictor
from etdnn.search.records import Evaluation, Protocol
from etdnn.search.settings import SearchSettings
from etdnn.seeding import numpy_generator, seed_of

MEASURE, CONFIRM = "measure", "confirm"
"""The two ways a subnet is measured: for the search, and again with other calibration crops for the comparison."""


def calibration_seed(seed: int, task: str) -> int:
    """Return the seed of the calibration crops of a task: the search's own, or another for the comparison."""
    return seed if task == MEASURE else seed_of(seed, task)


class NotMeasured(Exception):  # noqa: N818 (a signal, not an error)
    """Subnets must be measured before the search can go on."""

    def __init__(self, task: str, archs: Iterable[str]):
        super().__init__(task)
        self.wanted = [(task, arch) for arch in archs]


@dataclass
class Study:
    """One call of stage 4: what is searched, how, and all evaluations known so far (by protocol and arch)."""

    folder: Path
    space: SearchSpace
    supernet_space: SearchSpace
    settings: SearchSettings
    seed: int
    protocols: dict[str, Protocol]
    known: dict[tuple[Protocol, str], Evaluation] = field(repr=False)
    latency_table: LatencyTable | None = None

    def measured(self, archs: Iterable[Arch | str], task: str = MEASURE) -> list[Evaluation]:
        """Return the evaluations of `archs` in their order; raises NotMeasured with those that have none."""
        keys = [(self.protocols[task], str(arch)) for arch in archs]
        missing = [arch for protocol, arch in keys if (protocol, arch) not in self.known]
        if missing:
            raise NotMeasured(task, dict.fromkeys(missing))
        return [self.known[key] for key in keys]

    def limits(self, budget: Budget) -> Limits:
        """Return the limits of one budget."""
        return Limits.make(self.space, **{budget.kind: budget}, latency_table=self.latency_table)

    def sample(self) -> list[Arch]:
        """Return the subnets measured whatever the budget: the two corners, then the seeded sample."""
        rng = numpy_generator(self.seed, "search sample")
        count = min(self.settings.samples, self.space.count())
        if self.settings.sampling == "stratified":
            rows = sample_stratified(self.space, count, rng)
        else:
            genome = Genome(self.space)
            rows = genome.rows(unique(genome, sample_digits(genome, 2 * count, rng))[:count])
        corners = archs_to_rows([self.space.largest, self.space.smallest], self.space)
        return _archs(np.concatenate([corners, rows]))

    def fit(self, evaluations: list[Evaluation], *, keep: bool = False) -> Predictor:
        """Return the predictor fitted to the ok ones among `evaluations`; `keep` stores it for next time."""
        rows, targets = self.training_set(evaluations)
        path = self._kept("predictor", "npz", rows, targets)
        if keep and path.is_file():
            return Predictor.load(path)
        predictor = fit_predictor(self.settings.predictor, self.space, rows, targets, seed=self.seed)
        if keep:
            predictor.save(path)
            self._remove_others(path)
        return predictor

    def quality(self, sample: list[Evaluation]) -> dict[str, Quality]:
        """Return how predictor and baselines (`macs`, `linear`) do on held-out evaluations of the sample; kept."""
        rows, targets = self.training_set(sample)
        path = self._kept("quality", "json", rows, targets)
        if not path.is_file():
            kinds = (self.settings.predictor, "macs", "linear")
            found = {kind: cross_validate(kind, self.space, rows, targets, seed=self.seed) for kind in kinds}
            write_json(path, {kind: asdict(quality) for kind, quality in found.items()})
            self._remove_others(path)
        return {kind: Quality(**values) for kind, values in json.loads(path.read_text(encoding="utf-8")).items()}

    def _kept(self, name: str, form: str, rows: np.ndarray, targets: np.ndarray) -> Path:
        """Return the file of something that depends on the predictor's kind, the space, the seed and these samples."""
        given = [self.settings.predictor, self.space.hash, self.seed, rows.tolist(), targets.tolist()]
        return self.folder / f"{name}.{hash_text(json.dumps(given))}.{form}"

    def _remove_others(self, path: Path) -> None:
        for old in self.folder.glob(f"{path.name.split('.')[0]}.*{path.suffix}"):
            if old != path:
                old.unlink()

    def training_set(self, evaluations: list[Evaluation]) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and targets of the ok evaluations; a UserError if there are too few to fit."""
        good = [row for row in evaluations if row.status == "ok"]
        if len(good) < 8:
            raise UserError(
                f"search: {len(good)} of {len(evaluations)} measured subnets have finite values; "
                "the supernet or the dev features are broken (8 are needed)"
            )
        rows = archs_to_rows((Arch.parse(row.arch) for row in good), self.space)
        return rows, np.array([getattr(row, self.settings.target) for row in good])

    def propose(self, limits: Limits, evaluations: list[Evaluation], *, first: bool) -> tuple[list[str], int]:
        """Return the subnets worth measuring next, and how many others were predicted.

        The search begins around the best measured ones, so that in the fine space nothing of the coarse one is lost.
        Half are those of lowest predicted error, half those of lowest optimistic error (prediction less a deviation).
        The answer is kept in <folder>/proposals, for it depends on the arguments alone.
        """
        settings = self.settings
        table = self.latency_table.hash if any(budget.kind == "latency" for budget in limits.budgets) else None
        asked = [
            [asdict(budget) for budget in limits.budgets], table, self.space.hash, self.seed, settings.predictor,
            settings.method, settings.evaluations, settings.target, settings.candidates,
            [(row.arch, row.objective, row.smooth, row.status) for row in evaluations],
        ]  # fmt: skip
        path = self.folder / "proposals" / f"{hash_text(json.dumps(asked))}.json"
        if path.is_file():
            answer = json.loads(path.read_text(encoding="utf-8"))
            return answer["archs"], answer["predicted"]
        predictor = self.fit(evaluations, keep=first)
        measured = sorted(fitting_only(self.space, limits, evaluations), key=lambda row: getattr(row, settings.target))
        start = [Arch.parse(row.arch) for row in measured[: settings.candidates]]
        result = METHODS[settings.method](
            self.space, predictor, **limits.options(), evaluations=settings.evaluations, seed=self.seed, start=start
        )  # fmt: skip
        done = {row.arch for row in evaluations}
        rows = result.rows[: 50 * settings.candidates]
        mean, deviation = predictor.predict(rows, deviation=True)
        orders = [np.argsort(mean, kind="stable"), np.argsort(mean - deviation, kind="stable")]
        archs: dict[str, None] = {}
        for order, share in zip(orders, (-(-settings.candidates // 2), settings.candidates), strict=True):
            for arch in map(str, _archs(rows[order])):
                if len(archs) >= share:
                    break
                if arch not in done:
                    archs[arch] = None
        rest = result.evaluations - self._shared(result.rows, evaluations) - len(archs)
        write_text(path, json.dumps({"archs": list(archs), "predicted": rest}) + "\n")
        return list(archs), rest

    def _shared(self, rows: np.ndarray, evaluations: list[Evaluation]) -> int:
        """Return how many of `rows` have been measured."""
        genome = Genome(self.space)
        measured = archs_to_rows((Arch.parse(row.arch) for row in evaluations), self.space)
        return int(np.isin(genome.keys(genome.digits(rows)), genome.keys(genome.digits(measured))).sum())

    def search(self, budget: Budget) -> "Finding":
        """Return what was found for `budget`; raises NotMeasured with what has to be measured first."""
        limits = self.limits(budget)
        sample = self.measured(self.sample())
        self.training_set(sample)
        rivals = controls(self.space, limits, self.supernet_space)
        waiting = [str(arch) for arch in rivals.values() if self.space.contains(arch)]
        evaluations, predicted = list(sample), 0
        for number in range(self.settings.rounds):
            archs, predicted = self.propose(limits, evaluations, first=number == 0)
            known = {row.arch for row in evaluations}
            fresh = self.measured(dict.fromkeys([*waiting, *archs]))
            evaluations += [row for row in fresh if row.arch not in known]
            waiting = []
        known = {row.arch for row in evaluations}
        evaluations += [row for row in self.measured(waiting) if row.arch not in known]
        finalists, predictor = self._finalists(limits, evaluations)
        finding = Finding(self, budget, limits, sample, evaluations, finalists, predictor, predicted, rivals)
        self.measured(finding.compared().values(), CONFIRM)
        return finding

    def _finalists(
        self, limits: Limits, evaluations: list[Evaluation]
    ) -> tuple[list[tuple[Evaluation, float]], Predictor]:
        """Return the measured subnets that fit and that the last fit ranks best, with their predictions."""
        predictor = self.fit(evaluations)
        fitting = fitting_only(self.space, limits, evaluations)
        if not fitting:
            raise UserError(f"search: no measured subnet keeps the budget {limits.name} with finite values")
        rows = archs_to_rows((Arch.parse(row.arch) for row in fitting), self.space)
        predicted = predictor.predict(rows)
        order = np.argsort(predicted, kind="stable")[: self.settings.finalists]
        return [(fitting[index], float(predicted[index])) for index in order], predictor


def _archs(rows: np.ndarray) -> list[Arch]:
    return list(dict.fromkeys(ArchRows(rows)))


def fitting_only(space: SearchSpace, limits: Limits, evaluations: list[Evaluation]) -> list[Evaluation]:
    """Return the ok evaluations whose arch keeps the limits."""
    good = [row for row in evaluations if row.status == "ok"]
    if not good:
        return []
    fits = limits.admits(archs_to_rows((Arch.parse(row.arch) for row in good), space))
    return [row for row, fit in zip(good, fits, strict=True) if fit]


@dataclass
class Finding:
    """The outcome for one budget: finalists with predictions, the choice, and what it is compared with.

    `predicted` counts the subnets that the last round looked through by prediction and did not measure.
    """

    study: Study
    budget: Budget
    limits: Limits
    sample: list[Evaluation]
    evaluations: list[Evaluation]
    finalists: list[tuple[Evaluation, float]]
    predictor: Predictor
    predicted: int
    rivals: dict[str, Arch]

    @property
    def best(self) -> Evaluation:
        """The finalist with the lowest measured target; of equals the one that is better otherwise, then cheaper."""
        target = self.study.settings.target
        return min((row for row, _ in self.finalists), key=lambda row: (
            getattr(row, target), row.objective, row.smooth, row.macs, row.arch))  # fmt: skip

    def best_of_sample(self) -> Evaluation | None:
        """Return the best measured subnet of the random sample that fits, None if none does."""
        target = self.study.settings.target
        fitting = fitting_only(self.study.space, self.limits, self.sample)
        return min(fitting, key=lambda row: (getattr(row, target), row.macs, row.arch), default=None)

    def compared(self) -> dict[str, str]:
        """Return name -> arch of what is measured again with other calibration crops: the choice and its rivals."""
        archs = {"chosen": self.best.arch}
        random = self.best_of_sample()
        if random is not None:
            archs["best of the sample"] = random.arch
        return {**archs, **{name: str(arch) for name, arch in self.rivals.items()}}
