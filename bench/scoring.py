"""Scoring at VoxCeleb's size against scikit-learn and against loops over trials; prints ratios measured in this run.

python3 bench/scoring.py [--trials 579818] [--utterances 145160] [--cohort 6000]
"""

import argparse
import time
import tracemalloc

import numpy as np

from etdnn.scoring.asnorm import cohort_statistics, normalise_scores
from etdnn.scoring.bootstrap import bootstrap
from etdnn.scoring.cosine import cosine_scores, length_normalise
from etdnn.scoring.metrics import Curve


def seconds(call, repeats=3):
    """Return the least time of `repeats` calls, and the last result."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return best, result


def by_sklearn(scores, target):
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    accept, hit, _ = roc_curve(target, scores)
    rate = brentq(lambda x: 1 - x - np.interp(x, accept, hit), 0, 1)
    return rate, float(((0.01 * (1 - hit) + 0.99 * accept) / 0.01).min())


def by_curve(scores, target):
    curve = Curve.of(scores[target], scores[~target])
    return curve.eer(), curve.min_dcf(0.01)


def asnorm(unit, cohort, enrol, test, top):
    statistics = cohort_statistics(unit, cohort, top)
    return normalise_scores(cosine_scores(unit, unit, enrol, test), enrol, test, statistics, statistics)


def asnorm_loop(unit, cohort, enrol, test, top):
    """Return scores trial by trial, both sides compared with the cohort each time."""
    scores = np.empty(enrol.size)
    for i, (a, b) in enumerate(zip(enrol.tolist(), test.tolist(), strict=True)):
        score, total = unit[a] @ unit[b], 0.0
        for side in (unit[a], unit[b]):
            best = np.partition(cohort @ side, len(cohort) - top)[-top:]
            total += (score - best.mean(dtype=np.float64)) / best.std(dtype=np.float64)
        scores[i] = total / 2
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=579_818)
    parser.add_argument("--utterances", type=int, default=145_160)
    parser.add_argument("--cohort", type=int, default=6_000)
    parser.add_argument("--loop-trials", type=int, default=500, help="trials of the loop, whose time is scaled up")
    args = parser.parse_args()

    generator = np.random.default_rng(0)
    speakers = 1251
    owner = generator.integers(speakers, size=args.utterances)
    voices = generator.normal(size=(speakers, 192))
    unit = length_normalise(voices[owner] + 1.5 * generator.normal(size=(args.utterances, 192)))
    cohort = length_normalise(generator.normal(size=(args.cohort, 192)))
    by_owner = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[by_owner], np.arange(speakers))
    sizes = np.bincount(owner, minlength=speakers)
    enrol = generator.integers(args.utterances, size=args.trials)
    mate = by_owner[starts[owner[enrol]] + generator.integers(0, sizes[owner[enrol]])]
    test = np.where(generator.random(args.trials) < 0.5, mate, generator.integers(args.utterances, size=args.trials))
    target = owner[enrol] == owner[test]

    time_cosine, scores = seconds(lambda: cosine_scores(unit, unit, enrol, test))
    print(f"cosine of {args.trials:,} trials: {time_cosine:.2f} s")

    tracemalloc.start()
    time_ours, ours = seconds(lambda: asnorm(unit, cohort, enrol, test, 300), 1)
    more = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    some = slice(0, args.loop_trials)
    time_loop, loop = seconds(lambda: asnorm_loop(unit, cohort, enrol[some], test[some], 300), 1)
    time_loop *= args.trials / args.loop_trials
    print(f"AS-norm, {args.utterances:,} utterances x {args.cohort:,}, {args.trials:,} trials: {time_ours:.2f} s, "
          f"{more:.0f} MB besides the embeddings; loop over trials {time_loop:.0f} s (from {args.loop_trials} trials), "
          f"largest difference {np.abs(ours[some] - loop).max():.1e}")  # fmt: skip
    print(f"ratio asnorm/loop: {time_loop / time_ours:.0f}x (aim 50x)")

    time_ours, ours = seconds(lambda: by_curve(scores, target))
    time_sklearn, oracle = seconds(lambda: by_sklearn(scores, target))
    print(
        f"EER and minDCF of {args.trials:,} trials: {time_ours * 1e3:.0f} ms, scikit-learn {time_sklearn * 1e3:.0f} ms"
    )
    print(f"differences: EER {abs(ours[0] - oracle[0]):.1e}, minDCF {abs(ours[1] - oracle[1]):.1e}")
    print(f"ratio metrics/scikit-learn: {time_sklearn / time_ours:.1f}x (aim 3x)")

    time_boot, _ = seconds(lambda: bootstrap([scores], target, owner[enrol], owner[test], seed=0, replicates=100), 1)
    print(f"bootstrap over {speakers} speakers, 100 draws: {time_boot:.2f} s")
    print(f"ratio bootstrap/scikit-learn per draw: {100 * time_sklearn / time_boot:.0f}x")


if __name__ == "__main__":
    main()
