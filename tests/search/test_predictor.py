import numpy as np
import pytest
from objectives import make_objective

from etdnn.errors import UserError
from etdnn.model.cost import macs
from etdnn.search import gaussian, networks
from etdnn.search.population import sample, sample_stratified
from etdnn.search.predictor import Predictor, cross_validate, fit_predictor, kendall_tau, linear_baseline

KINDS = ["gaussian_process", "one_hot_mlp", "ensemble"]
NOISE = 0.1


@pytest.fixture(scope="module")
def measured(coarse):
    """Return objective, rows and noisy targets of 250 subnets, and rows the predictor has not seen."""
    objective = make_objective(coarse, "interaction", 0)
    rng = np.random.default_rng(1)
    rows = sample_stratified(coarse, 250, rng)
    return objective, rows, objective(rows) + rng.normal(0, NOISE, len(rows)), sample(coarse, 1000, rng)


@pytest.mark.parametrize("kind", KINDS)
def test_predictors_rank_unseen_subnets_repeat_and_survive_a_file(coarse, measured, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(networks, "LEAST_STEPS", 100)
    monkeypatch.setattr(networks.Ensemble, "steps", 200)
    objective, rows, targets, unseen = measured
    rows, targets = rows[:150], targets[:150]
    predictor = fit_predictor(kind, coarse, rows, targets, seed=3)
    predicted = predictor.predict(unseen)
    by_macs = abs(kendall_tau(macs(unseen), objective(unseen)))
    assert kendall_tau(predicted, objective(unseen)) > by_macs + 0.15
    assert np.array_equal(fit_predictor(kind, coarse, rows, targets, seed=3).predict(unseen), predicted)
    predictor.save(tmp_path / "p.npz")
    again = Predictor.load(tmp_path / "p.npz")
    assert np.array_equal(again.predict(unseen), predicted)
    mean, deviation = again.predict(unseen, deviation=True)
    assert np.allclose(mean, predicted) and (deviation >= 0).all()


def test_gaussian_process_beats_both_baselines_and_knows_its_doubt(coarse, measured):
    objective, rows, targets, unseen = measured
    truth = objective(unseen)
    predictor = fit_predictor("gaussian_process", coarse, rows, targets, seed=0)
    linear = linear_baseline(lambda part: part.astype(float), rows, targets)
    assert kendall_tau(predictor.predict(unseen), truth) > kendall_tau(linear(unseen), truth) + 0.05
    mean, deviation = predictor.predict(unseen, deviation=True)
    assert 0.5 < np.std((truth - mean) / deviation) < 2


def test_gaussian_process_interpolates_to_widths_it_never_saw(coarse, fine):
    objective = make_objective(fine, "additive", 2)
    rows = sample_stratified(coarse, 300, np.random.default_rng(0))
    unseen = sample(fine, 1000, np.random.default_rng(1))
    predictor = fit_predictor("gaussian_process", fine, rows, objective(rows), seed=0)
    assert kendall_tau(predictor.predict(unseen), objective(unseen)) > 0.85


@pytest.mark.parametrize("numbers", [3, 6])
def test_gradients_of_the_marginal_likelihood(numbers, monkeypatch):
    """Against central differences."""
    rng = np.random.default_rng(0)
    points, values = rng.normal(size=(30, 6)), rng.normal(size=30)
    taken = {}

    def spy(loss, start, **options):
        taken["loss"], taken["start"] = loss, start
        return type("Result", (), {"x": start})

    monkeypatch.setattr(gaussian, "minimize", spy)
    gaussian._fit_parameters(points, values, numbers)
    at = taken["start"] + 0.1 * rng.normal(size=len(taken["start"]))
    steps = 1e-5 * np.eye(len(at))
    differences = [(taken["loss"](at + step)[0] - taken["loss"](at - step)[0]) / 2e-5 for step in steps]
    assert np.allclose(taken["loss"](at)[1], differences, rtol=1e-5, atol=1e-6)


def test_gaussian_process_equals_the_textbook_formula(coarse):
    """Mean and variance against dense inverses of the same kernel."""
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(25, 5)), rng.normal(size=25)
    process = gaussian.GaussianProcess().fit(features, targets, np.random.default_rng(0), numbers=3)
    new = rng.normal(size=(7, 5))
    mean, deviation = process.predict(new, deviation=True)
    points, queries = process.points, (new - process.shift) / process.scale
    kernel = gaussian._kernel(points, points, process.parameters, 3)
    inverse = np.linalg.inv(kernel + (np.exp(process.parameters[gaussian.NOISE]) + 1e-6) * np.eye(25))
    cross = gaussian._kernel(queries, points, process.parameters, 3)
    prior = np.diag(gaussian._kernel(queries, queries, process.parameters, 3))
    standard = (targets - targets.mean()) / targets.std()
    assert np.allclose(mean, cross @ inverse @ standard * targets.std() + targets.mean())
    assert np.allclose(deviation, np.sqrt(prior - np.einsum("ij,jk,ik->i", cross, inverse, cross)) * targets.std())


def test_cross_validation_holds_out(coarse):
    """Targets without structure cannot be ranked when held out, however well they are fitted."""
    rng = np.random.default_rng(0)
    rows = sample(coarse, 120, rng)
    quality = cross_validate("gaussian_process", coarse, rows, rng.normal(size=120), seed=0)
    assert abs(quality.tau) < 0.2
    additive = make_objective(coarse, "additive", 0)(rows)
    linear = cross_validate("linear", coarse, rows, additive, seed=0)
    assert linear.tau > 0.8 and linear.error < 0.15 < cross_validate("macs", coarse, rows, additive, seed=0).error


def test_refusals(coarse, tmp_path):
    rows = sample(coarse, 20, np.random.default_rng(0))
    with pytest.raises(UserError, match="7 evaluations fit"):
        fit_predictor("gaussian_process", coarse, rows[:7], np.zeros(7), seed=0)
    with pytest.raises(UserError, match="not finite"):
        fit_predictor("gaussian_process", coarse, rows, np.full(20, np.nan), seed=0)
    with pytest.raises(UserError, match="'tree' is not one of"):
        fit_predictor("tree", coarse, rows, np.zeros(20), seed=0)
    (tmp_path / "p.npz").write_text("no")
    with pytest.raises(UserError, match=r"p\.npz: not a predictor file"):
        Predictor.load(tmp_path / "p.npz")
