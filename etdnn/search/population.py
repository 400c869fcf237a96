"""Populations: many archs as one integer array [n, 2M+4] with rows [depth, w0..wM, k0..kM, cat], absent genes 0.

Equal subnets are equal rows. Everything here works on whole arrays; nothing knows of budgets or values.
Source: reference/efficienttdnn.md, sections 2 and 4.1.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from etdnn.errors import UserError
from etdnn.model.arch import Arch, arch_to_row, row_to_arch
from etdnn.model.cost import macs, params
from etdnn.model.space import SearchSpace

COST_BINS = 20
"""Bins of equal width in log MACs that a stratified sample fills evenly."""


class ArchRows(Sequence):
    """A lazy sequence of Arch over population `rows`; `.rows` is the array itself, for vectorised objectives."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        return ArchRows(self.rows[index]) if isinstance(index, slice) else row_to_arch(self.rows[index])


class Genome:
    """The genes of a space: column g of a population takes one of `choices[g]`; `digits` are indices into the choices.

    Digits [n, G] exist for absent genes too (a deeper child then has something to grow from); rows do not show them.
    """

    def __init__(self, space: SearchSpace):
        self.space = space
        self.layers = space.depths[-1] + 1
        groups = [space.depths] + [space.widths] * self.layers + [space.kernels] * self.layers + [space.cats]
        self.choices = [np.array(group, dtype=np.int64) for group in groups]
        self.sizes = np.array([len(choice) for choice in self.choices], dtype=np.int64)
        self.genes = len(groups)
        self._table = np.zeros((self.genes, self.sizes.max()), dtype=np.int64)
        for gene, choice in enumerate(self.choices):
            self._table[gene, : len(choice)] = choice
        layer = np.tile(np.arange(self.layers), 2)
        present = layer[None, :] <= self.choices[0][:, None]
        self._present = np.ones((len(space.depths), self.genes), dtype=bool)
        self._present[:, 1:-1] = present
        self._weights = _key_weights(self.sizes + 1)

    def present(self, digits: np.ndarray) -> np.ndarray:
        """Tell which genes [n, G] the depth of each individual uses."""
        return self._present[digits[:, 0]]

    def rows(self, digits: np.ndarray) -> np.ndarray:
        """Return the population of `digits`, absent genes 0."""
        return np.where(self.present(digits), self._table[np.arange(self.genes), digits], 0)

    def digits(self, rows: np.ndarray) -> np.ndarray:
        """Return the digits of population `rows` (0 for absent genes); a value that is no choice is a UserError."""
        rows = np.atleast_2d(rows)
        if rows.shape[1] != self.genes:
            raise UserError(f"population has {rows.shape[1]} columns, space {self.space.name} needs {self.genes}")
        digits = np.empty(rows.shape, dtype=np.int64)
        for gene, choice in enumerate(self.choices):
            digits[:, gene] = np.searchsorted(choice, rows[:, gene]).clip(0, len(choice) - 1)
        wrong = np.argwhere(self.rows(digits) != rows)
        if len(wrong):
            row, gene = wrong[0]
            raise UserError(f"arch {row}: gene {gene} = {rows[row, gene]} is not a choice of space {self.space.name}")
        return digits

    def keys(self, digits: np.ndarray) -> np.ndarray:
        """Return one integer per individual (uint64 [n]); equal subnets, and only those, share it.

        Exact where the space fits 64 bits (the fine space takes 47), otherwise a 64-bit hash.
        """
        return (np.where(self.present(digits), digits + 1, 0).astype(np.uint64) * self._weights).sum(
            axis=1, dtype=np.uint64
        )


def _key_weights(radices: np.ndarray) -> np.ndarray:
    total, weights = 1, []
    for radix in radices:
        weights.append(total)
        total *= int(radix)
    if total < 2**64:
        return np.array(weights, dtype=np.uint64)
    return np.random.Generator(np.random.PCG64(0)).integers(1, 2**63, len(radices), dtype=np.uint64) * np.uint64(2) + (
        np.uint64(1)
    )


def archs_to_rows(archs: Iterable[Arch], space: SearchSpace) -> np.ndarray:
    """Return the population of `archs` in the columns of `space`; an arch deeper than the space is a UserError."""
    deepest = space.depths[-1]
    archs = list(archs)
    for arch in archs:
        if arch.depth > deepest:
            raise UserError(f"arch {arch}: depth {arch.depth} is beyond space {space.name}'s {deepest}")
    return np.array([arch_to_row(arch, deepest) for arch in archs], dtype=np.int64).reshape(-1, 2 * deepest + 4)


def unique(genome: Genome, digits: np.ndarray) -> np.ndarray:
    """Return `digits` without doubles; order is kept."""
    return digits[np.sort(np.unique(genome.keys(digits), return_index=True)[1])]


def sample_digits(genome: Genome, count: int, rng: np.random.Generator, *, tilted: bool = False) -> np.ndarray:
    """Draw `count` individuals: depth uniformly, then each gene uniformly, as published.

    With `tilted` every individual has its own leaning towards small or large choices, so that cheap and dear subnets,
    which a uniform draw almost never meets, are drawn as often as middling ones.
    """
    draws = rng.random((count, genome.genes))
    if tilted:
        draws = draws ** np.exp(rng.uniform(-2.5, 2.5, (count, 1)))
    return (draws * genome.sizes).astype(np.int64)


def sample(space: SearchSpace, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` rows drawn as published (depth uniform, then each dimension); doubles may occur."""
    genome = Genome(space)
    return genome.rows(sample_digits(genome, count, rng))


def sample_stratified(
    space: SearchSpace, count: int, rng: np.random.Generator, *, limit: float | None = None
) -> np.ndarray:
    """Return up to `count` different rows spread evenly over log MACs (optionally only up to `limit` MACs).

    Fewer come back only where the space has fewer. The bins run from the smallest subnet to the largest (or `limit`).
    """
    genome = Genome(space)
    if space.count() <= 4 * count:
        rows = np.concatenate(list(blocks(space)))
    else:
        rows = genome.rows(unique(genome, sample_digits(genome, 20 * count + 2000, rng, tilted=True)))
    cost = np.log(macs(rows, in_feats=space.in_feats, embedding=space.embedding))
    if limit is not None:
        rows, cost = rows[cost <= np.log(limit)], cost[cost <= np.log(limit)]
    if not len(rows):
        return rows
    corners = archs_to_rows([space.smallest, space.largest], space)
    low, high = np.log(macs(corners, in_feats=space.in_feats, embedding=space.embedding))
    high = high if limit is None else min(high, np.log(limit))
    bins = ((cost - low) / max(high - low, 1e-9) * COST_BINS).astype(np.int64).clip(0, COST_BINS - 1)
    order = np.lexsort((rng.random(len(rows)), bins))
    within = np.empty(len(rows), dtype=np.int64)
    starts = np.searchsorted(bins[order], np.arange(COST_BINS))
    within[order] = np.arange(len(rows)) - starts[bins[order]]
    chosen = np.lexsort((rng.random(len(rows)), within))[:count]
    return rows[chosen]


def mutate_digits(genome: Genome, digits: np.ndarray, rng: np.random.Generator, genes: float = 2.0) -> np.ndarray:
    """Return a copy in which about `genes` genes per individual (at least one) take another choice.

    Half of the changes go to a neighbouring choice, half anywhere: in fine spaces both scales matter.
    """
    changed = rng.random(digits.shape) < genes / genome.genes
    changed[np.arange(len(digits)), rng.integers(0, genome.genes, len(digits))] = True
    step = rng.choice(np.array([-1, 1]), digits.shape)
    near = digits + step
    near = np.where((near < 0) | (near >= genome.sizes), digits - step, near).clip(0, genome.sizes - 1)
    far = (rng.random(digits.shape) * np.maximum(genome.sizes - 1, 1)).astype(np.int64)
    far = (far + (far >= digits)).clip(0, genome.sizes - 1)
    return np.where(changed, np.where(rng.random(digits.shape) < 0.5, near, far), digits)


def mutate(space: SearchSpace, rows: np.ndarray, rng: np.random.Generator, genes: float = 2.0) -> np.ndarray:
    """Return mutated rows; a block that appears takes random genes. See `mutate_digits`."""
    genome = Genome(space)
    digits = genome.digits(rows)
    hidden = sample_digits(genome, len(digits), rng)
    return genome.rows(mutate_digits(genome, np.where(genome.present(digits), digits, hidden), rng, genes))


def crossover_digits(genome: Genome, one: np.ndarray, two: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return children [n, G] that take every gene from either parent; genes only one parent uses come from that one."""
    child = np.where(rng.random(one.shape) < 0.5, one, two)
    uses_one, uses_two = genome.present(one), genome.present(two)
    child = np.where(uses_one & ~uses_two, one, child)
    return np.where(uses_two & ~uses_one, two, child)


def crossover(space: SearchSpace, one: np.ndarray, two: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of children of row populations `one` and `two` of equal length; see `crossover_digits`."""
    genome = Genome(space)
    return genome.rows(crossover_digits(genome, genome.digits(one), genome.digits(two), rng))


def blocks(space: SearchSpace, size: int = 1 << 17) -> Iterator[np.ndarray]:
    """Yield all rows of the space in blocks of at most `size`, in a fixed order; for spaces that can be enumerated."""
    genome = Genome(space)
    for index in range(len(space.depths)):
        present = np.flatnonzero(genome._present[index])[1:]
        total = int(np.prod(genome.sizes[present]))
        for start in range(0, total, size):
            rest = np.arange(start, min(start + size, total))
            digits = np.zeros((len(rest), genome.genes), dtype=np.int64)
            digits[:, 0] = index
            for gene in present[::-1]:
                rest, digits[:, gene] = np.divmod(rest, genome.sizes[gene])
            yield genome.rows(digits)


def one_hot(space: SearchSpace, rows: np.ndarray) -> np.ndarray:
    """Return the published code (float32 [n, 48] coarse, [n, 408] fine): depth, widths, kernels, cat; absent: zeros."""
    genome = Genome(space)
    digits, present = genome.digits(rows), genome.present(genome.digits(rows))
    offsets = np.concatenate([[0], np.cumsum(genome.sizes)[:-1]])
    code = np.zeros((len(digits), genome.sizes.sum()), dtype=np.float32)
    lines, genes = np.nonzero(present)
    code[lines, offsets[genes] + digits[lines, genes]] = 1
    return code


def numeric(space: SearchSpace, rows: np.ndarray) -> np.ndarray:
    """Return features (float64 [n, F]) that serve any widths: per layer log2 width, kernel and their absence; totals.

    Scaled to about [0, 1] by the extremes of `space`. Columns: depth; log2 w0..wM and cat; k0..kM; one flag for each
    block that may be absent; log MACs; log params.
    """
    rows = np.atleast_2d(rows)
    layers = space.depths[-1] + 1
    sizes = {"in_feats": space.in_feats, "embedding": space.embedding}
    corners = archs_to_rows([space.smallest, space.largest], space)
    widths, kernels = rows[:, 1 : 1 + layers], rows[:, 1 + layers : 1 + 2 * layers]
    absent, logs = widths == 0, np.log2(np.maximum(widths, 1))
    columns = [
        _unit(rows[:, :1], space.depths[0], space.depths[-1]),
        np.where(absent, 0.0, _unit(logs, np.log2(space.widths[0]), np.log2(space.widths[-1]))),
        _unit(np.log2(rows[:, -1:]), np.log2(space.cats[0]), np.log2(space.cats[-1])),
        np.where(absent, 0.0, _unit(kernels, space.kernels[0], space.kernels[-1])),
        (~absent[:, space.depths[0] + 1 :]).astype(float),
    ]
    for cost in (macs, params):
        low, high = np.log(cost(corners, **sizes))
        columns.append(_unit(np.log(cost(rows, **sizes))[:, None], low, high))
    return np.concatenate(columns, axis=1)


def _unit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values - low) / max(high - low, 1e-9)
