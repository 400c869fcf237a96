"""The report: collected from an experiment's files, rendered as Markdown."""

import pytest

from etdnn.cli import main
from etdnn.errors import UserError
from etdnn.report.collect import collect
from etdnn.report.document import render
from etdnn.report.tables import Table, markdown
from etdnn.scoring.results import COLUMNS, update_results

ARCH = "2-256-256-256-3-3-3-400"


def row(**changes) -> dict[str, str]:
    values = dict.fromkeys(COLUMNS, "0.5") | {
        "budget": "204M", "arch": ARCH, "macs": "204072768", "params": "899200", "model": "abc", "trials": "main",
        "backend": "cosine", "targets": "10", "nontargets": "20", "eer": "12.345", "mindcf_0.01": "0.678",
    }  # fmt: skip
    return values | changes


@pytest.fixture
def experiment(tmp_path):
    """An experiment with one searched budget and the largest network."""
    folder, data = tmp_path / "exp" / "x", tmp_path / "data"
    update_results(folder / "results.tsv", [row(), row(budget="largest", macs="1930000000", eer="9.876")])
    search = folder / "search" / "204M"
    search.mkdir(parents=True)
    (search / "arch.txt").write_text(f"{ARCH}\n# macs 204072768\n")
    (search / "summary.txt").write_text("100 archs measured\n")
    (search / "search.yaml").write_text("seed: 7\n")
    (folder / "commands.tsv").write_text("2020-01-01 00:00:00\tabc1234\tbash run.sh --macs-budget '204M 571M'\n")
    (data / "train").mkdir(parents=True)
    (data / "train" / "utt2spk").write_text("a-1 a\na-2 a\nb-1 b\n")
    (data / "train" / "utt2dur").write_text("a-1 1800\na-2 900\nb-1 900\n")
    return data, folder


def test_report_holds_results_data_search_and_provenance(experiment):
    text = render(collect("toy (synthetic)", *experiment))
    table = [line for line in text.splitlines() if line.startswith("|")]
    cells = [cell.strip() for cell in table[2].split("|")[1:-1]]
    assert cells[:5] == ["204M", "main", "cosine", "12.345", "0.5 to 0.5"]
    assert cells[7:] == ["204.07M", "899.20K", ARCH]
    assert "largest" in table[3] and "9.876" in table[3] and "0.678" in table[3]
    assert "toy (synthetic)" in text.splitlines()[0]
    assert "301 frames" in text
    assert [cell.strip() for cell in table[-1].split("|")[1:-1]] == ["train", "2", "3", "1.00"]
    for part in ("100 archs measured", "bash run.sh --macs-budget '204M 571M'", "seed: 7", "abc1234"):
        assert part in text


def test_report_is_the_same_text_twice(experiment):
    assert render(collect("t", *experiment)) == render(collect("t", *experiment))


def test_command_writes_the_report_and_prints_the_table(experiment, capsys):
    data, folder = experiment
    assert main(["report", "--title", "toy (synthetic)", str(data), str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "toy (synthetic)" in printed and "12.345" in printed and ARCH in printed
    assert (folder / "report" / "report.md").read_text().startswith("# toy (synthetic)")


def test_without_results_the_stage_that_makes_them_is_named(tmp_path):
    with pytest.raises(UserError, match="stage 7"):
        collect("t", tmp_path / "data", tmp_path / "exp")


def test_markdown_table_escapes_pipes_and_aligns_numbers():
    lines = markdown(Table.make(["name", "count"], [["a|b", 5], ["c", 1234]], right=["count"])).splitlines()
    assert lines == ["| name | count |", "| ---- | ----: |", "| a\\|b |     5 |", "| c    |  1234 |"]
