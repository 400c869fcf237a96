"""Cosine scores of trial lists by index arrays, enrolment from several utterances, mean subtraction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etdnn.errors import UserError
from etdnn.scoring.embeddings import Embeddings


@dataclass(frozen=True)
class IndexedTrials:
    """A trial list as row numbers: trial i compares row `enrol[i]` with row `test[i]`.

    `kept` marks the trials of the list that are in it, `missing` names the ids that had no embedding (sorted).
    """

    enrol: np.ndarray
    test: np.ndarray
    kept: np.ndarray
    missing: list[str]


def shown_ids(ids: Sequence[str]) -> str:
    """Return how many ids have no embedding, and the first five of them."""
    return f"{len(ids)} ids have no embedding: {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}"


def length_normalise(matrix: np.ndarray) -> np.ndarray:
    """Return rows scaled to length one (float32); UserError for a row of zeros, which has no direction."""
    matrix = np.asarray(matrix, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    if not lengths.all():
        raise UserError(f"embeddings: row {int(np.argmin(lengths))} is all zeros, so it has no cosine; check the model")
    return (matrix / lengths[:, None]).astype(np.float32)


def index_trials(
    enrol: Sequence[str],
    test: Sequence[str],
    enrol_index: Mapping[str, int],
    test_index: Mapping[str, int],
    *,
    allow_missing: bool = False,
    where: str = "trials",
) -> IndexedTrials:
    """Turn ids into row numbers.

    Ids without an embedding are counted; UserError that lists five of them unless `allow_missing`, and always when no
    trial is left.
    """
    enrol_rows = np.fromiter((enrol_index.get(name, -1) for name in enrol), np.int64, len(enrol))
    test_rows = np.fromiter((test_index.get(name, -1) for name in test), np.int64, len(test))
    kept = (enrol_rows >= 0) & (test_rows >= 0)
    missing = {enrol[i] for i in np.flatnonzero(enrol_rows < 0)} | {test[i] for i in np.flatnonzero(test_rows < 0)}
    missing = sorted(missing)
    if missing and (not allow_missing or not kept.any()):
        hint = "no trial is left" if allow_missing else "--allow-missing leaves their trials out"
        raise UserError(f"{where}: {shown_ids(missing)} ({hint})")
    return IndexedTrials(enrol_rows[kept], test_rows[kept], kept, missing)


def cosine_scores(
    enrol: np.ndarray, test: np.ndarray, enrol_rows: np.ndarray, test_rows: np.ndarray, chunk: int = 1 << 15
) -> np.ndarray:
    """Return dot products of rows of length one, float32 [trials]; memory is bounded by `chunk` pairs."""
    scores = np.empty(enrol_rows.size, np.float32)
    for start in range(0, enrol_rows.size, chunk):
        part = slice(start, start + chunk)
        np.einsum("ij,ij->i", enrol[enrol_rows[part]], test[test_rows[part]], out=scores[part])
    return scores


def subtract_mean(matrix: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return embeddings less `mean` (of the cohort, never of the test set); before length normalisation."""
    return matrix - np.asarray(mean, dtype=np.float32)


def enrolment_models(
    embeddings: Embeddings, lists: Mapping[str, Sequence[str]], *, allow_missing: bool = False, where: str = "enrolment"
) -> Embeddings:
    """Return one embedding per enrolled name: the mean of its utterances' length-normalised embeddings.

    Utterances without an embedding are an error that lists five, or left out with `allow_missing` (a name with none
    left is left out too and then counts as missing in the trials).
    """
    absent = sorted({utterance for group in lists.values() for utterance in group if utterance not in embeddings.index})
    if absent and not allow_missing:
        raise UserError(f"{where}: {shown_ids(absent)} (--allow-missing leaves them out)")
    unit = length_normalise(embeddings.matrix)
    names, rows = [], []
    for name, group in lists.items():
        found = [embeddings.index[utterance] for utterance in group if utterance in embeddings.index]
        if found:
            names.append(name)
            rows.append(unit[found].mean(axis=0, dtype=np.float64).astype(np.float32))
    if not names:
        raise UserError(f"{where}: no enrolled name has an embedding")
    return Embeddings(names, np.stack(rows))


def speaker_means(embeddings: Embeddings, utt2spk: Mapping[str, str]) -> Embeddings:
    """Return one embedding per speaker, the mean of the raw ones; UserError for an utterance not in `utt2spk`."""
    unknown = next((name for name in embeddings.ids if name not in utt2spk), None)
    if unknown is not None:
        raise UserError(f"cohort: '{unknown}' is not in utt2spk of the training data; run stage 6 with --force")
    speakers, rows = np.unique([utt2spk[name] for name in embeddings.ids], return_inverse=True)
    sums = np.zeros((speakers.size, embeddings.matrix.shape[1]))
    np.add.at(sums, rows, embeddings.matrix)
    means = sums / np.bincount(rows)[:, None]
    return Embeddings(speakers.tolist(), means.astype(np.float32))
