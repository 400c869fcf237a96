import json

import numpy as np
import pytest

from etdnn.errors import UserError
from etdnn.model.latency import PARTS, Grid, LatencyTable, machine_name
from etdnn.model.space import SearchSpace
from etdnn.search.population import ArchRows, sample


def formula_table(space: SearchSpace, **about) -> LatencyTable:
    """Parts whose seconds are bilinear in the sizes, so that interpolation must be exact."""
    widths, cats = space.widths[::2], space.cats[::2]
    inputs = (min(space.depths) * widths[0], max(space.depths) * widths[-1])
    values = {
        "stem": (widths, space.kernels), "block": (widths, widths, space.kernels), "aggregation": (inputs, cats),
        "pooling": (cats,), "embedding": (cats,),
    }  # fmt: skip
    parts = {}
    for name, axes in values.items():
        mesh = np.meshgrid(*axes, indexing="ij")
        parts[name] = Grid(tuple(axes), 1e-6 * np.prod(mesh, axis=0))
    return LatencyTable(parts, {"machine": machine_name(), **about}, scale=2.0, offset=0.5)


def by_hand(arch) -> float:
    stem = arch.widths[0]
    total = stem * arch.kernels[0] + sum(
        stem * width * kernel for width, kernel in zip(arch.widths[1:], arch.kernels[1:], strict=True)
    )
    return 2.0 * 1e-6 * (total + arch.depth * stem * arch.cat + 2 * arch.cat) + 0.5


def test_prediction_is_the_corrected_sum_of_interpolated_parts(tmp_path):
    space = SearchSpace.named("paper_coarse")
    rows = sample(space, 50, np.random.default_rng(0))
    expected = [by_hand(arch) for arch in ArchRows(rows)]
    table = formula_table(space)
    assert np.allclose(table.predict(rows), expected, rtol=1e-9)
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert np.array_equal(again.predict(rows), table.predict(rows)) and again.about == table.about


def test_an_axis_of_one_choice_is_constant():
    grid = Grid(((64,), (1.0, 3.0)), np.array([[1.0, 2.0]]))
    assert np.allclose(grid(np.array([64.0, 99.0]), np.array([2.0, 3.0])), [1.5, 2.0])


def test_a_table_of_another_machine_says_so():
    space = SearchSpace.named("paper_coarse")
    assert formula_table(space).foreign() is None
    assert "measured on 'Phone'" in formula_table(space, machine="Phone").foreign()


def test_damaged_tables_are_refused(tmp_path):
    path = tmp_path / "table.json"
    with pytest.raises(UserError, match="no such latency table"):
        LatencyTable.load(path)
    formula_table(SearchSpace.named("paper_coarse")).save(path)
    values = json.loads(path.read_text())
    for change in ({"format": 9}, {"parts": {}}, {"parts": {**values["parts"], "pooling": values["parts"]["stem"]}}):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(UserError, match=r"table\.json"):
            LatencyTable.load(path)
    assert set(values["parts"]) == set(PARTS)
