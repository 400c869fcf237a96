"""Durations in scores: against scikit-learn, and where durations matter the errors fall."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from etdnn.data.datadir import DataDir, write_data_dir
from etdnn.data.trials import Trials
from etdnn.errors import UserError
from etdnn.scoring.backends import ScoredTrials
from etdnn.scoring.calibration import bayes_threshold
from etdnn.scoring.metrics import eer
from etdnn.scoring.quality import add_quality, fit_quality, log_durations


def drawn(seed: int, count: int = 8000):
    """Scores that fall with the shorter side's duration, for targets and non-targets alike."""
    generator = np.random.default_rng(seed)
    durations = np.sort(np.log(generator.uniform(1, 20, (count, 2))), 1)
    target = generator.random(count) < 0.3
    return generator.normal(2.0 * target + 1.5 * durations[:, 0], 0.7), durations, target


@pytest.mark.parametrize("prior", [0.05, 0.5])
def test_like_scikit_learn(prior):
    scores, durations, target = drawn(0)
    weights = {True: prior / target.sum() * 1e4, False: (1 - prior) / (~target).sum() * 1e4}
    oracle = LogisticRegression(C=1e8, class_weight=weights, tol=1e-10, max_iter=5000)
    oracle.fit(np.column_stack((scores, durations)), target)
    fitted = fit_quality(scores, durations, target, prior)
    assert [fitted.score, fitted.shorter] == pytest.approx(oracle.coef_[0][:2], rel=2e-3)
    assert fitted.longer == pytest.approx(oracle.coef_[0][2], abs=0.01)
    assert fitted.offset == pytest.approx(oracle.intercept_[0] + bayes_threshold(prior), rel=5e-3)


def test_errors_fall_where_durations_matter_and_stay_where_they_do_not():
    fitted = fit_quality(*drawn(0), 0.1)
    scores, durations, target = drawn(1)
    better = fitted.apply(scores, durations)
    assert eer(better[target], better[~target]) < 0.6 * eer(scores[target], scores[~target])
    same = np.full_like(durations, np.log(3.0))
    fitted = fit_quality(scores, same, target, 0.1)
    assert (fitted.shorter, fitted.longer) == (0, 0) and fitted.score > 0


def test_scores_that_tell_nothing_are_refused():
    scores, durations, target = drawn(2)
    with pytest.raises(UserError, match="dev targets score no higher than nontargets"):
        fit_quality(-scores, durations, target)


def test_durations_of_both_sides_and_of_names_with_several_utterances(tmp_path):
    keys = {f"s-{n}": "s" for n in range(4)}
    write_data_dir(tmp_path / "d", {"utt2spk": keys, "utt2dur": {"s-0": 2, "s-1": 5, "s-2": 1.5}})
    (tmp_path / "d/enrol_x").write_text("anna s-0 s-1\n")
    trials = Trials(["anna", "s-0"], ["s-2", "s-1"], np.array([True, False]))
    assert np.allclose(np.exp(log_durations(DataDir(tmp_path / "d"), "x", trials)), [[1.5, 7], [2, 5]])
    with pytest.raises(UserError, match="utt2dur: no duration of 's-3'"):
        log_durations(DataDir(tmp_path / "d"), "x", Trials(["s-0"], ["s-3"], np.array([True])))


def test_every_list_gets_the_back_end_fitted_on_dev(tmp_path):
    folders, scored = {}, {}
    for seed, side in enumerate(("dev", "test")):
        scores, durations, target = drawn(seed, 2000)
        seconds = {f"s-{n:04d}-{way}": np.exp(durations[n, way]) for n in range(2000) for way in (0, 1)}
        write_data_dir(tmp_path / side, {"utt2spk": dict.fromkeys(seconds, "s"), "utt2dur": seconds})
        folders[side] = DataDir(tmp_path / side)
        # the longer side enrolls: which side is which does not matter
        trials = Trials([f"s-{n:04d}-1" for n in range(2000)], [f"s-{n:04d}-0" for n in range(2000)], target)
        scored[side] = {"main": ScoredTrials(trials, {"cosine": scores}, [])}
    numbers = add_quality(scored, folders, ["cosine"], 0.05)
    want = fit_quality(*drawn(0, 2000), 0.05)
    assert numbers["cosine+qmf"]["shorter"] == pytest.approx(want.shorter)
    scores, durations, _ = drawn(1, 2000)
    assert np.allclose(scored["test"]["main"].scores["cosine+qmf"], want.apply(scores, durations))
