"""Cosine, enrolment, missing ids, mean subtraction and AS-norm against loops in float64."""

import numpy as np
import pytest

from etdnn.data.trials import Trials
from etdnn.errors import UserError
from etdnn.scoring.asnorm import clamp_top, cohort_statistics
from etdnn.scoring.backends import BACKENDS, Scorer
from etdnn.scoring.cosine import index_trials, length_normalise, speaker_means
from etdnn.scoring.embeddings import Embeddings

NAMES = [f"u{i}" for i in range(30)]


@pytest.fixture
def embeddings():
    return Embeddings(NAMES, np.random.default_rng(0).normal(1, 3, (30, 16)).astype(np.float32))


@pytest.fixture
def cohort():
    return Embeddings([f"c{i}" for i in range(50)], np.random.default_rng(1).normal(1, 3, (50, 16)).astype(np.float32))


@pytest.fixture
def trials():
    generator = np.random.default_rng(2)
    pairs = generator.integers(30, size=(200, 2))
    return Trials([NAMES[a] for a, _ in pairs], [NAMES[b] for _, b in pairs], generator.random(200) < 0.5)


def loop_scores(left, right, cohort, name, top):
    """The definitions, one trial at a time in float64."""
    mean = cohort.mean(0)
    centre = mean if name.startswith("mean") else np.zeros_like(mean)
    unit = lambda vector: (vector - centre) / np.linalg.norm(vector - centre)  # noqa: E731
    score = unit(left) @ unit(right)
    if not name.endswith("asnorm"):
        return score
    total = 0
    for side in (left, right):
        best = sorted((unit(side) @ unit(other) for other in cohort), reverse=True)[:top]
        total += (score - np.mean(best)) / np.std(best)
    return total / 2


def test_every_backend_equals_a_loop(embeddings, cohort, trials):
    got = Scorer(embeddings, cohort, BACKENDS, top=20).score(trials).scores
    wide, other = embeddings.matrix.astype(np.float64), cohort.matrix.astype(np.float64)
    rows = [(embeddings.index[e], embeddings.index[t]) for e, t in zip(trials.enrol, trials.test, strict=True)]
    for name in BACKENDS:
        want = [loop_scores(wide[a], wide[b], other, name, 20) for a, b in rows]
        assert np.abs(got[name] - want).max() < 1e-4, name


def test_asnorm_does_not_depend_on_the_chunk():
    generator = np.random.default_rng(3)
    rows = length_normalise(generator.normal(size=(37, 24)))
    cohort = length_normalise(generator.normal(size=(100, 24)))
    whole = cohort_statistics(rows, cohort, 30, chunk=100)
    for chunk in (1, 5, 37):
        for one, other in zip(whole, cohort_statistics(rows, cohort, 30, chunk=chunk), strict=True):
            assert np.allclose(one, other, atol=1e-6)


def test_top_n_is_clamped_to_the_cohort():
    assert clamp_top(300, 50) == 50
    assert clamp_top(300, 6000) == 300
    with pytest.raises(UserError, match="at least 2"):
        clamp_top(300, 1)


def test_equal_cohort_scores_do_not_divide_by_zero():
    row = length_normalise(np.ones((1, 4)))
    _, deviation = cohort_statistics(row, np.repeat(row, 5, 0), 5)
    assert deviation[0] > 0


def test_missing_ids_are_counted_five_listed(embeddings):
    absent = [f"x{i}" for i in range(7)]
    with pytest.raises(UserError, match=r"data/trials_a: 7 ids .* x0, x1, x2, x3, x4, \.\.\. \(--allow-missing"):
        index_trials(absent, ["u1"] * 7, embeddings.index, embeddings.index, where="data/trials_a")


def test_missing_ids_can_be_left_out(embeddings, cohort):
    trials = Trials(["u0", "gone", "u2"], ["u1", "u1", "lost"], np.array([True, True, False]))
    scored = Scorer(embeddings, cohort, ["cosine"], 10).score(trials, allow_missing=True)
    assert scored.missing == ["gone", "lost"]
    assert scored.trials.enrol == ["u0"] and scored.scores["cosine"].shape == (1,)
    with pytest.raises(UserError, match="no trial is left"):
        Scorer(embeddings, cohort, ["cosine"], 10).score(Trials(["gone"], ["u1"], np.array([True])), allow_missing=True)


@pytest.mark.parametrize("name", BACKENDS)
def test_enrolment_from_several_utterances_is_averaged(embeddings, cohort, name):
    trials = Trials(["model", "single"], ["u5", "u6"], np.array([True, False]))
    enrolments = {"model": ["u0", "u1", "u2"], "single": ["u3"]}
    got = Scorer(embeddings, cohort, [name], 20).score(trials, enrolments).scores[name]
    single = Scorer(embeddings, cohort, [name], 20).score(Trials(["u3"], ["u6"], np.array([False]))).scores[name]
    assert got[1] == pytest.approx(single[0], abs=1e-5)
    if name == "cosine":
        model = length_normalise(embeddings.matrix)[:3].mean(0)
        test = length_normalise(embeddings.matrix)[5]
        assert got[0] == pytest.approx(model @ test / np.linalg.norm(model), abs=1e-6)


def test_missing_enrolment_utterances(embeddings, cohort):
    trials = Trials(["model"], ["u5"], np.array([True]))
    scorer = Scorer(embeddings, cohort, ["cosine"], 10)
    with pytest.raises(UserError, match="1 ids have no embedding: gone"):
        scorer.score(trials, {"model": ["u0", "gone"]})
    with_it = scorer.score(trials, {"model": ["u0", "gone"]}, allow_missing=True)
    assert with_it.scores["cosine"][0] == pytest.approx(scorer.score(trials, {"model": ["u0"]}).scores["cosine"][0])


def test_speaker_means(embeddings):
    utt2spk = {name: f"s{i % 3}" for i, name in enumerate(NAMES)}
    means = speaker_means(embeddings, utt2spk)
    assert means.ids == ["s0", "s1", "s2"]
    assert np.allclose(means.matrix[1], embeddings.matrix[1::3].mean(0), atol=1e-5)
    with pytest.raises(UserError, match="'u0' is not in utt2spk"):
        speaker_means(embeddings, {})


def test_zero_embedding_is_refused():
    with pytest.raises(UserError, match="row 1 is all zeros"):
        length_normalise(np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_unknown_backend(embeddings, cohort):
    with pytest.raises(UserError, match="back-end 'plda' is not one of cosine"):
        Scorer(embeddings, cohort, ["plda"], 10)
