"""RESULTS.md: back-ends beside each other, published figures in columns of their own."""

from helpers.experiment import make_experiment

from etdnn.report.collect import collect
from etdnn.report.published import published_eer
from etdnn.report.results_page import results_page, side_by_side
from etdnn.scoring.results import COLUMNS


def row(**values):
    return dict.fromkeys(COLUMNS, "") | {"macs": "204072768", "params": "899200", "eer": "2.300"} | values


def test_published_figures_stand_beside_the_list_and_budget_they_are_of():
    assert published_eer("204M", "vox1_O_cleaned", "asnorm") == "2.20 (Small)"
    assert published_eer("1.45G", "vox1_H_cleaned", "cosine") == "2.41 (Base)"
    for absent in ("204M vox1_E_cleaned asnorm", "100M vox1_O_cleaned cosine", "largest vox1_O_cleaned cosine",
                   "params-500K vox1_O_cleaned cosine", "204M main cosine", "204M vox1_O_cleaned mean"):  # fmt: skip
        assert published_eer(*absent.split()) == ""


def test_lists_and_back_ends_side_by_side():
    rows = [
        row(budget="204M", trials=f"vox1_{name}_cleaned", backend=backend, eer=eer)
        for name in "EHO"
        for backend, eer in (("cosine", "2.500"), ("asnorm", "2.300"), ("mean", "9.000"))
    ]
    table = side_by_side(rows, published=True)
    assert len(table.rows) == 3
    last = dict(zip(table.header, table.rows[-1], strict=True))
    assert last["list"] == "vox1_O_cleaned"
    assert (last["EER, cosine"], last["EER, AS-norm"]) == ("2.500", "2.300")
    assert last["EER, AS-norm, *published*"] == "2.20 (Small)"
    assert not any("published" in name for name in side_by_side(rows).header)


def test_page_says_how_it_was_made(tmp_path):
    data, experiment = make_experiment(tmp_path)
    page = results_page(collect("Toy", data, experiment), date="2020-01-01")
    assert "on 2020-01-01, revision " in page and "bash run.sh --macs-budget" in page and "301 frames" in page
    assert "published" not in page
    assert page.count("\n| ") == 2 + 3  # header, rule, two budgets and the largest
