"""Adaptive symmetric score normalisation (AS-norm) against a cohort, per utterance and in bounded memory."""

import numpy as np

from etdnn.errors import UserError

_FLOOR = 1e-8
"""Least standard deviation, as the published evaluation has it."""


def clamp_top(top: int, cohort: int) -> int:
    """Return how many cohort scores are really used of the `top` that were asked for; UserError below 2."""
    used = min(top, cohort)
    if used < 2:
        raise UserError(f"AS-norm: needs at least 2 cohort scores, got top-n {top} of a cohort of {cohort}")
    return used


def cohort_statistics(
    embeddings: np.ndarray, cohort: np.ndarray, top: int, chunk: int = 512
) -> tuple[np.ndarray, np.ndarray]:
    """Return (mean, population standard deviation) of each row's `top` highest cohort cosines, float32 [utterances].

    `embeddings` [utterances, dim] and `cohort` [cohort, dim] hold rows of length one. Memory beyond these is
    chunk * len(cohort) floats: 12 MB for a cohort of 6,000. Sums are float64. Source: reference/efficienttdnn.md 6.
    """
    used = clamp_top(top, len(cohort))
    means = np.empty(len(embeddings), np.float32)
    deviations = np.empty(len(embeddings), np.float32)
    across = np.ascontiguousarray(np.asarray(cohort, dtype=np.float32).T)
    scores = np.empty((min(chunk, len(embeddings)), len(cohort)), np.float32)
    for start in range(0, len(embeddings), chunk):
        rows = np.asarray(embeddings[start : start + chunk], dtype=np.float32)
        part = np.matmul(rows, across, out=scores[: len(rows)])
        if used < len(cohort):
            part.partition(len(cohort) - used, axis=1)
        best = part[:, len(cohort) - used :].astype(np.float64)
        mean = best.mean(axis=1)
        best -= mean[:, None]
        means[start : start + chunk] = mean
        deviations[start : start + chunk] = np.sqrt(np.einsum("ij,ij->i", best, best) / used)
    return means, np.maximum(deviations, _FLOOR)


def normalise_scores(
    scores: np.ndarray,
    enrol_rows: np.ndarray,
    test_rows: np.ndarray,
    enrol_statistics: tuple[np.ndarray, np.ndarray],
    test_statistics: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Return ((s - mean_e) / std_e + (s - mean_t) / std_t) / 2 for every trial, float32."""
    enrol_mean, enrol_std = enrol_statistics
    test_mean, test_std = test_statistics
    z = (scores - enrol_mean[enrol_rows]) / enrol_std[enrol_rows]
    t = (scores - test_mean[test_rows]) / test_std[test_rows]
    return ((z + t) / 2).astype(np.float32)
