"""AS-norm and calibration against plain cosine on one subnet's test lists, over cohorts drawn with several seeds.

python3 bench/backends.py egs/own/data egs/own/exp/own/subnet/45M [--sizes "200 1000 3200"] [--seeds 5] [--top-n 300]

Cohorts are drawn from the subnet's cohort embeddings (stage 6, `--cohort-size` as large as the training set for all of
it). EER in percent and minDCF(0.01), mean over the seeds with the least and the largest; then what the calibration from
dev does to the cost of decisions: actDCF(0.01) and Cllr of the raw scores taken as log likelihood ratios, and of the
calibrated ones.
"""

import argparse
from pathlib import Path

import numpy as np

from etdnn.data.datadir import DataDir
from etdnn.scoring.backends import Scorer
from etdnn.scoring.calibration import Calibration, bayes_threshold, cllr
from etdnn.scoring.embeddings import Embeddings, read_embeddings
from etdnn.scoring.evaluate import dev_thresholds, score_set
from etdnn.scoring.metrics import Curve, actual_dcf
from etdnn.seeding import numpy_generator

BACKENDS = ("cosine", "mean", "asnorm", "mean-asnorm")


def scored_by(cohort, embeddings, data, top):
    """Return set -> list -> scores of all back-ends."""
    result = {}
    for side in ("dev", "test"):
        scorer = Scorer(embeddings[side], cohort, BACKENDS, min(top, len(cohort.ids)))
        result[side] = score_set(data[side], scorer, data[side].trial_names(), False)
    return result


def figures(one, backend, fitted):
    """Return EER %, minDCF(0.01), and raw and calibrated actDCF(0.01) and Cllr of one list."""
    scores, target = one.scores[backend], one.trials.target
    curve = Curve.of(scores[target], scores[~target])
    costs = []
    for llr in (scores, Calibration(**fitted[backend]["calibration"]).apply(scores)):
        classes = llr[target], llr[~target]
        costs += [actual_dcf(*classes, bayes_threshold(0.01), 0.01), cllr(*classes)]
    return [100 * curve.eer(), curve.min_dcf(0.01), *costs]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data directories")
    parser.add_argument("subnet", type=Path, help="folder of a subnet with its embeddings")
    parser.add_argument("--sizes", default="200 1000 3200", help="utterances of the cohorts")
    parser.add_argument("--seeds", type=int, default=5, help="cohorts of each size")
    parser.add_argument("--top-n", type=int, default=300, help="cohort scores of AS-norm")
    arguments = parser.parse_args()
    names = ("test", "dev", "cohort")
    embeddings = {name: read_embeddings(arguments.subnet / "embeddings" / f"{name}.scp") for name in names}
    data = {name: DataDir(arguments.data / name) for name in ("test", "dev")}
    pool = embeddings["cohort"]
    header = ("list", "cohort", "back-end", "EER %", "(least, largest)", "minDCF", "(least, largest)",
              "actDCF raw", "calibrated", "Cllr raw", "calibrated")  # fmt: skip
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for size in map(int, arguments.sizes.split()):
        rows = {}
        for seed in range(arguments.seeds if size < len(pool.ids) else 1):
            chosen = np.sort(numpy_generator(seed, "bench cohort").permutation(len(pool.ids))[:size])
            cohort = Embeddings([pool.ids[i] for i in chosen], pool.matrix[chosen])
            scored = scored_by(cohort, embeddings, data, arguments.top_n)
            fitted = dev_thresholds(scored["dev"], BACKENDS, 0.01)
            for name, one in scored["test"].items():
                for backend in BACKENDS:
                    rows.setdefault((name, backend), []).append(figures(one, backend, fitted))
        for (name, backend), values in sorted(rows.items(), key=lambda row: (row[0][0], BACKENDS.index(row[0][1]))):
            mean, least, most = (reduce(values, 0) for reduce in (np.mean, np.min, np.max))
            cells = [name, f"{min(size, len(pool.ids))} x {len(values)}", backend, f"{mean[0]:.2f}",
                     f"({least[0]:.2f}, {most[0]:.2f})", f"{mean[1]:.3f}", f"({least[1]:.3f}, {most[1]:.3f})",
                     *(f"{mean[column]:.3f}" for column in (2, 4, 3, 5))]  # fmt: skip
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
