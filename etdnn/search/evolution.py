"""Evolution: the best subnet under a budget, from an objective that scores whole populations."""

import numpy as np

from etdnn.search.limits import Limits
from etdnn.search.population import Genome, crossover_digits, mutate_digits, sample_digits
from etdnn.search.problem import Archive

FREE = -1
"""In place of a depth: any."""
PARENTS = 24
"""The best individuals of an island, which may have children whatever their niche."""
GROUPS = 5
"""Groups of choices per gene that have a niche each."""
NICHE = 6
"""Individuals kept of each niche."""
BROOD = 256
"""Children of a generation before doubles are dropped; half as many mutants join them."""
OPENING = 800
"""Random individuals an island begins with."""
PATIENCE = 4
"""Generations without progress after which an island is searched around its best, then left."""
PAIRS = 600
"""In a fine space, at most this many two-gene neighbours of an individual are tried at once."""


def run_evolution(genome: Genome, limits: Limits, archive: Archive, evaluations: int, rng: np.random.Generator) -> None:
    """Fill `archive` with up to `evaluations` feasible subnets, ever closer to the best.

    Costs are known exactly beforehand, so infeasible children are repaired rather than scored. Islands are evolved one
    after the other, each until it stands still: one of what the archive holds already, if anything, then from a random
    start one of each depth (a deeper net has other genes, so
    its basins lie apart and a strong one would drown the others), then one of any depth that the best of all before
    join; and so on.
    Source: reference/efficienttdnn.md, section 5.4, for the published algorithm that this one replaces.
    """
    given = np.arange(archive.size)
    depths = _feasible_depths(genome, limits)
    turns = [*depths[::-1], FREE] if len(depths) > 1 else [depths[0], depths[0], FREE]
    island, leaders, poor = 0, [given], 0
    if len(given):
        leaders.append(_evolve_island(genome, limits, archive, evaluations, rng, given, FREE))
    while archive.size < evaluations and poor < len(turns):
        before, depth = archive.size, turns[island % len(turns)]
        drawn = np.concatenate([sample_digits(genome, OPENING, rng, tilted=tilted) for tilted in (False, True)])
        drawn = drawn[rng.permutation(len(drawn))[:OPENING]]
        opening = archive.add(repair(genome, limits, drawn, rng, depth), evaluations)
        if depth == FREE:
            opening = np.concatenate([opening, *leaders])
        leaders.append(_evolve_island(genome, limits, archive, evaluations, rng, np.unique(opening), depth))
        island += 1
        poor = poor + 1 if archive.size - before < evaluations // 50 else 0


def _feasible_depths(genome: Genome, limits: Limits) -> list[int]:
    """Return the digits of the depths at which the cheapest subnet keeps the budgets."""
    cheapest = np.zeros((int(genome.sizes[0]), genome.genes), dtype=np.int64)
    cheapest[:, 0] = np.arange(len(cheapest))
    return np.flatnonzero(limits.admits(genome.rows(cheapest))).tolist()


def _evolve_island(
    genome: Genome, limits: Limits, archive: Archive, evaluations: int, rng, places: np.ndarray, depth: int
) -> np.ndarray:
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
        fresh = [repair(genome, limits, np.concatenate([children, mutants]), rng, depth)]
        waiting = parents[~np.isin(parents, expanded)][:1]
        expanded = np.concatenate([expanded, waiting])
        fresh += [_single_neighbours(genome, archive.digits[place]) for place in waiting]
        if still > PATIENCE:
            waiting = parents[~np.isin(parents, doubled)][:1]
            doubled = np.concatenate([doubled, waiting])
            fresh += [_double_neighbours(genome, archive.digits[place], rng) for place in waiting]
        fresh = np.concatenate(fresh)
        if depth != FREE:
            fresh = fresh[fresh[:, 0] == depth]
        places = np.union1d(places, archive.add(fresh[limits.admits(genome.rows(fresh))], evaluations))
    return _parents(archive, places)


def repair(
    genome: Genome, limits: Limits, digits: np.ndarray, rng: np.random.Generator, depth: int = FREE
) -> np.ndarray:
    """Return `digits` with every infeasible individual shrunk until it just keeps the budgets.

    Each gene shrinks at its own random speed; a bisection finds the least common factor that fits, so individuals land
    close below the budget, in many different ways. At full strength the smallest subnet is left, which is feasible.
    With `depth` all get this depth (a digit, at which something must be feasible), which then does not shrink.
    """
    digits = digits.copy()
    if depth != FREE:
        digits[:, 0] = depth
    outside = np.flatnonzero(~limits.admits(genome.rows(digits)))
    if not len(outside):
        return digits
    origin = digits[outside]
    speed = rng.random(origin.shape) ** 2 + 0.02
    if depth != FREE:
        speed[:, 0] = 0
    low, high = np.zeros(len(outside)), np.full(len(outside), 1 / 0.02)
    for _ in range(9):
        middle = (low + high) / 2
        fits = limits.admits(genome.rows(_shrink(origin, speed, middle)))
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    digits[outside] = _shrink(origin, speed, high)
    return digits


def _shrink(origin: np.ndarray, speed: np.ndarray, strength: np.ndarray) -> np.ndarray:
    return np.rint(origin * np.maximum(1 - speed * strength[:, None], 0)).astype(np.int64)


def _parents(archive: Archive, places: np.ndarray) -> np.ndarray:
    """Return the places of the parents, best first: the best of all, and the best few with each choice of each gene.

    The latter keep basins alive that lie apart in one gene (a stem width, say) until they are well searched. In fine
    spaces neighbouring choices share a niche.
    """
    order = places[np.argsort(archive.values[places], kind="stable")]
    digits, sizes = archive.digits[order], archive.genome.sizes
    groups = digits * GROUPS // np.maximum(sizes, GROUPS)
    niches = np.where(archive.genome.present(digits), groups, -1)
    chosen = [np.arange(min(PARENTS, len(order)))]
    for group in range(GROUPS):
        member = niches == group
        rank = np.cumsum(member, axis=0)
        chosen.append(np.flatnonzero((member & (rank <= NICHE)).any(axis=1)))
    return order[np.unique(np.concatenate(chosen))]


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
