import pytest

from etdnn.train.schedule import learning_rate, margin
from etdnn.train.settings import Phase, Schedule


def test_triangular2_peaks_halve_as_published():
    schedule = Schedule("triangular2", max=1e-3, min=1e-8, half_cycle=8)
    peaks = [learning_rate(schedule, round(epoch * 100), 6400, 100) for epoch in (8, 24, 40, 56)]
    assert peaks == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4], rel=1e-3)
    for epoch in (0, 16, 32, 48):
        assert learning_rate(schedule, epoch * 100, 6400, 100) == pytest.approx(1e-8)


@pytest.mark.parametrize("kind", ["cosine", "exponential"])
def test_falls_from_max_to_min_after_the_warmup(kind):
    schedule = Schedule(kind, max=0.1, min=5e-5, warmup=1)
    rates = [learning_rate(schedule, step, 1000, 100) for step in range(1000)]
    assert rates[0] < 0.01 and max(rates) <= 0.1
    assert rates[-1] == pytest.approx(5e-5)
    assert all(a >= b for a, b in zip(rates[100:], rates[101:], strict=False))


def test_margin_is_a_ramp():
    phase = Phase("p", epochs=10, margin_ramp=[2, 4])
    assert [margin(phase, 0.2, step, 10) for step in (0, 20, 30, 40, 99)] == pytest.approx([0, 0, 0.1, 0.2, 0.2])
    assert margin(Phase("q", epochs=1), 0.2, 0, 10) == 0.2
