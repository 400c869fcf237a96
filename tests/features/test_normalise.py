import numpy as np
import pytest
import torch

from etdnn.features.normalise import normalise


@pytest.mark.parametrize("kind", ["mean", "mean_variance", "none"])
def test_numpy_and_torch_agree_with_instance_norm(kind):
    features = np.random.default_rng(0).normal(3, 2, (4, 80, 50)).astype(np.float32)
    features[0, 0] = 8.0  # constant, and its mean exact in float32
    result = normalise(features, kind, 2)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, normalise(torch.from_numpy(features), kind, 2).numpy(), atol=2e-6)
    if kind == "mean_variance":
        np.testing.assert_allclose(result, torch.nn.InstanceNorm1d(80)(torch.from_numpy(features)).numpy(), atol=2e-5)
    elif kind == "mean":
        np.testing.assert_allclose(result, features - features.mean(2, keepdims=True), atol=2e-6)
    else:
        assert np.array_equal(result, features)


def test_axis_is_time_whatever_its_place():
    features = np.random.default_rng(1).normal(size=(30, 80)).astype(np.float32)
    np.testing.assert_allclose(normalise(features, "mean", 0), normalise(features.T, "mean", 1).T, atol=1e-6)


def test_unknown_kind():
    with pytest.raises(ValueError, match="'cmvn' is not one of mean, mean_variance, none"):
        normalise(np.zeros((3, 4)), "cmvn", 0)
