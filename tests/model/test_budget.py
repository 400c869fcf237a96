from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etdnn.errors import UsageError
from etdnn.model.budget import Budget, show_count

SMALL = 204_072_768
UNITS = {"K": 3, "M": 6, "G": 9, "T": 12}


def written_budgets() -> st.SearchStrategy[tuple[str, int, int]]:
    """Return (text, significant digits, exponent of the last written digit) of budgets with a unit."""

    def write(digits: int, decimals: int, unit: str) -> tuple[str, int, int]:
        padded = str(digits).rjust(decimals + 1, "0")
        text = padded[: len(padded) - decimals] + ("." + padded[-decimals:] if decimals else "")
        return text + unit, digits, UNITS[unit] - decimals

    return st.builds(write, st.integers(1, 10**6), st.integers(0, 5), st.sampled_from(sorted(UNITS))).filter(
        lambda written: written[1] * 10.0 ** written[2] >= 1
    )


def test_precision_of_the_written_budget():
    assert Budget.parse("204M").admits(SMALL)
    assert not Budget.parse("204.0M").admits(SMALL)
    assert Budget.parse("204.1M").admits(SMALL)
    assert Budget.parse("1.45G").admits(1_445_211_648)
    assert Budget.parse("571M").admits(570_984_384)
    assert Budget.parse("204M").limit == 204_499_999


@pytest.mark.parametrize("budget", ["0.2G", "20M", "200000000", 200_000_000, 2e8, np.int64(200_000_000)])
def test_few_digits_plain_integers_and_numbers_are_strict(budget):
    limit = Budget.parse(budget).limit
    assert limit == (20_000_000 if budget == "20M" else 200_000_000)
    assert Budget.parse(budget).admits(np.array([limit - 1, limit, limit + 1])).tolist() == [True, True, False]


@given(written_budgets(), st.integers(0, 1000))
def test_three_digits_admit_what_prints_the_same(written, per_mille):
    text, digits, place = written
    budget = Budget.parse(text)
    if digits < 100:
        assert budget.limit == int(digits * Decimal(10) ** place)
        return
    value = int((Decimal(digits) + Decimal(per_mille - 500) / 500) * Decimal(10) ** place)
    printed = (Decimal(value) / Decimal(10) ** place).quantize(Decimal(1), ROUND_HALF_UP)
    assert budget.admits(value) == (printed <= digits)


@given(written_budgets())
def test_canonical_name_parses_back(written):
    budget = Budget.parse(written[0])
    assert Budget.parse(budget.name) == budget
    assert str(budget) == budget.name


@pytest.mark.parametrize(
    "forms", [("204M", "0.204G", "204e6", "204m", " 204M "), ("1.450G", "1450M"), ("8ms", "0.008s", "8000us")]
)
def test_forms_of_one_budget_share_a_name(forms):
    kind = "latency" if forms[0] == "8ms" else "macs"
    assert {Budget.parse(form, kind).name for form in forms} == {forms[0]}


def test_latency_is_strict():
    budget = Budget.parse("1.25ms", "latency")
    assert budget.limit == pytest.approx(0.00125) and budget.kind == "latency"
    assert budget.admits(0.00125) and not budget.admits(0.0012501)


@pytest.mark.parametrize(
    "forms", [("4MB", "4000KB", "4mb", "4.0 MB"), ("2.5KiB", "2560B", "2.56KB"), ("300B", "0.3KB"), ("2TB", "2000GB")]
)
def test_forms_of_one_memory_share_limit_and_name(forms):
    budgets = {Budget.parse(form, "memory") for form in forms}
    (budget,) = budgets
    assert Budget.parse(budget.name, "memory") == budget
    assert not budget.admits(budget.limit + 1)


def test_folders_of_equal_texts_differ_by_kind():
    assert Budget.parse("204M").folder == "204M"
    assert Budget.parse("500k", "params").folder == "params-500K"
    assert Budget.parse("0.008s", "latency").folder == "latency-8ms"
    assert Budget.parse("4MB", "memory").folder == "memory-4MB"


@pytest.mark.parametrize("text", ["4M", "4iB", "MB", "0MB", "0.1B", "-1KB"])
def test_bad_memories(text):
    with pytest.raises(UsageError, match="memory budget .* with its unit"):
        Budget.parse(text, "memory")


@pytest.mark.parametrize(
    "text", ["", "many", "-204M", "0", "0M", "204Q", "204 M B", "1,5M", "0.1", 0, -5, float("nan"), float("inf"), True]
)
def test_bad_budgets(text):
    with pytest.raises(UsageError, match="budget") as raised:
        Budget.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["8", "ms", "0ms", "-1ms", "8 hours"])
def test_bad_latencies(text):
    with pytest.raises(UsageError, match="with its unit"):
        Budget.parse(text, "latency")


@pytest.mark.parametrize(
    "number, text", [(899_200, "899.20K"), (SMALL, "204.07M"), (1_445_211_648, "1.45G"), (999, "999")]
)
def test_counts_are_shown_as_published(number, text):
    assert show_count(number) == text
