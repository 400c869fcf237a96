"""Evolution: the best subnet under a budget, from an objective that scores whole populations."""

import numpy as np

from etdnn.search.limits import Limits
from etdnn.search.population import Genome, crossover_digits, mutate_digits, sample_digits
from etdnn.search.problem import Archive

PARENTS = 64
"""Individuals of an island that may have children: its best, and a third of them the best of each depth."""
BROOD = 256
"""Children of a generation before doubles are dropped; half as many mutants join them."""
OPENING = 800
"""Random individuals an island begins with."""
PATIENCE = 4
"""Generations without progress after which an island is searched around its best, then left."""
MERGE = 2
PAIRS = 600
"""In a fine space, at most this many two-gene neighbours of an individual are tried at once."""


def run_evolution(genome: Genome, limits: Limits, archive: Archive, evaluations: int, rng: np.random.Generator) -> None:
    """Fill `archive` with up to `evaluations` feasible subnets, ever closer to the best.

    Costs are known exactly beforehand, so infeasible children are repaired rather than scored. Islands are evolved one
    after the other, each from its own random start until it stands still, every second one from the best of all
    before: objectives with several basins are met with restarts, broad ones with the union.
    Source: reference/efficienttdnn.md, section 5.4, for the published algorithm that this one replaces.
    """
    given = np.arange(archive.size)
    islands, leaders, poor = 0, [given], 0
    while archive.size < evaluations and poor < 3:
        before = archive.size
        drawn = np.concatenate([sample_digits(genome, OPENING, rng, tilted=tilted) for tilted in (False, True)])
        opening = archive.add(repair(genome, limits, drawn[rng.permutation(len(drawn))[:OPENING]], rng), evaluations)
        if islands % MERGE == MERGE - 1:
            opening = np.concatenate([opening, *leaders])
        leaders.append(_evolve_island(genome, limits, archive, evaluations, rng, np.unique(opening)))
        islands += 1
        poor = poor + 1 if archive.size - before < evaluations // 50 else 0


def _evolve_island(genome, limits, archive: Archive, evaluations: int, rng, places: np.ndarray) -> np.ndarray:
    """Evolve the individuals at `places` of the archive until they stand still; return the places of the parents left.

    A generation has three sources: children of good parents, mutants of the best, and the one-gene neighbours of the
    best individual that was not searched around yet; when there is no progress, also the two-gene neighbours, so that
    an island ends in a subnet that no exchange of two genes improves.
    """
    expanded, doubled = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    best, still = np.inf, 0
    while archive.size < evaluations and still <= 2 * PATIENCE:
        parents = _parents(archive, places)
        if archive.values[parents[0]] < best:
            best, still = archive.values[parents[0]], 0
        still += 1
        genes = archive.digits[parents]
        one, two = (genes[_rank_draw(len(genes), BROOD, rng)] for _ in range(2))
        children = mutate_digits(genome, crossover_digits(genome, one, two, rng), rng, genes=1.0)
        mutants = mutate_digits(genome, genes[_rank_draw(len(genes), BROOD // 2, rng)], rng, genes=2.0)
        fresh = [repair(genome, limits, np.concatenate([children, mutants]), rng)]
        waiting = parents[~np.isin(parents, expanded)][:1]
        expanded = np.concatenate([expanded, waiting])
        fresh += [_single_neighbours(genome, archive.digits[place]) for place in waiting]
        if still > PATIENCE:
            waiting = parents[~np.isin(parents, doubled)][:1]
            doubled = np.concatenate([doubled, waiting])
            fresh += [_double_neighbours(genome, archive.digits[place], rng) for place in waiting]
        fresh = np.concatenate(fresh)
        places = np.union1d(places, archive.add(fresh[limits.admits(genome.rows(fresh))], evaluations))
    return _parents(archive, places)


def repair(genome: Genome, limits: Limits, digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `digits` with every infeasible individual shrunk until it just keeps the budgets.

    Each gene shrinks at its own random speed; a bisection finds the least common factor that fits, so individuals land
    close below the budget, in many different ways. At full strength the smallest subnet is left, which is feasible.
    """
    outside = np.flatnonzero(~limits.admits(genome.rows(digits)))
    if not len(outside):
        return digits
    origin = digits[outside]
    speed = rng.random(origin.shape) ** 2 + 0.02
    low, high = np.zeros(len(outside)), np.full(len(outside), 1 / 0.02)
    high = np.minimum(high, 1 / speed.min(axis=1))
    for _ in range(8):
        middle = (low + high) / 2
        fits = limits.admits(genome.rows(_shrink(origin, speed, middle)))
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    repaired = digits.copy()
    repaired[outside] = _shrink(origin, speed, high)
    return repaired


def _shrink(origin: np.ndarray, speed: np.ndarray, strength: np.ndarray) -> np.ndarray:
    return np.rint(origin * np.maximum(1 - speed * strength[:, None], 0)).astype(np.int64)


def _parents(archive: Archive, places: np.ndarray) -> np.ndarray:
    """Return the places of the parents, best first: the best of all, then the best of every depth."""
    order = places[np.argsort(archive.values[places], kind="stable")]
    depths = archive.digits[order, 0]
    chosen = [order[:PARENTS]] + [order[depths == depth][: PARENTS // 3] for depth in np.unique(depths)]
    chosen = np.concatenate(chosen)
    return chosen[np.sort(np.unique(chosen, return_index=True)[1])]


def _rank_draw(count: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return `draws` indices below `count`, the first ones (the best) oftener: the lower of two uniform draws."""
    return rng.integers(0, count, (2, draws)).min(axis=0)


def _exchanges(genome: Genome, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (gene, other choice) of every possible change of one gene that `centre` uses."""
    genes = np.repeat(np.arange(genome.genes), genome.sizes)
    choices = np.concatenate([np.arange(size) for size in genome.sizes])
    useful = (choices != centre[genes]) & genome.present(centre[None])[0][genes]
    return genes[useful], choices[useful]


def _single_neighbours(genome: Genome, centre: np.ndarray) -> np.ndarray:
    """Return all individuals that differ from `centre` in one gene."""
    genes, choices = _exchanges(genome, centre)
    single = np.repeat(centre[None], len(genes), axis=0)
    single[np.arange(len(genes)), genes] = choices
    return single


def _double_neighbours(genome: Genome, centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return individuals that differ from `centre` in two genes: all in a coarse space, PAIRS drawn in a fine one."""
    genes, choices = _exchanges(genome, centre)
    if len(genes) ** 2 < 4 * PAIRS:
        first, second = np.triu_indices(len(genes), 1)
    else:
        first, second = rng.integers(0, len(genes), (2, PAIRS))
    different = genes[first] != genes[second]
    first, second = first[different], second[different]
    double = np.repeat(centre[None], len(first), axis=0)
    double[np.arange(len(first)), genes[first]] = choices[first]
    double[np.arange(len(first)), genes[second]] = choices[second]
    return double
